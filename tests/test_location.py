"""The second teacher learns from where the tumour is in the image as augmented; what it learned can be asked for."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from slices import mri_slice

from brain_tumor.checkpoints import CONFIG_FILE, MODEL_FILE, Checkpoint, CheckpointError, find_checkpoint, load_network
from brain_tumor.explanation import DEFAULT_CAM, NOWHERE, comparable, explain_reading
from brain_tumor.inference import Classifier
from brain_tumor.location import LOCATED_FILE, LOCATION_FILE, load_locator, run
from brain_tumor.preprocessing import preprocess
from brain_tumor.registry import MODELS, build_model, get_spec
from training.augmentation import Augmentation, augment, draw
from training.location import WithLocation, coverage, location_losses

ROOT = Path(__file__).resolve().parents[1]
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


# --- What was learned, asked for --------------------------------------------------------------------------------------

SYSTEM = "resnet18"


def beside(folder: Path, weight: torch.Tensor, bias: float, **changes: str) -> Checkpoint:
    """The committed checkpoint in a folder of its own, with a location layer beside it."""
    found = find_checkpoint(SYSTEM)
    folder.mkdir()
    for name in (MODEL_FILE, CONFIG_FILE):
        (folder / name).symlink_to(found.folder / name)
    known = {"system": SYSTEM, "stages": json.dumps(get_spec(SYSTEM).location_stages), "sha256": found.sha256}
    layer = {"weight": weight.half(), "bias": torch.tensor([bias]).half()}
    (folder / LOCATION_FILE).write_bytes(save(layer, known | changes))
    return Checkpoint(SYSTEM, folder, "weights", found.config)


def classifier(checkpoint: Checkpoint) -> Classifier:
    return Classifier(get_spec(SYSTEM), checkpoint, load_network(checkpoint, get_spec(SYSTEM)))


_TWO_THREADS = """
import torch
from torch import nn
from training.location import WithLocation

torch.set_num_threads(2)
learner = WithLocation(nn.Sequential(nn.Conv2d(3, 3072, 1), nn.Flatten()), ("0",), 6)
for _ in range(40):
    with torch.autocast("cpu", torch.bfloat16):
        _, located = learner(torch.rand(32, 3, 6, 6).contiguous(memory_format=torch.channels_last))
    located.square().mean().backward()
"""


def test_learning_the_place_on_several_threads_leaves_memory_whole():
    ended = subprocess.run([sys.executable, "-c", _TWO_THREADS], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("system", MODELS)
def test_stages_put_out_what_they_do_inside_the_network(system):
    spec, network = MODELS[system], build_model(system).eval()
    kept = {}
    for stage in spec.location_stages:
        module = network.get_submodule(stage)
        module.register_forward_hook(lambda module, inputs, output, stage=stage: kept.update({stage: output}))
    size = spec.preprocessing.size
    images = torch.rand(1, 3, size, size)
    with torch.no_grad():
        logits = network(images)
        expected = dict(kept)
        output, maps = run(network, images, spec.location_stages)
    assert maps.keys() == expected.keys() == set(spec.location_stages)
    assert all(torch.equal(maps[stage], expected[stage]) for stage in maps)
    assert torch.equal(output, logits)


def test_place_is_what_the_layer_says_in_training(tmp_path):
    spec, weight = get_spec(SYSTEM), torch.randn(768, generator=torch.Generator().manual_seed(0)) / 8
    model = classifier(beside(tmp_path / "checkpoint", weight, -0.5))
    images = [mri_slice(seed) for seed in range(2)]
    readings = model.read(images)
    network = load_network(model.checkpoint, spec)
    learner = WithLocation(network, spec.location_stages, spec.preprocessing.size).eval()
    learner.location.load_state_dict({"weight": weight.half().float().view(1, -1, 1, 1), "bias": torch.tensor([-0.5])})
    with torch.no_grad():
        logits, location = learner(preprocess(images, spec.preprocessing))
    for reading, row, expected in zip(readings, logits, location.sigmoid(), strict=True):
        assert reading.prediction.logits == pytest.approx(row.tolist(), abs=1e-3)
        torch.testing.assert_close(reading.location[0], expected, atol=1e-3, rtol=0)


def test_map_shows_the_place_and_how_sure_it_is(tmp_path):
    checkpoint = beside(tmp_path / "checkpoint", torch.full((768,), 0.01), -1.0)
    bins = [{"low": 0.0, "high": NOWHERE, "confidence": 0.05, "n": 7, "right": 1}]
    bins.append({"low": NOWHERE, "high": 1.0, "confidence": 0.5, "n": 100, "right": 83})
    (checkpoint.folder / LOCATED_FILE).write_text(json.dumps(bins))
    model = classifier(checkpoint)
    slice_ = mri_slice(1)
    reading = model.read([slice_])[0]
    found = explain_reading(model, reading, slice_.size, None, "location")
    assert (found.method, found.found, found.located) == ("location", True, True)
    assert found.heatmap.shape == slice_.size[::-1]
    assert found.peak == pytest.approx(float(reading.location.max()), abs=0.02)
    assert (found.support.n, found.support.right) == (100, 83)
    # A class that is asked for is explained.
    asked = explain_reading(model, reading, slice_.size, "pituitary", "location")
    assert (asked.method, asked.target_class) == (DEFAULT_CAM, "pituitary")
    assert not np.array_equal(asked.heatmap, found.heatmap)


def test_where_no_tumour_is_seen_the_map_is_empty(tmp_path):
    model = classifier(beside(tmp_path / "checkpoint", torch.zeros(768), -6.0))
    slice_ = mri_slice(1)
    explanation = explain_reading(model, model.read([slice_])[0], slice_.size, None, "location")
    assert not explanation.found
    assert not explanation.heatmap.any()


def test_a_model_that_does_not_say_where_is_explained_by_what_its_answer_came_from():
    checkpoint = find_checkpoint("cnn_v4")
    model = Classifier(get_spec("cnn_v4"), checkpoint, load_network(checkpoint, get_spec("cnn_v4")))
    slice_ = mri_slice(1)
    explanation = explain_reading(model, model.read([slice_])[0], slice_.size, "glioma", "location")
    assert (explanation.method, explanation.located, explanation.support) == (DEFAULT_CAM, False, None)


def test_only_maps_that_answer_the_same_question_are_compared(tmp_path):
    model = classifier(beside(tmp_path / "checkpoint", torch.full((768,), 0.01), -1.0))
    slice_ = mri_slice(1)
    reading = model.read([slice_])[0]
    place, glioma, pituitary = (
        explain_reading(model, reading, slice_.size, target, "location") for target in (None, "glioma", "pituitary")
    )
    assert comparable([place, glioma, place]) == [place, place]
    assert comparable([place, glioma, glioma]) == [glioma, glioma]
    assert comparable([place, glioma]) == [glioma]
    assert comparable([place, glioma, pituitary]) == []


def test_a_layer_of_other_weights_is_not_used(tmp_path):
    with pytest.raises(CheckpointError, match="belongs to other weights"):
        load_locator(beside(tmp_path / "other", torch.zeros(768), 0.0, sha256="0" * 64).folder)
    damaged = beside(tmp_path / "damaged", torch.zeros(768), 0.0).folder
    (damaged / LOCATION_FILE).write_bytes(b"not tensors")
    with pytest.raises(CheckpointError, match="damaged"):
        load_locator(damaged)
