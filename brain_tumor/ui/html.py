"""The answer as HTML: a banner that sums up, and a card per model. Text that comes from a visitor is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image

from brain_tumor.examination import Examination, consensus_of
from brain_tumor.examples import Example
from brain_tumor.explanation import DEFAULT_CAM, METHODS, Explanation, Method, colored, shared
from brain_tumor.inference import Prediction
from brain_tumor.labels import DISPLAY_TEXT, SHORT_TEXT
from brain_tumor.preprocessing import fit
from brain_tumor.registry import get_spec
from brain_tumor.report import NOTICE, percent
from brain_tumor.trust import REFUSED, UNCERTAIN, Consensus, either

SHOWN_SIDE = 512
HEAT_SIDE = 224
THUMBNAIL_SIDE = 96
GESTURES = "Turn the wheel for the next slice, drag to change the window"


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
        "<p>Drop one anywhere on this page, paste it with Ctrl+V, or browse. Axial, coronal or sagittal: a picture, "
        "DICOM (a file, all files of a series, their folder or a zip), or NIfTI. It is answered at once. It is not "
        "stored: it stays in memory for you alone, an hour at most.</p></section>"
    )


def examples(shown: Sequence[Example]) -> str:
    """Synthetic slices to press, class by class."""
    buttons = "".join(
        f'<button type="button" data-pick="example" data-value="{escape(e.title)}" title="{escape(e.title)}">'
        f'<img src="{data_uri(reduced(Image.open(e.path), THUMBNAIL_SIDE))}" alt="{escape(e.title)}"></button>'
        for e in shown
    )
    return f'<section><h2>Or try a synthetic slice</h2><div class="thumbnails">{buttons}</div></section>'


def unfold() -> str:
    """What shows the settings where there is no room for them beside the answer; page.js acts on it."""
    return '<button type="button" data-unfold aria-expanded="false">Models, class and method</button>'


def choice(method: Method) -> str:
    """A method as the list of methods calls it: the tumour's place explains no class, and not all networks say it."""
    return method.title if method.cls else f"{method.title} or {METHODS[DEFAULT_CAM].title}"


def picked(field: str) -> str:
    """The value of what was pressed (`data-pick` in page.js), from the hidden field it was handed to."""
    return field.rpartition("#")[0]


def remark(sentence: str) -> str:
    """A sentence above the answer."""
    return f'<p class="remark">{escape(sentence)}</p>'


def problem(sentence: str) -> str:
    """One sentence on why there is no answer; it replaces the answer before, which was about another slice."""
    return f'<section class="problem" role="alert"><h2>No answer</h2><p>{escape(sentence)}</p></section>'


def answer(examination: Examination, explanations: Sequence[Explanation]) -> str:
    """Banner, cards and the places that the models share, for one slice."""
    slice_ = data_uri(reduced(examination.image, SHOWN_SIDE))
    width, height = examination.image.size
    style = f"--slice:url({slice_});--aspect:{width}/{height}"
    found = consensus_of(explanations, examination.caution)
    cards = "".join(_card(examination, explanation, found.refused) for explanation in explanations)
    if not found.refused:
        cards += _shared_card(explanations)
    return (
        f'<section class="answer" style="{style}">{_banner(examination.name, found)}'
        f'<div class="cards">{cards}</div></section>'
    )


