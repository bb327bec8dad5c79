"""Accuracies on patients not seen: what is counted, and how wide the intervals are."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from test_calibration import overconfident

from brain_tumor.labels import class_index
from training.data import FIGSHARE
from training.evaluation import Predictions
from training.outoffold import CLUSTERS_FILE, distinct, ensemble, measure_patientwise, patients
from training.patients import PATIENTS
from training.protocols import FOLDS, read_groups
from training.selective import decided, selective


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
    accuracies = [(p.predicted == p.labels).mean() for p in (*noisy, ensemble(noisy))]
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
