"""Accuracies on patients not seen: what is counted, and how wide the intervals are."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from slices import mri_slice
from test_calibration import overconfident
from test_checkpoints import half, install

from brain_tumor.labels import class_index
from brain_tumor.registry import get_spec
from training import pooling
from training.data import FIGSHARE, Record
from training.evaluation import Predictions, read_predictions
from training.export import described
from training.outoffold import (
    CLUSTERS_FILE,
    NoFoldsError,
    distinct,
    measure_patientwise,
    patients,
    predict_folds,
    read_networks,
)
from training.patients import PATIENTS
from training.protocols import FOLDS, PATIENTWISE, Folds, read_groups
from training.runs import get_recipe, run_folder
from training.selective import decided, selective

SYSTEM = "cnn_v4"


def test_patients_are_as_many_as_the_data_set_has_and_of_one_class_and_fold():
    with open(CLUSTERS_FILE, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(FIGSHARE.counts["images"].values())
    # Rounding in each fold costs one or two.
    assert len({row["patient"] for row in rows}) == pytest.approx(sum(PATIENTS.values()), abs=3)


def test_edits_of_one_slice_count_once():
    groups = read_groups()
    by_group: dict[int, list[str]] = {}
    for image, found in groups.items():
        by_group.setdefault(found.group, []).append(image)
    largest = max(by_group.values(), key=len)
    assert len(largest) > 50
    n = len(largest)
    labels = np.full(n, class_index("notumor"))
    edits = Predictions(tuple(largest), labels, (1,) * n, np.zeros((n, 4)))
    assert len(distinct(edits).labels) == 1
    assert len(set(patients(edits.images).tolist())) == 1


def test_tumour_accuracy_chooses_among_tumours():
    logits = np.array([[1.0, 0.0, 9.0, 0.5], [0.0, 2.0, 0.0, 1.0], [0.0, 0.0, 5.0, 0.0], [0.0, 3.0, 0.0, 1.0]])
    labels = np.array([class_index(name) for name in ("glioma", "meningioma", "notumor", "pituitary")])
    metrics = measure_patientwise(
        Predictions(("images/1.jpg", "images/2.jpg", "x", "images/3.jpg"), labels, FOLDS[:4], logits)
    )
    assert (metrics.tumour_n, metrics.overall_n) == (3, 4)
    assert metrics.tumour == pytest.approx(2 / 3)
    assert metrics.overall == pytest.approx(2 / 4)
    assert metrics.recall == {"glioma": 0, "meningioma": 1, "notumor": 1, "pituitary": 0}


def test_systems_together_are_better_than_either_where_their_errors_differ():
    one, other = overconfident(2000, seed=3), overconfident(2000, seed=3)
    noise = np.random.default_rng(1).standard_normal((2, 2000, 4)) * 4
    noisy = [Predictions(p.images, p.labels, p.folds, p.logits + n) for p, n in zip((one, other), noise, strict=True)]
    together = pooling.across_folds(dict(zip("ab", noisy, strict=True)))
    accuracies = [(p.predicted == p.labels).mean() for p in (*noisy, together)]
    assert accuracies[2] > max(accuracies[:2])


def test_the_surest_slices_are_right_more_often():
    ranked = selective(overconfident(3000))
    assert ranked.accuracy(0.2) > ranked.accuracy(0.6) > ranked.accuracy(1.0)
    assert (np.diff(ranked.confidence) <= 0).all()


def test_a_consensus_that_is_silent_when_unsure_errs_less():
    one = overconfident(2000)
    verdicts, _ = decided({"cnn_v4": one, "resnet18": one})
    assert 0 < verdicts.share < 1
    assert verdicts.accuracy > verdicts.undecided_accuracy
    assert verdicts.interval[0] < verdicts.accuracy < verdicts.interval[1]


@pytest.fixture
def slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a data set of two slices in each of three folds; the weights folder lies in it too."""
    folder = tmp_path / FIGSHARE.folder
    (folder / "images").mkdir(parents=True)
    (folder / FIGSHARE.marker).touch()
    parts: dict[int, list[Record]] = {}
    for i in range(6):
        mri_slice(i, 128).save(folder / "images" / f"{i}.png")
        parts.setdefault(1 + i // 2, []).append(Record(FIGSHARE.name, f"images/{i}.png", "glioma", 1 + i // 2))
    monkeypatch.setattr("training.outoffold.patientwise_folds", lambda root: Folds(parts))
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path


def trained(runs: Path, fold: int, recipe: str) -> str:
    """A finished run of random weights; its hash."""
    torch.manual_seed(fold)
    known = json.loads(json.dumps(described(recipe, replace(get_recipe(recipe), protocol=PATIENTWISE))))
    folder = run_folder(runs, SYSTEM, recipe, 0, fold)
    installed = install(folder / "made", half(SYSTEM), SYSTEM, recipe=known)
    installed.rename(folder / "checkpoint")
    return json.loads((folder / "checkpoint" / "config.json").read_text())["sha256"]


def test_folds_trained_elsewhere_by_the_same_recipe_stay(slices):
    recipe = get_spec(SYSTEM).patientwise_recipe
    here, there = slices / "here", slices / "there"
    hashes = {str(fold): trained(here, fold, recipe) for fold in (1, 3)}
    first = read_predictions(predict_folds(SYSTEM, slices, here))
    assert first.folds == (1, 1, 3, 3)
    hashes["2"] = trained(there, 2, recipe)
    both = read_predictions(predict_folds(SYSTEM, slices, there))
    assert both.folds == (1, 1, 2, 2, 3, 3)
    np.testing.assert_array_equal(both.only(first.images).logits, first.logits)
    assert read_networks(SYSTEM).checkpoints == hashes
    # A fold that is trained anew replaces the one before.
    shutil.rmtree(here)
    hashes["1"] = trained(here, 4, recipe)
    run_folder(here, SYSTEM, recipe, 0, 4).rename(run_folder(here, SYSTEM, recipe, 0, 1))
    again = read_predictions(predict_folds(SYSTEM, slices, here))
    assert again.images == both.images
    assert (again.logits != both.logits).any(axis=1).tolist() == [True, True, False, False, False, False]
    assert read_networks(SYSTEM).checkpoints == hashes


def test_folds_by_another_recipe_are_not_mixed_with_these(slices, monkeypatch):
    recipe = get_spec(SYSTEM).patientwise_recipe
    runs = slices / "runs"
    for fold in (1, 2):
        trained(runs, fold, recipe)
    predict_folds(SYSTEM, slices, runs)
    monkeypatch.setattr("training.outoffold.get_spec", lambda name: replace(get_spec(name), patientwise_recipe="boxes"))
    trained(runs, 1, "boxes")
    with pytest.raises(NoFoldsError, match=f"2 folds by recipe {recipe}"):
        predict_folds(SYSTEM, slices, runs)
    trained(runs, 3, "boxes")
    assert read_predictions(predict_folds(SYSTEM, slices, runs)).folds == (1, 1, 3, 3)
    assert read_networks(SYSTEM).recipe == "boxes"
