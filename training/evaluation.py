"""Checkpoint -> per-image logits -> metrics with intervals.

The logits in `weights/<system>/evaluation/<protocol>.csv` are the source of every number that the project states about
a checkpoint: whatever is printed, drawn or written about it is computed from them and from nothing else.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score

from brain_tumor.checkpoints import (
    CONFIG_FILE,
    Checkpoint,
    CheckpointError,
    find_checkpoint,
    load_network,
    weights_folder,
)
from brain_tumor.labels import CLASS_NAMES, LABELS, class_index
from brain_tumor.registry import MODELS, get_spec
from training.data import DataError, Record, load_samples
from training.engine import predict
from training.protocols import PROTOCOLS

COLUMNS = ("image", "label", "fold", *(f"logit_{name}" for name in CLASS_NAMES))
CONFIDENCE = 0.95
DASH = "–"
CHOSEN_MARK = "‡"
"""Beside a number: something was chosen on what it was measured on; what, is said below the table."""

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a checkpoint says about N labelled images.

    Attributes:
        images: paths relative to the data set's folder.
        labels: true class indices, int (N,).
        folds: the fold of each image, None where there is none.
        logits: float (N, 4), in the order of CLASS_NAMES.
    """

    images: tuple[str, ...]
    labels: np.ndarray
    folds: tuple[int | None, ...]
    logits: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, float (N, 4) in [0, 1]."""
        return softmax(self.logits, axis=1)

    @property
    def predicted(self) -> np.ndarray:
        """Class indices with the largest logit, int (N,)."""
        return self.logits.argmax(axis=1)

    def only(self, images: Collection[str]) -> Predictions:
        """The predictions of these images, in the order that they are in here."""
        kept = [i for i, image in enumerate(self.images) if image in images]
        images, folds = (tuple(values[i] for i in kept) for values in (self.images, self.folds))
        return Predictions(images, self.labels[kept], folds, self.logits[kept])


@dataclass(frozen=True)
class ClassMetrics:
    """One class against the rest: fractions, and their Wilson 95 % intervals.

    `recall` is the sensitivity. For a class without a test image all but the specificity are None; for a class that all
    test images belong to, specificity and ROC-AUC are. The precision of a class that is never predicted is 0.
    """

    support: int
    precision: float | None
    recall: float | None
    recall_interval: Interval | None
    specificity: float | None
    specificity_interval: Interval | None
    f1: float | None
    roc_auc: float | None


@dataclass(frozen=True)
class Metrics:
    """What is measured on a test set of n images.

    Attributes:
        accuracy: fraction; `accuracy_interval` is its Wilson 95 % interval.
        loss: mean cross-entropy in nats.
        macro_precision, macro_recall, macro_f1, macro_roc_auc: unweighted means over the classes that have test images;
            the last is that of each class against the rest, None where the test set has one class only.
        classes: by class name.
        confusion: counts, rows the true and columns the predicted class.
    """

    n: int
    accuracy: float
    accuracy_interval: Interval
    loss: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    macro_roc_auc: float | None
    classes: dict[str, ClassMetrics]
    confusion: tuple[tuple[int, ...], ...]


def systems_with_weights() -> list[str]:
    """The systems that have a checkpoint in the weights folder, in the registry's order."""
    return [system for system in MODELS if (weights_folder() / system / CONFIG_FILE).exists()]


def evaluation_folder(system: str) -> Path:
    """Where the system's predictions, metrics and figures lie."""
    return weights_folder() / system / "evaluation"


def evaluate(system: str, protocol: str, root: Path) -> Path:
    """Let a checkpoint of the weights folder predict a protocol's test images, in float32.

    Args:
        protocol: a key of PROTOCOLS.
        root: folder of the data sets.

    Returns:
        The CSV file with one line per image, `weights/<system>/evaluation/<protocol>.csv`.

    Raises:
        UnknownModelError: no such system.
        CheckpointError: its checkpoint is missing, damaged or not in the weights folder.
        DataError: a data set that the protocol needs is not in `root`.
        ImageError: an image cannot be read.
    """
    checkpoint = find_checkpoint(system, download=False)
    if checkpoint.source != "weights":
        raise CheckpointError(
            f"The checkpoint of {system} lies in {checkpoint.folder}, a cache, and evaluations are kept beside "
            f"checkpoints. Copy the folder to {weights_folder() / system} first."
        )
    path = evaluation_folder(system) / f"{protocol}.csv"
    write_predictions([(checkpoint, PROTOCOLS[protocol](root).test)], root, path)
    return path


