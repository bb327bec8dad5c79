"""Where the models went wrong, from the committed predictions: what they confuse, and their most confident mistakes.

The predictions name images and hold no picture. Pictures come from the user's own copy of the data set.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from brain_tumor.calibration import Calibration, load_calibration
from brain_tumor.catalogue import list_models
from brain_tumor.labels import CLASS_NAMES

_PREDICTIONS = Path("evaluation") / "published.csv"


@dataclass(frozen=True)
class Said:
    """One model's answer about one test image; `confidence` is calibrated where the checkpoint has a calibration."""

    model: str
    predicted_class: str
    confidence: float


@dataclass(frozen=True)
class Mistake:
    """A test image that at least one model got wrong.

    Attributes:
        image: path within the data set, with /.
        label: the class that the data set gives it; it may be what is wrong.
        said: every model's answer, in the order of the registry.
    """

    image: str
    label: str
    said: tuple[Said, ...]

    @property
    def wrong(self) -> tuple[Said, ...]:
        return tuple(said for said in self.said if said.predicted_class != self.label)

    @property
    def weight(self) -> float:
        """Mean over the models of the confidence in a wrong answer: how much of the committee was how sure."""
        return sum(said.confidence for said in self.wrong) / len(self.said)


@cache
def confident_mistakes() -> tuple[Mistake, ...]:
    """All mistakes of the offered models on the published test images, the most confident first."""
    answers: dict[tuple[str, str], list[Said]] = {}
    for model, rows in _predictions():
        for image, label, said in rows:
            answers.setdefault((image, label), []).append(Said(model, *said))
    mistakes = [Mistake(image, label, tuple(said)) for (image, label), said in answers.items()]
    return tuple(sorted((m for m in mistakes if m.wrong), key=lambda m: (-m.weight, m.image)))


@cache
def confusions(label: str) -> tuple[tuple[str, int, Counter], ...]:
    """What the offered models make of test images of one class: (model, images, wrong answers by class)."""
    found = []
    for model, rows in _predictions():
        said = [predicted for _, truth, (predicted, _) in rows if truth == label]
        found.append((model, len(said), Counter(predicted for predicted in said if predicted != label)))
    return tuple(found)


def _predictions() -> Sequence[tuple[str, list[tuple[str, str, tuple[str, float]]]]]:
    found = []
    for model in list_models(available_only=True):
        path = model.checkpoint.folder / _PREDICTIONS
        if model.spec.offered and path.is_file():
            found.append((model.spec.name, _read(path, load_calibration(model.checkpoint.folder))))
    return found


def _read(path: Path, calibration: Calibration | None) -> list[tuple[str, str, tuple[str, float]]]:
    calibration = calibration or Calibration(1.0, (), (), 0)
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    logits = np.array([[float(row[f"logit_{name}"]) for name in CLASS_NAMES] for row in rows])
    probabilities = calibration.probabilities(logits)
    return [
        (row["image"], row["label"], (CLASS_NAMES[int(p.argmax())], float(p.max())))
        for row, p in zip(rows, probabilities, strict=True)
    ]
