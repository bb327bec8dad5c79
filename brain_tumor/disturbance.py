"""Ways to disturb a slice: how far can a picture be changed before the answer about it changes?

Three kinds. Some take away what should not matter (the border, all outside the head, the skull) or add it (writing): an
answer that flips rested on a shortcut. Some are what another scanner, window, file format or patient position does to a
slice. And a mirror image is as good a slice as the first, while a slice upside down is one that no network here was
shown. Every change is deterministic, works on pictures of any size, and leaves them that size.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from scipy import ndimage

NOISE_SEED = 0
# Share of the brightness of the brightest tissue above which a pixel is not air.
_TISSUE = 0.12


class UnknownDisturbanceError(ValueError):
    """No disturbance of that name; the message lists those that exist."""


@dataclass(frozen=True)
class Disturbance:
    """One way to change a slice.

    Attributes:
        name: identifier.
        title: what people read where a severity follows, as in "Brightness times 1.4".
        control: what people read where there is none: beside a switch or a slider, in a table of several changes.
        amount: what its severity is, where unit and control do not say so.
        unit: of a severity, "" where it has none.
        severities: those that are measured, ascending; any number between the extremes and `neutral` may be asked for.
        neutral: the severity that changes nothing; None where even the mildest changes something.
        change: (RGB image, severity) -> RGB image of the same size.
    """

    name: str
    title: str
    control: str
    amount: str
    unit: str
    severities: tuple[float, ...]
    neutral: float | None
    change: Callable[[Image.Image, float], Image.Image]

    @property
    def limits(self) -> tuple[float, float]:
        """The smallest and the largest severity that may be asked for."""
        values = self.severities if self.neutral is None else (*self.severities, self.neutral)
        return min(values), max(values)

    def text(self, severity: float) -> str:
        """A severity as people read it, for example "−5°" or "20 %"; "yes" for a change that is made or not."""
        if len(self.severities) == 1:
            return "yes"
        number = f"{severity:g}".replace("-", "−")
        return f"{number}{self.unit}" if self.unit in ("", "°") else f"{number} {self.unit}"


def disturb(image: Image.Image, name: str, severity: float) -> Image.Image:
    """Change a slice.

    Args:
        image: of any size and mode; left as it is.
        name: a key of `DISTURBANCES`.
        severity: within `Disturbance.limits`.

    Returns:
        A new image, RGB, of the same size; the same pixels for the same arguments.

    Raises:
        UnknownDisturbanceError: no disturbance of that name.
        ValueError: the severity is out of its limits.
    """
    disturbance = get_disturbance(name)
    low, high = disturbance.limits
    if not low <= severity <= high:
        raise ValueError(f"{disturbance.title} goes from {low:g} to {high:g}, not to {severity:g}.")
    image = image.convert("RGB")
    return image.copy() if severity == disturbance.neutral else disturbance.change(image, severity)


def get_disturbance(name: str) -> Disturbance:
    """The disturbance of that name; UnknownDisturbanceError lists those that exist."""
    try:
        return DISTURBANCES[name]
    except KeyError:
        raise UnknownDisturbanceError(
            f"Unknown disturbance {name!r}; the disturbances are {', '.join(DISTURBANCES)}."
        ) from None


def head_mask(image: Image.Image) -> np.ndarray:
    """Where the head is: the largest connected piece that is not air, without holes.

    Returns:
        bool (H, W); all True where the picture is blank.
    """
    grey = ndimage.gaussian_filter(np.asarray(image.convert("L"), dtype=np.float32), max(image.size) / 200)
    tissue = grey > _TISSUE * np.percentile(grey, 99)
    pieces, count = ndimage.label(tissue)
    if not count:
        return np.ones_like(tissue)
    largest = 1 + np.argmax(ndimage.sum_labels(tissue, pieces, range(1, count + 1)))
    return ndimage.binary_fill_holes(pieces == largest)


def _border(image: Image.Image, severity: float) -> Image.Image:
    width, height = image.size
    x, y = (round(side * severity / 100) for side in image.size)
    framed = Image.new("RGB", image.size)
    framed.paste(image.crop((x, y, width - x, height - y)), (x, y))
    return framed


def _skull(image: Image.Image, severity: float) -> Image.Image:
    head = head_mask(image)
    # The radius of a disc as large as the head. The frame of air lets the distance count from the picture's edge too.
    radius = math.sqrt(head.sum() / math.pi)
    depth = ndimage.distance_transform_edt(np.pad(head, 1))[1:-1, 1:-1]
    return Image.fromarray(
        np.where((depth > radius * severity / 100)[..., None], np.asarray(image), 0).astype(np.uint8)
    )


def _writing(image: Image.Image, severity: float) -> Image.Image:
    written = image.copy()
    pencil = ImageDraw.Draw(written)
    width, height = image.size
    size = max(1.0, height * severity / 100)
    font, margin = ImageFont.load_default(size), size / 3
    # What a console burns into exported slices: side, sequence, slice position, window.
    for text, x, y, anchor in (
        ("T1 +C\nSE 4 IM 12", margin, margin, "la"),
        ("W 600\nL 300", width - margin, height - margin, "rd"),
        ("R", margin, height / 2, "lm"),
        ("L", width - margin, height / 2, "rm"),
    ):
        if "\n" in text:
            # Several lines have no bottom anchor: the lower corner is reached from the size of the block.
            left, top, right, bottom = pencil.multiline_textbbox((0, 0), text, font=font)
            x, y = (x - right, y - bottom) if anchor == "rd" else (x - left, y - top)
            pencil.multiline_text((x, y), text, fill="white", font=font)
        else:
            pencil.text((x, y), text, fill="white", font=font, anchor=anchor)
    return written


def _brightness(image: Image.Image, severity: float) -> Image.Image:
    return image.point(lambda value: value * severity)


def _contrast(image: Image.Image, severity: float) -> Image.Image:
    mean = float(np.asarray(image.convert("L")).mean())
    return image.point(lambda value: mean + (value - mean) * severity)


def _gamma(image: Image.Image, severity: float) -> Image.Image:
    return image.point(lambda value: 255 * (value / 255) ** severity)


def _noise(image: Image.Image, severity: float) -> Image.Image:
    # The magnitude of a complex signal with Gaussian noise in both parts (Gudbjartsson and Patz 1995,
    # doi:10.1002/mrm.1910340618): unlike Gaussian noise it lifts the black of the background.
    real, imaginary = np.random.default_rng(NOISE_SEED).standard_normal((2, image.height, image.width, 1))
    sigma = 255 * severity / 100
    noisy = np.hypot(np.asarray(image) + sigma * real, sigma * imaginary)
    return Image.fromarray(np.rint(noisy.clip(0, 255)).astype(np.uint8))


def _blur(image: Image.Image, severity: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(max(image.size) * severity / 100))


def _jpeg(image: Image.Image, severity: float) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=round(severity))
    return Image.open(file).convert("RGB")


def _coarse(image: Image.Image, severity: float) -> Image.Image:
    shrink = severity / max(image.size)
    if shrink >= 1:
        return image.copy()
    small = image.resize([max(1, round(side * shrink)) for side in image.size], Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.BILINEAR)


def _turn(image: Image.Image, severity: float) -> Image.Image:
    return image.rotate(severity, Image.Resampling.BILINEAR)


def _shift(image: Image.Image, severity: float) -> Image.Image:
    moved = Image.new("RGB", image.size)
    moved.paste(image, (round(image.width * severity / 100), 0))
    return moved


def _scale(image: Image.Image, severity: float) -> Image.Image:
    zoom = 1 / severity
    x, y = (side * (1 - zoom) / 2 for side in image.size)
    return image.transform(
        image.size, Image.Transform.AFFINE, (zoom, 0, x, 0, zoom, y), resample=Image.Resampling.BILINEAR
    )


_DISTURBANCES = (
    Disturbance("border", "Border blackened", "Black border", "", "% of the side", (2, 5, 10, 15), 0, _border),
    Disturbance(
        "skull",
        "All but the head blackened, less a rim of",
        "Nothing but the head",
        "rim cut off",
        "% of its radius",
        (0, 5, 10, 20),
        None,
        _skull,
    ),
    Disturbance(
        "writing",
        "Writing burned in, height",
        "Burned-in writing",
        "height",
        "% of the picture",
        (3, 5, 7, 10),
        0,
        _writing,
    ),
    Disturbance(
        "mirror",
        "Mirrored, left for right",
        "Mirrored, left for right",
        "",
        "",
        (1,),
        0,
        lambda image, _: ImageOps.mirror(image),
    ),
    Disturbance("upside_down", "Upside down", "Upside down", "", "", (1,), 0, lambda image, _: ImageOps.flip(image)),
    Disturbance("brightness", "Brightness times", "Brightness", "", "", (0.5, 0.75, 1.25, 1.5), 1, _brightness),
    Disturbance("contrast", "Contrast times", "Contrast", "", "", (0.5, 0.75, 1.25, 1.5), 1, _contrast),
    Disturbance("gamma", "Gamma", "Gamma", "", "", (0.5, 0.7, 1.4, 2), 1, _gamma),
    Disturbance("noise", "Rician noise, sigma", "Rician noise", "sigma", "% of white", (2, 5, 10, 20), 0, _noise),
    Disturbance("blur", "Blur, sigma", "Blur", "sigma", "% of the side", (0.25, 0.5, 1, 2), 0, _blur),
    Disturbance("jpeg", "JPEG, quality", "JPEG compression", "quality", "", (5, 10, 20, 50), None, _jpeg),
    Disturbance(
        "coarse", "Coarser, longer side", "Coarser pixels", "longer side", "px", (32, 48, 64, 96), None, _coarse
    ),
    Disturbance("turn", "Turned anticlockwise", "Turned anticlockwise", "", "°", (-15, -5, 5, 15), 0, _turn),
    Disturbance(
        "shift", "Shifted to the right", "Shifted to the right", "", "% of the width", (-10, -5, 5, 10), 0, _shift
    ),
    Disturbance("scale", "Size times", "Size", "", "", (0.8, 0.9, 1.1, 1.2), 1, _scale),
)
DISTURBANCES = {disturbance.name: disturbance for disturbance in _DISTURBANCES}
