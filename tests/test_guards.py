"""What is said of refusals counts kinds of pictures, not pictures that are alike."""

from __future__ import annotations

import json
import re

import pytest

from training.evaluation import evaluation_folder
from training.guards import (
    REFUSAL_FILE,
    SEEN_FILE,
    _share_of_kinds,
    passed_table,
    refusal_card,
    refusal_table,
    scores_table,
    seen_table,
)


def limits(text: str) -> tuple[float, float]:
    low, high = re.search(r"\(([\d.]+)–([\d.]+)\)", text).groups()
    return float(low), float(high)


def test_pictures_of_one_kind_are_one_piece_of_evidence():
    in_one_kind = _share_of_kinds([(25, 25)] * 30 + [(25, 5)])
    in_all_kinds = _share_of_kinds([(25, 24)] * 20 + [(25, 25)] * 11)
    assert in_one_kind.startswith("97.42 % (")
    assert in_all_kinds.startswith("97.42 % (")
    assert limits(in_one_kind)[0] < limits(in_all_kinds)[0] - 1
    assert limits(in_one_kind)[1] == 100


def rate(n: int, **counts: int) -> dict[str, object]:
    return {"n": n, **counts}


def refusals(refused: int, pictures: int) -> dict[str, object]:
    """As `training.refusal` writes it: `refused` of 200 slices, all of so many real pictures."""
    kinds = {"cat": rate(25, refused=25), "fractal": rate(25, refused=20)}
    return {
        "in_use": {
            "slices": {"kaggle": rate(200, refused=refused)},
            # One system refuses two slices, but hardly, the other four others.
            "strangeness": {"kaggle": [refused - 1.5 if refused <= i < 2 * refused else -1.0 for i in range(200)]},
            "slices_as_brought": {"rotated": rate(25, refused=1)},
            "bundled": rate(pictures, refused=pictures, plain=pictures - 2),
        },
        "other_scores": {"energy": {"test kinds": 0.01}, "support vector machine": {"test kinds": 0.9}},
        "fitted_to_kinds_of_role_fit": {
            "kinds": {"test": kinds},
            "slices": {"kaggle": rate(200, refused=1)},
            # Cats are refused for a plain reason; of the fractals, the first to the fifth pass one system, the second
            # to the sixth the other, which is surer of the rest.
            "strangeness": [None] * 25 + ([-1.0] * 5 + [1.0] * 20 if refused == 2 else [3.0] + [-1.0] * 5 + [3.0] * 19),
        },
    }


def seen(found: int) -> dict[str, object]:
    return {
        "copies": [rate(100, found=found) | {"images": "kaggle Testing"}],
        "false_alarms": [],
        "chosen_on": 264,
        "training_images_disturbed": [rate(200, found=100) | {"images": "tilted, degrees 8"}],
        "picture_variance_explained_by_codes": 0.4,
    }


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(tmp_path))

    def write(system: str, name: str, content: dict) -> None:
        evaluation_folder(system).mkdir(parents=True, exist_ok=True)
        (evaluation_folder(system) / name).write_text(json.dumps(content))

    return write


def test_systems_stand_beside_each_other_also_where_they_saw_other_pictures(write):
    write("cnn_v4", REFUSAL_FILE, refusals(2, pictures=38))
    write("resnet18", REFUSAL_FILE, refusals(4, pictures=37))
    lines = refusal_table(["cnn_v4", "resnet18", "resnet50"]).splitlines()
    slices = next(line for line in lines if "kaggle: slices" in line)
    assert "1.00 %" in slices and "2.00 %" in slices
    assert sum("logos, plots" in line for line in lines) == 2
    assert "rotated" not in "".join(lines) and "rotated" in refusal_card("cnn_v4")
    # Of the fractals, the second to the fifth pass both; of the first one is surer than the other, of the sixth not.
    together, at_least_one = lines[-1].split("at least one of them refuses")
    assert "**Together** the 2 systems" in together and "90.00 % (" in together
    assert re.search(r"of slices 2\.00 % \(.*\), n = 200, of kaggle\.", together)
    assert "92.00 % (" in at_least_one
    assert re.search(r"of slices 3\.00 % \(.*\), n = 200, of kaggle\.$", at_least_one)
    assert refusal_card("resnet50") == ""


def test_indexes_that_are_alike_share_their_lines(write):
    write("cnn_v4", SEEN_FILE, seen(99))
    write("resnet18", SEEN_FILE, seen(99))
    write("resnet50", SEEN_FILE, seen(98))
    lines = [line for line in seen_table(["cnn_v4", "resnet18", "resnet50"]).splitlines() if "kaggle" in line]
    assert len(lines) == 2
    assert "CNN v4 (optimized), ResNet-18 " in lines[0] and "99.00 %" in lines[0]
    assert "ResNet-50" in lines[1] and "98.00 %" in lines[1]


def test_what_slips_through_is_listed_by_kind_and_system(write):
    for system in ("cnn_v4", "resnet18"):
        write(system, REFUSAL_FILE, refusals(2, 38))
    table = passed_table(["cnn_v4", "resnet18"])
    assert re.search(r"\| fractal +\| +25 \| +5 \| +5 \|", table)
    assert "cat" not in table and "Kinds of which no picture passes: 1." in table
    assert re.search(r"\| energy +\| +1.00 % \| +1.00 % \|", scores_table(["cnn_v4", "resnet18"]))
