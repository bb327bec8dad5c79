"""Training learns, survives being killed, stops when it should, and does the same in several processes."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

import training.export
from brain_tumor.architectures import Focus
from brain_tumor.checkpoints import REQUIRED_FIELDS, find_checkpoint, load_network, read_config
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.preprocessing import Preprocessing
from brain_tumor.registry import MODELS, ModelSpec, get_spec
from training.augmentation import Augmentation
from training.crops import Crops
from training.data import KAGGLE, Samples
from training.engine import STATE_FILE, TrainingError, batches, resolution, share, train
from training.export import git_commit
from training.recipes import RECIPES, Constant, Cosine, OneCycle, Phase, Recipe, Step
from training.runs import get_recipe, train_system

REPOSITORY = Path(__file__).resolve().parent.parent


def toy_network() -> nn.Sequential:
    """Everything that a run must bring back: batch norm, dropout, several stages; any image size."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 8, 3, stride=2, padding=1),
            bn1=nn.BatchNorm2d(8),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(8, 16, 3, stride=2, padding=1),
            bn2=nn.BatchNorm2d(16),
            relu2=nn.ReLU(),
            avgpool=nn.AdaptiveAvgPool2d(4),
            flatten=nn.Flatten(),
            fc=nn.Sequential(nn.Dropout(0.3), nn.Linear(256, 4)),
        )
    )


def focused_end() -> dict[str, nn.Module]:
    """A window of half of the slice, and no dropout: the place alone is what such a run has more to bring back."""
    return {"focus": Focus(16, 8), "fc": nn.Linear(16, 4)}


TOY = ModelSpec(
    name="toy",
    title="Toy",
    build=toy_network,
    preprocessing=Preprocessing(64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    cam_layer="relu2",
    recipe="",
    study_recipe="",
    study="A",
    reported_accuracy=0.0,
    patientwise_recipe="",
    location_stages=("relu2",),
    head="fc",
    thaw=(("conv2", "bn2"),),
)
FOCUSED = replace(
    TOY,
    build=lambda: nn.Sequential(OrderedDict([*list(toy_network().named_children())[:6], *focused_end().items()])),
)
ALL = Phase("all", 3, head_lr=1e-3, backbone_lr=1e-3)
PLAIN = Recipe(
    phases=(replace(ALL, epochs=8),),
    batch_size=8,
    weight_decay=1e-4,
    schedule=Step(2, 0.7),
    augmentation=Augmentation(rotation=10, translation=0.05, brightness=0.1, noise=0.02),
)
PHASES = Recipe(
    phases=(
        Phase("1: head", 2, head_lr=1e-3, backbone_lr=0.0, thawed=0),
        Phase("2: + last stage", 12, head_lr=1e-3, backbone_lr=5e-4, thawed=1),
        Phase("3: everything", 3, head_lr=1e-3, backbone_lr=5e-4),
    ),
    optimizer="adamw",
    batch_size=8,
    weight_decay=0.05,
    schedule=OneCycle(),
    augmentation=Augmentation(flip_vertical=0.1, rotation=10, scale=0.1, gamma=0.2, noise=0.02),
    resolutions=((0, 32), (6, 48), (10, 64)),
    label_smoothing=0.05,
    ema=0.95,
)
MOMENTUM = replace(PHASES, optimizer="sgd", momentum=0.9, schedule=Cosine(), ema=0.0, resolutions=())
BOXES = replace(PHASES, box_weight=1.0, validate=False)
CROPS = replace(BOXES, load_size=64, resolutions=(), crops=Crops(side=0.5, spread=1.3, jitter=0.2, elsewhere=0.3))
# Plain gradient descent and no noise: what differs between one process and two is the order of sums alone.
SHARED = Recipe(
    phases=(Phase("first", 2, head_lr=0.02, backbone_lr=0.02), Phase("second", 1, head_lr=0.01, backbone_lr=0.01)),
    optimizer="sgd",
    batch_size=17,
    augmentation=Augmentation(rotation=10, translation=0.05, contrast=0.2),
)
RUNS = {
    "plain": (get_spec("cnn_v1"), PLAIN),
    "phases": (TOY, PHASES),
    "momentum": (TOY, MOMENTUM),
    "boxes": (TOY, BOXES),
    "crops": (FOCUSED, CROPS),
}


def toy_slices(n: int, size: int, seed: int) -> Samples:
    """Four classes that differ in the quarter of a noisy image that is bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    pixels = torch.randint(0, 60, (n, 1, size, size), generator=generator, dtype=torch.uint8)
    half = size // 2
    for image, label in zip(pixels, labels.tolist(), strict=True):
        row, column = divmod(label, 2)
        image[:, row * half : (row + 1) * half, column * half : (column + 1) * half] += 150
    boxes = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.0, 1.0, 0.5], [0.0, 0.5, 0.5, 1.0], [0.0] * 4])[labels]
    return Samples(pixels.expand(-1, 3, -1, -1).contiguous(), labels, boxes)


def run(spec: ModelSpec, recipe: Recipe, folder: Path, n: int = 32, precision: str = "no", network=None):
    """Train on toy slices, from weights that depend on nothing but the seed."""
    torch.manual_seed(7)
    size = spec.preprocessing.size
    return train(
        network or spec.build(),
        spec,
        recipe,
        toy_slices(n, size, seed=1),
        toy_slices(24, size, seed=2),
        folder,
        seed=5,
        precision=precision,
    )


def history(folder: Path) -> list[dict]:
    return json.loads((folder / "history.json").read_text())


def untimed(rows: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


def weights(folder: Path, prefix: str = "network.") -> dict[str, Tensor]:
    return {k: v for k, v in load_file(folder / STATE_FILE).items() if k.startswith(prefix)}


def write_toy_data(root: Path) -> Path:
    """Toy slices laid out as Kaggle's data set: 15 and 2 per class."""
    for part, n, seed in (("Training", 60, 1), ("Testing", 8, 2)):
        samples = toy_slices(n, 128, seed)
        for i, (pixels, label) in enumerate(zip(samples.pixels, samples.labels.tolist(), strict=True)):
            path = root / KAGGLE.folder / part / CLASS_NAMES[label] / f"{i:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())).save(path)
    return root


def start(*arguments: object, launcher: tuple[str, ...] = (), **options) -> subprocess.Popen:
    """This file as a program of its own; see the end of it."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, __file__, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **options)


@pytest.fixture(autouse=True)
def one_cpu_thread(monkeypatch):
    """Sums in one order, on the device that all machines have; Accelerate keeps its settings for a whole process."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("n", "size"), [(64, 16), (65, 16), (5712, 32), (3, 16), (1, 32), (40, 16), (17, 16)])
def test_batches_hold_every_image_once_and_are_of_one_size(n, size):
    cut = batches(n, size, seed=1, epoch=0)
    assert sorted(torch.cat(cut).tolist()) == list(range(n))
    sizes = [len(batch) for batch in cut]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) < 1.5 * size + 1
    assert min(sizes) >= min(n, 2 * size / 3)


