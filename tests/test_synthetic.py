"""The examples are what the generator draws, are called synthetic wherever they go, and get the answer they are for."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from brain_tumor import load_model, read_image
from brain_tumor.catalogue import offered_models
from brain_tumor.examples import FOLDER, INDEX_FILE, Example, list_examples
from brain_tumor.labels import CLASS_NAMES
from training.synthetic import (
    EXAMPLES,
    SIZE,
    VERSION,
    Design,
    certainty,
    draw_slice,
    offered_classifiers,
    search,
    write_examples,
)

LISTED = list_examples()
OFFERED = offered_models()
BY_TITLE = {"argvalues": LISTED, "ids": [example.path.stem for example in LISTED]}


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.int16)


def design_of(example: Example) -> Design:
    rows = json.loads((FOLDER / INDEX_FILE).read_text())["examples"]
    row = next(row for row in rows if row["file"] == example.path.name)
    return Design(row["label"], row["view"], row["contrast"], row["seed"], row["scan"])


def test_there_are_three_of_each_class_at_least():
    counts = Counter(example.label for example in LISTED)
    assert set(counts) == set(CLASS_NAMES)
    assert min(counts.values()) >= 3


def test_the_index_lists_the_designs_the_files_and_nothing_else():
    assert {design_of(example) for example in LISTED} == set(EXAMPLES)
    assert {example.path.name for example in LISTED} == {path.name for path in FOLDER.glob("*.png")}
    assert json.loads((FOLDER / INDEX_FILE).read_text())["generator_version"] == VERSION


@pytest.mark.parametrize("example", **BY_TITLE)
def test_a_committed_file_is_what_the_generator_draws(example):
    drawn = draw_slice(design_of(example))
    # Another processor or another scipy may round a pixel the other way, or move an edge by a little.
    difference = np.abs(pixels(drawn.image) - pixels(Image.open(example.path)))
    assert difference.mean() < 0.2, "Draw the examples anew with `python -m training.synthetic`, and raise VERSION."
    if example.box is None:
        assert drawn.box is None
    else:
        assert drawn.box == pytest.approx(example.box, abs=2 / SIZE)


@pytest.mark.parametrize("example", **BY_TITLE)
def test_file_and_title_say_synthetic(example):
    with Image.open(example.path) as image:
        assert "SYNTHETIC" in image.text["Title"]
        assert image.text["Description"].startswith("SYNTHETIC")
        assert (image.mode, image.size) == ("L", (SIZE, SIZE))
    assert re.fullmatch(r"Synthetic [a-z ]+ \d", example.title)


@pytest.mark.parametrize("example", **BY_TITLE)
def test_the_box_is_around_something_that_was_drawn(example):
    assert (example.box is None) == (example.label == "notumor")
    if example.box:
        left, top, right, bottom = example.box
        assert 0 < left < right < 1 and 0 < top < bottom < 1
        assert 0.003 < (right - left) * (bottom - top) < 0.15
        grey = pixels(Image.open(example.path))
        inside = grey[int(top * SIZE) : int(bottom * SIZE), int(left * SIZE) : int(right * SIZE)]
        # Contrast agent: some of it is brighter than three quarters of what is not background.
        assert inside.max() > np.percentile(grey[grey > 10], 75)


@pytest.mark.parametrize("model", OFFERED)
def test_every_offered_model_gives_each_its_class(model):
    classifier = load_model(model)
    slices = [read_image(example.path) for example in LISTED]
    answers = {e.title: p.predicted_class for e, p in zip(LISTED, classifier.classify(slices), strict=True)}
    assert answers == {example.title: example.label for example in LISTED}


def test_a_design_fixes_every_pixel_and_seed_and_scan_change_them():
    first = Design("meningioma", "coronal", "T1 with contrast agent", 5)
    once, again = draw_slice(first), draw_slice(first)
    assert once.image.tobytes() == again.image.tobytes() and once.box == again.box
    for other in (
        Design("meningioma", "coronal", first.contrast, 6),
        Design("meningioma", "coronal", first.contrast, 5, 1),
    ):
        assert np.abs(pixels(once.image) - pixels(draw_slice(other).image)).mean() > 2


def test_writing_leaves_the_examples_and_their_index_in_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("training.synthetic.EXAMPLES", EXAMPLES[:1])
    (tmp_path / "stale.png").touch()
    written = write_examples(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)
    row = json.loads((tmp_path / INDEX_FILE).read_text())["examples"][0]
    assert (tmp_path / row["file"]).read_bytes() and row["seed"] == EXAMPLES[0].seed
    assert "SYNTHETIC" in Image.open(tmp_path / row["file"]).text["Title"]


@pytest.mark.skipif(not OFFERED, reason="no offered model has weights here")
def test_searching_keeps_the_scan_that_the_least_sure_model_is_surest_of():
    classifiers = offered_classifiers()
    design = replace(EXAMPLES[0], scan=0)
    [found] = search([design], 2, classifiers)
    for as_is, least in found.certainty.values():
        assert 0 <= least <= as_is <= 1
    for number in range(2):
        sure = certainty(draw_slice(replace(design, scan=number)).image, design.label, classifiers)
        worst = min(least for _, least in sure.values())
        assert worst <= found.worst + 1e-6
        assert number != found.design.scan or worst == pytest.approx(found.worst, abs=1e-6)
