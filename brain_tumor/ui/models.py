"""The fourth tab: what is measured about every system, and how far to believe it; and the same as an API endpoint."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import Any

import gradio as gr

from brain_tumor.disturbance import DISTURBANCES
from brain_tumor.explanation import METHODS
from brain_tumor.labels import DISPLAY_TEXT, LABELS
from brain_tumor.measured import (
    Evidence,
    Latency,
    Measured,
    Outcome,
    Patientwise,
    Share,
    evidence,
    latency,
    measured,
    outcome,
    share_of,
)
from brain_tumor.ui import charts, html
from brain_tumor.ui.charts import Dot, Mark, Series, Table

log = logging.getLogger(__name__)

DASH = "–"
UNREADABLE = "An evaluation file cannot be read; the server's log names it."

TESTS = {
    "patientwise": "Patients not seen",
    "published": "Published test",
    "external": "Study B's second test",
}
ABOUT_TESTS = {
    "patientwise": "Each slice was answered by a network that was not trained on its patient. Copies of one slice "
    "count each time here, unlike in the table above; slices of one patient resemble each other, so that true "
    "intervals are wider than those drawn.",
    "published": "Kaggle's Testing images, on which the studies report. Most show slices that are among the training "
    "images: these numbers are better than what to expect of a new patient.",
    "external": "Roboflow's images, which study B takes for unseen. All of them show slices of Kaggle's Training "
    "images: these numbers are better than what to expect of a new patient.",
}

# What accuracies are drawn as, in every chart of several systems.
PATIENTWISE, REPORTED, PUBLISHED, CLEAN = 0, 1, 2, 3
KINDS = (
    ("patient-wise, tumours", PATIENTWISE),
    ("published test, here", PUBLISHED),
    ("without copies", CLEAN),
    ("reported by the study", REPORTED),
)

BELIEVED = "Patient-wise"
INITIALISATIONS = {"random": "random weights", "imagenet": "ImageNet weights"}
BASELINES = {
    "centre": "Middle of the picture",
    "prior": "Where tumours lie",
    "class_prior": "… of that class",
    "edges": "Edges",
    "brightness": "Brightness",
    "ceiling": "The box itself, coarse",
}


def build() -> None:
    """Add the tab's content to the Blocks that are being built."""
    try:
        systems = measured()
    except ValueError as error:
        log.error("%s", error)
        gr.HTML(html.problem(UNREADABLE), elem_id="models-overview")
        return
    gr.HTML(overview(systems, latency()), elem_id="models-overview")
    choices = [(system.spec.title, system.spec.name) for system in systems if system.info.available]
    if choices:
        first = next((s for s in systems if s.protocols and s.spec.offered), None) or _named(systems, choices[0][1])
        gr.HTML("<h2>One system, closely</h2>", elem_id="models-closely")
        with gr.Row(elem_id="models-choice"):
            chosen = gr.Radio(choices, value=first.spec.name, label="System", elem_id="models-system")
            test = gr.Radio(
                _tests(first),
                value=_best(first),
                label="Asked about",
                elem_id="models-test",
                visible=bool(first.protocols),
            )
        detail = gr.HTML(details(first, _best(first)), elem_id="models-detail")
        hidden = {"api_visibility": "private", "show_progress": "minimal", "trigger_mode": "always_last"}
        chosen.input(_choose, chosen, [test, detail], **hidden)
        test.input(_show, [chosen, test], detail, **hidden)
    result = gr.JSON(label="models", visible=False)
    gr.Button(visible=False).click(models, None, result, api_name="models", show_progress="hidden")


def models() -> list[dict[str, Any]]:
    """List the networks that this project rebuilds: which can be asked, how accurate each is, and on what that rests.

    Believe the accuracies on patients not seen (patientwise_...), which are lower: three quarters of the images behind
    the published ones are near-duplicates of training images.

    Returns:
        A list, for each network: model (the name to ask it by), title, available (true: it can be asked),
        source, bytes and sha256 of its weights, reported_accuracy (by the study that it is from), measured_accuracy;
        measured_without_copies, published, external, patientwise_tumour (three tumours) and patientwise_overall (four
        classes), each null or with accuracy and its 95 % interval in [0, 1], and n slices; patientwise_folds,
        parameters, relative_cpu_time (ResNet-18 = 1), trained_on (name, version and images per class). Null: not
        measured.
    """
    try:
        return [system.to_json() for system in measured()]
    except ValueError as error:
        log.error("%s", error)
        raise gr.Error(UNREADABLE, print_exception=False) from None


