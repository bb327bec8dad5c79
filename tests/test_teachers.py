"""With and without the second teacher: the same slices, and the difference of what was right."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from brain_tumor.checkpoints import CONFIG_FILE, read_config, weights_folder
from brain_tumor.labels import class_index
from training.data import DataError
from training.engine import TrainingError
from training.evaluation import COLUMNS
from training.export import described
from training.outoffold import CLUSTERS_FILE
from training.protocols import PATIENTWISE
from training.recipes import RECIPES
from training.runs import TEACHERS_FOLDER, run_folder
from training.teachers import RECIPES_COMPARED, comparison, measure_all

SYSTEM = "cnn_v4"
WITHOUT, WITH = RECIPES_COMPARED
DATA = {"train": {"glioma": 10}}


@pytest.fixture
def slices():
    """200 slices with a tumour, of many patients, and 20 without."""
    with open(CLUSTERS_FILE, newline="") as file:
        tumours = [row["image"] for row in csv.DictReader(file)][:2000:10]
    return tumours + [f"nowhere/{i}.jpg" for i in range(20)]


@pytest.fixture
def answers(slices, monkeypatch, tmp_path):
    """Writes predictions: so many of the tumours are right among tumours, and of the rest too."""
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(tmp_path / "weights"))

    def write(recipe: str, right: int, right_without: int, images: int = 220) -> None:
        path = weights_folder() / SYSTEM / TEACHERS_FOLDER / f"{recipe}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        glioma, notumor, pituitary = np.eye(4)[[class_index(c) for c in ("glioma", "notumor", "pituitary")]]
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for i, image in enumerate(slices[:images]):
                healthy = i >= 200
                logits = notumor if healthy and i - 200 < right_without else glioma if i < right else pituitary
                writer.writerow([image, "notumor" if healthy else "glioma", 1 + i % 5, *logits])

    return write


@pytest.fixture
def trained(tmp_path):
    """Finished runs of folds, as far as their config.json."""

    def write(recipe: str, folds, trained_by: str | None = None, data=DATA) -> None:
        as_is = described(recipe, replace(RECIPES[trained_by or recipe], protocol=PATIENTWISE))
        for fold in folds:
            folder = run_folder(tmp_path, SYSTEM, recipe, 0, fold) / "checkpoint"
            folder.mkdir(parents=True)
            config = read_config(weights_folder() / SYSTEM / CONFIG_FILE) | {"recipe": as_is, "data": data}
            (folder / CONFIG_FILE).write_text(json.dumps(config))

    return write


def test_the_difference_is_that_of_the_same_slices(answers):
    answers(WITHOUT, 160, 20)
    answers(WITH, 170, 10)
    first, second, difference = comparison([SYSTEM, "resnet18"]).splitlines()[2:]
    assert "labels alone" in first and "80.00 %" in first and "81.82 %" in first
    assert "labels and tumour boxes" in second and "85.00 %" in second and second.count("81.82 %") == 1
    assert "+5.00 (+" in difference and "| +0.00 (−" in difference
    assert difference.count(" 200 ") == difference.count(" 220 ") == 1


def test_predictions_of_other_images_are_no_comparison(answers):
    answers(WITHOUT, 160, 20)
    answers(WITH, 160, 20, images=210)
    with pytest.raises(DataError, match="--only second_teacher"):
        comparison([SYSTEM])


def test_nothing_is_claimed_of_what_was_not_measured(answers):
    assert comparison([SYSTEM]) == "Not measured yet."
    answers(WITHOUT, 160, 20)
    assert comparison([SYSTEM]) == "Not measured yet."


def test_folds_that_only_one_has_are_no_comparison(trained, tmp_path):
    trained(WITHOUT, (1, 2))
    trained(WITH, (3,))
    with pytest.raises(DataError, match="--recipe labels_only"):
        measure_all(SYSTEM, tmp_path, tmp_path)


def test_folds_trained_on_other_images_are_no_comparison(trained, tmp_path):
    trained(WITHOUT, (1, 2))
    trained(WITH, (2, 3), data={"train": {"glioma": 11}})
    with pytest.raises(DataError, match=r"Fold 2 .*\(data\)"):
        measure_all(SYSTEM, tmp_path, tmp_path)


def test_a_fold_trained_by_another_recipe_of_that_name_is_not_taken_for_one_of_this(trained, tmp_path):
    trained(WITHOUT, (1,))
    trained(WITH, (1,), trained_by="small_network_short")
    with pytest.raises(TrainingError, match="another recipe of that name"):
        measure_all(SYSTEM, tmp_path, tmp_path)
