"""Fit and measure what refuses pictures that are no brain MRI slices.

Gates are fitted twice. The one that is measured knows only the kinds of pictures whose role is "fit": what it makes of
those with the role "test" says what to expect of pictures that nobody thought of. The one that is written for use is
then fitted to the kinds of all roles in the same way, and its false refusals are measured again.
"""

from __future__ import annotations

import io
import json
import logging
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from safetensors.torch import save
from scipy import ndimage
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from torch import Tensor, nn

from brain_tumor.architectures import split
from brain_tumor.checkpoints import Checkpoint, CheckpointError, find_checkpoint, load_network
from brain_tumor.images import read_image
from brain_tumor.labels import class_index
from brain_tumor.preprocessing import preprocess
from brain_tumor.refusal import GATE_FILE, Block, Gate, describe, plain_reason, pool
from brain_tumor.registry import get_spec
from training import elsewhere, negatives
from training.data import DATA_SETS, FIGSHARE, KAGGLE, ROBOFLOW, DataError, Record, folder_of, read_records
from training.evaluation import evaluation_folder, wilson
from training.guards import OTHER_SCANS
from training.negatives import Stock
from training.protocols import clean_test, published, read_groups

log = logging.getLogger(__name__)

# Of the slices set apart, so many may be refused: as they are, and as users bring them.
FALSE_REFUSALS, FALSE_REFUSALS_BROUGHT = 0.01, 0.03
NETWORK_AXES, PICTURE_AXES = 64, 96
PENALTY = 3.0
# Of the kernel, where the slices' coordinates have a total variance of 1: found on the kinds to choose by. A wider
# kernel lets more unknown pictures pass, a narrower one refuses more slices.
GAMMA = 2.0
NEIGHBOURS = 5
# One group of near-duplicates in so many is set apart for the threshold.
SET_APART = 5
CLEAN = "kaggle without copies of training images"
ELSEWHERE = "scans from elsewhere"


@dataclass(frozen=True)
class Effort:
    """How many pictures are looked at.

    Attributes:
        slices: to fit to.
        brought: to fit to, changed as users change them.
        apart: to choose the threshold on, as they are and changed.
        each: pictures of every kind of negatives to fit to, choose by and test on.
        test: slices per data set but Kaggle's Testing, which is measured whole.
        uses: slices per way of bringing them.
    """

    # Twice as many slices changed nothing; of the kinds to choose by, twice as many that were brought let 8 instead of
    # 13 of 475 pass, for it is they that set the threshold.
    slices: int = 900
    brought: int = 2000
    apart: int = 450
    each: tuple[int, int, int] = (30, 25, 25)
    test: int = 1000
    uses: int = 25


@dataclass(frozen=True, eq=False)
class Examined:
    """N pictures as gates see them.

    Attributes:
        names: what each shows: a kind of negative, a way of bringing a slice, or the class of a slice.
        pooled, described: `pool` (N, 2 C) and `describe` (N, D).
        logits: of the network, (N, 4).
        plain: refused for a plain reason, bool (N,).
    """

    names: tuple[str, ...]
    pooled: Tensor
    described: Tensor
    logits: Tensor
    plain: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def where(self, mask: np.ndarray) -> Examined:
        """The pictures for which the mask is true."""
        rows = torch.from_numpy(mask)
        names = tuple(name for name, kept in zip(self.names, mask, strict=True) if kept)
        return Examined(names, self.pooled[rows], self.described[rows], self.logits[rows], self.plain[mask])


@dataclass(frozen=True)
class Share:
    """How many of n pictures are refused, and how many of these for a plain reason, whatever the gate."""

    n: int
    refused: int
    plain: int

    def to_json(self) -> dict:
        """With the fraction refused and its Wilson 95 % interval."""
        return asdict(self) | {"fraction": self.refused / self.n, "interval": wilson(self.refused, self.n)}


