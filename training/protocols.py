"""Who is training, validation and test. A protocol is a function of the data on disk and nothing else."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from training.data import FIGSHARE, KAGGLE, ROBOFLOW, Box, Record, read_records

SPLIT_SEED = 42
TRAIN_FRACTION = 0.85
FOLDS = (1, 2, 3, 4, 5)
GROUPS_FILE = Path(__file__).with_name("groups.csv")


@dataclass(frozen=True)
class Split:
    """Disjoint lists of images. `val` chooses the epoch, `test` is looked at once."""

    train: list[Record]
    val: list[Record]
    test: list[Record]


def published(root: Path) -> Split:
    """Study A: 85 % of Kaggle `Training` to train, 15 % to validate, Kaggle `Testing` to test.

    The permutation is that of `torch.utils.data.random_split` on an `ImageFolder` with a generator seeded 42.
    """
    records = read_records(KAGGLE, root, "Training")
    order = torch.randperm(len(records), generator=torch.Generator().manual_seed(SPLIT_SEED)).tolist()
    cut = int(TRAIN_FRACTION * len(records))
    return Split(
        train=[records[i] for i in order[:cut]],
        val=[records[i] for i in order[cut:]],
        test=read_records(KAGGLE, root, "Testing"),
    )


def external(root: Path) -> Split:
    """Study B: Kaggle `Training` to train, Kaggle `Testing` to validate, the Roboflow images to test."""
    return Split(
        train=read_records(KAGGLE, root, "Training"),
        val=read_records(KAGGLE, root, "Testing"),
        test=read_records(ROBOFLOW, root, "train"),
    )


@dataclass(frozen=True)
class Symmetry:
    """One of the eight ways to lay a square onto itself: quarter turns anticlockwise, then perhaps left for right."""

    name: str
    turns: int
    mirrored: bool

    def apply(self, images: Tensor) -> Tensor:
        """Images (..., S, S) -> (..., S, S)."""
        turned = torch.rot90(images, self.turns, (-2, -1))
        return turned.flip(-1) if self.mirrored else turned

    def apply_to_box(self, box: Box) -> Box:
        """The box around the same pixels after `apply`; fractions of the image."""
        x, y, width, height = box.x, box.y, box.width, box.height
        for _ in range(self.turns):
            x, y, width, height = y, 1 - x, height, width
        return Box(1 - x if self.mirrored else x, y, width, height)

    @property
    def inverse(self) -> Symmetry:
        """What undoes this one. A reflection undoes itself."""
        return self if self.mirrored else SYMMETRIES[-self.turns % 4]


SYMMETRIES = tuple(
    Symmetry(("mirror" if mirrored else "turn") + str(90 * turns), turns, mirrored)
    for mirrored in (False, True)
    for turns in range(4)
)
"""turn0 (nothing at all), turn90, ..., mirror0 (left for right), mirror90, ...: turns first, then the mirror."""
SYMMETRY_BY_NAME = {symmetry.name: symmetry for symmetry in SYMMETRIES}


@dataclass(frozen=True)
class Audited:
    """What the audit found out about one Kaggle image.

    Attributes:
        group: images with the same number show the same slice, perhaps turned, mirrored, or edited.
        twin: file name of the figshare image that shows the same slice, None where there is none.
        symmetry: what turns the figshare image into this one; None without a twin.
        fold: where the patient-wise protocol has it, None for tumours. Drawn once and kept: networks have been trained
            on these folds, and an audit that finds more copies must not move images from one to another.
    """

    group: int
    twin: str | None
    symmetry: Symmetry | None
    fold: int | None = None


@dataclass(frozen=True)
class Twin:
    """The figshare slice that a Kaggle image is a copy of.

    Attributes:
        source: its record, with the patient-wise fold, and the label as given there, which may differ.
        symmetry: what turns the figshare image into the Kaggle image.
        box: the tumour's box on the Kaggle image.
    """

    source: Record
    symmetry: Symmetry
    box: Box


@dataclass(frozen=True)
class Folds:
    """Five disjoint lists of images; no patient of figshare-cheng and no group of near-duplicates is in two of them."""

    parts: dict[int, list[Record]]

    def split(self, fold: int) -> Split:
        """`fold` to test, the one after it (1 after 5) to validate, the other three to train.

        A whole fold validates because nothing smaller is known to be free of patients that are trained on: figshare's
        files say the fold of a slice, not its patient, and a patient's slices are not in one stretch of file numbers.
        To train on four folds, fix the number of epochs beforehand and train on `train + val`.

        Raises:
            ValueError: there is no such fold.
        """
        if fold not in self.parts:
            raise ValueError(f"There is no fold {fold!r}; the folds are {', '.join(map(str, FOLDS))}.")
        val = fold % len(FOLDS) + 1
        train = [record for f in FOLDS if f not in (fold, val) for record in self.parts[f]]
        return Split(train, self.parts[val], self.parts[fold])


def patientwise(root: Path, fold: int) -> Split:
    """Train, validation and test images of one of the five `FOLDS`; see `patientwise_folds` and `Folds.split`."""
    return patientwise_folds(root).split(fold)


PROTOCOLS: dict[str, Callable[[Path], Split]] = {"published": published, "external": external}
PATIENTWISE = "patientwise"


def get_split(protocol: str, root: Path, fold: int | None = None) -> Split:
    """The images of a protocol, which is a key of PROTOCOLS, or PATIENTWISE with one of FOLDS; ValueError otherwise."""
    if protocol == PATIENTWISE:
        if fold not in FOLDS:
            raise ValueError(f"Which fold? Protocol {PATIENTWISE} needs one of {', '.join(map(str, FOLDS))}.")
        return patientwise(root, fold)
    if fold is not None:
        raise ValueError(f"Protocol {protocol} has no folds; only {PATIENTWISE} has.")
    return PROTOCOLS[protocol](root)


def split_for(protocol: str, root: Path, fold: int | None = None, validate: bool = True) -> Split:
    """What networks are trained, validated and tested on under a protocol, which is less or more than its lists say.

    Args:
        validate: False moves the validation images to the training images.

    Raises:
        ValueError: as `get_split`; or the protocol validates on images on which others test.
    """
    split = get_split(protocol, root, fold)
    if protocol == PATIENTWISE:
        split = replace(split, train=thinned(split.train))
    if validate:
        return split
    if protocol == "external":
        raise ValueError(
            "Protocol external validates on Kaggle's Testing, which no network may be trained on. Choose a recipe that "
            "validates."
        )
    return replace(split, train=split.train + thinned(split.val), val=[])


# The 1,996 notumor images are 302 slices, one of them 81 times. Two of each are enough to learn from.
COPIES = 2


def thinned(records: list[Record]) -> list[Record]:
    """The images without all but the first `COPIES` of each group of near-duplicates; figshare's have none."""
    audited, seen = read_groups(), Counter()
    kept = []
    for record in records:
        if record.dataset == KAGGLE.name and record.image in audited:
            group = audited[record.image].group
            seen[group] += 1
            if seen[group] > COPIES:
                continue
        kept.append(record)
    return kept


