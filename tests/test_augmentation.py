"""Augmentation does to images what its description says, as far as it says, and the same for the same seed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF
from torchvision.transforms.v2 import functional as TF2

from training.augmentation import Augmentation, Draw, augment, draw
from training.recipes import RECIPES

SIZE = 64
# Everything at once; noise apart, which every process draws for itself.
STRONG = Augmentation(
    flip_horizontal=0.5,
    flip_vertical=0.5,
    rotation=40,
    translation=0.2,
    scale=0.3,
    crop_area=0.5,
    brightness=0.8,
    contrast=0.8,
    saturation=0.8,
    gamma=1.0,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blob(n: int = 1, sigma: float = 6.0) -> Tensor:
    """uint8 (n, 3, 64, 64): a round Gaussian in the middle."""
    axis = torch.arange(SIZE) - (SIZE - 1) / 2
    bell = torch.exp(-(axis**2) / (2 * sigma**2))
    return (250 * torch.outer(bell, bell)).round().byte().expand(n, 3, SIZE, SIZE).contiguous()


def scene() -> Tensor:
    """uint8 (1, 3, 64, 64): smooth, coloured, without any symmetry."""
    y, x = torch.meshgrid(torch.linspace(0, 1, SIZE), torch.linspace(0, 1, SIZE), indexing="ij")
    channels = [0.9 * x, 0.5 + 0.4 * torch.sin(5 * x + 3 * y), 0.2 + 0.7 * y * x]
    return (255 * torch.stack(channels)).round().byte().unsqueeze(0)


def moments(images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centre (x, y) and standard deviation (x, y) of the brightness, px; the centre relative to the image's."""
    weights = images[:, 0] / images[:, 0].sum(dim=(1, 2), keepdim=True)
    axis = torch.arange(SIZE) - (SIZE - 1) / 2
    across, down = weights.sum(dim=1), weights.sum(dim=2)
    x, y = (across * axis).sum(1), (down * axis).sum(1)
    return x, y, ((across * axis**2).sum(1) - x**2).sqrt(), ((down * axis**2).sum(1) - y**2).sqrt()


def relative_size(images: Tensor) -> tuple[Tensor, Tensor]:
    """How much larger than the original blob the images show it, across and down."""
    _, _, width, height = moments(blob() / 255)
    _, _, x, y = moments(images)
    return x / width, y / height


def fixed(**changes: float) -> Draw:
    """A draw for one image that changes nothing but what is given."""
    nothing = draw(1, Augmentation(), seeded())
    return replace(nothing, **{key: torch.full((1, 1, 1, 1), value) for key, value in changes.items()})


def test_default_changes_nothing():
    pixels = torch.randint(0, 256, (5, 3, SIZE, SIZE), dtype=torch.uint8)
    assert torch.equal(augment(pixels, draw(5, Augmentation(), seeded()), SIZE), pixels.float() / 255)


@pytest.mark.parametrize(("field", "dim"), [("flip_horizontal", 3), ("flip_vertical", 2)])
def test_flip_is_the_mirrored_image(field, dim):
    pixels = torch.randint(0, 256, (3, 3, SIZE, SIZE), dtype=torch.uint8)
    changed = augment(pixels, draw(3, Augmentation(**{field: 1.0}), seeded()), SIZE)
    assert torch.equal((255 * changed).round().byte(), pixels.flip(dim))


def test_flip_happens_as_often_as_asked():
    pixels = scene().expand(500, -1, -1, -1)
    changed = augment(pixels, draw(500, Augmentation(flip_horizontal=0.3), seeded()), SIZE)
    flipped = (changed - pixels.flip(3) / 255).abs().amax(dim=(1, 2, 3)) < 1e-3
    assert 0.24 < flipped.float().mean() < 0.36


@pytest.mark.parametrize("seed", range(4))
def test_rotation_is_torchvisions(seed):
    changes = draw(1, Augmentation(rotation=30), seeded(seed))
    angle = math.degrees(math.atan2(changes.theta[0, 1, 0], changes.theta[0, 0, 0]))
    assert 1 < abs(angle) <= 30
    expected = TF.rotate(scene().float() / 255, angle, InterpolationMode.BILINEAR)
    torch.testing.assert_close(augment(scene(), changes, SIZE), expected, atol=1e-3, rtol=0)


def test_rotation_goes_to_both_sides_and_not_further():
    theta = draw(500, Augmentation(rotation=15), seeded()).theta
    angles = torch.atan2(theta[:, 1, 0], theta[:, 0, 0]).rad2deg()
    assert -15.001 <= angles.min() < -14
    assert 14 < angles.max() <= 15.001


def test_translation_goes_all_ways_and_not_further():
    changed = augment(blob(500), draw(500, Augmentation(translation=0.1), seeded()), SIZE)
    x, y, *_ = moments(changed)
    for shift in (x, y):
        assert -0.1 * SIZE - 0.05 <= shift.min() < -0.09 * SIZE
        assert 0.09 * SIZE < shift.max() <= 0.1 * SIZE + 0.05
    assert torch.corrcoef(torch.stack([x, y]))[0, 1].abs() < 0.2


def test_scale_goes_up_and_down_and_not_further():
    across, down = relative_size(augment(blob(300), draw(300, Augmentation(scale=0.15), seeded()), SIZE))
    torch.testing.assert_close(across, down, atol=0.01, rtol=0)
    assert 0.84 < across.min() < 0.87
    assert 1.13 < across.max() < 1.16


