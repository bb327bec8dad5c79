"""Data sets in the layouts that `training.data` reads, with a handful of generated images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from brain_tumor.labels import CLASS_NAMES
from training.data import KAGGLE, ROBOFLOW


def write_kaggle(root: Path, train: int = 8, test: int = 3) -> None:
    """Kaggle's two folders, with so many images of each class."""
    write_classes(root / KAGGLE.folder / "Training", train)
    write_classes(root / KAGGLE.folder / "Testing", test)


def write_roboflow(root: Path, n: int = 3) -> None:
    """Roboflow's training split, with n images of each class."""
    write_classes(root / ROBOFLOW.folder / "train", n)


def write_classes(folder: Path, n: int) -> None:
    """One folder per class with n noisy images each, in which another quarter is bright for each class."""
    random = np.random.default_rng(0)
    for i, label in enumerate(CLASS_NAMES):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for j in range(n):
            pixels = random.integers(0, 60, (64, 64), dtype=np.uint8)
            row, column = divmod(i, 2)
            pixels[32 * row : 32 * row + 32, 32 * column : 32 * column + 32] += 150
            Image.fromarray(pixels).save(folder / label / f"{j:03d}.png")
