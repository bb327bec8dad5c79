"""The tumour boxes as a second teacher: while it learns the classes, a network also learns where the tumour lies.

A 1x1 convolution on the feature maps of `ModelSpec.location_stages` says for each cell how much of it the tumour's box
covers. It is kept beside the checkpoint, as an output that people can look at (`brain_tumor.location`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brain_tumor.architectures import Focus
from brain_tumor.location import joined

# Samples per side of a cell by which its covered share is measured.
FINENESS = 4


class WithLocation(nn.Module):
    """A network with a second output.

    Args:
        network: the network itself, not a copy.
        stages: names of its submodules, the finest first; the maps of the others are enlarged to its size.
        size: side of an image that the network takes, px.
    """

    def __init__(self, network: nn.Sequential, stages: tuple[str, ...], size: int):
        super().__init__()
        self.network = network
        self.stages = stages
        self._maps: dict[str, Tensor] = {}
        for name in stages:
            network.get_submodule(name).register_forward_hook(self._keeper(name))
        device = next(network.parameters()).device
        self.shared = place_layer(network)
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, size, size, device=device))
        self.location = self.shared or nn.Conv2d(
            sum(self._maps.pop(name).shape[1] for name in stages), 1, 1, device=device
        )

    def teacher_parameters(self) -> list[nn.Parameter]:
        """What is learned beside the network's own parameters."""
        return [] if self.shared else [*self.location.parameters()]

    def _keeper(self, name: str):
        def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self._maps[name] = output

        return keep

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Slices (N, 3, H, W) -> class logits (N, 4), location logits (N, h, w)."""
        logits = self.network(inputs)
        together = joined([self._maps.pop(name) for name in self.stages])
        # A 1x1 convolution is a product of matrices; as a convolution of thousands of channels to one in bf16, its
        # backward pass on several CPU threads writes past its memory (torch 2.15, oneDNN).
        weight, bias = self.location.weight.flatten(1), self.location.bias
        return logits, F.linear(together.permute(0, 2, 3, 1), weight, bias)[..., 0].float()


def place_layer(network: nn.Module) -> nn.Conv2d | None:
    """The network's own layer that says where the tumour lies, by which it chooses where to look; None without."""
    return next((module.place for module in network.modules() if isinstance(module, Focus)), None)


def coverage(boxes: Tensor, theta: Tensor, size: tuple[int, int]) -> Tensor:
    """How much of each cell the tumour's box covers in images that were resampled.

    Args:
        boxes: float (N, 4), left, top, right, bottom in fractions of the images as they were.
        theta: float (N, 2, 3), maps output to input coordinates, both in -1 to 1 (`augmentation.Draw`).
        size: (h, w) of the result, cells.

    Returns:
        float (N, h, w) in [0, 1].
    """
    height, width = (FINENESS * side for side in size)
    grid = F.affine_grid(theta, [len(boxes), 1, height, width], align_corners=False)
    left, top, right, bottom = (2 * boxes - 1).view(-1, 4, 1, 1).unbind(dim=1)
    x, y = grid.unbind(dim=-1)
    inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    return F.avg_pool2d(inside.float()[:, None], FINENESS)[:, 0]


def location_losses(logits: Tensor, boxes: Tensor, theta: Tensor) -> Tensor:
    """Mean binary cross-entropy of each image's cells, nats, float (N,); 0 where the box is not known (NaN)."""
    known = ~boxes.isnan().any(dim=1)
    target = coverage(boxes.nan_to_num(), theta, tuple(logits.shape[-2:]))
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=(1, 2))
    return losses * known
