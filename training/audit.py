"""Near-duplicates among the data sets, and what they mean for every number measured on them.

Two images are near-duplicates if one is the other after a flip or quarter turn, another compression, size, brightness,
contrast or sharpness, or another margin around the head. Neighbouring slices of one patient are not: they look alike as
a whole, yet differ in every fine structure. So fine structure alone is compared, its local strength divided out, which
editing hardly changes. In two steps:

1. Candidates: the correlation of 32x32 thumbnails under all eight symmetries, as blocked matrix products.
2. Verification: the correlation at 96x96, at the best shift of up to two pixels.

Both are done on the whole image and on the head alone, cut out in two ways, which finds copies that were cropped.
"""

from __future__ import annotations

import csv
import html
import json
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from brain_tumor.images import read_image
from brain_tumor.labels import CLASS_NAMES, DISPLAY_TEXT
from training import figures
from training.data import DATA_SETS, FIGSHARE, KAGGLE, ROBOFLOW, DataError, DataSet, Record, folder_of, read_records
from training.evaluation import percent, table
from training.protocols import GROUPS_FILE, SYMMETRIES, Audited, Symmetry, draw_folds, read_groups, write_groups

log = logging.getLogger(__name__)

SIZE = 96
THUMBNAIL = 32
MAX_SHIFT = 2
# Of 40,292 near-duplicates, no pair of thumbnails correlates less than 0.79.
CANDIDATE = 0.75
# In a valley. No two of the 3,064 figshare slices, neighbours of one patient included, score more than 0.79. All pairs
# looked at between 0.79 and 0.86 were copies: strongly sharpened ones, and ones with another margin.
DUPLICATE = 0.81
# Rows and columns per matrix product: 4096 x 1024 correlations are 16 MB.
QUERIES, KEYS = 1024, 4096
PAIRS_AT_A_TIME = 256
# Side of the image in which the head's outline is looked for, px, and how many along its edges are left out.
OUTLINE, FRAME = 192, 4
# Blurs in pixels of SIZE: structure finer than the first is kept, its strength is taken within the second.
FINE, SURROUNDINGS, FLOOR = 1.5, 4.0, 3.0
THUMBNAIL_FINE, THUMBNAIL_SURROUNDINGS, THUMBNAIL_FLOOR = 4.5, 12.0, 10.0
# Examples per kind of pair on the page to look at.
EXAMPLES = 40


@dataclass(frozen=True)
class Pair:
    """Two images of the same slice.

    Attributes:
        score: correlation of their fine structure, in [DUPLICATE, 1].
        symmetry: what turns `b` into `a`.
    """

    a: Record
    b: Record
    score: float
    symmetry: Symmetry


@dataclass(frozen=True, eq=False)
class Scores:
    """Scored pairs of images: indices `a` < `b` int64 (N,), `symmetry` of the best score as index of SYMMETRIES, int64
    (N,), that turns b into a, and the `score` float32 (N,) in [-1, 1]."""

    a: np.ndarray
    b: np.ndarray
    symmetry: np.ndarray
    score: np.ndarray


