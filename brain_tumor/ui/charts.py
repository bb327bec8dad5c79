"""Charts as SVG that is part of the page: sharp at any size, in the page's own colours, readable without seeing them.

A series has a colour (by CSS, so that dark mode follows), and a marker or a dash of its own for those who see no
colours. What a mark stands for is its tooltip. Every chart comes with its numbers as a table, folded away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

Interval = tuple[float, float]

DASHES = ("", "8 4", "2 3", "9 3 2 3")
WIDTH = 400
# Where text ends and drawing begins.
LEFT, RIGHT, TOP, BOTTOM = 50, 20, 28, 44
ROW, GAP = 15, 12
CELL = 74


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, both shown; `text` writes a tick."""

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]
    text: Callable[[float], str]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Of a value, from 0 at `low` to 1 at `high`; what lies outside is put on the edge."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Mark:
    """A point, its tooltip, the interval of its value, and a name to write beside it."""

    x: float
    y: float
    tooltip: str
    interval: Interval | None = None
    label: str = ""


@dataclass(frozen=True)
class Series:
    """`look` chooses colour, dash and marker: 0 to 3."""

    name: str
    look: int
    marks: tuple[Mark, ...] = ()
    line: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Dot:
    """A value in a row of dots."""

    look: int
    value: float
    tooltip: str
    interval: Interval | None = None


