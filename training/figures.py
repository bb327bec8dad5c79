"""Figures of evaluations, training runs and data sets. They show numbers only, never an image of a patient.

Colours are those of Okabe and Ito (2008), which colour-blind people can tell apart; line styles and markers differ as
well, for those who print in black and white.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from brain_tumor.labels import CLASS_NAMES, LABELS
from training.data import DataSet
from training.engine import Epoch
from training.evaluation import Metrics, Predictions, percent

BLUE, VERMILLION, BLACK = "#0072B2", "#D55E00", "#000000"
COLOURS = (BLUE, VERMILLION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", BLACK)
LINES = ("-", "--", "-.", ":")
HATCHES = ("", "//", "..", "xx")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
DPI = 110
# Above this area, curves leave the middle of the axes free for an enlarged corner.
ZOOM_FROM = 0.97


@dataclass(frozen=True)
class System:
    """One point of the comparison.

    Attributes:
        latency: how long the system takes for a slice on a CPU, relative to torchvision's ResNet-18; None where that
            was not measured.
    """

    title: str
    parameters: int
    metrics: Metrics
    latency: float | None = None


def save(figure: Figure, path: Path, source: str) -> None:
    """Write a PNG file that carries the digest of what it was drawn from; the same figure gives the same bytes."""
    drawn = BytesIO()
    figure.savefig(drawn, dpi=DPI, metadata={"Software": None})
    text = PngInfo()
    text.add_text("Comment", _digest(source))
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(drawn) as image:
        # Few colours are all that lines and text need, at a third of the bytes. Maximum coverage keeps the rare ones.
        image.convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            path, "PNG", optimize=True, pnginfo=text
        )


def is_current(path: Path, source: str) -> bool:
    """Whether the PNG file is there and was drawn from that source."""
    if not path.exists():
        return False
    with Image.open(path) as image:
        return image.info.get("Comment") == _digest(source)


def _digest(source: str) -> str:
    return f"sha256 of the source: {hashlib.sha256(source.encode()).hexdigest()}"


def confusion(metrics: Metrics, title: str) -> Figure:
    """Counts and shares of the true class, rows the true and columns the predicted class."""
    counts = np.array(metrics.confusion)
    support = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
    figure = Figure(figsize=(5.6, 4.9), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        text = f"{count:,}\n{100 * shares[row, column]:.1f} %" if support[row, 0] else "–"
        axes.text(column, row, text, ha="center", va="center", color="white" if shares[row, column] > 0.5 else "black")
    positions = range(len(LABELS))
    axes.set_xticks(positions, [_two_lines(label.text) for label in LABELS])
    axes.set_yticks(positions, [f"{label.text}\nn = {n:,}" for label, n in zip(LABELS, support[:, 0], strict=True)])
    axes.set_xlabel("Predicted class")
    axes.set_ylabel("True class")
    axes.tick_params(length=0)
    accuracy = percent(metrics.accuracy, metrics.accuracy_interval)
    axes.set_title(f"{title}, n = {metrics.n:,} images\naccuracy {accuracy}", fontsize=11)
    return figure


def curves(predictions: Predictions, title: str) -> Figure:
    """ROC and precision-recall curves of every class against the rest, side by side."""
    figure = Figure(figsize=(9.6, 4.8), layout="constrained")
    roc, precision_recall = figure.subplots(1, 2)
    roc_lines, precision_recall_lines = [], []
    for index, label in enumerate(LABELS):
        truth, scores = predictions.labels == index, predictions.probabilities[:, index]
        if truth.all() or not truth.any():
            continue
        style = {"color": COLOURS[index], "linestyle": LINES[index], "linewidth": 1.8}
        false_positives, true_positives, _ = roc_curve(truth, scores)
        area = float(roc_auc_score(truth, scores))
        roc_lines.append((area, false_positives, true_positives, style | {"label": f"{label.text}: AUC {area:.4f}"}))
        precision, recall, _ = precision_recall_curve(truth, scores)
        area = float(average_precision_score(truth, scores))
        precision_recall_lines.append((area, recall, precision, style | {"label": f"{label.text}: AP {area:.4f}"}))
    _draw_curves(roc, roc_lines, corner=(0.0, 0.2), zoom=(0.42, 0.4, 0.54, 0.5), legend="lower right")
    _draw_curves(
        precision_recall, precision_recall_lines, corner=(0.8, 1.0), zoom=(0.12, 0.4, 0.54, 0.5), legend="lower left"
    )
    roc.set(title="ROC", xlabel="1 − specificity", ylabel="Sensitivity")
    precision_recall.set(title="Precision and recall", xlabel="Recall (sensitivity)", ylabel="Precision")
    figure.suptitle(f"{title}: each class against the rest, n = {len(predictions.labels):,} images", fontsize=11)
    return figure


def _draw_curves(
    axes: Axes, lines: Sequence[tuple], corner: tuple[float, float], zoom: tuple[float, ...], legend: str
) -> None:
    targets = [axes]
    if lines and min(area for area, *_ in lines) >= ZOOM_FROM:
        inset = axes.inset_axes(zoom, xlim=_widened(*corner), ylim=_widened(0.8, 1.0))
        inset.set_xticks(np.linspace(*corner, 3))
        inset.set_yticks([0.8, 0.9, 1.0])
        inset.tick_params(labelsize=8)
        axes.indicate_inset_zoom(inset, edgecolor="0.4")
        targets.append(inset)
    for target in targets:
        for _, x, y, style in lines:
            target.plot(x, y, **style)
        target.grid(alpha=0.3)
    axes.set(xlim=_widened(0, 1), ylim=_widened(0, 1))
    axes.legend(loc=legend, fontsize=9, handlelength=3.2)


def _widened(low: float, high: float) -> tuple[float, float]:
    # Curves along the edge would be half hidden by the frame.
    margin = 0.02 * (high - low)
    return low - margin, high + margin


def training(history: Sequence[Epoch], best_epoch: int, title: str) -> Figure:
    """Loss and accuracy over the epochs, of training and, where there was one, validation.

    Args:
        best_epoch: the epoch whose weights were kept, counted from 1.
    """
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    epochs = [row.epoch + 1 for row in history]
    panels = (("loss", "Cross-entropy (nats)", 1, "upper right"), ("accuracy", "Accuracy (%)", 100, "lower right"))
    for axes, (quantity, text, factor, corner) in zip(figure.subplots(1, 2), panels, strict=True):
        for part, style in (
            ("train", {"color": BLUE, "linestyle": "-", "marker": "o", "label": "training"}),
            ("val", {"color": VERMILLION, "linestyle": "--", "marker": "s", "label": "validation"}),
        ):
            values = [getattr(row, f"{part}_{quantity}") for row in history]
            if None in values:
                continue
            shown = [factor * value for value in values]
            axes.plot(epochs, shown, markersize=4, linewidth=1.5, **style)
        star = {
            "marker": "*",
            "markersize": 15,
            "markerfacecolor": "none",
            "markeredgecolor": BLACK,
            "linestyle": "none",
        }
        # On the curve drawn last: that of the validation, where there was one.
        axes.plot(best_epoch, shown[best_epoch - 1], label=f"kept: epoch {best_epoch}", **star)
        _mark_stretches(axes, history)
        axes.set(xlabel="Epoch", ylabel=text, xlim=(0.5, len(history) + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9, loc=corner)
    figure.suptitle(title, fontsize=11)
    return figure


def _mark_stretches(axes: Axes, history: Sequence[Epoch]) -> None:
    """Vertical lines where phase or resolution change, with names on top; nothing if neither ever does."""
    phases, sizes = {row.phase for row in history}, {row.size for row in history}
    names = [
        ", ".join(([row.phase] if len(phases) > 1 else []) + ([f"{row.size} px"] if len(sizes) > 1 else []))
        for row in history
    ]
    starts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    if len(starts) == 1:
        return
    for start in starts[1:]:
        axes.axvline(start + 0.5, color="0.4", linestyle=":", linewidth=1.2)
    top = axes.secondary_xaxis("top")
    positions, labels = [start + 0.5 for start in starts], [names[start] for start in starts]
    top.set_xticks(positions, labels, rotation=20, ha="left", fontsize=8)


def class_distribution(dataset: DataSet) -> Figure:
    """Images per class and part of a data set."""
    figure = Figure(figsize=(6.4, 3.9), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(dataset.counts)
    for index, (part, counts) in enumerate(dataset.counts.items()):
        heights = [counts.get(name, 0) for name in CLASS_NAMES]
        positions = np.arange(len(heights)) + (index - (len(dataset.counts) - 1) / 2) * width
        n = f"{part}, n = {sum(heights):,}"
        style = {"color": COLOURS[index], "hatch": HATCHES[index], "edgecolor": BLACK}
        bars = axes.bar(positions, heights, width, label=n, **style)
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=9, padding=1)
    axes.set_xticks(range(len(LABELS)), [label.text for label in LABELS])
    axes.set(xlabel="Class", ylabel="Images")
    axes.margins(y=0.12)
    axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=len(dataset.counts), frameon=False)
    axes.set_title(f"{dataset.title}\nversion: {dataset.version}", fontsize=11)
    return figure


def comparison(systems: Sequence[System], protocol: str) -> Figure:
    """Accuracy with its Wilson interval against the number of parameters and, where measured, the time on a CPU."""
    timed = [system for system in systems if system.latency is not None]
    # The legend below grows with the systems.
    height = 4.1 + 0.2 * -(-len(systems) // 2)
    figure = Figure(figsize=(9.6 if timed else 6.8, height), layout="constrained")
    panels = figure.subplots(1, 2 if timed else 1, sharey=True, squeeze=False)[0]
    # One look for a system in both panels, whether or not its time is known.
    ordered = sorted(systems, key=lambda system: system.parameters)
    looks = [
        {"marker": MARKERS[i % len(MARKERS)], "color": COLOURS[i % len(COLOURS)], "label": _costs(system)}
        for i, system in enumerate(ordered)
    ]
    _scatter(panels[0], ordered, [system.parameters for system in ordered], looks)
    _logarithmic(panels[0], millions, "Parameters")
    panels[0].set_ylabel("Accuracy (%), Wilson 95 % interval")
    if timed:
        _scatter(panels[1], ordered, [system.latency for system in ordered], looks)
        _logarithmic(panels[1], times, "CPU time for a slice, one thread\n(torchvision's ResNet-18 = 1)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    sizes = sorted({system.metrics.n for system in systems})
    n = " or ".join(f"{n:,}" for n in sizes)
    figure.suptitle(f"Accuracy on {protocol}, n = {n} images; points at one place are moved apart", fontsize=11)
    return figure


def _scatter(axes: Axes, systems: Sequence[System], xs: Sequence[float | None], looks: Sequence[dict]) -> None:
    shown = sorted((i for i, x in enumerate(xs) if x is not None), key=lambda i: xs[i])
    for i, x in zip(shown, _apart([xs[i] for i in shown]), strict=True):
        accuracy, (low, high) = systems[i].metrics.accuracy, systems[i].metrics.accuracy_interval
        error = [[100 * (accuracy - low)], [100 * (high - accuracy)]]
        axes.errorbar(x, 100 * accuracy, error, markersize=7, capsize=3, linestyle="none", **looks[i])
    axes.grid(alpha=0.3)


def _logarithmic(axes: Axes, text: Callable[[float], str], label: str) -> None:
    axes.set_xscale("log")
    axes.margins(x=0.15)
    # Matplotlib's own ticks are powers of ten, of which there may be one or none where systems lie close together.
    low, high = axes.get_xlim()
    if high / low < 5:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    else:
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5) if high / low < 50 else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)


def _costs(system: System) -> str:
    latency = "" if system.latency is None else f", {times(system.latency)}"
    return f"{system.title}, {millions(system.parameters)}{latency}"


def _apart(ascending: Sequence[float], factor: float = 1.12) -> list[float]:
    positions: list[float] = []
    for value in ascending:
        positions.append(max(value, positions[-1] * factor) if positions else value)
    return positions


def times(ratio: float) -> str:
    """A ratio as "× 0.35" or "× 2.1"."""
    return f"× {ratio:.2f}" if ratio < 1 else f"× {ratio:.1f}"


def millions(parameters: float) -> str:
    """A number of parameters as "0.14 M" or "23.5 M"."""
    value = parameters / 1e6
    return f"{value:.2f} M" if value < 1 else f"{value:.1f} M"


def _two_lines(text: str) -> str:
    return text.replace(" ", "\n")
