"""Who is training, validation and test. A protocol is a function of the data on disk and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from training.data import KAGGLE, ROBOFLOW, Record, read_records

SPLIT_SEED = 42
TRAIN_FRACTION = 0.85


@dataclass(frozen=True)
class Split:
    """Disjoint lists of images. `val` chooses the epoch, `test` is looked at once."""

    train: list[Record]
    val: list[Record]
    test: list[Record]


def published(root: Path) -> Split:
    """Study A: 85 % of Kaggle `Training` to train, 15 % to validate, Kaggle `Testing` to test.

    The permutation is that of `torch.utils.data.random_split` on an `ImageFolder` with a generator seeded 42.
    """
    records = read_records(KAGGLE, root, "Training")
    order = torch.randperm(len(records), generator=torch.Generator().manual_seed(SPLIT_SEED)).tolist()
    cut = int(TRAIN_FRACTION * len(records))
    return Split(
        train=[records[i] for i in order[:cut]],
        val=[records[i] for i in order[cut:]],
        test=read_records(KAGGLE, root, "Testing"),
    )


def external(root: Path) -> Split:
    """Study B: Kaggle `Training` to train, Kaggle `Testing` to validate, the Roboflow images to test."""
    return Split(
        train=read_records(KAGGLE, root, "Training"),
        val=read_records(KAGGLE, root, "Testing"),
        test=read_records(ROBOFLOW, root, "train"),
    )


PROTOCOLS: dict[str, Callable[[Path], Split]] = {"published": published, "external": external}
