"""Calibrated scores are frequencies, prediction sets cover, and files that are damaged say so."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from brain_tumor.calibration import CALIBRATION_FILE, LEVELS, load_calibration
from brain_tumor.labels import CLASS_NAMES
from training import calibration
from training.evaluation import Predictions

TRUE_TEMPERATURE = 2.5


def overconfident(n: int, seed: int = 0, folds: int = 5) -> Predictions:
    """Logits whose frequencies are those of the softmax at TRUE_TEMPERATURE."""
    random = np.random.default_rng(seed)
    logits = 4 * random.standard_normal((n, 4))
    frequencies = softmax(logits / TRUE_TEMPERATURE, axis=1)
    labels = np.array([random.choice(4, p=row) for row in frequencies])
    return Predictions(tuple(map(str, range(n))), labels, tuple(1 + i % folds for i in range(n)), logits)


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    return overconfident(6000)


def test_temperature_is_found(predictions):
    assert calibration.fit(predictions).temperature == pytest.approx(TRUE_TEMPERATURE, rel=0.05)


def test_calibration_brings_scores_to_frequencies(predictions):
    measured = calibration.measure_across_folds(predictions)
    assert measured.raw.ece > 0.1
    assert measured.calibrated.ece < 0.02
    assert measured.calibrated.brier < measured.raw.brier


@pytest.mark.parametrize("level", LEVELS)
def test_sets_cover_slices_of_every_class_that_were_not_fitted_on(predictions, level):
    fitted, fresh = calibration.fit(predictions), overconfident(4000, seed=1)
    sets = [fitted.prediction_set(fitted.probabilities(row), level) for row in fresh.logits]
    for index, name in enumerate(CLASS_NAMES):
        own = fresh.labels == index
        covered = np.mean([name in chosen for chosen, mine in zip(sets, own, strict=True) if mine])
        assert covered == pytest.approx(level, abs=0.025), name


def test_measured_coverage_is_the_nominal_one(predictions):
    for coverage in calibration.measure_across_folds(predictions).coverage:
        assert coverage.covered == pytest.approx(coverage.level, abs=0.015)
        assert 1 <= coverage.size <= 4


def test_a_set_is_never_empty_and_leads_with_the_most_probable(predictions):
    fitted = calibration.fit(predictions)
    for row in predictions.logits[:500]:
        chosen = fitted.prediction_set(fitted.probabilities(row), LEVELS[0])
        assert chosen[0] == CLASS_NAMES[row.argmax()] or row.argmax() not in map(CLASS_NAMES.index, chosen)
        assert chosen


def test_classes_with_too_few_slices_are_never_ruled_out():
    few = overconfident(40)
    labels = np.where(few.labels == 2, 0, few.labels)
    labels[0] = 2
    fitted = calibration.fit(Predictions(few.images, labels, few.folds, few.logits))
    assert fitted.thresholds[LEVELS.index(0.95)][2] == 0


def test_bins_count_every_slice_once(predictions):
    fitted = calibration.fit(predictions)
    assert sum(b.n for b in fitted.bins) == fitted.n == len(predictions.labels)
    for low, high in zip(fitted.bins, fitted.bins[1:], strict=False):
        assert low.high == high.low
    for confidence in (0.25, 0.5, fitted.bins[3].low, 1.0):
        found = fitted.bin_of(confidence)
        assert found.low <= confidence <= found.high


def test_file_holds_what_was_fitted(predictions, tmp_path):
    fitted = calibration.fit(predictions)
    (tmp_path / CALIBRATION_FILE).write_text(fitted.to_json())
    assert load_calibration(tmp_path) == fitted


def test_no_file_is_no_calibration(tmp_path):
    assert load_calibration(tmp_path) is None


@pytest.mark.parametrize("content", ["{", "{}", '{"temperature": 1, "thresholds": [], "bins": [{}], "n": 1}'])
def test_damaged_file_is_named(tmp_path, content):
    (tmp_path / CALIBRATION_FILE).write_text(content)
    with pytest.raises(ValueError, match=CALIBRATION_FILE):
        load_calibration(tmp_path)


def test_one_fold_alone_cannot_be_measured():
    with pytest.raises(ValueError, match="one fold"):
        calibration.measure_across_folds(overconfident(100, folds=1))
