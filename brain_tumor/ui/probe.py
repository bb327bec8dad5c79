"""Try to break it: change the slice, and see which answers hold."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from brain_tumor.checkpoints import CheckpointError
from brain_tumor.disturbance import DISTURBANCES, Disturbance
from brain_tumor.examination import Examination
from brain_tumor.examples import list_examples
from brain_tumor.explanation import Explanation, colored
from brain_tumor.images import read_image
from brain_tumor.labels import DISPLAY_TEXT
from brain_tumor.probing import (
    Changes,
    Comparison,
    Flip,
    History,
    changes_of,
    described,
    first_flips,
    is_switch,
    mildest,
    step_of,
    strokes_from_json,
    strokes_to_json,
)
from brain_tumor.registry import MODELS, get_spec
from brain_tumor.ui import html
from brain_tumor.ui.classify import PREDICTED, QUEUE, SESSION_SECONDS, First
from brain_tumor.ui.latest import Latest, unless_overtaken
from brain_tumor.ui.tabs import tab_of

log = logging.getLogger(__name__)

OWN = "own"
"""Choice of the slice that means: the one of the first tab."""

THUMBNAIL_SIDE = 256

CANVAS = """
<figure class="cover">
  <div class="paper"><img src="${picture}" alt=""><canvas tabindex="0" role="application" aria-label="The slice as it
    came. Cover parts of it: paint with mouse or finger, or move with the arrow keys and press Space."></canvas></div>
  <figcaption><b>Before.</b> Paint over what the models should not see.</figcaption>
