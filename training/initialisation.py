"""How a network starts: at random, or with ImageNet weights from torchvision or a local file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from brain_tumor.architectures import load_backbone
from brain_tumor.registry import ModelSpec
from training.recipes import Recipe

# What reading a damaged file raises, or one that is something else.
UNREADABLE = (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, KeyError, ValueError)


class InitialisationError(RuntimeError):
    """ImageNet weights cannot be had or used; the message names where they come from and what to do."""


def initial_network(spec: ModelSpec, recipe: Recipe, seed: int, imagenet_file: Path | None = None) -> nn.Sequential:
    """The network as the recipe starts it; its random weights depend on the seed alone.

    Args:
        imagenet_file: a torchvision state dict (.pth or .safetensors) to use instead of downloading one.

    Raises:
        InitialisationError: the ImageNet weights cannot be had, or are of another architecture.
    """
    torch.manual_seed(seed)
    network = spec.build()
    if recipe.initialisation == "imagenet":
        weights = imagenet_weights(spec, imagenet_file)
        try:
            load_backbone(network, weights, spec.head)
        except ValueError as error:
            source = imagenet_file or _cached(spec)
            raise InitialisationError(f"{source} does not hold the weights of {spec.backbone}. {error}") from None
    return network


def imagenet_weights(spec: ModelSpec, file: Path | None = None) -> Mapping[str, Tensor]:
    """Torchvision's ImageNet state dict of the system's backbone: from a file, torch hub's cache, or the network.

    Raises:
        InitialisationError: no such file, no network, or a file that is no state dict; says the next step.
    """
    if file is not None:
        return _read(file)
    cached = _cached(spec)
    try:
        # torch hub looks in its cache before it downloads, and checks the hash of what it downloads only.
        return _weights(spec).get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, *UNREADABLE) as error:
        if cached.exists():
            raise InitialisationError(f"{cached} is no state dict, or damaged. Delete it and try again.") from None
        url = _weights(spec).url
        raise InitialisationError(
            f"The ImageNet weights of {spec.backbone} could not be downloaded ({error}). Fetch {url} on a machine with "
            f"network and put it at {cached}, or give it with --imagenet FILE; or train from random weights with "
            "--recipe two_teachers."
        ) from None


def _weights(spec: ModelSpec) -> models.WeightsEnum:
    # The first generation: what "pretrained" meant in both studies' time, and the only one for two of three.
    return models.get_model_weights(spec.backbone).IMAGENET1K_V1


def _cached(spec: ModelSpec) -> Path:
    """Where torch hub keeps the file, and where a user without network on the training machine can put it."""
    return Path(torch.hub.get_dir()) / "checkpoints" / _weights(spec).url.rsplit("/", 1)[1]


def _read(file: Path) -> Mapping[str, Tensor]:
    if not file.is_file():
        raise InitialisationError(f"There is no file {file}.")
    try:
        if file.suffix == ".safetensors":
            weights = load_file(file)
        else:
            weights = torch.load(file, map_location="cpu", weights_only=True)
    except UNREADABLE:
        weights = None
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise InitialisationError(f"{file} is no state dict of torchvision (.pth or .safetensors), or damaged.")
    return weights