def test_batches_depend_on_seed_and_epoch_alone():
    def order(seed: int, epoch: int) -> list[int]:
        torch.rand(3)  # the global generator has no say
        return torch.cat(batches(200, 16, seed, epoch)).tolist()

    assert order(1, 4) == order(1, 4)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(10)}) == 30


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("n", [1, 7, 16, 33])
def test_shares_are_disjoint_complete_and_even(n, world):
    shares = [list(range(n))[share(n, rank, world)] for rank in range(world)]
    assert [i for part in shares for i in part] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("name", RECIPES)
def test_resolution_grows_to_the_input_size_within_each_phase(name):
    recipe = RECIPES[name]
    last = recipe.resolutions[-1][1] if recipe.crops else 224
    sizes = [resolution(recipe, 224, epoch) for epoch in range(recipe.epochs)]
    first = 0
    for phase in recipe.phases:
        own = sizes[first : first + phase.epochs]
        first += phase.epochs
        assert own == sorted(own)
    assert sizes[-1] == last
    starts = dict(recipe.resolutions)
    assert all(sizes[first] == px and (first == 0 or sizes[first - 1] != px) for first, px in starts.items())
    assert starts or set(sizes) == {last}


def test_toy_classes_are_learned(tmp_path):
    best, progress = run(get_spec("cnn_v1"), replace(RECIPES["cnn_v1"], batch_size=16, phases=(ALL,)), tmp_path, n=64)
    rows = progress.history
    assert rows[-1].val_accuracy >= 0.95
    assert rows[-1].train_loss < rows[0].train_loss / 2
    assert rows[0].train_loss < 2 * math.log(4)
    assert max(row.val_accuracy for row in rows) == rows[progress.best_epoch].val_accuracy
    assert best.keys() == get_spec("cnn_v1").build().state_dict().keys()
    assert history(tmp_path) == [asdict(row) for row in rows]
    assert (tmp_path / "log.txt").read_text().count("\n") == 3


