"""Copies of a training image are recognised, other slices are not, and the index holds no image."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import WEIGHTS, committed
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from slices import mri_slice
from test_audit import neighbour_of, recompressed, slice_of, with_margin
from toy_data import write_kaggle, write_roboflow

from brain_tumor.checkpoints import CheckpointError
from brain_tumor.seen import BITS, INDEX_FILE, SeenIndex, fingerprint, load_index, pack_index
from training import seen
from training.data import FIGSHARE, KAGGLE, ROBOFLOW, Record, data_root, folder_of, read_records
from training.protocols import SYMMETRIES, Audited, boxed, clean_test, split_for

real_data = pytest.mark.skipif(
    "BRAIN_TUMOR_DATA" not in os.environ, reason="BRAIN_TUMOR_DATA is not set: needs the data sets"
)
TRAINED_ON = range(8)
# About what is chosen on real slices: `training.seen` measures it.
THRESHOLD = 0.12


@pytest.fixture(scope="module")
def index() -> SeenIndex:
    return SeenIndex(torch.stack([fingerprint(slice_of(patient)).codes[0] for patient in TRAINED_ON]), THRESHOLD)


def lettered(image: Image.Image) -> Image.Image:
    image = image.copy()
    ImageDraw.Draw(image).text((3, 3), "R 12:31", fill="white", font_size=10)
    return image


def curved(curve: Callable[[float], float]) -> Callable[[Image.Image], Image.Image]:
    table = [round(255 * min(max(curve(i / 255), 0), 1)) for i in range(256)] * 3
    return lambda image: image.point(table)


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "identical": lambda image: image,
    "in grey": lambda image: image.convert("L"),
    "JPEG at quality 30": lambda image: recompressed(image, 30),
    "64 px": lambda image: image.resize((64, 64), Image.Resampling.BICUBIC),
    "1024 px": lambda image: image.resize((1024, 1024), Image.Resampling.BICUBIC),
    "stretched": lambda image: image.resize((300, 220), Image.Resampling.BICUBIC),
    "brighter": curved(lambda x: 1.2 * x),
    "window": curved(lambda x: (x - 0.05) / 0.9),
    "gamma 0.7": curved(lambda x: x**0.7),
    "gamma 1.5": curved(lambda x: x**1.5),
    "margin": with_margin,
    "cropped": lambda image: image.crop((20, 10, 245, 250)),
    "tilted": lambda image: image.rotate(2, Image.Resampling.BICUBIC),
    "lettering": lettered,
}


@pytest.mark.parametrize("edit", COPIES)
def test_edited_copies_are_found(edit, index):
    assert all(index.contains(COPIES[edit](slice_of(patient))) for patient in TRAINED_ON)


@pytest.mark.parametrize("symmetry", SYMMETRIES, ids=lambda s: s.name)
def test_mirrored_and_turned_copies_are_found(symmetry, index):
    pixels = torch.from_numpy(np.array(slice_of(3).convert("L")))
    copy = Image.fromarray(symmetry.apply(pixels).numpy())
    assert index.contains(recompressed(copy.convert("RGB")))


def test_other_slices_are_not_found(index):
    others = [neighbour_of(patient) for patient in TRAINED_ON] + [slice_of(patient) for patient in range(50, 60)]
    assert not any(index.contains(image) for image in others)


@pytest.mark.parametrize("value", [0, 255])
def test_an_empty_picture_is_not_found(value, index):
    assert not index.contains(Image.new("RGB", (200, 300), (value,) * 3))


def test_noise_is_not_found(index):
    noise = np.random.default_rng(0).integers(0, 256, (128, 160, 3), dtype=np.uint8)
    assert not index.contains(Image.fromarray(noise))


def test_distance_grows_with_what_was_changed(index):
    exact = SeenIndex(index.codes, threshold=-1.0)
    image = slice_of(1)
    distances = [exact.nearest(i) for i in (image, recompressed(image, 20), neighbour_of(1))]
    assert distances[0] == 0
    assert 0 < distances[1] < THRESHOLD < distances[2] < 0.5


def test_one_fingerprint_serves_every_index(index):
    image = COPIES["tilted"](slice_of(2))
    without = SeenIndex(torch.cat([index.codes[:2], index.codes[3:]]), THRESHOLD)
    query = fingerprint(image)
    assert (index.contains(query), without.contains(query)) == (True, False)
    assert index.nearest(query) == index.nearest(image)


def test_index_is_the_same_after_writing_and_reading(index, tmp_path):
    assert load_index(tmp_path) is None
    twice = torch.cat([index.codes, index.codes[:3]])
    save_file(pack_index(twice, THRESHOLD), tmp_path / INDEX_FILE)
    read = load_index(tmp_path)
    assert sorted(read.codes.tolist()) == sorted(index.codes.tolist())
    assert read.threshold == pytest.approx(THRESHOLD)
    assert (tmp_path / INDEX_FILE).stat().st_size < len(index) * BITS / 8 + 500
    (tmp_path / "another").mkdir()
    save_file(pack_index(index.codes, THRESHOLD), tmp_path / "another" / INDEX_FILE)
    assert load_index(tmp_path / "another") is read


@pytest.mark.parametrize("content", [b"", b"nonsense" * 20], ids=["empty", "nonsense"])
def test_a_damaged_index_is_named(content, tmp_path):
    (tmp_path / INDEX_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match=str(tmp_path / INDEX_FILE)):
        load_index(tmp_path)


def test_an_index_of_other_codes_is_named(tmp_path):
    save_file({"codes": torch.zeros(5, 3, dtype=torch.uint8), "threshold": torch.tensor(0.1)}, tmp_path / INDEX_FILE)
    with pytest.raises(CheckpointError, match="another version"):
        load_index(tmp_path)


# --- Making and measuring it ------------------------------------------------------------------------------------------


def test_threshold_is_the_largest_that_lets_no_more_than_the_stated_share_of_other_slices_pass():
    distances = np.arange(40, 440) / BITS
    assert (distances <= seen.choose_threshold(distances)).sum() == seen.FALSE_ALARMS * 400
    assert 0.1 < seen.choose_threshold(np.array([65, 65, 70]) / BITS) < 65 / BITS


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Kaggle's first glioma is in one group with its first Testing image, with figshare's 1 and one of Roboflow's."""
    write_kaggle(tmp_path)
    write_roboflow(tmp_path, 2)
    folder = tmp_path / FIGSHARE.folder / "images"
    folder.mkdir(parents=True)
    for patient in (1, 2, 3):
        slice_of(patient).save(folder / f"{patient}.png")
    rows = [f"{n}.png,{label},{n},0.3,0.4,0.2,0.1" for n, label in enumerate(FIGSHARE.counts["images"], 1)]
    header = "image,label,fold,box_x_center,box_y_center,box_width,box_height"
    (folder.parent / FIGSHARE.marker).write_text("\n".join([header, *rows, ""]))
    original = folder_of(KAGGLE, tmp_path) / "Training" / "glioma" / "000.png"
    slice_of(1).save(original)
    recompressed(slice_of(1)).save(folder_of(KAGGLE, tmp_path) / "Testing" / "glioma" / "000.png")
    recompressed(slice_of(1), 80).save(folder_of(ROBOFLOW, tmp_path) / "train" / "glioma" / "000_png.rf.c0ffee.jpg")
    names = [r.image for part in KAGGLE.counts for r in read_records(KAGGLE, tmp_path, part)]
    audited = {name: Audited(number, None, None) for number, name in enumerate(names)}
    audited["Training/glioma/000.png"] = Audited(0, "1.png", SYMMETRIES[0])
    audited["Testing/glioma/000.png"] = Audited(0, "1.png", SYMMETRIES[0])
    monkeypatch.setattr("training.seen.read_groups", lambda: audited)
    return tmp_path


