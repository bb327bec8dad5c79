"""For students: answer first, then see what the models said; what each tumour is; and where the models went wrong."""

from __future__ import annotations

import random
from collections.abc import Sequence
from html import escape

import gradio as gr

from brain_tumor.catalogue import offered_models
from brain_tumor.checkpoints import CheckpointError
from brain_tumor.examination import Examination
from brain_tumor.explanation import Explanation, colored
from brain_tumor.failures import confusions
from brain_tumor.images import ImageError, read_image
from brain_tumor.labels import DISPLAY_TEXT, LABELS
from brain_tumor.lessons import Lesson, gallery
from brain_tumor.quiz import CONFIDENCES, Answer, Case, Quiz, data_folder, own_cases, score, start
from brain_tumor.registry import get_spec
from brain_tumor.trust import either
from brain_tumor.tumours import PAGES, Page
from brain_tumor.ui import html
from brain_tumor.ui.classify import QUEUE, SESSION_SECONDS
from brain_tumor.ui.tabs import tab_of

SLICE_SIDE = 448
GALLERY_SIZE = 8
ALL = "all"

_IN_VIEW = "() => document.getElementById('ID').scrollIntoView({ block: 'nearest' })"

_CONFIDENCE_TEXT = [
    (f"{c:.0%}".replace("%", " %") + (" (a guess)" if c == CONFIDENCES[0] else ""), c) for c in CONFIDENCES
]


def build() -> None:
    """Add the tab's content to the Blocks that are being built."""
    quiz = gr.State(None, time_to_live=SESSION_SECONDS)
    hidden = {"api_visibility": "private", "show_progress": "minimal", **QUEUE}
    with gr.Tabs(elem_id="learn"):
        with gr.Tab("Quiz", id="quiz", elem_id="learn-tab-quiz") as first, gr.Row(elem_id="learn-quiz"):
            picture = gr.HTML(elem_id="learn-slice")
            with gr.Column(elem_id="learn-ask"):
                said = gr.Radio(
                    [(label.text, label.name) for label in LABELS], label="What is it?", elem_id="learn-said"
                )
                sure = gr.Radio(_CONFIDENCE_TEXT, label="How sure are you?", elem_id="learn-sure")
                with gr.Row(elem_id="learn-buttons"):
                    commit = gr.Button("Commit", variant="primary", elem_id="learn-commit")
                    onward = gr.Button("Next slice", variant="primary", elem_id="learn-next", visible=False)
                    again = gr.Button("Restart", elem_id="learn-restart")
                tally = gr.HTML(elem_id="learn-score")
            truth = gr.HTML(elem_id="learn-truth")
        with gr.Tab("Tumour types", id="types", elem_id="learn-tab-types"):
            which = gr.Radio(
                [(label.text, label.name) for label in LABELS],
                value=LABELS[0].name,
                label="Class",
                elem_id="learn-class",
                show_label=False,
            )
            page = gr.HTML(_page(LABELS[0].name), elem_id="learn-page")
        with gr.Tab("Instructive failures", id="failures", elem_id="learn-tab-failures") as wrong:
            truly = gr.Radio(
                [("All", ALL), *((label.text, label.name) for label in LABELS)],
                value=ALL,
                label="What it really is",
                elem_id="learn-truly",
            )
            shown = gr.HTML('<p class="loading" role="status">Opening the slices …</p>', elem_id="learn-gallery")

    everything = [quiz, picture, said, sure, commit, onward, truth, tally]
    tab_of(quiz).select(_enter, quiz, everything, **hidden)
    first.select(_enter, quiz, everything, **hidden)
    # On a phone the answer appears above or below what is in view.
    commit.click(_commit, [quiz, said, sure], everything, **hidden).then(
        None, js=_IN_VIEW.replace("ID", "learn-truth"), api_visibility="private"
    )
    onward.click(_next, quiz, everything, **hidden).then(
        None, js=_IN_VIEW.replace("ID", "learn-slice"), api_visibility="private"
    )
    again.click(_restart, None, everything, **hidden)
    which.change(_page, which, page, api_visibility="private", show_progress="hidden")
    gr.on([wrong.select, truly.change], _gallery, truly, shown, trigger_mode="always_last", **hidden)


