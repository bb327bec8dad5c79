"""Voxels -> the slices that a radiologist would be shown: planes, windows, square pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation
from PIL import Image

from brain_tumor.acquisition import BRIGHTER, Caution
from brain_tumor.images import MIN_SIDE, ImageError

SLICED_ALONG = {"axial": 2, "coronal": 1, "sagittal": 0, "original": 2}
"""Plane -> the axis of `Volume.voxels` that its slices are counted along. Where nothing says how images lie in the
body, the only plane is "original": as stored."""

LINEAR_EXACT, LINEAR, SIGMOID = "LINEAR_EXACT", "LINEAR", "SIGMOID"  # values of DICOM's VOILUTFunction

# Fewer slices than these give a strip between which all is interpolation, not a view from another side.
_MIN_REFORMATTED = 16
_MAX_SIDE = 4096  # of a slice whose pixels are made square, px
# A window is brighter than the one in which the scan opens where it shows the middle of that one lighter than this
# grey, in [0, 1]: as those do that viewers choose, and that cost two scans most of their tumours (docs/trust.md).
_MIDDLE_SHOWN_AT = 0.6


@dataclass(frozen=True)
class Window:
    """What is shown black and white: `centre` +- `width` / 2, in the file's units (HU in CT, arbitrary in MR).

    Attributes:
        centre: "level" on consoles.
        width: above 0.
        function: LINEAR_EXACT, or as the file asks, DICOM's LINEAR (half a step lower, one step narrower) or SIGMOID.
    """

    centre: float
    width: float
    function: str = LINEAR_EXACT

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Real numbers of any shape -> float in [0, 1]; NaN stays NaN. DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3."""
        if self.function == SIGMOID:
            # exp of more than 700 overflows; the sigmoid has long been 0 by then.
            return 1.0 / (1.0 + np.exp(np.minimum(-4.0 * (values - self.centre) / self.width, 700.0)))
        centre, width = self.centre, self.width
        if self.function == LINEAR:
            centre, width = centre - 0.5, width - 1.0
        return np.clip((values - centre) / max(width, 1e-12) + 0.5, 0.0, 1.0)


@dataclass(frozen=True, eq=False)
class Volume:
    """A stack of slices of one series, without anything that says whose.

    Attributes:
        voxels: (X, Y, Z) as stored, or (X, Y, Z, 3) uint8, RGB; read-only. X runs to the patient's right, Y to the
            front, Z to the head, or nearly where the scan is oblique. Single images have one voxel along one axis.
        spacing: mm between voxels along X, Y and Z; ratios only, where the file gives no lengths.
        planes: keys of `SLICED_ALONG`, the one that was scanned first.
        slope: value = slope * voxel + intercept.
        intercept: see `slope`.
        inverted: high values are to be shown dark.
        presets: the file's own windows; none of MR (`dicom`).
        caution: why the models may not know such images, or None.
        items: what else the upload holds (series of a study, volumes of a 4-D file), each in a few words.
        item: which of `items` this is.
    """

    voxels: np.ndarray = field(repr=False)
    spacing: tuple[float, float, float]
    planes: tuple[str, ...]
    slope: float = 1.0
    intercept: float = 0.0
    inverted: bool = False
    presets: tuple[Window, ...] = ()
    caution: Caution | None = None
    items: tuple[str, ...] = ()
    item: int = 0

    def __post_init__(self):
        self.voxels.flags.writeable = False

    @property
    def colour(self) -> bool:
        """Windows do nothing to a volume in colour."""
        return self.voxels.ndim == 4

    def count(self, plane: str) -> int:
        """Slices in a plane; ValueError names those there are."""
        return self.voxels.shape[self._axis(plane)]

    @property
    def middle(self) -> tuple[str, int]:
        """The plane that was scanned, and its middle slice: what a volume is opened with."""
        return self.planes[0], self.count(self.planes[0]) // 2

    def slice(self, plane: str, index: int, window: Window | None = None) -> Image.Image:
        """One slice as on a radiologist's screen, with square pixels.

        Axial and coronal slices show the patient's right on the left, sagittal ones the front on the left; the front
        is at the top of axial slices, the head at the top of the others.

        Args:
            plane: one of `planes`.
            index: 0 is the lowest axial, the hindmost coronal, the leftmost sagittal slice (as in NIfTI's RAS+), or
                the first as stored.
            window: None means `default_window`.

        Returns:
            A new image of mode "RGB". NaN shows black.

        Raises:
            ValueError: There is no such plane.
            IndexError: There is no such slice.
        """
        axis = self._axis(plane)
        if not 0 <= index < self.voxels.shape[axis]:
            raise IndexError(f"There is no {plane} slice {index}; they are numbered 0 to {self.count(plane) - 1}.")
        pixels = np.moveaxis(self.voxels, axis, 0)[index][::-1, ::-1].swapaxes(0, 1)
        if not self.colour:
            pixels = self._grey(pixels, window or self.default_window)
        image = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
        size = _square(self.voxels.shape, self.spacing, axis)
        return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)

    @cached_property
    def default_window(self) -> Window:
        """The file's first window; without one, as the slices were made that the models learned from: from the darkest
        to the brightest value of a slice, in the median of those in the middle half of the stack."""
        return self.presets[0] if self.presets else self._learned_window()

    def caution_in(self, window: Window | None) -> Caution | None:
        """`caution`, and what a window that was set by hand adds to it; None means `default_window`."""
        if window is None or self.colour or self.presets:
            return self.caution
        shown = float(window.apply(np.float64(self.default_window.centre)))
        brighter = (1 - shown if self.inverted else shown) > _MIDDLE_SHOWN_AT
        return BRIGHTER.also(self.caution) if brighter else self.caution

    def _axis(self, plane: str) -> int:
        if plane not in self.planes:
            raise ValueError(f"There is no {plane} plane here; choose among {', '.join(self.planes)}.")
        return SLICED_ALONG[plane]

    def _grey(self, pixels: np.ndarray, window: Window) -> np.ndarray:
        shown = window.apply(self.slope * pixels.astype(np.float64) + self.intercept)
        if self.inverted:
            shown = 1.0 - shown
        return np.rint(np.nan_to_num(shown) * 255.0).astype(np.uint8)

    def _learned_window(self) -> Window:
        if self.colour:
            return Window(127.5, 255.0)
        stack = np.moveaxis(self.voxels, self._axis(self.planes[0]), 0)
        quarter = len(stack) // 4
        finite = (pixels[np.isfinite(pixels)] for pixels in stack[quarter : len(stack) - quarter])
        ranges = [(pixels.min(), pixels.max()) for pixels in finite if pixels.size]
        if not ranges:
            return Window(0.5, 1.0)
        # The median, or one voxel that is too bright would darken all slices.
        low, high = np.median(np.array(ranges, dtype=np.float64), axis=0)
        low, high = sorted((self.slope * low + self.intercept, self.slope * high + self.intercept))
        width = float(high - low) or 1.0
        return Window(float(low) + width / 2, width)