</figure>
"""


@dataclass(frozen=True, eq=False)
class Session:
    """What one visitor tries.

    Attributes:
        source: the slice as it came.
        first: what the first tab showed when it was taken, so that a new slice there is noticed.
        changed: the slice after `history.now`; `source` itself where nothing is changed.
        number: of the slice among those that were taken (`Latest`).
    """

    source: Examination
    first: Examination | None
    changed: Examination
    history: History
    number: int

    def after(self, history: History) -> Session:
        if history.now == self.history.now:
            return replace(self, history=history)
        changes = history.now
        changed = Examination(changes.apply(self.source.image), self.source.name) if changes else self.source
        return replace(self, history=history, changed=changed)


@dataclass(frozen=True)
class Control:
    """The components for one disturbance: `on` alone for a switch, `amount` alone where one severity is neutral."""

    disturbance: Disturbance
    on: gr.Checkbox | None
    amount: gr.Slider | None
    find: gr.Button | None
    found: gr.HTML

    @property
    def components(self) -> list[gr.components.Component]:
        return [component for component in (self.on, self.amount) if component is not None]

    def severity(self, values: Sequence[Any]) -> float | None:
        """From the values of `components`; None where the change is not made."""
        if self.on is not None and not values[0]:
            return None
        return self.disturbance.severities[0] if self.amount is None else float(values[-1])

    def values(self, severity: float | None) -> list[Any]:
        """The inverse of `severity`."""
        switched = [] if self.on is None else [severity is not None]
        amount = mildest(self.disturbance.name) if severity is None else severity
        return switched if self.amount is None else [*switched, amount]


def build(first: First) -> None:
    """Add the tab's content to the Blocks that are being built."""
    session = gr.State(None, time_to_live=SESSION_SECONDS)
    latest = gr.State(Latest())
    with gr.Column(elem_id="probe"):
        with gr.Row(elem_id="probe-bar"):
            source = gr.Dropdown(_sources(), value=OWN, label="Slice", elem_id="probe-source", filterable=False)
            # Read by probe.js.
            gr.Slider(1, 15, 5, step=1, label="Brush, % of the side", elem_id="probe-brush", interactive=True)
            undo = gr.Button("Undo", elem_id="probe-undo", size="sm")
            reset = gr.Button("Reset all", elem_id="probe-reset", size="sm")
            sweep = gr.Button("Try every change", variant="primary", elem_id="probe-sweep", size="sm")
        with gr.Row(elem_id="probe-top"):
            canvas = gr.HTML(
                "[]",
                html_template=CANVAS,
                js_on_load=(Path(__file__).parent / "probe.js").read_text(encoding="utf-8"),
                picture="",
                elem_id="probe-canvas",
                apply_default_css=False,
            )
            answer = gr.HTML(_waiting(), elem_id="probe-answer")
        swept = gr.HTML(elem_id="probe-swept")
        with gr.Row(elem_id="probe-controls"):
            controls = [_control(disturbance) for disturbance in sorted(DISTURBANCES.values(), key=_place)]

    settings = list(first.settings)
    values = [component for control in controls for component in control.components]
    found = [control.found for control in controls]
    everything = [session, answer, canvas, *values]
    hidden = {"api_visibility": "private", "show_progress": "minimal", **QUEUE}
    show = partial(_show, controls)
    follow = unless_overtaken(partial(_follow, controls))

    # Nobody who stays on the first tab pays for this one.
    tab_of(session).select(
        partial(_enter, show),
        [latest, session, first.examination, *settings],
        [*everything, source, swept, *found],
        **hidden,
    ).then(
        # Controls can be moved while the slice is still on its way.
        follow,
        [latest, session, *settings, canvas, *values],
        [session, answer],
        **hidden,
    )
    source.input(
        partial(_take, show),
        [latest, source, first.examination, *settings],
        [*everything, source, swept, *found],
        trigger_mode="always_last",
        **hidden,
    )
    # always_last: while an answer is computed, only the last of several changes counts.
    gr.on(
        [*(component.change for component in values), canvas.input],
        follow,
        [latest, session, *settings, canvas, *values],
        [session, answer],
        trigger_mode="always_last",
        **hidden,
    )
    for button, back, outputs, more in (
        (undo, _undo, everything, {"trigger_mode": "multiple"}),
        (reset, _reset, [*everything, swept, *found], {}),
    ):
        button.click(unless_overtaken(partial(back, show)), [latest, session, *settings], outputs, **more, **hidden)
    # trigger_mode: to gradio, an event that was cancelled is still under way.
    sweeping = sweep.click(_sweep, [session, *settings], swept, trigger_mode="multiple", **hidden)
    # What is left of it would be about the slice before.
    gr.on([source.input, reset.click], None, cancels=[sweeping], queue=False, api_visibility="private")
    for control in controls:
        if control.find is not None:
            control.find.click(
                unless_overtaken(partial(_find, show, control.disturbance.name, len(everything))),
                [latest, session, *settings],
                [*everything, control.found],
                **hidden,
            )
        if control.on is not None and control.amount is not None:
            # Whoever moves the slider wants the change.
            control.amount.input(None, None, control.on, js="() => true", api_visibility="private")


def _sources() -> list[tuple[str, str]]:
    return [("That of the first tab", OWN), *((e.title, e.path.stem) for e in list_examples())]


def _place(disturbance: Disturbance) -> tuple[bool, bool]:
    """Sorts what is tried first before what wants an explanation."""
    return not is_switch(disturbance), disturbance.name in ("border", "skull", "writing")


def _control(disturbance: Disturbance) -> Control:
    name, on, amount, find = disturbance.name, None, None, None
    with gr.Column(elem_id=f"probe-{name}", elem_classes="control", min_width=0):
        if is_switch(disturbance) or disturbance.neutral is None:
            on = gr.Checkbox(False, label=disturbance.control, elem_id=f"probe-{name}-on", container=False)
        if not is_switch(disturbance):
            low, high = disturbance.limits
            amount = gr.Slider(
                low,
                high,
                mildest(name),
                step=step_of(disturbance),
                label=_label(disturbance),
                elem_id=f"probe-{name}-amount",
            )
            find = gr.Button("Find the smallest that flips", size="sm", elem_id=f"probe-{name}-find")
        found = gr.HTML(elem_id=f"probe-{name}-found", elem_classes="found")
    return Control(disturbance, on, amount, find, found)


