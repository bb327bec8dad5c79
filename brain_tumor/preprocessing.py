"""Slice -> tensor, the same for training, evaluation and the app.

Two steps, so that training can augment between them: `fit` resizes an image to 8-bit pixels, `normalize` turns pixels
into what the network sees. `preprocess` is both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """How one system sees a slice: squeezed to `size` x `size` px, RGB in [0, 1], then (value - mean) / std."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


STUDY_A_CNN = Preprocessing(128, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
IMAGENET = Preprocessing(224, mean=IMAGENET_MEAN, std=IMAGENET_STD)
FOCUSED = Preprocessing(352, mean=IMAGENET_MEAN, std=IMAGENET_STD)
UNNORMALIZED = Preprocessing(224, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def fit(image: Image.Image, size: int) -> Tensor:
    """Resize to a square of `size` px as torchvision's `Resize((size, size))` does on PIL images.

    The aspect ratio is given up on purpose: both studies and the Kaggle images themselves were made so.

    Returns:
        uint8 (3, size, size), RGB.
    """
    image = image.convert("RGB")
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def normalize(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Pixels (N, 3, H, W), uint8 or float in [0, 1] -> float (N, 3, H, W), in the range the network was trained on."""
    if pixels.dtype == torch.uint8:
        pixels = pixels.float() / 255
    mean, std = (
        torch.tensor(values, dtype=pixels.dtype).to(pixels.device, non_blocking=True).view(3, 1, 1)
        for values in (preprocessing.mean, preprocessing.std)
    )
    return (pixels - mean).div_(std)


def preprocess(images: Sequence[Image.Image], preprocessing: Preprocessing) -> Tensor:
    """Images of any size -> float (N, 3, size, size), ready for the network."""
    return normalize(torch.stack([fit(image, preprocessing.size) for image in images]), preprocessing)
