"""Copies of a slice are found with what turns one into the other, other slices are not, and no copy is in two folds."""

from __future__ import annotations

import csv
import io
import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance
from slices import mri_slice

from brain_tumor.images import read_image
from brain_tumor.labels import CLASS_NAMES
from training.__main__ import main
from training.audit import (
    DUPLICATE,
    SIZE,
    Audit,
    Pair,
    audit,
    find,
    group,
    kaggle_groups,
    to_pairs,
    twins,
    views,
    write,
)
from training.data import (
    FIGSHARE,
    KAGGLE,
    ROBOFLOW,
    Box,
    data_root,
    folder_of,
    read_records,
)
from training.protocols import (
    FOLDS,
    GROUPS_FILE,
    SYMMETRIES,
    SYMMETRY_BY_NAME,
    Audited,
    clean_test,
    draw_folds,
    figshare_twins,
    patientwise,
    patientwise_folds,
    read_groups,
    write_groups,
)

real_data = pytest.mark.skipif(
    "BRAIN_TUMOR_DATA" not in os.environ, reason="BRAIN_TUMOR_DATA is not set: needs the data sets"
)
GLIOMA, MENINGIOMA, NOTUMOR, PITUITARY = CLASS_NAMES
TURNS = (None, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)


def slice_of(patient: int, tumour: tuple[float, float, float] | None = (0.3, -0.1, 0.17)) -> Image.Image:
    """A slice with an anatomy of its own: phantoms of different seeds alone have the same skull and ventricles."""
    return warped(mri_slice(patient, tumour=tumour), 0.04, patient)


def neighbour_of(patient: int) -> Image.Image:
    """The next slice of the same patient: all structures a little elsewhere, the tumour a little larger."""
    return warped(slice_of(patient, tumour=(0.31, -0.09, 0.19)), 0.02, 1000 + patient)


def warped(image: Image.Image, strength: float, seed: int) -> Image.Image:
    """Move every structure by up to about `strength` times the image's side, smoothly."""
    rng, size = np.random.default_rng(seed), image.width
    coarse = [Image.fromarray(rng.uniform(-1, 1, (7, 7)).astype(np.float32)) for _ in range(2)]
    down, right = (strength * size * np.asarray(c.resize((size, size), Image.Resampling.BICUBIC)) for c in coarse)
    y, x = np.mgrid[:size, :size]
    rows, columns = ((p + shift).round().clip(0, size - 1).astype(int) for p, shift in ((y, down), (x, right)))
    return Image.fromarray(np.asarray(image)[rows, columns])


def applied(symmetry, image: Image.Image) -> Image.Image:
    """The symmetry by Pillow's own means."""
    turned = image.transpose(TURNS[symmetry.turns]) if symmetry.turns else image
    return turned.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if symmetry.mirrored else turned


def recompressed(image: Image.Image, quality: int = 60) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def with_margin(image: Image.Image) -> Image.Image:
    wider = Image.new("RGB", (image.width + 40, image.height + 30))
    wider.paste(image, (10, 25))
    return wider


def score(a: Image.Image, b: Image.Image) -> tuple[float, str | None]:
    """Score and symmetry of two images; 0 and None where they are no candidates."""
    found = find([views(a), views(b)])
    return (float(found.score[0]), SYMMETRIES[found.symmetry[0]].name) if len(found.score) else (0.0, None)


# --- Symmetries -------------------------------------------------------------------------------------------------------


def test_eight_symmetries_do_as_pillow_does_and_are_undone_by_their_inverse():
    pixels = torch.arange(12 * 12, dtype=torch.uint8).reshape(12, 12)
    image = Image.fromarray(pixels.numpy())
    results = set()
    for symmetry in SYMMETRIES:
        turned = symmetry.apply(pixels)
        assert np.array_equal(turned.numpy(), np.asarray(applied(symmetry, image)))
        assert torch.equal(symmetry.inverse.apply(turned), pixels)
        results.add(turned.numpy().tobytes())
    assert len(results) == len(SYMMETRY_BY_NAME) == 8


