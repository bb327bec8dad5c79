"""What several models take for probable together: calibrated, honest about folds, and kept beside the checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brain_tumor.checkpoints import CheckpointError
from brain_tumor.pooling import POOLS_FILE, geometric_mean, load_pools, to_json
from training import calibration, pooling
from training.evaluation import Predictions
from training.protocols import FOLDS

N = 3000


@pytest.fixture(scope="module")
def systems() -> dict[str, Predictions]:
    """Two systems that err on their own account, each calibrated."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, N)
    folds = tuple(FOLDS[i % 5] for i in range(N))
    images = tuple(f"{i}.png" for i in range(N))
    truth = 2 * np.eye(4)[labels]
    return {name: Predictions(images, labels, folds, truth + rng.standard_normal((N, 4))) for name in ("one", "other")}


def test_together_they_are_calibrated_where_their_mean_is_not(systems):
    together = pooling.across_folds(systems)
    mean = np.mean([calibration.across_folds(p).probabilities for p in systems.values()], axis=0)
    measured, plain = (calibration.reliability(p, together.labels) for p in (together.probabilities, mean))
    assert measured.ece < 0.03 < plain.ece
    assert measured.brier < plain.brier


def test_what_is_said_of_a_fold_does_not_come_from_it(systems):
    first = np.array(systems["one"].folds) == FOLDS[0]
    labels = np.where(first, (systems["one"].labels + 1) % 4, systems["one"].labels)
    wrong = {name: replace(p, labels=labels) for name, p in systems.items()}
    said, known = (pooling.across_folds(found).logits for found in (wrong, systems))
    assert np.array_equal(said[first], known[first])
    assert not np.array_equal(said[~first], known[~first])


def test_only_slices_that_all_were_asked_about_count_and_their_order_does_not(systems):
    asked = [image for i, image in enumerate(systems["one"].images) if i % 5 in (0, 1)]
    backwards = replace(
        systems["other"],
        images=systems["other"].images[::-1],
        labels=systems["other"].labels[::-1],
        folds=systems["other"].folds[::-1],
        logits=systems["other"].logits[::-1],
    )
    together = pooling.across_folds({"one": systems["one"], "other": backwards.only(asked)})
    assert together.images == tuple(asked)
    assert (together.predicted == together.labels).mean() > 0.9
    assert set(together.folds) == set(FOLDS[:2])


def test_every_choice_of_models_is_kept_beside_the_checkpoints(systems, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(tmp_path))
    assert load_pools() == {}
    pools = pooling.fit_all(systems | {"third": systems["one"]})
    (tmp_path / POOLS_FILE).write_text(to_json(pools))
    assert load_pools() == {frozenset(names): pool for names, pool in pools}
    assert {len(names) for names in load_pools()} == {2, 3} and len(load_pools()) == 4
    (tmp_path / POOLS_FILE).write_text("[{}]")
    with pytest.raises(CheckpointError, match="training tables"):
        load_pools()


def test_no_model_alone_can_rule_a_class_out_for_all():
    sure, unsure = np.array([1.0, 0, 0, 0]), np.array([0.1, 0.7, 0.1, 0.1])
    found = geometric_mean(np.stack([sure, unsure]))
    assert found.sum() == pytest.approx(1) and (found > 0).all()
