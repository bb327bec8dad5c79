"""From images to predictions to metrics, recomputed here by hand or with nothing but the standard library."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from brain_tumor.checkpoints import CheckpointError, find_checkpoint, load_network
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.preprocessing import preprocess
from brain_tumor.registry import get_spec
from training.__main__ import main
from training.data import KAGGLE, DataError
from training.engine import Epoch, Progress
from training.evaluation import COLUMNS, Predictions, evaluate, measure, read_predictions, to_json, wilson
from training.export import export
from training.protocols import published
from training.recipes import RECIPES

SYSTEM = "cnn_v1"
PROTOCOL = "published"
# (true, predicted) of ten images.
HAND_MADE = [(0, 0), (0, 0), (0, 1), (1, 1), (1, 1), (2, 2), (2, 2), (2, 2), (2, 0), (3, 2)]


def write_csv(path: Path, pairs: list[tuple[int, int]]) -> Path:
    """Predictions with logit 2 for the predicted class and 0 for the others."""
    lines = [",".join(COLUMNS)]
    for number, (true, predicted) in enumerate(pairs):
        logits = ["2.0000" if index == predicted else "0.0000" for index in range(len(CLASS_NAMES))]
        lines.append(",".join([f"Testing/{number}.png", CLASS_NAMES[true], "", *logits]))
    path.write_text("\n".join(lines) + "\n")
    return path


def make_checkpoint(folder: Path, root: Path) -> None:
    """A checkpoint with random weights, as a run of one epoch would leave it."""
    torch.manual_seed(0)
    spec, recipe = get_spec(SYSTEM), RECIPES[SYSTEM]
    epoch = Epoch(0, recipe.phases[0].name, spec.preprocessing.size, 1e-3, 1e-3, 1.4, 0.25, 1.4, 0.25, 1.0, 10.0)
    progress = Progress(history=[epoch], best_epoch=0, seconds=90.0)
    export(spec.build().state_dict(), progress, spec, SYSTEM, recipe, published(root), 0, "no", "unknown", folder)


@pytest.fixture
def root(tmp_path) -> Path:
    """A tiny data set in the Kaggle layout, of noise whose brightness depends on the class."""
    root = tmp_path / "data"
    rng = np.random.default_rng(0)
    for part, n in (("Training", 6), ("Testing", 3)):
        for index, label in enumerate(CLASS_NAMES):
            folder = root / KAGGLE.folder / part / label
            folder.mkdir(parents=True)
            for number in range(n + index):
                pixels = rng.integers(0, 60 * (index + 1), (64, 64), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture
def weights(tmp_path, root, monkeypatch) -> Path:
    weights = tmp_path / "weights"
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(weights))
    make_checkpoint(weights / SYSTEM, root)
    return weights


def wilson_by_formula(successes: int, trials: int) -> tuple[float, float]:
    """Wilson 1927, with the normal quantile of 97.5 %."""
    z, p = 1.959963984540054, successes / trials
    centre = (p + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * math.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    return centre - half, centre + half


def test_metrics_of_a_hand_made_file(tmp_path):
    metrics = measure(read_predictions(write_csv(tmp_path / "p.csv", HAND_MADE)))
    assert metrics.n == 10
    assert metrics.accuracy == 0.7
    assert metrics.accuracy_interval == pytest.approx(wilson_by_formula(7, 10))
    assert metrics.confusion == ((2, 1, 0, 0), (0, 2, 0, 0), (1, 0, 3, 0), (0, 0, 1, 0))
    assert metrics.loss == pytest.approx(math.log(math.exp(2) + 3) - 0.7 * 2)
    glioma, meningioma, notumor, pituitary = metrics.classes.values()
    assert [c.support for c in metrics.classes.values()] == [3, 2, 4, 1]
    assert (glioma.precision, glioma.recall, glioma.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (meningioma.precision, meningioma.recall, meningioma.f1) == pytest.approx((2 / 3, 1, 0.8))
    assert (notumor.precision, notumor.recall, notumor.f1) == pytest.approx((0.75, 0.75, 0.75))
    assert (pituitary.precision, pituitary.recall, pituitary.f1) == (0, 0, 0)
    assert [c.specificity for c in metrics.classes.values()] == pytest.approx([6 / 7, 7 / 8, 5 / 6, 1])
    assert glioma.recall_interval == pytest.approx(wilson_by_formula(2, 3))
    assert glioma.specificity_interval == pytest.approx(wilson_by_formula(6, 7))
    assert metrics.macro_recall == pytest.approx((2 / 3 + 1 + 0.75 + 0) / 4)
    assert metrics.macro_precision == pytest.approx((2 / 3 + 2 / 3 + 0.75 + 0) / 4)
    assert metrics.macro_f1 == pytest.approx((2 / 3 + 0.8 + 0.75 + 0) / 4)


def test_roc_auc_is_the_share_of_pairs_in_the_right_order():
    logits = np.zeros((4, len(CLASS_NAMES)))
    logits[:, 0] = [3, 1, 2, 0]
    metrics = measure(Predictions(("a", "b", "c", "d"), np.array([0, 0, 1, 1]), (None,) * 4, logits))
    # Of the four pairs of a glioma and another image only 1 < 2 is in the wrong order; for meningioma it is the same.
    assert metrics.classes["glioma"].roc_auc == 0.75
    assert metrics.macro_roc_auc == 0.75


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (1, 1), (1287, 1311)])
def test_wilson_is_the_published_formula(successes, trials):
    low, high = wilson(successes, trials)
    assert (low, high) == pytest.approx(wilson_by_formula(successes, trials), abs=1e-12)
    assert 0 <= low <= high <= 1


def test_a_class_without_images_is_none_not_nan(tmp_path):
    absent = CLASS_NAMES.index("notumor")
    pairs = [pair for pair in HAND_MADE if pair[0] != absent]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = measure(read_predictions(write_csv(tmp_path / "p.csv", pairs)))
    missing = metrics.classes["notumor"]
    assert (missing.support, missing.precision, missing.recall, missing.f1, missing.roc_auc) == (
        0,
        None,
        None,
        None,
        None,
    )
    assert missing.specificity == pytest.approx(5 / 6)
    assert metrics.macro_recall == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert json.loads(to_json(metrics))["classes"]["notumor"]["recall_interval"] is None


def test_one_class_alone_can_be_measured(tmp_path):
    metrics = measure(read_predictions(write_csv(tmp_path / "p.csv", [(0, 0), (0, 1)])))
    assert metrics.accuracy == 0.5
    assert metrics.macro_roc_auc is None
    assert metrics.classes["glioma"].specificity is None


def test_json_is_rounded_and_stable(tmp_path):
    text = to_json(measure(read_predictions(write_csv(tmp_path / "p.csv", HAND_MADE))))
    assert text.endswith("}\n")
    content = json.loads(text)
    assert content["classes"]["glioma"]["precision"] == 0.666667
    assert list(content["classes"]) == list(CLASS_NAMES)
    assert list(content)[:3] == ["n", "accuracy", "accuracy_interval"]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("logit_glioma", "glioma", "the columns are"),
        ("Testing/0.png,glioma", "Testing/0.png,astrocytoma", "line 2: Unknown class 'astrocytoma'"),
        ("Testing/1.png,glioma,", "Testing/1.png,glioma,first", "line 3: "),
        ("Testing/2.png,glioma,,0.0000", "Testing/2.png,glioma,,zero", "line 4: "),
        ("Testing/2.png,glioma,,0.0000", "Testing/2.png,glioma,,nan", "line 4: the logits nan"),
        ("Testing/3.png,meningioma,", "Testing/3.png,meningioma", "line 5: 6 values for 7 columns"),
        ("Testing/4.png", "Testing/3.png", "Testing/3.png is there 2 times"),
    ],
)
def test_a_malformed_file_is_named_with_the_line(tmp_path, old, new, complaint):
    path = write_csv(tmp_path / "p.csv", HAND_MADE)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError) as error:
        read_predictions(path)
    assert str(path) in str(error.value)
    assert complaint in str(error.value)


@pytest.mark.parametrize("content", ["", ",".join(COLUMNS) + "\n"])
def test_a_file_without_predictions_is_an_error(tmp_path, content):
    path = tmp_path / "p.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=r"p\.csv"):
        read_predictions(path)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_predictions(tmp_path / "p.csv")


def test_evaluate_writes_what_the_network_says(weights, root):
    path = evaluate(SYSTEM, PROTOCOL, root)
    assert path == weights / SYSTEM / "evaluation" / "published.csv"
    content = path.read_bytes().decode()
    assert content.startswith(
        "image,label,fold,logit_glioma,logit_meningioma,logit_notumor,logit_pituitary\nTesting/glioma/0.png,glioma,,"
    )
    assert "\r" not in content
    predictions = read_predictions(path)
    assert len(predictions.images) == 3 + 4 + 5 + 6
    assert set(predictions.folds) == {None}

    spec = get_spec(SYSTEM)
    images = [Image.open(root / KAGGLE.folder / image) for image in predictions.images]
    logits = load_network(find_checkpoint(SYSTEM), spec)(preprocess(images, spec.preprocessing))
    np.testing.assert_allclose(predictions.logits, logits.numpy(), atol=1e-3)
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1)


def test_printed_accuracy_is_that_of_the_file(weights, root, capsys):
    assert main(["evaluate", SYSTEM, "--protocol", PROTOCOL, "--data", str(root)]) == 0
    printed = capsys.readouterr().out
    with open(weights / SYSTEM / "evaluation" / "published.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    correct = sum(row["label"] == max(CLASS_NAMES, key=lambda name: float(row[f"logit_{name}"])) for row in rows)
    assert f"accuracy {100 * correct / len(rows):.2f} %" in printed
    assert f"n = {len(rows)}" in printed
    stored = json.loads((weights / SYSTEM / "evaluation" / "published.json").read_text())
    assert stored["accuracy"] == pytest.approx(correct / len(rows), abs=1e-6)


def test_all_means_every_checkpoint_there_is(weights, root, capsys):
    assert main(["evaluate", "all", "--protocol", PROTOCOL, "--data", str(root)]) == 0
    assert f"{SYSTEM}, {PROTOCOL}: accuracy" in capsys.readouterr().out


def test_a_changed_weights_file_is_not_evaluated(weights, root):
    file = weights / SYSTEM / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CheckpointError, match="sha256"):
        evaluate(SYSTEM, PROTOCOL, root)


def test_a_checkpoint_in_the_hub_cache_is_not_evaluated(tmp_path, root, weights):
    # The cache as the Hub's client lays it out; it looks for it when it is imported, hence another process.
    repository = tmp_path / "home" / "hub" / f"models--me--brain-tumor-{SYSTEM}"
    (repository / "snapshots").mkdir(parents=True)
    (weights / SYSTEM).rename(repository / "snapshots" / "0123abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    given = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "BRAIN_TUMOR_HUB_REPO": "me/brain-tumor"}
    command = [sys.executable, "-m", "training", "evaluate", SYSTEM, "--data", str(root)]
    finished = subprocess.run(command, env=os.environ | given, capture_output=True, text=True)
    assert finished.returncode == 2
    assert "a cache" in finished.stderr
    assert not (weights / SYSTEM).exists()


@pytest.mark.parametrize("arguments", [["resnet18", "--data", "{root}"], [SYSTEM, "--data", "{root}/nowhere"]])
def test_errors_are_one_line_and_status_2(weights, root, capsys, arguments):
    assert main(["evaluate", *(argument.format(root=root) for argument in arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err


def test_an_unreadable_image_is_named(weights, root, capsys):
    (root / KAGGLE.folder / "Testing" / "glioma" / "0.png").write_bytes(b"no image")
    assert main(["evaluate", SYSTEM, "--protocol", PROTOCOL, "--data", str(root)]) == 2
    assert "0.png" in capsys.readouterr().err