def _label(disturbance: Disturbance) -> str:
    """What is written beside its slider, for example "Black border, % of the side" or "Brightness, 1 = as it came"."""
    if disturbance.neutral is None:
        words = [disturbance.amount.capitalize(), disturbance.unit]
    elif disturbance.neutral:
        words = [disturbance.control, f"{disturbance.neutral:g} = as it came"]
    else:
        words = [disturbance.control, disturbance.amount, disturbance.unit]
    return ", ".join(filter(None, words))


def _enter(
    show: Callable, latest: Latest, session: Session | None, examination: Examination | None, *settings
) -> tuple:
    """Take what the first tab shows, or else a synthetic slice; go on with what was tried where nothing is new."""
    if session is not None and (examination is None or examination is session.first):
        # The models may have been chosen anew meanwhile.
        outputs = show(session, *settings)
        return (*outputs, *[gr.skip()] * (2 + len(DISTURBANCES)))
    # Where nothing was tried before, the controls are left alone: they may have been moved since the tab was opened.
    show = show if session else partial(show, moved=False)
    return _take(show, latest, OWN if examination else list_examples()[0].path.stem, examination, *settings)


def _take(show: Callable, latest: Latest, source: str, examination: Examination | None, *settings) -> tuple:
    number = latest.next()
    if source == OWN and examination is not None:
        taken = examination
    else:
        # Whoever asks for the first tab's slice while there is none gets a synthetic one, and sees which.
        source = list_examples()[0].path.stem if source == OWN else source
        example = next((e for e in list_examples() if e.path.stem == source), list_examples()[0])
        taken = Examination(read_image(example.path), example.title, synthetic=True)
    outputs = show(Session(taken, examination, taken, History(), number), *settings)
    return (*outputs, source, "", *[""] * len(DISTURBANCES))


def _follow(controls: Sequence[Control], session: Session | None, *given) -> tuple:
    settings, drawn, values = given[:3], given[3], list(given[4:])
    if session is None:
        # The slice is on its way; once it is there, the controls are read anew.
        return gr.skip(), gr.skip()
    severities = {}
    for control in controls:
        own, values = values[: len(control.components)], values[len(control.components) :]
        severity = control.severity(own)
        if severity is not None:
            severities[control.disturbance.name] = severity
    try:
        changes = changes_of(severities.items(), strokes_from_json(drawn))
    except ValueError as error:
        return gr.skip(), html.problem(str(error))
    if changes == session.history.now:
        # Set by this page itself, and shown already.
        return gr.skip(), gr.skip()
    session = session.after(session.history.then(changes))
    return session, _answer(session, *settings)


def _undo(show: Callable, session: Session | None, *settings) -> tuple:
    return show(session and session.after(session.history.back()), *settings)


def _reset(show: Callable, session: Session | None, *settings) -> tuple:
    session = session and session.after(session.history.then(Changes()))
    return (*show(session, *settings), "", *[""] * len(DISTURBANCES))


def _show(controls: Sequence[Control], session: Session | None, *settings, moved: bool = True) -> tuple:
    """Session, answer, canvas and, if they are `moved`, the controls, as the session has them."""
    changes = session.history.now if session else Changes()
    severities = dict(changes.severities)
    values = [v if moved else gr.skip() for c in controls for v in c.values(severities.get(c.disturbance.name))]
    picture = html.data_uri(html.reduced(session.source.image, html.SHOWN_SIDE)) if session else ""
    canvas = gr.HTML(strokes_to_json(changes.strokes), picture=picture)
    return (session, _answer(session, *settings), canvas, *values)


