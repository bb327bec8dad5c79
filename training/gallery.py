"""Contact sheets of what a checkpoint got wrong and right, from the user's own copy of the data.

They show slices of patients: they are for the eyes of whoever has the data, and belong in no repository.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from brain_tumor.explanation import DEFAULT_CAM, METHODS, explain_reading, overlay
from brain_tumor.images import read_image
from brain_tumor.inference import Classifier, load_model
from brain_tumor.labels import CLASS_NAMES, SHORT_TEXT
from training.data import DATA_SETS, DataError, DataSet, folder_of
from training.evaluation import Predictions, evaluation_folder, read_predictions

METHOD = METHODS[DEFAULT_CAM]
MAX_MISTAKES = 40
PER_SHEET = 8
# Of every class, so many of the surest right answers, and so many of the least sure.
PER_END = 3
DPI = 110
PICTURE_INCHES = 1.9
CAPTION_INCHES = 0.65
HEADER_INCHES = 0.4
GAP_INCHES = 0.1
LONGEST_NAME = 55


@dataclass(frozen=True)
class Example:
    """An image and what the checkpoint said of it when it was measured.

    Attributes:
        image: path relative to the data set's folder.
        truth, answer: class names.
        probability: of the answer, in [0, 1].
        fold: of the network that answered, where there is one per fold; None where the checkpoint itself did.
    """

    image: str
    truth: str
    answer: str
    probability: float
    fold: int | None = None


def draw(system: str, protocol: str, root: Path, out: Path) -> list[Path]:
    """Draw the sheets of one checkpoint on one protocol, in place of those that an earlier call left.

    Mistakes come first, the surest first, at most `MAX_MISTAKES` of them; then, for every class, right answers: the
    surest and the least sure. Beside each slice stands where the checkpoint saw evidence for its answer, and
    beside a mistake also for the truth. What was said by networks of single folds, whose weights are not kept, is shown
    without.

    Args:
        protocol: `weights/<system>/evaluation/<protocol>.csv` says which images there are, and the answers.
        root: folder of the data sets.
        out: folder of the sheets, `<protocol>_mistakes_1.png`, ... and `<protocol>_correct.png`.

    Raises:
        UnknownModelError: no such system.
        CheckpointError: its checkpoint is missing or damaged.
        DataError: it has not been measured on that protocol, or images that it was measured on are not in `root`.
        ImageError: an image cannot be read.
    """
    classifier = load_model(system)
    predictions = read_predictions(evaluation_folder(system) / f"{protocol}.csv")
    wrong, right = mistakes(predictions), correct(predictions)
    title = f"{classifier.spec.title}, {protocol}"
    total = f"{len(wrong):,}, of {len(predictions.labels):,} images"
    shown = wrong[:MAX_MISTAKES]
    for example in (*shown, *right):
        _path(example.image, root)  # an image that is missing is better missed before the sheets of last time are gone
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob(f"{protocol}_mistakes_*.png"), *out.glob(f"{protocol}_correct.png")):
        old.unlink()
    paths = []
    for first in range(0, len(shown), PER_SHEET):
        part = shown[first : first + PER_SHEET]
        heading = f"{title}: mistakes {first + 1} to {first + len(part)} of {total}; the surest first"
        paths.append(out / f"{protocol}_mistakes_{first // PER_SHEET + 1}.png")
        _sheet(part, classifier, root, 2, heading).savefig(paths[-1], dpi=DPI)
    if right:
        heading = f"{title}: right answers, of every class the surest, then the least sure"
        paths.append(out / f"{protocol}_correct.png")
        _sheet(right, classifier, root, PER_END, heading).savefig(paths[-1], dpi=DPI)
    return paths


def mistakes(predictions: Predictions) -> list[Example]:
    """All wrong answers, the surest first."""
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    return [_example(predictions, i) for i in _surest_first(predictions, wrong)]


def correct(predictions: Predictions) -> list[Example]:
    """For every class up to `PER_END` right answers, the surest first, then as many others, the least sure first."""
    chosen = []
    for index in range(len(CLASS_NAMES)):
        right = np.flatnonzero((predictions.labels == index) & (predictions.predicted == index))
        order = _surest_first(predictions, right)
        chosen += order[:PER_END]
        chosen += order[PER_END:][::-1][:PER_END]
    return [_example(predictions, i) for i in chosen]


def dataset_of(image: str) -> DataSet:
    """The data set that a path in a predictions file belongs to, by its first folder; DataError if none."""
    for dataset in DATA_SETS:
        if image.split("/")[0] in dataset.counts:
            return dataset
    raise DataError(f"{image} belongs to no data set of training.data.")


def _surest_first(predictions: Predictions, indices: np.ndarray) -> list[int]:
    probabilities = predictions.probabilities.max(axis=1)
    return sorted(indices.tolist(), key=lambda i: -probabilities[i])


def _example(predictions: Predictions, i: int) -> Example:
    answer = int(predictions.predicted[i])
    return Example(
        image=predictions.images[i],
        truth=CLASS_NAMES[predictions.labels[i]],
        answer=CLASS_NAMES[answer],
        probability=float(predictions.probabilities[i, answer]),
        fold=predictions.folds[i],
    )


def _sheet(examples: Sequence[Example], classifier: Classifier, root: Path, columns: int, title: str) -> Figure:
    """A grid of examples, each a row of pictures under a caption; `columns` examples stand side by side."""
    pictures = 1 + max(len(_explained(example)) for example in examples)
    rows = -(-len(examples) // columns)
    width = columns * (pictures * PICTURE_INCHES + GAP_INCHES) + GAP_INCHES
    height = rows * (PICTURE_INCHES + CAPTION_INCHES) + 2 * HEADER_INCHES
    figure = Figure(figsize=(width, height))
    figure.text(0.5, 1 - 0.4 * HEADER_INCHES / height, title, ha="center", va="center", fontsize=12)
    figure.text(0.5, 0.5 * HEADER_INCHES / height, _source(examples), ha="center", va="center", fontsize=8)
    for i, example in enumerate(examples):
        row, column = divmod(i, columns)
        left = GAP_INCHES + column * (pictures * PICTURE_INCHES + GAP_INCHES)
        bottom = height - HEADER_INCHES - (row + 1) * (PICTURE_INCHES + CAPTION_INCHES)
        drawn = _pictures(example, classifier, _path(example.image, root))
        figure.text(left / width, (bottom + PICTURE_INCHES + 0.22) / height, drawn.caption, va="bottom", fontsize=8)
        for number, (name, picture) in enumerate(drawn.pictures):
            x = left + number * PICTURE_INCHES
            place = x / width, bottom / height, 0.98 * PICTURE_INCHES / width, PICTURE_INCHES / height
            axes = figure.add_axes(place)
            axes.imshow(picture)
            axes.set_title(name, fontsize=7, pad=2)
            axes.set_axis_off()
    return figure


@dataclass(frozen=True)
class _Drawn:
    """What is shown of an example: a caption of two or three lines, and pictures with their names."""

    caption: str
    pictures: tuple[tuple[str, Image.Image | np.ndarray], ...]


def _pictures(example: Example, classifier: Classifier, path: Path) -> _Drawn:
    slice_ = read_image(path)
    said = f"{SHORT_TEXT[example.answer]} {100 * example.probability:.1f} %"
    if example.answer != example.truth:
        said = f"said {said}, is {SHORT_TEXT[example.truth]}"
    pictures = [("slice", slice_)]
    if _explained(example):
        reading = classifier.read([slice_])[0]
        now = reading.prediction
        if now.predicted_class != example.answer:
            # The copy that was measured may have been resized or compressed differently from this one.
            probability = 100 * now.probabilities[now.predicted_class]
            said += f"; on this copy {SHORT_TEXT[now.predicted_class]} {probability:.1f} %"
        for target in _explained(example):
            found = explain_reading(classifier, reading, slice_.size, target, METHOD.name)
            name = f"for {SHORT_TEXT[target].lower()}" + ("" if found.found else ": nothing")
            pictures.append((name, overlay(slice_, found.heatmap)))
    name = example.image if len(example.image) <= LONGEST_NAME else f"{example.image[: LONGEST_NAME - 1]}…"
    return _Drawn(f"{said}\n{name}", tuple(pictures))


def _explained(example: Example) -> tuple[str, ...]:
    """The classes whose evidence is shown: the answer, and the truth if it is another."""
    if example.fold is not None:
        return ()
    return tuple(dict.fromkeys((example.answer, example.truth)))


def _path(image: str, root: Path) -> Path:
    dataset = dataset_of(image)
    path = folder_of(dataset, root) / image
    if not path.exists():
        raise DataError(
            f"{path} is not there, though the checkpoint was measured on it. Complete the copy with "
            f"`python -m training data {dataset.name}`, or measure on what there is with `python -m training evaluate`."
        )
    return path


def _source(examples: Sequence[Example]) -> str:
    used = {dataset_of(example.image).name for example in examples}
    sources = [f"{dataset.title}, {dataset.licence}" for dataset in DATA_SETS if dataset.name in used]
    heat = "" if all(example.fold is not None for example in examples) else f" {METHOD.title}: bright is strong."
    return f"Slices of {' and '.join(sources)}: of patients, not for publishing.{heat}"
