"""Windows show what their labels say: the tumour, or none."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from brain_tumor.labels import CLASS_NAMES
from training.augmentation import Augmentation, augment, draw
from training.crops import NO_TUMOUR, Crops, cut
from training.location import coverage

N, SIDE = 64, 88
CROPS = Crops(side=0.45, spread=1.4, jitter=0.25, elsewhere=0.3)
STRONG = Augmentation(flip_horizontal=0.5, rotation=20, scale=0.2)
GLIOMA = CLASS_NAMES.index("glioma")


def windows(box: tuple[float, float, float, float], label: int, crops: Crops = CROPS, augmentation=STRONG, n: int = N):
    """What is seen of a bright tumour on black in n windows, their labels, and the draw."""
    pixels = torch.zeros(n, 3, SIDE, SIDE, dtype=torch.uint8)
    left, top, right, bottom = (round(SIDE * edge) for edge in box)
    pixels[:, :, top:bottom, left:right] = 255
    boxes, labels = torch.tensor(box).expand(n, 4), torch.full((n,), label)
    generator = torch.Generator().manual_seed(0)
    changes, shown = cut(draw(n, augmentation, generator), labels, boxes, crops, generator)
    return augment(pixels, changes, 48)[:, 0], shown, changes, boxes


def test_a_window_that_is_called_a_tumour_shows_it_large_and_one_that_is_not_shows_next_to_none():
    seen, shown, _, _ = windows((0.25, 0.375, 0.375, 0.5), GLIOMA)
    tumour = shown == GLIOMA
    assert set(shown.tolist()) == {GLIOMA, NO_TUMOUR}
    share = seen.mean(dim=(1, 2))
    # 0.125 of a window of 0.45, squared, is 0.077; at the largest side and zoom 0.027.
    assert share[tumour].min() > 0.025
    # Turned by at most 20 degrees, a window's corners reach 1.3 times as far.
    assert share[~tumour].median() == 0
    assert share[~tumour].mean() < 0.1 * share[tumour].mean()


def test_about_the_asked_share_is_cut_elsewhere():
    _, shown, _, _ = windows((0.25, 0.375, 0.375, 0.5), GLIOMA, n=1000)
    assert (shown == NO_TUMOUR).float().mean() == pytest.approx(0.3, abs=0.05)
    _, shown, _, _ = windows((0.25, 0.375, 0.375, 0.5), GLIOMA, Crops(0.45, 1.4, 0.25, elsewhere=0.0))
    assert (shown == GLIOMA).all()


def test_where_the_tumour_is_all_over_the_slice_no_window_is_said_to_be_without_it():
    seen, shown, _, _ = windows((0.0, 0.0, 1.0, 1.0), GLIOMA)
    assert (shown == GLIOMA).all() and seen.mean() > 0.9


def test_slices_without_a_tumour_stay_so_and_are_cut_at_different_places():
    _, shown, changes, _ = windows((0.0, 0.0, 0.0, 0.0), NO_TUMOUR)
    assert (shown == NO_TUMOUR).all()
    middles = changes.theta[:, :, 2]
    assert middles.std(dim=0).min() > 0.2 and middles.abs().max() <= 0.7


def test_the_box_moves_with_what_is_cut_out():
    seen, _, changes, boxes = windows((0.25, 0.375, 0.5, 0.625), GLIOMA)
    covered = coverage(boxes, changes.theta, (12, 12))
    assert (covered - F.avg_pool2d(seen[:, None], 4)[:, 0]).abs().mean() < 0.02


def test_sides_vary_within_the_spread():
    _, _, changes, _ = windows((0.25, 0.375, 0.375, 0.5), GLIOMA, augmentation=Augmentation())
    sides = changes.theta[:, 0, 0]
    assert 0.45 / 1.4 <= sides.min() < 0.36 and 0.56 < sides.max() <= 0.45 * 1.4
