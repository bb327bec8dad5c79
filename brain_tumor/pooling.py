"""What several calibrated models take for probable together, and how often that was right.

Each alone says how often it is right; together they are right more often than the mean of what they say, for their
mistakes are not the same ones. So their geometric mean has a temperature of its own, for each set of models, fitted
like theirs on out-of-fold predictions (`training.pooling`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.special import softmax

from brain_tumor.calibration import Bin, bin_of
from brain_tumor.checkpoints import CheckpointError, weights_folder

POOLS_FILE = "together.json"
SMALLEST = 1e-6
"""A probability below is taken for this one: no single model can rule a class out for all."""


@dataclass(frozen=True)
class Pool:
    """How several calibrated models are believed together.

    Attributes:
        temperature: the mean of their logarithms is divided by it before the softmax.
        bins: by confidence of what comes out, ascending, covering [0, 1].
        n: slices fitted on.
    """

    temperature: float
    bins: tuple[Bin, ...]
    n: int

    def probabilities(self, each: np.ndarray) -> np.ndarray:
        """Calibrated probabilities of M models (M, ..., 4) -> theirs together (..., 4)."""
        return geometric_mean(each, self.temperature)

    def bin_of(self, confidence: float) -> Bin:
        """Slices of unseen patients that they scored like this together."""
        return bin_of(self.bins, confidence)


Pools = Mapping[frozenset[str], Pool]
"""By the names of the models."""


def geometric_mean(each: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities (M, ..., 4) of M models -> (..., 4), summing to 1."""
    return softmax(np.log(np.clip(each, SMALLEST, 1)).mean(axis=0) / temperature, axis=-1)


def load_pools() -> Pools:
    """Those beside the checkpoints; none where there is no such file.

    Raises:
        CheckpointError: the file is not what `to_json` writes; the message names it.
    """
    path = weights_folder() / POOLS_FILE
    return _read(path, path.stat().st_mtime_ns) if path.exists() else {}


def to_json(pools: Iterable[tuple[tuple[str, ...], Pool]]) -> str:
    """The content of `together.json`, from names of models and what they are together."""
    return json.dumps([{"models": names, **asdict(pool)} for names, pool in pools], indent=1) + "\n"


@lru_cache(maxsize=4)
def _read(path: Path, _modified: int) -> Pools:
    try:
        return {
            frozenset(one["models"]): Pool(one["temperature"], tuple(Bin(**values) for values in one["bins"]), one["n"])
            for one in json.loads(path.read_text(encoding="utf-8"))
        }
    except (ValueError, KeyError, TypeError) as error:
        message = f"{path} is damaged ({error!r}). Restore it, or run `python -m training tables`."
        raise CheckpointError(message) from None
