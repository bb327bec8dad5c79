"""What a model answers: the same alone as in a batch, in one class order, and exactly what its network computes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from slices import mri_slice

import brain_tumor
from brain_tumor import inference
from brain_tumor.catalogue import list_models
from brain_tumor.inference import Prediction, load_model
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.preprocessing import preprocess
from brain_tumor.registry import MODELS, UnknownModelError

AVAILABLE = [model.spec.name for model in list_models(available_only=True)]
each_model = pytest.mark.parametrize("name", AVAILABLE)

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def slices() -> list[Image.Image]:
    sizes = (256, 512, 224, 97, 128)
    return [mri_slice(seed, size, tumour=None if seed == 3 else (0.3, 0.1, 0.2)) for seed, size in enumerate(sizes)]


def scores(prediction: Prediction) -> list[float]:
    return list(prediction.probabilities.values())


def test_some_model_can_be_loaded():
    assert AVAILABLE, list_models()[0].problem


@each_model
def test_batch_answers_as_single_slices_do(name, slices):
    classifier = load_model(name)
    together = classifier.classify(slices)
    alone = [classifier.classify(slice_) for slice_ in slices]
    assert len(together) == len(slices)
    np.testing.assert_allclose([scores(p) for p in together], [scores(p) for p in alone], atol=TOLERANCE)


@each_model
def test_answers_come_in_the_order_of_the_slices(name, slices):
    classifier = load_model(name)
    forward = np.array([p.logits for p in classifier.classify(slices)])
    backward = np.array([p.logits for p in classifier.classify(slices[::-1])])
    # Any two slices differ more than one slice differs from itself at another place in the batch.
    noise = np.abs(forward - backward[::-1]).max()
    differences = np.abs(forward[:, None] - forward[None]).max(axis=2)
    assert noise < 0.1 * differences[~np.eye(len(slices), dtype=bool)].min()


@each_model
def test_probabilities_are_a_distribution_over_the_classes_in_order(name, slices):
    for prediction in load_model(name).classify(slices):
        assert tuple(prediction.probabilities) == CLASS_NAMES
        assert sum(scores(prediction)) == pytest.approx(1, abs=1e-6)
        assert all(0 <= p <= 1 for p in scores(prediction))


@each_model
def test_predicted_class_is_the_most_probable(name, slices):
    for prediction in load_model(name).classify(slices):
        assert prediction.predicted_class == max(prediction.probabilities, key=prediction.probabilities.get)
        assert prediction.predicted_class == CLASS_NAMES[int(np.argmax(prediction.logits))]
        assert prediction.model == name
        assert prediction.milliseconds > 0


@each_model
def test_reading_is_what_the_plain_network_computes(name, slices):
    classifier = load_model(name)
    network = MODELS[name].build()
    network.load_state_dict({k: v.to(torch.get_default_dtype()) if v.is_floating_point() else v
                             for k, v in load_file(classifier.checkpoint.model_file).items()})  # fmt: skip
    network.eval()
    with torch.no_grad():
        logits = network(preprocess(slices, MODELS[name].preprocessing))
    readings = classifier.read(slices)
    np.testing.assert_allclose([r.prediction.logits for r in readings], logits, atol=1e-3, rtol=1e-3)
    np.testing.assert_allclose([scores(r.prediction) for r in readings], logits.softmax(1), atol=TOLERANCE)


@each_model
def test_features_of_a_reading_are_its_own_and_lead_to_its_logits(name, slices):
    classifier = load_model(name)
    for reading in classifier.read(slices):
        assert reading.features.shape[0] == 1 and reading.features.ndim == 4
        assert reading.features.untyped_storage().nbytes() == reading.features.numel() * 4
        with torch.no_grad():
            logits = classifier.tail(reading.features)[0]
        np.testing.assert_allclose(logits, reading.prediction.logits, atol=1e-3, rtol=1e-3)


@each_model
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(32, 32), (33, 500), (500, 33), (224, 224), (1000, 701)])
def test_any_slice_is_answered(name, mode, size):
    prediction = load_model(name).classify(mri_slice(4).resize(size).convert(mode))
    assert all(np.isfinite(prediction.logits))
    assert sum(scores(prediction)) == pytest.approx(1, abs=1e-6)


@each_model
def test_grey_is_answered_as_the_same_grey_in_rgb(name):
    grey = mri_slice(4).convert("L")
    classifier = load_model(name)
    assert classifier.classify(grey).logits == classifier.classify(grey.convert("RGB")).logits


@each_model
def test_no_slices_no_answers(name):
    assert load_model(name).classify([]) == []


@each_model
def test_threads_that_load_at_once_share_one_model(name, monkeypatch):
    monkeypatch.setattr(inference, "_loaded", {})
    threads = 8
    start = threading.Barrier(threads)

    def load(_):
        start.wait()
        return load_model(name)

    with ThreadPoolExecutor(threads) as pool:
        loaded = list(pool.map(load, range(threads)))
    assert all(classifier is loaded[0] for classifier in loaded)
    assert load_model(name) is loaded[0]


@each_model
def test_loaded_network_only_answers(name):
    classifier = load_model(name)
    for part in (classifier.trunk, classifier.tail):
        assert not any(module.training for module in part.modules())
        assert not any(parameter.requires_grad for parameter in part.parameters())
        assert all(parameter.dtype == torch.float32 for parameter in part.parameters())


@pytest.mark.parametrize("name", ["resnet19", "", "../resnet18", "ResNet18"])
def test_unknown_name_is_answered_with_those_that_exist(name):
    with pytest.raises(UnknownModelError) as error:
        load_model(name)
    assert repr(name) in str(error.value)
    assert all(known in str(error.value) for known in MODELS)


def test_classify_asks_those_that_are_offered_in_the_order_of_the_registry_or_those_that_are_named(tmp_path):
    path = tmp_path / "slice.png"
    mri_slice(1).save(path)
    assert [p.model for p in brain_tumor.classify(path)] == [name for name in AVAILABLE if MODELS[name].offered]
    assert [p.model for p in brain_tumor.classify(path, AVAILABLE[::-1])] == AVAILABLE[::-1]


def test_classify_takes_paths_bytes_images_and_arrays_alike(tmp_path):
    slice_ = mri_slice(1)
    path = tmp_path / "slice.png"
    slice_.save(path)
    sources = (path, str(path), path.read_bytes(), slice_, np.asarray(slice_))
    answers = [brain_tumor.classify(source, AVAILABLE[:1])[0].logits for source in sources]
    assert all(answer == answers[0] for answer in answers)
