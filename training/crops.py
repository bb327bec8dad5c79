"""Training images that are cut out of slices: around the tumour, or where there is none.

A network that is to look closely at one place learns from such places alone: all tumours are of one scale, and much of
what differs between patients is out of sight. That slices with a tumour are also cut where they show none teaches what
no data set here has: heads of patients with a tumour, made visible by contrast agent, without one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from brain_tumor.labels import CLASS_NAMES
from training.augmentation import Draw

NO_TUMOUR = CLASS_NAMES.index("notumor")
# A place without a tumour is sought so often, and by its window's middle not nearer to the slice's edge than this.
TRIES = 24
MARGIN = 0.15
# So much of a tumour's box may be seen in a window that is said to be without one.
UNSEEN = 0.05


@dataclass(frozen=True)
class Crops:
    """How windows are cut out.

    Attributes:
        side: of the window, as a share of the slice's.
        spread: the side varies by this factor to either side.
        jitter: largest distance of the window's middle from the tumour's along each axis, as a share of its side.
        elsewhere: share of the slices with a tumour that are cut where there is none, if there is such a place.
    """

    side: float
    spread: float
    jitter: float
    elsewhere: float


def cut(changes: Draw, labels: Tensor, boxes: Tensor, crops: Crops, generator: torch.Generator) -> tuple[Draw, Tensor]:
    """Have drawn changes show a window of each slice instead of the whole of it.

    Args:
        changes: a draw for N images, on the CPU as all else here.
        labels: int64 (N,).
        boxes: float (N, 4), left, top, right and bottom of the tumour in fractions of the slice, 0 where there is none.

    Returns:
        The draw, and the labels of what its windows show: that of no tumour where they show none.
    """
    n = len(labels)
    uniform = torch.rand(4, n, generator=generator)
    side = crops.side * crops.spread ** (2 * uniform[0] - 1)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2 + crops.jitter * side[:, None] * (2 * uniform[1:3].T - 1)
    other, found = _places_without(boxes, side, generator)
    elsewhere = (labels == NO_TUMOUR) | ((uniform[3] < crops.elsewhere) & found)
    middle = torch.where(elsewhere[:, None], other, middle)
    theta = changes.theta * side.view(n, 1, 1)
    theta[:, :, 2] += 2 * middle - 1
    return replace(changes, theta=theta), torch.where(elsewhere, NO_TUMOUR, labels)


def _places_without(boxes: Tensor, side: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Middles (N, 2) of windows that show next to nothing of the tumour, and whether there was one, bool (N,)."""
    n = len(boxes)
    middles = MARGIN + (1 - 2 * MARGIN) * torch.rand(n, TRIES, 2, generator=generator)
    half = side.view(n, 1, 1) / 2
    start, end = boxes[:, None, :2], boxes[:, None, 2:]
    seen = (torch.minimum(end, middles + half) - torch.maximum(start, middles - half)).clamp(min=0).prod(dim=-1)
    without = seen <= UNSEEN * (end - start).prod(dim=-1)
    first = without.int().argmax(dim=1)
    return middles[torch.arange(n), first], without.any(dim=1)
