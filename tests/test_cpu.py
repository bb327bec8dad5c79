"""What is computed in another way on CPUs is the same."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from brain_tumor.registry import build_model
from training.cpu import SMALL_MAP, speed_up

CONVOLUTIONS = {
    "3 x 3": {"kernel_size": 3, "padding": 1},
    "3 x 3, every second": {"kernel_size": 3, "padding": 1, "stride": 2, "bias": False},
    "1 x 1": {"kernel_size": 1},
    "1 x 1, every second": {"kernel_size": 1, "stride": 2, "bias": False},
    "3 x 1, no padding": {"kernel_size": (3, 1)},
    "1 x 3, padded more": {"kernel_size": (1, 3), "padding": (0, 2), "stride": (2, 1)},
    "dilated": {"kernel_size": 3, "padding": 2, "dilation": 2},
    "same": {"kernel_size": 3, "padding": "same"},
    "in groups": {"kernel_size": 3, "padding": 1, "groups": 4},
}


def computed(network: nn.Module, inputs: torch.Tensor) -> list[torch.Tensor]:
    """Output, and gradients by inputs and parameters."""
    inputs = inputs.clone().requires_grad_()
    outputs = network(inputs)
    outputs.square().sum().backward()
    return [outputs.detach(), inputs.grad, *(parameter.grad for parameter in network.parameters())]


@pytest.mark.parametrize("size", [(3, 3), (4, 5), (9, 8)], ids=str)
@pytest.mark.parametrize("settings", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_a_convolution_and_its_gradients_are_the_same(settings, size):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(8, 12, **settings)).to(memory_format=torch.channels_last)
    fast = copy.deepcopy(plain)
    speed_up(fast)
    inputs = torch.randn(2, 8, *size).contiguous(memory_format=torch.channels_last)
    for one, other in zip(computed(plain, inputs), computed(fast, inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("system", ["resnet18", "efficientnet_b0"])
def test_a_network_keeps_its_names_and_its_answers(system):
    torch.manual_seed(0)
    plain = build_model(system).eval()
    fast = copy.deepcopy(plain)
    speed_up(fast)
    # The last stage has nine positions: those that are computed in the other way are among those that are compared.
    inputs = torch.randn(2, 3, 96, 96)
    assert SMALL_MAP >= (96 // 32) ** 2
    assert list(fast.state_dict()) == list(plain.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(fast(inputs), plain(inputs), rtol=1e-3, atol=1e-3)