@dataclass(frozen=True)
class Table:
    """The numbers of a chart; the first cell of a row is its heading."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def percent(value: float) -> str:
    """A tick of an axis of fractions."""
    return f"{100 * value:g} %"


def xy(
    title: str,
    note: str,
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    table: Table,
    diagonal: bool = False,
    stretches: Sequence[tuple[float, str]] = (),
    above: bool = False,
) -> str:
    """Lines and points in a plane.

    Args:
        note: what a reader must know: n, what intervals are.
        diagonal: draw where x and y are equal.
        stretches: places on the x axis where something begins, and what.
        above: write that at the upper edge, not at the lower one.
    """
    height = 300
    wide, high = WIDTH - LEFT - RIGHT, height - TOP - BOTTOM

    def at(px: float, py: float) -> tuple[float, float]:
        return LEFT + wide * x.place(px), TOP + high * (1 - y.place(py))

    parts, labels = [_grid(x, y, height)], []
    if diagonal:
        low, up = max(x.low, y.low), min(x.high, y.high)
        parts.append(_path([at(low, low), at(up, up)], "diagonal", ""))
    for start, name in stretches:
        px, _ = at(start, y.low)
        edge, anchor = (TOP + 4, "end") if above else (TOP + high - 6, "start")
        parts.append(
            f'<line class="stretch" x1="{px:.1f}" x2="{px:.1f}" y1="{TOP}" y2="{TOP + high}"/>'
            f'<text class="stretch" transform="translate({px + 11:.1f} {edge}) rotate(-90)" text-anchor="{anchor}">'
            f"{escape(name)}</text>"
        )
    for one in series:
        if one.line:
            parts.append(_path([at(*point) for point in one.line], f"line s{one.look}", one.name, DASHES[one.look]))
    marks = []
    for one in series:
        for mark in one.marks:
            px, py = at(mark.x, mark.y)
            bar = ""
            if mark.interval:
                (_, low), (_, up) = (at(mark.x, bound) for bound in mark.interval)
                bar = f'<line x1="{px:.1f}" x2="{px:.1f}" y1="{low:.1f}" y2="{up:.1f}"/>'
            marks.append(_mark(px, py, one.look, mark.tooltip, bar))
            if mark.label:
                labels.append((px, py, mark.label))
    # No name may hide a mark.
    parts += [_labels(labels), *marks]
    shown = series if len(series) > 1 else ()
    return _figure(
        title,
        note,
        "".join(parts),
        WIDTH,
        height,
        _legend((one.name, one.look, bool(one.line)) for one in shown),
        table,
    )


def rows(
    title: str,
    note: str,
    content: Sequence[tuple[str, Sequence[Dot]]],
    names: Sequence[tuple[str, int]],
    axis: Axis,
    table: Table,
    left: int = 165,
) -> str:
    """Dots with intervals, a row per thing that is compared.

    Args:
        names: what the looks stand for.
        left: room for the names of the rows.
    """
    wide = WIDTH - left - RIGHT
    top = 8
    y, parts = top, []
    for name, dots in content:
        tall = ROW * max(1, len(dots))
        middle = y + tall / 2
        parts.append(f'<text class="row" x="{left - 10}" y="{middle + 4:.1f}" text-anchor="end">{escape(name)}</text>')
        for i, dot in enumerate(dots):
            px, py = left + wide * axis.place(dot.value), y + ROW * (i + 0.5)
            bar = ""
            if dot.interval:
                low, high = (left + wide * axis.place(bound) for bound in dot.interval)
                bar = f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{py:.1f}" y2="{py:.1f}"/>'
            parts.append(_mark(px, py, dot.look, dot.tooltip, bar))
        y += tall + GAP
        parts.append(f'<line class="grid" x1="0" x2="{WIDTH}" y1="{y - GAP / 2:.1f}" y2="{y - GAP / 2:.1f}"/>')
    ticks = []
    for tick in axis.ticks:
        px = left + wide * axis.place(tick)
        ticks.append(
            f'<line class="grid" x1="{px:.1f}" x2="{px:.1f}" y1="{top}" y2="{y - GAP / 2:.1f}"/>'
            f'<text x="{px:.1f}" y="{y + 10}" text-anchor="middle">{escape(axis.text(tick))}</text>'
        )
    label = f'<text x="{left + wide / 2:.1f}" y="{y + 28}" text-anchor="middle">{escape(axis.label)}</text>'
    drawn = "".join([*ticks, *parts, label])
    return _figure(
        title,
        note,
        drawn,
        WIDTH,
        round(y + 36),
        _legend((name, look, False) for name, look in (names if len(names) > 1 else ())),
        table,
    )


def matrix(title: str, note: str, names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Counts, and their share of the row as text, as tint and as the length of a bar."""
    left, top = 92, 36
    parts = [f'<text x="{left + CELL * len(names) / 2:.0f}" y="13" text-anchor="middle">Answered</text>']
    for i, name in enumerate(names):
        parts.append(
            f'<text class="row" x="{left + CELL * (i + 0.5):.0f}" y="30" text-anchor="middle">{escape(name)}</text>'
        )
        total = sum(counts[i])
        y = top + CELL * i
        parts.append(
            f'<text class="row" x="{left - 8}" y="{y + 34}" text-anchor="end">{escape(name)}</text>'
            f'<text x="{left - 8}" y="{y + 50}" text-anchor="end">n = {total:,}</text>'
        )
        for j, count in enumerate(counts[i]):
            share = count / total if total else 0.0
            x = left + CELL * j
            said = f"{count:,} of {total:,} {name} slices answered as {names[j]}: {100 * share:.1f} %"
            kind = "cell right" if i == j else "cell"
            parts.append(
                f'<g class="{kind}"><title>{escape(said)}</title>'
                f'<rect class="tint" x="{x + 1}" y="{y + 1}" width="{CELL - 2}" height="{CELL - 2}" rx="4" '
                f'style="fill-opacity:{0.04 + 0.3 * share:.3f}"/>'
                f'<rect class="bar" x="{x + 9}" y="{y + 58}" width="{(CELL - 18) * share:.1f}" height="6" rx="2"/>'
                f'<text class="count" x="{x + CELL / 2:.0f}" y="{y + 29}" text-anchor="middle">{count:,}</text>'
                f'<text class="row" x="{x + CELL / 2:.0f}" y="{y + 47}" text-anchor="middle">{100 * share:.1f} %</text>'
                "</g>"
            )
    width, height = left + CELL * len(names) + 6, top + CELL * len(names) + 4
    table = Table(
        ["Truth", *names], [[name, *map("{:,}".format, row)] for name, row in zip(names, counts, strict=True)]
    )
    return _figure(title, note, "".join(parts), width, height, "", table)


def _grid(x: Axis, y: Axis, height: int) -> str:
    wide, high = WIDTH - LEFT - RIGHT, height - TOP - BOTTOM
    parts = []
    for tick in x.ticks:
        px = LEFT + wide * x.place(tick)
        parts.append(
            f'<line class="grid" x1="{px:.1f}" x2="{px:.1f}" y1="{TOP}" y2="{TOP + high}"/>'
            f'<text x="{px:.1f}" y="{TOP + high + 17}" text-anchor="middle">{escape(x.text(tick))}</text>'
        )
    for tick in y.ticks:
        py = TOP + high * (1 - y.place(tick))
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{LEFT + wide}" y1="{py:.1f}" y2="{py:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{py + 4:.1f}" text-anchor="end">{escape(y.text(tick))}</text>'
        )
    parts.append(f'<text x="0" y="13">{escape(y.label)}</text>')
    parts.append(f'<text x="{LEFT + wide / 2:.0f}" y="{height - 8}" text-anchor="middle">{escape(x.label)}</text>')
    return "".join(parts)