@dataclass(frozen=True)
class Candidate:
    """A volume that an upload holds, not yet decoded.

    Attributes:
        text: what it is, in a few words.
        slices: how many, as scanned.
        derived: a segmentation or the like, not an image.
        caution: as `Volume.caution`.
        load: decodes; ImageError if that fails.
        image: of one slice, its number in the series as the file has it; None where it has none.
    """

    text: str
    slices: int
    derived: bool
    caution: Caution | None
    load: Callable[[], Volume]
    image: int | None = None


def canonical(voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, tuple[float, float, float], float, int]:
    """Turn and flip, without resampling, so that the axes run nearest to right, front and head.

    Args:
        voxels: (I, J, K) or (I, J, K, 3).
        affine: (4, 4), voxel indices -> mm to the right, front and head (RAS+).

    Returns:
        A view of `voxels`; mm between voxels along its axes; degrees between its axes and the body's; and which of
        its axes was K.
    """
    directions = affine[:3, :3]
    orientation = io_orientation(affine)
    lengths = np.sqrt((directions**2).sum(axis=0))
    axes = orientation[:, 0].astype(int)
    cosines = np.abs(directions[axes, range(3)]) / lengths
    tilt = float(np.degrees(np.arccos(np.clip(cosines.min(), 0.0, 1.0))))
    spacing = tuple(float(length) for length in lengths[np.argsort(axes)])
    return apply_orientation(voxels, orientation), spacing, tilt, int(axes[2])


def viewable(
    shape: tuple[int, ...], spacing: tuple[float, float, float], scanned: str, reformat: bool
) -> tuple[str, ...]:
    """Planes worth a look, the scanned one first; ImageError if even that has too few pixels.

    Args:
        shape: of voxels as `Volume.voxels`.
        spacing: mm.
        scanned: plane of the slices as scanned.
        reformat: the slices are evenly spaced, so that the other planes can be cut through them.
    """
    others = [plane for plane in ("axial", "coronal", "sagittal") if reformat and plane != scanned]
    planes = []
    for plane in (scanned, *others):
        axis = SLICED_ALONG[plane]
        enough = plane == scanned or min(shape[:3]) >= _MIN_REFORMATTED
        if enough and min(_square(shape, spacing, axis)) >= MIN_SIDE:
            planes.append(plane)
    if not planes:
        raise ImageError(
            f"The slices are too small; at least {MIN_SIDE} x {MIN_SIDE} pixels are needed; export them at full size."
        )
    return tuple(planes)


def _square(shape: tuple[int, ...], spacing: tuple[float, float, float], axis: int) -> tuple[int, int]:
    """Width and height of a slice across an axis once its pixels are square, px."""
    lengths = [(shape[a], shape[a] * spacing[a]) for a in range(3) if a != axis]
    step = min(length / count for count, length in lengths)
    step = max(step, max(length for _, length in lengths) / _MAX_SIDE)
    width, height = (max(1, round(length / step)) for _, length in lengths)
    return width, height
