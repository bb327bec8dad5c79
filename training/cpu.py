"""What makes training on a CPU faster and changes nothing but the last digits.

Networks keep their parameters and names: a state dict from before fits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Positions of an output map up to which a product of matrices is faster; the last stage of ResNets has 9 at 96 px and
# 16 at 128 px. The library's kernels rearrange all weights at every step, which outweighs so little arithmetic.
SMALL_MAP = 20


def speed_up(network: nn.Module) -> None:
    """Have convolutions of the network computed in the way that suits CPUs, in place."""
    for module in network.modules():
        if type(module) is nn.Conv2d and module.groups > 1:
            module.__class__ = _Float32Convolution
        elif type(module) is nn.Conv2d and _is_plain(module):
            module.__class__ = _Convolution


def _is_plain(module: nn.Conv2d) -> bool:
    return module.padding_mode == "zeros" and module.dilation == (1, 1) and isinstance(module.padding, tuple)


class _Float32Convolution(nn.Conv2d):
    """A depthwise convolution left out of mixed precision: its gradients are slower in bf16."""

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            return super().forward(inputs.float())


class _Convolution(nn.Conv2d):
    """A convolution that is a product of matrices where its output map is small."""

    def forward(self, inputs: Tensor) -> Tensor:
        (down, right), (top, left) = self.kernel_size, self.padding
        height, width = (
            (side + 2 * padding - kernel) // stride + 1
            for side, padding, kernel, stride in zip(
                inputs.shape[2:], self.padding, self.kernel_size, self.stride, strict=True
            )
        )
        if height * width > SMALL_MAP:
            return super().forward(inputs)
        padded = F.pad(inputs.permute(0, 2, 3, 1), (0, 0, left, left, top, top))
        rows, columns = self.stride[0] * (height - 1) + 1, self.stride[1] * (width - 1) + 1
        # Where the kernel's elements come to lie, channels last, as the weights lie in memory.
        seen = [
            padded[:, i : i + rows : self.stride[0], j : j + columns : self.stride[1]]
            for i in range(down)
            for j in range(right)
        ]
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(torch.cat(seen, dim=-1), weight, self.bias).permute(0, 3, 1, 2)
