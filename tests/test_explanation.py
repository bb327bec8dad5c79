"""Where a model looked: the grad-cam package's own maps, without its marks on networks that others share."""

from __future__ import annotations

import copy
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from PIL import Image
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from slices import mri_slice
from torch import Tensor, nn

import brain_tumor
from brain_tumor.catalogue import list_models
from brain_tumor.checkpoints import load_network
from brain_tumor.explanation import (
    CAMS,
    METHODS,
    Explanation,
    UnknownMethodError,
    class_activation_map,
    colored,
    explain_reading,
    overlay,
)
from brain_tumor.inference import Classifier, Reading, load_model
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.preprocessing import preprocess
from brain_tumor.registry import get_spec

AVAILABLE = [model.spec.name for model in list_models(available_only=True)]
each_model = pytest.mark.parametrize("name", AVAILABLE)
each_method = pytest.mark.parametrize("method", CAMS)

TOLERANCE = 1e-3
WIDE = (300, 180)


@pytest.fixture(scope="module")
def slice_() -> Image.Image:
    return mri_slice(1).resize(WIDE)


@pytest.fixture(scope="module")
def readings(slice_) -> dict[str, Reading]:
    return {name: load_model(name).read([slice_])[0] for name in AVAILABLE}


@pytest.fixture(scope="module")
def private_networks() -> dict[str, nn.Sequential]:
    """Whole networks that nobody else has, as the package expects them: parameters ask for gradients."""
    return {name: load_network(load_model(name).checkpoint, get_spec(name)).requires_grad_(True) for name in AVAILABLE}


def explain(name: str, reading: Reading, target: str | None = None, method: str = "gradcam", size=WIDE) -> Explanation:
    return explain_reading(load_model(name), reading, size, target, method)


def modules(classifier: Classifier) -> list[nn.Module]:
    return [*classifier.trunk.modules(), *classifier.tail.modules()]


def state(classifier: Classifier) -> dict[str, Tensor]:
    parts = {"trunk": classifier.trunk, "tail": classifier.tail}
    return {f"{part}.{key}": v.clone() for part, module in parts.items() for key, v in module.state_dict().items()}


def assert_untouched(classifier: Classifier, before: dict[str, Tensor]) -> None:
    """No hook, gradient, mode or number of the shared network differs from what it was."""
    for module in modules(classifier):
        hooks = {key: value for key, value in vars(module).items() if key.endswith("_hooks") and value}
        assert not hooks, f"{module} was left with {hooks}"
        assert not module.training
    for parameter in (*classifier.trunk.parameters(), *classifier.tail.parameters()):
        assert not parameter.requires_grad
        assert parameter.grad is None
    assert all(torch.equal(value, before[key]) for key, value in state(classifier).items())


def test_some_model_can_be_loaded():
    assert AVAILABLE, list_models()[0].problem


@each_method
@each_model
def test_map_is_what_the_package_makes_of_the_whole_network(name, method, slice_, readings, private_networks):
    spec, network = get_spec(name), private_networks[name]
    batch = preprocess([slice_], spec.preprocessing)
    layer = dict(network.named_children())[spec.cam_layer]
    with getattr(pytorch_grad_cam, METHODS[method].cls)(model=network, target_layers=[layer]) as cam:
        enlarge = cam.get_target_width_height
        for target in range(len(CLASS_NAMES)):
            targets = [ClassifierOutputTarget(target)]
            cam.get_target_width_height = lambda _: None  # leaves the map as coarse as the layer
            coarse = class_activation_map(load_model(name).tail, readings[name].features, target, method)
            assert coarse.dtype == np.float32
            np.testing.assert_allclose(coarse, cam(batch, targets)[0], atol=TOLERANCE)
            # And as people see it; the package stretches to [0, 1] once more after enlarging.
            cam.get_target_width_height = enlarge
            size = (spec.preprocessing.size, spec.preprocessing.size)
            shown = explain(name, readings[name], CLASS_NAMES[target], method, size).heatmap
            np.testing.assert_allclose(scale_cam_image(shown[None])[0], cam(batch, targets)[0], atol=TOLERANCE)


