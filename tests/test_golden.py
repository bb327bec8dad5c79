"""The committed checkpoints answer what they answered when they were committed, through every door."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from golden import COMMAND, GOLDEN, ROOT, WEIGHTS, committed, golden_slices
from PIL import Image

from brain_tumor import classify
from brain_tumor.checkpoints import CONFIG_FILE

TOLERANCE = 0.02
CONTENT = json.loads(GOLDEN.read_text())
OTHER_WEIGHTS = ("BRAIN_TUMOR_WEIGHTS", "BRAIN_TUMOR_HUB_REPO")


@pytest.fixture(scope="module")
def slices() -> dict[str, Image.Image]:
    return golden_slices()


def assert_golden(name: str, title: str, predicted_class: str, probabilities: dict[str, float]) -> None:
    expected = CONTENT[name]["slices"][title]
    assert probabilities == pytest.approx(expected, abs=TOLERANCE)
    first, second = sorted(expected.values(), reverse=True)[:2]
    # Each of the two may move by the tolerance.
    if first - second > 2 * TOLERANCE:
        assert predicted_class == max(expected, key=expected.get)


def test_golden_values_are_of_the_committed_checkpoints():
    shas = {name: json.loads((WEIGHTS / name / CONFIG_FILE).read_text())["sha256"] for name in committed()}
    noted = {name: values["sha256"] for name, values in CONTENT.items()}
    assert noted == shas, f"weights/ was changed; look at what the models answer now and run `{COMMAND}`"


def test_golden_slices_are_those_noted(slices):
    assert all(list(values["slices"]) == list(slices) for values in CONTENT.values()), f"run `{COMMAND}`"


@pytest.mark.parametrize("name", CONTENT)
def test_python_api_gives_golden_values(name, slices, monkeypatch):
    for variable in OTHER_WEIGHTS:
        monkeypatch.delenv(variable, raising=False)
    for title, image in slices.items():
        (prediction,) = classify(image, [name])
        assert_golden(name, title, prediction.predicted_class, prediction.probabilities)


def test_command_line_gives_golden_values(slices, tmp_path):
    for title, image in slices.items():
        image.save(tmp_path / f"{title}.png")
    environment = {key: value for key, value in os.environ.items() if key not in OTHER_WEIGHTS}
    paths = [str(tmp_path / f"{title}.png") for title in slices]
    command = [sys.executable, "-m", "brain_tumor", "classify", *paths, "--model", *CONTENT, "--json"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    lines = [line for line in map(json.loads, result.stdout.splitlines()) if line["model"] in CONTENT]
    assert len(lines) == len(slices) * len(CONTENT)
    for line in lines:
        title = os.path.basename(line["image"]).removesuffix(".png")
        assert_golden(line["model"], title, line["predicted_class"], line["probabilities"])