@pytest.mark.parametrize("symmetry", SYMMETRIES, ids=lambda s: s.name)
def test_box_moves_as_a_drawn_mask_does(symmetry):
    box = Box(0.3, 0.55, 0.2, 0.5)
    mask = torch.zeros(100, 100)
    mask[30:80, 20:40] = 1
    rows, columns = torch.where(symmetry.apply(mask) > 0)
    top, bottom, left, right = (v.item() / 100 for v in (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1))
    moved = symmetry.apply_to_box(box)
    expected = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    assert (moved.x, moved.y, moved.width, moved.height) == pytest.approx(expected)


# --- What is a near-duplicate -----------------------------------------------------------------------------------------

EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "exact copy": lambda image: image.copy(),
    "JPEG at quality 60": recompressed,
    "224 px": lambda image: image.resize((224, 224)),
    "512 px": lambda image: image.resize((512, 512)),
    "10 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "10 % darker": lambda image: ImageEnhance.Brightness(image).enhance(0.9),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.5),
    "sharpened": lambda image: ImageEnhance.Sharpness(image).enhance(3),
    "another margin": with_margin,
    "all at once": lambda image: recompressed(ImageEnhance.Brightness(image.resize((200, 200))).enhance(1.1)),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("patient", [1, 2])
def test_edited_copy_is_found(edit, patient):
    image = slice_of(patient)
    found, symmetry = score(image, EDITS[edit](image))
    assert found > DUPLICATE
    assert symmetry == "turn0"


@pytest.mark.parametrize("symmetry", SYMMETRIES, ids=lambda s: s.name)
def test_turned_or_mirrored_copy_is_found_with_its_symmetry(symmetry):
    image = slice_of(3)
    found, name = score(recompressed(applied(symmetry, image)), image.resize((224, 224)))
    assert found > DUPLICATE
    assert name == symmetry.name


@pytest.mark.parametrize("patient", range(6))
def test_neighbouring_slice_is_no_copy(patient):
    assert score(slice_of(patient), neighbour_of(patient))[0] < DUPLICATE - 0.1


def test_slices_of_different_patients_are_no_copies():
    found = find([views(slice_of(patient)) for patient in range(20)])
    assert not (found.score > DUPLICATE - 0.1).any()


def test_images_without_structure_are_copies_of_nothing():
    empty = [views(Image.new("RGB", (64, 64), (value,) * 3)) for value in (0, 0, 90, 255)]
    assert not (find([*empty, views(slice_of(1))]).score > DUPLICATE).any()


def test_blocks_change_nothing(monkeypatch):
    images = [views(edit(slice_of(patient))) for patient in range(4) for edit in list(EDITS.values())[:3]]
    whole = find(images)
    for name, size in (("QUERIES", 3), ("KEYS", 5), ("PAIRS_AT_A_TIME", 2)):
        monkeypatch.setattr(f"training.audit.{name}", size)
    blocked = find(images)
    assert blocked.a.tolist() == whole.a.tolist()
    assert blocked.b.tolist() == whole.b.tolist()
    assert blocked.symmetry.tolist() == whole.symmetry.tolist()
    assert blocked.score == pytest.approx(whole.score, abs=1e-3)


@pytest.mark.parametrize("grey", [60, 255])
def test_copies_are_found_whose_frame_was_drawn_around_a_margin(grey):
    framed = with_margin(slice_of(1))
    ImageDraw.Draw(framed).rectangle((0, 0, framed.width - 1, framed.height - 1), outline=(grey,) * 3, width=2)
    found, symmetry = score(slice_of(1), framed)
    assert found > DUPLICATE
    assert symmetry == SYMMETRIES[0].name


def test_views_are_grey_and_the_others_than_the_first_are_filled_by_the_head():
    whole, head, alone = views(with_margin(slice_of(1)))
    assert whole.shape == head.shape == alone.shape == (SIZE, SIZE)
    assert whole.dtype == torch.uint8
    for view, filled in ((whole, False), (head, True), (alone, True)):
        edges = torch.cat([view[:2].flatten(), view[-2:].flatten(), view[:, :2].flatten(), view[:, -2:].flatten()])
        assert bool((edges > 60).any()) is filled


