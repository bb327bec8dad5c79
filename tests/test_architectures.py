"""The networks are those that the studies describe, and can be cut, and take torchvision's weights."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from brain_tumor.architectures import Focus, load_backbone, split
from brain_tumor.registry import MODELS, ModelSpec, build_model, get_spec

BACKBONES = {
    "resnet18": models.resnet18,
    "resnet50": models.resnet50,
    "efficientnet_b0": models.efficientnet_b0,
    "resnet50_linear_probe": models.resnet50,
}


def conv(kernel: int, inputs: int, outputs: int) -> int:
    return kernel * kernel * inputs * outputs + outputs


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def batch_norm(channels: int) -> int:
    return 2 * channels


def residual_stage(inputs: int, outputs: int) -> int:
    """Two blocks of two convolutions, and the one that makes the first block's input fit."""
    return 9 * inputs * outputs + 3 * 9 * outputs**2 + inputs * outputs + 5 * batch_norm(outputs)


def study_a_head(features: int) -> int:
    return linear(features, 512) + batch_norm(512) + linear(512, 256) + batch_norm(256) + linear(256, 4)


def backbone(name: str) -> int:
    """Parameters of torchvision's own model without its classifier."""
    with torch.device("meta"):
        network = BACKBONES[name](weights=None)
    return sum(p.numel() for key, p in network.named_parameters() if not key.startswith(("fc.", "classifier.")))


THREE_CONVOLUTIONS = conv(3, 3, 32) + conv(3, 32, 64) + conv(3, 64, 128)
# Three times halved, 128 px are 16 and 224 px are 28.
STUDY_A_CNN = THREE_CONVOLUTIONS + linear(128 * 16 * 16, 256) + linear(256, 128) + linear(128, 4)
PARAMETERS = {
    "cnn_v1": lambda: conv(3, 3, 16) + conv(3, 16, 32) + linear(32 * 32 * 32, 4),
    "cnn_v2": lambda: STUDY_A_CNN,
    "cnn_v3": lambda: STUDY_A_CNN,
    "cnn_v4": lambda: STUDY_A_CNN,
    "resnet18": lambda: backbone("resnet18") + study_a_head(512),
    "resnet50": lambda: backbone("resnet50") + study_a_head(2048),
    "efficientnet_b0": lambda: backbone("efficientnet_b0") + study_a_head(1280),
    "baseline_cnn": lambda: (
        THREE_CONVOLUTIONS
        + batch_norm(32)
        + batch_norm(64)
        + batch_norm(128)
        + linear(128 * 28 * 28, 256)
        + linear(256, 4)
    ),
    "resnet50_linear_probe": lambda: backbone("resnet50_linear_probe") + linear(2048, 4),
    "focused_resnet": lambda: (
        (7 * 7 * 3 * 64 + batch_norm(64) + 4 * (9 * 64 * 64 + batch_norm(64)))
        + residual_stage(64, 128)
        + residual_stage(128, 256)
        + linear(256, 1)
        + linear(256, 4)
    ),
}
DROPOUTS = {
    "cnn_v1": [],
    "cnn_v2": [0.5, 0.5],
    "cnn_v3": [0.5, 0.5],
    "cnn_v4": [0.3, 0.3],
    "resnet18": [0.3, 0.4, 0.3],
    "resnet50": [0.3, 0.4, 0.3],
    "efficientnet_b0": [0.3, 0.4, 0.3],
    "baseline_cnn": [0.5],
    "resnet50_linear_probe": [],
    "focused_resnet": [],
}


class System(NamedTuple):
    """An untrained network in evaluation mode, two random inputs and what it makes of them."""

    spec: ModelSpec
    network: nn.Sequential
    inputs: Tensor
    logits: Tensor


@pytest.fixture(scope="module", params=MODELS)
def system(request) -> System:
    spec = get_spec(request.param)
    torch.manual_seed(1)
    network = spec.build().eval()
    x = torch.randn(2, 3, spec.preprocessing.size, spec.preprocessing.size)
    with torch.no_grad():
        return System(spec, network, x, network(x))


@functools.cache
def torchvision_network(builder: Callable[..., nn.Module]) -> nn.Module:
    """A random backbone as if trained: its running statistics are not the initial ones."""
    network = builder(weights=None)
    with torch.no_grad():
        network(torch.randn(4, 3, 64, 64))
    return network.eval()


def test_each_input_gets_four_logits(system):
    assert system.logits.shape == (2, 4)
    assert system.logits.isfinite().all()


def test_parameters_are_those_of_the_description(system):
    assert sum(p.numel() for p in system.network.parameters()) == PARAMETERS[system.spec.name]()