def _find(show: Callable, name: str, outputs: int, session: Session | None, *settings) -> tuple:
    """Search one kind of change on the slice as it came, and show it at the first severity that flips an answer."""
    unchanged = [gr.skip()] * outputs
    try:
        before = _before(session, settings)
        flips = first_flips(session.source.image, [e.prediction for e in before], name)
    except (_Nothing, CheckpointError) as error:
        return (*unchanged, f'<p role="alert">{escape(str(error))}</p>')
    found = f'<p role="status">{in_words(name, flips)}</p>'
    flipping = [flip.severity for flip in flips if flip.severity is not None]
    if not flipping:
        return (*unchanged, found)
    nearest = min(flipping, key=lambda severity: abs(severity - mildest(name)))
    return (*show(session.after(session.history.then(changes_of([(name, nearest)]))), *settings), found)


def in_words(name: str, flips: Sequence[Flip]) -> str:
    """For example "CNN v4 changes to meningioma at Brightness times 1.4; ResNet-18 never within the limits."."""
    parts = []
    for flip in flips:
        title = get_spec(flip.model).title
        if flip.severity is None:
            parts.append(f"{title} never within the limits")
        else:
            refuses = ", but refuses the picture" if flip.refused else ""
            answer = DISPLAY_TEXT[flip.predicted_class].lower()
            parts.append(f"<b>{title}</b> changes to {answer} at {_lowered(described(name, flip.severity))}{refuses}")
    return f"{'; '.join(parts)}."


def _lowered(text: str) -> str:
    """Within a sentence; names of people and formats keep their capitals."""
    word = text.split()[0].rstrip(",")
    return text if word in ("Rician", "JPEG,", "JPEG") else text[0].lower() + text[1:]


def _sweep(session: Session | None, *settings):
    """Every kind of change, at the severities that are measured; the table grows row by row."""
    try:
        before = [e.prediction for e in _before(session, settings)]
        rows = []
        for done, (name, disturbance) in enumerate(DISTURBANCES.items()):
            yield _table(before, rows, f"{done} of {len(DISTURBANCES)} tried …")
            rows.append((name, first_flips(session.source.image, before, name, disturbance.severities)))
        yield _table(before, rows, "")
    except (_Nothing, CheckpointError) as error:
        yield html.problem(str(error))