def _choose(name: str) -> tuple[Any, str]:
    system = _named(measured(), name)
    test = _best(system)
    return gr.update(choices=_tests(system), value=test, visible=bool(system.protocols)), details(system, test)


def _show(name: str, test: str) -> str:
    return details(_named(measured(), name), test)


def _named(systems: Sequence[Measured], name: str) -> Measured:
    return next(system for system in systems if system.spec.name == name)


def _tests(system: Measured) -> list[tuple[str, str]]:
    return [(TESTS[protocol], protocol) for protocol in system.protocols]


def _best(system: Measured) -> str | None:
    return system.protocols[0] if system.protocols else None


# All systems


def overview(systems: Sequence[Measured], timed: Latency | None) -> str:
    """What to believe, the table of the systems, and charts that compare them."""
    drawn = [_compared(systems), _against_parameters(systems), _against_time(systems, timed)]
    return (
        f'<section class="models"><h2>{_count(len(systems))} systems, measured</h2>{_advice(systems)}'
        f'{_table(systems, timed)}<div class="charts">{"".join(drawn)}</div></section>'
    )


def _count(n: int) -> str:
    return {9: "Nine", 10: "Ten"}.get(n, str(n))


def _advice(systems: Sequence[Measured]) -> str:
    both = next(((s.published.n, s.clean.n) for s in systems if s.published and s.clean), None)
    if both:
        n, clean = both
        copies = f"Of the {n:,} images that the studies test on, {n - clean:,} ({100 * (n - clean) / n:.0f} %)"
    else:
        copies = "Most of the images that the studies test on"
    later = "" if any(s.patientwise for s in systems) else " It has yet to be measured."
    return (
        f'<p class="advice">{copies} show a slice that the networks were also trained on, so a published accuracy '
        "rewards memory. <b>Believe the patient-wise one</b>: there, networks trained in the same way are asked only "
        f"about patients of whom they have seen no slice.{later}</p>"
    )


def _table(systems: Sequence[Measured], timed: Latency | None) -> str:
    heads = [
        ("System", ""),
        (BELIEVED, "three tumours, patients not seen"),
        ("Published test", "measured here"),
        ("Without copies", "of training images"),
        ("Reported", "by the study"),
        ("Parameters", ""),
        ("CPU time", "ResNet-18 = 1"),
        ("Trained on", ""),
    ]
    header = "".join(
        f'<th role="columnheader">{name}{f" <small>{more}</small>" if more else ""}</th>' for name, more in heads
    )
    body = "".join(_row(system, [name for name, _ in heads]) for system in systems)
    notes = ["In brackets: 95 % intervals, patient-wise over patients, else Wilson's. –: not measured."]
    if any(system.chose_epoch for system in systems):
        notes.append("‡ These images also chose the epoch that was kept.")
    if timed:
        notes.append(
            f"CPU time: one slice, one thread, the network alone; 1 is {timed.reference}, "
            f"{timed.milliseconds:.0f} ms on {timed.cpu}."
        )
    return (
        '<table class="systems" role="table" aria-label="The systems and what was measured">'
        f'<thead role="rowgroup"><tr role="row">{header}</tr></thead><tbody role="rowgroup">{body}</tbody></table>'
        f'<p class="note">{escape(" ".join(notes))}</p>'
    )


def _row(system: Measured, heads: Sequence[str]) -> str:
    spec, config = system.spec, system.config
    reproduced = ""
    if found := system.reproduced:
        spread = f" ± {100 * found.spread:.1f}" if found.spread is not None else ""
        reproduced = f"its recipe here: {100 * found.mean:.1f}{spread} %, {_plural(found.seeds, 'seed')}"
    if config:
        data = config["data"]
        trained = f"{sum(data['train'].values()):,} images", f"{data['name']}, from {_initialisation(config)}"
    else:
        trained = DASH, "no checkpoint here"
    cells = [
        (f"<b>{escape(spec.title)}</b>", escape(spec.origin)),
        _patientwise_cell(system.patientwise),
        _cell(system.published, " ‡" if system.chose_epoch else ""),
        _cell(system.clean),
        (DASH if spec.reported_accuracy is None else _percent(spec.reported_accuracy), reproduced),
        (_millions(system.parameters), ""),
        (DASH if system.relative_time is None else _times(system.relative_time), ""),
        trained,
    ]
    drawn = []
    for i, (head, (main, more)) in enumerate(zip(heads, cells, strict=True)):
        tag, role = ("th", "rowheader") if i == 0 else ("td", "cell")
        kinds = " ".join(["believe"] * (head == BELIEVED) + ["missing"] * (DASH in main))
        small = f" <small>{escape(more)}</small>" if more else ""
        drawn.append(
            f'<{tag} role="{role}" data-label="{escape(head)}" class="{kinds}"><div>{main}{small}</div></{tag}>'
        )
    return f'<tr role="row" data-system="{spec.name}">{"".join(drawn)}</tr>'