def _enter(quiz: Quiz | None) -> tuple:
    return _restart() if quiz is None else (gr.skip(),) * 8


def _restart() -> tuple:
    return _ask(start(own_cases(), random.randrange(2**32)))


def _next(quiz: Quiz | None) -> tuple:
    return _ask(quiz.next()) if quiz else _restart()


def _ask(quiz: Quiz) -> tuple:
    """The next slice that can be read, with nothing said about it yet."""
    picture, ended = "", False
    while not picture:
        if quiz.case is None:
            ended = True
            picture = _ended(quiz)
            break
        try:
            picture = _slice(_examine(quiz.case), quiz.case, "The slice")
        except ImageError:
            # A file that was deleted or is damaged: another one is asked about instead.
            quiz = quiz.without(quiz.case)
    return (
        quiz,
        picture,
        gr.Radio(value=None, interactive=not ended),
        gr.Radio(value=None, interactive=not ended),
        gr.Button(visible=not ended),
        gr.Button(visible=False),
        "",
        _tally(quiz),
    )


def _commit(quiz: Quiz | None, said: str | None, sure: float | None) -> tuple:
    if quiz is None:
        return _restart()
    try:
        # Checked before the models are asked.
        quiz.answer(said, sure)
        examination = _examine(quiz.case)
        explanations = examination.answers(offered_models())
    except (ImageError, CheckpointError, ValueError) as error:
        return (*[gr.skip()] * 6, f'<p class="ask" role="alert">{escape(str(error))}</p>', gr.skip())
    quiz = quiz.answer(said, sure, [(e.prediction.model, e.prediction.predicted_class) for e in explanations])
    answer = quiz.answers[-1]
    return (
        quiz,
        _slice(examination, answer.case, "The slice with what is known of it", boxed=True),
        gr.Radio(interactive=False),
        gr.Radio(interactive=False),
        gr.Button(visible=False),
        gr.Button(visible=True),
        _truth(examination, answer, explanations),
        _tally(quiz),
    )


def _examine(case: Case) -> Examination:
    return Examination(read_image(case.path), "slice")


def _slice(examination: Examination, case: Case, label: str, boxed: bool = False) -> str:
    slice_ = html.data_uri(html.reduced(examination.image, SLICE_SIDE))
    box = _box(case) if boxed else ""
    if case.synthetic:
        source = f"{case.source if boxed else 'Synthetic'}: drawn by a program, no patient"
    else:
        # Which data set it is from would give away much: one has tumours only.
        source = case.source if boxed else "Where it is from is told with the truth."
    return (
        f'<figure class="shown"><div class="paper"><img src="{slice_}" alt="{label}">{box}</div>'
        f"<figcaption>{escape(source)}</figcaption></figure>"
    )


def _box(case: Case) -> str:
    if case.box is None:
        return ""
    left, top, right, bottom = (100 * value for value in case.box)
    return (
        f'<span class="box" style="left:{left:.2f}%;top:{top:.2f}%;width:{right - left:.2f}%;'
        f'height:{bottom - top:.2f}%"></span>'
    )


