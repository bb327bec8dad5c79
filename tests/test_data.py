"""Data sets are found, read in ImageFolder's order, and split as the studies split them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from brain_tumor.images import ImageError
from brain_tumor.labels import CLASS_NAMES
from training.data import (
    DATA_SETS,
    FIGSHARE,
    KAGGLE,
    ROBOFLOW,
    Box,
    DataError,
    DataSet,
    data_root,
    folder_of,
    load_samples,
    read_records,
)
from training.protocols import PROTOCOLS, external, published

# Names that sort differently as text, as numbers and without case.
NAMES = ("2.jpg", "10.jpg", "Tr-b_1.JPG", "Tr-B_0.jpeg", "z.png", "a.jpg")
ANNOTATIONS = """image,label,fold,box_x_center,box_y_center,box_width,box_height
1.jpg,meningioma,3,0.63,0.42,0.22,0.15
2.jpg,glioma,1,0.5,0.25,0.1,0.2
3.jpg,pituitary,5,0.64,0.43,0.21,0.23
"""


def write_image(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((40, 36), value % 256, dtype=np.uint8)
    pixels[:20, :18] = 255
    Image.fromarray(pixels).save(path)


def write_classes(part: Path, each: tuple[int, ...] = (6, 5, 4, 6)) -> None:
    for i, (label, count) in enumerate(zip(CLASS_NAMES, each, strict=True)):
        for j, name in enumerate(NAMES[:count]):
            write_image(part / label / name, 60 * i + 7 * j)
    (part / CLASS_NAMES[0] / "notes.txt").write_text("no image")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Small data sets in the three layouts, side by side."""
    root = tmp_path_factory.mktemp("data")
    write_classes(root / KAGGLE.folder / "Training")
    write_classes(root / KAGGLE.folder / "Testing", (2, 2, 3, 2))
    write_classes(root / ROBOFLOW.folder / "train", (3, 1, 2, 2))
    for i in (1, 2, 3):
        write_image(root / FIGSHARE.folder / "images" / f"{i}.jpg", 50 * i)
    (root / FIGSHARE.folder / "annotations.csv").write_text(ANNOTATIONS)
    return root


@pytest.mark.parametrize("dataset", DATA_SETS, ids=lambda d: d.name)
def test_found_by_folder_name_and_as_unpacked(dataset: DataSet, root):
    for part in dataset.counts:
        side_by_side = read_records(dataset, root, part)
        unpacked = read_records(dataset, root / dataset.folder, part)
        assert side_by_side == unpacked
        assert all((folder_of(dataset, root) / record.image).is_file() for record in side_by_side)


@pytest.mark.parametrize(("dataset", "part"), [(KAGGLE, "Training"), (KAGGLE, "Testing"), (ROBOFLOW, "train")])
def test_order_and_labels_are_imagefolders(dataset, part, root):
    folder = root / dataset.folder
    expected = ImageFolder(folder / part)
    records = read_records(dataset, root, part)
    assert [str(folder / record.image) for record in records] == [path for path, _ in expected.samples]
    assert [record.label for record in records] == [expected.classes[i] for _, i in expected.samples]


def test_figshare_records_have_fold_and_box(root):
    records = read_records(FIGSHARE, root, "images")
    assert [(r.image, r.label, r.fold) for r in records] == [
        ("images/1.jpg", "meningioma", 3),
        ("images/2.jpg", "glioma", 1),
        ("images/3.jpg", "pituitary", 5),
    ]
    assert records[1].box == Box(x=0.5, y=0.25, width=0.1, height=0.2)


@pytest.mark.parametrize("dataset", DATA_SETS, ids=lambda d: d.name)
def test_missing_data_set_says_where_and_what_to_do(dataset, tmp_path):
    with pytest.raises(DataError) as error:
        folder_of(dataset, tmp_path)
    for part in (str(tmp_path), dataset.folder, dataset.marker, dataset.source, "Download"):
        assert part in str(error.value)