@dataclass(frozen=True)
class Share:
    """How much of one part of a data set, and of one class, is near-duplicate of an image in another part.

    Attributes:
        label: a class name, or None for all classes together.
        n: images of the part and class.
        near: those with a near-duplicate in the other part.
        unflipped: those with one that is neither mirrored nor turned.
        grouped: those in one group with an image of the other part; more than `near` where a third image links them.
    """

    part: str
    other: str
    label: str | None
    n: int
    near: int
    unflipped: int
    grouped: int


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        records: all images looked at.
        pairs: near-duplicates, best score first.
        groups: number of the connected component of each record, in the order of `records`.
        conflicts: the pairs whose labels differ.
        shares: the leakage report.
        scores: every candidate's score, also of those that are no near-duplicates.
        seconds: how long it took.
    """

    records: list[Record]
    pairs: list[Pair]
    groups: list[int]
    conflicts: list[Pair]
    shares: list[Share]
    scores: Scores
    seconds: float


# --- Images to what is compared ---------------------------------------------------------------------------------------


def views(image: Image.Image) -> Tensor:
    """An image of any size -> uint8 (3, SIZE, SIZE), grey: the whole of it, and what is not background, twice.

    First all of that, lettering and frames included; then the largest connected part of it, away from the edges where
    frames are drawn. Neither finds every copy that was cropped.
    """
    grey = image.convert("L")
    boxes = [None, *(_outline(grey, alone) for alone in (False, True))]
    return torch.from_numpy(
        np.stack([np.asarray(grey.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box)) for box in boxes])
    )


def _outline(grey: Image.Image, alone: bool) -> tuple[float, float, float, float]:
    """Left, top, right and lower edge of what is not background, px; of its largest part `alone` or of all of it."""
    side = OUTLINE if alone else SIZE
    small = np.asarray(grey.resize((side, side), Image.Resampling.BILINEAR))
    bright = small > 0.1 * np.percentile(small, 99.5)
    if alone:
        bright[:FRAME] = bright[-FRAME:] = bright[:, :FRAME] = bright[:, -FRAME:] = False
        parts, n = ndimage.label(bright)
        if n:
            bright = parts == 1 + np.bincount(parts[bright] - 1).argmax()
    # Rows and columns with a few bright pixels only hold noise or lettering.
    rows, columns = (np.flatnonzero(bright.mean(axis) > 0.03) for axis in (1, 0))
    if len(rows) < side // 6 or len(columns) < side // 6:
        return 0, 0, *grey.size
    x, y = grey.width / side, grey.height / side
    return columns[0] * x, rows[0] * y, (columns[-1] + 1) * x, (rows[-1] + 1) * y


def local_structure(pixels: Tensor, fine: float, surroundings: float, floor: float) -> Tensor:
    """What is finer than a blur of sigma `fine`, divided by its root mean square within `surroundings` plus `floor`.

    Args:
        pixels: (N, S, S) in [0, 255].
        fine, surroundings: sigmas of Gaussian blurs in pixels.
        floor: grey levels; keeps the noise of the background from counting as much as the brain.

    Returns:
        float32 (N, S, S), each image with mean 0 and norm 1, or 0 throughout where it has no structure.
    """
    size = pixels.shape[-1]
    narrow, wide = _blur(size, fine), _blur(size, surroundings)
    pixels = pixels.float()
    detail = pixels - narrow @ pixels @ narrow.T
    strength = (wide @ detail.square() @ wide.T).clamp_min(0).sqrt()
    return _standardized(detail / (strength + floor))


def _blur(size: int, sigma: float) -> Tensor:
    """Gaussian blur along one axis as a matrix (size, size); beyond the edge the last pixel goes on."""
    offsets = torch.arange(-int(3 * sigma), int(3 * sigma) + 1)
    weights = torch.exp(-offsets.square() / (2 * sigma**2))
    sources = (torch.arange(size)[:, None] + offsets).clamp(0, size - 1)
    return torch.zeros(size, size).scatter_add_(1, sources, (weights / weights.sum()).expand(size, -1))


def _standardized(images: Tensor) -> Tensor:
    images = images - images.mean((-2, -1), keepdim=True)
    return images / images.flatten(1).norm(dim=1).clamp_min(1e-6)[:, None, None]


# --- What is compared to scores ---------------------------------------------------------------------------------------


def compare(pixels: Tensor) -> Scores:
    """Score all pairs of images that look somewhat alike.

    Args:
        pixels: uint8 (N, SIZE, SIZE).

    Returns:
        The candidates, each pair once, with the symmetry that scores best.
    """
    blocks = [
        (local_structure(block, FINE, SURROUNDINGS, FLOOR).half(), _thumbnails(block))
        for block in pixels.split(QUERIES)
    ]
    structure, thumbnails = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    found = [
        (a, b, torch.full_like(a, index), _verify(structure, a, b, symmetry))
        for index, symmetry in enumerate(SYMMETRIES)
        for a, b in _candidates(thumbnails, symmetry)
    ]
    a, b, symmetry, score = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
    return best_of([Scores(a, b, symmetry, score)])


def _thumbnails(pixels: Tensor) -> Tensor:
    structure = local_structure(pixels, THUMBNAIL_FINE, THUMBNAIL_SURROUNDINGS, THUMBNAIL_FLOOR)
    return _standardized(torch.nn.functional.avg_pool2d(structure, SIZE // THUMBNAIL))


def _candidates(thumbnails: Tensor, symmetry: Symmetry) -> Iterator[tuple[Tensor, Tensor]]:
    """Indices a < b of thumbnails (N, T, T) that correlate, the symmetry applied to the second; a block at a time."""
    queries, keys = thumbnails.flatten(1), symmetry.apply(thumbnails).flatten(1)
    for first in range(0, len(queries), QUERIES):
        for second in range(first // KEYS * KEYS, len(keys), KEYS):
            correlations = queries[first : first + QUERIES] @ keys[second : second + KEYS].T
            a, b = torch.where(correlations > CANDIDATE)
            a, b = a + first, b + second
            yield a[a < b], b[a < b]


def _verify(structure: Tensor, a: Tensor, b: Tensor, symmetry: Symmetry) -> Tensor:
    """Correlation of structure (N, S, S) of the pairs, float32 (len(a),), at the best shift of MAX_SHIFT or less."""
    scores = [torch.zeros(0)]
    for i, j in zip(a.split(PAIRS_AT_A_TIME), b.split(PAIRS_AT_A_TIME), strict=True):
        if not len(i):
            continue  # of no images, MKL makes no Fourier transform (torch 2.14)
        spectrum = torch.fft.rfft2(structure[i].float()) * torch.fft.rfft2(symmetry.apply(structure[j].float())).conj()
        shifts = torch.fft.irfft2(spectrum, s=structure.shape[1:]).roll((MAX_SHIFT, MAX_SHIFT), (1, 2))
        scores.append(shifts[:, : 2 * MAX_SHIFT + 1, : 2 * MAX_SHIFT + 1].amax((1, 2)))
    return torch.cat(scores)


def best_of(several: Sequence[Scores]) -> Scores:
    """Each pair once, with the best of its scores, sorted by a and b."""
    a, b, symmetry, score = (
        np.concatenate([getattr(scores, name) for scores in several]) for name in ("a", "b", "symmetry", "score")
    )
    order = np.lexsort((symmetry, -score, b, a))
    first = np.ones(len(order), dtype=bool)
    first[1:] = (np.diff(a[order]) != 0) | (np.diff(b[order]) != 0)
    kept = order[first]
    return Scores(a[kept], b[kept], symmetry[kept], score[kept])


# --- Scores to findings -----------------------------------------------------------------------------------------------


def find(images: Iterable[Tensor]) -> Scores:
    """Candidates among images given as their `views`, each pair with the best score of their views."""
    pixels = torch.stack(list(images))
    return best_of([compare(pixels[:, view]) for view in range(pixels.shape[1])])


def to_pairs(records: Sequence[Record], scores: Scores) -> list[Pair]:
    """The near-duplicates among the candidates, best first."""
    order = np.argsort(-scores.score, kind="stable")
    return [
        Pair(records[scores.a[i]], records[scores.b[i]], float(scores.score[i]), SYMMETRIES[scores.symmetry[i]])
        for i in order[scores.score[order] > DUPLICATE]
    ]


def group(records: Sequence[Record], pairs: Sequence[Pair]) -> list[int]:
    """Number of each record's connected component, counted from 0 in the order of the records."""
    index = {_key(record): i for i, record in enumerate(records)}
    a, b = ([index[_key(getattr(pair, end))] for pair in pairs] for end in ("a", "b"))
    links = coo_array((np.ones(len(pairs), dtype=bool), (a, b)), shape=(len(records), len(records)))
    return connected_components(links, directed=False)[1].tolist()


