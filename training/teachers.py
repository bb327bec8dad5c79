"""Do the tumour boxes, as a second teacher, help on patients not seen? The same recipe with them and without."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from brain_tumor.checkpoints import weights_folder
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.registry import get_spec
from training.data import DataError
from training.estimates import Estimate, estimates
from training.evaluation import Predictions, percent, read_predictions, table, write_predictions
from training.outoffold import TUMOURS, NoFoldsError, distinct, fold_checkpoints, patients, right_among
from training.protocols import PATIENTWISE, patientwise_folds
from training.runs import TEACHERS_FOLDER

RECIPES_COMPARED = {"labels_only": "labels alone", "boxes": "labels and tumour boxes"}
"""Recipe -> its teachers, without the boxes first."""
ALIKE = ("data", "seed", "hardware")
"""What config.json must say of both."""


def measure_all(system: str, root: Path, runs: Path) -> Path:
    """Let the networks of both recipes predict the folds that they were not trained on, where both have one.

    Returns:
        `weights/<system>/evaluation/second_teacher`, with a CSV file for each recipe.

    Raises:
        NoFoldsError: there is no fold that both have a network for.
        DataError: the two were trained on unlike terms.
    """
    checkpoints = {recipe: fold_checkpoints(system, runs, recipe) for recipe in RECIPES_COMPARED}
    folds = sorted(set.intersection(*(set(found) for found in checkpoints.values())))
    if not folds:
        raise NoFoldsError(
            f"No fold of {system} is trained both with the boxes and without in {runs}. Train it with `python -m "
            f"training train {system} --protocol {PATIENTWISE} --fold 1 --recipe {' (or '.join(RECIPES_COMPARED)})`."
        )
    for fold in folds:
        without, with_boxes = (found[fold].config for found in checkpoints.values())
        if different := [key for key in ALIKE if without[key] != with_boxes[key]]:
            raise DataError(
                f"Fold {fold} was trained with the boxes and without on unlike terms ({', '.join(different)}), so the "
                f"difference is not that of the boxes. Delete the older run in {runs}, and train it again."
            )
    parts = patientwise_folds(root).parts
    folder = weights_folder() / system / TEACHERS_FOLDER
    for recipe, found in checkpoints.items():
        write_predictions([(found[fold], parts[fold]) for fold in folds], root, folder / f"{recipe}.csv")
    return folder


def comparison(systems: Iterable[str]) -> str:
    """Markdown: accuracies on patients not seen by what taught, and their difference."""
    rows = [row for system in systems if all(path.exists() for path in _files(system)) for row in _rows(system)]
    header = ["system", "teachers", "folds", "three tumours (95 % interval)", "n", "four classes (95 % interval)", "n"]
    return table(header, rows) if rows else "Not measured yet."


def _files(system: str) -> list[Path]:
    return [weights_folder() / system / TEACHERS_FOLDER / f"{recipe}.csv" for recipe in RECIPES_COMPARED]


def _rows(system: str) -> list[list[str]]:
    found = [distinct(read_predictions(path)) for path in _files(system)]
    if len({predictions.images for predictions in found}) > 1:
        raise DataError(
            f"What {system} predicted with the boxes and without is of other images. Make both anew with `python -m "
            f"training trust {system} --only {TEACHERS_FOLDER.name}`."
        )
    title, folds = get_spec(system).title, str(len(set(found[0].folds)))
    three, four = _estimates(found, TUMOURS), _estimates(found, tuple(range(len(CLASS_NAMES))))
    n = f"{np.isin(found[0].labels, TUMOURS).sum():,}", f"{len(found[0].labels):,}"
    cells = [
        [percent(a.mean, a.interval), n[0], percent(b.mean, b.interval), n[1]]
        for a, b in zip(three[:-1], four[:-1], strict=True)
    ]
    cells.append([_points(three[-1]), n[0], _points(four[-1]), n[1]])
    teachers = [*RECIPES_COMPARED.values(), "difference, in points"]
    return [[title, taught, folds, *row] for taught, row in zip(teachers, cells, strict=True)]


def _estimates(found: list[Predictions], classes: tuple[int, ...]) -> list[Estimate]:
    """Accuracies of both among these classes, then the difference, the second less the first, on the same slices."""
    labels, clusters = found[0].labels, patients(found[0].images)
    right = np.stack([right_among(predictions, classes) for predictions in found], axis=1).astype(float)
    kept = np.isin(labels, classes)
    return estimates(np.column_stack([right, right[:, 1] - right[:, 0]])[kept], clusters[kept])


def _points(difference: Estimate) -> str:
    low, high = difference.interval
    return f"{100 * difference.mean:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})".replace("-", "−")
