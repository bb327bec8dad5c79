"""What is gained by silence: accuracy over the slices that are still answered, when the unsure ones are not.

On out-of-fold predictions, with calibrations of the other folds: neither the networks nor what is known about their
scores has seen the patient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from brain_tumor.calibration import Calibration
from brain_tumor.inference import Prediction
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.trust import consensus
from training import calibration, pooling
from training.estimates import estimate
from training.evaluation import Interval, Predictions
from training.outoffold import patients

SHARES = (0.5, 0.8, 0.9, 1.0)
"""Shares of the slices, the surest first, of which the accuracy is stated."""


@dataclass(frozen=True)
class Selective:
    """Right answers among the surest slices.

    Attributes:
        confidence: of each slice, descending, (N,).
        right: whether it was answered rightly, bool (N,), in the same order.
    """

    confidence: np.ndarray
    right: np.ndarray

    def accuracy(self, share: float) -> float:
        """Of the surest `share` of the slices, a fraction."""
        return float(self.right[: max(1, round(share * len(self.right)))].mean())

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Share answered (N,) and accuracy among the answered (N,)."""
        n = np.arange(1, len(self.right) + 1)
        return n / len(n), self.right.cumsum() / n


@dataclass(frozen=True)
class Decided:
    """The consensus' verdicts on slices of patients not seen.

    Attributes:
        n: slices.
        share: of them got a class; the others are called uncertain.
        accuracy: among those that got one.
        interval: 95 %, over patients.
        undecided_accuracy: of the most probable class among the others; None where there is none.
    """

    n: int
    share: float
    accuracy: float
    interval: Interval
    undecided_accuracy: float | None


def out_of_fold(predictions: Predictions) -> list[Prediction]:
    """What the page would have said of each slice, with the calibration of the other folds; no model named yet."""
    fitted = calibration.by_fold(predictions)
    return [
        _prediction(logits, fitted[fold]) for logits, fold in zip(predictions.logits, predictions.folds, strict=True)
    ]


def selective(predictions: Predictions) -> Selective:
    """One system, by its calibrated confidence."""
    answers = out_of_fold(predictions)
    return _ranked([a.confidence for a in answers], [a.predicted_class for a in answers], predictions.labels)


def decided(
    systems: Mapping[str, Predictions],
    overlaps: Mapping[str, float] | None = None,
    places: Mapping[str, Mapping[str, float]] | None = None,
) -> tuple[Decided, Selective]:
    """Several systems together, on the slices that all of them were asked about.

    Args:
        overlaps: image -> the overlap of their heatmaps, or of those of some of them; it counts where all agree.
        places: system -> image -> `Prediction.surest_place`, where that was measured.
    """
    overlaps, places = overlaps or {}, places or {}
    fitted = pooling.by_fold(systems)
    shared = pooling.in_common(systems)
    first = next(iter(shared.values()))
    found = []
    for i, (image, fold) in enumerate(zip(first.images, first.folds, strict=True)):
        known = fitted[fold]
        answers = [
            replace(
                _prediction(p.logits[i], known.calibrations[name]),
                model=name,
                surest_place=places.get(name, {}).get(image),
            )
            for name, p in shared.items()
        ]
        pools = {frozenset(systems): known.pool}
        agree = len({answer.predicted_class for answer in answers}) == 1
        found.append(consensus(answers, overlaps.get(image) if agree else None, pools=pools))
    leading = [c.leading for c in found]
    right = np.array([CLASS_NAMES.index(name) for name in leading]) == first.labels
    sure = np.array([c.decided for c in found])
    clusters = patients(first.images)
    verdicts = Decided(
        n=len(found),
        share=float(sure.mean()),
        accuracy=float(right[sure].mean()),
        interval=estimate(right[sure], clusters[sure]).interval,
        undecided_accuracy=float(right[~sure].mean()) if (~sure).any() else None,
    )
    return verdicts, _ranked([c.probability for c in found], leading, first.labels)


def _ranked(confidence: list[float], predicted: list[str], labels: np.ndarray) -> Selective:
    order = np.argsort(-np.array(confidence), kind="stable")
    right = np.array([CLASS_NAMES.index(name) for name in predicted]) == labels
    return Selective(np.array(confidence)[order], right[order])


def _prediction(logits: np.ndarray, fitted: Calibration) -> Prediction:
    probabilities = fitted.probabilities(logits)
    named = dict(zip(CLASS_NAMES, probabilities.tolist(), strict=True))
    return Prediction(
        model="",
        predicted_class=CLASS_NAMES[int(probabilities.argmax())],
        probabilities=named,
        logits=tuple(logits.tolist()),
        milliseconds=0.0,
        calibrated_probabilities=named,
        prediction_set=fitted.prediction_set(probabilities),
    )