def _patientwise_cell(found: Patientwise | None) -> tuple[str, str]:
    if found is None:
        return _cell(None)
    main, more = _cell(found.tumour)
    return main, more if len(found.folds) == 5 else f"{more}, {len(found.folds)} of 5 folds"


def _cell(share: Share | None, mark: str = "") -> tuple[str, str]:
    if share is None:
        return f'<span title="not measured">{DASH}</span>', ""
    return (
        f"<b>{_percent(share.value)}</b>{mark}",
        f"{_interval(share)} n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{share.n:,}",
    )


def _accuracies(system: Measured) -> Iterator[tuple[int, str, float, Share | None]]:
    """Look, name and value of every accuracy that there is of a system."""
    shares = {
        PATIENTWISE: system.patientwise and system.patientwise.tumour,
        PUBLISHED: system.published,
        CLEAN: system.clean,
    }
    for name, look in KINDS:
        if look == REPORTED:
            if system.spec.reported_accuracy is not None:
                yield look, name, system.spec.reported_accuracy, None
        elif share := shares[look]:
            yield look, name, share.value, share


def _compared(systems: Sequence[Measured]) -> str:
    content, lines = [], []
    for system in systems:
        found = list(_accuracies(system))
        content.append(
            (
                system.spec.title,
                [
                    Dot(look, value, f"{system.spec.title}, {name}: {_said(share, value)}", share and share.interval)
                    for look, name, value, share in found
                ],
            )
        )
        by_look = {look: _said(share, value) for look, _, value, share in found}
        lines.append([system.spec.title, *(by_look.get(look, DASH) for _, look in KINDS)])
    there = {dot.look for _, dots in content for dot in dots}
    return charts.rows(
        "The same systems, asked in different ways",
        "Accuracy; lines are 95 % intervals. n of each is in the table.",
        content,
        [kind for kind in KINDS if kind[1] in there],
        charts.share_axis("Accuracy", _lowest(dot for _, dots in content for dot in dots)),
        Table(["System", *(name for name, _ in KINDS)], lines),
    )


def _lowest(dots: Iterable[Dot | Mark]) -> float:
    values = [(dot.interval[0] if dot.interval else dot.value if isinstance(dot, Dot) else dot.y) for dot in dots]
    return min(values, default=0.0)


def _against_parameters(systems: Sequence[Measured]) -> str:
    xs = {system.spec.name: float(system.parameters) for system in systems}
    axis = charts.logarithmic_axis("Parameters", min(xs.values()), max(xs.values()), _millions)
    return _against("Accuracy against size", systems, xs, axis)


def _against_time(systems: Sequence[Measured], timed: Latency | None) -> str:
    if not timed:
        return ""
    xs = {s.spec.name: s.relative_time * timed.milliseconds for s in systems if s.relative_time}
    if not xs:
        return ""
    axis = charts.logarithmic_axis(
        "CPU time for a slice, one thread, ms", min(xs.values()), max(xs.values()), "{:.3g}".format
    )
    return _against("Accuracy against time", systems, xs, axis)


def _against(title: str, systems: Sequence[Measured], xs: dict[str, float], axis: charts.Axis) -> str:
    marks: dict[int, list[Mark]] = {look: [] for _, look in KINDS}
    lines = []
    for system in systems:
        if system.spec.name not in xs:
            continue
        x, found = xs[system.spec.name], list(_accuracies(system))
        for i, (look, name, value, share) in enumerate(found):
            said = f"{system.spec.title}, {axis.text(x)}, {name}: {_said(share, value)}"
            label = system.spec.title if i == 0 and share else ""
            marks[look].append(Mark(x, value, said, share and share.interval, label))
        by_look = {look: _said(share, value) for look, _, value, share in found}
        lines.append([system.spec.title, axis.text(x), *(by_look.get(look, DASH) for _, look in KINDS)])
    return charts.xy(
        title,
        f"All {len(lines)} systems; lines are 95 % intervals.",
        [Series(name, look, marks=tuple(marks[look])) for name, look in KINDS if marks[look]],
        axis,
        charts.share_axis("Accuracy", _lowest(mark for found in marks.values() for mark in found)),
        Table(["System", axis.label, *(name for name, _ in KINDS)], lines),
    )