def _truth(examination: Examination, answer: Answer, explanations: Sequence[Explanation]) -> str:
    case = answer.case
    kind, verdict = ("right", "Right") if answer.right else ("wrong", "Wrong")
    you = f"You said {DISPLAY_TEXT[answer.said].lower()} at {100 * answer.confidence:.0f} %."
    if case.synthetic:
        note = (
            "<b>Synthetic.</b> No patient and no expert: a program drew it for this class, and it was kept because the "
            "models gave it this class. That they are right here proves nothing."
            f"{' The frame is where the tumour was drawn.' if case.box else ''}"
        )
    elif case.box:
        note = "The frame is the expert's box around the tumour."
    elif case.label == "notumor":
        note = "Nothing to frame: the slice is filed as one without tumour."
    else:
        note = "No box is known for this slice."
    seen = [get_spec(e.prediction.model).title for e in explanations if e.prediction.seen_in_training]
    if seen:
        note += f" {' and '.join(seen)} had this slice among the training images: memory, not evidence."
    elif not case.synthetic:
        note += " The models learnt from most slices of these data sets or from near-copies: their start is unfair."
    slice_ = html.data_uri(html.reduced(examination.image, html.HEAT_SIDE))
    width, height = examination.image.size
    cards = "".join(_card(case, explanation) for explanation in explanations)
    return (
        f'<section class="truth {kind}" role="status" style="--slice:url({slice_});--aspect:{width}/{height}">'
        f"<h3>{verdict}. The truth: {DISPLAY_TEXT[case.label].lower()}</h3><p>{you} {note}</p>"
        f'<div class="learn-cards">{cards}</div></section>'
    )


def _card(case: Case, explanation: Explanation) -> str:
    prediction = explanation.prediction
    right = prediction.predicted_class == case.label
    refused = f'<p class="doubt">{escape(prediction.refusal_reason)}</p>' if prediction.refusal_reason else ""
    title, said = get_spec(prediction.model).title, DISPLAY_TEXT[prediction.predicted_class]
    return (
        f'<article class="learn-card" data-model="{prediction.model}" data-right="{str(right).lower()}">'
        f"<h4>{title}</h4>"
        f"<p>{'Right' if right else 'Wrong'}: {said} <span>{html.percent(prediction.confidence)}</span></p>"
        f"{_heat(explanation, _box(case))}{refused}</article>"
    )


def _heat(explanation: Explanation, box: str = "") -> str:
    label, heat = html.caption(explanation)[1], ""
    if explanation.found:
        heat = f'<img class="heat" src="{html.data_uri(html.reduced(colored(explanation.shown), 160))}" alt="">'
    return f'<div class="view" role="img" aria-label="{label}">{heat}{box}</div>'


def _tally(quiz: Quiz) -> str:
    found = score(quiz.answers)
    if not found.n:
        kept = "It is kept until you close the page, or do nothing for an hour."
        return f'<p class="tally-none">Your score begins with your first answer. {kept}</p>'
    models = "; ".join(f"{get_spec(name).title} {right} of {n}" for name, right, n in found.models)
    levels = "".join(
        f'<tr><th scope="row">{100 * level.confidence:.0f} %</th><td>{level.right} of {level.n}</td>'
        f'<td><span class="track" aria-hidden="true"><span style="width:{level.right / level.n:.0%}"></span>'
        f'<i style="left:{level.confidence:.0%}"></i></span></td></tr>'
        for level in found.levels
    )
    most = max(found.levels, key=lambda level: (level.n, level.confidence))
    times = f"in {most.right} of {most.n}"
    return (
        f'<section class="tally"><h3>You: {found.right} of {found.n}</h3><p>{models}.</p>'
        f"<p>When you said {100 * most.confidence:.0f} %, you were right {times}. On average you said "
        f"{100 * found.mean_confidence:.0f} % and were right in {100 * found.right / found.n:.0f} %.</p>"
        f"<p>Brier score <b>{found.brier:.2f}</b>: 0 is perfect; guessing and saying 25 % gives 0.19.</p>"
        '<table><thead><tr><th scope="col">You said</th><th scope="col">right</th>'
        f'<th scope="col">bar: right; mark: said</th></tr></thead><tbody>{levels}</tbody></table></section>'
    )


def _ended(quiz: Quiz) -> str:
    if not quiz.deck:
        return html.problem("No slice could be opened. Check the folder that BRAIN_TUMOR_DATA names.")
    return (
        f'<section class="waiting"><h2>That was all</h2><p>You have answered all {len(quiz.deck)} slices. '
        "Press Restart for another round.</p></section>"
    )


