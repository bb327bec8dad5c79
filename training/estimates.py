"""Means over slices with bootstrap intervals over patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluation import Interval, wilson

RESAMPLES = 2000
SEED = 0


@dataclass(frozen=True)
class Estimate:
    """A mean over slices with its bootstrap 95 % interval, over stand-ins for patients (`outoffold.patients`)."""

    mean: float
    interval: Interval


def estimates(values: np.ndarray, clusters: np.ndarray | None = None) -> list[Estimate]:
    """Mean of each column of (N, K), with its percentile-bootstrap 95 % interval over resamplings of whole clusters
    (Field and Welsh 2007); the same resamples for all columns. For shares of 0 and 1 it is Wilson's over the clusters.

    Args:
        clusters: a number per slice (N,); those with one number are resampled together. None: each is on its own.
    """
    values = values.astype(np.float64)
    if not len(values):
        return [Estimate(0.0, (0.0, 0.0))] * values.shape[1]
    _, places, sizes = np.unique(
        np.arange(len(values)) if clusters is None else clusters, return_inverse=True, return_counts=True
    )
    sums = np.zeros((len(sizes), values.shape[1]))
    np.add.at(sums, places, values)
    n = len(sizes)
    drawn = np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    low, high = np.percentile(drawn @ sums / (drawn @ sizes)[:, None], (2.5, 97.5), axis=0)
    found = [Estimate(float(m), (float(a), float(b))) for m, a, b in zip(values.mean(axis=0), low, high, strict=True)]
    # Of all yes or all no every resample is the same: as many patients cannot tell that much.
    alike = (values == values[0]).all(axis=0)
    return [
        Estimate(one.mean, wilson(round(one.mean * n), n)) if same and one.mean in (0, 1) else one
        for one, same in zip(found, alike, strict=True)
    ]


def estimate(values: Sequence[float] | np.ndarray, clusters: np.ndarray | None = None) -> Estimate:
    """As `estimates`, of one column (N,)."""
    return estimates(np.asarray(values)[:, None], clusters)[0]
