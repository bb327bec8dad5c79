"""Figures show the numbers they were given, in the units that they say."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.axes import Axes

from brain_tumor.labels import CLASS_NAMES, LABELS
from brain_tumor.registry import MODELS
from training import figures
from training.data import DATA_SETS
from training.engine import Epoch
from training.evaluation import Predictions, measure, percent

MEASURED = measure(
    Predictions(tuple("abcde"), np.array([0, 1, 2, 3, 3]), (None,) * 5, 4.0 * np.eye(len(CLASS_NAMES))[[0, 1, 2, 3, 1]])
)
SYSTEMS = (
    figures.System("small", 140_000, replace(MEASURED, accuracy=0.90, accuracy_interval=(0.88, 0.91)), 0.08),
    figures.System("large", 24_000_000, replace(MEASURED, accuracy=0.97, accuracy_interval=(0.95, 0.98)), 2.3),
    figures.System("untimed", 8_000_000, replace(MEASURED, accuracy=0.95, accuracy_interval=(0.93, 0.96))),
)


def points(axes: Axes) -> dict[float, tuple[float, float, float]]:
    """x -> (low, accuracy, high) of everything drawn with an interval, %."""
    drawn = {}
    for container in axes.containers:
        line, _, (bars,) = container
        (x,), (y,) = line.get_data()
        low, high = bars.get_segments()[0][:, 1]
        drawn[float(x)] = float(low), float(y), float(high)
    return drawn


def test_comparison_shows_accuracy_with_its_interval_against_both_costs():
    figure = figures.comparison(SYSTEMS, "published")
    size, time = figure.axes
    assert points(size) == {
        140_000: pytest.approx((88, 90, 91)),
        8_000_000: pytest.approx((93, 95, 96)),
        24_000_000: pytest.approx((95, 97, 98)),
    }
    assert points(time) == {0.08: pytest.approx((88, 90, 91)), 2.3: pytest.approx((95, 97, 98))}
    assert "n = 5" in figure.get_suptitle()
    assert "%" in size.get_ylabel() and "ResNet-18" in time.get_xlabel()


def test_a_system_looks_the_same_in_both_panels():
    size, time = figures.comparison(SYSTEMS, "published").axes
    looks = [{c.get_label(): (c[0].get_marker(), c[0].get_color()) for c in axes.containers} for axes in (size, time)]
    assert looks[1].items() <= looks[0].items()
    assert len(set(looks[0].values())) == len(SYSTEMS)


def test_without_times_there_is_one_panel():
    assert len(figures.comparison([replace(system, latency=None) for system in SYSTEMS], "published").axes) == 1


def test_points_at_one_place_are_moved_apart():
    same = [replace(SYSTEMS[0], title=str(i)) for i in range(3)]
    for axes in figures.comparison(same, "published").axes:
        assert len(points(axes)) == 3


@pytest.mark.parametrize("largest", [300_000, 1_000_000, 90_000_000])
def test_axes_of_any_range_have_ticks_that_do_not_touch(largest):
    figure = figures.comparison([SYSTEMS[0], replace(SYSTEMS[1], parameters=largest)], "published")
    figure.canvas.draw()
    for axes in figure.axes:
        low, high = axes.get_xlim()
        ticks = [label for label in axes.get_xticklabels() if low <= label.get_position()[0] <= high]
        boxes = [label.get_window_extent() for label in ticks if label.get_text()]
        assert boxes
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_confusion_shows_counts_shares_and_the_interval():
    (axes,) = figures.confusion(MEASURED, "Title").axes
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts[(3, 3)] == texts[(1, 3)] == "1\n50.0 %"
    assert texts[(0, 0)] == "1\n100.0 %" and texts[(0, 1)] == "0\n0.0 %"
    assert percent(0.8, MEASURED.accuracy_interval) in axes.get_title()
    assert "n = 5" in axes.get_title()


def test_curves_state_the_areas_that_were_measured():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, len(CLASS_NAMES), 200)
    predictions = Predictions(tuple(map(str, range(200))), labels, (None,) * 200, rng.normal(size=(200, 4)))
    roc, precision_recall = figures.curves(predictions, "Title").axes[:2]
    stated = [text.get_text() for text in roc.get_legend().get_texts()]
    classes = measure(predictions).classes
    assert stated == [f"{label.text}: AUC {classes[label.name].roc_auc:.4f}" for label in LABELS]
    assert len(precision_recall.get_legend().get_texts()) == len(LABELS)


def test_training_curves_mark_every_phase_and_the_epoch_kept():
    phases = ["first"] * 3 + ["second"] * 2 + ["third"] * 4
    history = [Epoch(i, phase, 64, 1e-3, 0, 2 / (i + 1), 0.5, 1 / (i + 1), 0.6, 1, 1) for i, phase in enumerate(phases)]
    figure = figures.training(history, 5, "Title")
    for axes in figure.axes[:2]:
        across = [list(line.get_xdata()) for line in axes.lines]
        assert [xs[0] for xs in across if len(xs) == 2 and xs[0] == xs[1]] == [3.5, 5.5]
        lines = {line.get_label(): line for line in axes.lines}
        assert list(lines["kept: epoch 5"].get_xdata()) == [5]
        assert list(lines["training"].get_xdata()) == list(range(1, 10))
        (top,) = axes.child_axes
        assert [tick.get_text() for tick in top.get_xticklabels()] == ["first", "second", "third"]
    loss, accuracy = figure.axes[:2]
    assert loss.lines[0].get_ydata()[0] == 2
    assert accuracy.lines[1].get_ydata()[0] == pytest.approx(60)


def test_a_run_without_validation_shows_its_training_alone():
    history = [Epoch(i, "all", 64, 1e-3, 0, 2 / (i + 1), 0.5, None, None, 1, 1) for i in range(4)]
    for axes in figures.training(history, 4, "Title").axes:
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training", "kept: epoch 4"]


@pytest.mark.parametrize("dataset", DATA_SETS, ids=lambda dataset: dataset.name)
def test_class_histograms_show_the_counts(dataset):
    (axes,) = figures.class_distribution(dataset).axes
    drawn = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert drawn == [[counts.get(name, 0) for name in CLASS_NAMES] for counts in dataset.counts.values()]


def test_nothing_is_told_apart_by_colour_alone():
    """In grey print, colours of one lightness are one: line styles, hatches and markers differ as well."""
    assert len(set(figures.LINES)) >= len(LABELS)
    assert len(set(figures.HATCHES)) >= max(len(dataset.counts) for dataset in DATA_SETS)
    assert len(set(figures.MARKERS)) >= len(MODELS)
