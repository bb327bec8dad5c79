"""The data sets as people download them: where from, under which licence, what is known to be wrong, and readers.

Nothing here downloads or changes a file. `root` is a folder that holds the data sets side by side, or one data set's
own folder as unpacked from the original download.
"""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from brain_tumor.images import read_image
from brain_tumor.labels import CLASS_NAMES, class_index
from brain_tumor.preprocessing import fit

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}


class DataError(ValueError):
    """A data set is missing or not laid out as expected; the message says where it was looked for and what to do."""


@dataclass(frozen=True)
class DataSet:
    """One public data set.

    Attributes:
        folder: name under `root`.
        marker: a path inside the folder by which it is recognised.
        counts: images per class and part, as counted in the version named in `version`.
        faults: what a user of the numbers must know.
    """

    name: str
    title: str
    folder: str
    marker: str
    version: str
    source: str
    licence: str
    citation: str
    counts: dict[str, dict[str, int]]
    faults: tuple[str, ...]


KAGGLE = DataSet(
    name="kaggle",
    title="Brain Tumor MRI Dataset (Nickparvar)",
    folder="kaggle-brain-tumor-mri",
    marker="Training/glioma",
    version="1",
    source="https://www.kaggle.com/datasets/masoudnickparvar/brain-tumor-mri-dataset",
    licence="CC0 1.0",
    citation="Masoud Nickparvar. Brain Tumor MRI Dataset. Kaggle, 2021. doi:10.34740/kaggle/dsv/2645886",
    counts={
        "Training": {"glioma": 1321, "meningioma": 1339, "notumor": 1595, "pituitary": 1457},
        "Testing": {"glioma": 300, "meningioma": 306, "notumor": 405, "pituitary": 300},
    },
    faults=(
        "Three quarters of the Testing images are near-duplicates of a Training image, most of them mirrored.",
        "Every glioma and most other tumour slices are those of figshare-cheng, without their patient numbers.",
        "The notumor images come from other sources and sequences, some of them CT; those in Training show only 302 "
        "different slices, each edited in up to 55 ways.",
        "Four slices are filed under two classes, meningioma and pituitary.",
    ),
)

ROBOFLOW = DataSet(
    name="roboflow",
    title="Labeled MRI Brain Tumor Dataset (ali-rostami)",
    folder="roboflow-external",
    marker="train/glioma",
    version="1,695-image split of study B",
    source="https://universe.roboflow.com/ali-rostami/labeled-mri-brain-tumor-dataset",
    licence="CC BY 4.0",
    citation="Ali Rostami. Labeled MRI Brain Tumor Dataset. Roboflow Universe, 2024.",
    counts={"train": {"glioma": 564, "meningioma": 358, "notumor": 335, "pituitary": 438}},
    faults=("Every image is a near-duplicate of a Kaggle Training image: it is no independent test.",),
)

FIGSHARE = DataSet(
    name="figshare",
    title="Brain tumor dataset (Cheng)",
    folder="figshare-cheng",
    marker="annotations.csv",
    version="figshare 1512427, version 5",
    source="https://figshare.com/articles/dataset/brain_tumor_dataset/1512427",
    licence="CC BY 4.0",
    citation="Jun Cheng et al. Enhanced Performance of Brain Tumor Classification via Tumor Region Augmentation and "
    "Partition. PLoS ONE 10(10): e0140381, 2015.",
    counts={"images": {"glioma": 1426, "meningioma": 708, "pituitary": 930}},
    faults=("T1 contrast-enhanced slices with a tumour only: there is no notumor class.",),
)

DATA_SETS = (KAGGLE, ROBOFLOW, FIGSHARE)


@dataclass(frozen=True)
class Box:
    """A tumour's bounding box in fractions of the image: centre, width and height."""

    x: float
    y: float
    width: float
    height: float

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        half_width, half_height = self.width / 2, self.height / 2
        return self.x - half_width, self.y - half_height, self.x + half_width, self.y + half_height