def leakage(records: Sequence[Record], pairs: Sequence[Pair], groups: Sequence[int]) -> list[Share]:
    """The shares of each pair of parts in COMPARISONS that is there, class by class, all classes first."""
    near, unflipped = _partners(pairs), _partners([pair for pair in pairs if pair.symmetry == SYMMETRIES[0]])
    parts_of_group = defaultdict(set)
    for record, number in zip(records, groups, strict=True):
        parts_of_group[number].add(part_of(record))
    present = {part_of(record) for record in records}
    shares = []
    for part, other in COMPARISONS:
        if part not in present or other not in present:
            continue
        members = [(r, other in parts_of_group[g]) for r, g in zip(records, groups, strict=True) if part_of(r) == part]
        for label in (None, *CLASS_NAMES):
            chosen = [(r, linked) for r, linked in members if label in (None, r.label)]
            hits = [sum(other in found.get(_key(r), ()) for r, _ in chosen) for found in (near, unflipped)]
            shares.append(Share(part, other, label, len(chosen), *hits, sum(linked for _, linked in chosen)))
    return shares


def twins(pairs: Sequence[Pair]) -> dict[str, tuple[Record, Symmetry]]:
    """Kaggle image -> the figshare slice most like it, and what turns that one into the Kaggle image."""
    found: dict[str, tuple[Record, Symmetry]] = {}
    for pair in sorted(pairs, key=lambda pair: -pair.score):
        if (pair.a.dataset, pair.b.dataset) == (KAGGLE.name, FIGSHARE.name):
            found.setdefault(pair.a.image, (pair.b, pair.symmetry))
        elif (pair.a.dataset, pair.b.dataset) == (FIGSHARE.name, KAGGLE.name):
            found.setdefault(pair.b.image, (pair.a, pair.symmetry.inverse))
    return found


