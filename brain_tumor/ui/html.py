"""The answer as HTML: a banner that sums up, and a card per model. Text that comes from a visitor is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image

from brain_tumor.examination import Examination
from brain_tumor.explanation import METHODS, Explanation, colored
from brain_tumor.labels import DISPLAY_TEXT, SHORT_TEXT
from brain_tumor.registry import get_spec
from brain_tumor.trust import Agreement, agreement

SHOWN_SIDE = 512
HEAT_SIDE = 224

NOTICE = (
    "Not a medical device. For teaching and research; never base a decision about a patient on it. "
    "Every picture gets one of four answers here, also one that shows no brain, and the scores are the networks' own: "
    "networks of this kind are often surer than they are right."
)


def notice() -> str:
    """What every visitor must know, always on the page."""
    return f'<p class="notice" role="note">{NOTICE}</p>'


def heading() -> str:
    """Title and one sentence."""
    return (
        "<header><h1>Brain MRI, several opinions</h1>"
        "<p>Drop a slice. See what each network answers, where it looked, and whether they agree.</p></header>"
    )


def waiting() -> str:
    """What stands in place of an answer before the first slice."""
    return (
        '<section class="waiting"><h2>No slice yet</h2>'
        "<p>Drop one anywhere on this page, paste it with Ctrl+V, or browse. Axial, coronal or sagittal; PNG, JPEG, "
        "TIFF, WebP, GIF or BMP. It is answered at once. It is not stored: it stays in memory for you alone, an hour "
        "at most.</p></section>"
    )


def problem(sentence: str) -> str:
    """One sentence on why there is no answer; it replaces the answer before, which was about another slice."""
    return f'<section class="problem" role="alert"><h2>No answer</h2><p>{escape(sentence)}</p></section>'


def answer(examination: Examination, explanations: Sequence[Explanation]) -> str:
    """Banner and cards for one slice."""
    cards = "".join(_card(explanation) for explanation in explanations)
    slice_ = data_uri(_reduced(examination.image, SHOWN_SIDE))
    width, height = examination.image.size
    style = f"--slice:url({slice_});--aspect:{width}/{height}"
    return (
        f'<section class="answer" style="{style}">'
        f"{_banner(examination.name, agreement([e.prediction for e in explanations]))}"
        f'<div class="cards">{cards}</div></section>'
    )


def _banner(name: str, votes: Agreement) -> str:
    leading = votes.leading and DISPLAY_TEXT[votes.leading]
    if votes.models == 1:
        kind, headline, detail = "single", leading, "One model was asked: nothing confirms or contradicts it."
    elif votes.unanimous:
        everyone = "Both models" if votes.models == 2 else f"All {votes.models} models"
        kind, headline, detail = "agree", leading, f"{everyone} agree."
    elif leading:
        kind, headline = "differ", f"{leading}, but not unanimous"
        detail = f"{len(votes.votes[votes.leading])} of {votes.models} models: {_sides(votes)}."
    else:
        kind, headline, detail = "undecided", "The models disagree", f"{_sides(votes)}. Take this as undecided."
    return (
        f'<div class="banner {kind}" role="status" id="verdict"><div><h2>{headline}</h2><p>{detail}</p></div>'
        f'<p class="name" title="{escape(name)}">{escape(name)}</p></div>'
    )


def _sides(votes: Agreement) -> str:
    return "; ".join(
        f"{DISPLAY_TEXT[label]}: {', '.join(get_spec(model).title for model in models)}"
        for label, models in votes.votes.items()
    )


def _card(explanation: Explanation) -> str:
    prediction = explanation.prediction
    title = get_spec(prediction.model).title
    predicted = DISPLAY_TEXT[prediction.predicted_class]
    bars = "".join(_bar(name, p, name == prediction.predicted_class) for name, p in prediction.probabilities.items())
    method, target = METHODS[explanation.method].title, DISPLAY_TEXT[explanation.target_class]
    if explanation.found:
        caption = f"{method} for <b>{target}</b>"
        label = f"The slice; {method} marks where {title} saw evidence for {target}"
        heat = f'<img class="heat" src="{data_uri(_reduced(colored(explanation.heatmap), HEAT_SIDE))}" alt="">'
    else:
        caption = f"{method}: nothing here speaks for <b>{target}</b>"
        label, heat = f"The slice, unmarked: {method} found no evidence for {target}", ""
    return (
        f'<article class="card" data-model="{prediction.model}" data-predicted="{prediction.predicted_class}">'
        f"<h3>{title}</h3>"
        f'<p class="predicted">{predicted} <span>{_percent(max(prediction.probabilities.values()))}</span></p>'
        f'<figure><div class="view" role="img" aria-label="{label}">{heat}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
        f'<ul class="bars" aria-label="Scores of {title}">{bars}</ul>'
        f'<p class="time">{prediction.milliseconds:.0f} ms</p></article>'
    )


def _bar(name: str, probability: float, predicted: bool) -> str:
    return (
        f'<li class="{"top" if predicted else ""}"><span class="label">{SHORT_TEXT[name]}</span>'
        f'<span class="track"><span style="width:{probability:.2%}"></span></span>'
        f'<span class="value">{_percent(probability)}</span></li>'
    )


def _percent(probability: float) -> str:
    """A score as people read it; never 0 % or 100 %, which no network can know."""
    if probability >= 0.9995:
        return "> 99.9 %"
    if probability < 0.0005:
        return "< 0.1 %"
    return f"{100 * probability:.1f} %"


def _reduced(image: Image.Image, side: int) -> Image.Image:
    image = image.copy()
    image.thumbnail((side, side))
    return image


def data_uri(image: Image.Image) -> str:
    """The image as a PNG that is part of the page, or of an answer."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
