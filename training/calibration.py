"""Fit temperature and prediction sets on out-of-fold predictions, and measure what they are worth.

What is measured is measured across folds: fitted on four, tested on the fifth, whose patients are in none of the four.
What is written for use is fitted on all five.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from brain_tumor.calibration import LEVELS, Bin, Calibration
from brain_tumor.labels import CLASS_NAMES
from training.evaluation import Predictions

BINS = 10


@dataclass(frozen=True)
class Reliability:
    """How well scores say how often they are right.

    Attributes:
        ece: expected calibration error over BINS bins of equal size, a fraction.
        brier: mean squared distance of probabilities and truth over the four classes, 0 to 2.
        loss: mean cross-entropy, nats.
    """

    ece: float
    brier: float
    loss: float


@dataclass(frozen=True)
class Coverage:
    """Prediction sets at one nominal level, on slices of patients not seen.

    Attributes:
        covered: share of the sets that hold the true class.
        size: mean number of classes in a set.
        classes: the same two for slices of each class, by class name.
        empty: share of the slices of which no class reaches its threshold; the most probable class is in the set all
            the same, and counted above.
        covered_unfilled: share of the sets that hold the true class by the thresholds alone, as the theory has it.
    """

    level: float
    covered: float
    size: float
    classes: dict[str, tuple[float, float]]
    empty: float
    covered_unfilled: float


@dataclass(frozen=True)
class Measured:
    """Across folds: scores as they are and calibrated, and the sets at each of LEVELS."""

    n: int
    raw: Reliability
    calibrated: Reliability
    coverage: tuple[Coverage, ...]
    bins: tuple[Bin, ...]


def fit(predictions: Predictions) -> Calibration:
    """Temperature by likelihood, thresholds by class, bins of equal size."""
    temperature = fit_temperature(predictions.logits, predictions.labels)
    probabilities = softmax(predictions.logits / temperature, axis=1)
    return Calibration(
        temperature=round(temperature, 4),
        thresholds=tuple(fit_thresholds(probabilities, predictions.labels, level) for level in LEVELS),
        bins=fit_bins(probabilities, predictions.labels),
        n=len(predictions.labels),
    )


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the smallest cross-entropy, between 0.05 and 20 (Guo et al. 2017, arXiv:1706.04599)."""

    def loss(log_temperature: float) -> float:
        return -log_softmax(logits / np.exp(log_temperature), axis=1)[np.arange(len(labels)), labels].mean()

    return float(np.exp(minimize_scalar(loss, bounds=np.log((0.05, 20)), method="bounded").x))


def fit_thresholds(probabilities: np.ndarray, labels: np.ndarray, level: float) -> tuple[float, ...]:
    """For each class the probability that a share `level` of its slices reaches, with the finite-sample correction.

    A class with too few slices for the level gets 0: it is in every set.
    """
    thresholds = []
    for index in range(len(CLASS_NAMES)):
        own = np.sort(probabilities[labels == index, index])
        # Of n exchangeable slices and a new one, the new one is below the k-th smallest with probability k / (n + 1).
        k = int(np.floor((1 - level) * (len(own) + 1)))
        thresholds.append(round(float(own[k - 1]), 6) if k else 0.0)
    return tuple(thresholds)


def fit_bins(probabilities: np.ndarray, labels: np.ndarray, count: int = BINS) -> tuple[Bin, ...]:
    """Equally many slices in each, by calibrated confidence; equal confidences are not torn apart."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    edges = np.unique(np.quantile(confidence, np.arange(1, count) / count).round(4))
    edges = np.concatenate([[0.0], edges[(edges > 0) & (edges < 1)], [1.0]])
    which = np.searchsorted(edges, confidence, side="right") - 1
    which = which.clip(0, len(edges) - 2)
    return tuple(
        Bin(
            low=float(edges[i]),
            high=float(edges[i + 1]),
            confidence=round(float(confidence[which == i].mean()), 6),
            n=int((which == i).sum()),
            right=int(right[which == i].sum()),
        )
        for i in range(len(edges) - 1)
        if (which == i).any()
    )


@dataclass(frozen=True, eq=False)
class AcrossFolds:
    """What is said of each of N slices by the calibration that was fitted on the other folds.

    Attributes:
        probabilities: calibrated, (N, 4).
        sets: bool (LEVELS, N, 4), the classes that reach their threshold; none may.
    """

    probabilities: np.ndarray
    sets: np.ndarray


def by_fold(predictions: Predictions) -> dict[int | None, Calibration]:
    """For each fold, the calibration that was fitted on the others; ValueError if there are not two at least."""
    if len(set(predictions.folds)) < 2:
        raise ValueError("Calibration is measured across folds, and these predictions are of one fold or none.")
    images: dict[int | None, set[str]] = {}
    for image, fold in zip(predictions.images, predictions.folds, strict=True):
        images.setdefault(fold, set()).add(image)
    return {fold: fit(predictions.only(set(predictions.images) - own)) for fold, own in images.items()}


def across_folds(predictions: Predictions) -> AcrossFolds:
    """Fit on the other folds, apply to each; ValueError if there are not two folds at least."""
    fitted = by_fold(predictions)
    rows = zip(predictions.logits, predictions.folds, strict=True)
    probabilities = np.stack([fitted[fold].probabilities(logits) for logits, fold in rows])
    thresholds = np.array([fitted[fold].thresholds for fold in predictions.folds])
    return AcrossFolds(probabilities, probabilities >= np.moveaxis(thresholds, 1, 0))


def measure_across_folds(predictions: Predictions) -> Measured:
    """Fit on the other folds, measure on each; ValueError if there are not two folds at least."""
    found, labels = across_folds(predictions), predictions.labels
    return Measured(
        n=len(labels),
        raw=reliability(predictions.probabilities, labels),
        calibrated=reliability(found.probabilities, labels),
        coverage=tuple(
            _coverage(level, sets, found.probabilities, labels) for level, sets in zip(LEVELS, found.sets, strict=True)
        ),
        bins=fit_bins(found.probabilities, labels),
    )


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> Reliability:
    """Probabilities (N, 4) and true classes (N,)."""
    bins = fit_bins(probabilities, labels)
    truth = np.eye(probabilities.shape[1])[labels]
    own = probabilities[np.arange(len(labels)), labels]
    return Reliability(
        ece=expected_calibration_error(bins),
        brier=float(((probabilities - truth) ** 2).sum(axis=1).mean()),
        loss=float(-np.log(own.clip(1e-12)).mean()),
    )


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """Mean distance of confidence and share of right answers, weighted by size (Naeini et al. 2015)."""
    return sum(abs(b.right - b.n * b.confidence) for b in bins) / sum(b.n for b in bins)


def _coverage(level: float, sets: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> Coverage:
    empty, own = ~sets.any(axis=1), (np.arange(len(labels)), labels)
    # As `Calibration.prediction_set`: the answer is always in its set.
    shown = sets | (probabilities == probabilities.max(axis=1, keepdims=True))
    covered, size = shown[own], shown.sum(axis=1)
    return Coverage(
        level=level,
        covered=float(covered.mean()),
        size=float(size.mean()),
        classes={
            name: (float(covered[labels == i].mean()), float(size[labels == i].mean()))
            for i, name in enumerate(CLASS_NAMES)
            if (labels == i).any()
        },
        empty=float(empty.mean()),
        covered_unfilled=float(sets[own].mean()),
    )