@dataclass(frozen=True)
class Record:
    """One labelled image: its path relative to the data set's folder (with /), its class, its fold and box if known."""

    dataset: str
    image: str
    label: str
    fold: int | None = None
    box: Box | None = None


def data_root(argument: str | os.PathLike | None) -> Path:
    """The folder given on the command line, else `BRAIN_TUMOR_DATA`; DataError says how to give one."""
    given = argument or os.environ.get("BRAIN_TUMOR_DATA")
    if not given:
        raise DataError(
            "Where is the data? Give --data DIR or set BRAIN_TUMOR_DATA to a folder that holds "
            f"{', '.join(d.folder for d in DATA_SETS)}, or to one of these unpacked."
        )
    return Path(given)


def folder_of(dataset: DataSet, root: Path) -> Path:
    """The data set's own folder: `root` itself or a folder in it that holds the marker."""
    for folder in (root / dataset.folder, root):
        if (folder / dataset.marker).exists():
            return folder
    raise DataError(
        f"{dataset.title} is not in {root}: neither {dataset.folder}/{dataset.marker} nor {dataset.marker} exists "
        f"there. Download it from {dataset.source} and unpack it there."
    )


def read_records(dataset: DataSet, root: Path, part: str) -> list[Record]:
    """Labelled images of one part, sorted by class and name as torchvision's ImageFolder sorts them; those of figshare
    in the order of their annotations.

    Args:
        part: a key of `dataset.counts`, for example "Training".

    Raises:
        DataError: the data set is not there, or a class has no image.
    """
    folder = folder_of(dataset, root)
    records = _read_annotations(dataset, folder) if dataset is FIGSHARE else _read_class_folders(dataset, folder / part)
    counts = Counter(record.label for record in records)
    empty = [label for label in dataset.counts[part] if not counts[label]]
    if empty:
        raise DataError(f"No {', '.join(empty)} images in {folder / part}.")
    return records


def _read_class_folders(dataset: DataSet, part: Path) -> list[Record]:
    return [
        Record(dataset.name, f"{part.name}/{label}/{path.name}", label)
        for label in CLASS_NAMES
        for path in sorted((part / label).glob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]


def _read_annotations(dataset: DataSet, folder: Path) -> list[Record]:
    with open(folder / dataset.marker, newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Record(
            dataset.name,
            f"images/{row['image']}",
            row["label"],
            int(row["fold"]),
            Box(*(float(row[f"box_{key}"]) for key in ("x_center", "y_center", "width", "height"))),
        )
        for row in rows
    ]


@dataclass(frozen=True)
class Samples:
    """Decoded images on one device.

    Attributes:
        pixels: uint8 (N, 3, size, size).
        labels: int64 (N,).
        boxes: float (N, 4), left, top, right and bottom of the tumour in fractions of the image; all 0 where there is
            no tumour, NaN where its box is not known.
    """

    pixels: Tensor
    labels: Tensor
    boxes: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Samples:
        return Samples(self.pixels.to(device), self.labels.to(device), self.boxes.to(device))


def load_samples(records: Sequence[Record], root: Path, size: int) -> Samples:
    """Decode and resize with the app's own reader and `fit`; ImageError names a file that cannot be read."""
    folders = {d.name: folder_of(d, root) for d in DATA_SETS if any(r.dataset == d.name for r in records)}
    with ThreadPoolExecutor() as pool:
        pixels = list(pool.map(lambda r: fit(read_image(folders[r.dataset] / r.image), size), records))
    return Samples(
        torch.stack(pixels) if pixels else torch.empty(0, 3, size, size, dtype=torch.uint8),
        torch.tensor([class_index(record.label) for record in records], dtype=torch.int64),
        torch.tensor([_corners(record) for record in records]).reshape(-1, 4),
    )


def _corners(record: Record) -> tuple[float, float, float, float]:
    if record.box:
        return record.box.corners
    unknown = math.nan if record.label in FIGSHARE.counts["images"] else 0.0
    return unknown, unknown, unknown, unknown