def names(records: list[Record]) -> set[str]:
    return {record.image for record in records}


def test_no_slice_is_judged_by_a_threshold_that_was_chosen_on_its_fold():
    chosen = [("a", 1, 0.30), ("b", 1, 0.20), ("c", 2, 0.40), ("d", 3, 0.50), (4, None, 0.45)]
    without = seen.thresholds_without(chosen)
    half_a_bit = 0.5 / BITS
    assert without.keys() == {"a", "b", "c", "d", 4}
    assert without["a"] == without["b"] == pytest.approx(0.40 - half_a_bit)
    assert [without[group] for group in ("c", "d", 4)] == pytest.approx([0.20 - half_a_bit] * 3)


def test_copies_are_told_from_others_by_the_audit(root):
    train = [r for r in read_records(KAGGLE, root, "Training") if r.image.endswith("000.png")]
    copies, others = seen.split_copies(train, root)
    assert {part: names(records) for part, records in copies.items()} == {
        "kaggle Testing": {"Testing/glioma/000.png"},
        "roboflow train": {"train/glioma/000_png.rf.c0ffee.jpg"},
        "figshare images": {"images/1.png"},
    }
    assert names(others["figshare images"]) == {"images/2.png", "images/3.png"}
    assert len(others["kaggle Training"]) == 4 * 7
    assert not names(others["kaggle Training"]) & names(train)


