"""The untrained networks of all systems.

Every network is an `nn.Sequential` of named stages. That one convention gives the rest of the project all it needs:
class-activation maps cut a network behind a named stage, recipes freeze and thaw stages by name, and the stages taken
from torchvision keep torchvision's parameter names, so ImageNet weights load as they are.

Shapes are for a batch of N images: input (N, 3, size, size), output logits (N, 4).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

from brain_tumor.labels import CLASS_NAMES

CLASSES = len(CLASS_NAMES)
FOCUS_CELLS = 10
"""Side of the window of `focused_resnet`, in cells of 16 px: 160 of the slice's 352 px."""


def study_a_baseline() -> nn.Sequential:
    """Study A, version 1: two convolutions and one linear layer on 128 px; no dropout, no batch norm."""
    return _sequential(
        conv1=nn.Conv2d(3, 16, 3, padding=1),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(16, 32, 3, padding=1),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        fc=nn.Linear(32 * 32 * 32, CLASSES),
    )


def study_a_cnn(dropout: float) -> nn.Sequential:
    """Study A, versions 2 to 4: three convolutions and three linear layers on 128 px; they differ in `dropout`."""
    return _sequential(
        conv1=nn.Conv2d(3, 32, 3, padding=1),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(32, 64, 3, padding=1),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(2),
        conv3=nn.Conv2d(64, 128, 3, padding=1),
        relu3=nn.ReLU(),
        pool3=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        fc1=nn.Linear(128 * 16 * 16, 256),
        relu4=nn.ReLU(),
        dropout1=nn.Dropout(dropout),
        fc2=nn.Linear(256, 128),
        relu5=nn.ReLU(),
        dropout2=nn.Dropout(dropout),
        fc3=nn.Linear(128, CLASSES),
    )


def study_b_cnn() -> nn.Sequential:
    """Study B, baseline: three convolutions with batch norm and two linear layers on 224 px."""
    stages: dict[str, nn.Module] = {}
    for i, (inputs, outputs) in enumerate([(3, 32), (32, 64), (64, 128)], start=1):
        stages |= {
            f"conv{i}": nn.Conv2d(inputs, outputs, 3, padding=1),
            f"bn{i}": nn.BatchNorm2d(outputs),
            f"relu{i}": nn.ReLU(),
            f"pool{i}": nn.MaxPool2d(2),
        }
    return _sequential(
        **stages,
        flatten=nn.Flatten(),
        fc1=nn.Linear(128 * 28 * 28, 256),
        relu4=nn.ReLU(),
        dropout=nn.Dropout(0.5),
        fc2=nn.Linear(256, CLASSES),
    )


def resnet18() -> nn.Sequential:
    """ResNet-18 (He et al. 2016, arXiv:1512.03385) with study A's head."""
    return _resnet(models.resnet18(weights=None), study_a_head)


def resnet50() -> nn.Sequential:
    """ResNet-50 (He et al. 2016, arXiv:1512.03385) with study A's head.

    Random weights start with every residual branch silent (Goyal et al. 2017, arXiv:1706.02677): fifty layers learn
    faster so.
    """
    return _resnet(models.resnet50(weights=None, zero_init_residual=True), study_a_head)


def resnet50_linear() -> nn.Sequential:
    """ResNet-50 with one linear layer on top, as study B trained it."""
    return _resnet(models.resnet50(weights=None), lambda features: nn.Linear(features, CLASSES))


def efficientnet_b0() -> nn.Sequential:
    """EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946) with study A's head."""
    backbone = models.efficientnet_b0(weights=None)
    return _sequential(
        features=backbone.features,
        avgpool=backbone.avgpool,
        flatten=nn.Flatten(),
        classifier=study_a_head(backbone.classifier[1].in_features),
    )


