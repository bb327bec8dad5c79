"""Pictures that are no slices are refused, with a reason; slices are not, however somebody brings them."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps
from slices import mri_slice
from test_checkpoints import half, install

from brain_tumor.checkpoints import CONFIG_FILE, CheckpointError, find_checkpoint
from brain_tumor.images import read_image
from brain_tumor.inference import load_model
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.refusal import GATE_FILE, describe, load_gate, plain_reason, pool
from training.data import KAGGLE, data_root
from training.evaluation import systems_with_weights
from training.protocols import published
from training.refusal import USES, Effort, fit_and_measure

SYSTEM = "cnn_v1"
FOLDER = Path(__file__).resolve().parent.parent / "weights"


def noise(*shape: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def page() -> Image.Image:
    image = Image.new("RGB", (300, 400), "white")
    for y in range(20, 380, 18):
        ImageDraw.Draw(image).text((20, y), "the patient was seen on Tuesday and", fill="black")
    return image


def dots() -> Image.Image:
    image = Image.new("L", (256, 256))
    for x in range(24, 256, 64):
        for y in range(24, 256, 64):
            ImageDraw.Draw(image).ellipse((x - 14, y - 14, x + 14, y + 14), fill=200)
    return image


def ramp() -> Image.Image:
    across = np.linspace(120, 180, 200)[None].repeat(200, 0)
    across[:, :8] = 60
    return Image.fromarray(across.astype(np.uint8))


def in_colour() -> Image.Image:
    red, green = mri_slice(0), mri_slice(1)
    return Image.merge("RGB", (red.getchannel(0), green.getchannel(0), Image.new("L", red.size)))


def speck() -> Image.Image:
    image = Image.new("L", (256, 256))
    ImageDraw.Draw(image).ellipse((110, 110, 140, 140), fill=220)
    return image


def touching(axis: int) -> Image.Image:
    """Two heads without a gap between them, as in pictures cut out of a sheet."""
    heads = []
    for seed in range(2):
        head = np.asarray(mri_slice(seed).convert("L"))
        filled = np.flatnonzero((head > 40).any(1 - axis))
        heads.append(head.take(np.arange(filled[0], filled[-1] + 1), axis))
    return Image.fromarray(np.concatenate(heads, axis))


REFUSED = {
    "too small": (lambda: mri_slice(size=40), "too small"),
    "a strip": (lambda: mri_slice().resize((600, 200)), "as high as wide"),
    "colour": (in_colour, "in colour"),
    "black": (lambda: Image.new("RGB", (224, 224)), "one brightness"),
    "white": (lambda: Image.new("L", (224, 224), 255), "one brightness"),
    "noise": (lambda: noise(224, 224), "noise"),
    "page": (page, "bright background"),
    "inverted slice": (lambda: ImageOps.invert(mri_slice()), "bright background"),
    "no background": (ramp, "no dark background"),
    "next to nothing": (speck, "nearly empty"),
    "many things": (dots, "several things"),
    "slices side by side": (lambda: touching(1), "crop it to one"),
    "slices one above the other": (lambda: touching(0), "crop it to one"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_for_a_plain_reason(name):
    picture, words = REFUSED[name]
    reason = plain_reason(picture())
    assert words in reason
    assert reason.startswith("This picture ") and reason.endswith(".")


@pytest.mark.parametrize("size", [64, 128, 224, 512, 1024])
@pytest.mark.parametrize("seed", range(4))
def test_nothing_plain_speaks_against_a_slice(seed, size):
    assert plain_reason(mri_slice(seed, size)) is None


@pytest.mark.parametrize("use", USES)
def test_nothing_plain_speaks_against_a_slice_as_users_bring_it(use):
    for seed in range(5):
        assert plain_reason(USES[use](mri_slice(seed), np.random.default_rng(seed))) is None


def test_a_coloured_marker_and_the_colours_of_compression_are_no_colour_picture():
    image = mri_slice()
    ImageDraw.Draw(image).rectangle((200, 10, 245, 60), fill=(255, 120, 0))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=20)
    assert plain_reason(Image.open(content)) is None


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_the_mode_of_the_image_changes_nothing(mode):
    image = mri_slice(3).convert("L")
    np.testing.assert_allclose(describe(image.convert(mode)), describe(image), atol=0.02)


def test_brightness_and_contrast_hardly_change_the_description():
    image = mri_slice(3).convert("L")
    paler = image.point(lambda value: value * 0.5 + 40)
    np.testing.assert_allclose(describe(paler), describe(image), atol=0.1)


def test_what_lies_where_changes_the_description():
    """Quadrants exchanged along the diagonals: the same greys, edges and frequencies, elsewhere."""
    image = mri_slice(3).convert("L")
    elsewhere = Image.fromarray(np.roll(np.asarray(image), (128, 128), (0, 1)))
    moved, paler = (
        np.linalg.norm(describe(other) - describe(image)) for other in (elsewhere, image.point(lambda v: v * 0.7))
    )
    assert moved > 5 * paler


def test_pooled_features_do_not_say_where_anything_was():
    features = torch.rand(2, 5, 6, 7)
    shuffled = features.flatten(2)[:, :, torch.randperm(42)].reshape(features.shape)
    torch.testing.assert_close(pool(shuffled), pool(features))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> Path:
    """The folder of a network with random weights, whose gate was fitted to drawn slices."""
    folder = tmp_path_factory.mktemp("refusal")
    for part, count in (("Training", 16), ("Testing", 4)):
        for number, label in enumerate(CLASS_NAMES):
            path = folder / "data" / KAGGLE.folder / part / label
            path.mkdir(parents=True)
            for i in range(count):
                seed = 1000 * (part == "Testing") + 100 * number + i
                mri_slice(seed, 128, tumour=(0.1 * number, 0.1, 0.15)).save(path / f"{i}.png")
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRAIN_TUMOR_WEIGHTS", str(folder / "weights"))
        install(folder / "weights", half(SYSTEM), SYSTEM)
        effort = Effort(slices=40, brought=40, apart=20, each=(2, 1, 1), test=4, uses=1)
        path = fit_and_measure(SYSTEM, folder / "data", effort)
        assert path == folder / "weights" / SYSTEM / "evaluation" / "refusal.json"
    return folder / "weights" / SYSTEM


@pytest.fixture
def classifier(fitted, monkeypatch):
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(fitted.parent))
    return load_model(SYSTEM)


def test_a_fitted_gate_lets_slices_pass_and_refuses_what_plain_checks_let_pass(fitted, classifier):
    gate = load_gate(fitted)
    slices = [mri_slice(5000 + i, 128) for i in range(8)]
    readings = classifier.read(slices)
    reasons = [gate.judge(image, reading.features)[0] for image, reading in zip(slices, readings, strict=True)]
    assert reasons.count(None) >= 7
    y, x = np.mgrid[-1:1:200j, -1:1:200j]
    radius = np.hypot(x, y)
    rings = Image.fromarray((np.where(radius < 0.8, 0.5 + 0.5 * np.sin(40 * radius), 0) * 255).astype(np.uint8))
    assert plain_reason(rings) is None
    reason, strangeness = gate.judge(rings, classifier.read([rings])[0].features)
    assert reason.startswith("This picture does not look like") and reason.endswith(".")
    assert strangeness > 0


def test_a_plain_reason_goes_first(fitted, classifier):
    picture = ImageOps.invert(mri_slice())
    features = classifier.read([picture])[0].features
    assert load_gate(fitted).judge(picture, features) == (plain_reason(picture), None)


def test_what_was_measured_is_counted(fitted):
    found = json.loads((fitted / "evaluation" / "refusal.json").read_text())
    slices = found["in_use"]["slices"]["kaggle"]
    assert slices["n"] == 16 and 0 <= slices["plain"] <= slices["refused"] <= 16
    assert slices["interval"][0] <= slices["fraction"] <= slices["interval"][1]
    strange = [one is None or one > 0 for one in found["in_use"]["strangeness"]["kaggle"]]
    assert len(strange) == 16 and sum(strange) == slices["refused"]
    for role, kinds in found["fitted_to_kinds_of_role_fit"]["kinds"].items():
        total = found["fitted_to_kinds_of_role_fit"]["negatives"][role]
        assert sum(share["refused"] for share in kinds.values()) == total["refused"]
    assert set(found["in_use"]["slices_as_brought"]) == set(USES)


def test_no_gate_where_there_is_no_file(tmp_path):
    assert load_gate(tmp_path) is None


def test_a_gate_fitted_to_other_weights_is_an_error(fitted, tmp_path):
    config = json.loads((fitted / CONFIG_FILE).read_text()) | {"sha256": "0" * 64}
    (tmp_path / CONFIG_FILE).write_text(json.dumps(config))
    (tmp_path / GATE_FILE).write_bytes((fitted / GATE_FILE).read_bytes())
    with pytest.raises(CheckpointError, match=r"other weights.*python -m training trust SYSTEM --only refusal"):
        load_gate(tmp_path)


def test_a_damaged_gate_is_an_error(fitted, tmp_path):
    (tmp_path / GATE_FILE).write_bytes((fitted / GATE_FILE).read_bytes()[:500])
    with pytest.raises(CheckpointError, match=str(tmp_path / GATE_FILE)):
        load_gate(tmp_path)


def test_fitting_needs_a_checkpoint(monkeypatch, tmp_path):
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(tmp_path))
    with pytest.raises(CheckpointError, match=SYSTEM):
        fit_and_measure(SYSTEM, tmp_path)


# What is committed

SYSTEMS = [system for system in systems_with_weights() if (FOLDER / system / GATE_FILE).exists()]
each_system = pytest.mark.parametrize("system", SYSTEMS)


@each_system
def test_committed_gates_are_small_and_fit_their_checkpoints(system):
    assert (FOLDER / system / GATE_FILE).stat().st_size < 1.5 * 2**20
    assert load_gate(FOLDER / system).system == system


@each_system
def test_committed_gates_detect_what_they_were_not_fitted_to_and_let_slices_pass(system):
    """As the table says, which `training refusal` measured."""
    found = json.loads((FOLDER / system / "evaluation" / "refusal.json").read_text())
    assert found["sha256"] == find_checkpoint(system).sha256
    assert found["fitted_to_kinds_of_role_fit"]["negatives"]["test"]["fraction"] > 0.85
    for share in found["in_use"]["slices"].values():
        assert share["fraction"] < 0.02


@each_system
@pytest.mark.skipif("BRAIN_TUMOR_DATA" not in os.environ, reason="BRAIN_TUMOR_DATA is not set: needs the data sets")
def test_committed_gates_let_real_slices_pass(system):
    root = data_root(None)
    images = [read_image(root / KAGGLE.folder / record.image) for record in published(root).test[::40]]
    gate, readings = load_gate(FOLDER / system), load_model(system).read(images)
    refused = [gate.judge(image, reading.features)[0] for image, reading in zip(images, readings, strict=True)]
    assert sum(reason is not None for reason in refused) <= 2
