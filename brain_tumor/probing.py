"""How far can one slice be changed before the answers about it change? Several changes at once, and the smallest.

Changes are made to the picture before any network sees it: first what was covered with a brush, then the disturbances
in the order of their table.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from brain_tumor.disturbance import DISTURBANCES, Disturbance, disturb, get_disturbance
from brain_tumor.examples import list_examples
from brain_tumor.explanation import Explanation
from brain_tumor.inference import Prediction, load_model

MAX_STROKES = 500
MAX_POINTS = 20_000
"""Of all strokes together: what comes from a browser is bounded before it is drawn."""

MAX_UNDO = 50
MIN_STEPS = 20
"""Positions between the limits of a disturbance, at least."""

# Severities asked at once: few enough to stop soon after the first flip, enough to keep the processor busy.
_BATCH = 4


@dataclass(frozen=True)
class Stroke:
    """Covered with a round brush.

    Attributes:
        radius: fraction of the longer side.
        points: (x, y) in fractions of width and height; one point is a dot.
    """

    radius: float
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Changes:
    """What is done to a slice: `severities` by name, only those that change something, and `strokes` that blacken."""

    severities: tuple[tuple[str, float], ...] = ()
    strokes: tuple[Stroke, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.severities or self.strokes)

    def apply(self, image: Image.Image) -> Image.Image:
        """A new image, RGB, of the same size."""
        image = cover(image, self.strokes)
        for name, severity in self.severities:
            image = disturb(image, name, severity)
        return image

    def text(self) -> str:
        """In words, for example "Brightness times 1.4; Turned anticlockwise −5°"; "" where nothing is changed."""
        parts = ["Covered in part"] if self.strokes else []
        return "; ".join([*parts, *(described(name, severity) for name, severity in self.severities)])


def described(name: str, severity: float) -> str:
    """A change as people read it, for example "Brightness times 1.4"; a change without severities by its title."""
    disturbance = get_disturbance(name)
    return disturbance.title if is_switch(disturbance) else f"{disturbance.title} {disturbance.text(severity)}"


def is_switch(disturbance: Disturbance) -> bool:
    """Made or not made, without anything between."""
    return len(disturbance.severities) == 1


def changes_of(severities: Iterable[tuple[str, float]], strokes: tuple[Stroke, ...] = ()) -> Changes:
    """The changes with those severities, without the neutral ones; ValueError if one is out of its limits."""
    given = dict(severities)
    for name, severity in given.items():
        low, high = get_disturbance(name).limits
        if not low <= severity <= high:
            raise ValueError(f"{DISTURBANCES[name].title} goes from {low:g} to {high:g}, not to {severity:g}.")
    kept = [(name, given[name]) for name, d in DISTURBANCES.items() if name in given and given[name] != d.neutral]
    return Changes(tuple(kept), strokes)


def cover(image: Image.Image, strokes: Sequence[Stroke]) -> Image.Image:
    """Blacken what the brush went over; a new RGB image."""
    image = image.convert("RGB").copy()
    pencil = ImageDraw.Draw(image)
    for stroke in strokes:
        radius = stroke.radius * max(image.size)
        points = [(x * image.width, y * image.height) for x, y in stroke.points]
        pencil.line(points, fill=0, width=max(1, round(2 * radius)))
        for x, y in points:
            pencil.ellipse((x - radius, y - radius, x + radius, y + radius), fill=0)
    return image


def strokes_from_json(text: str | None) -> tuple[Stroke, ...]:
    """Strokes as a page sends them: [[radius, x, y, x, y, ...], ...].

    Raises:
        ValueError: they are something else, or more than `MAX_STROKES` or `MAX_POINTS`.
    """
    try:
        rows = [[float(value) for value in row] for row in json.loads(text or "[]")]
        good = all(len(row) >= 3 and len(row) % 2 and all(map(math.isfinite, row)) and 0 < row[0] <= 1 for row in rows)
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError("What was covered cannot be read. Press Reset and cover it again.")
    if len(rows) > MAX_STROKES or sum(map(len, rows)) > 2 * MAX_POINTS:
        raise ValueError("More was covered than can be drawn. Press Undo or Reset.")
    return tuple(Stroke(row[0], tuple(zip(row[1::2], row[2::2], strict=True))) for row in rows)


def strokes_to_json(strokes: Sequence[Stroke]) -> str:
    """The inverse of `strokes_from_json`."""
    return json.dumps([[s.radius, *(value for point in s.points for value in point)] for s in strokes])


@dataclass(frozen=True)
class History:
    """What was done to a slice, step by step. Moving one slider on is one step, however many positions it passes."""

    now: Changes = Changes()
    past: tuple[Changes, ...] = ()

    def then(self, changes: Changes) -> History:
        """The history with one change more; the same if nothing is different."""
        if changes == self.now:
            return self
        moved = _moved(self.now, changes)
        if self.past and len(moved) == 1 and moved == _moved(self.past[-1], self.now):
            return replace(self, now=changes)
        return History(changes, (*self.past, self.now)[-MAX_UNDO:])

    def back(self) -> History:
        """Without the last step; the same if there is none."""
        return History(self.past[-1], self.past[:-1]) if self.past else self


def _moved(old: Changes, new: Changes) -> set[str]:
    """Names of the disturbances that differ. Each stroke is a step of its own: two have nothing in common."""
    names = {name for name, _ in set(old.severities) ^ set(new.severities)}
    return names | {"old strokes", "new strokes"} if old.strokes != new.strokes else names


def step_of(disturbance: Disturbance) -> float:
    """Distance of two positions of its slider: a round number that divides the way between its limits."""
    low, high = disturbance.limits
    step = (high - low) / MIN_STEPS
    magnitude = 10.0 ** math.floor(math.log10(step))
    rounds = [round(factor * magnitude, 6) for factor in (5, 2, 1) if factor * magnitude <= step * (1 + 1e-9)]
    # The finest of them always divides limits that are themselves round.
    return next((s for s in rounds if _divides(s, high - low)), rounds[-1])


def _divides(step: float, span: float) -> bool:
    return abs(span / step - round(span / step)) < 1e-6


def positions(disturbance: Disturbance) -> tuple[float, ...]:
    """Where its slider can stand, ascending; off and on for a switch."""
    low, high = disturbance.limits
    if is_switch(disturbance):
        return low, high
    step = step_of(disturbance)
    return tuple(round(low + k * step, 6) for k in range(round((high - low) / step) + 1))


@cache
def mildest(name: str) -> float:
    """The severity that changes least: the neutral one, or that end which changes a synthetic slice less."""
    disturbance = get_disturbance(name)
    if disturbance.neutral is not None:
        return disturbance.neutral
    with Image.open(list_examples()[0].path) as file:
        image = file.convert("RGB")
    before = np.asarray(image, dtype=np.float32)
    return min(disturbance.limits, key=lambda end: np.abs(np.asarray(disturb(image, name, end)) - before).mean())


def outward(name: str, severities: Iterable[float]) -> tuple[float, ...]:
    """Severities by their distance from the mildest, the nearest first, without the neutral one."""
    disturbance, start = get_disturbance(name), mildest(name)
    return tuple(sorted((s for s in severities if s != disturbance.neutral), key=lambda s: (abs(s - start), s)))


@dataclass(frozen=True)
class Flip:
    """The mildest change of one kind under which one model answers otherwise.

    Attributes:
        severity: None where its answer held at every severity that was tried.
        predicted_class: what it answers then; None likewise.
        refused: it takes the picture then for no brain MRI slice.
    """

    model: str
    severity: float | None = None
    predicted_class: str | None = None
    refused: bool = False


def first_flips(
    image: Image.Image, before: Sequence[Prediction], name: str, severities: Iterable[float] | None = None
) -> tuple[Flip, ...]:
    """Search one kind of change, from the mildest outwards, for the first that changes each model's predicted class.

    Args:
        image: the slice, unchanged.
        before: what each model says about it.
        name: a key of `DISTURBANCES`.
        severities: those to try; None means all `positions`. So the work is bounded: at most as many pictures.

    Returns:
        One per prediction, in their order.
    """
    found: dict[str, Flip] = {}
    for batch in _batches(outward(name, positions(get_disturbance(name)) if severities is None else severities)):
        open_ = [p for p in before if p.model not in found]
        if not open_:
            break
        images = [disturb(image, name, severity) for severity in batch]
        for old in open_:
            for severity, new in zip(batch, load_model(old.model).classify(images), strict=True):
                if new.predicted_class != old.predicted_class:
                    found[old.model] = Flip(old.model, severity, new.predicted_class, bool(new.refusal_reason))
                    break
    return tuple(found.get(p.model, Flip(p.model)) for p in before)


def _batches(values: Sequence[float]) -> Iterator[Sequence[float]]:
    return (values[start : start + _BATCH] for start in range(0, len(values), _BATCH))


@dataclass(frozen=True)
class Comparison:
    """One model's answer before and after a change."""

    before: Explanation
    after: Explanation

    @property
    def flipped(self) -> bool:
        return self.before.prediction.predicted_class != self.after.prediction.predicted_class

    @property
    def refused(self) -> bool:
        """After the change, and only then, the picture is taken for no brain MRI slice."""
        return bool(self.after.prediction.refusal_reason) and not self.before.prediction.refusal_reason

    def points(self, label: str) -> float:
        """By how many percentage points the probability of a class rose, in [-100, 100]."""
        before, after = (e.prediction.best_probabilities[label] for e in (self.before, self.after))
        return 100 * (after - before)
