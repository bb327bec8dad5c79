"""What is computed about a slice before is not shown over the one that took its place."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr
import pytest
from slices import mri_slice

from brain_tumor.examination import Examination
from brain_tumor.examples import list_examples
from brain_tumor.ui import classify, learn
from brain_tumor.ui.latest import Latest, unless_overtaken


@dataclass
class Shown:
    number: int


def test_outputs_are_skipped_only_where_something_else_was_handed_in():
    latest = Latest()
    first = Shown(latest.next())

    def slow(shown: Shown | None, overtaken: bool) -> tuple[str, str]:
        if overtaken:
            latest.next()
        return "answer", "picture"

    handler = unless_overtaken(slow)
    assert handler(latest, first, False) == ("answer", "picture")
    assert handler(latest, None, False) == ("answer", "picture")
    assert handler(latest, first, True) == (gr.skip(), gr.skip())
    assert handler(latest, Shown(latest.number), False) == ("answer", "picture")


@pytest.fixture
def drawn(monkeypatch) -> list[tuple]:
    """Answers are drawn at once; what shall happen meanwhile is put into `drawn` as functions."""
    meanwhile: list = []

    def show(examination: Examination, *settings: object) -> str:
        examination.shown_by = settings
        for happens in list(meanwhile):
            meanwhile.remove(happens)
            happens()
        return f"{examination.name} by {settings}"

    monkeypatch.setattr(classify, "show", show)
    return meanwhile


def test_a_slice_that_takes_long_to_open_does_not_replace_one_that_was_opened_meanwhile(drawn, tmp_path):
    path = tmp_path / "slow.png"
    mri_slice(1, 64).save(path)
    latest, settings = Latest(), (["resnet18"], "predicted", "location")
    example = []
    drawn.append(lambda: example.append(classify._open_example(latest, f"{list_examples()[0].title}#1", *settings)))
    emptied, *slow = classify._open(latest, [str(path)], *settings)
    assert emptied is None
    assert slow == [gr.skip() for _ in slow]
    assert example[0][0].name == list_examples()[0].title
    # Nor does the reason why it could not be opened.
    path.write_text("no picture")
    latest_unread = classify._open(latest, [str(path)], *settings)
    assert "No answer" in latest_unread[2]


def test_changed_settings_are_caught_up_with_unless_something_else_was_begun(drawn):
    latest, new = Latest(), (["resnet18"], "predicted", "gradcam")
    examination = Examination(mri_slice(1, 64), "slice")
    examination.shown_by = (["cnn_v4"], "predicted", "gradcam")
    drawn.append(latest.next)
    assert classify._catch_up(latest, examination, *new) == gr.skip()
    examination.shown_by = None
    assert classify._catch_up(latest, examination, *new) == f"slice by {new}"
    assert classify._catch_up(latest, examination, *new) == gr.skip()


def test_who_comes_back_after_an_hour_starts_a_new_round():
    quiz, *shown = learn._next(None)
    assert quiz.case is not None and len(shown) == len(learn._restart()) - 1
