"""The untrained networks of the nine systems.

Every network is an `nn.Sequential` of named stages. That one convention gives the rest of the project all it needs:
class-activation maps cut a network behind a named stage, recipes freeze and thaw stages by name, and the stages taken
from torchvision keep torchvision's parameter names, so ImageNet weights load as they are.

Shapes are for a batch of N images: input (N, 3, size, size), output logits (N, 4).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

from brain_tumor.labels import CLASS_NAMES

CLASSES = len(CLASS_NAMES)
BACKGROUND = 0.01
"""What a cell without any tumour weighs beside one that is covered by it (`LocationPool`)."""


def joined(maps: Sequence[Tensor]) -> Tensor:
    """Feature maps (N, C, h, w) of several stages, the finest first, those of the others enlarged to its size."""
    finest, *others = maps
    enlarged = (F.interpolate(other, finest.shape[-2:], mode="bilinear") for other in others)
    return torch.cat([finest, *enlarged], dim=1)


class Joined(nn.Sequential):
    """Stages one after the other, which put out what the first `fine` of them do beside what all of them do.

    Output: float (N, C of both, h, w), at the size of the finer one.
    """

    def __init__(self, stages: nn.Sequential, fine: int):
        super().__init__(OrderedDict(stages.named_children()))
        self.fine = fine

    def forward(self, inputs: Tensor) -> Tensor:
        early = inputs
        for number, stage in enumerate(self, start=1):
            inputs = stage(inputs)
            if number == self.fine:
                early = inputs
        return joined([early, inputs])


class LocationPool(nn.Module):
    """The mean of a feature map's cells, each weighted by how much of it the tumour is taken to cover.

    The class is then told by what is seen there; where no tumour is seen, by the whole picture. `location` gives the
    logit of that share, and learns it from the tumours' boxes as well as from the classes.

    Input: float (N, C, h, w). Output: (N, C, 1, 1), as average pooling.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.location = nn.Linear(channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        cells = features.permute(0, 2, 3, 1)
        weights = self.location(cells).flatten(1).float().sigmoid() + BACKGROUND
        weights = weights / weights.sum(dim=1, keepdim=True)
        return torch.bmm(weights[:, None].to(cells.dtype), cells.flatten(1, 2)).permute(0, 2, 1)[..., None]


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


def resnet18(located: bool = False) -> nn.Sequential:
    """ResNet-18 (He et al. 2016, arXiv:1512.03385) with study A's head.

    Args:
        located: not the mean of the last stage's cells decides, but those of the last two where the tumour is seen.
    """
    return _resnet(models.resnet18(weights=None), study_a_head, located)


def resnet50(located: bool = False) -> nn.Sequential:
    """ResNet-50 (He et al. 2016, arXiv:1512.03385) with study A's head; `located` as of `resnet18`.

    Random weights start with every residual branch silent (Goyal et al. 2017, arXiv:1706.02677): fifty layers learn
    faster so.
    """
    return _resnet(models.resnet50(weights=None, zero_init_residual=True), study_a_head, located)


def resnet50_linear() -> nn.Sequential:
    """ResNet-50 with one linear layer on top, as study B trained it."""
    return _resnet(models.resnet50(weights=None), lambda features: nn.Linear(features, CLASSES))


def efficientnet_b0(located: bool = False) -> nn.Sequential:
    """EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946) with study A's head; `located` as of `resnet18`."""
    backbone = models.efficientnet_b0(weights=None)
    stages = {"features": backbone.features, "avgpool": backbone.avgpool}
    features = backbone.classifier[1].in_features
    if located:
        # The last block of 14 x 14 cells, at 224 px.
        fine = 6
        features += backbone.features[fine - 1][-1].out_channels
        stages = {"features": Joined(backbone.features, fine), "avgpool": LocationPool(features)}
    return _sequential(**stages, flatten=nn.Flatten(), classifier=study_a_head(features))


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
    """Copy torchvision's ImageNet weights into every stage but the head, and the pooling where it has weights.

    Args:
        network: a network of this module built on a torchvision backbone.
        imagenet: state dict of the torchvision model.
        head: name of the stage that stays as initialised ("fc" or "classifier").

    Raises:
        ValueError: the state dict is of another architecture; the message names the first parameters that differ.
    """
    others = f"{head}.", "avgpool."
    wanted = {key: value.shape for key, value in network.state_dict().items() if not key.startswith(others)}
    given = {key: value for key, value in imagenet.items() if not key.startswith(f"{head}.")}
    # Files older than torch 0.4.1 lack the number of batches that batch norm has seen, which is used nowhere.
    wrong = [key for key in wanted if key not in given and not key.endswith(".num_batches_tracked")]
    wrong += [key for key in given if key not in wanted or given[key].shape != wanted[key]]
    if wrong:
        raise ValueError(f"These ImageNet weights are of another architecture: {', '.join(wrong[:3])} do not fit.")
    network.load_state_dict(given, strict=False)


def _resnet(backbone: models.ResNet, head, located: bool = False) -> nn.Sequential:
    stages = dict(backbone.named_children())
    features = stages.pop("fc").in_features
    if located:
        features += features // 2  # a ResNet's stages double their channels
        stages |= {"layer4": Joined(stages["layer4"], fine=0), "avgpool": LocationPool(features)}
    return _sequential(**stages, flatten=nn.Flatten(), fc=head(features))


def _sequential(**stages: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(stages))
