"""Was this slice among the images a checkpoint was trained on? Then its answer is memory, not evidence.

Beside a checkpoint lies an index, `seen.safetensors`, with a short code for every training image. A slice is looked up
in all eight flips and quarter turns, and from the best matches on a little tilted, shifted and scaled, so that a copy
is found after another compression, size, window, margin or a small crop. Neighbouring slices of a patient are no
copies: they look alike as a whole and differ in fine structure, which alone is coded.

1. The head is cut out, without margins and lettering.
2. Of what is finer than a blur, the local strength is divided out. Windows, contrast and gamma hardly change the rest.
3. Of its two-dimensional cosine transform, the signs of the coefficients of middle frequency are the code, as in
   sign-only correlation (Ito and Kiya, DCT sign-only correlation with application to image matching, ICASSP 2007). In a
   mirrored image some signs change, in a transposed one the two frequencies swap: one transform serves all eight ways.

No useful picture can be rebuilt from a code of 68 bytes. Grey values and contrast were divided out beforehand. Of the
coefficients, the size is not kept; those below four periods across the head, with the shape and the brightness of
whatever is large, are not there; nor are those above fourteen, with all texture. `training.seen` measures how much of
the head at 32 x 32 px the best linear decoder gets back, and writes it to `evaluation/seen.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor
from torch.nn import functional

from brain_tumor.checkpoints import CheckpointError

INDEX_FILE = "seen.safetensors"

# The head is seen in HEAD x HEAD px with MARGIN px around it. Where lies what, is decided on OVERVIEW x OVERVIEW px.
OVERVIEW, HEAD, MARGIN = 96, 64, 16
FRAME = HEAD + 2 * MARGIN
# Blurs in pixels of HEAD: structure finer than the first is kept, its strength is taken within the second.
FINE_SIGMA, SURROUNDINGS_SIGMA = 1.0, 2.7
# Of the range of grey values; keeps the noise of the background from counting as much as the brain.
FLOOR = 0.02
# Frequencies in half periods across the head. Below are coarse forms, which neighbouring slices share; above is what a
# picture of 64 px no longer has. Those below COARSE bear a tilt of 5 degrees or a shift of 4 %.
LOWEST, COARSE, HIGHEST = 8, 16, 27
# Up to where grey values are background, as fractions of their range. The first is what the index goes by; a gamma of
# 1.6 moves it to the second, one of 0.6 to the third.
BACKGROUND = (0.2, 0.07, 0.4)
TILT = 4.0
SHORTLIST, REFINED = 48, 2
# How much more of the head a picture may have had at an edge where the head touches it, in fractions of the head.
CROPPED = 0.07
# How far the edges (fractions of the head) and the tilt (degrees) are moved while refining, round by round.
ROUNDS = ((0.04, 2.0), (0.02, 1.0), (0.01, 0.5))
# Similarity after a round below which no further one would make a copy of it.
HOPELESS = 0.45


def _coded() -> Tensor:
    """The frequencies (row, column) of the bits, int64 (BITS, 2), the lowest first."""
    k = torch.arange(HIGHEST)
    radius = torch.hypot(*torch.meshgrid(k.float(), k.float(), indexing="ij")).flatten()
    order = radius.argsort(stable=True)
    order = order[(radius[order] >= LOWEST) & (radius[order] < HIGHEST)]
    return torch.stack([order // HIGHEST, order % HIGHEST], dim=1)


_FREQUENCIES = _coded()
BITS = len(_FREQUENCIES)
_COARSE_BITS = int((_FREQUENCIES.square().sum(1) < COARSE**2).sum())


def _ways() -> tuple[Tensor, Tensor]:
    """Of each way to lay a square onto itself: which bit comes where, int64 (8, BITS), and its sign then, (8, BITS)."""
    row, column = _FREQUENCIES.T
    place = {pair: i for i, pair in enumerate(map(tuple, _FREQUENCIES.tolist()))}
    swapped = torch.tensor([place[j, i] for i, j in _FREQUENCIES.tolist()])
    sources, signs = [], []
    for source in (torch.arange(BITS), swapped):
        for vertical in (0, 1):
            for horizontal in (0, 1):
                sources.append(source)
                signs.append(1.0 - 2.0 * ((vertical * row + horizontal * column) % 2))
    return torch.stack(sources), torch.stack(signs)


_SOURCES, _SIGNS = _ways()
# Moves of (tilt, left, top, right, bottom) tried in turn: both edges of one axis, those of the other, the tilt.
_STEPS = (-1.0, 0.0, 1.0)
_MOVES = (
    torch.tensor([[0.0, left, 0.0, right, 0.0] for left in _STEPS for right in _STEPS]),
    torch.tensor([[0.0, 0.0, top, 0.0, bottom] for top in _STEPS for bottom in _STEPS]),
    torch.tensor([[tilt, 0.0, 0.0, 0.0, 0.0] for tilt in _STEPS]),
)


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What is compared of a slice: computed once, good for every index.

    Attributes:
        structure: float32 (FRAME, FRAME), the head's fine structure.
        poses: float32 (P, 5), how the head may lie in it: tilt in degrees, then left, top, right and lower edge as
            fractions of the head that was cut out; the first is (0, 0, 0, 1, 1).
        codes: float32 (P, BITS) of -1 and 1, one for each pose.
    """

    structure: Tensor
    poses: Tensor
    codes: Tensor


