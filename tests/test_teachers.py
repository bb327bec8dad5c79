"""With and without the second teacher: the same slices, and the difference of what was right."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from brain_tumor.checkpoints import weights_folder
from brain_tumor.labels import CLASS_NAMES, class_index
from training.data import DataError
from training.evaluation import COLUMNS
from training.outoffold import CLUSTERS_FILE
from training.runs import TEACHERS_FOLDER
from training.teachers import RECIPES_COMPARED, comparison, measure_all

SYSTEM = "cnn_v4"


@pytest.fixture
def slices():
    """200 slices with a tumour, of many patients."""
    with open(CLUSTERS_FILE, newline="") as file:
        return [row["image"] for row in csv.DictReader(file)][:2000:10]


@pytest.fixture
def answers(slices, monkeypatch, tmp_path):
    """Writes predictions of which so many are right, the first ones."""
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(tmp_path))

    def write(recipe: str, right: int) -> None:
        path = weights_folder() / SYSTEM / TEACHERS_FOLDER / f"{recipe}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        glioma, pituitary = np.eye(len(CLASS_NAMES))[[class_index("glioma"), class_index("pituitary")]]
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for i, image in enumerate(slices):
                writer.writerow([image, "glioma", 1 + i % 5, *(glioma if i < right else pituitary)])

    return write


def test_the_difference_is_that_of_the_same_slices(answers):
    without, with_boxes = RECIPES_COMPARED
    answers(without, 160)
    answers(with_boxes, 170)
    first, second, difference = comparison([SYSTEM, "resnet18"]).splitlines()[2:]
    assert "labels alone" in first and "80.00 %" in first
    assert "labels and tumour boxes" in second and "85.00 %" in second
    assert "+5.00 (+" in difference
    answers(with_boxes, 150)
    assert "−5.00 (−" in comparison([SYSTEM]).splitlines()[-1]


def test_nothing_is_claimed_of_what_was_not_measured(answers):
    assert comparison([SYSTEM]) == "Not measured yet."


def test_a_fold_that_only_one_has_is_no_comparison(tmp_path):
    with pytest.raises(DataError, match="--recipe labels_only"):
        measure_all(SYSTEM, tmp_path, tmp_path)