def test_index_and_report_are_made_of_the_data(root, monkeypatch):
    monkeypatch.setattr("training.seen.SAMPLE", 1)
    train = [r for r in read_records(KAGGLE, root, "Training") if r.image == "Training/glioma/000.png"]
    measured = seen.fit(train, root)
    report = json.loads(measured.report)
    assert {row["images"]: (row["n"], row["found"]) for row in report["copies"]} == {
        "kaggle Testing": (1, 1),
        "roboflow train": (1, 1),
        "figshare images": (1, 1),
    }
    assert len(report["training_images_disturbed"]) == len(seen.DISTURBANCES)
    assert report["training_images_disturbed"][0]["share"] == 1
    assert report["bytes"] == len(measured.content)


def test_a_linear_decoder_gets_back_what_codes_hold_and_no_more():
    rng = torch.Generator().manual_seed(0)
    codes, others = (torch.randn(n, 20, generator=rng).sign() for n in (2000, 500))
    mixing = torch.randn(20, 9, generator=rng)
    assert seen.explained_by_codes(codes, codes @ mixing, others, others @ mixing) > 0.98
    noise = [torch.randn(n, 9, generator=rng) for n in (2000, 500)]
    assert seen.explained_by_codes(codes, noise[0], others, noise[1]) < 0.05


# --- The committed indexes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", committed())
def test_committed_index_is_small_and_takes_no_phantom_for_a_training_image(system):
    index = load_index(WEIGHTS / system)
    report = json.loads((WEIGHTS / system / "evaluation" / seen.REPORT_FILE).read_text())
    assert (WEIGHTS / system / INDEX_FILE).stat().st_size == report["bytes"] < 1 << 20
    assert index.threshold == pytest.approx(report["threshold"], abs=1e-6)
    assert not any(index.contains(mri_slice(seed)) for seed in range(10))


@real_data
@pytest.mark.parametrize("system", committed())
def test_committed_index_knows_the_training_images_and_few_others(system):
    root = data_root(None)
    folder = folder_of(KAGGLE, root)
    index = load_index(WEIGHTS / system)
    config = json.loads((WEIGHTS / system / "config.json").read_text())
    trained = split_for(config["protocol"], root, validate=config["recipe"]["validate"]).train
    if config["recipe"].get("crops"):
        trained = boxed(trained, root)
    assert len(trained) == sum(config["data"]["train"].values())
    trained = trained[::150] + trained[-10:]
    assert all(index.contains(Image.open(folder / record.image)) for record in trained)
    clean = clean_test(root)[::10]
    assert sum(index.contains(Image.open(folder / record.image)) for record in clean) <= 1