@each_method
@each_model
@pytest.mark.parametrize("size", [(224, 224), (300, 180), (33, 400)])
def test_heatmap_has_the_shape_of_the_slice_and_a_maximum_of_one(name, method, size, readings):
    explanation = explain(name, readings[name], method=method, size=size)
    heatmap = explanation.heatmap
    assert heatmap.shape == size[::-1]
    assert heatmap.dtype == np.float32
    assert heatmap.min() >= 0
    assert heatmap.max() == (1 if explanation.found else 0)
    assert explanation.prediction is readings[name].prediction
    assert explanation.target_class == explanation.prediction.predicted_class
    assert explanation.method == method


@each_method
@each_model
def test_every_class_can_be_asked_for_and_changes_the_map(name, method, readings):
    explanations = {target: explain(name, readings[name], target, method) for target in CLASS_NAMES}
    for target, explanation in explanations.items():
        assert explanation.target_class == target
        assert explanation.heatmap.shape == WIDE[::-1]
        assert np.isfinite(explanation.heatmap).all()
    assert any(e.found for e in explanations.values())
    first, *others = (e.heatmap for e in explanations.values())
    assert max(np.abs(first - other).max() for other in others) > 10 * TOLERANCE


@each_model
def test_asking_twice_gives_the_same_map(name, readings):
    maps = [explain(name, readings[name]).heatmap for _ in range(3)]
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])


@each_method
@each_model
def test_shared_network_is_left_as_it_was(name, method, readings):
    classifier = load_model(name)
    before = state(classifier)
    features = readings[name].features.clone()
    explain(name, readings[name], method=method)
    assert_untouched(classifier, before)
    assert torch.equal(readings[name].features, features)
    assert not readings[name].features.requires_grad


@each_method
@each_model
def test_shared_network_is_left_as_it_was_by_a_failure(name, method):
    classifier = load_model(name)
    before = state(classifier)
    with pytest.raises(RuntimeError):
        class_activation_map(classifier.tail, torch.ones(1, 3, 5, 5), 0, method)
    assert_untouched(classifier, before)


@each_model
def test_threads_on_one_model_get_the_answers_of_their_own_slices(name):
    classifier = load_model(name)
    before = state(classifier)
    slices = [mri_slice(seed, 128 + 16 * seed) for seed in range(8)]

    def work(i: int) -> tuple[tuple[float, ...], list[np.ndarray]]:
        reading = classifier.read([slices[i]])[0]
        asked = [(CLASS_NAMES[(i + j) % 4], list(METHODS)[(i + j) % len(METHODS)]) for j in range(3)]
        maps = [explain_reading(classifier, reading, slices[i].size, *what).heatmap for what in asked]
        return classifier.classify(slices[i]).logits, maps

    start = threading.Barrier(len(slices))

    def at_once(i: int):
        start.wait()
        return work(i)

    alone = [work(i) for i in range(len(slices))]
    with ThreadPoolExecutor(len(slices)) as pool:
        together = list(pool.map(at_once, range(len(slices))))
    for (logits, maps), (threaded_logits, threaded_maps) in zip(alone, together, strict=True):
        assert threaded_logits == logits
        for threaded, single in zip(threaded_maps, maps, strict=True):
            np.testing.assert_array_equal(threaded, single)
    assert_untouched(classifier, before)


@each_method
@each_model
def test_nothing_found_is_said_and_is_not_a_number_out_of_nowhere(name, method, readings):
    classifier = load_model(name)
    silent = copy.deepcopy(classifier)
    with torch.no_grad():
        for parameter in silent.tail.parameters():
            parameter.zero_()
    blank = replace(readings[name], features=torch.zeros_like(readings[name].features))
    # So little that only rounding is left; stretched to [0, 1] it would look like evidence.
    rounding = replace(readings[name], features=readings[name].features * 1e-25)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for who, what in ((classifier, blank), (classifier, rounding), (silent, readings[name])):
            explanation = explain_reading(who, what, WIDE, None, method)
            assert explanation.found is False
            assert explanation.heatmap.shape == WIDE[::-1]
            assert not explanation.heatmap.any()


