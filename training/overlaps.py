"""Do networks that give the same answer look at the same place? Asked about patients that none was trained on, by
class-activation maps, which every network has."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from brain_tumor.checkpoints import Checkpoint, weights_folder
from brain_tumor.explanation import COMPARED_CAM, explain_reading, overlap
from brain_tumor.images import read_image
from brain_tumor.inference import Classifier
from training.data import FIGSHARE, DataError, Record, folder_of
from training.protocols import patientwise_folds
from training.robustness import classifier

FILE = Path("docs", "overlaps.csv")
COLUMNS = ("image", "predicted", "overlap")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Overlap:
    """Of one slice that all systems give the same class, the smallest overlap of two heatmaps for it, in [0, 1]."""

    image: str
    predicted: str
    overlap: float


@dataclass(frozen=True)
class Overlaps:
    """What was measured of several systems together; slices on which they differ are not there."""

    systems: tuple[str, ...]
    rows: tuple[Overlap, ...]

    def by_image(self) -> dict[str, float]:
        return {row.image: row.overlap for row in self.rows}


def measure(folds: Mapping[str, Mapping[int, Checkpoint]], root: Path) -> Path:
    """Let the systems' fold networks explain the figshare slices of the folds that all of them were trained without.

    Args:
        folds: system -> fold -> the checkpoint that was not trained on it.
        root: folder of the data sets.

    Returns:
        `docs/overlaps.csv`.

    Raises:
        DataError: fewer than two systems, or no fold that all of them have.
        CheckpointError: a checkpoint is missing or damaged.
    """
    common = sorted(set.intersection(*map(set, folds.values()))) if folds else []
    if len(folds) < 2 or not common:
        raise DataError("Heatmaps of two systems at least are compared, each with networks for the same folds.")
    parts = patientwise_folds(root).parts
    rows: list[Overlap] = []
    for fold in common:
        networks = [classifier(checkpoints[fold]) for checkpoints in folds.values()]
        rows += _compared(networks, [record for record in parts[fold] if record.dataset == FIGSHARE.name], root)
        log.info("Fold %d: heatmaps compared.", fold)
    path = weights_folder().parent / FILE
    write(Overlaps(tuple(folds), tuple(rows)), path)
    return path


def _compared(networks: Sequence[Classifier], records: Sequence[Record], root: Path) -> list[Overlap]:
    rows = []
    folder = folder_of(FIGSHARE, root)
    for record in records:
        image = read_image(folder / record.image)
        readings = [network.read([image])[0] for network in networks]
        answers = {reading.prediction.predicted_class for reading in readings}
        if len(answers) > 1:
            continue
        explained = [
            explain_reading(network, reading, image.size, None, COMPARED_CAM)
            for network, reading in zip(networks, readings, strict=True)
        ]
        rows.append(Overlap(record.image, *answers, overlap([one.heatmap for one in explained])))
    return rows


def write(found: Overlaps, path: Path) -> None:
    """The systems' names in the first line, then a row per slice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["systems", *found.systems])
        writer.writerow(COLUMNS)
        writer.writerows((row.image, row.predicted, f"{row.overlap:.4f}") for row in found.rows)


def read(path: Path | None = None) -> Overlaps | None:
    """What `write` wrote, `docs/overlaps.csv` beside the weights; None where there is none."""
    path = path or weights_folder().parent / FILE
    if not path.exists():
        return None
    with open(path, newline="") as file:
        (_, *systems), _, *rows = csv.reader(file)
    return Overlaps(tuple(systems), tuple(Overlap(image, name, float(value)) for image, name, value in rows))