def focused_resnet() -> nn.Sequential:
    """ResNet-18 without its last stage, on slices of 352 px; it classes what it sees around one place, see `Focus`."""
    stages = dict(models.resnet18(weights=None).named_children())
    kept = {name: stages[name] for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")}
    return _sequential(**kept, focus=Focus(256, FOCUS_CELLS), fc=nn.Linear(256, CLASSES))


class Focus(nn.Module):
    """Feature maps (N, C, h, w) -> their means (N, C) in a window around the place where a tumour is surest.

    Maps no larger than the window are averaged whole: what is cut out at that size is classed as what it is cut from.

    Attributes:
        place: 1x1 convolution that says, as a logit, how much of each cell a tumour covers.
        cells: side of the window.
    """

    def __init__(self, channels: int, cells: int):
        super().__init__()
        self.place = nn.Conv2d(channels, 1, 1)
        self.cells = cells

    def forward(self, maps: Tensor) -> Tensor:
        weight = self.window(maps.detach())
        return (maps * weight).sum(dim=(2, 3)) / weight.sum(dim=(2, 3))

    def window(self, maps: Tensor) -> Tensor:
        """1 in the window, 1/2 on an edge that halves a cell, 0 outside; float (N, 1, h, w)."""
        height, width = maps.shape[-2:]
        if max(height, width) <= self.cells:
            return maps.new_ones(len(maps), 1, height, width)
        # A place is more than one hot cell.
        sure = F.avg_pool2d(self.place(maps).sigmoid(), 3, 1, 1)[:, 0]
        surest = sure.flatten(1).argmax(dim=1)
        down = self._along(surest // width, height, maps)
        right = self._along(surest % width, width, maps)
        return down[:, None, :, None] * right[:, None, None, :]

    def _along(self, index: Tensor, side: int, maps: Tensor) -> Tensor:
        """The window along one axis, float (N, side): moved inwards where it would stand out."""
        half = self.cells / 2
        middle = (index + 0.5).clamp(min(half, side / 2), max(side - half, side / 2))
        distance = (torch.arange(side, device=maps.device) + 0.5 - middle[:, None]).abs()
        return (half + 0.5 - distance).clamp(0, 1).to(maps.dtype)


def study_a_head(features: int) -> nn.Sequential:
    """Study A's classifier on a pooled backbone: (N, features) -> (N, 4)."""
    return nn.Sequential(
        nn.Dropout(0.3),
        nn.Linear(features, 512),
        nn.ReLU(),
        nn.BatchNorm1d(512),
        nn.Dropout(0.4),
        nn.Linear(512, 256),
        nn.ReLU(),
        nn.BatchNorm1d(256),
        nn.Dropout(0.3),
        nn.Linear(256, CLASSES),
    )


def split(network: nn.Sequential, stage: str) -> tuple[nn.Sequential, nn.Sequential]:
    """Cut a network behind a named stage: trunk (up to and with it) and tail (the rest), sharing its parameters."""
    cut = list(dict(network.named_children())).index(stage) + 1
    return network[:cut], network[cut:]


def load_backbone(network: nn.Sequential, imagenet: Mapping[str, Tensor], head: str) -> None:
    """Copy torchvision's ImageNet weights into every stage but the head.

    Args:
        network: a network of this module built on a torchvision backbone.
        imagenet: state dict of the torchvision model.
        head: name of the stage that stays as initialised ("fc" or "classifier").

    Raises:
        ValueError: the state dict is of another architecture; the message names the first parameters that differ.
    """
    wanted = {key: value.shape for key, value in network.state_dict().items() if not key.startswith(f"{head}.")}
    given = {key: value for key, value in imagenet.items() if not key.startswith(f"{head}.")}
    # Files older than torch 0.4.1 lack the number of batches that batch norm has seen, which is used nowhere.
    wrong = [key for key in wanted if key not in given and not key.endswith(".num_batches_tracked")]
    wrong += [key for key in given if key not in wanted or given[key].shape != wanted[key]]
    if wrong:
        raise ValueError(f"These ImageNet weights are of another architecture: {', '.join(wrong[:3])} do not fit.")
    network.load_state_dict(given, strict=False)


def _resnet(backbone: models.ResNet, head) -> nn.Sequential:
    stages = dict(backbone.named_children())
    features = stages.pop("fc").in_features
    return _sequential(**stages, flatten=nn.Flatten(), fc=head(features))


def _sequential(**stages: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(stages))
