"""Make the index by which `brain_tumor.seen` recognises a checkpoint's training images, and measure how well it does.

What is a copy is known from the audit. The threshold is chosen on images of Kaggle's `Training` and of figshare that
are no copies of any image trained on. These show slices that are in Kaggle's `Testing` too: each image that is no copy
is judged, for the report, by a threshold chosen without it and all that is of its patient-wise fold.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import avg_pool2d

from brain_tumor.checkpoints import CheckpointError, find_checkpoint, weights_folder
from brain_tumor.images import read_image
from brain_tumor.seen import BITS, HEAD, INDEX_FILE, MARGIN, SeenIndex, cut_out, fingerprint, pack_index
from training.data import DATA_SETS, FIGSHARE, KAGGLE, ROBOFLOW, Record, folder_of, read_records
from training.evaluation import evaluation_folder, wilson
from training.protocols import FOLDS, PROTOCOLS, boxed, read_groups, split_for

log = logging.getLogger(__name__)

REPORT_FILE = "seen.json"
# Of the images the threshold is chosen on, so many may be taken for copies: half of what is asked for on others.
FALSE_ALARMS = 0.0025
# Training images that each disturbance is tried on.
SAMPLE = 200
# Side of the pictures that are to be rebuilt from codes.
PICTURE = 32

Edit = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Disturbance:
    """Something that happens to a slice on its way from a training set into an upload."""

    kind: str
    severity: str
    edit: Edit


@dataclass(frozen=True)
class Rate:
    """How many of n images were taken for training images."""

    images: str
    n: int
    found: int

    def to_json(self) -> dict:
        low, high = wilson(self.found, self.n)
        share = {"share": round(self.found / self.n, 6), "interval": [round(low, 6), round(high, 6)]}
        return {"images": self.images, "n": self.n, "found": self.found} | share


@dataclass(frozen=True, eq=False)
class Measured:
    """An index, and the report on it as JSON text."""

    content: bytes
    report: str


# --- Disturbances -----------------------------------------------------------------------------------------------------


def _encoded(image: Image.Image, kind: str, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, kind, quality=quality)
    return Image.open(file).convert("RGB")


def _resized(image: Image.Image, side: int) -> Image.Image:
    return image.resize((side, side), Image.Resampling.BICUBIC)


def _mapped(image: Image.Image, curve: Callable[[np.ndarray], np.ndarray]) -> Image.Image:
    """Grey values in [0, 1] through a curve."""
    values = curve(np.arange(256) / 255).clip(0, 1) * 255
    return image.point(np.rint(values).astype(int).tolist() * 3)


def _cropped(image: Image.Image, share: float) -> Image.Image:
    """Cut off a share of the width on the left and of the height below, and less on the other sides."""
    width, height = image.size
    return image.crop(
        (round(share * width), round(share * height / 2), round(width * (1 - share / 3)), round(height * (1 - share)))
    )


def _padded(image: Image.Image, share: float) -> Image.Image:
    return ImageOps.expand(image, border=(round(share * image.width), round(share * image.height / 2)))


def _tilted(image: Image.Image, degrees: float) -> Image.Image:
    return image.rotate(degrees, Image.Resampling.BICUBIC)


def _lettered(image: Image.Image, share: float) -> Image.Image:
    """White lettering of a share of the height in two corners."""
    image, size = image.copy(), round(share * image.height)
    draw = ImageDraw.Draw(image)
    draw.text((size // 3, size // 3), "EXAM 0123", fill="white", font_size=size)
    draw.text((size // 3, image.height - 1.5 * size), "R 12:31", fill="white", font_size=size)
    return image


def _transposed(image: Image.Image, way: Image.Transpose) -> Image.Image:
    return image.transpose(way)


def _everything(image: Image.Image) -> Image.Image:
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _encoded(ImageEnhance.Brightness(_resized(_padded(mirrored, 0.05), 300)).enhance(1.15), "JPEG", 60)


def _series(kind: str, edit: Callable, **values: Sequence) -> list[Disturbance]:
    """One disturbance for each value of the edit's only named parameter."""
    [(name, severities)] = values.items()
    return [Disturbance(kind, str(getattr(v, "name", v)), partial(edit, **{name: v})) for v in severities]