def _banner(name: str, found: Consensus) -> str:
    probability = f" <span>{percent(found.probability)}</span> <small>{found.meaning}</small>"
    if found.verdict == REFUSED:
        kind, headline = "refused", "Not answered"
        detail = f"{found.why} What the networks below say about it means nothing."
    elif found.verdict == UNCERTAIN:
        kind, headline = "uncertain", f"Uncertain: {found.guess}{probability}"
        detail = found.why
    else:
        kind = "agree" if found.agreement.unanimous and found.agreement.models > 1 else "single"
        headline, detail = f"{DISPLAY_TEXT[found.verdict]}{probability}", found.why
    worth = f' <span class="worth">{found.worth}</span>' if found.worth and not found.refused else ""
    lines = [f"<p>{escape(detail)}{worth}</p>"]
    if found.caution:
        lines.append(f'<p class="caution">{escape(found.caution)}</p>')
    if found.verdict != REFUSED and found.unsaid:
        lines.append(f'<p class="set">Cannot be ruled out: <b>{either(found.prediction_set)}</b>.</p>')
    if found.seen_by:
        titles = " and ".join(get_spec(model).title for model in found.seen_by)
        lines.append(
            f'<p class="seen"><b>This slice was in the training data</b> of {titles}: '
            "the answer is memory, not evidence.</p>"
        )
    return (
        f'<div class="banner {kind}" role="status" id="verdict" tabindex="-1" data-verdict="{found.verdict}">'
        f"<div><h2>{headline}</h2>{''.join(lines)}</div>"
        f'<p class="name" title="{escape(name)}">{escape(name)}</p></div>'
    )


# page.js acts on it, for all pictures at once; an eye.
_BARE = (
    '<button type="button" data-bare aria-label="Show or hide heatmaps" title="Show or hide heatmaps">'
    '<svg viewBox="0 0 24 24" width="18" height="18" fill="none" stroke="currentColor" stroke-width="2" '
    'aria-hidden="true"><path d="M2 12s4-7 10-7 10 7 10 7-4 7-10 7S2 12 2 12z"/><circle cx="12" cy="12" r="3"/></svg>'
    "</button>"
)


def _card(examination: Examination, explanation: Explanation, refused: bool) -> str:
    """One model's answer; of a picture that is `refused`, one that says that it is none."""
    prediction = explanation.prediction
    spec = get_spec(prediction.model)
    predicted = DISPLAY_TEXT[prediction.predicted_class]
    probabilities = prediction.best_probabilities
    leading = None if refused else prediction.predicted_class
    bars = "".join(_bar(name, p, name == leading) for name, p in probabilities.items())
    answer = f"{predicted} <span>{percent(prediction.confidence)}</span>"
    under, label = caption(explanation)
    gestures = f' title="{GESTURES}"' if examination.place and examination.place.slices > 1 else ""
    heat = ""
    if refused:
        answer = f"Means nothing: <del>{answer}</del>"
        under, label = "Nothing is marked", "The picture, unmarked"
    elif explanation.found:
        heat = f'<img class="heat" src="{data_uri(reduced(colored(explanation.shown), HEAT_SIDE))}" alt="">'
    return (
        f'<article class="card" data-model="{prediction.model}" data-predicted="{prediction.predicted_class}">'
        f'<h3><button type="button" data-card="{spec.name}" title="What is known of it">{spec.title}</button></h3>'
        f'<p class="predicted">{answer}</p>'
        f'<figure><div class="view" role="img" aria-label="{label}"{gestures}>{heat}</div>{_BARE if heat else ""}'
        f"<figcaption>{under}</figcaption></figure>"
        f'<ul class="bars" aria-label="Probabilities of {spec.title}">{bars}</ul>'
        f"{_belief(explanation, refused)}{_details(examination, prediction)}</article>"
    )


def caption(explanation: Explanation) -> tuple[str, str]:
    """What the map shows: HTML for under it, and a text for those who do not see it."""
    model = get_spec(explanation.prediction.model).title
    if explanation.located:
        if not explanation.found:
            return "<b>Sees no tumour</b> in any place", f"The slice, unmarked: {model} sees no tumour in any place"
        sure = percent(explanation.peak)
        says = "sees" if explanation.likely else "suspects"
        label = f"The slice; marked is where {model} {says} a tumour, at the surest place {sure}"
        return f"<b>{says.capitalize()} a tumour here</b>, {sure} sure where brightest", label
    method, target = METHODS[explanation.method].title, DISPLAY_TEXT[explanation.target_class]
    if not explanation.found:
        label = f"The slice, unmarked: {method} found no evidence for {target}"
        return f"{method}: nothing here speaks for <b>{target}</b>", label
    return f"{method} for <b>{target}</b>", f"The slice; {method} marks where {model} saw evidence for {target}"