@pytest.mark.parametrize(
    ("case", "kill_after"), [("plain", 2), ("phases", 7), ("momentum", 4), ("boxes", 11), ("crops", 11)]
)
def test_killed_run_ends_as_if_it_had_not_been(case, kill_after, tmp_path):
    spec, recipe = RUNS[case]
    killed = start("train", case, tmp_path / "killed")
    try:
        deadline = time.monotonic() + 120
        # From the moment that an epoch is on disk, the next one is being computed.
        while not (tmp_path / "killed" / "history.json").exists() or len(history(tmp_path / "killed")) < kill_after:
            assert killed.poll() is None, killed.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        killed.send_signal(signal.SIGKILL)
    finally:
        killed.kill()
        killed.communicate()
    assert kill_after <= len(history(tmp_path / "killed")) < recipe.epochs

    resumed, resumed_progress = run(spec, recipe, tmp_path / "killed", network=spec.build())
    whole, whole_progress = run(spec, recipe, tmp_path / "whole")

    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[key], value) for key, value in whole.items())
    assert resumed_progress.best_epoch == whole_progress.best_epoch
    assert untimed(history(tmp_path / "killed")) == untimed(history(tmp_path / "whole"))
    states = weights(tmp_path / "killed", ""), weights(tmp_path / "whole", "")
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], value) for key, value in states[1].items())
    assert len(history(tmp_path / "whole")) == recipe.epochs
    assert not list((tmp_path / "killed").glob("*.partial"))


def test_frozen_stages_keep_their_weights_but_batch_norm_goes_on_counting(tmp_path):
    torch.manual_seed(7)
    before = TOY.build().state_dict()
    recipe = replace(PHASES, phases=(replace(PHASES.phases[0], epochs=1),), resolutions=(), ema=0.0)
    run(TOY, recipe, tmp_path)
    after = {key.removeprefix("network."): value for key, value in weights(tmp_path).items()}
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    statistics = {f"bn{i}.{key}" for i in (1, 2) for key in ("running_mean", "running_var", "num_batches_tracked")}
    assert changed == statistics | {"fc.1.weight", "fc.1.bias"}


def test_history_states_phase_size_and_rates(tmp_path):
    recipe = replace(MOMENTUM, resolutions=((0, 32), (2, 64)), schedule=Constant())
    recipe = replace(recipe, phases=tuple(replace(phase, epochs=1) for phase in recipe.phases))
    run(TOY, recipe, tmp_path, n=16)
    rows = history(tmp_path)
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert [row["phase"] for row in rows] == [phase.name for phase in recipe.phases]
    assert [row["size"] for row in rows] == [32, 32, 64]
    assert [(row["head_lr"], row["backbone_lr"]) for row in rows] == [(1e-3, 0.0), (1e-3, 5e-4), (1e-3, 5e-4)]


def test_losses_are_mean_cross_entropies_in_nats(tmp_path):
    network = toy_network()
    with torch.no_grad():
        network.fc[1].weight.zero_()
        network.fc[1].bias.copy_(torch.tensor([2.0, 0.0, 0.0, 0.0]))
    phases = (Phase("all", 1, head_lr=0.0, backbone_lr=0.0),)
    recipe = Recipe(phases=phases, optimizer="sgd", batch_size=2, label_smoothing=0.2)
    _, progress = run(TOY, recipe, tmp_path, n=5, network=network)
    (row,) = progress.history
    total = math.exp(2) + 3
    losses = [-math.log(math.exp(2) / total)] + 3 * [-math.log(1 / total)]
    # Labels 0, 1, 2, 3, 0 to train, as many of each to validate; smoothing is for training alone.
    plain = (sum(losses) + losses[0]) / 5
    assert row.train_loss == pytest.approx(0.8 * plain + 0.2 * sum(losses) / 4, rel=1e-5)
    assert row.val_loss == pytest.approx(sum(losses) / 4, rel=1e-5)
    assert (row.train_accuracy, row.val_accuracy) == pytest.approx((0.4, 0.25))


def standing_still(**changes) -> tuple[Recipe, nn.Module]:
    """A recipe whose validation accuracy never changes, and a network that always answers the same."""
    network = toy_network()
    with torch.no_grad():
        network.fc[1].bias.copy_(torch.tensor([100.0, 0.0, 0.0, 0.0]))
    phases = (Phase("all", 20, head_lr=0.0, backbone_lr=0.0),)
    return Recipe(phases=phases, optimizer="sgd", patience=3, **changes), network