@dataclass(frozen=True, eq=False)
class SeenIndex:
    """The codes of a checkpoint's training images.

    Attributes:
        codes: float32 (N, BITS) of -1 and 1.
        threshold: distance up to which a slice is taken for a copy.
    """

    codes: Tensor
    threshold: float

    def __len__(self) -> int:
        return len(self.codes)

    def contains(self, image: Image.Image | Fingerprint) -> bool:
        """Whether the slice is one of the training images, or a copy of one."""
        return self.nearest(image) <= self.threshold

    def nearest(self, image: Image.Image | Fingerprint) -> float:
        """Share of the bits, in [0, 1], in which the slice differs from the training image most like it.

        The search ends at the first distance within the threshold, which may not be the smallest.
        """
        query = image if isinstance(image, Fingerprint) else fingerprint(image)
        similarity, poses, targets = self._shortlist(query)
        best = similarity[0].item()
        if _distance(best) > self.threshold:
            best = max(best, _refined(query.structure, poses[:REFINED], targets[:REFINED]))
        return _distance(best)

    def _shortlist(self, query: Fingerprint) -> tuple[Tensor, Tensor, Tensor]:
        """The best matches, best first: similarity in [-1, 1] (M,), pose (M, 5) and the training image's code, turned
        as the query is (M, BITS)."""
        coarse = query.codes[:, _SOURCES[:, :_COARSE_BITS]] * _SIGNS[:, :_COARSE_BITS]
        scores, pose = (coarse @ self.codes[:, :_COARSE_BITS].T).max(0)
        chosen = scores.flatten().topk(min(SHORTLIST, scores.numel())).indices
        ways, rows, pose = chosen // len(self), chosen % len(self), pose.flatten()[chosen]
        # Each way of permuting bits undoes itself.
        targets = (self.codes[rows] * _SIGNS[ways]).gather(1, _SOURCES[ways])
        similarity = (query.codes[pose] * targets).mean(1)
        order = similarity.argsort(descending=True)
        return similarity[order], query.poses[pose[order]], targets[order]


def fingerprint(image: Image.Image) -> Fingerprint:
    """What is compared of a slice of any size and mode."""
    frame, poses = cut_out(image.convert("L"))
    structure = _structure(frame)
    return Fingerprint(structure, poses, _codes(structure, poses))


@lru_cache(maxsize=16)
def _parse(content: bytes) -> SeenIndex:
    tensors = load_tensors(content)
    packed = tensors["codes"].numpy()
    if packed.ndim != 2 or packed.shape[1] != -(-BITS // 8):
        raise ValueError(f"codes of shape {packed.shape}, made by another version")
    bits = np.unpackbits(packed, axis=1, count=BITS)
    return SeenIndex(torch.from_numpy(bits).float() * 2 - 1, tensors["threshold"].item())


def load_index(folder: Path) -> SeenIndex | None:
    """The index in a checkpoint's folder, or None where there is none.

    Folders with the same index get the same object.

    Raises:
        CheckpointError: the file cannot be used; the message names it.
    """
    path = folder / INDEX_FILE
    try:
        return _parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). Restore it, or delete it to do without.") from None


