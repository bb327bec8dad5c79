"""All that out-of-fold predictions say, as files, figures and tables: computed from `patientwise.csv`, nothing else."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations, cycle, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from brain_tumor.calibration import CALIBRATION_FILE
from brain_tumor.checkpoints import weights_folder
from brain_tumor.labels import CLASS_NAMES, LABELS
from brain_tumor.pooling import POOLS_FILE, to_json
from brain_tumor.registry import get_spec
from brain_tumor.trust import LEAST_SEEN, MIN_OVERLAP
from training import calibration, overlaps, pooling
from training.data import FIGSHARE
from training.estimates import estimate
from training.evaluation import (
    DASH,
    Predictions,
    evaluation_folder,
    percent,
    read_predictions,
    systems_with_weights,
    table,
    wilson,
)
from training.localisation import surest_places
from training.outoffold import PatientwiseMetrics, distinct, measure_patientwise, patients
from training.overlaps import Overlaps
from training.protocols import FOLDS, PATIENTWISE
from training.selective import SHARES, Decided, Selective, decided, selective

log = logging.getLogger(__name__)

FIGSHARE_PART = f"{next(iter(FIGSHARE.counts))}/"
RELIABILITY_FIGURE = "reliability.png"
# Five-fold results on the same folds, all from ImageNet weights, as stated by their authors.
PUBLISHED = (("DenseNet-121", 0.9533), ("ResNet-50", 0.9465), ("EfficientNet-B0", 0.9373))


@dataclass(frozen=True)
class Believed:
    """One system on patients that it was not trained on."""

    system: str
    predictions: Predictions
    metrics: PatientwiseMetrics
    calibration: calibration.Measured
    selective: Selective

    @property
    def complete(self) -> bool:
        """All five folds are there."""
        return self.metrics.folds == FOLDS


def believed() -> dict[str, Believed]:
    """The systems with a checkpoint and out-of-fold predictions of two folds at least, by name."""
    found = {}
    for system in systems_with_weights():
        path = evaluation_folder(system) / f"{PATIENTWISE}.csv"
        if path.exists():
            predictions = distinct(read_predictions(path))
            if len({fold for fold in predictions.folds if fold is not None}) > 1:
                found[system] = Believed(
                    system,
                    predictions,
                    measure_patientwise(predictions),
                    calibration.measure_across_folds(predictions),
                    selective(predictions),
                )
    return found


def asked_everything(found: Mapping[str, Believed]) -> dict[str, Believed]:
    """The systems that all five folds were asked of; where fewer than two are, all systems."""
    complete = {name: one for name, one in found.items() if one.complete}
    return complete if len(complete) > 1 else dict(found)


def gatherings(found: Mapping[str, Believed]) -> list[dict[str, Believed]]:
    """Who is told of together: those that the page asks unasked, then all, where these are more."""
    offered = {name: one for name, one in found.items() if get_spec(name).offered}
    if 1 < len(offered) < len(found):
        return [offered, dict(found)]
    return [dict(found)] if len(found) > 1 else []


def listed(systems: Iterable[str]) -> str:
    """Titles as a sentence names them: "A, B and C"."""
    titles = [get_spec(name).title for name in systems]
    return " and ".join(filter(None, [", ".join(titles[:-1]), *titles[-1:]]))


def coverage_note(found: Mapping[str, Believed], offered: Sequence[str]) -> str:
    """Markdown: which of the offered systems were asked about patients not seen, and what it means that others were
    not."""
    complete = [name for name in offered if name in found and found[name].complete]
    partly = [name for name in offered if name in found and not found[name].complete]
    never = [name for name in offered if name not in found]
    were = {True: "were", False: "was"}
    clauses = [f"{listed(complete)} {were[len(complete) > 1]} asked about all five folds"] if complete else []
    for folds in dict.fromkeys(found[name].metrics.folds for name in partly):
        *first, last = map(str, folds)
        which = f"folds {', '.join(first)} and {last}" if first else f"fold {last}"
        alike = listed(name for name in partly if found[name].metrics.folds == folds)
        clauses.append(f"{alike} about {which} of the five")
    sentences = [f"{', '.join(clauses)}."] if clauses else []
    if never:
        several = len(never) > 1
        sentences.append(
            f"**{listed(never)} {were[several]} not measured on patients not seen**: "
            + (
                'their scores are shown as they are and called "not calibrated", they leave no classes open, and how '
                "often the tumour is where they say is not known."
                if several
                else 'its scores are shown as they are and called "not calibrated", it leaves no classes open, and '
                "how often the tumour is where it says is not known."
            )
        )
    return " ".join(sentences)


def texts(found: Mapping[str, Believed]) -> dict[Path, str]:
    """calibration.json and together.json, which the app reads, and patientwise.json of every system."""
    pools = pooling.fit_all({name: one.predictions for name, one in found.items()})
    written = {weights_folder() / POOLS_FILE: to_json(pools)} if pools else {}
    for system, one in found.items():
        written[weights_folder() / system / CALIBRATION_FILE] = calibration.fit(one.predictions).to_json()
        written[evaluation_folder(system) / f"{PATIENTWISE}.json"] = _json(one)
    return written


def _json(one: Believed) -> str:
    content: dict[str, Any] = asdict(one.metrics) | {
        "calibration": asdict(one.calibration),
        "selective": {f"{share:g}": one.selective.accuracy(share) for share in SHARES},
    }
    return json.dumps(json.loads(json.dumps(content), parse_float=lambda text: round(float(text), 6)), indent=1) + "\n"


def accuracy_table(found: Mapping[str, Believed]) -> str:
    """Markdown: accuracies on patients not seen, with intervals over patients, beside what others reported."""
    header = ["system", "folds", "three tumours (95 % interval)", "n", "four classes (95 % interval)", "n"]
    rows = [_accuracy_row(get_spec(one.system).title, one.metrics) for one in found.values()]
    complete = asked_everything(found)
    rows += [_together_row(systems, complete) for systems in gatherings(complete)]
    if len(complete) < len(found):
        # A few folds are easier or harder than five: beside what all reach on them stands what the others do.
        rows += [_together_row(systems, found) for systems in (*gatherings(complete), *gatherings(found))]
    rows += [
        [f"others' {name}, ImageNet weights, as they report", "5", percent(value), DASH, DASH, DASH]
        for name, value in PUBLISHED
    ]
    return table(header, rows)


def _together_row(systems: Mapping[str, Believed], asked: Mapping[str, Believed]) -> list[str]:
    """What `systems` reach together on the slices that all of `asked` were asked about."""
    common = frozenset.intersection(*(frozenset(one.predictions.images) for one in asked.values()))
    together = pooling.across_folds({name: one.predictions for name, one in systems.items()})
    predictions = together.only(common)
    return _accuracy_row(f"{listed(systems)} together", measure_patientwise(predictions))


def _accuracy_row(title: str, metrics: PatientwiseMetrics) -> list[str]:
    return [
        title,
        str(len(metrics.folds)),
        percent(metrics.tumour, metrics.tumour_interval),
        f"{metrics.tumour_n:,}",
        percent(metrics.overall, metrics.overall_interval),
        f"{metrics.overall_n:,}",
    ]


def calibration_table(found: Mapping[str, Believed]) -> str:
    """Markdown: how far scores can be taken at their word, before and after the temperature."""
    header = ["system", "calibration error as is", "calibrated", "Brier score as is", "calibrated", "n"]
    rows = [
        [
            get_spec(one.system).title,
            percent(one.calibration.raw.ece),
            percent(one.calibration.calibrated.ece),
            f"{one.calibration.raw.brier:.3f}",
            f"{one.calibration.calibrated.brier:.3f}",
            f"{one.calibration.n:,}",
        ]
        for one in found.values()
    ]
    complete = asked_everything(found)
    for systems in gatherings(complete) + (gatherings(found) if len(complete) < len(found) else []):
        together = pooling.across_folds({name: one.predictions for name, one in systems.items()})
        measured = calibration.reliability(together.probabilities, together.labels)
        error, brier, n = percent(measured.ece), f"{measured.brier:.3f}", f"{len(together.labels):,}"
        rows.append([f"{listed(systems)} together", DASH, error, DASH, brier, n])
    return table(header, rows)


def sets_table(found: Mapping[str, Believed]) -> str:
    """Markdown: measured coverage and mean size of the prediction sets, over all and within each class."""
    header = ["system", "nominal", "coverage", "mean size", *(f"{label.text}: coverage, size" for label in LABELS)]
    header += ["no class reaches it", "coverage by thresholds alone"]
    rows = [
        [
            get_spec(one.system).title,
            f"{coverage.level:.0%}".replace("%", " %"),
            percent(coverage.covered),
            f"{coverage.size:.2f}",
            *(
                f"{percent(coverage.classes[label.name][0])}, {coverage.classes[label.name][1]:.2f}"
                if label.name in coverage.classes
                else DASH
                for label in LABELS
            ),
            percent(coverage.empty),
            percent(coverage.covered_unfilled),
        ]
        for one in found.values()
        for coverage in one.calibration.coverage
    ]
    return table(header, rows)


def selective_table(found: Mapping[str, Believed]) -> str:
    """Markdown: accuracy among the surest shares of the slices, and of the consensus where it decides."""
    header = ["system", *(f"surest {share:.0%}".replace("%", " %") for share in SHARES)]
    rows = [
        [get_spec(one.system).title, *(percent(one.selective.accuracy(share)) for share in SHARES)]
        for one in found.values()
    ]
    sentences = []
    for systems in gatherings(asked_everything(found)):
        verdicts, ranked = _decided(systems)
        rows.append([f"consensus of {listed(systems)}", *(percent(ranked.accuracy(share)) for share in SHARES)])
        others = (
            ""
            if verdicts.undecided_accuracy is None
            else (
                " Of the others, called uncertain, its most probable class is right in "
                f"{percent(verdicts.undecided_accuracy)}."
            )
        )
        sentences.append(
            f"The consensus of {listed(systems)} names a class for "
            f"{percent(verdicts.share)} of {verdicts.n:,} slices and is right in "
            f"{percent(verdicts.accuracy, verdicts.interval)} of these.{others}"
        )
    if not sentences:
        return table(header, rows)
    left_out = (
        "Refusals, and systems without networks that have not seen these patients, are left out here; the page asks "
        "them too, and is silent more often."
    )
    return f"{table(header, rows)}\n\n{' '.join([*sentences, left_out])}"


def _decided(found: Mapping[str, Believed]) -> tuple[Decided, Selective]:
    compared = _overlaps(found)
    return decided(
        {one.system: one.predictions for one in found.values()},
        compared.by_image() if compared else None,
        {name: surest_places(name) for name in found},
    )


def _overlaps(found: Mapping[str, Believed]) -> Overlaps | None:
    """The overlaps of the heatmaps of these networks, or of some of them; None where they were not measured, or of
    others."""
    compared = overlaps.read()
    if compared is None or not set(compared.systems) <= set(found):
        return None
    predictions = (found[name].predictions for name in compared.systems)
    answers = [dict(zip(p.images, p.predicted, strict=True)) for p in predictions]
    agreed = {
        (image, CLASS_NAMES[answer])
        for image, answer in answers[0].items()
        if image.startswith(FIGSHARE_PART) and all(other.get(image) == answer for other in answers[1:])
    }
    # The last digits of a logit depend on the machine, so a few answers may differ.
    if len(agreed ^ {(row.image, row.predicted) for row in compared.rows}) > 0.01 * len(agreed):
        log.warning(
            "The overlaps are of other networks: run `python -m training trust %s`.", " ".join(compared.systems)
        )
        return None
    return compared


def overlap_table(found: Mapping[str, Believed]) -> str:
    """Markdown: how often systems that agree are right, by how far their heatmaps overlap."""
    found = asked_everything(found)
    compared = _overlaps(found)
    if compared is None:
        return "Not measured yet."
    labels = {
        image: CLASS_NAMES[label]
        for one in found.values()
        for image, label in zip(one.predictions.images, one.predictions.labels, strict=True)
    }
    edges = (0.0, MIN_OVERLAP, 0.4, 0.6, 1.0)
    rows = []
    for low, high in pairwise(edges):
        within = [
            row
            for row in compared.rows
            if row.image in labels and low <= row.overlap and (row.overlap < high or high == 1)
        ]
        images = [row.image for row in within]
        right = [row.predicted == labels[row.image] for row in within]
        found_right = estimate(right, patients(tuple(images)))
        accuracy = percent(found_right.mean, found_right.interval) if images else DASH
        rows.append([f"{low:g} to {high:g}", f"{len(right):,}", accuracy])
    names = listed(compared.systems)
    sentence = f"Slices with a tumour that {names} give the same class, by how much of their heatmaps' mass they share:"
    return f"{sentence}\n\n{table(['overlap', 'n', 'right (95 % interval)'], rows)}"


def places_table(found: Mapping[str, Believed]) -> str:
    """Markdown: how often networks hardly see a tumour that is there, and whether they name it less rightly then."""
    places = {name: surest_places(name) for name in found}
    located = {name: one for name, one in places.items() if one}
    shown = [names for n in (1, 2) for names in combinations(located, n)]
    rows = []
    for names in shown:
        rights = [
            dict(zip(p.images, p.predicted == p.labels, strict=True))
            for p in (found[name].predictions for name in names)
        ]
        images = tuple(sorted(set.intersection(*(set(located[name]) for name in names), *map(set, rights))))
        if not images:
            continue
        hardly = np.mean([[located[name][image] for image in images] for name in names], axis=0) < LEAST_SEEN
        right = np.mean([[one[image] for image in images] for one in rights], axis=0)
        share = estimate(hardly, patients(images))
        rows.append(
            [
                listed(names) + (", on average" if len(names) > 1 else ""),
                f"{len(images):,}",
                percent(share.mean, share.interval),
                percent(right[hardly].mean()) if hardly.any() else DASH,
                percent(right[~hardly].mean()) if not hardly.all() else DASH,
            ]
        )
    if not rows:
        return "Not measured yet."
    header = ["network", "tumours", f"hardly seen (below {100 * LEAST_SEEN:.0f} %)", "right on these", "on the others"]
    return table(header, rows)


def drawings(found: Mapping[str, Believed], folder: Path) -> dict[Path, tuple[partial[Figure], str]]:
    """Figure file -> what draws it, and the text that it shows the content of; `folder` takes those of all systems."""
    drawn = {}
    for system, one in found.items():
        title = f"{get_spec(system).title}, patients not seen, n = {one.calibration.n:,}"
        source = repr(one.calibration.bins) + title
        drawn[evaluation_folder(system) / RELIABILITY_FIGURE] = (partial(reliability_figure, one, title), source)
    if found:
        shown = [(name, one.selective.confidence.sum(), one.metrics) for name, one in found.items()]
        if len(found) > 1:
            verdicts, ranked = _decided(gatherings(asked_everything(found))[0])
            shown.append((verdicts, ranked.confidence.sum()))
        source = repr(shown)
        drawn[folder / "selective.png"] = (partial(selective_figure, found), source)
    return drawn


def reliability_figure(one: Believed, title: str) -> Figure:
    """Share of right answers against calibrated confidence, with Wilson intervals, beside the diagonal."""
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0.25, 1], [0.25, 1], color="0.6", linestyle="--", label="as sure as right")
    bins = one.calibration.bins
    shares = [b.right / b.n for b in bins]
    intervals = [wilson(b.right, b.n) for b in bins]
    low = [share - interval[0] for share, interval in zip(shares, intervals, strict=True)]
    high = [interval[1] - share for share, interval in zip(shares, intervals, strict=True)]
    axes.errorbar(
        [b.confidence for b in bins], shares, yerr=[low, high], fmt="o", color="#0f766e", capsize=3, label="measured"
    )
    axes.set(
        xlabel="calibrated probability of the answer",
        ylabel="share of right answers (95 % interval)",
        xlim=(0.25, 1.01),
        ylim=(0, 1.02),
    )
    axes.set_title(f"{title}\ncalibration error {percent(one.calibration.calibrated.ece)}", fontsize=10)
    axes.legend(loc="lower right", frameon=False)
    return figure


def selective_figure(found: Mapping[str, Believed]) -> Figure:
    """Accuracy among the answered slices against the share that is answered, the surest first."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    styles = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
    for (system, one), style in zip(found.items(), cycle(styles), strict=False):
        share, accuracy = one.selective.curve()
        kept = share > 0.1
        axes.plot(share[kept], accuracy[kept], linestyle=style, label=f"{get_spec(system).title}, n = {len(share):,}")
    if len(found) > 1:
        verdicts, ranked = _decided(gatherings(asked_everything(found))[0])
        share, accuracy = ranked.curve()
        axes.plot(share[share > 0.1], accuracy[share > 0.1], color="black", label=f"consensus, n = {verdicts.n:,}")
        axes.plot(verdicts.share, verdicts.accuracy, "k*", markersize=12, label="where the consensus names a class")
    axes.set(xlabel="share of slices answered, the surest first", ylabel="accuracy among them", xlim=(0.1, 1))
    axes.set_title("Patients not seen: what silence gains", fontsize=10)
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    return figure
