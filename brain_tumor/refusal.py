"""Is this a brain MRI slice at all? If not, a network answers nonetheless, and often surely.

Two things are asked, the simpler first:

1. `plain_reason`: does the picture have what every slice has? It is grey, about as high as wide, smooth, and shows one
   large bright thing, and only one, before a dark ground. No network is needed for it, and the reason says what is
   wrong.
2. `Gate`: does the network that answers see in it what it sees in slices? What is compared is the mean and the spread
   of each of its feature maps (Lee et al. 2018, arXiv:1807.03888, did so with the means), and beside them a coarse
   description of the picture itself, since a network that never saw anything but slices has no features for the rest.
   The boundary between slices and other pictures is a support vector machine with a Gaussian kernel, fitted to both
   (outlier exposure, Hendrycks et al. 2019, arXiv:1812.04606): closed around the slices, unlike a linear one, and so
   also shut to kinds of pictures that nobody thought of.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from scipy import ndimage
from torch import Tensor

from brain_tumor.checkpoints import CONFIG_FILE, CheckpointError, read_config

GATE_FILE = "refusal.safetensors"

# Pictures are judged at this size: what makes a head a head is still there, what compression does is gone.
SIDE = 64
# The limits leave room beyond all but one of 11,778 slices of three data sets, and beyond slices as users bring them:
# turned, cropped, padded, written on, compressed.
SMALLEST_SIDE = 48
LARGEST_ASPECT = 2.2
# The largest minus the smallest channel above which a pixel is coloured, and the share of such pixels that a coloured
# annotation may have. JPEG compression colours grey by less, an orange marker covers less.
CHROMA, COLOURED = 30, 0.25
FLATTEST = 20
# Correlation of neighbouring pixels: that of the noisiest slices is 0.5, of white noise 0.
ROUGHEST = 0.4
BRIGHT_BORDER, BORDER_ABOVE_CENTRE = 100, 20
LEAST_GROUND = 0.08
LEAST_FOREGROUND = 0.06
LEAST_CONNECTED = 0.6
# Two things are side by side, or one above the other, where each is at least so wide and what joins them is at most
# this share of the narrower one: less than a neck below a head.
LEAST_WIDTH, WIDEST_JOINT = 0.3, 0.35

STRANGE = (
    "This picture does not look like the brain MRI slices that the model learned from: perhaps it is another picture, "
    "another part of the body, or a slice of an unusual kind."
)

GRID, FINE_GRID, ORIENTATIONS, BANDS = 4, 8, 6, 10
LARGEST_DEVIATION = 6.0


@dataclass(frozen=True, eq=False)
class Overview:
    """The picture at SIDE x SIDE px, and what lies where in it.

    Attributes:
        grey: float (SIDE, SIDE), in [0, 255].
        low, high: the 1st and 99th percentile of it.
        border: median of the two outermost rows and columns.
        centre: mean of the middle quarter.
        ground: share of the pixels in the darkest quarter of the range.
        bright: share of the pixels in the brightest quarter of the range.
        connected: share of what is not black that is in its largest connected part.
        covered: share of the picture that this part covers, holes included.
        solid: share of that which is no hole.
        joint: width of what joins two wide parts, side by side or one above the other, as a share of the narrower
            part: 0 where they lie apart, 1 where there are no two.
    """

    grey: np.ndarray
    low: float
    high: float
    border: float
    centre: float
    ground: float
    bright: float
    connected: float
    covered: float
    solid: float
    joint: float


def overview(image: Image.Image) -> Overview:
    """Look at a picture of any size and mode."""
    grey = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)).astype(float)
    low, high = np.percentile(grey, (1, 99))
    edge = np.concatenate([grey[:2].ravel(), grey[-2:].ravel(), grey[:, :2].ravel(), grey[:, -2:].ravel()])
    quarter = SIDE // 4
    not_black = low + 0.15 * (high - low)
    parts, _ = ndimage.label(ndimage.gaussian_filter(grey, 1) > not_black)
    sizes = np.bincount(parts.ravel())[1:]
    connected = covered = solid = 0.0
    if sizes.size:
        largest = parts == sizes.argmax() + 1
        filled = ndimage.binary_fill_holes(largest)
        connected, covered, solid = sizes.max() / sizes.sum(), filled.mean(), largest.sum() / filled.sum()
    return Overview(
        grey=grey,
        low=float(low),
        high=float(high),
        border=float(np.median(edge)),
        centre=float(grey[quarter:-quarter, quarter:-quarter].mean()),
        ground=float((grey < low + 0.25 * (high - low)).mean()),
        bright=float((grey > low + 0.75 * (high - low)).mean()),
        connected=float(connected),
        covered=float(covered),
        solid=float(solid),
        # Not smoothed, which would widen what joins two heads that touch.
        joint=min(_joint(ndimage.binary_fill_holes(grey > not_black).mean(axis)) for axis in (0, 1)),
    )


def _joint(widths: np.ndarray) -> float:
    """`Overview.joint` along one axis, from the share of each column or row (SIDE,) that is not black."""
    narrower = np.minimum(np.maximum.accumulate(widths), np.maximum.accumulate(widths[::-1])[::-1])
    middle = slice(SIDE // 4, -SIDE // 4)
    widths, narrower = widths[middle], narrower[middle]
    between = narrower >= LEAST_WIDTH
    return float((widths[between] / narrower[between]).min(initial=1.0))


def plain_reason(image: Image.Image) -> str | None:
    """What speaks against a picture being a brain MRI slice, whatever network is asked; a sentence, or None.

    Args:
        image: of any size and mode.
    """
    width, height = image.size
    if min(width, height) < SMALLEST_SIDE:
        return f"This picture is only {width} x {height} pixels large, too small to show a brain."
    if max(width, height) > LARGEST_ASPECT * min(width, height):
        return f"This picture is {width} x {height} pixels large; MRI slices are about as high as wide."
    if _coloured(image) > COLOURED:
        return "This picture is in colour; MRI slices are grey."
    seen = overview(image)
    if seen.high - seen.low < FLATTEST:
        return "This picture is nearly of one brightness: nothing can be seen in it."
    if _smoothness(image) < ROUGHEST:
        return "This picture consists of noise or of a fine pattern: in a slice, neighbouring pixels are alike."
    if seen.border > BRIGHT_BORDER and seen.border > seen.centre + BORDER_ABOVE_CENTRE:
        return "This picture has a bright background, like a page or an inverted slice; around a head, MRI is dark."
    if seen.ground < LEAST_GROUND:
        return "This picture has no dark background; around a head, MRI is dark."
    if seen.connected < LEAST_CONNECTED or seen.joint < WIDEST_JOINT:
        return "This picture shows several things; a slice shows one head. If they are slices, crop it to one of them."
    if seen.covered < LEAST_FOREGROUND:
        return "This picture is nearly empty; a slice shows a head that fills a good part of it."
    return None


def describe(image: Image.Image) -> np.ndarray:
    """A coarse description of a picture: how its edges run, how its fine structure is spread, what lies where.

    Histograms of oriented gradients (Dalal and Triggs 2005) in GRID x GRID and in FINE_GRID x FINE_GRID cells, whose
    strengths are under a square root; the logarithm of the power in BANDS bands of spatial frequency; and five shares
    and the border's brightness of `overview`.

    Returns:
        float32 (GRID**2 * ORIENTATIONS + BANDS + 6 + FINE_GRID**2 * ORIENTATIONS,).
    """
    seen = overview(image)
    stretched = ((seen.grey - seen.low) / max(seen.high - seen.low, 8)).clip(0, 1.2)
    dy, dx = np.gradient(stretched)
    strength = np.hypot(dy, dx)
    orientation = ((np.arctan2(dy, dx) % np.pi) / np.pi * ORIENTATIONS).astype(int).clip(0, ORIENTATIONS - 1)
    oriented = strength * (orientation == np.arange(ORIENTATIONS)[:, None, None])
    window = np.hanning(SIDE)
    power = np.abs(np.fft.rfft2((stretched - stretched.mean()) * window[:, None] * window)) ** 2
    layout = ((seen.border - seen.low) / max(seen.high - seen.low, 1), seen.ground, seen.bright)
    layout += (seen.connected, seen.covered, seen.solid)
    return np.concatenate(
        [
            _in_cells(oriented, GRID),
            [np.log(1e-3 + power[band].mean()) for band in _bands()],
            layout,
            _in_cells(oriented, FINE_GRID),
        ]
    ).astype(np.float32)


def _in_cells(oriented: np.ndarray, grid: int) -> np.ndarray:
    """Square roots of the mean strengths (K, SIDE, SIDE) in grid x grid cells, (grid * grid * K,)."""
    cells = oriented.reshape(len(oriented), grid, SIDE // grid, grid, SIDE // grid).mean((2, 4))
    return np.sqrt(np.moveaxis(cells, 0, -1)).ravel()


def pool(features: Tensor) -> Tensor:
    """Feature maps (N, C, h, w) -> square roots of the size of each map's mean and of its standard deviation,
    (N, 2 C)."""
    return torch.cat([features.mean((2, 3)).abs(), features.std((2, 3), correction=0)], dim=1).sqrt()


@dataclass(frozen=True, eq=False)
class Block:
    """How one half of the description is brought to a common scale: standardised, then turned and shortened.

    Attributes:
        mean, scale: (D,).
        axes: (K, D), orthonormal rows times a weight, so that both halves count alike.
    """

    mean: Tensor
    scale: Tensor
    axes: Tensor

    def apply(self, values: Tensor) -> Tensor:
        """(N, D) -> (N, K)."""
        standard = ((values - self.mean) / self.scale).clamp(-LARGEST_DEVIATION, LARGEST_DEVIATION)
        return standard @ self.axes.T


@dataclass(frozen=True, eq=False)
class Gate:
    """What tells slices from other pictures by what one checkpoint sees in them.

    Attributes:
        system: whose checkpoint.
        network, picture: the scales of `pool` and of `describe`.
        support: support vectors on these scales (S, K1 + K2): no pixels, no maps, only such summaries.
        weights: of the support vectors (S,), positive for pictures that are no slices.
        offset: added to the sum over support vectors.
        gamma: of the kernel exp(-gamma * squared distance).
        threshold: the score above which a picture is refused.
    """

    system: str
    network: Block
    picture: Block
    support: Tensor
    weights: Tensor
    offset: float
    gamma: float
    threshold: float

    def scores(self, pooled: Tensor, described: Tensor) -> Tensor:
        """How little pictures look like slices: `pool` (N, 2 C) and `describe` (N, D) -> (N,)."""
        points = torch.cat([self.network.apply(pooled), self.picture.apply(described)], dim=1)
        squares = torch.cdist(points, self.support, compute_mode="donot_use_mm_for_euclid_dist").square()
        return torch.exp(-self.gamma * squares) @ self.weights + self.offset

    def score(self, image: Image.Image, features: Tensor) -> float:
        """How little a picture looks like a slice; refused above `threshold`.

        Args:
            image: of any size and mode.
            features: float (1, C, h, w), `Reading.features` of it.
        """
        described = torch.from_numpy(describe(image))[None]
        return self.scores(pool(features.float().cpu()), described).item()

    def judge(self, image: Image.Image, features: Tensor) -> tuple[str | None, float | None]:
        """Why the picture is taken to be no brain MRI slice, a sentence; None where nothing speaks against it. And by
        how much its score is above the threshold; None where the picture is refused whatever its score.

        Args:
            image, features: as of `score`.
        """
        if reason := plain_reason(image):
            return reason, None
        strangeness = self.score(image, features) - self.threshold
        return STRANGE if strangeness > 0 else None, strangeness


def refused_together(strangeness: np.ndarray) -> np.ndarray:
    """Whether several gates refuse pictures together: where they are above their thresholds on average.

    Args:
        strangeness: float (K, ...), of each gate, as `Gate.judge` says it.

    Returns:
        bool (...).
    """
    return strangeness.mean(axis=0) > 0


def load_gate(folder: Path) -> Gate | None:
    """The gate that lies beside a checkpoint; None where there is none.

    Raises:
        CheckpointError: the file is damaged, or was fitted to other weights than those beside it.
    """
    path = Path(folder) / GATE_FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            known = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        gate = Gate(
            system=known["system"],
            network=Block(*(tensors[f"network.{name}"] for name in ("mean", "scale", "axes"))),
            picture=Block(*(tensors[f"picture.{name}"] for name in ("mean", "scale", "axes"))),
            support=tensors["support"],
            weights=tensors["weights"],
            **{name: float(known[name]) for name in ("offset", "gamma", "threshold")},
        )
        fitted_to = known["sha256"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}). Restore it, or make it anew with "
            "`python -m training trust SYSTEM --only refusal`."
        ) from None
    if fitted_to != read_config(path.with_name(CONFIG_FILE))["sha256"]:
        raise CheckpointError(
            f"{path} was fitted to other weights than those in {path.parent}. Make it anew with "
            "`python -m training trust SYSTEM --only refusal`, or remove it."
        )
    return gate


def _coloured(image: Image.Image) -> float:
    """Share of the pixels that are coloured, at SIDE x SIDE px, where the colours of compression have averaged out."""
    small = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)).astype(int)
    return float((np.ptp(small, axis=2) > CHROMA).mean())


def _smoothness(image: Image.Image) -> float:
    """Correlation of neighbouring pixels along rows or columns, whichever is less, at 256 px at most."""
    small = image.convert("L")
    small.thumbnail((4 * SIDE, 4 * SIDE), Image.Resampling.BILINEAR)
    deviation = np.asarray(small).astype(float)
    deviation -= deviation.mean()
    products = (deviation[1:] * deviation[:-1]).mean(), (deviation[:, 1:] * deviation[:, :-1]).mean()
    return float(min(products) / max(deviation.var(), 1e-9))


@lru_cache(maxsize=1)
def _bands() -> tuple[np.ndarray, ...]:
    """Masks of the frequencies of `np.fft.rfft2` in bands of equal ratio."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE))
    edges = np.geomspace(1 / SIDE, 0.5, BANDS + 1)
    return tuple((frequency > 0.999 * low) & (frequency < 1.001 * high) for low, high in pairwise(edges))
