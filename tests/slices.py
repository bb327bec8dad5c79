"""Slices that look somewhat like brain MRI, drawn by program: no patient was ever near them."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter


def mri_slice(
    seed: int = 0, size: int = 256, tumour: tuple[float, float, float] | None = (0.32, -0.1, 0.16)
) -> Image.Image:
    """An axial T1-like phantom: scalp, skull, brain with cortical folds, ventricles, and a bright mass.

    Args:
        seed: varies shape and texture.
        size: side, px.
        tumour: (x, y, radius) of the mass in units of half the image; None draws none.

    Returns:
        RGB (size, size), the same pixels for the same arguments.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    width, height = 0.68 + 0.04 * rng.random(), 0.82 + 0.04 * rng.random()
    angle = np.arctan2(y / height, x / width)
    radius = np.hypot(x / width, y / height) * (1 + 0.015 * np.sin(3 * angle + rng.random() * 6))
    folds = np.sin(14 * angle + 6 * np.sin(9 * radius + rng.random() * 6)) * np.sin(22 * radius)
    pixels = np.zeros_like(x)
    pixels[radius < 1.0] = 0.75  # scalp
    pixels[radius < 0.94] = 0.08  # skull
    brain = radius < 0.87
    pixels[brain] = (0.42 + 0.07 * (radius < 0.72) + 0.07 * np.clip(folds, -1, 1) * (radius > 0.45))[brain]
    for side in (-1, 1):
        ventricle = np.hypot((x - side * 0.09) / 0.06, (y + 0.02 - 0.3 * np.abs(x)) / 0.2) < 1
        pixels[ventricle] = 0.14
    pixels[(np.abs(x) < 0.008) & brain] = 0.2  # the fissure between the hemispheres
    if tumour:
        tx, ty, tr = tumour
        mass = np.hypot(x - tx, y - ty) < tr * (1 + 0.08 * np.sin(5 * np.arctan2(y - ty, x - tx)))
        pixels[mass & brain] = 0.88
    noise = Image.fromarray((255 * rng.random((size // 2, size // 2))).astype(np.uint8)).resize((size, size))
    pixels = pixels * (0.92 + 0.16 * np.asarray(noise) / 255) + 0.01 * rng.standard_normal(pixels.shape)
    image = Image.fromarray((255 * pixels.clip(0, 1)).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(size / 300)).convert("RGB")