@each_model
@pytest.mark.parametrize("size", [(1, 1), (3, 3), (2, 900)])
def test_heat_that_falls_between_the_pixels_of_a_tiny_slice_is_no_heat(name, size, readings):
    # All the evidence in one place of the feature maps, which a smaller slice may have no pixel for.
    features = torch.zeros_like(readings[name].features)
    features[..., 0, 0] = readings[name].features.amax(dim=(2, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for target in CLASS_NAMES:
            explanation = explain(name, replace(readings[name], features=features), target, size=size)
            assert np.isfinite(explanation.heatmap).all()
            assert explanation.heatmap.max() == (1 if explanation.found else 0)


@each_model
@pytest.mark.parametrize("target", [-1, len(CLASS_NAMES), 100])
def test_a_class_index_that_does_not_exist_is_refused(name, target, readings):
    with pytest.raises(ValueError, match=f"no class {target}"):
        class_activation_map(load_model(name).tail, readings[name].features, target, "gradcam")


def test_a_class_that_does_not_exist_is_refused_by_name():
    with pytest.raises(ValueError, match="'notumour'") as error:
        brain_tumor.explain(mri_slice(), AVAILABLE[0], "notumour")
    assert all(name in str(error.value) for name in CLASS_NAMES)


def test_a_method_that_does_not_exist_is_refused_by_name():
    with pytest.raises(UnknownMethodError, match="'scorecam'") as error:
        brain_tumor.explain(mri_slice(), AVAILABLE[0], method="scorecam")
    assert all(name in str(error.value) for name in METHODS)


@each_model
def test_explain_answers_like_classify(name, tmp_path):
    path = tmp_path / "slice.png"
    mri_slice(2, 200).resize((200, 150)).save(path)
    explanation = brain_tumor.explain(path, name)
    (prediction,) = brain_tumor.classify(path, [name])
    assert explanation.prediction.logits == prediction.logits
    assert explanation.target_class == prediction.predicted_class
    assert explanation.heatmap.shape == (150, 200)


def half_heated(width: int, height: int) -> np.ndarray:
    heatmap = np.zeros((height, width), np.float32)
    heatmap[:, width // 2 :] = np.linspace(0.1, 1, width - width // 2)
    return heatmap


@pytest.mark.parametrize("size", [(300, 180), (64, 64), (33, 500)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_overlay_changes_the_slice_only_where_there_is_heat(size, mode):
    image = mri_slice(3).resize(size).convert(mode)
    heatmap = half_heated(*size)
    picture = overlay(image, heatmap)
    assert picture.dtype == np.uint8
    assert picture.shape == (size[1], size[0], 3)
    original = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(picture[heatmap == 0], original[heatmap == 0])
    change = np.abs(picture.astype(int) - original).max(axis=2)
    assert change[heatmap > 0.9].min() > 0


def test_overlay_without_opacity_is_the_slice():
    image = mri_slice(3)
    np.testing.assert_array_equal(overlay(image, half_heated(256, 256), opacity=0), np.asarray(image))


def test_overlay_leaves_the_slice_itself_alone():
    image = mri_slice(3)
    before = image.tobytes()
    overlay(image, np.ones((256, 256), np.float32))
    assert image.tobytes() == before


def test_hotter_is_brighter_and_more_opaque():
    layer = np.asarray(colored(np.linspace(0, 1, 256, dtype=np.float32)[None])).astype(int)[0]
    assert layer.shape == (256, 4)
    assert layer[0, 3] == 0 and layer[-1, 3] == 255
    assert (np.diff(layer[:, 3]) >= 0).all()
    luminance = layer[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > -1).all() and luminance[-1] > 200