def fit_and_measure(system: str, root: Path, effort: Effort = Effort()) -> Path:
    """Fit the gate of a checkpoint of the weights folder, write it beside it, and write what it does and does not
    detect to `evaluation/refusal.json`.

    Args:
        root: folder of the data sets; Kaggle's must be there, the others are measured where they are.

    Returns:
        The JSON file.

    Raises:
        CheckpointError: the system's checkpoint is missing, damaged or not in the weights folder.
        DataError: Kaggle's data set is not in `root`.
        ImageError: an image cannot be read.
    """
    return write(system, dict(look(system, root, effort)))


def write(system: str, seen: dict[str, Examined]) -> Path:
    """Fit, measure and write, from what `look` saw."""
    checkpoint = _checkpoint(system)
    judged, gate = fit_gate(system, seen, ("fit",)), fit_gate(system, seen, negatives.ROLES)
    save_gate(gate, checkpoint)
    path = evaluation_folder(system) / "refusal.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    found = _measure(judged, gate, seen) | _left_out(system, seen) | {"sha256": checkpoint.sha256}
    # A number a line would be thousands of lines.
    text = json.dumps(found, indent=1)
    text = re.sub(r"\[\n\s+([^][{}]*?)\n\s+\]", lambda numbers: f"[{' '.join(numbers[1].split())}]", text)
    path.write_text(text + "\n")
    return path


# Looking at pictures


def look(system: str, root: Path, effort: Effort) -> Iterator[tuple[str, Examined]]:
    """Let the system's network see everything that gates are fitted to and measured on, as pairs (set, examined)."""
    checkpoint = _checkpoint(system)
    network = load_network(checkpoint, get_spec(system))
    for name, pictures in _sets(root, effort):
        examined = examine(network, system, pictures)
        log.info("%s: %s, %d pictures", system, name, len(examined))
        yield name, examined


def examine(network: nn.Sequential, system: str, pictures: Iterable[tuple[str, Image.Image]]) -> Examined:
    """Look at named pictures with a loaded network, in float32."""
    spec = get_spec(system)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trunk, tail = (part.eval() for part in split(network.to(device), spec.cam_layer))
    names, pooled, described, logits, plain = [], [], [], [], []
    pictures = iter(pictures)
    while batch := list(islice(pictures, 16)):
        images = [image for _, image in batch]
        with torch.no_grad():
            features = trunk(preprocess(images, spec.preprocessing).to(device))
            logits.append(tail(features).float().cpu())
            pooled.append(pool(features.float()).cpu())
        names += [name for name, _ in batch]
        described += [torch.from_numpy(describe(image)) for image in images]
        plain += [plain_reason(image) is not None for image in images]
    return Examined(tuple(names), torch.cat(pooled), torch.stack(described), torch.cat(logits), np.array(plain))


def _sets(root: Path, effort: Effort) -> Iterator[tuple[str, Iterable[tuple[str, Image.Image]]]]:
    parts = published(root)
    groups = read_groups()

    def apart(record: Record) -> bool:
        group = groups[record.image].group if record.image in groups else record.image
        return zlib.crc32(str(group).encode()) % SET_APART == 0

    rng = np.random.default_rng(0)
    training = _shuffled([record for record in parts.train if not apart(record)], rng)
    # Validation images go first: recipes that validate do not train on them.
    chosen = _shuffled([r for r in parts.val if apart(r)], rng) + _shuffled([r for r in parts.train if apart(r)], rng)
    chosen = chosen[: effort.apart]
    yield "slices", _slices(training[: effort.slices], root)
    yield "brought", _brought(training[-effort.brought :], root)
    yield "apart", _slices(chosen, root)
    yield "apart brought", _brought(chosen, root)
    sources = {"fit": training, "choose": chosen, "test": _shuffled(parts.test, rng)}
    for role, each in zip(negatives.ROLES, effort.each, strict=True):
        stock = Stock([image for _, image in _slices(sources[role][:60], root)], negatives.photographs(role))
        yield f"{role} kinds", negatives.draw(role, each, stock)
    yield KAGGLE.name, _slices(parts.test, root)
    if clean := clean_test(root):
        yield CLEAN, _slices(clean, root)
    yield "uses", _in_every_use(sources["test"], root, effort.uses)
    for dataset, part in ((FIGSHARE, "images"), (ROBOFLOW, "train")):
        try:
            records = _shuffled(read_records(dataset, root, part), rng)
        except DataError as error:
            log.info("Not measured: %s", error)
        else:
            yield dataset.name, _slices(records[: effort.test], root)
    yield "bundled", negatives.bundled()
    if scans := list(elsewhere.pictures(root)):
        yield ELSEWHERE, scans
    else:
        log.info("Not fitted to scans from elsewhere: `python -m training elsewhere` fetches them.")