def _page(label: str) -> str:
    page: Page = PAGES[label]
    sections = "".join(
        f"<h3>{heading}</h3>{''.join(f'<p>{escape(text)}</p>' for text in paragraphs)}"
        for heading, paragraphs in page.sections
    )
    sources = "".join(
        f'<li>{escape(source.text)} <a href="https://doi.org/{escape(source.doi)}" rel="noreferrer" target="_blank">'
        f"doi:{escape(source.doi)}</a></li>"
        for source in page.sources
    )
    return (
        f'<article class="tumour"><h2>{DISPLAY_TEXT[label]}</h2>{sections}<h3>What the models confuse it with</h3>'
        f"{_confused(label)}<h3>Sources</h3><ol>{sources}</ol>"
        "<p><em>For teaching. No substitute for a textbook, and no ground for a decision about a patient.</em></p>"
        "</article>"
    )


def _confused(label: str) -> str:
    lines = []
    for model, n, wrong in confusions(label):
        said = ", ".join(f"{DISPLAY_TEXT[name].lower()} {count}" for name, count in wrong.most_common())
        lines.append(
            f"<li>{get_spec(model).title}: {f'{wrong.total()} of {n} wrong ({said})' if said else f'none of {n}'}.</li>"
        )
    if not lines:
        return "<p>No predictions are on this machine, so nothing can be counted.</p>"
    return (
        f"<p>Of the slices filed as {DISPLAY_TEXT[label].lower()} among the Kaggle Testing images, many of which have "
        f"near-copies among the training images, these were answered otherwise:</p><ul>{''.join(lines)}</ul>"
    )


def _gallery(truly: str) -> str:
    try:
        found = gallery(None if truly == ALL else truly, data_folder(), GALLERY_SIZE)
        cards = "".join(map(_failure, found.lessons))
    except CheckpointError as error:
        return html.problem(str(error))
    if found.synthetic:
        return (
            "<p>Synthetic slices, changed in ways that would mislead no reader, and what the models make of them.</p>"
            f'<div class="failures">{cards}</div>'
            f"<p>On real slices, {found.known} mistakes of the models on the Kaggle test images are known by name, but "
            "no patient's picture comes with this page. To see them: run <code>python -m training data kaggle</code>, "
            "which explains the download, set <code>BRAIN_TUMOR_DATA</code> to the folder, and start the page again."
            "</p>"
        )
    if not cards:
        return html.problem(
            "None of the slices that the models got wrong is in the folder that BRAIN_TUMOR_DATA names."
        )
    return (
        f"<p>The {len(found.lessons)} surest mistakes of {found.known} on the Kaggle test images, from your own copy. "
        "Some of them may be mistakes of the data set: judge for yourself.</p>"
        f'<div class="failures">{cards}</div>'
    )


def _failure(lesson: Lesson) -> str:
    examination, mistake = lesson.examination, lesson.mistake
    explanations = examination.answers([said.model for said in mistake.wrong])
    slice_ = html.data_uri(html.reduced(examination.image, html.HEAT_SIDE))
    width, height = examination.image.size
    said = "".join(
        f"<li>{get_spec(s.model).title}: {'right, ' if s.predicted_class == mistake.label else ''}"
        f"{DISPLAY_TEXT[s.predicted_class].lower()}, {html.percent(s.confidence)}</li>"
        for s in mistake.said
    )
    views = f'<div class="view" role="img" aria-label="The slice"></div>{"".join(map(_heat, explanations))}'
    instead = sorted({s.predicted_class for s in mistake.wrong})
    filed = "Drawn" if mistake.image.startswith("Synthetic") else "Filed"
    return (
        f'<article class="failure" style="--slice:url({slice_});--aspect:{width}/{height}">'
        f"<h3>{filed} as {DISPLAY_TEXT[mistake.label].lower()}, taken for {either(instead)}</h3>"
        f'<div class="views">{views}</div><ul>{said}</ul><p>{lesson.text}</p>'
        f'<p class="file">{escape(mistake.image)}</p></article>'
    )