def pack_index(codes: Tensor, threshold: float) -> dict[str, Tensor]:
    """What the file of an index holds, from codes (N, BITS) of -1 and 1: `codes` uint8 (N, BITS / 8 rounded up), sorted
    so that their order tells nothing about the images, and `threshold` float32."""
    packed = np.unique(np.packbits((codes > 0).numpy(), axis=1), axis=0)
    return {"codes": torch.from_numpy(packed), "threshold": torch.tensor(threshold)}


def _distance(similarity: float) -> float:
    return (1.0 - similarity) / 2.0


def _refined(structure: Tensor, poses: Tensor, targets: Tensor) -> float:
    """Best similarity of any of M poses (M, 5) to its target (M, BITS) after moving edges and tilt step by step."""
    best, which = -1.0, torch.arange(len(poses))
    for edges, tilt in ROUNDS:
        scale = torch.tensor([tilt, edges, edges, edges, edges])
        for moves in _MOVES:
            tried = poses[:, None] + moves * scale
            codes = _codes(structure, tried.flatten(0, 1)).unflatten(0, tried.shape[:2])
            similarity, move = (codes * targets[:, None]).mean(2).max(1)
            poses, best = tried[which, move], max(best, similarity.max().item())
        if best < HOPELESS:
            break
    return best


def _codes(structure: Tensor, poses: Tensor) -> Tensor:
    """The codes, float32 (P, BITS) of -1 and 1, of a structure (FRAME, FRAME) seen in poses (P, 5)."""
    tilts, which = poses[:, 0].unique(return_inverse=True)
    rows, columns = _cosines(poses[:, 2], poses[:, 4]), _cosines(poses[:, 1], poses[:, 3])
    spectrum = rows @ _tilted(structure, tilts)[which] @ columns.transpose(1, 2)
    return spectrum[:, _FREQUENCIES[:, 0], _FREQUENCIES[:, 1]].sign()


def _cosines(start: Tensor, end: Tensor) -> Tensor:
    """Basis of the cosine transform between two edges (P,) in fractions of the head, (P, HIGHEST, FRAME)."""
    position = (torch.arange(FRAME) + 0.5 - MARGIN) / HEAD
    position = (position - start[:, None]) / (end - start)[:, None]
    inside = (position >= 0) & (position < 1)
    return torch.cos(torch.pi * torch.arange(HIGHEST)[:, None] * position[:, None]) * inside[:, None]


def _tilted(structure: Tensor, degrees: Tensor) -> Tensor:
    """The structure turned by each of some angles (T,) about its centre, (T, FRAME, FRAME)."""
    cos, sin, zero = degrees.deg2rad().cos(), degrees.deg2rad().sin(), torch.zeros_like(degrees)
    turns = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)
    size = (len(degrees), 1, FRAME, FRAME)
    grid = functional.affine_grid(turns, size, align_corners=False)
    return functional.grid_sample(structure.expand(size), grid, align_corners=False)[:, 0]


def _structure(frame: Tensor) -> Tensor:
    """What is finer than a blur, by its strength in the surroundings; frame float32 (FRAME, FRAME) in any unit."""
    low, high = torch.quantile(frame, torch.tensor([0.02, 0.995]))
    frame = frame / (high - low).clamp_min(1.0)
    detail = frame - _FINE @ frame @ _FINE.T
    strength = (_SURROUNDINGS @ detail.square() @ _SURROUNDINGS.T).clamp_min(0).sqrt()
    return detail / (strength + FLOOR)