def kaggle_groups(
    records: Sequence[Record], pairs: Sequence[Pair], groups: Sequence[int], drawn: Mapping[str, int] | None = None
) -> dict[str, Audited]:
    """What the protocols need to know of every Kaggle image; groups are those over all data sets.

    Args:
        drawn: the folds that images without a tumour are in already.
    """
    twin_of = twins(pairs)
    without_tumour = defaultdict(list)
    for record, number in zip(records, groups, strict=True):
        if record.dataset == KAGGLE.name and record.label not in FIGSHARE.counts["images"]:
            without_tumour[number].append(record.image)
    folds = draw_folds(without_tumour.values(), drawn or {})
    found = {}
    for record, number in zip(records, groups, strict=True):
        if record.dataset == KAGGLE.name:
            twin, symmetry = twin_of.get(record.image, (None, None))
            found[record.image] = Audited(
                number, Path(twin.image).name if twin else None, symmetry, folds.get(record.image)
            )
    return found


def part_of(record: Record) -> str:
    """Data set and part as people read them, "kaggle Training" for example."""
    return f"{record.dataset} {record.image.split('/')[0]}"


def _part(dataset: DataSet, part: str) -> str:
    return f"{dataset.name} {part}"


_TRAINING, _TESTING = (_part(KAGGLE, part) for part in KAGGLE.counts)
_ROBOFLOW, _FIGSHARE = (_part(dataset, part) for dataset in (ROBOFLOW, FIGSHARE) for part in dataset.counts)
COMPARISONS = ((_TESTING, _TRAINING), (_ROBOFLOW, _TRAINING), (_TRAINING, _FIGSHARE), (_TESTING, _FIGSHARE))


def _partners(pairs: Sequence[Pair]) -> dict[tuple[str, str], set[str]]:
    """Image -> the parts that hold a near-duplicate of it."""
    found = defaultdict(set)
    for pair in pairs:
        found[_key(pair.a)].add(part_of(pair.b))
        found[_key(pair.b)].add(part_of(pair.a))
    return found


def _key(record: Record) -> tuple[str, str]:
    return record.dataset, record.image


def audit(root: Path) -> Audit:
    """Audit the data sets that are there.

    Raises:
        DataError: none is.
        ImageError: a file cannot be read; the message names it.
    """
    start = time.perf_counter()
    folders = _folders(root)
    records = [
        record
        for dataset in DATA_SETS
        if dataset.name in folders
        for part in dataset.counts
        for record in read_records(dataset, root, part)
    ]
    log.info("Reading %d images.", len(records))
    with ThreadPoolExecutor() as pool:
        images = list(pool.map(lambda record: views(read_image(folders[record.dataset] / record.image)), records))
    log.info("Comparing them.")
    scores = find(images)
    pairs = to_pairs(records, scores)
    groups = group(records, pairs)
    conflicts = [pair for pair in pairs if pair.a.label != pair.b.label]
    shares = leakage(records, pairs, groups)
    return Audit(records, pairs, groups, conflicts, shares, scores, time.perf_counter() - start)


def _folders(root: Path) -> dict[str, Path]:
    folders, missing = {}, []
    for dataset in DATA_SETS:
        try:
            folders[dataset.name] = folder_of(dataset, root)
        except DataError as error:
            missing.append(str(error))
    if not folders:
        raise DataError("\n".join(missing))
    for message in missing:
        log.warning("%s The audit goes on without it.", message)
    return folders


# --- Findings to files ------------------------------------------------------------------------------------------------