def with_boxes(records: list[Record], root: Path) -> list[Record]:
    """The images, where Kaggle's tumours that are figshare slices have their boxes."""
    if not any(record.dataset == KAGGLE.name and record.box is None for record in records):
        return records
    twins = figshare_twins(root)
    return [replace(record, box=twins[record.image].box) if record.image in twins else record for record in records]


def boxed(records: list[Record], root: Path) -> list[Record]:
    """The images as `with_boxes`, less those with a tumour whose box is not known."""
    tumours = FIGSHARE.counts["images"]
    return [record for record in with_boxes(records, root) if record.box or record.label not in tumours]


def patientwise_folds(root: Path) -> Folds:
    """The slices of figshare-cheng in its author's patient-wise folds, and Kaggle's notumor images beside them.

    Of Kaggle's notumor images (`Training` and `Testing`) no patient is known. Near-duplicates are in one fold, by
    `draw_folds`; different slices of one patient may still be in different folds. Left out are copies that were found
    to lie in several folds after these had been drawn, images that the audit has not seen, and Kaggle's tumour images:
    most are the figshare slices again.

    Raises:
        DataError: one of the two data sets is not there.
    """
    parts: dict[int, list[Record]] = {fold: [] for fold in FOLDS}
    for record in read_records(FIGSHARE, root, "images"):
        parts[record.fold].append(record)
    audited = read_groups()
    folds_of = defaultdict(set)
    for found in audited.values():
        if found.fold:
            folds_of[found.group].add(found.fold)
    for record in _kaggle(root):
        found = audited.get(record.image)
        if found and found.fold and len(folds_of[found.group]) == 1:
            parts[found.fold].append(replace(record, fold=found.fold))
    return Folds(parts)


