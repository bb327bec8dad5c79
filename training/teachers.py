"""Do the tumour boxes, as a second teacher, help on patients not seen? The same recipe with them and without."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from brain_tumor.checkpoints import weights_folder
from brain_tumor.registry import get_spec
from training.data import DataError
from training.estimates import Estimate, estimates
from training.evaluation import Predictions, percent, read_predictions, table, write_predictions
from training.outoffold import TUMOURS, distinct, fold_checkpoints, patients
from training.protocols import PATIENTWISE, patientwise_folds
from training.runs import TEACHERS_FOLDER

RECIPES_COMPARED = {"labels_only": "labels alone", "boxes": "labels and tumour boxes"}
"""Recipe -> its teachers, without the boxes first."""


def measure_all(system: str, root: Path, runs: Path) -> Path:
    """Let the networks of both recipes predict the folds that they were not trained on, where both have one.

    Returns:
        `weights/<system>/evaluation/second_teacher`, with a CSV file for each recipe.

    Raises:
        DataError: there is no fold that both have a network for.
    """
    checkpoints = {recipe: fold_checkpoints(system, runs, recipe) for recipe in RECIPES_COMPARED}
    folds = sorted(set.intersection(*(set(found) for found in checkpoints.values())))
    if not folds:
        raise DataError(
            f"No fold of {system} is trained both with the boxes and without in {runs}. Train it with `python -m "
            f"training train {system} --protocol {PATIENTWISE} --fold 1 --recipe {' (or '.join(RECIPES_COMPARED)})`."
        )
    parts = patientwise_folds(root).parts
    folder = weights_folder() / system / TEACHERS_FOLDER
    for recipe, found in checkpoints.items():
        write_predictions([(found[fold], parts[fold]) for fold in folds], root, folder / f"{recipe}.csv")
    return folder


def comparison(systems: Iterable[str]) -> str:
    """Markdown: accuracies on patients not seen by what taught, and their difference."""
    rows = [
        row for system in systems if (weights_folder() / system / TEACHERS_FOLDER).exists() for row in _rows(system)
    ]
    header = ["system", "teachers", "folds", "three tumours (95 % interval)", "four classes (95 % interval)"]
    return table(header, rows) if rows else "Not measured yet."


def _rows(system: str) -> list[list[str]]:
    folder = weights_folder() / system / TEACHERS_FOLDER
    found = [distinct(read_predictions(folder / f"{recipe}.csv")) for recipe in RECIPES_COMPARED]
    if len({predictions.images for predictions in found}) > 1:
        raise DataError(f"The files in {folder} are of other images: make both anew with `python -m training trust`.")
    title, folds = get_spec(system).title, str(len(set(found[0].folds)))
    three, four = _estimates(found, tumours_only=True), _estimates(found, tumours_only=False)
    rows = [
        [title, teachers, folds, percent(a.mean, a.interval), percent(b.mean, b.interval)]
        for teachers, a, b in zip(RECIPES_COMPARED.values(), three, four, strict=False)
    ]
    return [*rows, [title, "difference, in points", folds, _points(three[-1]), _points(four[-1])]]


def _estimates(found: list[Predictions], tumours_only: bool) -> list[Estimate]:
    """Accuracies of both, then the difference, the second less the first, on the same slices."""
    labels, clusters = found[0].labels, patients(found[0].images)
    classes = np.array(TUMOURS) if tumours_only else np.arange(found[0].logits.shape[1])
    right = np.stack([classes[p.logits[:, classes].argmax(axis=1)] == labels for p in found], axis=1).astype(float)
    kept = np.isin(labels, classes)
    return estimates(np.column_stack([right, right[:, 1] - right[:, 0]])[kept], clusters[kept])


def _points(difference: Estimate) -> str:
    low, high = difference.interval
    return f"{100 * difference.mean:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})".replace("-", "−")
