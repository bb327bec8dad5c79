"""The second teacher learns from where the tumour is in the image as augmented."""

from __future__ import annotations

import math

import pytest
import torch

from brain_tumor.registry import MODELS, build_model
from training.augmentation import Augmentation, augment, draw
from training.location import WithLocation, coverage, location_losses

IDENTITY = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])


def test_coverage_is_the_share_of_each_cell_in_the_box():
    covered = coverage(torch.tensor([[0.25, 0.0, 0.75, 0.5]]), IDENTITY, (2, 2))
    assert covered.tolist() == [[[0.5, 0.5], [0.0, 0.0]]]


def test_a_slice_without_a_tumour_is_covered_nowhere():
    assert not coverage(torch.zeros(1, 4), IDENTITY, (4, 4)).any()


def test_the_box_moves_with_the_tumour():
    # A bright box on black: where the augmented image is bright, the augmented box must be.
    n, side = 32, 64
    boxes = torch.tensor([0.25, 0.375, 0.5, 0.75]).expand(n, 4)
    pixels = torch.zeros(n, 3, side, side, dtype=torch.uint8)
    pixels[:, :, 24:48, 16:32] = 255
    strong = Augmentation(flip_horizontal=0.5, flip_vertical=0.5, rotation=30, translation=0.2, scale=0.3)
    changes = draw(n, strong, torch.Generator().manual_seed(0))
    bright = torch.nn.functional.avg_pool2d(augment(pixels, changes, side), 4)[:, 0]
    assert (coverage(boxes, changes.theta, (16, 16)) - bright).abs().mean() < 0.01


def test_an_image_whose_box_is_not_known_teaches_nothing():
    boxes = torch.tensor([[math.nan] * 4, [0.0] * 4])
    losses = location_losses(torch.full((2, 4, 4), 2.0), boxes, IDENTITY.expand(2, 2, 3))
    assert losses[0] == 0
    assert losses[1] > 2


@pytest.mark.parametrize("system", MODELS)
def test_every_network_can_learn_the_place(system):
    spec = MODELS[system]
    size = spec.preprocessing.size
    learner = WithLocation(build_model(system), spec.location_stages, size).eval()
    images = torch.rand(2, 3, size, size)
    logits, location = learner(images)
    assert torch.equal(logits, learner.network(images))
    assert location.shape[0] == 2
    assert location.shape[-1] >= 8
    location_losses(location, torch.zeros(2, 4), IDENTITY.expand(2, 2, 3)).sum().backward()
    assert all(parameter.grad is not None for parameter in learner.location.parameters())
