"""`python -m brain_tumor` as scripts and people use it: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import scans
from PIL import Image
from slices import mri_slice

import brain_tumor
from brain_tumor.catalogue import list_models
from brain_tumor.labels import CLASS_NAMES, DISPLAY_TEXT
from brain_tumor.registry import MODELS
from brain_tumor.trust import REFUSED, UNCERTAIN

ROOT = Path(__file__).resolve().parents[1]
AVAILABLE = list_models(available_only=True)
NAMES = [model.spec.name for model in AVAILABLE]
OFFERED = [model.spec.name for model in AVAILABLE if model.spec.offered]
FAILED = 2


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "brain_tumor", *map(str, arguments)]


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    result = subprocess.run(
        command(*arguments), cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=300
    )
    assert "Traceback" not in result.stderr, result.stderr
    return result


def records(result: subprocess.CompletedProcess) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slices, one of them in a subfolder under the same name, and two files that cannot be answered."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "more").mkdir()
    mri_slice(0).save(folder / "a.png")
    mri_slice(1, 300).resize((300, 200)).save(folder / "more" / "a.png")
    (folder / "b.png").write_text("no image at all")
    (folder / "c.jpg").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def good(folder) -> list[Path]:
    return [folder / "more" / "a.png", folder / "a.png"]


def test_some_model_can_be_loaded():
    assert OFFERED, list_models()[0].problem


def test_json_is_one_line_per_image_and_model_in_the_order_asked_for(good):
    names = NAMES[::-1][:2]
    result = run("classify", *good, "--model", *names, names[0], "--json")
    assert result.returncode == 0 and result.stderr == ""
    lines = records(result)
    asked = [*names, "consensus"]
    assert [(line["image"], line["model"]) for line in lines] == [(str(p), name) for p in good for name in asked]
    for line in lines:
        if line["model"] == "consensus":
            assert line["verdict"] in (*CLASS_NAMES, UNCERTAIN, REFUSED)
            assert line["why"].endswith(".")
            continue
        assert list(line)[:5] == ["image", "model", "predicted_class", "probabilities", "milliseconds"]
        assert list(line["probabilities"]) == list(CLASS_NAMES)
        assert line["predicted_class"] == max(line["probabilities"], key=line["probabilities"].get)
        assert line["milliseconds"] > 0
        (expected,) = brain_tumor.classify(line["image"], [line["model"]])
        assert line["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
        assert line["calibrated_probabilities"] == pytest.approx(expected.calibrated_probabilities, abs=1e-4)
        assert line["prediction_set"] == (expected.prediction_set and list(expected.prediction_set))
        assert line["in_distribution"] is expected.in_distribution
        assert line["in_distribution"] is (line["refusal_reason"] is None)
        assert line["seen_in_training"] is expected.seen_in_training


def test_bad_files_in_a_folder_are_named_and_the_others_answered(folder):
    result = run("classify", folder, folder / "missing.png", "--model", NAMES[0], "--json")
    assert result.returncode == FAILED
    assert [line["image"] for line in records(result)] == [str(folder / "a.png"), str(folder / "more" / "a.png")]
    errors = result.stderr.splitlines()
    assert len(errors) == 3
    for error, name, why in zip(
        errors, ("b.png", "c.jpg", "missing.png"), ("not an image", "is empty", "no such file"), strict=True
    ):
        assert error.startswith(f"{folder / name}: ") and why in error


def test_text_and_overlays_of_the_offered_models(good, tmp_path):
    overlays = tmp_path / "new" / "overlays"
    result = run("classify", *good, "--overlay", overlays, "--method", "layercam", "--target", "glioma")
    assert result.returncode == 0 and result.stderr == ""
    header, *rows = result.stdout.splitlines()
    assert all(name in header for name in CLASS_NAMES)
    asked = [(path, name) for path in good for name in [*OFFERED, "consensus"]]
    for row, (path, name) in zip(rows, asked, strict=True):
        assert str(path)[-20:] in row and name in row
        if name != "consensus":
            (expected,) = brain_tumor.classify(path, [name])
            assert DISPLAY_TEXT[expected.predicted_class] in row
            assert f"{expected.best_probabilities['glioma']:.1%}"[:-2] in row
    # Both slices are called a.png: neither overwrites the other.
    sizes = {"a": (300, 200), "a-2": (256, 256)}
    assert sorted(p.name for p in overlays.iterdir()) == sorted(f"{s}_{n}.png" for s in sizes for n in OFFERED)
    for stem, size in sizes.items():
        for name in OFFERED:
            with Image.open(overlays / f"{stem}_{name}.png") as picture:
                assert (picture.size, picture.mode) == (size, "RGB")
                picture.load()


def test_all_asks_every_model_that_can_be_loaded(good):
    result = run("classify", good[0], "--model", "all", "--json")
    assert result.returncode == 0
    assert [line["model"] for line in records(result)] == [*NAMES, "consensus"]


def test_an_unknown_model_is_answered_with_those_that_exist(good):
    result = run("classify", good[0], "--model", NAMES[0], "resnet19")
    assert result.returncode == FAILED and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "'resnet19'" in line and all(name in line for name in MODELS)


@pytest.mark.parametrize("model", [[], ["--model", "resnet18"], ["--model", "all"]])
def test_without_weights_it_says_where_it_looked_and_what_to_do(good, tmp_path, model):
    result = run("classify", good[0], *model, BRAIN_TUMOR_WEIGHTS=str(tmp_path), BRAIN_TUMOR_HUB_REPO="")
    assert result.returncode == FAILED and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert str(tmp_path) in line
    assert "python -m training train" in line and "BRAIN_TUMOR_WEIGHTS" in line


def test_an_overlay_folder_that_cannot_be_made_is_named(good):
    result = run("classify", good[0], "--model", NAMES[0], "--overlay", good[1])
    assert result.returncode == FAILED
    (line,) = result.stderr.splitlines()
    assert str(good[1]) in line


def test_models_as_json():
    result = run("models", "--json")
    assert result.returncode == 0
    lines = records(result)
    assert [line["model"] for line in lines] == list(MODELS)
    for line, known in zip(lines, list_models(), strict=True):
        assert line["title"] == known.spec.title
        assert line["reported_accuracy"] == known.spec.reported_accuracy
        assert line["measured_accuracy"] == known.measured_accuracy
        assert line["available"] is known.available
        if known.available:
            assert Path(line["path"]).stat().st_size == line["bytes"]
            assert line["source"] in ("weights", "hub")
            assert len(line["sha256"]) == 64 and line["problem"] is None
        else:
            assert line["path"] is line["bytes"] is line["sha256"] is line["source"] is None
            assert line["model"] in line["problem"]


def test_models_as_text_without_weights(tmp_path):
    result = run("models", BRAIN_TUMOR_WEIGHTS=str(tmp_path), BRAIN_TUMOR_HUB_REPO="")
    assert result.returncode == 0
    rows = result.stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == list(MODELS)
    assert all("no checkpoint" in row for row in rows)


@pytest.mark.parametrize("what", ["classify", "models"])
def test_a_reader_that_has_seen_enough_is_no_error(good, what):
    arguments = ["classify", *good, "--model", NAMES[0]] if what == "classify" else ["models", "--json"]
    # With the buffer that a pipe has by default, the last lines meet the closed pipe only when the program ends.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        command(*arguments), cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()  # as `head` does once it has its lines
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=300) == 0
    assert errors == ""


def test_of_a_scan_the_middle_slice_is_answered(tmp_path):
    slices = scans.series(scans.head(), Modality="CT")
    with zipfile.ZipFile(tmp_path / "series.zip", "w") as archive:
        for k, ds in enumerate(slices):
            archive.writestr(f"{k}", scans.encoded(ds))
    result = run("classify", tmp_path / "series.zip", "--json", "--model", NAMES[0])
    answer, found = records(result)
    volume = brain_tumor.read_volume(tmp_path / "series.zip")
    (expected,) = brain_tumor.classify(volume.slice("axial", len(slices) // 2), NAMES[:1])
    assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
    assert found["model"] == "consensus" and "CT scan" in found["caution"]
    assert f"slice {len(slices) // 2 + 1} of {len(slices)}" in result.stderr and "CT scan" in result.stderr