def test_dropout_is_that_of_the_description(system):
    rates = [m.p for m in system.network.modules() if isinstance(m, nn.Dropout)]
    assert rates == DROPOUTS[system.spec.name]


@torch.no_grad()
def test_trunk_then_tail_is_the_network(system):
    trunk, tail = split(system.network, system.spec.cam_layer)
    features = trunk(system.inputs)
    assert features.ndim == 4
    assert min(features.shape[2:]) > 1
    assert not torch.equal(features[0], features[1])
    assert torch.equal(tail(features), system.logits)


def test_trunk_and_tail_share_the_parameters_of_the_network(system):
    parts = split(system.network, system.spec.cam_layer)
    assert [id(p) for part in parts for p in part.parameters()] == [id(p) for p in system.network.parameters()]


@torch.no_grad()
@pytest.mark.parametrize("system", BACKBONES, indirect=True)
def test_loaded_backbone_computes_what_torchvision_computes(system):
    spec = system.spec
    reference = torchvision_network(BACKBONES[spec.name])
    network = copy.deepcopy(system.network)
    load_backbone(network, reference.state_dict(), spec.head)

    seen = []
    hook = reference.get_submodule(spec.cam_layer).register_forward_hook(lambda *call: seen.append(call[-1]))
    reference(system.inputs[:, :, :64, :64])
    hook.remove()
    trunk, _ = split(network, spec.cam_layer)
    assert torch.equal(trunk(system.inputs[:, :, :64, :64]), seen[0])
    head, before = (n.get_submodule(spec.head).parameters() for n in (network, system.network))
    assert all(map(torch.equal, head, before))


def test_weights_saved_before_batch_norm_counted_its_batches_load():
    reference = torchvision_network(models.resnet18)
    old = {key: value for key, value in reference.state_dict().items() if not key.endswith("num_batches_tracked")}
    network = build_model("resnet18")
    load_backbone(network, old, "fc")
    assert torch.equal(network.layer4[1].conv2.weight, reference.layer4[1].conv2.weight)


@pytest.mark.parametrize("foreign", ["resnet50", "efficientnet_b0"])
def test_foreign_weights_are_refused(foreign):
    network = build_model("resnet18")
    before = network.conv1.weight.clone()
    with torch.device("meta"):
        weights = BACKBONES[foreign](weights=None).state_dict()
    with pytest.raises(ValueError, match=r"another architecture.*(layer|conv|features)"):
        load_backbone(network, weights, "fc")
    assert torch.equal(network.conv1.weight, before)


# --- Looking at one place ---------------------------------------------------------------------------------------------


def focus_on(row: int, column: int, side: int = 22) -> tuple[Focus, torch.Tensor]:
    """A layer that takes the first feature map for the tumour's place, and maps with one hot spot."""
    focus = Focus(3, 10)
    with torch.no_grad():
        focus.place.weight.copy_(torch.tensor([8.0, 0.0, 0.0]).view(1, 3, 1, 1))
        focus.place.bias.fill_(-4.0)
    maps = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) / 10
    maps[0, 0, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = 1
    return focus, maps


@torch.no_grad()
def test_maps_as_small_as_the_window_are_averaged_whole():
    focus, maps = focus_on(0, 0, side=10)
    torch.testing.assert_close(focus(maps), maps.mean(dim=(2, 3)))


@torch.no_grad()
@pytest.mark.parametrize(
    ("place", "rows", "columns"),
    [((10, 12), (5, 16), (7, 18)), ((0, 21), (0, 10), (12, 22)), ((21, 3), (12, 22), (0, 10))],
    ids=["amid", "upper right corner", "lower edge"],
)
def test_the_window_lies_around_the_surest_place_and_within_the_slice(place, rows, columns):
    focus, maps = focus_on(*place)
    window = focus.window(maps)[0, 0]
    assert window.sum() == 100
    inside = torch.zeros(22, 22, dtype=torch.bool)
    inside[slice(*rows), slice(*columns)] = True
    assert torch.equal(window > 0, inside)
    expected = (maps * window).sum(dim=(2, 3)) / 100
    torch.testing.assert_close(focus(maps), expected)


@torch.no_grad()
def test_what_lies_outside_the_window_does_not_count():
    focus, maps = focus_on(10, 12)
    changed = maps.clone()
    changed[:, 1:, 16:] = 9.0
    assert torch.equal(focus(changed), focus(maps))


@torch.no_grad()
def test_each_slice_of_a_batch_has_its_own_window():
    focus, first = focus_on(4, 4)
    _, second = focus_on(17, 15)
    together = focus(torch.cat([first, second]))
    torch.testing.assert_close(together, torch.cat([focus(first), focus(second)]))
