"""A student answers before the models do: which slices are shown, and what a running score says.

The slices are those of the user's own copy of a data set, or the synthetic examples. Nothing is kept beyond a session.
"""

from __future__ import annotations

import csv
import os
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from brain_tumor.examples import list_examples
from brain_tumor.labels import CLASS_NAMES

CONFIDENCES = (0.25, 0.4, 0.6, 0.8, 0.9, 1.0)
"""What a student may say; the first is guessing among four."""

DECK_SIZE = 60

_FIGSHARE = "figshare-cheng"
_KAGGLE = "kaggle-brain-tumor-mri"
_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Case:
    """One slice with its truth.

    Attributes:
        label: a class name.
        source: where it comes from, in words.
        box: left, top, right, bottom of the tumour, fractions of the slice; None where none is known.
        synthetic: drawn by a program; the class is then the one it was drawn for.
    """

    path: Path
    label: str
    source: str
    box: tuple[float, float, float, float] | None = None
    synthetic: bool = False


@dataclass(frozen=True)
class Answer:
    """What was said about a case.

    Attributes:
        said: a class name.
        confidence: one of `CONFIDENCES`.
        models: (name, predicted class) of every model that was asked.
    """

    case: Case
    said: str
    confidence: float
    models: tuple[tuple[str, str], ...] = ()

    @property
    def right(self) -> bool:
        return self.said == self.case.label


@dataclass(frozen=True)
class Level:
    """All answers of one confidence: of `n`, `right` were right."""

    confidence: float
    n: int
    right: int


@dataclass(frozen=True)
class Score:
    """What several answers come to.

    Attributes:
        brier: mean squared difference of confidence and outcome (1 right, 0 wrong), in [0, 1], 0 is best (Brier 1950,
            doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2); None without answers.
        levels: by confidence, ascending; only those that were used.
        models: (name, answers right, answers given) of every model.
    """

    n: int
    right: int
    brier: float | None
    levels: tuple[Level, ...]
    models: tuple[tuple[str, int, int], ...]

    @property
    def mean_confidence(self) -> float:
        """Mean stated confidence, in [0, 1]; 0 without answers."""
        return sum(level.confidence * level.n for level in self.levels) / self.n if self.n else 0.0


@dataclass(frozen=True)
class Quiz:
    """One session: the slices in the order in which they come, and the answers so far.

    `open` is False while the truth about the last answered slice is on show.
    """

    deck: tuple[Case, ...]
    answers: tuple[Answer, ...] = ()
    open: bool = True

    @property
    def case(self) -> Case | None:
        """The slice that is asked about or was answered last; None at the end."""
        place = len(self.answers) - (not self.open)
        return self.deck[place] if place < len(self.deck) else None

    def answer(self, said: str, confidence: float, models: Iterable[tuple[str, str]] = ()) -> Quiz:
        """Commit to an answer about the current slice.

        Raises:
            ValueError: it was answered already, there is none, or the answer is not one of those offered.
        """
        if not self.open or self.case is None:
            raise ValueError("This slice is answered already. Press Next slice.")
        if said not in CLASS_NAMES or confidence not in CONFIDENCES:
            raise ValueError("Choose one answer and how sure you are, then press Commit.")
        given = Answer(self.case, said, confidence, tuple(models))
        return replace(self, answers=(*self.answers, given), open=False)

    def next(self) -> Quiz:
        """On to the next slice."""
        return replace(self, open=True)

    def without(self, case: Case) -> Quiz:
        """The quiz without a slice that turned out to be unreadable; answers are kept."""
        return replace(self, deck=tuple(c for c in self.deck if c != case))


def start(cases: Iterable[Case], seed: int, size: int = DECK_SIZE) -> Quiz:
    """A new quiz: slices in random order, every class as likely as any other at every place.

    Args:
        cases: to draw from, without replacement.
        seed: the same seed and cases give the same quiz.
        size: at most so many slices.
    """
    source = random.Random(seed)
    by_class: dict[str, list[Case]] = {}
    for case in cases:
        by_class.setdefault(case.label, []).append(case)
    deck: list[Case] = []
    while by_class and len(deck) < size:
        label = source.choice(sorted(by_class))
        drawn = by_class[label]
        deck.append(drawn.pop(source.randrange(len(drawn))))
        if not drawn:
            del by_class[label]
    return Quiz(tuple(deck))


def score(answers: Iterable[Answer]) -> Score:
    """What answers come to."""
    answers = list(answers)
    levels = []
    for confidence in CONFIDENCES:
        outcomes = [a.right for a in answers if a.confidence == confidence]
        if outcomes:
            levels.append(Level(confidence, len(outcomes), sum(outcomes)))
    asked: dict[str, list[bool]] = {}
    for answer in answers:
        for name, predicted in answer.models:
            asked.setdefault(name, []).append(predicted == answer.case.label)
    return Score(
        n=len(answers),
        right=sum(a.right for a in answers),
        brier=sum((a.confidence - a.right) ** 2 for a in answers) / len(answers) if answers else None,
        levels=tuple(levels),
        models=tuple((name, sum(outcomes), len(outcomes)) for name, outcomes in asked.items()),
    )


def list_cases(root: Path | None) -> tuple[Case, ...]:
    """Slices to ask about: tumours of figshare, whose boxes are known, and slices without tumour of the Kaggle set; the
    Kaggle set alone where figshare is missing; the synthetic examples where there is neither.

    Args:
        root: folder that holds the data sets side by side, or one of them unpacked; None means no data at all.
    """
    if root is not None:
        boxed = _figshare(root)
        found = boxed + _kaggle(root, ("notumor",) if boxed else CLASS_NAMES)
        if found:
            return found
    return tuple(Case(e.path, e.label, f"{e.title}, {e.view}", e.box, synthetic=True) for e in list_examples())


_cases_of = cache(list_cases)


def data_folder() -> Path | None:
    """The folder that `BRAIN_TUMOR_DATA` names; None where it names none."""
    given = os.environ.get("BRAIN_TUMOR_DATA")
    return Path(given) if given else None


def own_cases() -> tuple[Case, ...]:
    """`list_cases` of `data_folder`, which is looked through once."""
    return _cases_of(data_folder())


def kaggle_folder(root: Path) -> Path | None:
    """The Kaggle data set in `root`, or `root` itself; None where it is neither."""
    return next((f for f in (root / _KAGGLE, root) if (f / "Testing" / CLASS_NAMES[0]).is_dir()), None)


def _kaggle(root: Path, labels: Iterable[str]) -> tuple[Case, ...]:
    folder = kaggle_folder(root)
    if folder is None:
        return ()
    return tuple(
        Case(path, label, "Kaggle, Testing")
        for label in labels
        for path in sorted((folder / "Testing" / label).glob("*"))
        if path.suffix.lower() in _SUFFIXES
    )


def _figshare(root: Path) -> tuple[Case, ...]:
    folder = next((f for f in (root / _FIGSHARE, root) if (f / "annotations.csv").is_file()), None)
    if folder is None:
        return ()
    with open(folder / "annotations.csv", newline="", encoding="utf-8") as file:
        return tuple(
            Case(folder / "images" / row["image"], row["label"], "figshare (Cheng), T1 with contrast", _corners(row))
            for row in csv.DictReader(file)
        )


def _corners(row: dict[str, str]) -> tuple[float, float, float, float]:
    x, y, width, height = (float(row[f"box_{key}"]) for key in ("x_center", "y_center", "width", "height"))
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