def test_crop_stays_inside_the_image():
    white = torch.full((300, 3, SIZE, SIZE), 255, dtype=torch.uint8)
    changed = augment(white, draw(300, Augmentation(crop_area=0.5), seeded()), SIZE)
    assert changed[:, :, 1:-1, 1:-1].min() > 0.999
    # Where a crop touches the image's edge, its own edge is interpolated half way to the black outside at most.
    assert changed.min() > 0.4
    assert changed.amin(dim=(1, 2, 3)).mean() > 0.97


@pytest.mark.parametrize("crop_area", [0.5, 0.85])
def test_crop_keeps_area_and_aspect(crop_area):
    # Wide enough a blob to be measured, small enough to lie within every crop.
    changed = augment(blob(400, sigma=6.0), draw(400, Augmentation(crop_area=crop_area), seeded()), SIZE)
    inside = changed[:, 0, [0, -1], :].amax(dim=(1, 2)).maximum(changed[:, 0, :, [0, -1]].amax(dim=(1, 2))) < 0.004
    across, down = relative_size(changed[inside])
    area, aspect = 1 / (across * down), down / across
    assert inside.sum() > 50
    assert crop_area - 0.02 < area.min() < crop_area + 0.1
    assert area.max() < 1.02
    assert 3 / 4 - 0.02 < aspect.min() < 0.95
    assert 1.05 < aspect.max() < 4 / 3 + 0.02


def test_crop_is_taken_anywhere():
    x, y, *_ = moments(augment(blob(300), draw(300, Augmentation(crop_area=0.7), seeded()), SIZE))
    assert x.min() < -3 and x.max() > 3
    assert y.min() < -3 and y.max() > 3


@pytest.mark.parametrize("factor", [0.6, 1.4])
@pytest.mark.parametrize("change", ["brightness", "contrast", "saturation"])
def test_colours_change_as_in_torchvision(change, factor):
    expected = getattr(TF2, f"adjust_{change}")(scene().float() / 255, factor)
    changed = augment(scene(), fixed(**{change: factor}), SIZE)
    torch.testing.assert_close(changed, expected, atol=1e-3, rtol=0)
    assert (changed - scene() / 255).abs().max() > 0.05


def test_what_brightness_pushes_past_white_stays_lost():
    expected = TF2.adjust_contrast(TF2.adjust_brightness(scene().float() / 255, 1.6), 0.5)
    changed = augment(scene(), fixed(brightness=1.6, contrast=0.5), SIZE)
    torch.testing.assert_close(changed, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("exponent", [0.7, 1.5])
def test_gamma_is_an_exponent(exponent):
    expected = (scene().float() / 255) ** exponent
    torch.testing.assert_close(augment(scene(), fixed(gamma=exponent), SIZE), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("field", "strength", "low", "high"),
    [
        ("brightness", 0.2, 0.8, 1.2),
        ("contrast", 0.1, 0.9, 1.1),
        ("saturation", 1.5, 0.0, 2.5),
        ("gamma", 0.25, math.exp(-0.25), math.exp(0.25)),
        ("noise", 0.03, 0.0, 0.03),
    ],
)
def test_strengths_are_the_limits(field, strength, low, high):
    changes = draw(1000, Augmentation(**{field: strength}), seeded())
    values = getattr(changes, field)
    slack = 0.02 * (high - low)
    assert low - 1e-6 <= values.min() < low + slack
    assert high - slack < values.max() <= high + 1e-6


def test_noise_is_grey_and_as_strong_as_drawn():
    pixels = torch.full((1, 3, SIZE, SIZE), 128, dtype=torch.uint8)
    torch.manual_seed(0)
    noise = augment(pixels, fixed(noise=0.05), SIZE) - 128 / 255
    assert torch.equal(noise[:, 0], noise[:, 1]) and torch.equal(noise[:, 0], noise[:, 2])
    assert noise.std().item() == pytest.approx(0.05, rel=0.1)


def test_values_stay_between_black_and_white():
    pixels = torch.randint(0, 256, (50, 3, SIZE, SIZE), dtype=torch.uint8)
    changed = augment(pixels, draw(50, replace(STRONG, noise=0.5), seeded()), SIZE)
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert changed.isfinite().all()


@pytest.mark.parametrize("name", RECIPES)
def test_same_seed_gives_the_same_images(name):
    def images(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return augment(scene().expand(4, -1, -1, -1), draw(4, RECIPES[name].augmentation, seeded(seed)), SIZE)

    assert torch.equal(images(1), images(1))
    changes_something = RECIPES[name].augmentation != Augmentation()
    assert torch.equal(images(1), images(2)) != changes_something


def test_a_batch_shared_by_two_processes_is_the_same_batch():
    pixels = torch.randint(0, 256, (7, 3, SIZE, SIZE), dtype=torch.uint8)
    whole = augment(pixels, draw(7, STRONG, seeded()), SIZE)
    parts = [augment(pixels[s], draw(7, STRONG, seeded()).take(s), SIZE) for s in (slice(0, 3), slice(3, 7))]
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=0)


def test_strengths_do_not_move_what_comes_next():
    """Recipes that differ in one strength draw the same for the others."""
    for a in (Augmentation(), STRONG, replace(STRONG, noise=0.1)):
        generator = seeded()
        draw(5, a, generator)
        assert torch.rand(1, generator=generator) == torch.rand(75 + 1, generator=seeded())[-1]


def test_result_may_be_smaller_than_the_image():
    changed = augment(scene(), draw(1, Augmentation(), seeded()), 56)
    expected = F.interpolate(scene().float() / 255, 56, mode="bilinear", align_corners=False)
    torch.testing.assert_close(changed, expected, atol=1e-4, rtol=0)
