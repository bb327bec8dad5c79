"""Every change of a slice does what it says, as strongly as it says, and always the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageOps
from slices import mri_slice

from brain_tumor.disturbance import DISTURBANCES, UnknownDisturbanceError, disturb, head_mask

SIZE = 200
ALL = [(d.name, severity) for d in DISTURBANCES.values() for severity in d.severities]
each_change = pytest.mark.parametrize(("name", "severity"), ALL)


@pytest.fixture(scope="module")
def slice_() -> Image.Image:
    return mri_slice(1, SIZE)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(float)


def spot(x: int, y: int) -> Image.Image:
    """Black, with a small white square about (x, y)."""
    image = Image.new("RGB", (SIZE, SIZE))
    image.paste((255, 255, 255), (x - 3, y - 3, x + 4, y + 4))
    return image


def where(image: Image.Image) -> tuple[float, float]:
    """The centre of the brightness, (x, y)."""
    grey = pixels(image.convert("L"))
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]]
    return float((x * grey).sum() / grey.sum()), float((y * grey).sum() / grey.sum())


@each_change
def test_a_change_is_the_same_every_time_and_leaves_the_slice_alone(name, severity, slice_):
    before = slice_.copy()
    changed = disturb(slice_, name, severity)
    assert (changed.mode, changed.size) == ("RGB", slice_.size)
    np.testing.assert_array_equal(pixels(slice_), pixels(before))
    np.testing.assert_array_equal(pixels(changed), pixels(disturb(slice_, name, severity)))
    assert (pixels(changed) != pixels(slice_)).any()


@each_change
@pytest.mark.parametrize("size", [(32, 32), (300, 180), (64, 257)])
def test_slices_of_any_size_and_mode_are_taken(name, severity, size):
    changed = disturb(mri_slice(2).resize(size).convert("L"), name, severity)
    assert (changed.mode, changed.size) == ("RGB", size)


@pytest.mark.parametrize("name", [d.name for d in DISTURBANCES.values() if d.neutral is not None])
def test_the_neutral_severity_changes_nothing(name, slice_):
    unchanged = disturb(slice_, name, DISTURBANCES[name].neutral)
    np.testing.assert_array_equal(pixels(unchanged), pixels(slice_))
    assert unchanged is not slice_


@pytest.mark.parametrize("name", [d.name for d in DISTURBANCES.values() if len(d.severities) > 1])
def test_farther_from_neutral_changes_more(name, slice_):
    disturbance = DISTURBANCES[name]
    harmless = {"skull": -1, "jpeg": 100, "coarse": SIZE}.get(name, disturbance.neutral)
    for side in (1, -1):
        severities = sorted((s for s in disturbance.severities if side * (s - harmless) > 0), key=lambda s: side * s)
        difference = [np.abs(pixels(disturb(slice_, name, s)) - pixels(slice_)).mean() for s in severities]
        assert difference == sorted(difference), dict(zip(severities, difference, strict=True))


@pytest.mark.parametrize("name", DISTURBANCES)
def test_severities_beyond_the_limits_are_refused(name, slice_):
    low, high = DISTURBANCES[name].limits
    for severity in (low - 1, high + 1):
        with pytest.raises(ValueError, match=f"goes from {low:g} to {high:g}"):
            disturb(slice_, name, severity)


def test_an_unknown_change_names_those_that_exist(slice_):
    with pytest.raises(UnknownDisturbanceError, match="mirror"):
        disturb(slice_, "melt", 1)


def test_what_people_read():
    assert DISTURBANCES["turn"].text(-15) == "−15°"
    assert DISTURBANCES["coarse"].text(48) == "48 px"
    assert DISTURBANCES["gamma"].text(0.5) == "0.5"
    assert DISTURBANCES["mirror"].text(1) == "yes"


def test_the_border_is_black_and_the_rest_as_it_was(slice_):
    framed, margin = pixels(disturb(slice_, "border", 10)), SIZE // 10
    inside = (slice(margin, -margin), slice(margin, -margin))
    np.testing.assert_array_equal(framed[inside], pixels(slice_)[inside])
    framed[inside] = 0
    assert not framed.any()


def test_the_head_is_found_without_what_lies_beside_it(slice_):
    crowded = slice_.copy()
    crowded.paste((255, 255, 255), (2, 2, 14, 8))  # a letter in the corner
    mask = head_mask(crowded)
    assert mask[SIZE // 2, SIZE // 2], "the dark ventricles belong to the head"
    assert not mask[:10, :20].any()
    # The phantom's head is an ellipse of half axes 0.68 to 0.72 and 0.82 to 0.86 of half the side.
    assert math.pi / 4 * 0.68 * 0.82 - 0.03 < mask.mean() < math.pi / 4 * 0.72 * 0.86 + 0.03


def test_a_blank_picture_has_no_background():
    assert head_mask(Image.new("RGB", (50, 40))).shape == (40, 50)
    assert not pixels(disturb(Image.new("RGB", (50, 40)), "skull", 20)).any()


def test_the_rim_goes_and_the_brain_stays(slice_):
    original, head = pixels(slice_), head_mask(slice_)
    air = pixels(disturb(slice_, "skull", 0))
    np.testing.assert_array_equal(air[head], original[head])
    assert not air[~head].any()
    peeled = pixels(disturb(slice_, "skull", 20))
    middle = (slice(SIZE * 4 // 10, SIZE * 6 // 10),) * 2
    np.testing.assert_array_equal(peeled[middle], original[middle])
    top = np.flatnonzero(head.any(axis=1))[0]
    assert original[top + 4, SIZE // 2].mean() > 100, "scalp"
    assert not peeled[: top + 8].any()


def test_writing_is_near_the_edges_and_grows(slice_):
    black = Image.new("RGB", (SIZE, SIZE))
    inked = [(pixels(disturb(black, "writing", severity)) > 128).mean() for severity in (3, 5, 7, 10)]
    assert inked == sorted(inked)
    written = pixels(disturb(black, "writing", 10)) > 128
    for corner in (written[: SIZE // 3, : SIZE // 2], written[-SIZE // 3 :, -SIZE // 2 :]):
        assert corner.any()
    assert written[SIZE // 2 - 20 : SIZE // 2 + 20, :30].any()
    middle = (slice(SIZE * 35 // 100, SIZE * 65 // 100),) * 2
    np.testing.assert_array_equal(pixels(disturb(slice_, "writing", 10))[middle], pixels(slice_)[middle])


def test_mirror_and_upside_down_are_pillows_and_undo_themselves(slice_):
    for name, theirs in (("mirror", ImageOps.mirror), ("upside_down", ImageOps.flip)):
        changed = disturb(slice_, name, 1)
        np.testing.assert_array_equal(pixels(changed), pixels(theirs(slice_)))
        np.testing.assert_array_equal(pixels(disturb(changed, name, 1)), pixels(slice_))


def test_brightness_contrast_and_gamma_are_what_they_are_called():
    grey = Image.new("RGB", (40, 40), (100, 100, 100))
    assert pixels(disturb(grey, "brightness", 1.5))[0, 0, 0] == 150
    assert pixels(disturb(Image.new("RGB", (40, 40), (200, 200, 200)), "brightness", 1.5)).min() == 255, "clipped"
    assert pixels(disturb(grey, "gamma", 2))[0, 0, 0] == pytest.approx(255 * (100 / 255) ** 2, abs=1)
    halves = grey.copy()
    halves.paste((140, 140, 140), (0, 0, 20, 40))
    assert [pixels(disturb(halves, "contrast", 0.5))[0, x, 0] for x in (0, 39)] == pytest.approx([130, 110], abs=1)


@pytest.mark.parametrize("severity", [2, 10])
def test_noise_is_that_of_a_magnitude_image(severity):
    sigma = 255 * severity / 100
    background = pixels(disturb(Image.new("RGB", (256, 256)), "noise", severity))[..., 0]
    # Without signal Rician noise is Rayleigh noise, whose mean is sqrt(pi / 2) sigma; in strong signal it is Gaussian.
    assert background.mean() == pytest.approx(math.sqrt(math.pi / 2) * sigma, rel=0.05)
    signal = pixels(disturb(Image.new("RGB", (256, 256), (128, 128, 128)), "noise", severity))
    assert signal[..., 0].std() == pytest.approx(sigma, rel=0.05)
    assert (signal[..., 0] == signal[..., 1]).all(), "grey stays grey"


def test_coarse_leaves_no_detail_finer_than_it_says():
    stripes = np.zeros((256, 256), np.uint8)
    stripes[:, ::2] = 200
    coarse = pixels(disturb(Image.fromarray(stripes), "coarse", 64))
    assert np.ptp(coarse) <= 1
    assert coarse.mean() == pytest.approx(100, abs=1)


def test_places_move_as_the_change_says():
    x, y = where(disturb(spot(150, 100), "turn", 15))
    assert (x, y) == pytest.approx(
        (100 + 50 * math.cos(math.radians(15)), 100 - 50 * math.sin(math.radians(15))), abs=1
    )
    assert where(disturb(spot(100, 60), "shift", 10)) == pytest.approx((120, 60), abs=1)
    assert where(disturb(spot(150, 60), "scale", 1.2)) == pytest.approx((160, 52), abs=1)
