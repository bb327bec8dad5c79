"""The five patient-wise networks of a system, each asked about the fold that it was not trained on."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from brain_tumor.checkpoints import CONFIG_FILE, Checkpoint
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.registry import get_spec
from training.data import FIGSHARE, DataError
from training.estimates import estimate
from training.evaluation import Interval, Predictions, evaluation_folder, read_predictions, write_predictions
from training.protocols import FOLDS, PATIENTWISE, patientwise_folds, read_groups
from training.runs import finished, get_recipe, run_folder

NETWORKS_FILE = "patientwise_networks.json"
CLUSTERS_FILE = Path(__file__).with_name("patients.csv")
TUMOURS = tuple(i for i, name in enumerate(CLASS_NAMES) if name in FIGSHARE.counts["images"])


class NoFoldsError(DataError):
    """A system's folds are not trained; the message says how to."""


@dataclass(frozen=True)
class PatientwiseMetrics:
    """Out-of-fold accuracies, fractions, with 95 % bootstrap intervals over patients.

    Attributes:
        folds: those that were predicted.
        tumour: of the slices with a tumour, those whose class has the largest logit of the three tumour classes:
            comparable with networks that know no other class.
        overall: of distinct slices, tumour or not, the four classes.
        recall: of distinct slices of each class, the four classes.
    """

    folds: tuple[int, ...]
    tumour_n: int
    tumour: float
    tumour_interval: Interval
    overall_n: int
    overall: float
    overall_interval: Interval
    recall: dict[str, float]


def fold_checkpoints(system: str, runs: Path, recipe: str | None = None, seed: int = 0) -> dict[int, Checkpoint]:
    """Fold -> the finished checkpoint that was not trained on it; TrainingError if by another recipe of that name."""
    name = recipe or get_spec(system).patientwise_recipe
    trained_by = replace(get_recipe(name), protocol=PATIENTWISE)
    folders = {fold: run_folder(runs, system, name, seed, fold) for fold in FOLDS}
    return {
        fold: Checkpoint(system, folder / "checkpoint", "run", finished(folder, name, trained_by))
        for fold, folder in folders.items()
        if (folder / "checkpoint" / CONFIG_FILE).exists()
    }


def predict_folds(system: str, root: Path, runs: Path) -> Path:
    """Write `weights/<system>/evaluation/patientwise.csv`, out of fold, for the folds that are trained, and which
    networks they are of beside it.

    What is there of folds by the same recipe that are not in `runs` is kept: other machines may have trained these.

    Raises:
        NoFoldsError: no fold is trained, or fewer than there are predictions of, these by another recipe.
    """
    checkpoints = fold_checkpoints(system, runs)
    if not checkpoints:
        raise NoFoldsError(
            f"No fold of {system} is trained in {runs}. Train each with "
            f"`python -m training train {system} --protocol {PATIENTWISE} --fold 1`, 2, 3, 4 and 5."
        )
    parts = patientwise_folds(root).parts
    path = evaluation_folder(system) / f"{PATIENTWISE}.csv"
    recipe = get_spec(system).patientwise_recipe
    known = read_networks(system) if path.exists() else None
    hashes, kept = {}, None
    if known and known.recipe == recipe:
        hashes = {fold: sha256 for fold, sha256 in known.checkpoints.items() if int(fold) not in checkpoints}
        earlier = read_predictions(path)
        kept = earlier.only({i for i, f in zip(earlier.images, earlier.folds, strict=True) if str(f) in hashes})
    elif known and len(known.checkpoints) > len(checkpoints):
        raise NoFoldsError(
            f"{path} is of {len(known.checkpoints)} folds by recipe {known.recipe}, and in {runs} only "
            f"{len(checkpoints)} are trained by recipe {recipe}. Train the others, or delete the file to do with fewer."
        )
    write_predictions([(checkpoint, parts[fold]) for fold, checkpoint in checkpoints.items()], root, path, kept)
    hashes |= {str(fold): checkpoint.sha256 for fold, checkpoint in checkpoints.items()}
    networks = Networks(recipe, dict(sorted(hashes.items())))
    (path.parent / NETWORKS_FILE).write_text(json.dumps(asdict(networks), indent=1) + "\n")
    return path


@dataclass(frozen=True)
class Networks:
    """Those that `patientwise.csv` is of: their recipe, and fold -> sha256 of the one that was not trained on it."""

    recipe: str
    checkpoints: dict[str, str]


def read_networks(system: str) -> Networks | None:
    """What `predict_folds` wrote; None where there are no such predictions."""
    path = evaluation_folder(system) / NETWORKS_FILE
    return Networks(**json.loads(path.read_text())) if path.exists() else None


def distinct(predictions: Predictions) -> Predictions:
    """Without all but the first of each group of near-duplicates: 81 edits of one slice are one piece of evidence."""
    groups, seen, kept = read_groups(), set(), []
    for image in predictions.images:
        group = groups[image].group if image in groups else image
        if group not in seen:
            seen.add(group)
            kept.append(image)
    return predictions.only(frozenset(kept))


def patients(images: tuple[str, ...]) -> np.ndarray:
    """A number per image, int (N,): the same for slices that are taken to be of one patient.

    Of figshare's slices the patients are not published with the folds. `patients.csv` has stand-ins: as many clusters
    of similar slices in each class and fold as the data set has patients there (see `training.patients`). Of the
    notumor images nothing is known but which show the same slice: each of those is its own.
    """
    with open(CLUSTERS_FILE, newline="") as file:
        known: dict[str, object] = {row["image"]: int(row["patient"]) for row in csv.DictReader(file)}
    groups = read_groups()
    keys = [known.get(image, f"group {groups[image].group}" if image in groups else image) for image in images]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys])


def measure_patientwise(predictions: Predictions) -> PatientwiseMetrics:
    """Accuracies of out-of-fold predictions."""
    kept = distinct(predictions)
    clusters = patients(kept.images)
    tumour = np.isin(kept.labels, TUMOURS)
    three, four = right_among(kept, TUMOURS), kept.predicted == kept.labels
    return PatientwiseMetrics(
        folds=tuple(sorted({fold for fold in kept.folds if fold is not None})),
        tumour_n=int(tumour.sum()),
        tumour=float(three[tumour].mean()),
        tumour_interval=estimate(three[tumour], clusters[tumour]).interval,
        overall_n=len(four),
        overall=float(four.mean()),
        overall_interval=estimate(four, clusters).interval,
        recall={name: float(four[kept.labels == i].mean()) for i, name in enumerate(CLASS_NAMES)},
    )


def right_among(predictions: Predictions, classes: tuple[int, ...]) -> np.ndarray:
    """Whether the largest logit of these classes alone is that of the true one, bool (N,)."""
    return np.array(classes)[predictions.logits[:, classes].argmax(axis=1)] == predictions.labels