def _labels(labels: Sequence[tuple[float, float, str]]) -> str:
    """Names beside marks, moved down where they would lie on one another."""
    drawn, lowest = [], 0.0
    for px, py, text in sorted(labels, key=lambda label: label[1]):
        lowest = max(py + 4, lowest + 13)
        # Where there is more room.
        beside = (px - 9, "end") if px > WIDTH / 2 else (px + 9, "start")
        place = f'x="{beside[0]:.1f}" y="{lowest:.1f}" text-anchor="{beside[1]}"'
        drawn.append(f'<text class="name" {place}>{escape(text)}</text>')
    return "".join(drawn)


def _path(points: Iterable[tuple[float, float]], kind: str, tooltip: str, dash: str = "") -> str:
    drawn = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    title = f"<title>{escape(tooltip)}</title>" if tooltip else ""
    return f'<path class="{kind}" d="{drawn}"{dashes}>{title}</path>'


def _mark(x: float, y: float, look: int, tooltip: str, bar: str = "") -> str:
    return f'<g class="mark s{look}"><title>{escape(tooltip)}</title>{bar}{_shape(x, y, look)}</g>'


def _shape(x: float, y: float, look: int) -> str:
    if look == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'
    if look == 1:
        return f'<rect class="hollow" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
    if look == 2:
        return f'<path d="M{x:.1f} {y - 5.5:.1f}l5.5 9.5h-11z"/>'
    return f'<path class="hollow" d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z"/>'


def _legend(names: Iterable[tuple[str, int, bool]]) -> str:
    """Name, look, and whether it is a line."""
    items = []
    for name, look, line in names:
        sample = _path([(0, 7), (34, 7)], f"line s{look}", "", DASHES[look]) if line else ""
        sample = sample or f'<g class="mark s{look}">{_shape(17, 7, look)}</g>'
        drawn = f'<svg viewBox="0 0 34 14" width="34" height="14" aria-hidden="true">{sample}</svg>'
        items.append(f"<li>{drawn}{escape(name)}</li>")
    return f'<ul class="legend">{"".join(items)}</ul>' if items else ""


def _figure(title: str, note: str, drawn: str, width: int, height: int, legend: str, table: Table) -> str:
    return (
        f'<figure class="chart"><h3>{escape(title)}</h3>'
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(f"{title}. {note}")}">{drawn}</svg>'
        f"{legend}<figcaption>{escape(note)}</figcaption>"
        f'<details><summary>As a table</summary><div class="scroll" tabindex="0" role="region" '
        f'aria-label="{escape(title)}, numbers">{numbers(table)}</div></details></figure>'
    )


def numbers(table: Table) -> str:
    """An HTML table."""
    header = "".join(f'<th scope="col">{escape(text)}</th>' for text in table.header)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in table.rows
    )
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"


def share_axis(label: str, lowest: float, highest: float = 1.0) -> Axis:
    """An axis of fractions that holds these two, ending at round values within [0, 1]."""
    return _round_axis(label, max(0.0, lowest), min(1.0, highest), percent)


def linear_axis(label: str, lowest: float, highest: float, text: Callable[[float], str] = "{:g}".format) -> Axis:
    """An axis that holds these two, ending at round values."""
    return _round_axis(label, lowest, highest, text)


def logarithmic_axis(label: str, lowest: float, highest: float, text: Callable[[float], str]) -> Axis:
    """A logarithmic axis with some room on both sides, ticked at 1, 2 and 5 times powers of ten."""
    low, high = lowest / 1.3, highest * 1.3
    factors = (1, 2, 5) if high / low < 50 else (1,) if high / low > 2000 else (1, 3)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = (factor * 10.0**power for power in powers for factor in factors)
    return Axis(label, low, high, tuple(tick for tick in ticks if low <= tick <= high), text, logarithmic=True)


def _round_axis(label: str, lowest: float, highest: float, text: Callable[[float], str]) -> Axis:
    rough = max(highest - lowest, 1e-9) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(lowest / step + 1e-6), math.ceil(highest / step - 1e-6)
    ticks = tuple(round(i * step, 10) for i in range(first, max(last, first + 1) + 1))
    return Axis(label, ticks[0], ticks[-1], ticks, text)
