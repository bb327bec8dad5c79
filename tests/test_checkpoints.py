"""A checkpoint is loaded when it is what it says, and otherwise the error tells what to do."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from brain_tumor.checkpoints import (
    CONFIG_FILE,
    MODEL_FILE,
    REQUIRED_FIELDS,
    CheckpointError,
    find_checkpoint,
    load_network,
    weights_folder,
)
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.registry import MODELS, UnknownModelError, build_model, get_spec

SYSTEM = "cnn_v1"


@pytest.fixture
def weights(monkeypatch, tmp_path) -> Path:
    """An empty weights folder, and nowhere else to look."""
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.delenv("BRAIN_TUMOR_HUB_REPO", raising=False)
    return tmp_path / "weights"


def install(weights: Path, content: bytes, system: str = SYSTEM, without: str = "", **changes) -> Path:
    """A folder `<weights>/<system>` whose config describes `content`, apart from one field and some changes."""
    config = dict.fromkeys(REQUIRED_FIELDS, "") | {"system": system, "classes": list(CLASS_NAMES)}
    config |= {"sha256": hashlib.sha256(content).hexdigest()} | changes
    config.pop(without, None)
    folder = weights / system
    folder.mkdir(parents=True)
    (folder / MODEL_FILE).write_bytes(content)
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    return folder


def half(system: str) -> bytes:
    """Random weights of a system as they are stored."""
    return save({k: v.half() if v.is_floating_point() else v for k, v in build_model(system).state_dict().items()})


def load(system: str = SYSTEM) -> torch.nn.Sequential:
    return load_network(find_checkpoint(system), get_spec(system))


@pytest.mark.parametrize("system", MODELS)
def test_missing_checkpoint_says_where_it_was_looked_for_and_what_to_do(system, weights):
    with pytest.raises(CheckpointError) as error:
        find_checkpoint(system)
    for part in (system, str(weights / system), f"python -m training train {system}", "BRAIN_TUMOR_WEIGHTS"):
        assert part in str(error.value)


def test_missing_on_the_hub_too_names_the_repository(weights, monkeypatch, tmp_path):
    monkeypatch.setenv("BRAIN_TUMOR_HUB_REPO", "nobody/brain-tumor")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(CheckpointError) as error:
        find_checkpoint("resnet18", download=False)
    assert "nobody/brain-tumor-resnet18" in str(error.value)
    assert str(weights / "resnet18") in str(error.value)


def test_unknown_system_is_not_a_missing_checkpoint(weights):
    with pytest.raises(UnknownModelError, match="cnn_v1"):
        find_checkpoint("cnn_v9")


def test_weights_folder_is_beside_the_package_unless_another_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(tmp_path))
    assert weights_folder() == tmp_path
    monkeypatch.delenv("BRAIN_TUMOR_WEIGHTS")
    assert weights_folder() == Path(__file__).parent.parent / "weights"


def test_loaded_network_is_ready_to_answer(weights):
    content = half(SYSTEM)
    folder = install(weights, content)
    checkpoint = find_checkpoint(SYSTEM)
    assert (checkpoint.folder, checkpoint.source, checkpoint.size_bytes) == (folder, "weights", len(content))
    assert checkpoint.sha256 == hashlib.sha256(content).hexdigest()

    network = load_network(checkpoint, get_spec(SYSTEM))
    assert not any(module.training for module in network.modules())
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in network.parameters())
    assert network(torch.zeros(1, 3, 128, 128)).shape == (1, 4)


def test_loaded_weights_are_those_of_the_file(weights):
    network = build_model("efficientnet_b0")
    with torch.no_grad():
        network.features(torch.randn(2, 3, 64, 64))  # buffers that are not the initial ones
    state = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    install(weights, save(state), "efficientnet_b0")
    loaded = load("efficientnet_b0").state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], value.to(loaded[key].dtype)) for key, value in state.items())


@pytest.mark.parametrize("position", [20, 10_000, -1])
def test_file_with_one_flipped_bit_is_refused(position, weights):
    folder = install(weights, half(SYSTEM))
    content = bytearray((folder / MODEL_FILE).read_bytes())
    content[position] ^= 1
    (folder / MODEL_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match="sha256") as error:
        load()
    assert str(folder / MODEL_FILE) in str(error.value)
    assert "Restore" in str(error.value)


def test_file_cut_short_is_refused(weights):
    content = half(SYSTEM)
    folder = install(weights, content)
    (folder / MODEL_FILE).write_bytes(content[:-100])
    with pytest.raises(CheckpointError, match="sha256"):
        load()


@pytest.mark.parametrize(
    "content",
    [None, b"", b"{", b"[]", b"null", b"7", b'"text"', b"\xff\xfe\x00binary"],
    ids=["missing", "empty", "cut short", "list", "null", "number", "text", "binary"],
)
def test_unusable_config_is_named(content, weights):
    folder = install(weights, half(SYSTEM))
    if content is None:
        (folder / CONFIG_FILE).unlink()
    else:
        (folder / CONFIG_FILE).write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        find_checkpoint(SYSTEM)
    assert str(folder / CONFIG_FILE) in str(error.value)
    assert "Restore" in str(error.value)


@pytest.mark.parametrize("field", REQUIRED_FIELDS)
def test_lacking_field_is_named(field, weights):
    folder = install(weights, half(SYSTEM), without=field)
    with pytest.raises(CheckpointError, match=f"lacks {field}") as error:
        find_checkpoint(SYSTEM)
    assert str(folder / CONFIG_FILE) in str(error.value)


@pytest.mark.parametrize("classes", [list(reversed(CLASS_NAMES)), list(CLASS_NAMES[:3]), 4, "glioma"])
def test_other_classes_are_refused(classes, weights):
    install(weights, half(SYSTEM), classes=classes)
    with pytest.raises(CheckpointError, match="classes") as error:
        find_checkpoint(SYSTEM)
    assert all(name in str(error.value) for name in CLASS_NAMES)


def test_another_systems_checkpoint_is_refused_even_if_it_fits(weights):
    folder = install(weights, half("cnn_v1"), system="cnn_v2")
    folder.rename(weights / "cnn_v3")
    with pytest.raises(CheckpointError, match=r"cnn_v2.*cnn_v3"):
        find_checkpoint("cnn_v3")


def test_another_architectures_weights_are_refused_by_parameter(weights):
    folder = install(weights, save({"conv1.weight": torch.zeros(16, 3, 3, 3), "layer9.weight": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match=rf"does not fit {SYSTEM}.*(conv1\.bias|layer9)") as error:
        load()
    assert str(folder / MODEL_FILE) in str(error.value)


def test_same_names_of_other_shapes_are_refused(weights):
    state = build_model(SYSTEM).state_dict() | {"fc.weight": torch.zeros(4, 5), "fc.bias": torch.zeros(4)}
    install(weights, save(state))
    with pytest.raises(CheckpointError, match=r"does not fit cnn_v1.*fc\.weight"):
        load()


class Trap:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickle_is_refused_without_being_unpickled(weights, tmp_path):
    content = pickle.dumps({"conv1.weight": Trap(tmp_path / "sprung")})
    install(weights, content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load()
    assert not (tmp_path / "sprung").exists()
    pickle.loads(content)
    assert (tmp_path / "sprung").exists()