def _gamma(image: Image.Image, exponent: float) -> Image.Image:
    return _mapped(image, lambda x: x**exponent)


def _brighter(image: Image.Image, by: float) -> Image.Image:
    return _mapped(image, lambda x: x + by)


def _contrast(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(factor)


def _windowed(image: Image.Image, cut: float) -> Image.Image:
    """Lose a share of the range in the dark and as much in the bright."""
    return _mapped(image, lambda x: (x - cut) / (1 - 2 * cut))


DISTURBANCES = (
    Disturbance("identical", "", lambda image: image),
    *_series("mirrored or turned", _transposed, way=tuple(Image.Transpose)),
    *_series("JPEG quality", partial(_encoded, kind="JPEG"), quality=(95, 75, 50, 30)),
    *_series("WebP quality", partial(_encoded, kind="WEBP"), quality=(80, 30)),
    *_series("resized, px", _resized, side=(64, 96, 128, 512, 1024)),
    *_series("gamma", _gamma, exponent=(0.6, 0.8, 1.25, 1.6)),
    *_series("brightness added", _brighter, by=(-0.1, 0.1, 0.2)),
    *_series("contrast", _contrast, factor=(0.6, 1.5)),
    *_series("window, share cut off at either end", _windowed, cut=(0.05, 0.1, 0.15)),
    *_series("cropped, share", _cropped, share=(0.03, 0.06, 0.12)),
    *_series("padded, share", _padded, share=(0.1, 0.2, 0.4)),
    *_series("tilted, degrees", _tilted, degrees=(1, -2, 3, -5, 8)),
    *_series("lettering, share of the height", _lettered, share=(0.03, 0.06)),
    Disturbance("mirrored, padded, 300 px, brighter, JPEG 60", "", _everything),
)


# --- The index --------------------------------------------------------------------------------------------------------


def fit_and_measure(system: str, root: Path) -> Path:
    """Write the index of the images that a checkpoint in the weights folder was trained on, and what was measured.

    Args:
        root: folder of all three data sets.

    Returns:
        `weights/<system>/seen.safetensors`; the report is `weights/<system>/evaluation/seen.json`.

    Raises:
        UnknownModelError: no such system.
        CheckpointError: it has no checkpoint in the weights folder, or one trained by a protocol that is not known.
        DataError: a data set is missing.
        ImageError: an image cannot be read.
    """
    checkpoint = find_checkpoint(system, download=False)
    if checkpoint.source != "weights":
        raise CheckpointError(
            f"The checkpoint of {system} lies in {checkpoint.folder}, a cache. Copy the folder to "
            f"{weights_folder() / system} first."
        )
    protocol = checkpoint.config["protocol"]
    if protocol not in PROTOCOLS:
        raise CheckpointError(f"{checkpoint.folder} was trained by the protocol {protocol!r}, which is not known.")
    recipe = checkpoint.config["recipe"]
    # Recipes before windows were cut say nothing of them.
    measured = _measured(protocol, recipe["validate"], bool(recipe.get("crops")), root)
    path = checkpoint.folder / INDEX_FILE
    path.write_bytes(measured.content)
    report = evaluation_folder(system) / REPORT_FILE
    report.parent.mkdir(exist_ok=True)
    report.write_text(measured.report, encoding="utf-8", newline="\n")
    return path


@lru_cache
def _measured(protocol: str, validate: bool, crops: bool, root: Path) -> Measured:
    """What all systems that were trained on the same images have in common."""
    train = split_for(protocol, root, validate=validate).train
    return fit(boxed(train, root) if crops else train, root)


def fit(train: Sequence[Record], root: Path) -> Measured:
    """The index of some training images, measured on all data sets; DataError if one is missing."""
    folders = {dataset.name: folder_of(dataset, root) for dataset in DATA_SETS}

    def read(record: Record) -> Image.Image:
        return read_image(folders[record.dataset] / record.image)

    def lookups(records: Sequence[Record], index: SeenIndex, edit: Edit = lambda image: image) -> list[float]:
        return [index.nearest(edit(read(record))) for record in records]

    log.info("Coding %d training images.", len(train))
    codes, pictures = (torch.stack(part) for part in zip(*(_code_and_picture(read(r)) for r in train), strict=True))
    copies, others = split_copies(train, root)
    log.info("Choosing the threshold.")
    exact = SeenIndex(codes, threshold=-1.0)  # so that no search ends early
    chosen_on = [name for name in others if name.startswith((f"{KAGGLE.name} Training", FIGSHARE.name))]
    distances = {name: np.array(lookups(records, exact)) for name, records in others.items()}
    groups = _groups(root)
    chosen = [
        (groups[r.dataset, r.image], r.fold, d) for n in chosen_on for r, d in zip(others[n], distances[n], strict=True)
    ]
    threshold = choose_threshold(np.array([distance for *_, distance in chosen]))
    unseen = thresholds_without(chosen)
    index = replace(exact, threshold=threshold)
    false_alarms, taken, found = [], [], []
    for name, records in others.items():
        limits = np.array([unseen.get(groups[r.dataset, r.image], threshold) for r in records])
        false_alarms.append(Rate(name, len(records), int((distances[name] <= limits).sum())))
        taken += [r.image for r, is_taken in zip(records, distances[name] <= limits, strict=True) if is_taken]
        log.info("%s", false_alarms[-1])
    for name, records in copies.items():
        nearest = np.array(lookups(records, index))
        found.append(Rate(name, len(records), int((nearest <= threshold).sum())))
        log.info("%s", found[-1])
    disturbed = []
    for disturbance in DISTURBANCES:
        sample = train if disturbance.kind == "identical" else train[:: max(1, len(train) // SAMPLE)][:SAMPLE]
        nearest = np.array(lookups(sample, index, disturbance.edit))
        name = f"{disturbance.kind} {disturbance.severity}".strip()
        disturbed.append(Rate(name, len(sample), int((nearest <= threshold).sum())))
        log.info("%s", disturbed[-1])
    fresh = [_code_and_picture(read(record)) for name in chosen_on for record in others[name]]
    rebuilt = explained_by_codes(codes, pictures, *(torch.stack(part) for part in zip(*fresh, strict=True)))
    content = save(pack_index(codes, threshold))
    report = {
        "training_images": len(train),
        "bits": BITS,
        "bytes": len(content),
        "threshold": round(threshold, 6),
        "chosen_on": len(chosen),
        "false_alarms": [rate.to_json() for rate in false_alarms],
        "taken_for_copies": taken,
        "copies": [rate.to_json() for rate in found],
        "training_images_disturbed": [rate.to_json() for rate in disturbed],
        "picture_variance_explained_by_codes": round(rebuilt, 4),
    }
    return Measured(content, json.dumps(report, indent=1) + "\n")


def choose_threshold(distances: np.ndarray) -> float:
    """The largest threshold at which a share `FALSE_ALARMS` or less of images that are no copies is taken for one.

    It lies half a bit below the first distance that is too much.

    Args:
        distances: in [0, 1], of at least one such image.
    """
    return float(np.sort(distances)[int(FALSE_ALARMS * len(distances))] - 0.5 / BITS)


def thresholds_without(chosen: Sequence[tuple[int | str, int | None, float]]) -> dict[int | str, float]:
    """Group -> the threshold chosen on the slices of the other folds.

    Args:
        chosen: group, fold and distance of each image that the threshold is chosen on; an image without a fold gets
            one by its group, which is a number then.
    """
    folds = {group: group % len(FOLDS) + 1 if fold is None else fold for group, fold, _ in chosen}
    without = {
        left_out: choose_threshold(np.array([distance for group, _, distance in chosen if folds[group] != left_out]))
        for left_out in set(folds.values())
    }
    return {group: without[fold] for group, fold in folds.items()}


def split_copies(train: Sequence[Record], root: Path) -> tuple[dict[str, list[Record]], dict[str, list[Record]]]:
    """All images not trained on, by data set and part: those that are copies of one trained on, and the others.

    Images that the audit has not seen are left out.
    """
    groups, trained = _groups(root), {(r.dataset, r.image) for r in train}
    seen = {groups[key] for key in trained if key in groups}
    copies, others = {}, {}
    for dataset in DATA_SETS:
        for part in dataset.counts:
            known = [r for r in read_records(dataset, root, part) if (r.dataset, r.image) in groups]
            known = [r for r in known if (r.dataset, r.image) not in trained]
            for chosen, is_copy in ((copies, True), (others, False)):
                records = [r for r in known if (groups[r.dataset, r.image] in seen) == is_copy]
                if records:
                    chosen[f"{dataset.name} {part}"] = records
    return copies, others


def _groups(root: Path) -> dict[tuple[str, str], int | str]:
    """Data set and image -> group of near-duplicates over all data sets.

    No two slices of figshare are alike. Roboflow's files keep the name of the `Training` image that they were made of,
    "Tr-gl_0487_jpg.rf.7eaac….jpg" of "Tr-gl_0487.jpg", and the audit agrees.
    """
    audited = read_groups()
    groups: dict[tuple[str, str], int | str] = {(KAGGLE.name, image): found.group for image, found in audited.items()}
    twins = {found.twin: found.group for found in audited.values() if found.twin}
    for record in read_records(FIGSHARE, root, "images"):
        name = Path(record.image).name
        groups[record.dataset, record.image] = twins.get(name, f"{FIGSHARE.name} {name}")
    for record in read_records(ROBOFLOW, root, "train"):
        _, label, name = record.image.split("/")
        stem, made_on_roboflow, _ = name.partition(".rf.")
        original = f"Training/{label}/{'.'.join(stem.rsplit('_', 1))}"
        if made_on_roboflow and original in audited:
            groups[record.dataset, record.image] = audited[original].group
    return groups


# --- What a code gives away -------------------------------------------------------------------------------------------


def _code_and_picture(image: Image.Image) -> tuple[Tensor, Tensor]:
    """A slice's code (BITS,) and the head that it was made of, float32 (PICTURE²,) in [0, 255]."""
    frame, _ = cut_out(image.convert("L"))
    head = frame[MARGIN : MARGIN + HEAD, MARGIN : MARGIN + HEAD]
    return fingerprint(image).codes[0], avg_pool2d(head[None], HEAD // PICTURE).flatten()


def explained_by_codes(codes: Tensor, pictures: Tensor, other_codes: Tensor, other_pictures: Tensor) -> float:
    """Share of the variance among pictures of other slices that their codes yield to the best linear decoder.

    1 would be perfect pictures, 0 the mean picture every time. The decoder is a ridge regression that has seen codes
    (N, BITS) and pictures (N, P) of all training images; its strength is the best of several for these other slices.
    """
    mean, total = pictures.mean(0), (other_pictures - pictures.mean(0)).square().sum()
    gram, moments = codes.T @ codes, codes.T @ (pictures - mean)
    shares = []
    for ridge in (10.0, 100.0, 1000.0, 10000.0):
        decoder = torch.linalg.solve(gram + ridge * torch.eye(codes.shape[1]), moments)
        shares.append(1 - ((other_codes @ decoder + mean - other_pictures).square().sum() / total).item())
    return max(shares)