def _belief(explanation: Explanation, refused: bool) -> str:
    """How far to believe the card: how often it was right before, and what it cannot rule out."""
    prediction = explanation.prediction
    lines = []
    if prediction.refusal_reason:
        lines.append(f'<p class="doubt">{escape(prediction.refusal_reason)}</p>')
    elif refused:
        lines.append("<p>This model would have answered.</p>")
    elif prediction.support:
        right = f"<b>{prediction.support.of_hundred}</b> were right (n = {prediction.support.n})"
        lines.append(f"<p>Of 100 slices from unseen patients scored like this, {right}.</p>")
    else:
        lines.append("<p>Not calibrated: this is the network's own score, often surer than right.</p>")
    if not refused and prediction.prediction_set and len(prediction.prediction_set) > 1:
        lines.append(f'<p class="doubt">At 95 %: {either(prediction.prediction_set)}.</p>')
    if not refused and explanation.located and explanation.found:
        lines.append(f"<p>{_marked(explanation)}</p>")
    return f'<div class="belief">{"".join(lines)}</div>'


def _marked(explanation: Explanation) -> str:
    support = explanation.support
    if not support:
        return "How often the places that it marks are right has not been measured."
    there, n = support.of_hundred, support.n
    return f"Of 100 tumours of unseen patients marked as surely, <b>{there}</b> were there (n = {n})."


def _details(examination: Examination, prediction: Prediction) -> str:
    """Time, the raw scores, and the picture exactly as the network saw it."""
    spec = get_spec(prediction.model)
    size = spec.preprocessing.size
    seen = data_uri(Image.fromarray(fit(examination.image, size).permute(1, 2, 0).numpy()))
    raw = ", ".join(f"{SHORT_TEXT[name]} {percent(p)}" for name, p in prediction.probabilities.items())
    return (
        f"<details><summary>What it saw · {prediction.milliseconds:.0f} ms</summary>"
        f'<img class="input" src="{seen}" alt="The slice squeezed to {size} by {size} pixels" width="{size}">'
        f"<p>{size} x {size} px. Before calibration: {raw}.</p></details>"
    )


def _shared_card(explanations: Sequence[Explanation]) -> str:
    """Where the heatmaps that are shown agree; nothing where there is no second one that can be compared."""
    found = shared(explanations)
    if found is None:
        return ""
    if found.target_class is None:
        what, saw = "the tumour's place", "sees <b>a tumour</b>"
    else:
        what = DISPLAY_TEXT[found.target_class]
        saw = f"saw evidence for <b>{what}</b>"
    every = len(found.models) == len(explanations)
    who, whose = ("All of them", "every model") if every else (f"{len(found.models)} of them", "each of these")
    return (
        f'<article class="card shared"><h3>{who}</h3><p class="predicted">Shared places</p>'
        f'<figure><div class="view" role="img" aria-label="The slice; marked is where they agree on {what}">'
        f'<img class="heat" src="{data_uri(reduced(colored(found.heatmap), HEAT_SIDE))}" alt=""></div>'
        f"<figcaption>Where {whose} {saw}</figcaption></figure>"
        f'<div class="belief"><p>Their heatmaps overlap by <b>{100 * found.overlap:.0f} %</b>.</p></div></article>'
    )


def _bar(name: str, probability: float, predicted: bool) -> str:
    return (
        f'<li class="{"top" if predicted else ""}"><span class="label">{SHORT_TEXT[name]}</span>'
        f'<span class="track"><span style="width:{probability:.2%}"></span></span>'
        f'<span class="value">{percent(probability)}</span></li>'
    )


def reduced(image: Image.Image, side: int) -> Image.Image:
    image = image.copy()
    image.thumbnail((side, side))
    return image


def data_uri(image: Image.Image) -> str:
    """The image as a PNG that is part of the page, or of an answer."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
