"""Mistakes of the models that teach something: on slices of the user's own copy of a data set, or on synthetic ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from brain_tumor.examination import Examination
from brain_tumor.failures import Mistake, confident_mistakes
from brain_tumor.images import ImageError, read_image
from brain_tumor.provoked import PROVOKED, provoke
from brain_tumor.quiz import kaggle_folder

# Pairs that are confused, and what a reader would look at.
_LESSONS = {
    frozenset(
        ("glioma", "meningioma")
    ): "Ask first: within the brain or outside it? A dural base, a cleft of fluid and "
    "displaced cortex speak for outside; one slice may not show them.",
    frozenset(
        ("meningioma", "pituitary")
    ): "Both enhance strongly, so place decides: in the sella, beside it, or far away? "
    "A network has no map of the brain; it has textures.",
    frozenset(
        ("glioma", "pituitary")
    ): "Place decides: a mass of the hemispheres is no pituitary tumour. A network has no "
    "map of the brain; it has textures.",
    frozenset(
        ("glioma", "notumor")
    ): "Plain to the eye, or faint? The networks know T2, FLAIR and plain T1 nearly only from "
    "slices without tumour, and may answer by the kind of picture.",
    frozenset(
        ("meningioma", "notumor")
    ): "Plain to the eye, or as grey as the cortex? The networks know T2, FLAIR and plain "
    "T1 nearly only from slices without tumour, and may answer by the kind of picture.",
    frozenset(("notumor", "pituitary")): "The normal gland enhances too. Size, shape and the stalk tell a gland from a "
    "tumour, and one slice seldom shows all three.",
}


@dataclass(frozen=True, eq=False)
class Lesson:
    """A mistake with its picture, and what a reader would look at."""

    examination: Examination
    mistake: Mistake
    text: str


@dataclass(frozen=True)
class Gallery:
    """Lessons, the surest mistakes first.

    Attributes:
        synthetic: they are on synthetic slices, as there is no copy of the data set to take others from.
        known: so many mistakes of the offered models on Kaggle's test images are known by name.
    """

    lessons: tuple[Lesson, ...]
    synthetic: bool
    known: int


def gallery(label: str | None, root: Path | None, most: int) -> Gallery:
    """The mistakes on slices of one class.

    Args:
        label: the class that the data set gives, or that was drawn; None means any.
        root: folder of the data sets, or None.
        most: so many of a data set at most. It may be of another version: what is not there is left out.

    Raises:
        CheckpointError: a checkpoint is missing or damaged.
    """
    known = [mistake for mistake in confident_mistakes() if label in (None, mistake.label)]
    folder = root and kaggle_folder(root)
    found = _synthetic(label) if folder is None else islice(_real(known, folder), most)
    return Gallery(tuple(found), folder is None, len(known))


def _real(mistakes: Sequence[Mistake], folder: Path) -> Iterator[Lesson]:
    for mistake in mistakes:
        try:
            examination = Examination(read_image(folder / mistake.image), mistake.image)
        except ImageError:
            continue
        yield Lesson(examination, mistake, _LESSONS[frozenset((mistake.label, mistake.wrong[0].predicted_class))])


def _synthetic(label: str | None) -> list[Lesson]:
    """Changed so that no reader would be misled; the models answer wrongly nonetheless."""
    found = [Lesson(*provoke(one), one.lesson) for one in PROVOKED]
    return [lesson for lesson in found if lesson.mistake.wrong and label in (None, lesson.mistake.label)]
