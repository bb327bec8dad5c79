"""One command trains, installs, measures and writes the tables; interrupted, it goes on where it was."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import fmean, stdev

import pytest
from accelerate.state import AcceleratorState
from toy_data import write_kaggle, write_roboflow

from brain_tumor.checkpoints import find_checkpoint
from brain_tumor.registry import MODELS
from training import __main__ as command_line
from training import reproduction
from training.cards import drift
from training.data import KAGGLE
from training.evaluation import read_predictions
from training.protocols import PROTOCOLS
from training.recipes import PROBES, RECIPES
from training.runs import install

FIRST, SECOND, TRANSFER = "cnn_v1", "baseline_cnn", "resnet50_linear_probe"
OFFERED = "cnn_v4"
ROOT = Path(command_line.__file__).resolve().parent.parent


@dataclass(frozen=True)
class Interruption:
    """A schedule of learning rates that never gets to one."""

    def __call__(self, base: float, epoch: float, epochs: int) -> float:
        raise KeyboardInterrupt


def short(name: str):
    """The recipe, cut to one epoch."""
    recipe = RECIPES[name]
    return replace(recipe, phases=(replace(recipe.phases[0], epochs=1),), batch_size=8)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder with data and no checkpoint."""
    write_kaggle(tmp_path / "data")
    write_roboflow(tmp_path / "data")
    settings = {
        "BRAIN_TUMOR_DATA": str(tmp_path / "data"),
        "BRAIN_TUMOR_WEIGHTS": str(tmp_path / "weights"),
        "TORCH_HOME": str(tmp_path / "torch"),
        "https_proxy": "http://127.0.0.1:9",  # where nothing listens: there is no network
        "no_proxy": "",
        "NO_PROXY": "",
        "ACCELERATE_USE_CPU": "true",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    for name in (FIRST, SECOND):
        monkeypatch.setitem(RECIPES, MODELS[name].recipe, short(MODELS[name].recipe))
    AcceleratorState._reset_state(reset_partial_state=True)
    yield tmp_path
    AcceleratorState._reset_state(reset_partial_state=True)


def images(path: Path) -> int:
    with open(path, newline="") as file:
        return len(list(csv.DictReader(file)))


def test_reproduction_goes_on_after_an_interruption(place, monkeypatch, caplog, capsys):
    (place / "README.md").write_text("<!-- generated: results -->\n<!-- /generated -->\n")
    monkeypatch.setattr(command_line, "MODELS", {name: MODELS[name] for name in (FIRST, SECOND, TRANSFER)})
    whole = RECIPES[SECOND]
    monkeypatch.setitem(RECIPES, SECOND, replace(whole, schedule=Interruption()))
    with pytest.raises(KeyboardInterrupt):
        command_line.main(["reproduce", "--precision", "no"])
    first = find_checkpoint(FIRST).sha256
    (place / "weights" / FIRST / "evaluation" / "study").mkdir()
    study = place / "weights" / FIRST / "evaluation" / "study" / "seed0.csv"
    study.write_bytes(study.parent.with_name("published.csv").read_bytes())
    study.with_suffix(".json").write_bytes((place / "weights" / FIRST / "config.json").read_bytes())
    monkeypatch.setitem(RECIPES, SECOND, whole)
    caplog.set_level(logging.INFO)
    capsys.readouterr()

    assert command_line.main(["reproduce", "--precision", "no"]) == 0
    assert f"{FIRST}-{MODELS[FIRST].recipe}-seed0 is finished" in caplog.text
    assert find_checkpoint(FIRST).sha256 == first
    for system in (FIRST, SECOND):
        folder = place / "weights" / system
        assert {protocol: images(folder / "evaluation" / f"{protocol}.csv") for protocol in PROTOCOLS} == {
            "published": 12,
            "external": 12,
        }
        assert (folder / "README.md").exists()
        assert MODELS[system].title in (place / "README.md").read_text()
    assert study.exists()  # predictions of other weights than those installed
    assert drift() == []
    assert not list((place / "weights").glob("*.partial"))
    # Without ImageNet weights a system that starts from them is left out, aloud.
    assert f"{TRANSFER} is left out. The ImageNet weights of resnet50" in capsys.readouterr().err
    assert not (place / "weights" / TRANSFER).exists()
    # Asked for by name, it is an error.
    assert command_line.main(["reproduce", TRANSFER]) == 2


@pytest.mark.parametrize("recipe", ["the same", "another"])
def test_what_the_folds_measured_goes_with_the_recipe_that_it_was_measured_for(tmp_path, monkeypatch, recipe):
    committed = ROOT / "weights" / OFFERED
    checkpoint, weights = tmp_path / "checkpoint", tmp_path / "weights"
    shutil.copytree(committed, weights / OFFERED)
    checkpoint.mkdir()
    config = json.loads((committed / "config.json").read_text())
    if recipe == "another":
        config["recipe"]["name"] = "longer"
    (checkpoint / "config.json").write_text(json.dumps(config))
    shutil.copy(committed / "model.safetensors", checkpoint)
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(weights))
    folder = install(checkpoint, OFFERED)
    for measured in ("calibration.json", "evaluation/patientwise.csv"):
        assert (committed / measured).exists()
        assert (folder / measured).exists() == (recipe == "the same")
    assert any((folder / "evaluation" / "study").iterdir())


