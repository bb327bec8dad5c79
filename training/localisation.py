"""Are the heatmaps to be believed? Maps of networks scored on the tumour boxes of figshare-cheng.

Does a map point at the tumour, more often than one that never saw the network would? Every slice is judged by a network
that was trained on none of its patient's slices. The class explained is the one predicted. `training.faithfulness` asks
what else there is to ask of a map.
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from brain_tumor.calibration import Bin
from brain_tumor.checkpoints import weights_folder
from brain_tumor.explanation import NOWHERE
from brain_tumor.inference import Classifier
from brain_tumor.labels import CLASS_NAMES, class_index
from brain_tumor.location import LOCATED_FILE, located_json
from training.data import FIGSHARE, Box, DataError, Record, read_records
from training.estimates import Estimate, estimate, estimates
from training.evaluation import Interval, evaluation_folder
from training.faithfulness import Faithfulness, Hidden, Randomised, Sample, hide, perturb, randomise
from training.heatmaps import (
    BATCH,
    CEILING,
    LOCATION,
    SIDE,
    baseline_maps,
    box_masks,
    ceiling_maps,
    look,
    maps_of,
    methods_among,
    priors,
    read_slice,
    smoothly,
)
from training.outoffold import NoFoldsError, patients
from training.protocols import patientwise_folds, read_groups
from training.robustness import classifier, run_checkpoint, sample

CSV_FILE, JSON_FILE = "localisation.csv", "localisation.json"
COLUMNS = ("image", "fold", "method", "right", "hit", "near", "energy", "iou", "peak")
TOLERANCE = 0.05
"""A near hit lies at most so far outside the box, in fractions of the picture's side: about 12 mm in a head scan."""
THRESHOLDS = np.arange(1, 20) / 20
"""Fractions of a map's maximum at which it is cut to be compared with the box."""
PEAKS = (0.0, NOWHERE, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Edges of the bins in which it is counted how often a sure map was right."""
SAMPLED, PERTURBED = 20, 6
"""Slices of each fold for what costs several passes (forgetting, hiding), and many (deletion, insertion, ROAD)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Localisation:
    """How well maps of one kind find the box on n slices.

    Attributes:
        hit: share whose hottest place lies in the box (pointing game, Zhang et al. 2018, arXiv:1608.00507).
        near: share whose hottest place lies in the box or at most `TOLERANCE` from it.
        energy: share of all heat that lies in the box.
        iou: intersection over union of box and map, the map cut at the threshold that is best on the other folds.
    """

    n: int
    hit: Estimate
    near: Estimate
    energy: Estimate
    iou: Estimate


@dataclass(frozen=True)
class Score:
    """A method or baseline: on all slices, on those answered rightly, on those of each true class, and hits by fold."""

    name: str
    every: Localisation
    right: Localisation
    labels: dict[str, Localisation]
    folds: dict[str, float]
    thresholds: dict[str, float]


@dataclass(frozen=True)
class Report:
    """All that was measured of one system.

    Attributes:
        checkpoints: fold -> sha256 of the network that judged it.
        recipe, protocol: as the checkpoints' config.json says; other than "patientwise", they may have seen the slices.
        right: share of right answers.
        box_area: mean share of the picture in the box, what a random point would hit.
        located: how often the hottest place of the network's own map of the tumour's place lay in the box, by how sure
            the map was.
        located_intervals: of each of these, of the share that was right, over patients.
        healthy: how sure these maps were of slices without a tumour, where none is right.
        sampled, perturbed: slices that `randomised` and `faithfulness` are means over, drawn with a fixed seed.
    """

    system: str
    recipe: str
    protocol: str
    checkpoints: dict[str, str]
    n: int
    right: float
    box_area: float
    scores: tuple[Score, ...]
    sampled: int
    randomised: tuple[Randomised, ...]
    perturbed: int
    faithfulness: tuple[Faithfulness, ...]
    hidden: Hidden
    located: tuple[Bin, ...] = ()
    located_intervals: tuple[Interval, ...] = ()
    healthy: tuple[Bin, ...] = ()


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of N maps: hit and near bool (N,), energy float (N,), iou float (N, thresholds), and their peaks (N,)."""

    hit: np.ndarray
    near: np.ndarray
    energy: np.ndarray
    iou: np.ndarray
    peak: np.ndarray


@dataclass(frozen=True, eq=False)
class Judged:
    """N slices and what became of them.

    Attributes:
        predicted: class indices, int (N,).
        scores: name of a method or baseline -> the scores of its maps.
    """

    records: tuple[Record, ...]
    predicted: np.ndarray
    scores: dict[str, Scores]

    @property
    def right(self) -> np.ndarray:
        return self.predicted == np.array([class_index(record.label) for record in self.records])

    @property
    def folds(self) -> np.ndarray:
        return np.array([record.fold for record in self.records])


def measure_all(system: str, root: Path, checkpoints: Mapping[int, Path]) -> Path:
    """Score a system's maps on the slices of the folds that there are checkpoints for.

    Args:
        root: folder of the data sets.
        checkpoints: fold -> folder of the checkpoint that was not trained on that fold; at least two, since the
            threshold for one fold is chosen on the others.

    Returns:
        `weights/<system>/evaluation/localisation.json`; beside it is localisation.csv, one line per slice and method.

    Raises:
        CheckpointError: a checkpoint is missing or damaged.
        DataError: figshare-cheng is not in `root`, or there are fewer than two checkpoints.
    """
    if len(checkpoints) < 2:
        raise NoFoldsError("Maps are scored on two folds or more: the threshold for one is chosen on the others.")
    records = read_records(FIGSHARE, root, "images")
    classifiers = {fold: classifier(run_checkpoint(system, folder)) for fold, folder in sorted(checkpoints.items())}
    report, judged = measure(system, classifiers, records, root, _without_tumour(root))
    folder = evaluation_folder(system)
    write_slices(judged, folder / CSV_FILE)
    write(report, folder / JSON_FILE)
    if report.located:
        (weights_folder() / system / LOCATED_FILE).write_text(located_json(report.located))
    return folder / JSON_FILE


def measure(
    system: str,
    classifiers: Mapping[int, Classifier],
    records: Sequence[Record],
    root: Path,
    healthy: Mapping[int, Sequence[Record]] | None = None,
    sampled: int = SAMPLED,
    perturbed: int = PERTURBED,
) -> tuple[Report, Judged]:
    """What `measure_all` writes; the records of folds without a classifier serve for the priors only.

    Args:
        healthy: slices without a tumour by fold.
    """

    def drawn(n: int) -> list[Sample]:
        chosen = {fold: sample(records, fold, n) for fold in classifiers}
        return [
            (model, chosen[fold], [read_slice(r, root) for r in chosen[fold]]) for fold, model in classifiers.items()
        ]

    parts = []
    for fold, model in classifiers.items():
        log.info("%s: maps of fold %d.", system, fold)
        parts.append(judge(model, [r for r in records if r.fold == fold], priors(records, fold), root))
    judged = _joined(parts)
    config = next(iter(classifiers.values())).checkpoint.config
    report = Report(
        system=system,
        recipe=config["recipe"]["name"],
        protocol=config["protocol"],
        checkpoints={str(fold): model.checkpoint.sha256 for fold, model in classifiers.items()},
        n=len(judged.records),
        right=float(judged.right.mean()),
        box_area=float(np.mean([record.box.width * record.box.height for record in judged.records])),
        scores=tuple(_score(name, judged) for name in judged.scores),
        sampled=sum(len(slices) for _, slices, _ in drawn(sampled)),
        randomised=randomise(drawn(sampled)),
        perturbed=sum(len(slices) for _, slices, _ in drawn(perturbed)),
        faithfulness=perturb(drawn(perturbed)),
        hidden=hide(drawn(sampled)),
    )
    if LOCATION in judged.scores:
        scores = judged.scores[LOCATION]
        peaks = [_peaks(model, (healthy or {}).get(fold, ()), root) for fold, model in classifiers.items()]
        none = np.concatenate(peaks)
        bins = located_bins(scores.peak, scores.hit)
        clusters = patients(tuple(record.image for record in judged.records))
        within = [_within(scores.peak, b.low, b.high) for b in bins]
        report = replace(
            report,
            located=bins,
            located_intervals=tuple(estimate(scores.hit[kept], clusters[kept]).interval for kept in within),
            healthy=located_bins(none, np.zeros(len(none), bool)),
        )
    return report, judged


def _without_tumour(root: Path) -> dict[int, list[Record]]:
    """One slice of each group of near-duplicates by fold; nothing where Kaggle's data set is not in `root`."""
    try:
        parts = patientwise_folds(root).parts
    except DataError:
        return {}
    groups = read_groups()
    firsts = {
        fold: {groups[r.image].group: r for r in reversed(part) if r.image in groups} for fold, part in parts.items()
    }
    return {fold: list(first.values()) for fold, first in firsts.items()}


def _peaks(model: Classifier, records: Sequence[Record], root: Path) -> np.ndarray:
    """How sure the network is of a tumour at the surest place of slices, (N,) in [0, 1]."""
    peaks = [np.zeros(0)]
    for start in range(0, len(records), BATCH):
        location = look(model, [read_slice(record, root) for record in records[start : start + BATCH]]).location
        peaks.append(smoothly(location.numpy(), SIDE).max(axis=(1, 2)))
    return np.concatenate(peaks)


def judge(model: Classifier, records: Sequence[Record], prior: Mapping[str, np.ndarray], root: Path) -> Judged:
    """Classify slices and score every method and baseline on their boxes; the trunk is run once per slice."""
    parts = []
    for start in range(0, len(records), BATCH):
        batch = records[start : start + BATCH]
        images = [read_slice(record, root) for record in batch]
        seen = look(model, images)
        features, predicted = seen.features, seen.predicted
        boxes = [record.box for record in batch]
        scores = {name: score_maps(maps, boxes) for name, maps in maps_of(model, seen, predicted, SIDE)}
        scores |= {name: score_maps(maps, boxes) for name, maps in baseline_maps(images, predicted, prior)}
        scores[CEILING.name] = score_maps(ceiling_maps(boxes, tuple(features.shape[-2:])), boxes)
        parts.append(Judged(tuple(batch), predicted, scores))
    return _joined(parts)


def _joined(parts: Sequence[Judged]) -> Judged:
    def together(name: str, field: str) -> np.ndarray:
        return np.concatenate([getattr(part.scores[name], field) for part in parts])

    return Judged(
        tuple(record for part in parts for record in part.records),
        np.concatenate([part.predicted for part in parts]),
        {name: Scores(*(together(name, f) for f in Scores.__dataclass_fields__)) for name in parts[0].scores},
    )


def score_maps(maps: np.ndarray, boxes: Sequence[Box]) -> Scores:
    """Score maps, float (N, SIDE, SIDE), not negative, on the boxes of their slices; a map of zeros finds nothing."""
    n, masks = len(maps), box_masks(boxes)
    highest = maps.max(axis=(1, 2))
    found = highest > 0
    flat = maps.reshape(n, -1) / np.where(found, highest, 1)[:, None]
    rows, columns = np.divmod(flat.argmax(axis=1), SIDE)
    x, y = (columns + 0.5) / SIDE, (rows + 0.5) / SIDE
    left, top, right, bottom = np.array([box.corners for box in boxes]).T
    distance = np.hypot(np.maximum(left - x, x - right).clip(0), np.maximum(top - y, y - bottom).clip(0))
    inside = masks.reshape(n, -1)
    energy = (flat * inside).sum(axis=1) / np.where(found, flat.sum(axis=1), 1)
    # How many thresholds each cell reaches; counted per slice, this gives the areas at all thresholds at once.
    reached = np.searchsorted(THRESHOLDS, flat, side="right") + (len(THRESHOLDS) + 1) * np.arange(n)[:, None]

    def areas(which: np.ndarray) -> np.ndarray:
        counts = np.bincount(reached[which], minlength=n * (len(THRESHOLDS) + 1)).reshape(n, -1)
        return counts[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]

    hot, common = areas(np.ones_like(inside)), areas(inside)
    iou = common / (hot + inside.sum(axis=1, keepdims=True) - common)
    return Scores(found & (distance == 0), found & (distance <= TOLERANCE), energy, iou, highest)


def located_bins(peaks: np.ndarray, hits: np.ndarray) -> tuple[Bin, ...]:
    """Maps of the tumour's place by their peak (N,), ascending, and how many were right; empty bins are left out."""
    bins = []
    for low, high in pairwise(PEAKS):
        inside = _within(peaks, low, high)
        if inside.any():
            bins.append(
                Bin(low, high, round(float(peaks[inside].mean()), 6), int(inside.sum()), int(hits[inside].sum()))
            )
    return tuple(bins)


def _within(peaks: np.ndarray, low: float, high: float) -> np.ndarray:
    return (peaks >= low) & ((peaks < high) | (high == 1))


def best_thresholds(iou: np.ndarray, folds: np.ndarray) -> dict[int, int]:
    """Fold -> index of the threshold with the best mean IoU on the other folds."""
    return {int(fold): int(iou[folds != fold].mean(axis=0).argmax()) for fold in np.unique(folds)}


def _iou_of(scores: Scores, folds: np.ndarray) -> np.ndarray:
    chosen = best_thresholds(scores.iou, folds)
    return scores.iou[np.arange(len(folds)), [chosen[fold] for fold in folds]]


def _score(name: str, judged: Judged) -> Score:
    scores, folds = judged.scores[name], judged.folds
    values = np.stack([scores.hit, scores.near, scores.energy, _iou_of(scores, folds)], axis=1)
    labels = np.array([record.label for record in judged.records])
    clusters = patients(tuple(record.image for record in judged.records))

    def localisation(kept: np.ndarray) -> Localisation:
        return Localisation(int(kept.sum()), *estimates(values[kept], clusters[kept]))

    return Score(
        name,
        every=localisation(np.ones(len(values), bool)),
        right=localisation(judged.right),
        labels={label: localisation(labels == label) for label in CLASS_NAMES if label in labels},
        folds={str(fold): float(scores.hit[folds == fold].mean()) for fold in np.unique(folds)},
        thresholds={str(f): float(THRESHOLDS[i]) for f, i in best_thresholds(scores.iou, folds).items()},
    )


def write_slices(judged: Judged, path: Path) -> None:
    """One line per slice and method; what the baselines make of the slices is only in the JSON file, as means."""
    folds, right = judged.folds, judged.right
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name in methods_among(judged.scores):
            scores = judged.scores[name]
            iou = _iou_of(scores, folds)
            for i, record in enumerate(judged.records):
                flags = (int(flag[i]) for flag in (right, scores.hit, scores.near))
                rounded = (f"{values[i]:.3f}" for values in (scores.energy, iou, scores.peak))
                writer.writerow([record.image, record.fold, name, *flags, *rounded])


def surest_places(system: str) -> dict[str, float]:
    """Image -> how sure the system's networks that had not seen it are of the tumour's place where they are surest, as
    `write_slices` wrote it; empty where that has not been measured, or they do not say where."""
    path = evaluation_folder(system) / CSV_FILE
    if not path.exists():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        return {row["image"]: float(row["peak"]) for row in csv.DictReader(file) if row["method"] == LOCATION}


def write(report: Report, path: Path) -> None:
    """Write the JSON file that `read` reads, rounded to 6 decimals."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exact = json.dumps(asdict(report), allow_nan=False)
    rounded = json.loads(exact, parse_float=lambda text: round(float(text), 6))
    path.write_text(json.dumps(rounded, indent=1) + "\n")


def read(path: Path) -> Report:
    """What `write` wrote; DataError where there is none."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Make it with `training.localisation.measure_all`.") from None
    return Report(
        **content
        | {
            "scores": tuple(
                Score(
                    **score
                    | {key: _parsed_localisation(score[key]) for key in ("every", "right")}
                    | {"labels": {name: _parsed_localisation(found) for name, found in score["labels"].items()}}
                )
                for score in content["scores"]
            ),
            "randomised": tuple(Randomised(**row) for row in content["randomised"]),
            "faithfulness": tuple(Faithfulness(**_parsed(row)) for row in content["faithfulness"]),
            "hidden": Hidden(**_parsed(content["hidden"])),
            **{name: tuple(Bin(**row) for row in content[name]) for name in ("located", "healthy")},
            "located_intervals": tuple((low, high) for low, high in content["located_intervals"]),
        }
    )


def _parsed(row: dict) -> dict:
    return {
        key: Estimate(value["mean"], tuple(value["interval"])) if isinstance(value, dict) else value
        for key, value in row.items()
    }


def _parsed_localisation(row: dict) -> Localisation:
    return Localisation(**_parsed(row))