def write_predictions(
    parts: Sequence[tuple[Checkpoint, Sequence[Record]]], root: Path, path: Path, kept: Predictions | None = None
) -> None:
    """Let each checkpoint predict its labelled images, in float32, and write a line per image, in the order of folds.

    Args:
        kept: predictions to write besides.

    Raises:
        CheckpointError, DataError, ImageError: as `evaluate`.
    """
    lines = [line for checkpoint, records in parts for line in _lines(checkpoint, records, root)]
    if kept:
        names = [CLASS_NAMES[label] for label in kept.labels]
        lines += map(_line, kept.images, names, kept.folds, kept.logits)
        lines.sort(key=lambda line: line[COLUMNS.index("fold")])
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(lines)


def _lines(checkpoint: Checkpoint, records: Sequence[Record], root: Path) -> Iterator[list[str]]:
    spec = get_spec(checkpoint.system)
    network = load_network(checkpoint, spec)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    samples = load_samples(records, root, spec.preprocessing.size).to(device)
    # Left alone, convolutions on a GPU are computed in TF32, with 10 bits of mantissa.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        logits = predict(network.to(device), spec, samples.pixels).cpu().numpy()
    for record, row in zip(records, logits, strict=True):
        yield _line(record.image, record.label, record.fold, row)


def _line(image: str, label: str, fold: int | None, logits: np.ndarray) -> list[str]:
    return [image, label, "" if fold is None else str(fold), *(f"{logit:.4f}" for logit in logits)]


def read_predictions(path: Path) -> Predictions:
    """Read an evaluation's CSV file; DataError names the file, the line and what is wrong."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Make it with `python -m training evaluate`.") from None
    if tuple(header) != COLUMNS:
        raise DataError(f"{path}: the columns are {','.join(header) or 'missing'}, not {','.join(COLUMNS)}.")
    if not rows:
        raise DataError(f"{path} has no predictions.")
    images, labels, folds, logits = zip(*(_parse(row, f"{path}, line {line}") for line, row in rows), strict=True)
    image, times = Counter(images).most_common(1)[0]
    if times > 1:
        raise DataError(f"{path}: {image} is there {times} times.")
    return Predictions(images, np.array(labels), folds, np.array(logits))


def _parse(row: list[str], where: str) -> tuple[str, int, int | None, list[float]]:
    if len(row) != len(COLUMNS):
        raise DataError(f"{where}: {len(row)} values for {len(COLUMNS)} columns.")
    image, label, fold, *logits = row
    try:
        parsed = image, class_index(label), int(fold) if fold else None, [float(logit) for logit in logits]
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    if not np.isfinite(parsed[-1]).all():
        raise DataError(f"{where}: the logits {', '.join(logits)} are not all finite.")
    return parsed


def measure(predictions: Predictions) -> Metrics:
    """Accuracy, loss, and precision, sensitivity, specificity, F1 and ROC-AUC of every class."""
    n, labels, predicted = len(predictions.labels), predictions.labels, predictions.predicted
    correct = int((labels == predicted).sum())
    classes = {name: _measure_class(predictions, index) for index, name in enumerate(CLASS_NAMES)}
    present = [c for c in classes.values() if c.support]
    areas = [c.roc_auc for c in present if c.roc_auc is not None]
    return Metrics(
        n=n,
        accuracy=correct / n,
        accuracy_interval=wilson(correct, n),
        loss=float(-log_softmax(predictions.logits, axis=1)[np.arange(n), labels].mean()),
        macro_precision=fmean(c.precision for c in present),
        macro_recall=fmean(c.recall for c in present),
        macro_f1=fmean(c.f1 for c in present),
        macro_roc_auc=fmean(areas) if areas else None,
        classes=classes,
        confusion=tuple(map(tuple, confusion_matrix(labels, predicted, labels=range(len(CLASS_NAMES))).tolist())),
    )


def _measure_class(predictions: Predictions, index: int) -> ClassMetrics:
    truth, predicted = predictions.labels == index, predictions.predicted == index
    positives, negatives = int(truth.sum()), int((~truth).sum())
    true_positives, true_negatives = int((truth & predicted).sum()), int((~truth & ~predicted).sum())
    precision, recall, f1, _ = precision_recall_fscore_support(truth, predicted, average="binary", zero_division=0.0)
    area = roc_auc_score(truth, predictions.probabilities[:, index]) if positives and negatives else None
    return ClassMetrics(
        support=positives,
        precision=float(precision) if positives else None,
        recall=float(recall) if positives else None,
        recall_interval=wilson(true_positives, positives) if positives else None,
        specificity=true_negatives / negatives if negatives else None,
        specificity_interval=wilson(true_negatives, negatives) if negatives else None,
        f1=float(f1) if positives else None,
        roc_auc=None if area is None else float(area),
    )


def wilson(successes: int, trials: int) -> Interval:
    """Wilson's 95 % score interval of a proportion; both bounds are fractions."""
    interval = binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def to_json(metrics: Metrics) -> str:
    """The metrics as a JSON text, rounded to 6 decimals, in the order of the fields."""
    exact = json.dumps(asdict(metrics), allow_nan=False)
    return json.dumps(json.loads(exact, parse_float=lambda text: round(float(text), 6)), indent=1) + "\n"


