"""Random changes of training images, for whole batches on the device they are on.

All geometry is one affine resampling, so an image is interpolated once, also when it is cropped or made smaller. What
is random is drawn on the CPU for the whole batch: the same seed gives the same images on a CPU, on a GPU, and when the
batch is shared among several processes. Noise alone, a value per pixel, is drawn where the images are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """How strongly training images are changed; the defaults change nothing.

    Attributes:
        flip_horizontal, flip_vertical: probability.
        rotation: largest angle to either side, degrees.
        translation: largest shift to either side, fraction of the image.
        scale: largest relative change of size, 0.15 means 0.85 to 1.15.
        crop_area: smallest area of a random crop, fraction; its aspect ratio is 3/4 to 4/3, less where the crop would
            not fit into the image. 1 means no crop.
        brightness, contrast, saturation: largest relative change, as torchvision's ColorJitter: what is pushed past
            white or black is cut off after each. In this order; ColorJitter draws one, which changes little but what
            is cut off.
        gamma: the exponent lies in exp(-gamma) to exp(gamma).
        noise: largest standard deviation of added Gaussian noise, of a value range of 1.
    """

    flip_horizontal: float = 0.0
    flip_vertical: float = 0.0
    rotation: float = 0.0
    translation: float = 0.0
    scale: float = 0.0
    crop_area: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0


@dataclass(frozen=True)
class Draw:
    """What was drawn for a batch of N: `theta` (N, 2, 3) maps output to input coordinates, the rest is (N, 1, 1, 1)."""

    theta: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    gamma: Tensor
    noise: Tensor

    def take(self, share: slice | Tensor) -> Draw:
        """The draws of some images of the batch."""
        return Draw(*(getattr(self, name)[share] for name in self.__dataclass_fields__))


def draw(n: int, augmentation: Augmentation, generator: torch.Generator) -> Draw:
    """Draw the changes for a batch of n images; every call takes the same number of values from the generator."""
    a = augmentation
    uniform = torch.rand(14, n, generator=generator)

    def between(row: int, low: float, high: float) -> Tensor:
        return low + (high - low) * uniform[row]

    def jitter(row: int, strength: float) -> Tensor:
        return between(row, max(0.0, 1 - strength), 1 + strength).view(n, 1, 1, 1)

    area = between(0, a.crop_area, 1)
    # A crop of that area fits into the image at aspect ratios of area to 1 / area.
    limit = (-area.log()).clamp(max=math.log(4 / 3))
    aspect = (limit * between(1, -1, 1)).exp()
    width = (area * aspect).sqrt().clamp(max=1)
    height = (area / aspect).sqrt().clamp(max=1)
    left, top = between(2, -1, 1) * (1 - width), between(3, -1, 1) * (1 - height)

    zoom = between(4, 1 - a.scale, 1 + a.scale)
    angle = between(5, -a.rotation, a.rotation) * math.pi / 180
    flip_x = torch.where(uniform[6] < a.flip_horizontal, -1.0, 1.0)
    flip_y = torch.where(uniform[7] < a.flip_vertical, -1.0, 1.0)
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    # grid_sample spans -1..1 over the whole image, so a shift by a fraction of it counts twice.
    shift_x = left + 2 * between(8, -a.translation, a.translation)
    shift_y = top + 2 * between(9, -a.translation, a.translation)
    theta = torch.stack(
        [
            torch.stack([cos * width * flip_x, -sin * height * flip_y, shift_x], dim=1),
            torch.stack([sin * width * flip_x, cos * height * flip_y, shift_y], dim=1),
        ],
        dim=1,
    )
    return Draw(
        theta,
        brightness=jitter(10, a.brightness),
        contrast=jitter(11, a.contrast),
        saturation=jitter(12, a.saturation),
        gamma=between(13, -a.gamma, a.gamma).exp().view(n, 1, 1, 1),
        noise=(a.noise * torch.rand(n, generator=generator)).view(n, 1, 1, 1),
    )


def augment(pixels: Tensor, changes: Draw, size: int) -> Tensor:
    """Apply drawn changes.

    Args:
        pixels: uint8 (N, 3, H, W).
        changes: a draw for N images.
        size: side of the result, px.

    Returns:
        float (N, 3, size, size) in [0, 1], perhaps one channel shown three times (`expand`); what comes from outside
        the image is black, as MRI background is.
    """
    # One noise for the three channels: slices are grey.
    noise = torch.randn(len(pixels), 1, size, size, device=pixels.device) if changes.noise.any() else None
    if pixels.device.type != "cpu":
        # Which images are grey could not be asked without waiting for the GPU, to which three channels cost next to
        # nothing.
        return _apply(pixels, changes, size, noise)
    coloured = (pixels[:, :1] != pixels[:, 1:]).flatten(1).any(dim=1).nonzero().flatten()
    if len(coloured) == len(pixels):
        return _apply(pixels, changes, size, noise)
    x = _apply(pixels[:, :1], changes, size, noise).expand(-1, 3, -1, -1)
    if len(coloured):
        x = x.contiguous()
        x[coloured] = _apply(
            pixels[coloured], changes.take(coloured), size, noise if noise is None else noise[coloured]
        )
    return x


def _apply(pixels: Tensor, changes: Draw, size: int, noise: Tensor | None) -> Tensor:
    """uint8 (N, C, H, W) -> float (N, C, size, size) of its own; C is 3, or 1 for images that are grey."""
    # In place where it can be: memory, not arithmetic, is what takes time here.
    x = pixels.float().div_(255)
    device = x.device
    # Steps that change nothing are left out; the draws are still on the CPU, so looking at them costs no GPU sync.
    identity = changes.theta.new_tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    if size != x.shape[-1] or (changes.theta != identity).any():
        grid = _grid(changes.theta.to(device, non_blocking=True), size)
        x = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if (changes.brightness != 1).any():
        x.mul_(changes.brightness.to(device, non_blocking=True)).clamp_(max=1)
    if (changes.contrast != 1).any():
        mean = _luminance(x).mean(dim=(2, 3), keepdim=True)
        _blend_(x, mean, changes.contrast.to(device, non_blocking=True)).clamp_(0, 1)
    if x.shape[1] == 3 and (changes.saturation != 1).any():
        _blend_(x, _luminance(x), changes.saturation.to(device, non_blocking=True)).clamp_(0, 1)
    if (changes.gamma != 1).any():
        x.clamp_(min=1e-6).pow_(changes.gamma.to(device, non_blocking=True))
    if noise is not None:
        x.addcmul_(changes.noise.to(device, non_blocking=True), noise).clamp_(0, 1)
    return x


def _grid(theta: Tensor, size: int) -> Tensor:
    """`F.affine_grid` without corners aligned, as a sum of rows and columns: a matrix product takes four times as long.

    Args:
        theta: float (N, 2, 3).

    Returns:
        float (N, size, size, 2).
    """
    centres = (2 * torch.arange(size, device=theta.device) + 1) / size - 1
    grid = theta.new_empty(len(theta), size, size, 2)
    for axis in range(2):
        along_x = theta[:, axis, :1] * centres + theta[:, axis, 2:]
        along_y = theta[:, axis, 1:2] * centres
        torch.add(along_x[:, None, :], along_y[:, :, None], out=grid[..., axis])
    return grid


def _luminance(x: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return x
    red, green, blue = x.split(1, dim=1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _blend_(x: Tensor, other: Tensor, weight: Tensor) -> Tensor:
    return x.sub_(other).mul_(weight).add_(other)
