"""Changing a slice step by step, and finding the mildest change that flips an answer."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from slices import mri_slice

from brain_tumor.catalogue import offered_models
from brain_tumor.disturbance import DISTURBANCES, disturb
from brain_tumor.examples import list_examples
from brain_tumor.images import read_image
from brain_tumor.inference import load_model
from brain_tumor.probing import (
    Changes,
    History,
    Stroke,
    changes_of,
    cover,
    first_flips,
    is_switch,
    mildest,
    outward,
    positions,
    strokes_from_json,
    strokes_to_json,
)

each = pytest.mark.parametrize("disturbance", DISTURBANCES.values(), ids=list(DISTURBANCES))


@each
def test_a_slider_reaches_its_limits_its_neutral_place_and_what_was_measured(disturbance):
    places = positions(disturbance)
    assert (places[0], places[-1]) == disturbance.limits
    assert set(disturbance.severities) <= set(places) or disturbance.name in ("blur", "coarse", "jpeg")
    assert mildest(disturbance.name) in places
    assert len(places) == 2 if is_switch(disturbance) else 15 <= len(places) <= 50


@each
def test_the_search_goes_outwards_and_tries_no_neutral_place(disturbance):
    start = mildest(disturbance.name)
    distances = [abs(severity - start) for severity in outward(disturbance.name, positions(disturbance))]
    assert distances == sorted(distances)
    assert disturbance.neutral not in outward(disturbance.name, positions(disturbance))


@pytest.mark.parametrize(("name", "end"), [("skull", 0), ("jpeg", 50), ("coarse", 96)])
def test_without_a_neutral_place_the_milder_end_is_known(name, end):
    assert mildest(name) == end


def test_a_brush_blackens_what_it_went_over_and_nothing_else():
    image = Image.new("RGB", (200, 100), "white")
    covered = np.asarray(cover(image, [Stroke(0.05, ((0.25, 0.5), (0.75, 0.5)))]))
    assert covered[45:55, 50:150].max() == 0
    assert covered[:38].min() == covered[62:].min() == 255
    assert covered[50, :38].min() == covered[50, 162:].min() == 255
    assert np.asarray(image).min() == 255


def test_a_single_touch_leaves_a_dot():
    covered = np.asarray(cover(Image.new("RGB", (100, 100), "white"), [Stroke(0.1, ((0.5, 0.5),))]))
    assert 0.02 < (covered == 0).mean() < 0.05


def test_strokes_come_back_as_they_went():
    strokes = (Stroke(0.05, ((0.1, 0.2), (0.3, 0.4))), Stroke(0.1, ((1.0, 0.0),)))
    assert strokes_from_json(strokes_to_json(strokes)) == strokes
    assert strokes_from_json("[]") == strokes_from_json(None) == ()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '"x"',
        "[1]",
        "[[0.1, 0.2]]",
        "[[0.1, 0.2, null]]",
        "[[0.1, 0.2, NaN]]",
        "[[9, 0.2, 0.2]]",
        "[" + ",".join(["[0.1,0,0]"] * 501) + "]",
    ],
)
def test_strokes_that_no_page_sends_are_refused(text):
    with pytest.raises(ValueError, match="covered"):
        strokes_from_json(text)


def test_changes_are_made_in_the_order_of_the_table_after_covering():
    image = mri_slice()
    strokes = (Stroke(0.1, ((0.5, 0.5),)),)
    changes = changes_of([("turn", 5), ("brightness", 1.5), ("blur", 0)], strokes)
    assert changes.severities == (("brightness", 1.5), ("turn", 5))
    expected = disturb(disturb(cover(image, strokes), "brightness", 1.5), "turn", 5)
    assert changes.apply(image).tobytes() == expected.tobytes()
    assert changes.text() == "Covered in part; Brightness times 1.5; Turned anticlockwise 5°"
    assert not changes_of([("turn", 0)])


def test_a_severity_out_of_its_limits_is_refused():
    with pytest.raises(ValueError, match="goes from"):
        changes_of([("turn", 90)])


def test_undo_goes_back_slider_by_slider_and_stroke_by_stroke():
    history = History()
    for severity in (1.1, 1.2, 1.4):
        history = history.then(changes_of([("brightness", severity)]))
    dark = history.now
    history = history.then(changes_of([("brightness", 1.4), ("mirror", 1)]))
    one, two = Stroke(0.1, ((0.1, 0.1),)), Stroke(0.1, ((0.9, 0.9),))
    for strokes in ((one,), (one, two)):
        history = history.then(Changes(history.now.severities, strokes))
    assert history.then(history.now) is history
    history = history.back()
    assert history.now.strokes == (one,)
    history = history.back().back()
    assert history.now == dark
    history = history.back()
    assert history.now == Changes()
    assert history.back() == history


def test_the_first_flip_is_a_flip_and_nothing_milder_is():
    """Found by search, confirmed one by one."""
    models = offered_models()[:1]
    if not models:
        pytest.skip("no model can be loaded")
    image = read_image(list_examples()[0].path)
    classifier = load_model(models[0])
    before = classifier.classify(image)
    for name in ("brightness", "writing"):
        (flip,) = first_flips(image, [before], name)
        tried = outward(name, positions(DISTURBANCES[name]))
        said = [classifier.classify(disturb(image, name, severity)).predicted_class for severity in tried]
        flips = [severity for severity, answer in zip(tried, said, strict=True) if answer != before.predicted_class]
        assert flip.severity == (flips[0] if flips else None)
        assert flip.predicted_class == (said[tried.index(flips[0])] if flips else None)