# One system


def details(system: Measured, test: str | None) -> str:
    """Everything about one system; `test` is one of its protocols, or None where there is none."""
    try:
        found, more = (outcome(system, test) if test in system.protocols else None), evidence(system)
    except ValueError as error:
        log.error("%s", error)
        return html.problem(UNREADABLE)
    parts = []
    if found:
        parts.append(_headline(found))
        drawn = [_confusion(found), _classes(found), _roc(found), _reliability(system, found)]
        parts.append(f'<div class="charts">{"".join(drawn)}</div>')
    else:
        parts.append('<p class="advice">This system has not been tested here yet.</p>')
    others = [*_training(system, more), _localisation(more), _robustness(more)]
    if any(others):
        parts.append(f'<h3>Beyond accuracy</h3><div class="charts">{"".join(others)}</div>')
    parts.append(_limits(system, more))
    parts.append(_made(system))
    return f'<section class="models" data-system="{system.spec.name}">{"".join(parts)}</section>'


def _headline(found: Outcome) -> str:
    return (
        f'<p class="advice"><b>{_percent(found.accuracy.value)}</b> of {found.accuracy.n:,} slices answered rightly, '
        f"95 % interval {_interval(found.accuracy)}. {ABOUT_TESTS[found.protocol]}</p>"
    )


def _confusion(found: Outcome) -> str:
    return charts.matrix(
        "What became of each class",
        f"Counts and shares of each row, the true class; n = {found.accuracy.n:,}.",
        [label.short for label in LABELS],
        found.confusion,
    )


def _classes(found: Outcome) -> str:
    content, lines = [], []
    for one in found.classes:
        title = DISPLAY_TEXT[one.name]
        pairs = [(0, "sensitivity", one.sensitivity), (1, "specificity", one.specificity)]
        content.append(
            (
                title,
                [Dot(look, s.value, f"{title}, {name}: {_said(s)}", s.interval) for look, name, s in pairs if s],
            )
        )
        lines.append([title, *(_said(s) if s else DASH for _, _, s in pairs)])
    return charts.rows(
        "Class by class",
        "Sensitivity: found among those that have it. Specificity: left alone among those that have not. Lines are "
        "Wilson's 95 % intervals.",
        content,
        [("sensitivity", 0), ("specificity", 1)],
        charts.share_axis("Share", _lowest(dot for _, dots in content for dot in dots)),
        Table(["Class", "Sensitivity", "Specificity"], lines),
        left=122,
    )


def _roc(found: Outcome) -> str:
    curves = [(i, one) for i, one in enumerate(found.classes) if one.roc]
    corner = all(one.roc.area > 0.97 for _, one in curves)
    x = charts.share_axis("1 − specificity", 0, 0.2 if corner else 1)
    y = charts.share_axis("Sensitivity", 0.8 if corner else 0, 1)
    title = "ROC curves, the upper left corner" if corner else "ROC curves"
    series = []
    for i, one in curves:
        points = list(zip(one.roc.x, one.roc.y, strict=True))
        inside = [n for n, (px, py) in enumerate(points) if px <= x.high and py >= y.low] or range(len(points))
        # With the next point on either side, so that lines reach the edge, but do not run along it.
        line = tuple(points[max(0, inside[0] - 1) : inside[-1] + 2])
        series.append(Series(f"{DISPLAY_TEXT[one.name]}: area {one.roc.area:.4f}", i, line=line))
    return charts.xy(
        title,
        f"Each class against the rest, at every threshold; n = {found.accuracy.n:,}."
        + (" Only up to 20 % and from 80 % is drawn." if corner else ""),
        series,
        x,
        y,
        Table(
            ["Class", "Area under the curve", "Slices"],
            [[DISPLAY_TEXT[one.name], f"{one.roc.area:.4f}", f"{one.sensitivity.n:,}"] for _, one in curves],
        ),
    )