def write(found: Audit, root: Path, folder: Path) -> list[Path]:
    """Write the report and its sources into `folder`; returns the files. None of them holds an image.

    Args:
        root: folder of the data sets, for the page that shows pairs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "report.md": report(found),
        "leakage.json": json.dumps([asdict(share) for share in found.shares], indent=1) + "\n",
        "pairs.html": page(found, root),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    write_pairs(found.pairs, folder / "pairs.csv")
    write_pairs(found.conflicts, folder / "conflicts.csv")
    _write_all_groups(found, folder / "groups.csv")
    figures.save(histogram(found), folder / "scores.png", source="audit")
    names = (*texts, "pairs.csv", "conflicts.csv", "groups.csv", "scores.png")
    return [folder / name for name in names]


def install(found: Audit) -> Path:
    """Make what was found what the protocols go by; returns the file.

    Raises:
        DataError: a data set was missing, so that links through it are unknown.
    """
    present = {record.dataset for record in found.records}
    missing = [dataset.title for dataset in DATA_SETS if dataset.name not in present]
    if missing:
        raise DataError(f"Groups are those over all data sets, but these were not there: {', '.join(missing)}.")
    before = read_groups(GROUPS_FILE) if GROUPS_FILE.exists() else {}
    drawn = {image: audited.fold for image, audited in before.items() if audited.fold}
    write_groups(kaggle_groups(found.records, found.pairs, found.groups, drawn), GROUPS_FILE)
    return GROUPS_FILE


def write_pairs(pairs: Sequence[Pair], path: Path) -> None:
    """One pair a row; `symmetry` is the name of what turns b into a."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("dataset_a", "image_a", "label_a", "dataset_b", "image_b", "label_b", "score", "symmetry"))
        for p in pairs:
            ends = (p.a.dataset, p.a.image, p.a.label, p.b.dataset, p.b.image, p.b.label)
            writer.writerow((*ends, f"{p.score:.4f}", p.symmetry.name))


def _write_all_groups(found: Audit, path: Path) -> None:
    fold_of = {_key(record): record.fold for record in found.records}
    for image, (twin, _) in twins(found.pairs).items():
        fold_of[KAGGLE.name, image] = twin.fold
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("dataset", "image", "label", "group", "fold"))
        for r, number in zip(found.records, found.groups, strict=True):
            fold = fold_of[_key(r)]
            writer.writerow((r.dataset, r.image, r.label, number, "" if fold is None else fold))


def histogram(found: Audit) -> Figure:
    """Scores of all candidates on a logarithmic scale, those of different slices for certain apart."""
    figure = Figure(figsize=(8.4, 4.2), layout="constrained")
    axes = figure.subplots()
    figshare = np.array([record.dataset == FIGSHARE.name for record in found.records])
    different = figshare[found.scores.a] & figshare[found.scores.b]
    bins = np.linspace(0.3, 1, 71)
    for chosen, style in (
        (~different, {"color": figures.BLUE, "label": "other pairs"}),
        (different, {"color": figures.VERMILLION, "hatch": "//", "label": "two slices of figshare: never the same"}),
    ):
        axes.hist(found.scores.score[chosen], bins, histtype="stepfilled", alpha=0.6, **style)
    axes.axvline(DUPLICATE, color=figures.BLACK, linestyle="--", label=f"near-duplicates: above {DUPLICATE}")
    axes.set_yscale("log")
    axes.set(xlabel="Correlation of fine structure", ylabel="Candidate pairs", xlim=(0.3, 1))
    axes.legend(fontsize=9, loc="upper left")
    title = f"Scores of {len(found.scores.score):,} candidate pairs, n = {len(found.records):,} images"
    axes.set_title(title, fontsize=11)
    return figure


def report(found: Audit) -> str:
    """The report as Markdown."""
    n, sizes = len(found.records), Counter(found.groups)
    several = [size for size in sizes.values() if size > 1]
    return f"""# Near-duplicates in the data sets

{n:,} images show {len(sizes):,} different slices. {len(found.pairs):,} pairs of images are near-duplicates: one is the
other after a flip or quarter turn, another compression, size, brightness, contrast, sharpness or margin. They link
{sum(several):,} images to {len(several):,} groups of two or more.

{_slices_table(found)}

## Leakage

Images that have a near-duplicate in another part: at all; one neither mirrored nor turned; and those linked to the
other part through further images. What a network knows by heart counts there as a correct answer.

{_leakage_table(found.shares)}

## Same slice, different labels

{_conflicts_text(found.conflicts)}

## How alike is alike

![Histogram of scores](scores.png)

The score is the correlation of fine structure at {SIZE}x{SIZE} pixels, its local strength divided out, at the best
shift of up to {MAX_SHIFT} pixels, on the whole image or on the head alone, whichever is more. Near-duplicates score
above {DUPLICATE}. Slices of figshare-cheng are all different, neighbours in one patient's volume among them;
{_highest_different(found)}. `pairs.html` shows the least alike of the near-duplicates and the most alike of the
others, to judge for yourself.

Copies that were cropped into the head, turned by other angles, or whose fine structure is lost can be missed. Different
slices of one patient are no near-duplicates, but no independent test either.

## What it costs

{n:,} images took {found.seconds / 60:.1f} minutes on {torch.get_num_threads()} core(s), reading included. Reading and
preparing grow with the number of images; the comparison with its square ({len(SYMMETRIES)} symmetries, 3 views,
{THUMBNAIL * THUMBNAIL:,} multiplications for each of half of all pairs); verification with the number of pairs that
look alike. 100,000 images are 120 trillion multiplications: an hour or two on one core, minutes on many. Memory grows
with the number of images and of candidates only, about 45 kB an image (4.5 GB for 100,000), because correlations are
held for {QUERIES:,} x {KEYS:,} pairs at a time.
"""