def _table(before: Sequence, rows: Sequence[tuple[str, Sequence[Flip]]], state: str) -> str:
    head = "".join(f'<th scope="col">{get_spec(p.model).title}</th>' for p in before)
    body = "".join(
        f'<tr><th scope="row">{DISTURBANCES[name].control}</th>{"".join(_cell(name, flip) for flip in flips)}</tr>'
        for name, flips in rows
    )
    return (
        '<div class="swept"><table><caption>Each change alone, on the slice as it came, at a few strengths: the '
        f'mildest that flips the answer. <span role="status">{state}</span></caption>'
        f'<thead><tr><th scope="col">Change</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cell(name: str, flip: Flip) -> str:
    if flip.severity is None:
        return "<td>holds</td>"
    disturbance = DISTURBANCES[name]
    where = "" if is_switch(disturbance) else f" at {disturbance.text(flip.severity)}"
    refused = " (refused)" if flip.refused else ""
    return f'<td class="flips"><b>{DISPLAY_TEXT[flip.predicted_class]}</b>{where}{refused}</td>'


class _Nothing(ValueError):
    """There is nothing to ask, or nobody; the message says what to do."""


def _before(session: Session | None, settings: Sequence[Any]) -> list[Explanation]:
    return _explain(session.source, settings) if session else _fail("Choose a slice first.")


def _explain(examination: Examination, settings: Sequence[Any]) -> list[Explanation]:
    models, target, method = settings
    models = [name for name in MODELS if name in models]
    if not models:
        _fail("No model is chosen. Tick at least one under Models in the first tab.")
    return examination.answers(models, None if target == PREDICTED else target, method)


def _fail(sentence: str):
    raise _Nothing(sentence)


def _waiting() -> str:
    return (
        '<section class="waiting"><h2>No slice yet</h2><p>Choose a synthetic one above, or drop one in the first tab '
        "and come back.</p></section>"
    )


def _answer(session: Session | None, *settings) -> str:
    if session is None:
        return _waiting()
    try:
        before, after = (_explain(examination, settings) for examination in (session.source, session.changed))
    except (_Nothing, CheckpointError) as error:
        log.info("%s", error)
        return html.problem(str(error))
    comparisons = [Comparison(*pair) for pair in zip(before, after, strict=True)]
    slices = [html.data_uri(html.reduced(e.image, THUMBNAIL_SIDE)) for e in (session.source, session.changed)]
    width, height = session.source.image.size
    style = f"--before:url({slices[0]});--after:url({slices[1]});--aspect:{width}/{height}"
    shown = html.data_uri(html.reduced(session.changed.image, html.SHOWN_SIDE))
    changes = session.history.now
    return (
        f'<section class="probed" style="{style}">'
        f'<p class="sum" role="status">{_summary(comparisons, changes)}</p><div class="side">'
        f'<figure class="cover"><div class="paper"><img src="{shown}" alt="The slice as the models get it now"></div>'
        f"<figcaption><b>After.</b> {escape(changes.text()) or 'Nothing changed yet.'}</figcaption></figure>"
        f'<div class="probe-cards">{"".join(map(_card, comparisons))}</div></div></section>'
    )


def _summary(comparisons: Sequence[Comparison], changes: Changes) -> str:
    if not changes:
        return "Nothing is changed yet. Move a slider, tick a box or paint over the slice; the answers follow."
    flipped = [get_spec(c.before.prediction.model).title for c in comparisons if c.flipped]
    if not flipped:
        return "No answer flips." if len(comparisons) > 1 else "The answer holds."
    held = len(comparisons) - len(flipped)
    rest = f"; {held} of {len(comparisons)} hold" if held else ""
    return f"{'Flips' if len(flipped) == 1 else 'Flip'}: {', '.join(flipped)}{rest}."


def _card(comparison: Comparison) -> str:
    before, after = comparison.before.prediction, comparison.after.prediction
    was, now = (DISPLAY_TEXT[p.predicted_class] for p in (before, after))
    if comparison.flipped:
        kind, verdict = "flips", f"Flips: {was} → {now}"
    else:
        kind, verdict = "holds", f"Holds: {was}"
    classes = dict.fromkeys((before.predicted_class, after.predicted_class))
    rows = "".join(
        f'<tr><th scope="row">{DISPLAY_TEXT[name]}</th><td>{html.percent(before.best_probabilities[name])}</td>'
        f"<td>{html.percent(after.best_probabilities[name])}</td><td>{_points(comparison.points(name))}</td></tr>"
        for name in classes
    )
    refusal = ""
    if comparison.refused:
        refusal = f'<p class="doubt">Refuses now: {escape(after.refusal_reason)}</p>'
    elif before.refusal_reason:
        refusal = f'<p class="doubt">Refused before any change: {escape(before.refusal_reason)}</p>'
    note = "" if after.calibrated_probabilities else '<p class="note">Not calibrated: the network’s own score.</p>'
    return (
        f'<article class="probe-card {kind}" data-model="{before.model}" data-before="{before.predicted_class}" '
        f'data-after="{after.predicted_class}"><h3>{get_spec(before.model).title}</h3><p class="verdict">{verdict}</p>'
        f'<div class="change"><div class="pair">{_view("before", comparison.before)}{_view("after", comparison.after)}'
        f'</div><div class="numbers"><table><thead><tr><th scope="col">Probability</th><th scope="col">before</th>'
        f'<th scope="col">after</th><th scope="col">points</th></tr></thead><tbody>{rows}</tbody></table>'
        f"{refusal}{note}</div></div></article>"
    )


def _view(when: str, explanation: Explanation) -> str:
    label, heat = f"{when.capitalize()} the change. {html.caption(explanation)[1]}", ""
    if explanation.found:
        heat = f'<img class="heat" src="{html.data_uri(html.reduced(colored(explanation.shown), 128))}" alt="">'
    return (
        f'<figure><div class="view {when}" role="img" aria-label="{label}">{heat}</div>'
        f"<figcaption>{when}</figcaption></figure>"
    )


def _points(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−")