def test_patience_ends_a_run_for_good(tmp_path):
    recipe, network = standing_still()
    best, progress = run(TOY, recipe, tmp_path, n=16, network=network)
    # The first epoch is the best so far; three more are no better.
    assert len(progress.history) == 4
    assert {row.val_accuracy for row in progress.history} == {0.25}
    state = (tmp_path / STATE_FILE).read_bytes()

    again, progress = run(TOY, recipe, tmp_path, n=16)
    assert len(progress.history) == 4
    assert (tmp_path / STATE_FILE).read_bytes() == state
    assert all(torch.equal(again[key], value) for key, value in best.items())


def test_patience_counts_epochs_at_the_last_resolution_only(tmp_path):
    recipe, network = standing_still(resolutions=((0, 32), (5, 64)))
    _, progress = run(TOY, recipe, tmp_path, n=16, network=network)
    assert [row.size for row in progress.history] == [32] * 5 + [64] * 4


def test_best_epoch_is_one_at_the_last_resolution(tmp_path):
    recipe = replace(PHASES, phases=(ALL,), resolutions=((0, 32), (2, 64)))
    _, progress = run(TOY, recipe, tmp_path, n=16)
    assert progress.best_epoch == 2


def test_run_is_not_continued_with_a_changed_recipe(tmp_path):
    run(TOY, SHARED, tmp_path)
    with pytest.raises(TrainingError, match="another version of its recipe"):
        run(TOY, replace(SHARED, weight_decay=0.5), tmp_path)


def test_finished_run_is_not_trained_again(tmp_path):
    recipe = replace(PHASES, phases=(replace(ALL, epochs=1),), resolutions=())
    best, _ = run(TOY, recipe, tmp_path, n=16)
    state = (tmp_path / STATE_FILE).read_bytes()
    again, progress = run(TOY, recipe, tmp_path, n=16, network=toy_network())
    assert (tmp_path / STATE_FILE).read_bytes() == state
    assert len(progress.history) == 1
    assert all(torch.equal(again[key], value) for key, value in best.items())


def test_kept_weights_are_the_average(tmp_path):
    run(TOY, replace(PHASES, phases=(replace(ALL, epochs=1),), resolutions=()), tmp_path)
    best, average, network = (weights(tmp_path, p) for p in ("best.", "average.module.", "network."))
    best = {key.removeprefix("best."): value for key, value in best.items()}
    average = {key.removeprefix("average.module."): value for key, value in average.items()}
    assert best.keys() == average.keys() == {key.removeprefix("network.") for key in network}
    assert all(torch.equal(best[key], value) for key, value in average.items())
    assert not torch.equal(average["conv1.weight"], network["network.conv1.weight"])


def test_half_precision_survives_a_change_of_phase(tmp_path):
    recipe = replace(PHASES, phases=tuple(replace(phase, epochs=1) for phase in PHASES.phases), resolutions=())
    best, progress = run(TOY, recipe, tmp_path, precision="bf16")
    assert len(progress.history) == 3
    assert {value.dtype for key, value in best.items() if "num_batches" not in key} == {torch.float32}
    exact, _ = run(TOY, recipe, tmp_path / "exact", precision="bf16")
    assert all(torch.equal(exact[key], value) for key, value in best.items())


def test_diverging_run_says_so_and_keeps_the_last_good_state(tmp_path):
    recipe = replace(SHARED, phases=(replace(ALL, epochs=1), Phase("wild", 3, head_lr=1e30, backbone_lr=1e30)))
    with pytest.raises(TrainingError, match=r"epoch 2.*learning rate"):
        run(TOY, recipe, tmp_path)
    assert len(history(tmp_path)) == 1
    assert all(value.isfinite().all() for value in weights(tmp_path).values())


def test_unknown_names_are_answered_with_those_that_exist(tmp_path):
    with pytest.raises(ValueError, match="adam, adamw or sgd"):
        run(TOY, replace(SHARED, optimizer="lion"), tmp_path)
    with pytest.raises(ValueError, match="'cnn_v9'.*" + ".*".join(RECIPES)):
        get_recipe("cnn_v9")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("data"))


def test_a_run_goes_on_in_the_precision_that_it_was_started_in(tmp_path):
    run(TOY, replace(SHARED, patience=None), tmp_path, precision="bf16")
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.raises(TrainingError, match="--precision bf16"):
        run(TOY, replace(SHARED, patience=None), tmp_path, precision="no")