def _shuffled(records: Sequence[Record], rng: np.random.Generator) -> list[Record]:
    return [records[i] for i in rng.permutation(len(records))]


def _slices(records: Iterable[Record], root: Path) -> Iterator[tuple[str, Image.Image]]:
    folders = {dataset.name: dataset for dataset in DATA_SETS}
    for record in records:
        yield record.label, read_image(folder_of(folders[record.dataset], root) / record.image)


def _brought(records: Iterable[Record], root: Path) -> Iterator[tuple[str, Image.Image]]:
    fitted = [use for use in USES if use not in ONLY_MEASURED]
    for i, (label, image) in enumerate(_slices(records, root)):
        rng = np.random.default_rng(i)
        for use in rng.choice(fitted, int(rng.integers(1, 4)), replace=False):
            image = USES[use](image, rng)
        yield label, image


def _in_every_use(records: Sequence[Record], root: Path, each: int) -> Iterator[tuple[str, Image.Image]]:
    for use, change in USES.items():
        rng = np.random.default_rng(zlib.crc32(use.encode()))
        for _, image in islice(_slices(_shuffled(records, rng), root), each):
            yield use, change(image, rng)


# What becomes of slices before somebody drops them on the page


def _rotated(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.rotate(rng.uniform(-25, 25), Image.Resampling.BILINEAR)


def _turned(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.transpose(Image.Transpose(int(rng.integers(5))))


def _cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    part = rng.uniform(0.78, 0.97)
    width, height = round(image.width * part), round(image.height * part)
    left, top = int(rng.integers(image.width - width + 1)), int(rng.integers(image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


def _resized(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    side = int(rng.integers(128, 1025))
    return image.resize((side, round(side * rng.uniform(0.8, 1.25))), Image.Resampling.BICUBIC)


def _recompressed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=int(rng.integers(20, 90)))
    return Image.open(content).convert("RGB")


def _brighter(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    values = (np.asarray(image) / 255) ** rng.uniform(0.55, 1.0) * rng.uniform(1, 1.4)
    return Image.fromarray((255 * values.clip(0, 1)).astype(np.uint8))


def _darker(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    values = (np.asarray(image) / 255) ** rng.uniform(1, 1.7) * rng.uniform(0.5, 1)
    return Image.fromarray((255 * values).astype(np.uint8))


def _padded(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.expand(image, tuple(int(side * rng.uniform(0.03, 0.3)) for side in image.size))


def _blurred(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2) * image.width / 224))


def _noisy(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    noise = rng.uniform(3, 18) * rng.standard_normal((image.height, image.width, 1))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def _annotated(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Lines of text in the corners, perhaps in colour, as viewers put them."""
    image = image.copy()
    pen = ImageDraw.Draw(image)
    size = max(8, round(image.width / rng.uniform(14, 26)))
    font = ImageFont.load_default(size)
    ink = ("white", "yellow", "lime", "lightgrey")[rng.integers(4)]
    for right in (False, True):
        for bottom in (False, True):
            for line in range(rng.integers(0, 4)):
                y = image.height - (line + 1) * size - 4 if bottom else 2 + line * size
                text = ("T1 SE", "TR 500 TE 15", "R", "SLICE 12/24", "2003-04-05", "W 320 L 160")[rng.integers(6)]
                anchor = "ra" if right else "la"
                pen.text((image.width - 4 if right else 4, y), text, fill=ink, font=font, anchor=anchor)
    return image


def _stripped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Without what lies at the rim of the head, as after the skull was cut away."""
    grey = np.asarray(image.convert("L").resize((128, 128))) / 255
    head = ndimage.binary_fill_holes(ndimage.gaussian_filter(grey, 1.5) > 0.1)
    depth = ndimage.distance_transform_edt(np.pad(head, 1))[1:-1, 1:-1]
    brain = ndimage.gaussian_filter((depth > rng.uniform(7, 12)).astype(float), 1)
    mask = Image.fromarray((255 * brain).astype(np.uint8)).resize(image.size)
    return Image.composite(image, Image.new(image.mode, image.size), mask)


def _recontrasted(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Other tissues bright, as in another sequence: black stays black, the other greys run along a random curve."""
    knots = np.concatenate([[0, rng.uniform(0, 60)], rng.uniform(30, 255, 4)])
    curve = ndimage.gaussian_filter1d(np.interp(np.arange(256), (0, 20, 70, 130, 190, 255), knots), 8, mode="nearest")
    curve *= np.minimum(np.arange(256) / 20, 1)
    return image.point([round(value) for value in curve] * len(image.getbands()))


USES: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "rotated": _rotated,
    "mirrored or turned": _turned,
    "cropped": _cropped,
    "resized": _resized,
    "compressed again": _recompressed,
    "brighter": _brighter,
    "darker": _darker,
    "padded": _padded,
    "blurred": _blurred,
    "noisy": _noisy,
    "written on": _annotated,
    "skull cut away": _stripped,
    "another contrast": _recontrasted,
}
"""How users bring slices; each takes an RGB image and a random generator."""
# A gate that was fitted to slices of any contrast let three to four times as many pictures of unknown kinds pass.
ONLY_MEASURED = ("another contrast",)


# Fitting


def fit_gate(system: str, seen: dict[str, Examined], roles: Sequence[str], without: str = "") -> Gate:
    """Fit to slices and to the kinds of negatives of these roles that plain checks let pass.

    Args:
        seen: what `look` saw, by set.
        without: a scan from elsewhere that is left out.
    """
    slices = [seen["slices"], seen["brought"]]
    if ELSEWHERE in seen:
        slices.append(seen[ELSEWHERE].where(np.array(seen[ELSEWHERE].names) != without))
    others = [seen[f"{role} kinds"] for role in roles]
    others = [examined.where(~examined.plain) for examined in others]
    network, picture = (
        _fit_block(
            torch.cat([getattr(examined, name) for examined in slices]),
            torch.cat([getattr(examined, name) for examined in others]),
            axes,
        )
        for name, axes in (("pooled", NETWORK_AXES), ("described", PICTURE_AXES))
    )
    points = torch.cat([_points(network, picture, examined) for examined in (*slices, *others)]).numpy()
    labels = np.repeat([0, 1], [sum(map(len, slices)), sum(map(len, others))])
    machine = SVC(C=PENALTY, gamma=GAMMA, class_weight="balanced").fit(points, labels)
    gate = Gate(
        system=system,
        network=network,
        picture=picture,
        support=_rounded(torch.from_numpy(machine.support_vectors_)),
        weights=_rounded(torch.from_numpy(machine.dual_coef_[0])),
        offset=float(machine.intercept_[0]),
        gamma=GAMMA,
        threshold=0.0,
    )
    return replace(gate, threshold=_threshold(lambda e: gate.scores(e.pooled, e.described).numpy(), seen))


def save_gate(gate: Gate, checkpoint: Checkpoint) -> None:
    """Write the gate beside the checkpoint it was fitted to, in fp16."""
    blocks = {"network": gate.network, "picture": gate.picture}
    tensors = {f"{name}.{key}": value for name, block in blocks.items() for key, value in vars(block).items()}
    tensors |= {"support": gate.support, "weights": gate.weights}
    metadata = {name: repr(getattr(gate, name)) for name in ("offset", "gamma", "threshold")}
    metadata |= {"system": gate.system, "sha256": checkpoint.sha256}
    half = {name: value.half().contiguous() for name, value in tensors.items()}
    (checkpoint.folder / GATE_FILE).write_bytes(save(half, metadata))


def _fit_block(slices: Tensor, others: Tensor, axes: int) -> Block:
    """Standardised on slices; the axes are principal ones of slices and others together, for what sets others apart
    may not vary among slices at all. Slices then have a total variance of a half."""
    mean, deviation = slices.mean(0), slices.std(0)
    # What hardly varies among slices would be magnified without limit.
    block = Block(_rounded(mean), _rounded(deviation + 0.1 * deviation.mean()), torch.eye(len(mean)))
    _, _, directions = torch.linalg.svd(block.apply(torch.cat([slices, others])), full_matrices=False)
    block = replace(block, axes=directions[:axes])
    spread = block.apply(slices).var(0).sum().sqrt()
    return replace(block, axes=_rounded(block.axes / spread * 0.5**0.5))


def _threshold(score: Callable[[Examined], np.ndarray], seen: dict[str, Examined]) -> float:
    return float(
        max(
            np.quantile(score(seen["apart"]), 1 - FALSE_REFUSALS),
            np.quantile(score(seen["apart brought"]), 1 - FALSE_REFUSALS_BROUGHT),
        )
    )


def _points(network: Block, picture: Block, examined: Examined) -> Tensor:
    return torch.cat([network.apply(examined.pooled), picture.apply(examined.described)], dim=1)


def _rounded(values: Tensor) -> Tensor:
    """As the file will have them."""
    return values.half().float()


# Measuring


def _left_out(system: str, seen: dict[str, Examined]) -> dict:
    """Of each scan from elsewhere, what a gate refuses that was fitted to the others."""
    if ELSEWHERE not in seen:
        return {}
    names = np.array(seen[ELSEWHERE].names)
    refused = {}
    for scan in dict.fromkeys(seen[ELSEWHERE].names):
        gate, examined = fit_gate(system, seen, negatives.ROLES, without=scan), seen[ELSEWHERE].where(names == scan)
        refused[scan] = Share(len(examined), int(_refused(gate, examined).sum()), int(examined.plain.sum())).to_json()
    return {OTHER_SCANS: refused}


def _measure(judged: Gate, gate: Gate, seen: dict[str, Examined]) -> dict:
    kinds = {role: seen[f"{role} kinds"] for role in negatives.ROLES}
    slices = [name for name in (KAGGLE.name, CLEAN, FIGSHARE.name, ROBOFLOW.name) if name in seen]

    def share(by: Gate, examined: Examined) -> dict:
        return Share(len(examined), int(_refused(by, examined).sum()), int(examined.plain.sum())).to_json()

    def shares(by: Gate, examined: Examined) -> dict:
        names = np.array(examined.names)
        return {name: share(by, examined.where(names == name)) for name in dict.fromkeys(examined.names)}

    passed = ~_refused(gate, seen["bundled"])
    return {
        "system": gate.system,
        "fitted_to_kinds_of_role_fit": {
            "support_vectors": len(judged.support),
            "negatives": {role: share(judged, examined) for role, examined in kinds.items()},
            "kinds": {role: shares(judged, examined) for role, examined in kinds.items()},
            "slices": {name: share(judged, seen[name]) for name in slices},
            # Every system is shown the same pictures: what they refuse together follows from these.
            "strangeness": _strangeness(judged, kinds["test"]),
        },
        "in_use": {
            "support_vectors": len(gate.support),
            "slices": {name: share(gate, seen[name]) for name in slices},
            "strangeness": {name: _strangeness(gate, seen[name]) for name in slices},
            "slices_as_brought": shares(gate, seen["uses"]),
            "bundled": share(gate, seen["bundled"]),
            "bundled_that_pass": list(np.array(seen["bundled"].names)[passed]),
        },
        "other_scores": _other_scores(judged, seen),
    }


def _refused(gate: Gate, examined: Examined) -> np.ndarray:
    return examined.plain | (gate.scores(examined.pooled, examined.described) > gate.threshold).numpy()


def _strangeness(gate: Gate, examined: Examined) -> list[float | None]:
    """How far each picture's score lies above the threshold; None of those that are refused for a plain reason."""
    above = (gate.scores(examined.pooled, examined.described) - gate.threshold).tolist()
    return [None if plain else round(one, 4) for one, plain in zip(above, examined.plain, strict=True)]


def _other_scores(gate: Gate, seen: dict[str, Examined]) -> dict[str, dict[str, float]]:
    """Shares refused by scores from the literature, with thresholds by the same rule and without plain checks."""
    slices, others = [seen["slices"], seen["brought"]], seen["fit kinds"]
    points = np.concatenate([_points(gate.network, gate.picture, examined).numpy() for examined in slices])
    width = len(gate.network.axes)
    labels = np.array([class_index(name) for examined in slices for name in examined.names])
    means = np.stack([points[labels == label, :width].mean(0) for label in np.unique(labels)])
    within = points[:, :width] - means[np.searchsorted(np.unique(labels), labels)]
    precision = LedoitWolf(assume_centered=True).fit(within).precision_
    negative = _points(gate.network, gate.picture, others).numpy()
    linear = LogisticRegression(class_weight="balanced", max_iter=2000).fit(
        np.concatenate([points, negative]), np.repeat([0, 1], [len(points), len(negative)])
    )

    def place(examined: Examined) -> np.ndarray:
        return _points(gate.network, gate.picture, examined).numpy()

    def mahalanobis(examined: Examined) -> np.ndarray:
        difference = place(examined)[:, None, :width] - means
        return np.einsum("nkd,de,nke->nk", difference, precision, difference).min(1)

    def neighbours(examined: Examined, columns: slice) -> np.ndarray:
        distances = torch.cdist(torch.from_numpy(place(examined)[:, columns]), torch.from_numpy(points[:, columns]))
        return distances.topk(min(NEIGHBOURS, len(points)), largest=False).values[:, -1].numpy()

    scores: dict[str, Callable[[Examined], np.ndarray]] = {
        "largest logit": lambda e: -e.logits.max(1).values.numpy(),
        "energy": lambda e: -e.logits.logsumexp(1).numpy(),
        "Mahalanobis, network": mahalanobis,
        "nearest neighbours, network": lambda e: neighbours(e, slice(width)),
        "nearest neighbours, network and picture": lambda e: neighbours(e, slice(None)),
        "logistic regression, network and picture": lambda e: linear.decision_function(place(e)),
        "support vector machine, network and picture": lambda e: gate.scores(e.pooled, e.described).numpy(),
    }
    names = ["choose kinds", "test kinds", *(d.name for d in (KAGGLE, FIGSHARE, ROBOFLOW) if d.name in seen)]
    return {
        title: {name: round(float((score(seen[name]) > threshold).mean()), 4) for name in names}
        for title, score in scores.items()
        for threshold in [_threshold(score, seen)]
    }


def _checkpoint(system: str) -> Checkpoint:
    checkpoint = find_checkpoint(system, download=False)
    if checkpoint.source != "weights":
        raise CheckpointError(
            f"The checkpoint of {system} lies in {checkpoint.folder}, a cache, and gates are kept beside checkpoints. "
            "Copy the folder into the weights folder first."
        )
    return checkpoint
