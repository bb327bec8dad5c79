"""Markdown of what `training.localisation` measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from brain_tumor.labels import LABELS
from brain_tumor.registry import get_spec
from training.estimates import Estimate
from training.evaluation import DASH, percent, table, wilson
from training.heatmaps import (
    CENTRE,
    CLASS_PRIOR,
    LOCATION,
    TITLES,
    methods_among,
)
from training.localisation import Report, Score
from training.protocols import PATIENTWISE


def best_method(reports: Sequence[Report]) -> str:
    """The method whose hottest place lies in the box most often, each system that has it counting the same."""

    def hits(name: str) -> float:
        return np.mean([score.every.hit.mean for report in reports for score in report.scores if score.name == name])

    return max(methods_among(score.name for report in reports for score in report.scores), key=hits)


def _get(report: Report, name: str) -> Score:
    return next(score for score in report.scores if score.name == name)


def localisation_table(report: Report) -> str:
    """Markdown: methods, then baselines, on the tumour boxes."""
    rows = [
        [
            TITLES[score.name],
            *(_percent(e) for e in (score.every.hit, score.right.hit, score.every.near)),
            *(_percent(e) for e in (score.every.energy, score.every.iou)),
        ]
        for score in report.scores
    ]
    header = ["map", "hottest place in the box", "where the answer is right", "or close by", "heat in the box", "IoU"]
    return table(header, rows)


def label_table(report: Report) -> str:
    """Markdown: how often each method's hottest place lies in the box, by the slice's true class."""
    present = [label for label in LABELS if label.name in report.scores[0].labels]
    rows = [[TITLES[s.name], *(_percent(s.labels[label.name].hit) for label in present)] for s in report.scores]
    header = ["map", *(f"{label.text} (n = {report.scores[0].labels[label.name].n:,})" for label in present)]
    return table(header, rows)


def faithfulness_table(report: Report) -> str:
    """Markdown: deletion, insertion, ROAD, and the correlation with maps of the network that forgot everything."""
    last = {row.name: row for row in report.randomised}
    rows = [
        [
            TITLES[row.name],
            *(_number(e) for e in (row.deletion, row.insertion, row.road)),
            f"{last[row.name].correlation:.2f}" if row.name in last else DASH,
        ]
        for row in report.faithfulness
    ]
    header = ["map", "deletion (low is good)", "insertion (high)", "ROAD (high)", "correlation, all weights random (0)"]
    return table(header, rows)


def randomisation_table(report: Report) -> str:
    """Markdown: rank correlation with the map of the trained network, as stages forget, the last first."""
    stages = list(dict.fromkeys(row.stage for row in report.randomised))
    found = {(row.name, row.stage): row for row in report.randomised}
    rows = [
        [TITLES[name], *(f"{found[name, s].correlation:.2f} / {found[name, s].ssim:.2f}" for s in stages)]
        for name in methods_among(name for name, _ in found)
    ]
    return table(["correlation / SSIM; random from", *stages], rows)


def located_table(report: Report) -> tuple[str, str]:
    """Markdown: a sentence, and how often the place that a network is so sure of lay in the tumour's box."""
    empty, without = {b.low: b.n for b in report.healthy}, sum(b.n for b in report.healthy)
    rows = [
        [
            f"{b.low:.0%} to {b.high:.0%}".replace("%", " %"),
            f"{b.n:,}",
            percent(b.right / b.n, interval),
            percent(empty.get(b.low, 0) / without, wilson(empty.get(b.low, 0), without)) if without else DASH,
        ]
        for b, interval in zip(report.located, report.located_intervals, strict=True)
    ]
    header = ["sure at the surest place", "tumours", "that place in the box", f"of {without:,} slices without a tumour"]
    sentence = "The surer the network is of the tumour's place, the more often it is there:"
    return sentence, table(header, rows)


def in_words(report: Report, method: str) -> str:
    """How often to believe a method's maps, as a clinician reads it."""
    score, centre, prior = (_get(report, name) for name in (method, CENTRE.name, CLASS_PRIOR.name))
    hidden = report.hidden
    unseen = report.protocol == PATIENTWISE
    seen = "of patients the network was not trained on" if unseen else "some of which the network was trained on"
    what = "own map of the tumour's place" if method == LOCATION else f"{TITLES[method]} map"
    control = (
        ""
        if hidden.elsewhere is None
        else (
            f" Where a patch of that size fits on the other side ({hidden.apart} of them), it was "
            f"{_of_100(hidden.tumour_apart)} of 100 ({_interval_of_100(hidden.tumour_apart)}), and with that patch "
            f"blackened instead {_of_100(hidden.elsewhere)} ({_interval_of_100(hidden.elsewhere)})."
        )
    )
    return (
        f"On {report.n:,} slices with a tumour, {seen}, the hottest place of the network's {what} lay "
        f"inside the tumour's box in {_of_100(score.every.hit)} slices of 100, in the box or close by in "
        f"{_of_100(score.every.near)}; where the answer was right, in {_of_100(score.right.hit)} and "
        f"{_of_100(score.right.near)}. Always pointing at the middle of the picture would have been inside in "
        f"{_of_100(centre.every.hit)}, pointing where tumours of the predicted class usually lie in "
        f"{_of_100(prior.every.hit)}. Of 100 units of heat, {_of_100(score.every.energy)} lay in the box, which covers "
        f"{percent(report.box_area)} of the picture. Of {hidden.n} right answers drawn from these, with the tumour "
        f"blackened {_of_100(hidden.tumour)} of 100 stayed as they were ({_interval_of_100(hidden.tumour)}).{control}"
    )


def compare(reports: Sequence[Report]) -> str:
    """Markdown: how often each system's maps point at the tumour, and in words what the best is worth."""
    hits = [{score.name: _percent(score.every.hit) for score in report.scores} for report in reports]
    rows = [
        [title, *(one.get(name, DASH) for one in hits)]
        for name, title in TITLES.items()
        if any(name in one for one in hits)
    ]
    header = ["hottest place in the tumour's box", *(get_spec(report.system).title for report in reports)]
    words = [f"**{get_spec(report.system).title}.** {in_words(report, best_method([report]))}" for report in reports]
    return "\n\n".join([table(header, rows), *words])


def describe(report: Report) -> str:
    """Markdown: all of the report."""
    return "\n\n".join(
        [
            in_words(report, best_method([report])),
            localisation_table(report),
            "Hottest place in the box, by class:",
            label_table(report),
            *(located_table(report) if report.located else ()),
            f"What the answer loses with the places marked, on {report.perturbed} slices drawn at random:",
            faithfulness_table(report),
            f"Maps of networks that forget, on {report.sampled} slices drawn at random:",
            randomisation_table(report),
        ]
    )


def _percent(estimate: Estimate) -> str:
    return percent(estimate.mean, estimate.interval)


def _number(estimate: Estimate) -> str:
    low, high = estimate.interval
    return f"{estimate.mean:.3f} ({low + 0:.3f} to {high:.3f})"


def _of_100(share: Estimate) -> str:
    return f"{100 * share.mean:.0f}"


def _interval_of_100(share: Estimate) -> str:
    low, high = (100 * limit for limit in share.interval)
    return f"{low:.0f} to {high:.0f}"