def _highest_different(found: Audit) -> str:
    figshare = np.array([record.dataset == FIGSHARE.name for record in found.records])
    scores = found.scores.score[figshare[found.scores.a] & figshare[found.scores.b]]
    return f"the most alike two score {scores.max():.3f}" if len(scores) else "here are none that could be compared"


def _slices_table(found: Audit) -> str:
    members = defaultdict(list)
    for record, number in zip(found.records, found.groups, strict=True):
        members[part_of(record), record.label].append(number)
    rows = [
        [part, DISPLAY_TEXT[label], f"{len(numbers):,}", f"{len(set(numbers)):,}", str(max(Counter(numbers).values()))]
        for (part, label), numbers in members.items()
    ]
    return table(["part", "class", "images", "different slices", "most copies of one"], rows)


def _leakage_table(shares: Sequence[Share]) -> str:
    rows = [
        [s.part, s.other, DISPLAY_TEXT.get(s.label, "all"), f"{s.n:,}"]
        + [percent(count / s.n) for count in (s.near, s.unflipped, s.grouped)]
        for s in shares
        if s.n
    ]
    return table(["part", "also in", "class", "images", "near-duplicate", "without flips", "linked"], rows)


def _conflicts_text(conflicts: Sequence[Pair]) -> str:
    if not conflicts:
        return "None."
    rows = [
        [f"{p.a.dataset} {p.a.image}", p.a.label, f"{p.b.dataset} {p.b.image}", p.b.label, f"{p.score:.3f}"]
        for p in conflicts
    ]
    return table(["image", "label", "image", "label", "score"], rows)


def page(found: Audit, root: Path) -> str:
    """Pairs side by side as HTML that refers to the images where they lie on this machine, and embeds none."""
    folders = _folders(root)
    sections = []
    for title, pairs in _examples(found).items():
        sections.append(f"<h2>{html.escape(title)}</h2>")
        for pair in pairs:
            turn = f"{'scaleX(-1) ' if pair.symmetry.mirrored else ''}rotate({-90 * pair.symmetry.turns}deg)"
            cells = [
                f'<img loading="lazy" src="{html.escape((folders[r.dataset] / r.image).resolve().as_uri())}" {style}>'
                f"<figcaption>{html.escape(f'{r.dataset} {r.image}, {r.label}')}</figcaption>"
                for r, style in ((pair.a, ""), (pair.b, f'style="transform: {turn}"'))
            ]
            cells = "".join(f"<figure>{cell}</figure>" for cell in cells)
            sections.append(f"<p>{pair.score:.3f}, {pair.symmetry.name}</p><div>{cells}</div>")
    style = "body{font-family:sans-serif}div{display:flex}figure{margin:0 1em 1em 0}img{width:256px;height:256px}"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Pairs</title><style>{style}</style>'
    note = "<p>The second image of each pair is shown turned or mirrored as the first.</p>"
    return "\n".join([head, "<h1>Pairs</h1>", note, *sections, "</html>", ""])


def _examples(found: Audit) -> dict[str, list[Pair]]:
    examples = {"Near-duplicates with different labels": found.conflicts}
    parts = defaultdict(list)
    for pair in found.pairs:
        parts[part_of(pair.a), part_of(pair.b)].append(pair)
    for (a, b), pairs in parts.items():
        examples[f"Near-duplicates, the least alike: {a} and {b}"] = pairs[: -EXAMPLES - 1 : -1]
    scores = found.scores
    below = np.flatnonzero(scores.score <= DUPLICATE)
    below = below[np.argsort(-scores.score[below], kind="stable")][:EXAMPLES]
    examples["No near-duplicates, the most alike"] = [
        Pair(found.records[scores.a[i]], found.records[scores.b[i]], scores.score[i], SYMMETRIES[scores.symmetry[i]])
        for i in below
    ]
    return examples