def _blur(sigma: float) -> Tensor:
    """Gaussian blur along one axis of the frame as a matrix; beyond the edge the last pixel goes on."""
    offsets = torch.arange(-int(3 * sigma), int(3 * sigma) + 1)
    weights = torch.exp(-offsets.square() / (2 * sigma**2))
    sources = (torch.arange(FRAME)[:, None] + offsets).clamp(0, FRAME - 1)
    return torch.zeros(FRAME, FRAME).scatter_add_(1, sources, (weights / weights.sum()).expand(FRAME, -1))


_FINE, _SURROUNDINGS = _blur(FINE_SIGMA), _blur(SURROUNDINGS_SIGMA)


def cut_out(grey: Image.Image) -> tuple[Tensor, Tensor]:
    """The head with a margin, float32 (FRAME, FRAME) in [0, 255], and the poses (P, 5) that it may have there."""
    overview = np.asarray(grey.resize((OVERVIEW, OVERVIEW), Image.Resampling.BILINEAR, reducing_gap=3.0))
    heads = [_head(overview, background) for background in BACKGROUND]
    main = heads[0]
    size = main[2:] - main[:2]
    margin = size * MARGIN / HEAD
    outer = np.concatenate([main[:2] - margin, main[2:] + margin])
    inner = outer.clip(0, 1)
    # Where the frame reaches beyond the picture, its outermost pixels go on.
    pads = np.rint(np.abs(inner - outer) / np.tile(size, 2) * HEAD).astype(int)
    left, top, right, bottom = pads.tolist()
    box = tuple((inner * np.tile(grey.size, 2)).tolist())
    shape = (FRAME - left - right, FRAME - top - bottom)
    part = np.asarray(grey.resize(shape, Image.Resampling.BILINEAR, box=box, reducing_gap=3.0), dtype=np.float32)
    frame = np.pad(part, ((top, bottom), (left, right)), mode="edge")
    edges = np.unique([(head - np.tile(main[:2], 2)) / np.tile(size, 2) for head in _supposed(heads)], axis=0)
    edges = np.concatenate([[[0.0, 0.0, 1.0, 1.0]], edges])
    poses = [[tilt, *edge] for tilt in (0.0, -TILT, TILT) for edge in edges]
    return torch.from_numpy(frame), torch.tensor(poses, dtype=torch.float32)


def _supposed(heads: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Where the head may be: where it seems to be, and reaching out of the picture where it touches an edge."""
    supposed = list(heads)
    left, top, right, bottom = heads[0]
    cut = np.array([left < 0.02, top < 0.02, right > 0.98, bottom > 0.98])
    outwards = CROPPED * np.array([left - right, top - bottom, right - left, bottom - top])
    if cut.any():
        supposed.append(heads[0] + cut * outwards)
        if cut.sum() > 1:
            supposed += [heads[0] + side * outwards for side in np.eye(4)[cut]]
    return supposed


def _head(overview: np.ndarray, background: float) -> np.ndarray:
    """Left, top, right and lower edge of the head in fractions of the picture; all of it where there is no head.

    Args:
        overview: uint8 (OVERVIEW, OVERVIEW).
        background: values up to here, as a fraction of the range, are background.
    """
    low, high = np.percentile(overview, (2, 99.5))
    bright = Image.fromarray((overview > low + background * max(high - low, 1)).astype(np.uint8) * 255)
    bright = np.asarray(bright.filter(ImageFilter.BoxBlur(2))) > 127  # of black and white, the median
    # Twice: lettering above the head lengthens what seems to be its column, until its rows are known.
    top, bottom, left, right = 0, OVERVIEW, 0, OVERVIEW
    for _ in range(2):
        top, bottom = _longest(bright[:, left:right].mean(1) > 0.03)
        if bottom > top:
            left, right = _longest(bright[top:bottom].mean(0) > 0.03)
        if min(bottom - top, right - left) < OVERVIEW // 6:
            return np.array([0.0, 0.0, 1.0, 1.0])
    return np.array([left, top, right, bottom]) / OVERVIEW


def _longest(inside: np.ndarray) -> tuple[int, int]:
    """Start and end of the longest run of True; (0, 0) where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8))).reshape(-1, 2)
    return tuple(edges[np.argmax(edges[:, 1] - edges[:, 0])].tolist()) if len(edges) else (0, 0)
