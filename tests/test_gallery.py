"""Sheets of mistakes and right answers: the right images in the right order, and nothing invented about them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_evaluation import SYSTEM, make_checkpoint, root  # noqa: F401

from brain_tumor.images import ImageError
from brain_tumor.labels import CLASS_NAMES
from training import gallery
from training.data import FIGSHARE, KAGGLE, ROBOFLOW, DataError
from training.evaluation import Predictions, evaluate
from training.gallery import PER_END, correct, dataset_of, draw, mistakes

PROTOCOL = "published"


def predictions(answers: list[tuple[int, int, float]]) -> Predictions:
    """Of (truth, answer, logit of the answer); images are called 0, 1, ..."""
    logits = np.zeros((len(answers), len(CLASS_NAMES)))
    for row, (_, answer, logit) in zip(logits, answers, strict=True):
        row[answer] = logit
    names = tuple(map(str, range(len(answers))))
    return Predictions(names, np.array([truth for truth, *_ in answers]), (None,) * len(answers), logits)


@pytest.fixture
def measured(tmp_path, root, monkeypatch) -> Path:  # noqa: F811
    """The folder of the data that a checkpoint was measured on."""
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(tmp_path / "weights"))
    make_checkpoint(tmp_path / "weights" / SYSTEM, root)
    evaluate(SYSTEM, PROTOCOL, root)
    return root


def rewrite(tmp_path: Path, change) -> None:
    """Change every row of the predictions."""
    path = tmp_path / "weights" / SYSTEM / "evaluation" / f"{PROTOCOL}.csv"
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        change(row)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def answer(row: dict[str, str], name: str) -> None:
    row.update({f"logit_{each}": "3.0" if each == name else "0.0" for each in CLASS_NAMES})


def test_mistakes_are_all_wrong_answers_the_surest_first():
    found = mistakes(predictions([(0, 0, 9), (0, 1, 2), (1, 2, 5), (2, 2, 1), (3, 0, 3)]))
    assert [example.image for example in found] == ["2", "4", "1"]
    assert (found[0].truth, found[0].answer) == (CLASS_NAMES[1], CLASS_NAMES[2])
    assert found[0].probability == pytest.approx(np.exp(5) / (np.exp(5) + 3))


def test_right_answers_are_the_surest_and_the_least_sure_of_every_class():
    answers = [(0, 0, logit) for logit in (5, 1, 4, 2, 8, 3, 7, 6)] + [(1, 0, 9), (1, 1, 9), (2, 2, 1), (2, 2, 2)]
    chosen = [example.image for example in correct(predictions(answers))]
    assert PER_END == 3
    assert chosen == ["4", "6", "7", "1", "3", "5", "9", "11", "10"]


def test_an_image_is_not_shown_twice():
    chosen = [example.image for example in correct(predictions([(0, 0, logit) for logit in range(1, 6)]))]
    assert len(chosen) == len(set(chosen)) == 5


def test_sheets_are_drawn_from_the_users_own_images(measured, tmp_path):
    out = tmp_path / "sheets"
    paths = draw(SYSTEM, PROTOCOL, measured, out)
    assert paths and sorted(paths) == sorted(out.iterdir())
    for path in paths:
        with Image.open(path) as sheet:
            assert min(sheet.size) > 300
            assert len(set(sheet.convert("L").tobytes())) > 50


def test_every_mistake_has_a_place(measured, tmp_path):
    """18 images, all of them wrong, eight to a sheet: the third has two, in one row."""
    rewrite(tmp_path, lambda row: answer(row, "pituitary" if row["label"] == "glioma" else "glioma"))
    paths = draw(SYSTEM, PROTOCOL, measured, tmp_path / "sheets")
    assert [path.name for path in paths] == [f"{PROTOCOL}_mistakes_{i}.png" for i in (1, 2, 3)]
    heights = [Image.open(path).height for path in paths]
    assert heights[0] == heights[1] > 2 * heights[2]


def test_sheets_of_an_earlier_call_do_not_stay(measured, tmp_path):
    out = tmp_path / "sheets"
    rewrite(tmp_path, lambda row: answer(row, "glioma" if row["label"] == "meningioma" else row["label"]))
    before = draw(SYSTEM, PROTOCOL, measured, out)
    assert [path.name for path in before] == [f"{PROTOCOL}_mistakes_1.png", f"{PROTOCOL}_correct.png"]
    (out / "external_correct.png").write_bytes(b"of another protocol")
    rewrite(tmp_path, lambda row: answer(row, row["label"]))
    draw(SYSTEM, PROTOCOL, measured, out)
    assert {path.name for path in out.iterdir()} == {f"{PROTOCOL}_correct.png", "external_correct.png"}


def test_answers_of_single_folds_are_not_explained_by_another_network(measured, tmp_path, monkeypatch):
    def fail(*_):
        raise AssertionError("a heatmap of a network that did not give the answer")

    rewrite(tmp_path, lambda row: row.update(fold="1"))
    monkeypatch.setattr(gallery, "explain_reading", fail)
    assert draw(SYSTEM, PROTOCOL, measured, tmp_path / "sheets")


def test_an_image_that_is_gone_is_named_with_what_to_do(measured, tmp_path):
    gone = measured / KAGGLE.folder / "Testing" / "glioma" / "0.png"
    gone.unlink()
    with pytest.raises(DataError, match=r"glioma/0\.png.*python -m training"):
        draw(SYSTEM, PROTOCOL, measured, tmp_path / "sheets")
    gone.write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"0\.png"):
        draw(SYSTEM, PROTOCOL, measured, tmp_path / "sheets")


def test_without_predictions_it_says_how_to_make_them(measured, tmp_path):
    with pytest.raises(DataError, match=r"external\.csv.*training evaluate"):
        draw(SYSTEM, "external", measured, tmp_path / "sheets")


@pytest.mark.parametrize(
    ("image", "dataset"),
    [("Testing/glioma/a.jpg", KAGGLE), ("train/glioma/a.jpg", ROBOFLOW), ("images/1.jpg", FIGSHARE)],
)
def test_images_are_looked_for_in_the_data_set_they_are_of(image, dataset):
    assert dataset_of(image) is dataset


def test_an_image_of_no_data_set_is_an_error():
    with pytest.raises(DataError, match=r"elsewhere/a\.jpg"):
        dataset_of("elsewhere/a.jpg")
