"""What is computed about a slice before is not shown over the one that took its place."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from brain_tumor.ui import learn
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


def test_who_comes_back_after_an_hour_starts_a_new_round():
    quiz, *shown = learn._next(None)
    assert quiz.case is not None and len(shown) == len(learn._restart()) - 1
