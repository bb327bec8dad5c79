"""How a network starts: at random, or with ImageNet weights from torchvision or a local file."""

from __future__ import annotations

import urllib.error
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models

from brain_tumor.architectures import load_backbone
from brain_tumor.registry import ModelSpec
from training.recipes import Recipe


class InitialisationError(RuntimeError):
    """ImageNet weights cannot be had; the message says where they come from and how to give them by hand."""


def initial_network(spec: ModelSpec, recipe: Recipe, seed: int, imagenet_file: Path | None = None) -> nn.Sequential:
    """The network as the recipe starts it; its random weights depend on the seed alone.

    Args:
        imagenet_file: a torchvision state dict (.pth or .safetensors) to use instead of downloading one.
    """
    torch.manual_seed(seed)
    network = spec.build()
    if recipe.initialisation == "imagenet":
        load_backbone(network, imagenet_weights(spec, imagenet_file), spec.head)
    return network


def imagenet_weights(spec: ModelSpec, file: Path | None = None) -> Mapping[str, Tensor]:
    """Torchvision's ImageNet state dict of the system's backbone: from a file, torch hub's cache, or the network.

    Raises:
        InitialisationError: no such file, or no network; says the next step.
    """
    if file is not None:
        return _read(file)
    # The first generation of weights: what "pretrained" meant in both studies' time, and the only one for two of three.
    weights = models.get_model_weights(spec.backbone).IMAGENET1K_V1
    # torch hub looks here before it downloads, and so can a user who has no network on the training machine.
    cached = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[1]
    try:
        return weights.get_state_dict(progress=True, check_hash=True)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise InitialisationError(
            f"The ImageNet weights of {spec.backbone} could not be downloaded ({error}). Fetch {weights.url} on a "
            f"machine with network and put it at {cached}, or give it with --imagenet FILE; or train from random "
            "weights with --recipe scratch."
        ) from None


def _read(file: Path) -> Mapping[str, Tensor]:
    if not file.exists():
        raise InitialisationError(f"There is no file {file}.")
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    return torch.load(file, map_location="cpu", weights_only=True)