def test_class_without_images_is_named(root, tmp_path):
    shutil.copytree(root / KAGGLE.folder, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "Training" / "pituitary")
    for path in (tmp_path / "copy" / "Training" / "notumor").iterdir():
        path.rename(path.with_suffix(".dcm"))
    with pytest.raises(DataError, match="notumor, pituitary") as error:
        read_records(KAGGLE, tmp_path / "copy", "Training")
    assert str(tmp_path / "copy" / "Training") in str(error.value)
    assert "glioma" not in str(error.value)


def test_data_root_is_the_argument_then_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("BRAIN_TUMOR_DATA", str(tmp_path / "environment"))
    assert data_root(tmp_path / "argument") == tmp_path / "argument"
    assert data_root(None) == tmp_path / "environment"
    monkeypatch.delenv("BRAIN_TUMOR_DATA")
    with pytest.raises(DataError, match=r"--data.*BRAIN_TUMOR_DATA.*kaggle-brain-tumor-mri"):
        data_root(None)


def test_published_is_random_split_of_an_imagefolder(root):
    folder = ImageFolder(root / KAGGLE.folder / "Training")
    lengths = [int(0.85 * len(folder)), len(folder) - int(0.85 * len(folder))]
    train, val = torch.utils.data.random_split(folder, lengths, generator=torch.Generator().manual_seed(42))
    split = published(root)

    def paths(records):
        return [str(root / KAGGLE.folder / record.image) for record in records]

    assert paths(split.train) == [folder.samples[i][0] for i in train.indices]
    assert paths(split.val) == [folder.samples[i][0] for i in val.indices]
    assert split.test == read_records(KAGGLE, root, "Testing")
    assert (len(split.train), len(split.val), len(split.test)) == (17, 4, 9)


def test_external_is_study_bs(root):
    split = external(root)
    assert split.train == read_records(KAGGLE, root, "Training")
    assert split.val == read_records(KAGGLE, root, "Testing")
    assert split.test == read_records(ROBOFLOW, root, "train")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_image_has_two_roles(protocol, root):
    split = PROTOCOLS[protocol](root)
    records = split.train + split.val + split.test
    assert len({(record.dataset, record.image) for record in records}) == len(records)
    assert PROTOCOLS[protocol](root) == split


def test_samples_keep_the_order_of_the_records(root):
    records = external(root).test + read_records(KAGGLE, root, "Testing")
    samples = load_samples(records, root, 64)
    assert len(samples) == len(records)
    assert samples.pixels.shape == (len(records), 3, 64, 64)
    assert samples.pixels.dtype == torch.uint8
    assert [CLASS_NAMES[i] for i in samples.labels] == [record.label for record in records]
    # The lower right corner has the value that the file was written with.
    values = [60 * CLASS_NAMES.index(r.label) + 7 * NAMES.index(Path(r.image).name) for r in records]
    assert (samples.pixels[:, 0, 60, 60].int() - torch.tensor(values)).abs().max() <= 3


def test_damaged_image_is_named(root, tmp_path):
    shutil.copytree(root / ROBOFLOW.folder, tmp_path / "copy")
    damaged = tmp_path / "copy" / "train" / "meningioma" / "2.jpg"
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(ImageError, match=r"2\.jpg"):
        load_samples(read_records(ROBOFLOW, tmp_path / "copy", "train"), tmp_path / "copy", 64)


@pytest.mark.skipif("BRAIN_TUMOR_DATA" not in os.environ, reason="BRAIN_TUMOR_DATA is not set: needs the data sets")
@pytest.mark.parametrize(("dataset", "part"), [(d, part) for d in DATA_SETS for part in d.counts])
def test_downloaded_counts_are_those_stated(dataset, part):
    labels = [record.label for record in read_records(dataset, data_root(None), part)]
    counts = {label: labels.count(label) for label in dataset.counts[part]}
    expected = dict(dataset.counts[part])
    if (dataset, part) == (KAGGLE, "Training"):
        # Some copies lack four of the notumor images.
        assert counts.pop("notumor") in (expected["notumor"], expected["notumor"] - 4)
        del expected["notumor"]
    assert counts == expected
    assert set(labels) == set(dataset.counts[part])
