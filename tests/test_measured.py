"""What the page and the API say was measured: the same numbers as `training` computes, and no more than is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brain_tumor.catalogue import list_models
from brain_tumor.checkpoints import CONFIG_FILE, MODEL_FILE
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.measured import Measured, evidence, measured, outcome, roc
from brain_tumor.registry import MODELS
from training import calibration, patientwise
from training.evaluation import COLUMNS, measure, read_predictions
from training.outoffold import measure_patientwise

COMMITTED = list_models(available_only=True)
SYSTEM = COMMITTED[0].spec.name
each_committed = pytest.mark.parametrize("system", [model.spec.name for model in COMMITTED])


@pytest.fixture
def evaluation(tmp_path, monkeypatch) -> Path:
    """The evaluation folder of the only system that has a checkpoint, still empty."""
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(tmp_path / "weights"))
    folder = tmp_path / "weights" / SYSTEM
    (folder / "evaluation").mkdir(parents=True)
    shutil.copy(COMMITTED[0].checkpoint.folder / CONFIG_FILE, folder)
    (folder / MODEL_FILE).touch()
    return folder / "evaluation"


def of(system: str) -> Measured:
    return next(one for one in measured() if one.spec.name == system)


def write_answers(path: Path, n: int = 400, digits: int = 0) -> None:
    """Logits that are right more often than not; rounded so far that many are equal."""
    rng = np.random.default_rng(0)
    lines = [",".join(COLUMNS)]
    for i in range(n):
        label = int(rng.integers(4))
        logits = rng.normal(size=4) * 2 + 3 * np.eye(4)[label]
        cells = [f"{value:.{digits}f}" for value in logits]
        lines.append(",".join([f"image-{i}.png", CLASS_NAMES[label], str(i % 5 + 1), *cells]))
    path.write_text("\n".join(lines) + "\n")


def test_without_evaluation_files_nothing_is_known_of_any_system(evaluation):
    systems = measured()
    assert [one.spec.name for one in systems] == list(MODELS)
    for one in systems:
        assert one.published is one.clean is one.external is one.patientwise is one.reproduced is None
        assert one.relative_time is None and one.protocols == () and not one.chose_epoch
        assert one.parameters > 100_000
        found = evidence(one)
        assert found.history == found.flipped == () and found.localised is found.refused is None


@pytest.mark.parametrize("digits", [0, 4], ids=["many equal scores", "scores as written"])
def test_numbers_of_a_test_are_those_of_the_evaluation(evaluation, digits):
    path = evaluation / "published.csv"
    write_answers(path, digits=digits)
    found, expected = outcome(of(SYSTEM), "published"), measure(read_predictions(path))
    assert found.confusion == expected.confusion
    assert found.accuracy.value == pytest.approx(expected.accuracy)
    assert found.accuracy.interval == pytest.approx(expected.accuracy_interval)
    for one in found.classes:
        metrics = expected.classes[one.name]
        assert (one.sensitivity.value, one.sensitivity.n) == (pytest.approx(metrics.recall), metrics.support)
        assert one.sensitivity.interval == pytest.approx(metrics.recall_interval)
        assert one.specificity.value == pytest.approx(metrics.specificity)
        assert one.specificity.interval == pytest.approx(metrics.specificity_interval)
        assert one.roc.area == pytest.approx(metrics.roc_auc)
    predictions = read_predictions(path)
    assert found.ece == pytest.approx(
        calibration.reliability(predictions.probabilities, predictions.labels).ece, abs=1e-5
    )
    assert sum(b.n for b in found.bins) == expected.n
    assert sum(b.right for b in found.bins) == round(expected.accuracy * expected.n)


def test_classes_without_images_have_no_sensitivity_and_no_curve(evaluation):
    rows = [f"{i}.png,glioma,,{3 - i},0,0,0" for i in range(5)]
    (evaluation / "external.csv").write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    glioma, *others = outcome(of(SYSTEM), "external").classes
    assert glioma.sensitivity.n == 5 and glioma.specificity is None and glioma.roc is None
    assert all(one.sensitivity is None and one.specificity.n == 5 and one.roc is None for one in others)


def test_equal_scores_are_one_step_of_the_curve():
    curve = roc(np.array([True, False, True, False]), np.array([0.9, 0.5, 0.5, 0.1]))
    assert list(zip(curve.x, curve.y, strict=True)) == [(0, 0), (0, 0.5), (0.5, 1), (1, 1)]
    assert curve.area == pytest.approx(0.875)


def test_patient_wise_files_are_read_as_they_are_written(evaluation):
    path = evaluation / "patientwise.csv"
    write_answers(path, digits=4)
    for file, text in patientwise.texts(patientwise.believed()).items():
        file.write_text(text)
    found, expected = of(SYSTEM).patientwise, measure_patientwise(read_predictions(path))
    assert found.folds == (1, 2, 3, 4, 5)
    assert (found.tumour.value, found.tumour.n) == (pytest.approx(expected.tumour, abs=1e-6), expected.tumour_n)
    assert found.tumour.interval == pytest.approx(expected.tumour_interval, abs=1e-6)
    assert found.overall.value == pytest.approx(expected.overall, abs=1e-6)
    assert found.calibrated.n == 400
    assert [one.level for one in found.calibrated.coverage] == list(calibration.LEVELS)


@pytest.mark.parametrize(
    ("name", "content", "ask"),
    [
        ("external.json", "{", lambda one: None),
        ("published.json", '{"accuracy": 0.9}', lambda one: None),
        ("patientwise.json", "[]", lambda one: None),
        ("history.json", '[{"epoch": 0}]', evidence),
        ("localisation.json", "{}", evidence),
        ("published.csv", "image,label\na.png,glioma\n", lambda one: outcome(one, "published")),
        ("published.csv", "", lambda one: outcome(one, "published")),
    ],
)
def test_a_damaged_file_is_named(evaluation, name, content, ask: Callable[[Measured], object]):
    (evaluation / name).write_text(content)
    with pytest.raises(ValueError, match=name.replace(".", r"\.") + r".*`python -m training"):
        ask(of(SYSTEM))


@each_committed
def test_committed_metrics_are_what_the_committed_answers_come_to(system):
    one = of(system)
    assert "published" in one.protocols
    for protocol in one.protocols:
        found = outcome(one, protocol)
        assert sum(map(sum, found.confusion)) == found.accuracy.n
        if protocol != "patientwise":
            assert found.accuracy.value == pytest.approx(getattr(one, protocol).value, abs=1e-6)
            assert found.accuracy.interval == pytest.approx(getattr(one, protocol).interval, abs=1e-6)


@each_committed
def test_what_the_api_says_is_json_without_a_path_of_the_server(system):
    one = of(system)
    said = json.dumps(one.to_json())
    assert str(one.info.checkpoint.folder) not in said
    assert json.loads(said)["sha256"] == one.config["sha256"]
    assert json.loads(said)["published"]["n"] == one.published.n
