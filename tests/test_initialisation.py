"""ImageNet weights reach the backbone from torch hub's folder or from a file; where they cannot, the error says why."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models
from toy_data import write_kaggle

from brain_tumor.registry import MODELS, ModelSpec
from training.__main__ import main
from training.initialisation import InitialisationError, imagenet_weights, initial_network
from training.recipes import RECIPES

TRANSFER = [spec for spec in MODELS.values() if spec.backbone]
SYSTEMS = pytest.mark.parametrize("spec", TRANSFER, ids=lambda spec: spec.name)
UNFREEZING = RECIPES["progressive_unfreezing"]
NOWHERE = "http://127.0.0.1:9"  # discard: nothing listens there


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Path:
    """The folder where torch hub keeps files, empty; what it would download cannot be reached."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, NOWHERE)
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def weights_url(spec: ModelSpec) -> str:
    return models.get_model_weights(spec.backbone).IMAGENET1K_V1.url


@cache
def state_dict(backbone: str) -> dict[str, torch.Tensor]:
    """Weights of the shapes in torchvision's file, with the head for 1,000 classes; each value is another."""
    with torch.device("meta"):
        shapes = models.get_model(backbone, weights=None).state_dict()
    return {
        name: (i + torch.arange(value.numel()) / value.numel()).view(value.shape).to(value.dtype)
        for i, (name, value) in enumerate(shapes.items())
    }


def assert_loaded(spec: ModelSpec, file: Path | None = None) -> None:
    state = state_dict(spec.backbone)
    for name, value in initial_network(spec, RECIPES[spec.study_recipe], 0, file).state_dict().items():
        if name.startswith(f"{spec.head}."):
            assert value.shape != state.get(name, torch.empty(0)).shape
        else:
            assert torch.equal(value, state[name]), name


@SYSTEMS
def test_file_in_torch_hubs_folder_is_loaded_into_the_backbone(spec, hub):
    # torch hub checks hashes of what it downloads, not of what is there: that is what lets a user put a file there.
    torch.save(state_dict(spec.backbone), hub / weights_url(spec).rsplit("/", 1)[1])
    assert_loaded(spec)


@pytest.mark.parametrize(("system", "suffix"), [("resnet18", ".pth"), ("efficientnet_b0", ".safetensors")])
def test_file_given_by_hand_is_loaded_into_the_backbone(system, suffix, hub, tmp_path):
    spec = MODELS[system]
    file = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state_dict(spec.backbone), file)
    assert_loaded(spec, file)


@SYSTEMS
def test_without_network_the_error_names_address_and_place(spec, hub):
    with pytest.raises(InitialisationError) as error:
        imagenet_weights(spec)
    name = weights_url(spec).rsplit("/", 1)[1]
    for part in (spec.backbone, weights_url(spec), str(hub / name), "--imagenet FILE"):
        assert part in str(error.value)


def test_recipe_from_random_weights_wants_no_file(hub):
    network = initial_network(MODELS["resnet18"], RECIPES["two_teachers"], seed=5).state_dict()
    torch.manual_seed(5)
    assert all(torch.equal(network[name], value) for name, value in MODELS["resnet18"].build().state_dict().items())


@pytest.mark.parametrize(("system", "other"), [("resnet18", "resnet50"), ("efficientnet_b0", "resnet18")])
def test_another_architectures_file_is_one_sentence(system, other, hub, tmp_path):
    file = tmp_path / "other.safetensors"
    save_file(state_dict(other), file)
    with pytest.raises(InitialisationError, match=f"other.safetensors.*{system}.*another architecture"):
        initial_network(MODELS[system], UNFREEZING, seed=0, imagenet_file=file)


def test_another_architecture_in_torch_hubs_folder_names_the_file(hub):
    file = hub / weights_url(MODELS["resnet18"]).rsplit("/", 1)[1]
    torch.save(state_dict("efficientnet_b0"), file)
    with pytest.raises(InitialisationError, match="another architecture") as error:
        initial_network(MODELS["resnet18"], UNFREEZING, seed=0)
    assert str(file) in str(error.value)


class Trap:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


BAD = {
    "empty": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_text("<html>Not found</html>"),
    "list": lambda file: torch.save([1, 2], file),
    "nested": lambda file: torch.save({"state_dict": {"a": torch.zeros(1)}}, file),
    "network": lambda file: torch.save(torch.nn.Linear(2, 2), file),
    "pickle": lambda file: torch.save({"a": Trap(file.with_name("sprung"))}, file),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("bad", BAD)
def test_file_that_is_no_state_dict_is_named_and_not_unpickled(bad, suffix, hub, tmp_path):
    file = tmp_path / f"weights{suffix}"
    BAD[bad](file)
    with pytest.raises(InitialisationError, match="no state dict") as error:
        imagenet_weights(MODELS["resnet18"], file)
    assert str(file) in str(error.value)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("bad", ["empty", "text", "pickle"])
def test_damaged_file_in_torch_hubs_folder_is_named_and_not_unpickled(bad, hub):
    file = hub / weights_url(MODELS["resnet18"]).rsplit("/", 1)[1]
    BAD[bad](file)
    with pytest.raises(InitialisationError, match="Delete it") as error:
        imagenet_weights(MODELS["resnet18"])
    assert str(file) in str(error.value)
    assert not file.with_name("sprung").exists()


def test_missing_file_is_named_by_the_command_line(hub, tmp_path, capsys, monkeypatch):
    write_kaggle(tmp_path)
    monkeypatch.setenv("BRAIN_TUMOR_DATA", str(tmp_path))
    command = ["train", "resnet18", "--recipe", "progressive_unfreezing", "--imagenet", str(tmp_path / "nothing.pth")]
    assert main([*command, "--runs", str(tmp_path / "runs")]) == 2
    assert f"There is no file {tmp_path / 'nothing.pth'}." in capsys.readouterr().err
