"""Flips are counted against the undisturbed answer, right answers against the truth; tables say what the file says."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from slices import mri_slice

from brain_tumor.catalogue import list_models
from brain_tumor.checkpoints import CONFIG_FILE, MODEL_FILE, weights_folder
from brain_tumor.disturbance import DISTURBANCES, disturb
from brain_tumor.inference import load_model
from brain_tumor.labels import CLASS_NAMES
from training.data import FIGSHARE, KAGGLE, DataError, Record
from training.evaluation import wilson
from training.protocols import clean_images
from training.robustness import (
    FIGSHARE_TEST,
    KAGGLE_TEST,
    SIDE,
    TITLES,
    Robustness,
    compare,
    conditions,
    describe,
    flip_table,
    measure_all,
    read,
    sample,
    summarise,
    write,
)

SYSTEM = next(model.spec.name for model in list_models(available_only=True))
GLIOMA, MENINGIOMA, NOTUMOR, PITUITARY = range(len(CLASS_NAMES))


def answers_of(after: list[int]) -> np.ndarray:
    """Four slices (glioma twice, no tumour, pituitary), the second misread, and `after` under all conditions."""
    truth, before = [GLIOMA, GLIOMA, NOTUMOR, PITUITARY], [GLIOMA, MENINGIOMA, NOTUMOR, PITUITARY]
    return np.array([truth, before, *[after] * len(conditions())]).T


def test_a_wrong_answer_that_becomes_right_is_a_flip_as_well():
    probe = summarise(KAGGLE_TEST, answers_of([GLIOMA, GLIOMA, GLIOMA, PITUITARY]))
    assert (probe.n, probe.accuracy, probe.accuracy_interval) == (4, 0.75, wilson(3, 4))
    assert [(e.disturbance, e.severity) for e in probe.effects] == conditions()
    for effect in probe.effects:
        assert (effect.flipped, effect.flipped_interval) == (0.5, wilson(2, 4))
        assert (effect.accuracy, effect.accuracy_interval) == (0.75, wilson(3, 4))


def test_conditions_are_all_there_are():
    assert len(conditions()) == len(set(conditions())) == sum(len(d.severities) for d in DISTURBANCES.values())


def test_the_table_names_the_worst_severity_with_its_interval(tmp_path):
    answers = answers_of([GLIOMA, MENINGIOMA, NOTUMOR, PITUITARY])
    worst = conditions().index(("noise", 20))
    answers[:3, 2 + worst] = NOTUMOR
    write(Robustness(SYSTEM, {}, (summarise(KAGGLE_TEST, answers),)), tmp_path / "robustness.json")
    found = read(tmp_path / "robustness.json")
    line = next(line for line in flip_table(found.probes[0]).splitlines() if "Rician" in line)
    low, high = wilson(2, 4)
    assert "20: 50.0" in line
    assert f"50.00 % ({100 * low:.2f}–{100 * high:.2f})" in line
    others = [line for line in flip_table(found.probes[0]).splitlines() if "Rician" not in line][2:]
    assert len(others) == len(DISTURBANCES) - 1
    assert all("0.00 %" in other for other in others)


def test_a_sample_is_a_folds_own_and_the_same_every_time():
    records = [Record("figshare", f"images/{i}.jpg", "glioma", fold=1 + i % 5) for i in range(100)]
    chosen = sample(records, 3, 12)
    assert len(set(chosen)) == 12
    assert {record.fold for record in chosen} == {3}
    assert chosen == sample(records, 3, 12)
    assert len(sample(records, 3, 1000)) == 20
    with pytest.raises(DataError, match="fold 7"):
        sample(records, 7, 12)


def test_a_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(DataError, match="measure_all"):
        read(tmp_path / "robustness.json")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A slice of each tumour under a name that the audit knows as clean, and one of each in figshare's way."""
    root = tmp_path_factory.mktemp("data")
    for part in ("Training", "Testing"):
        for i, label in enumerate(CLASS_NAMES):
            names = [f"{part}/{label}/unknown to the audit.png"]
            if part == "Testing":
                names = [name for name in sorted(clean_images()) if f"/{label}/" in name] or names
            path = root / KAGGLE.folder / names[0]
            path.parent.mkdir(parents=True)
            mri_slice(i).save(path)
    folder = root / FIGSHARE.folder
    (folder / "images").mkdir(parents=True)
    with open(folder / FIGSHARE.marker, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["image", "label", "fold", *(f"box_{key}" for key in ("x_center", "y_center", "width", "height"))]
        )
        for i, label in enumerate(("glioma", "meningioma", "pituitary")):
            mri_slice(10 + i, 320).save(folder / "images" / f"{i}.jpg")
            writer.writerow([f"{i}.jpg", label, 1 + i % 2, 0.66, 0.45, 0.16, 0.16])
    return root


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """A weights folder of its own that leads to the published checkpoint."""
    source = weights_folder() / SYSTEM
    (tmp_path / SYSTEM).mkdir()
    for name in (CONFIG_FILE, MODEL_FILE):
        os.symlink(source / name, tmp_path / SYSTEM / name)
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(tmp_path))
    return tmp_path


def test_what_is_written_is_what_the_model_answers(weights, root):
    source = (weights / SYSTEM / CONFIG_FILE).resolve().parent
    path = measure_all(SYSTEM, root, {1: source, 2: source})
    assert path == weights / SYSTEM / "evaluation" / "robustness.json"
    found = read(path)
    digest = json.loads((source / CONFIG_FILE).read_text())["sha256"]
    assert found.checkpoints == {"published": digest, "fold1": digest, "fold2": digest}
    assert [(probe.test, probe.n) for probe in found.probes] == [(KAGGLE_TEST, 3), (FIGSHARE_TEST, 3)]

    paths = {KAGGLE_TEST: [], FIGSHARE_TEST: sorted((root / FIGSHARE.folder / "images").glob("*"))}
    clean = sorted((root / KAGGLE.folder / "Testing").glob("*/*"))
    paths[KAGGLE_TEST] = [path for path in clean if "unknown" not in path.name]
    model = load_model(SYSTEM)
    for probe in found.probes:
        images = [
            Image.open(p).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS) for p in paths[probe.test]
        ]
        before = [prediction.predicted_class for prediction in model.classify(images)]
        for name, severity in (("upside_down", 1), ("noise", 20), ("skull", 10)):
            after = [p.predicted_class for p in model.classify([disturb(image, name, severity) for image in images])]
            effect = next(e for e in probe.effects if (e.disturbance, e.severity) == (name, severity))
            assert effect.flipped == pytest.approx(np.mean([a != b for a, b in zip(after, before, strict=True)]))
            if probe.test == KAGGLE_TEST:
                right = [a == p.parent.name for a, p in zip(after, paths[probe.test], strict=True)]
                assert effect.accuracy == pytest.approx(np.mean(right))
    text = describe(found)
    assert text.count("Upside down") == 2
    assert text.count("n = 3") == 2
    flips = [e.flipped for e in found.probes[1].effects if e.disturbance == "turn"]
    line = next(line for line in compare([found]).split(TITLES[FIGSHARE_TEST])[1].splitlines() if "Turned" in line)
    assert " · ".join(f"{100 * share:.1f}" for share in flips) in line


def test_without_fold_checkpoints_figshare_is_left_out(weights, root):
    (probe,) = read(measure_all(SYSTEM, root)).probes
    assert probe.test == KAGGLE_TEST


def test_what_the_same_weights_did_is_not_measured_again(weights, root, tmp_path):
    before = read(measure_all(SYSTEM, root))
    assert read(measure_all(SYSTEM, tmp_path / "no data")) == before
