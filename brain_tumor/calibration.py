"""How often a score was right on patients whom the network had not seen, and which classes cannot be ruled out.

Everything here is read from `calibration.json` beside a checkpoint. It is fitted on out-of-fold predictions:
networks of the same kind, trained on fewer images, each asked about the fifth of the patients that it was not trained
on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.special import softmax

from brain_tumor.labels import CLASS_NAMES

CALIBRATION_FILE = "calibration.json"
LEVELS = (0.90, 0.95)
"""Nominal coverages of the prediction sets; the page and the command line show those of the last one."""


@dataclass(frozen=True)
class Bin:
    """Out-of-fold slices whose calibrated confidence was in [low, high): of `n`, `right` were answered rightly.

    `confidence` is their mean calibrated confidence; where the answer is a tumour's place, how sure the maps were.
    """

    low: float
    high: float
    confidence: float
    n: int
    right: int

    @property
    def of_hundred(self) -> int:
        """How many of 100 were right; all, or none, only where it was so."""
        rounded = round(100 * self.right / self.n)
        return rounded if self.right in (0, self.n) else min(max(rounded, 1), 99)


def bin_of(bins: Sequence[Bin], confidence: float) -> Bin:
    """That of ascending bins, from 0 on, which a confidence falls into."""
    return next(b for b in reversed(bins) if confidence >= b.low)


@dataclass(frozen=True)
class Calibration:
    """What out-of-fold predictions say about a network's scores.

    Attributes:
        temperature: logits are divided by it before the softmax (Guo et al. 2017, arXiv:1706.04599).
        thresholds: for each of LEVELS and each class, the probability from which the class is in the prediction set:
            split conformal prediction, class by class (Sadinle et al. 2019, doi:10.1080/01621459.2017.1395341).
        bins: by calibrated confidence, ascending, covering [0, 1].
        n: slices fitted on.
    """

    temperature: float
    thresholds: tuple[tuple[float, ...], ...]
    bins: tuple[Bin, ...]
    n: int

    def probabilities(self, logits: Sequence[float] | np.ndarray) -> np.ndarray:
        """Logits (..., 4) -> calibrated probabilities (..., 4)."""
        return softmax(np.asarray(logits, dtype=np.float64) / self.temperature, axis=-1)

    def prediction_set(self, probabilities: np.ndarray, level: float = LEVELS[-1]) -> tuple[str, ...]:
        """The classes that cannot be ruled out at that level, most probable first.

        The most probable class is always among them: what is answered is not ruled out in the same breath, and the
        truth is in the set no less often for it.

        Args:
            probabilities: calibrated, (4,).
            level: one of LEVELS.
        """
        thresholds = self.thresholds[LEVELS.index(level)]
        ranked = np.argsort(-probabilities, kind="stable")
        chosen = [i for i in ranked if i == ranked[0] or probabilities[i] >= thresholds[i]]
        return tuple(CLASS_NAMES[i] for i in chosen)

    def bin_of(self, confidence: float) -> Bin:
        """Slices of unseen patients that were scored like this."""
        return bin_of(self.bins, confidence)

    def to_json(self) -> str:
        """The content of `calibration.json`."""
        return json.dumps(asdict(self), indent=1) + "\n"


def load_calibration(folder: Path) -> Calibration | None:
    """The calibration beside a checkpoint; None where it has none.

    Raises:
        ValueError: the file is not what `Calibration.to_json` writes; the message names it.
    """
    path = folder / CALIBRATION_FILE
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Calibration(
            temperature=content["temperature"],
            thresholds=tuple(map(tuple, content["thresholds"])),
            bins=tuple(Bin(**values) for values in content["bins"]),
            n=content["n"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}). Restore it, or run `python -m training tables`.") from None