def _reliability(system: Measured, found: Outcome) -> str:
    across = system.patientwise.calibrated if system.patientwise and found.protocol == "patientwise" else None
    kinds = [("as it is", 1, found.bins, found.ece)]
    if across:
        kinds = [("as it is", 1, found.bins, across.raw.ece), ("calibrated", 0, across.bins, across.calibrated.ece)]
    series, lines = [], []
    for name, look, bins, _ in kinds:
        marks = []
        for one in bins:
            share = share_of(one.right, one.n)
            said = f"Score {_percent(one.confidence)}, {name}: right {_said(share)}"
            marks.append(Mark(one.confidence, share.value, said, share.interval))
            scores = f"{name}, {_percent(one.low)} to {_percent(one.high)}"
            lines.append([scores, _percent(one.confidence), _said(share)])
        series.append(Series(name, look, tuple(marks)))
    lowest = min(min(mark.x, mark.interval[0]) for one in series for mark in one.marks)
    errors = ", ".join(f"{name} {100 * ece:.1f} points" for name, _, _, ece in kinds)
    note = f"On the diagonal, scores are as sure as right. Mean distance from it: {errors}."
    return charts.xy(
        "How far to trust the score",
        f"Lines are 95 % intervals, n = {found.accuracy.n:,}. {note}",
        series,
        charts.share_axis("Score of the answer", lowest),
        charts.share_axis("Right answers", lowest),
        Table(["Scores", "Mean score", "Right"], lines),
        diagonal=True,
    )


def _training(system: Measured, more: Evidence) -> Iterator[str]:
    if not more.history:
        return
    history, best = more.history, (system.config or {}).get("best_epoch")
    data = (system.config or {}).get("data", {})
    sizes = ", ".join(
        f"n = {sum(data[part].values()):,} in {text}"
        for part, text in (("train", "training"), ("val", "validation"))
        if part in data
    )
    last = len(history)
    x = charts.linear_axis("Epoch", 1 if last < 8 else 0, last, "{:g}".format)
    stretches = []
    for before, row in pairwise(history):
        if (before.phase, before.size) != (row.phase, row.size):
            stretches.append((row.epoch + 0.5, _changed(before, row)))
    for quantity, title, text in (
        ("accuracy", "Training: accuracy", _percent),
        ("loss", "Training: loss", "{:.3f} nats".format),
    ):
        series, columns = [], []
        for part, name, look in (("train", "training", 1), ("val", "validation", 0)):
            values = [getattr(row, f"{part}_{quantity}") for row in history]
            columns.append([DASH if value is None else text(value) for value in values])
            if None in values:
                continue
            marks = ()
            if best and part == "val":
                kept = values[best - 1]
                marks = (Mark(best, kept, f"Kept: epoch {best}, validation {text(kept)}", label="kept"),)
            points = tuple((row.epoch + 1, value) for row, value in zip(history, values, strict=True))
            series.append(Series(name, look, marks, points))
        values = [value for one in series for _, value in one.line]
        if quantity == "accuracy":
            y = charts.share_axis("Accuracy", min(values))
        else:
            y = charts.linear_axis("Cross-entropy, nats", 0, max(values))
        yield charts.xy(
            title,
            f"After each of {last} epochs; {sizes}."
            + (f" Kept is epoch {best}, the best on the validation images." if best else ""),
            series,
            x,
            y,
            Table(
                ["Epoch", "Training", "Validation"],
                [[str(row.epoch + 1), *cells] for row, *cells in zip(history, *columns, strict=True)],
            ),
            stretches=stretches,
            above=quantity == "loss",
        )


def _changed(before: Any, row: Any) -> str:
    parts = [row.phase] if before.phase != row.phase else []
    return ", ".join([*parts, f"{row.size} px"] if before.size != row.size else parts)


def _localisation(more: Evidence) -> str:
    if not more.localised:
        return ""
    found = sorted(more.localised.found, key=lambda one: -one.hit.value)
    content, lines = [], []
    for one in found:
        method = METHODS.get(one.name)
        title = method.title if method else BASELINES.get(one.name, one.name)
        said = _said(one.hit)
        content.append((title, [Dot(0 if method else 1, one.hit.value, f"{title}: {said}", one.hit.interval)]))
        lines.append([title, "the network's" if method else "made without it", said])
    whose = "patients not seen" if more.localised.unseen else "slices that may have been trained on"
    return charts.rows(
        "Do heatmaps show the tumour?",
        f"Share of hottest places inside the expert's box, {whose}, n = {found[0].hit.n:,}; lines are 95 % "
        f"intervals. A random point would hit {_percent(more.localised.box_area)}.",
        content,
        [("the network's maps", 0), ("made without the network", 1)],
        charts.share_axis("Hits", 0, max(one.hit.interval[1] for one in found)),
        Table(["Map", "Whose", "Hits"], lines),
    )