def test_data_that_is_missing_is_missed_before_anything_is_trained(place, capsys):
    (place / "data" / KAGGLE.folder).rename(place / "data" / "elsewhere")
    assert command_line.main(["reproduce", FIRST]) == 2
    assert KAGGLE.source in capsys.readouterr().err
    assert not (place / "runs").exists()


def test_of_two_processes_one_installs_and_measures(place):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", __file__]
    settings = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])}
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for protocol in PROTOCOLS:
        assert done.stdout.count(f"{FIRST}, {protocol}: accuracy") == 1
    assert find_checkpoint(FIRST).config["system"] == FIRST
    assert drift() == []


if __name__ == "__main__":
    RECIPES[FIRST] = short(FIRST)
    sys.exit(command_line.main(["reproduce", FIRST, "--precision", "no"]))


def test_study_is_reproduced_with_several_seeds_and_installs_no_weights(place):
    (place / "README.md").write_text("<!-- generated: results -->\n<!-- /generated -->\n")
    assert command_line.main(["reproduce", FIRST, "--study", "--precision", "no"]) == 0
    paths = sorted((place / "weights").rglob("*"))
    files = [path for path in paths if path.is_file()]
    kinds = (".csv", ".json", "_history.json")
    drawn = {"README.md", "seed0_confusion.png", "seed0_curves.png", "seed0_training.png"}
    assert {path.name for path in files} == {f"seed{seed}{kind}" for seed in range(3) for kind in kinds} | drawn
    predictions = [read_predictions(path) for path in files if path.suffix == ".csv"]
    assert len({predictions.logits.tobytes() for predictions in predictions}) == 3
    accuracies = [100 * float((p.labels == p.predicted).mean()) for p in predictions]
    row = next(line for line in (place / "README.md").read_text().splitlines() if MODELS[FIRST].title in line)
    assert f"{fmean(accuracies):.2f} ± {stdev(accuracies):.2f} %, 3 seeds" in row
    assert "random weights" in row and "min a seed, CPU" in row


def test_the_grid_of_study_b_is_compared_on_validation_images(place, monkeypatch, capsys):
    for name in ("linear_probe_0.01_0.9_0.0001", "linear_probe_0.001_0.9_0"):
        monkeypatch.setitem(RECIPES, name, replace(short(name), initialisation="random"))
    monkeypatch.setattr(reproduction, "PROBES", ("linear_probe_0.01_0.9_0.0001", "linear_probe_0.001_0.9_0"))
    assert command_line.main(["grid", "--precision", "no"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shares = [float(line.split(": ")[1].split(" %")[0]) for line in lines]
    assert len(lines) == 2 and shares == sorted(shares, reverse=True)
    assert [line.startswith("linear_probe_0.01_") for line in lines] == ["the study chose it" in line for line in lines]
    assert not (place / "weights").exists()


def test_the_grid_of_study_b_has_its_twelve_settings_and_without_imagenet_weights_says_what_to_do(place, capsys):
    settings = {
        (probe.phases[0].head_lr, probe.momentum, probe.weight_decay, probe.phases[0].epochs)
        for probe in PROBES.values()
    }
    assert settings == set(product((0.01, 0.005, 0.001), (0.9, 0.95), (0, 1e-4), (10,)))
    assert command_line.main(["grid"]) == 2
    assert "--imagenet FILE" in capsys.readouterr().err