def describe(metrics: Metrics) -> str:
    """The metrics as a person reads them, tables in Markdown."""
    confusion = [
        [label.text, *(str(count) for count in row)] for label, row in zip(LABELS, metrics.confusion, strict=True)
    ]
    accuracy = percent(metrics.accuracy, metrics.accuracy_interval)
    return "\n\n".join(
        [
            f"accuracy {accuracy}, n = {metrics.n:,}, loss {metrics.loss:.4f}",
            class_table(metrics),
            table(["true \\ predicted", *(label.text for label in LABELS)], confusion),
        ]
    )


def class_table(metrics: Metrics) -> str:
    """Markdown: one line per class, and the macro average."""
    interval = f"({CONFIDENCE:.0%} interval)".replace("%", " %")
    rows = [
        [
            label.text,
            f"{c.support:,}",
            percent(c.precision),
            percent(c.recall, c.recall_interval),
            percent(c.specificity, c.specificity_interval),
            percent(c.f1),
            decimal(c.roc_auc),
        ]
        for label, c in ((label, metrics.classes[label.name]) for label in LABELS)
    ]
    macro = [metrics.macro_precision, metrics.macro_recall, None, metrics.macro_f1]
    rows.append(["macro average", f"{metrics.n:,}", *map(percent, macro), decimal(metrics.macro_roc_auc)])
    header = ["class", "n", "precision", f"sensitivity {interval}", f"specificity {interval}", "F1", "ROC-AUC"]
    return table(header, rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it also reads as plain text; columns of numbers are right-aligned."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(3, *map(len, column)) for column in columns]
    right = [all(cell == DASH or cell[:1].isdigit() for cell in column[1:]) for column in columns]

    def line(cells: Sequence[str]) -> str:
        padded = (f"{cell:{'>' if r else '<'}{width}}" for cell, width, r in zip(cells, widths, right, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (width - 1) + (":" if r else "-") for width, r in zip(widths, right, strict=True)]
    return "\n".join(line(cells) for cells in (header, rule, *rows))


def percent(value: float | None, interval: Interval | None = None) -> str:
    """A fraction as "98.09 %", or "98.09 % (97.20–98.71)"; a dash for None."""
    if value is None:
        return DASH
    return f"{100 * value:.2f} %" + (f" ({100 * interval[0]:.2f}{DASH}{100 * interval[1]:.2f})" if interval else "")


def decimal(value: float | None) -> str:
    """A number in [0, 1] with four decimals; a dash for None."""
    return DASH if value is None else f"{value:.4f}"