def _robustness(more: Evidence) -> str:
    if not more.flipped:
        return ""
    content, lines = [], []
    for one in sorted(more.flipped, key=lambda one: -one.share.value):
        disturbance = DISTURBANCES.get(one.disturbance)
        title = disturbance.control if disturbance else one.disturbance
        at = f"{one.severity:g} {disturbance.unit if disturbance else ''}".strip()
        dot = Dot(0, one.share.value, f"{title} {at}: {_said(one.share)}", one.share.interval)
        content.append((title, [dot]))
        lines.append([title, at, _said(one.share)])
    highest = max(one.share.interval[1] for one in more.flipped)
    return charts.rows(
        "What changes its answers",
        f"Answers that become others, at the strength that changed most; n = {more.flipped[0].share.n:,}; lines are "
        "95 % intervals.",
        content,
        [],
        charts.share_axis("Changed answers", 0, highest),
        Table(["Change", "Strength", "Changed"], lines),
    )


def _limits(system: Measured, more: Evidence) -> str:
    """Prediction sets and refusal, as facts."""
    facts = []
    if system.patientwise:
        facts.append(("Four classes, patients not seen", _said(system.patientwise.overall)))
        if found := system.patientwise.calibrated:
            facts += [
                (
                    f"Sets aimed at {100 * one.level:g} %",
                    f"hold the truth in {_percent(one.covered)}, {one.size:.2f} classes on average, n = {found.n:,}",
                )
                for one in found.coverage
            ]
    if more.refused:
        said = f"{_said(more.refused.negatives)}, of kinds that it was not fitted to"
        facts.append(("Refuses what is no brain slice", said))
        for name, share in more.refused.slices.items():
            facts.append((f"Refuses real slices, {name}", _said(share)))
    return f"<h3>What else to know</h3>{_facts(facts)}" if facts else ""


def _made(system: Measured) -> str:
    config = system.config
    if not config:
        return ""
    recipe, data = config["recipe"], config["data"]
    own = recipe["name"] == system.spec.study_recipe or not system.spec.study
    facts = [
        ("Architecture", f"{config['architecture']}, {_millions(system.parameters)} parameters"),
        ("Input", f"{system.spec.preprocessing.size} x {system.spec.preprocessing.size} px"),
        ("Recipe", f"{recipe['name']}, {'that' if own else 'not that'} of {system.spec.origin}"),
        ("Initialisation", _initialisation(config)),
        ("Trained on", f"{data['name']}, version {data['version']}"),
        (
            "Images",
            ", ".join(
                f"{sum(data[part].values()):,} for {text}"
                for part, text in (("train", "training"), ("val", "validation"))
                if part in data
            ),
        ),
        ("Epochs", f"{config['epochs']}, kept is epoch {config['best_epoch']}" if "epochs" in config else DASH),
        ("Hardware", config["hardware"]),
        ("Duration", f"{config['seconds'] / 60:.0f} min"),
        ("Seed", str(config["seed"])),
        ("Commit", str(config["git_commit"])),
        ("sha256", config["sha256"]),
        ("Licence", "MIT, code and weights; the images have their own terms"),
    ]
    return f"<h3>Who made it, and how</h3>{_facts(facts)}"


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return f'<dl class="facts">{items}</dl>'


# Numbers as people read them


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _interval(share: Share) -> str:
    return f"({100 * share.interval[0]:.1f}{DASH}{100 * share.interval[1]:.1f})" if share.interval else ""


def _said(share: Share | None, value: float | None = None) -> str:
    if share is None:
        return _percent(value)
    return f"{_percent(share.value)} {_interval(share)}, n = {share.n:,}"


def _millions(parameters: float) -> str:
    value = parameters / 1e6
    return f"{value:.2f} M" if value < 1 else f"{value:.1f} M"


def _times(ratio: float) -> str:
    return f"× {ratio:.2f}" if ratio < 1 else f"× {ratio:.1f}"


def _plural(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def _initialisation(config: dict[str, Any]) -> str:
    return INITIALISATIONS.get(config["initialisation"], config["initialisation"])