def test_exported_checkpoint_is_the_best_epoch_in_half_precision(data, tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(RECIPES, "shared", SHARED)
    checkpoint = train_system("cnn_v1", data, tmp_path / "runs", "shared", seed=3, precision="no")
    config = read_config(checkpoint / "config.json")
    assert set(REQUIRED_FIELDS) <= config.keys()
    assert config["system"] == "cnn_v1"
    assert config["parameters"] == sum(p.numel() for p in MODELS["cnn_v1"].build().parameters())
    assert (config["seed"], config["protocol"], config["initialisation"]) == (3, "published", "random")
    assert config["preprocessing"] == {"size": 128, "mean": [0.5] * 3, "std": [0.5] * 3}
    assert config["recipe"]["name"] == "shared"
    assert config["recipe"]["batch_size"] == 17
    assert sum(config["data"]["train"].values()) == 51
    assert sum(config["data"]["val"].values()) == 9
    assert config["hardware"].endswith(", fp32")
    assert config["git_commit"] == git_commit()
    run_folder = tmp_path / "runs" / "cnn_v1-shared-seed3"
    assert checkpoint == run_folder / "checkpoint"
    assert json.loads((checkpoint / "evaluation" / "history.json").read_text()) == history(run_folder)
    assert config["val_accuracy"] == history(run_folder)[config["best_epoch"] - 1]["val_accuracy"]

    checkpoint.rename(tmp_path / "cnn_v1")
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(tmp_path))
    loaded = load_network(find_checkpoint("cnn_v1"), get_spec("cnn_v1")).state_dict()
    best = weights(run_folder, "best.")
    assert len(loaded) == len(best)
    assert all(torch.equal(value, best[f"best.{key}"].half().float()) for key, value in loaded.items())

    (tmp_path / "cnn_v1").rename(checkpoint)
    with caplog.at_level(logging.INFO):
        assert train_system("cnn_v1", data, tmp_path / "runs", "shared", seed=3) == checkpoint
    assert "is finished" in caplog.text
    assert "Kept epoch" not in caplog.text


def test_two_processes_train_as_one(data, tmp_path, monkeypatch):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    both = start("train_system", data, tmp_path / "two", launcher=launcher)
    _, errors = both.communicate(timeout=240)
    assert both.returncode == 0, errors
    assert errors.count("process 0 of 2") == errors.count("process 1 of 2") == 1, errors

    monkeypatch.setitem(RECIPES, "shared", SHARED)
    train_system("cnn_v1", data, tmp_path / "one", "shared", precision="no")
    one, two = (tmp_path / folder / "cnn_v1-shared-seed0" for folder in ("one", "two"))
    # Gradients differ in the order of sums alone: some 1e-6 of their size, 1e-4 of what nine steps have learned. One
    # image of 17 more or less would change them by some hundredths, a wrong average by a half.
    torch.manual_seed(0)
    trained, shared = weights(one), weights(two)
    for key, value in get_spec("cnn_v1").build().state_dict().items():
        learned = (trained[f"network.{key}"] - value).abs().max()
        assert (shared[f"network.{key}"] - trained[f"network.{key}"]).abs().max() < 0.01 * learned
    for a, b in zip(history(one), history(two), strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-4)
        assert a["val_loss"] == pytest.approx(b["val_loss"], rel=1e-4)
        assert (a["train_accuracy"], a["val_accuracy"]) == (b["train_accuracy"], b["val_accuracy"])
    # Batch norm's statistics differ between processes: two writers would spoil each other's checkpoint.
    assert errors.count("Kept epoch") == 1, errors
    assert read_config(two / "checkpoint" / "config.json")["epochs"] == 3


@pytest.mark.parametrize(("changed", "noticed"), [("brain_tumor/a.py", True), ("training/b.py", True), ("x.md", False)])
def test_commit_tells_of_changes_in_the_code(changed, noticed, tmp_path, monkeypatch):
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    for name in ("brain_tumor/a.py", "training/b.py", "training/export.py", "x.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    monkeypatch.setattr(training.export, "__file__", str(tmp_path / "training" / "export.py"))
    assert git_commit() == git("rev-parse", "HEAD")
    (tmp_path / changed).write_text("2")
    assert git_commit() == git("rev-parse", "HEAD") + ("+changes" if noticed else "")


def test_commit_is_unknown_outside_a_checkout(tmp_path, monkeypatch):
    (tmp_path / "training").mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(training.export, "__file__", str(tmp_path / "training" / "export.py"))
    assert git_commit() == "unknown"


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    torch.set_num_threads(1)
    match sys.argv[1:]:
        case ["train", case, folder]:
            run(*RUNS[case], Path(folder))
        case ["train_system", root, folder]:
            print(f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']}", file=sys.stderr, flush=True)
            RECIPES["shared"] = SHARED
            train_system("cnn_v1", Path(root), Path(folder), "shared", precision="no")
