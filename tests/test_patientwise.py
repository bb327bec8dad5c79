"""What is said of systems of which not all folds are trained; the predictions are those of ResNet-18 and CNN v4."""

from __future__ import annotations

from dataclasses import replace

import pytest

from training.outoffold import measure_patientwise
from training.patientwise import Believed, accuracy_table, believed, coverage_note, gatherings, selective_table


@pytest.fixture(scope="module")
def found() -> dict[str, Believed]:
    """Two systems of five folds, and one, ResNet-18 under another name, of the first two."""
    complete = {name: one for name, one in believed().items() if name in ("cnn_v4", "resnet18")}
    known = complete["resnet18"].predictions
    first = known.only({image for image, fold in zip(known.images, known.folds, strict=True) if fold in (1, 2)})
    partial = replace(
        complete["resnet18"], system="efficientnet_b0", predictions=first, metrics=measure_patientwise(first)
    )
    return complete | {"efficientnet_b0": partial}


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line]


def test_beside_a_system_of_two_folds_stands_what_the_others_reach_on_these(found):
    rows = {row[0]: row[1:] for row in cells(accuracy_table(found)) if row[1] == "2"}
    slices = str(f"{found['efficientnet_b0'].metrics.overall_n:,}")
    assert list(rows) == [
        "EfficientNet-B0",
        "CNN v4 (optimized) and ResNet-18 together",
        "CNN v4 (optimized), ResNet-18 and EfficientNet-B0 together",
    ]
    assert {row[-1] for row in rows.values()} == {slices}


def test_two_folds_of_one_system_do_not_cost_the_others_three_of_theirs(found):
    whole = {name: found[name] for name in ("cnn_v4", "resnet18")}
    together = "CNN v4 (optimized) and ResNet-18 together"
    assert [row for row in cells(accuracy_table(found)) if row[:2] == [together, "5"]] == [
        row for row in cells(accuracy_table(whole)) if row[0] == together
    ]
    assert (
        selective_table(found).partition("The consensus of")[2]
        == selective_table(whole).partition("The consensus of")[2]
    )


def test_the_documents_say_which_systems_were_asked_about_patients_not_seen(found):
    note = coverage_note(found, ["cnn_v4", "resnet18", "resnet50", "efficientnet_b0"])
    assert "CNN v4 (optimized) and ResNet-18 were asked about all five folds" in note
    assert "EfficientNet-B0 about folds 1 and 2 of the five" in note
    assert "**ResNet-50 was not measured on patients not seen**: its scores" in note
    assert "**" not in coverage_note(found, ["resnet18"])
    same = found | {"resnet50": found["efficientnet_b0"]}
    assert "EfficientNet-B0 and ResNet-50 about folds 1 and 2 of the five" in coverage_note(same, [*same])


def test_what_the_page_asks_unasked_is_told_apart_from_what_all_reach(found):
    offered = {name: found[name] for name in ("cnn_v4", "resnet18")}
    more = offered | {"focused_resnet": replace(found["resnet18"], system="focused_resnet")}
    assert gatherings(more) == [offered, more]
    assert gatherings(offered) == [offered]
    assert gatherings({"resnet18": found["resnet18"]}) == []
    together = [row[0] for row in cells(accuracy_table(more)) if row[0].endswith("together")]
    assert together == [
        "CNN v4 (optimized) and ResNet-18 together",
        "CNN v4 (optimized), ResNet-18 and Focused ResNet together",
    ]
    assert selective_table(more).count("The consensus of") == 2