def draw_folds(groups: Iterable[Sequence[str]], drawn: Mapping[str, int]) -> dict[str, int]:
    """A fold for every image, near-duplicates together: the largest group first, into the fold that has fewest so far.

    Args:
        groups: the images of each group.
        drawn: image -> fold, where an earlier audit has drawn it; these stay.
    """
    added = Counter(drawn.values())
    folds = dict(drawn)
    for group in sorted(groups, key=lambda group: (-len(group), min(group))):
        known = [drawn[image] for image in group if image in drawn]
        fold = known[0] if known else min(FOLDS, key=added.__getitem__)
        for image in group:
            added[fold] += image not in folds
            folds.setdefault(image, fold)
    return folds


def clean_test(root: Path) -> list[Record]:
    """The images of Kaggle's `Testing` that share no group with a `Training` image: copies of none that is trained on.

    Images that the audit has not seen are left out.
    """
    clean = clean_images()
    return [record for record in read_records(KAGGLE, root, "Testing") if record.image in clean]


def clean_images() -> frozenset[str]:
    """The names of Kaggle's `Testing` images that share no group with a `Training` image."""
    audited = read_groups()
    seen = {found.group for image, found in audited.items() if image.startswith("Training/")}
    return frozenset(i for i, found in audited.items() if i.startswith("Testing/") and found.group not in seen)


def figshare_twins(root: Path) -> dict[str, Twin]:
    """Kaggle image -> the figshare slice it is a copy of, for the Kaggle images on disk that have one."""
    audited = read_groups()
    sources = {Path(record.image).name: record for record in read_records(FIGSHARE, root, "images")}
    twins = {}
    for record in _kaggle(root):
        found = audited.get(record.image)
        if found and found.twin:
            source = sources[found.twin]
            twins[record.image] = Twin(source, found.symmetry, found.symmetry.apply_to_box(source.box))
    return twins


def _kaggle(root: Path) -> list[Record]:
    return [record for part in KAGGLE.counts for record in read_records(KAGGLE, root, part)]


def read_groups(path: Path = GROUPS_FILE) -> dict[str, Audited]:
    """Kaggle image -> what the audit found, as committed beside this module; `python -m training audit` writes it."""
    with open(path, newline="") as file:
        return {
            row["image"]: Audited(
                group=int(row["group"]),
                twin=row["twin"] or None,
                symmetry=SYMMETRY_BY_NAME.get(row["symmetry"]),
                fold=int(row["fold"]) if row["fold"] else None,
            )
            for row in csv.DictReader(file)
        }


def write_groups(found: Mapping[str, Audited], path: Path) -> None:
    """Write what `read_groups` reads, sorted by image."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "group", "twin", "symmetry", "fold"))
        for image, row in sorted(found.items()):
            symmetry = row.symmetry.name if row.symmetry else ""
            writer.writerow((image, row.group, row.twin or "", symmetry, row.fold or ""))
