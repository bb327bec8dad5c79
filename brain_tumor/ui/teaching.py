"""What the tab Learn does, for programs: named endpoints, which are tools for assistants too."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import gradio as gr

from brain_tumor.catalogue import offered_models
from brain_tumor.examination import Examination
from brain_tumor.failures import confusions
from brain_tumor.images import read_image
from brain_tumor.labels import CLASS_NAMES, DISPLAY_TEXT
from brain_tumor.lessons import Lesson, gallery
from brain_tumor.quiz import CONFIDENCES, Answer, Case, data_folder, own_cases, score, start
from brain_tumor.tumours import PAGES
from brain_tumor.ui import html
from brain_tumor.ui.classify import QUEUE
from brain_tumor.ui.endpoints import politely
from brain_tumor.ui.learn import GALLERY_SIZE, SLICE_SIDE

ANY = "any"
"""Choice of the class that means: whichever."""


def build() -> None:
    """Add the endpoints to the Blocks that are being built, on components of their own that are never shown."""
    with gr.Column(visible=False):
        seed = gr.Number(0, label="seed", precision=0)
        number = gr.Number(1, label="number", precision=0)
        said = gr.Dropdown(list(CLASS_NAMES), value=CLASS_NAMES[0], label="answer")
        kind = gr.Dropdown(list(CLASS_NAMES), value=CLASS_NAMES[0], label="name")
        confidence = gr.Number(CONFIDENCES[0], label="confidence")
        truth = gr.Dropdown([ANY, *CLASS_NAMES], value=ANY, label="true_class")
        result = gr.JSON(label="result")
    for api_name, function, inputs in (
        ("quiz_slice", quiz_slice, [seed, number]),
        ("quiz_answer", quiz_answer, [said, confidence, seed, number]),
        ("tumour_type", tumour_type, [kind]),
        ("failures", failures, [truth]),
    ):
        gr.Button(visible=False).click(function, inputs, result, api_name=api_name, show_progress="hidden", **QUEUE)


def quiz_slice(seed: int, number: int) -> dict[str, Any]:
    """Ask a student what a slice shows, before any network is asked; quiz_answer tells the truth.

    Args:
        seed: of the quiz; the same seed gives the same slices in the same order, as long as the server's data are.
        number: which slice of that quiz, from 1.

    Returns:
        seed, number, slices (how many the quiz has), synthetic (true: drawn by a program, no patient), classes (those
        to choose among), confidences (what may be said of one's own, in [0, 1]), picture (a PNG as data URI).
    """
    with politely():
        case, slices = _asked(seed, number)
        picture = html.data_uri(html.reduced(read_image(case.path), SLICE_SIDE))
    return {
        "seed": seed,
        "number": number,
        "slices": slices,
        "synthetic": case.synthetic,
        "classes": list(CLASS_NAMES),
        "confidences": list(CONFIDENCES),
        "picture": picture,
    }


def quiz_answer(answer: str, confidence: float, seed: int, number: int) -> dict[str, Any]:
    """Judge a student's answer about a slice of quiz_slice, and tell what the networks make of it.

    Args:
        answer: the class that the student takes it for.
        confidence: how sure the student is, one of the confidences of quiz_slice.
        seed: as sent to quiz_slice.
        number: as sent to quiz_slice.

    Returns:
        right (true or false), truth (a class), squared_error (of confidence and outcome, in [0, 1]; its mean over many
        answers is the Brier score), source (where the slice is from), synthetic (true: drawn by a program for that
        class, and kept because the networks gave it that class), box (of the tumour, left, top, right, bottom as
        fractions; null where none is known), answers (as of disturb's before: a list, for each network).
    """
    with politely():
        if confidence not in CONFIDENCES:
            raise ValueError(f"Give as `confidence` one of {', '.join(f'{value:g}' for value in CONFIDENCES)}.")
        case, _ = _asked(seed, number)
        given = Answer(case, answer, confidence)
        predictions = Examination(read_image(case.path), case.source).predictions(offered_models())
    return {
        "right": given.right,
        "truth": case.label,
        "squared_error": round(score([given]).brier, 4),
        "source": case.source,
        "synthetic": case.synthetic,
        "box": case.box and [round(edge, 4) for edge in case.box],
        "answers": [prediction.to_json() for prediction in predictions],
    }


def tumour_type(name: str) -> dict[str, Any]:
    """Tell what a medical student should know of one class before looking at slices of it. For teaching.

    Args:
        name: the class.

    Returns:
        name, title, sections (a list: heading, paragraphs), sources (a list: text, doi), confused (what the networks
        take it for: a list, for each network model, slices (how many of that class it was asked about, Kaggle's
        Testing), wrong (class -> how many)).
    """
    page = PAGES[name]
    return {
        "name": name,
        "title": DISPLAY_TEXT[name],
        "sections": [{"heading": heading, "paragraphs": list(texts)} for heading, texts in page.sections],
        "sources": [{"text": source.text, "doi": source.doi} for source in page.sources],
        "confused": [{"model": model, "slices": n, "wrong": dict(wrong)} for model, n, wrong in confusions(name)],
    }


def failures(true_class: str) -> dict[str, Any]:
    """Show where the networks went wrong, and what a reader would look at instead.

    Where the server has a copy of Kaggle's data set, their surest mistakes on its test images; else synthetic slices,
    changed so that no reader would be misled.

    Args:
        true_class: what the slices show, a class, or any.

    Returns:
        synthetic (true or false), known (so many mistakes on Kaggle's test images are known by name), failures: a list
        of image (its name), truth (a class), said (a list, for each network: model, predicted_class, confidence in
        [0, 1]), lesson (what a reader would look at), picture (a PNG as data URI).
    """
    with politely():
        found = gallery(None if true_class == ANY else true_class, data_folder(), GALLERY_SIZE)
    return {
        "synthetic": found.synthetic,
        "known": found.known,
        "failures": [_failure(lesson) for lesson in found.lessons],
    }


def _asked(seed: int | None, number: int | None) -> tuple[Case, int]:
    """The slice of that number in the quiz of that seed, and how many it has."""
    if seed is None or number is None:
        raise ValueError("Give `seed` and `number`, whole numbers.")
    deck = start(own_cases(), seed).deck
    if not 1 <= number <= len(deck):
        raise ValueError(f"There is no slice {number}; they are numbered 1 to {len(deck)}.")
    return deck[number - 1], len(deck)


def _failure(lesson: Lesson) -> dict[str, Any]:
    return {
        "image": lesson.mistake.image,
        "truth": lesson.mistake.label,
        "said": [asdict(said) | {"confidence": round(said.confidence, 4)} for said in lesson.mistake.said],
        "lesson": lesson.text,
        "picture": html.data_uri(html.reduced(lesson.examination.image, SLICE_SIDE)),
    }
