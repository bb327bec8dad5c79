"""Fit what several systems take for probable together (`brain_tumor.pooling`), on out-of-fold predictions.

What is measured is measured across folds: temperatures, theirs and the common one, are fitted without the fold that
they are applied to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from brain_tumor.calibration import Calibration
from brain_tumor.pooling import Pool, geometric_mean
from training import calibration
from training.evaluation import Predictions


@dataclass(frozen=True)
class Fitted:
    """What some folds say of several systems: of each alone, and of all together."""

    calibrations: dict[str, Calibration]
    pool: Pool


def fit(systems: Mapping[str, Predictions]) -> Fitted:
    """Each system on all that it was asked; together, on what all of them were asked."""
    calibrations = {name: calibration.fit(predictions) for name, predictions in systems.items()}
    shared = in_common(systems)
    each = np.stack([calibrations[name].probabilities(predictions.logits) for name, predictions in shared.items()])
    labels = next(iter(shared.values())).labels
    temperature = round(calibration.fit_temperature(np.log(geometric_mean(each)), labels), 4)
    bins = calibration.fit_bins(geometric_mean(each, temperature), labels)
    return Fitted(calibrations, Pool(temperature, bins, len(labels)))


def fit_all(systems: Mapping[str, Predictions]) -> list[tuple[tuple[str, ...], Pool]]:
    """Every choice of two systems or more that a visitor can make."""
    return [
        (names, fit({name: systems[name] for name in names}).pool)
        for count in range(2, len(systems) + 1)
        for names in combinations(systems, count)
    ]


def by_fold(systems: Mapping[str, Predictions]) -> dict[int | None, Fitted]:
    """For each fold that all systems were asked about, what the others say."""
    return {
        fold: fit({name: _without(predictions, fold) for name, predictions in systems.items()})
        for fold in sorted(set(next(iter(in_common(systems).values())).folds))
    }


def across_folds(systems: Mapping[str, Predictions]) -> Predictions:
    """What they take for probable together, on the images that all were asked about, as natural logarithms; each fold
    by what the others say."""
    fitted = by_fold(systems)
    shared = in_common(systems)
    first = next(iter(shared.values()))
    folds = np.array(first.folds)
    logits = np.zeros_like(first.logits)
    for fold, found in fitted.items():
        here = folds == fold
        each = [found.calibrations[name].probabilities(p.logits[here]) for name, p in shared.items()]
        logits[here] = np.log(found.pool.probabilities(np.stack(each)))
    return Predictions(first.images, first.labels, first.folds, logits)


def in_common(systems: Mapping[str, Predictions]) -> dict[str, Predictions]:
    """On the images that all were asked about, in the order of the first."""
    common = frozenset.intersection(*(frozenset(predictions.images) for predictions in systems.values()))
    order = [image for image in next(iter(systems.values())).images if image in common]
    return {name: _ordered(predictions, order) for name, predictions in systems.items()}


def _ordered(predictions: Predictions, images: list[str]) -> Predictions:
    place = {image: i for i, image in enumerate(predictions.images)}
    rows = np.array([place[image] for image in images], dtype=int)
    return Predictions(
        tuple(images), predictions.labels[rows], tuple(predictions.folds[i] for i in rows), predictions.logits[rows]
    )


def _without(predictions: Predictions, fold: int | None) -> Predictions:
    pairs = zip(predictions.images, predictions.folds, strict=True)
    return predictions.only({image for image, own in pairs if own != fold})