# --- From pairs to a report -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Small data sets that hold copies of each other, among them one with another label.

    figshare 1, 2, 3, 4 are patients 1, 2, 3, 4; 5 is the neighbour of 1.
    """
    root = tmp_path_factory.mktemp("data")
    mirror, turn = SYMMETRY_BY_NAME["mirror0"], SYMMETRY_BY_NAME["turn90"]
    images = {
        f"{FIGSHARE.folder}/images/1.png": slice_of(1),
        f"{FIGSHARE.folder}/images/2.png": slice_of(2),
        f"{FIGSHARE.folder}/images/3.png": slice_of(3),
        f"{FIGSHARE.folder}/images/4.png": slice_of(4),
        f"{FIGSHARE.folder}/images/5.png": neighbour_of(1),
        f"{KAGGLE.folder}/Training/{GLIOMA}/a.png": applied(mirror, slice_of(1)),
        f"{KAGGLE.folder}/Training/{MENINGIOMA}/b.png": slice_of(2),
        f"{KAGGLE.folder}/Training/{NOTUMOR}/c.png": slice_of(11),
        f"{KAGGLE.folder}/Training/{NOTUMOR}/d.png": ImageEnhance.Contrast(slice_of(11)).enhance(1.5),
        f"{KAGGLE.folder}/Training/{PITUITARY}/e.png": applied(turn, slice_of(2)),
        f"{KAGGLE.folder}/Testing/{GLIOMA}/f.png": slice_of(4),
        f"{KAGGLE.folder}/Testing/{MENINGIOMA}/g.png": slice_of(12),
        f"{KAGGLE.folder}/Testing/{NOTUMOR}/h.png": applied(mirror, slice_of(11)),
        f"{KAGGLE.folder}/Testing/{NOTUMOR}/i.png": slice_of(13),
        f"{KAGGLE.folder}/Testing/{PITUITARY}/j.png": recompressed(slice_of(2)),
    }
    for i, label in enumerate(CLASS_NAMES):
        images[f"{ROBOFLOW.folder}/train/{label}/k.png"] = slice_of(20 + i)
    images[f"{ROBOFLOW.folder}/train/{NOTUMOR}/l.png"] = recompressed(slice_of(11))
    for name, image in images.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / name)
    rows = [(1, GLIOMA, 1), (2, MENINGIOMA, 2), (3, PITUITARY, 3), (4, GLIOMA, 4), (5, GLIOMA, 5)]
    lines = [f"{n}.png,{label},{fold},0.3,0.4,0.2,0.1" for n, label, fold in rows]
    header = "image,label,fold,box_x_center,box_y_center,box_width,box_height"
    (root / FIGSHARE.folder / "annotations.csv").write_text("\n".join([header, *lines, ""]))
    return root


@pytest.fixture(scope="module")
def found(root) -> Audit:
    return audit(root)


def names(images) -> set[str]:
    return {Path(image).stem for image in images}


def test_groups_are_the_copies_over_all_data_sets(found):
    members = defaultdict(set)
    for record, number in zip(found.records, found.groups, strict=True):
        members[number].add(f"{record.dataset[0]}{Path(record.image).stem}")
    several = [group for group in members.values() if len(group) > 1]
    expected = [["f1", "ka"], ["f2", "kb", "ke", "kj"], ["f4", "kf"], ["kc", "kd", "kh", "rl"]]
    assert sorted(map(sorted, several)) == expected


def test_groups_are_transitive(found):
    records = found.records[:5]
    links = [Pair(records[i], records[j], 0.9, SYMMETRIES[0]) for i, j in ((0, 3), (4, 3))]
    first, second, third, fourth, fifth = group(records, links)
    assert first == fourth == fifth
    assert len({first, second, third}) == 3


def test_label_conflicts_are_reported(found):
    conflicts = {frozenset((Path(pair.a.image).stem, Path(pair.b.image).stem)) for pair in found.conflicts}
    assert conflicts == {frozenset(pair) for pair in (("b", "e"), ("2", "e"), ("b", "j"), ("2", "j"))}
    assert all(pair.a.label != pair.b.label for pair in found.conflicts)


def test_twins_carry_fold_symmetry_and_box_over(found, root, monkeypatch):
    audited = kaggle_groups(found.records, found.pairs, found.groups)
    monkeypatch.setattr("training.protocols.read_groups", lambda: audited)
    carried = {Path(image).stem: twin for image, twin in figshare_twins(root).items()}
    assert {name: (Path(t.source.image).stem, t.symmetry.name, t.source.fold) for name, t in carried.items()} == {
        "a": ("1", "mirror0", 1),
        "b": ("2", "turn0", 2),
        "e": ("2", "turn90", 2),
        "f": ("4", "turn0", 4),
        "j": ("2", "turn0", 2),
    }
    for name, expected in (("a", (0.7, 0.4, 0.2, 0.1)), ("b", (0.3, 0.4, 0.2, 0.1)), ("e", (0.4, 0.7, 0.1, 0.2))):
        box = carried[name].box
        assert (box.x, box.y, box.width, box.height) == pytest.approx(expected)
    assert names(record.image for record in clean_test(root)) == {"f", "g", "i"}


def test_twins_read_pairs_in_either_order(found):
    turned_around = [Pair(pair.b, pair.a, pair.score, pair.symmetry.inverse) for pair in found.pairs]
    assert twins(turned_around) == twins(found.pairs)


def test_folds_hold_figshare_and_grouped_notumor_images(found, root, monkeypatch):
    audited = kaggle_groups(found.records, found.pairs, found.groups)
    monkeypatch.setattr("training.protocols.read_groups", lambda: audited)
    folds = patientwise_folds(root)
    assert {fold: names(r.image for r in records) for fold, records in folds.parts.items()} == {
        1: {"1", "c", "d", "h"},
        2: {"2", "i"},
        3: {"3"},
        4: {"4"},
        5: {"5"},
    }
    assert all(record.fold == fold for fold, records in folds.parts.items() for record in records)
    split = folds.split(5)
    assert (names(r.image for r in split.test), names(r.image for r in split.val)) == ({"5"}, {"1", "c", "d", "h"})
    assert names(r.image for r in split.train) == {"2", "i", "3", "4"}
    with pytest.raises(ValueError, match="1, 2, 3, 4, 5"):
        folds.split(6)


def test_folds_stay_as_drawn_when_more_copies_are_found():
    drawn = draw_folds([("a", "b"), ("c",), ("d",)], {})
    assert drawn == {"a": 1, "b": 1, "c": 2, "d": 3}
    # b and c turn out to be copies, e is new and one of d, f and g are new.
    again = draw_folds([("a", "b", "c"), ("d", "e"), ("f", "g")], drawn)
    assert again == drawn | {"e": 3, "f": 4, "g": 4}


def test_copies_found_to_lie_in_several_folds_are_left_out(found, root, monkeypatch):
    audited = kaggle_groups(found.records, found.pairs, found.groups)
    moved = next(image for image in audited if Path(image).stem == "d")
    assert audited[moved].fold == 1
    monkeypatch.setattr("training.protocols.read_groups", lambda: audited | {moved: replace(audited[moved], fold=3)})
    parts = patientwise_folds(root).parts
    together = {Path(image).stem for image, row in audited.items() if row.group == audited[moved].group}
    assert {"d"} < together
    assert not together & set().union(*(names(r.image for r in records) for records in parts.values()))
    assert names(r.image for r in parts[2]) == {"2", "i"}


def test_images_unknown_to_the_audit_are_left_out(root, monkeypatch):
    monkeypatch.setattr("training.protocols.read_groups", dict)
    assert not any(record.dataset == KAGGLE.name for part in patientwise_folds(root).parts.values() for record in part)
    assert clean_test(root) == []
    assert figshare_twins(root) == {}


def test_groups_file_reads_back_what_was_written(tmp_path):
    twin = Audited(3, "7.jpg", SYMMETRY_BY_NAME["mirror90"])
    rows = {"Training/x/a.jpg": twin, "Testing/x/b.jpg": Audited(4, None, None, 5)}
    write_groups(rows, tmp_path / "groups.csv")
    assert read_groups(tmp_path / "groups.csv") == rows


def test_stated_shares_are_those_of_the_pairs_written(found, root, tmp_path):
    write(found, root, tmp_path)
    with open(tmp_path / "pairs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = {(r.dataset, r.image): r.label for r in found.records}
    assert found.shares
    for share in found.shares:
        near, unflipped = set(), set()
        for row in rows:
            ends = [(row["dataset_a"], row["image_a"]), (row["dataset_b"], row["image_b"])]
            for image, partner in (ends, ends[::-1]):
                parts = tuple(f"{dataset} {name.split('/')[0]}" for dataset, name in (image, partner))
                if parts == (share.part, share.other) and share.label in (None, labels[image]):
                    near.add(image)
                    unflipped |= {image} if row["symmetry"] == "turn0" else set()
        assert (share.near, share.unflipped) == (len(near), len(unflipped))
        assert share.unflipped <= share.near <= share.grouped <= share.n
    by_part = {(s.part, s.other): s for s in found.shares if s.label is None}
    testing = by_part["kaggle Testing", "kaggle Training"]
    assert (testing.n, testing.near, testing.unflipped) == (5, 2, 1)
    text = (tmp_path / "report.md").read_text()
    assert "40.00 %" in text and "20.00 %" in text
    assert f"{len(found.pairs)} pairs" in text


def test_report_refers_to_images_and_holds_none(found, root, tmp_path):
    files = write(found, root, tmp_path)
    assert {path.name for path in files} == {path.name for path in tmp_path.iterdir()}
    page = (tmp_path / "pairs.html").read_text()
    assert "data:" not in page
    assert (root / KAGGLE.folder / "Training" / GLIOMA / "a.png").resolve().as_uri() in page
    assert {path.suffix for path in files} == {".md", ".json", ".html", ".csv", ".png"}
    with open(tmp_path / "groups.csv", newline="") as file:
        folds = {(row["dataset"], Path(row["image"]).stem): row["fold"] for row in csv.DictReader(file)}
    assert (folds["kaggle", "a"], folds["kaggle", "c"], folds["figshare", "3"]) == ("1", "", "3")


def test_command_writes_the_report_and_installs_groups_only_if_all_data_sets_are_there(
    root, tmp_path, monkeypatch, capsys
):
    target, patients = tmp_path / "installed.csv", tmp_path / "patients.csv"
    monkeypatch.setattr("training.audit.GROUPS_FILE", target)
    monkeypatch.setattr("training.__main__.CLUSTERS_FILE", patients)
    out = tmp_path / "out"
    assert main(["audit", "--data", str(root), "--out", str(out), "--install"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert set(printed) == {*map(str, out.iterdir()), str(target), str(patients)}
    with open(patients, newline="") as file:
        assert {Path(row["image"]).stem for row in csv.DictReader(file)} == set("12345")
    assert names(read_groups(target)) == set("abcdefghij")
    target.unlink()
    assert main(["audit", "--data", str(root / KAGGLE.folder), "--out", str(out), "--install"]) == 2
    assert FIGSHARE.title in capsys.readouterr().err
    assert not target.exists()
    assert main(["audit", "--data", str(tmp_path / "nowhere"), "--out", str(out)]) == 2


# --- The real data ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_root() -> Path:
    return data_root(None)


@real_data
def test_committed_groups_name_the_kaggle_images(real_root):
    audited = read_groups()
    images = {r.image for part in KAGGLE.counts for r in read_records(KAGGLE, real_root, part)}
    # Of some copies four images are missing; none is there that the audit has not seen, which the protocols would drop.
    assert images <= set(audited)
    assert GROUPS_FILE.stat().st_size < 400_000
    assert all((found.twin is None) == (found.symmetry is None) for found in audited.values())


@real_data
def test_committed_groups_are_what_the_audit_yields(real_root):
    """On the members of some groups, and their figshare twins: all others of the data sets would take minutes."""
    audited = read_groups()
    rng = random.Random(0)
    chosen = set(rng.sample(sorted({found.group for found in audited.values()}), 900))
    twins_on_disk = {found.twin for found in audited.values() if found.group in chosen}
    records = [r for part in KAGGLE.counts for r in read_records(KAGGLE, real_root, part)]
    records = [r for r in records if r.image in audited and audited[r.image].group in chosen]
    records += [r for r in read_records(FIGSHARE, real_root, "images") if Path(r.image).name in twins_on_disk]
    folders = {dataset.name: folder_of(dataset, real_root) for dataset in (KAGGLE, FIGSHARE)}
    with ThreadPoolExecutor() as pool:
        images = list(pool.map(lambda r: views(read_image(folders[r.dataset] / r.image)), records))
    pairs = to_pairs(records, find(images))
    found = kaggle_groups(records, pairs, group(records, pairs))
    assert len(found) > 1500
    for image, row in found.items():
        assert (row.twin, row.symmetry) == (audited[image].twin, audited[image].symmetry)
    assert partition(found) == partition({image: audited[image] for image in found})


def partition(audited: dict[str, Audited]) -> set[frozenset[str]]:
    groups = defaultdict(set)
    for image, found in audited.items():
        groups[found.group].add(image)
    return set(map(frozenset, groups.values()))


@real_data
@pytest.mark.parametrize("fold", FOLDS)
def test_no_group_and_no_patient_fold_has_two_roles(fold, real_root):
    split = patientwise(real_root, fold)
    audited = read_groups()
    roles = defaultdict(set)
    for role, records in (("train", split.train), ("val", split.val), ("test", split.test)):
        assert {record.label for record in records} == set(CLASS_NAMES)
        for record in records:
            roles["image", record.dataset, record.image].add(role)
            # No two figshare slices are near-duplicates, and all of a patient's are in one fold.
            roles["fold", record.fold].add(role)
            if record.dataset == KAGGLE.name:
                assert audited[record.image].twin is None
                roles["group", audited[record.image].group].add(role)
    assert all(len(found) == 1 for found in roles.values())
    assert {record.fold for record in split.test} == {fold}
    assert len(split.train + split.val + split.test) == sum(len(p) for p in patientwise_folds(real_root).parts.values())


@real_data
def test_folds_are_complete_and_their_notumor_images_balanced(real_root):
    parts = patientwise_folds(real_root).parts
    counts = {fold: Counter(record.label for record in records) for fold, records in parts.items()}
    audited = read_groups()
    folds_of = defaultdict(set)
    for row in audited.values():
        folds_of[row.group].add(row.fold)
    on_disk = [r.image for part in KAGGLE.counts for r in read_records(KAGGLE, real_root, part) if r.label == NOTUMOR]
    # All but copies that were found after the folds had been drawn.
    expected = {image for image in on_disk if len(folds_of[audited[image].group]) == 1}
    assert {r.image for records in parts.values() for r in records if r.label == NOTUMOR} == expected
    assert len(expected) > 0.9 * len(on_disk)
    slices = [len({audited[r.image].group for r in part if r.label == NOTUMOR}) for part in parts.values()]
    assert max(slices) - min(slices) <= 5
    for label, number in FIGSHARE.counts["images"].items():
        assert sum(count[label] for count in counts.values()) == number


@real_data
def test_twins_and_clean_test_images_are_as_many_as_stated(real_root):
    found = figshare_twins(real_root)
    counts = Counter(image.split("/")[0] for image in found)
    assert counts["Training"] >= 3961 and counts["Testing"] >= 788
    assert all(f"/{GLIOMA}/" not in r.image or r.image in found for r in read_records(KAGGLE, real_root, "Training"))
    assert all(0 <= value <= 1 for twin in found.values() for value in astuple(twin.box))
    clean = Counter(record.label for record in clean_test(real_root))
    testing = Counter(record.label for record in read_records(KAGGLE, real_root, "Testing"))
    near = {label: 1 - clean[label] / testing[label] for label in CLASS_NAMES}
    assert near[NOTUMOR] >= 0.995 and near[MENINGIOMA] >= 0.94 and near[PITUITARY] >= 0.73 and near[GLIOMA] >= 0.27
    assert 1 - clean.total() / testing.total() >= 0.757
