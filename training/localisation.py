"""Are the heatmaps to be believed? Class-activation maps scored on the tumour boxes of figshare-cheng.

Four questions. Does the map point at the tumour, more often than a map that never saw the network would? Does it depend
on what the network has learnt (Adebayo et al. 2018, arXiv:1810.03292)? Does the answer depend on what the map marks
(deletion and insertion, Petsiuk et al. 2018, arXiv:1806.07421; ROAD, Rong et al. 2022, arXiv:2202.00449)? And does the
answer need the tumour at all?

Every slice is judged by a network that was trained on none of its patient's slices. The class explained is the one
predicted.
"""

from __future__ import annotations

import copy
import csv
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import ndimage
from scipy.stats import rankdata
from torch import Tensor, nn

from brain_tumor.calibration import Bin
from brain_tumor.checkpoints import weights_folder
from brain_tumor.explanation import CAMS, METHODS, NOWHERE, get_method
from brain_tumor.images import read_image
from brain_tumor.inference import Classifier
from brain_tumor.labels import CLASS_NAMES, LABELS, class_index
from brain_tumor.location import LOCATED_FILE, located_json, run
from brain_tumor.preprocessing import fit, normalize, preprocess
from training.data import FIGSHARE, KAGGLE, Box, DataError, Record, folder_of, read_records
from training.evaluation import DASH, Interval, evaluation_folder, percent, table, wilson
from training.outoffold import patients
from training.protocols import PATIENTWISE, patientwise_folds, read_groups
from training.robustness import classifier, run_checkpoint, sample

CSV_FILE, JSON_FILE = "localisation.csv", "localisation.json"
COLUMNS = ("image", "fold", "method", "right", "hit", "near", "energy", "iou", "peak")

SIDE = 128
"""Maps and boxes are compared on a grid of so many cells a side."""
TOLERANCE = 0.05
"""A near hit lies at most so far outside the box, in fractions of the picture's side: about 12 mm in a head scan."""
THRESHOLDS = np.arange(1, 20) / 20
"""Fractions of a map's maximum at which it is cut to be compared with the box."""
PEAKS = (0.0, NOWHERE, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Edges of the bins in which it is counted how often a sure map was right."""
BATCH = 32
RESAMPLES = 2000
SAMPLED, PERTURBED = 20, 6
"""Slices of each fold for what costs several passes (forgetting, hiding), and many (deletion, insertion, ROAD)."""
REMOVED = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
ROAD_PERCENTILES = (70, 90)
SEED = 0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Baseline:
    """A map that is made without looking into the network."""

    name: str
    title: str


CENTRE = Baseline("centre", "Middle of the picture")
PRIOR = Baseline("prior", "Where tumours lie: mean box of the other folds")
CLASS_PRIOR = Baseline("class_prior", "Where tumours of the predicted class lie")
EDGES = Baseline("edges", "Edges of the picture (Sobel, smoothed)")
BRIGHTNESS = Baseline("brightness", "Brightness of the picture, smoothed")
CEILING = Baseline("ceiling", "The box itself, as coarse as the network's maps: the most there is")
BASELINES = {b.name: b for b in (CENTRE, PRIOR, CLASS_PRIOR, EDGES, BRIGHTNESS, CEILING)}
LOCATION = next(name for name, method in METHODS.items() if not method.cls)
TITLES = {name: source.title for name, source in (METHODS | BASELINES).items()}


@dataclass(frozen=True)
class Estimate:
    """A mean over slices with its bootstrap 95 % interval, over stand-ins for patients (`outoffold.patients`)."""

    mean: float
    interval: Interval


@dataclass(frozen=True)
class Localisation:
    """How well maps of one kind find the box on n slices.

    Attributes:
        hit: share whose hottest place lies in the box (pointing game, Zhang et al. 2018, arXiv:1608.00507).
        near: share whose hottest place lies in the box or at most `TOLERANCE` from it.
        energy: share of all heat that lies in the box.
        iou: intersection over union of box and map, the map cut at the threshold that is best on the other folds.
    """

    n: int
    hit: Estimate
    near: Estimate
    energy: Estimate
    iou: Estimate


@dataclass(frozen=True)
class Score:
    """A method or baseline: on all slices, on those answered rightly, on those of each true class, and hits by fold."""

    name: str
    every: Localisation
    right: Localisation
    labels: dict[str, Localisation]
    folds: dict[str, float]
    thresholds: dict[str, float]


@dataclass(frozen=True)
class Randomised:
    """A method's maps against those of the network whose stages from `stage` to the end have random weights again.

    Attributes:
        correlation: mean Spearman rank correlation; near 0 where the map depends on what was learnt.
        ssim: mean structural similarity (Wang et al. 2004, doi:10.1109/TIP.2003.819861).
    """

    name: str
    stage: str
    correlation: float
    ssim: float


@dataclass(frozen=True)
class Faithfulness:
    """What removing the places that a map marks does to the probability of the explained class, in [0, 1].

    Attributes:
        deletion: area under the probability while the hottest pixels go black first: the lower, the better.
        insertion: area while the hottest pixels of a blurred picture become sharp first: the higher, the better.
        road: probability lost by removing the hottest less that lost by removing the coldest, halved: the higher, the
            better.
    """

    name: str
    deletion: Estimate
    insertion: Estimate
    road: Estimate


@dataclass(frozen=True)
class Hidden:
    """Do answers need the tumour? Shares of n right answers that stay.

    Attributes:
        tumour: with the box blackened.
        elsewhere: with a box of the same size blackened on the other side, where it does not overlap the tumour's.
        all_else: with everything but the box blackened.
    """

    n: int
    tumour: Estimate
    elsewhere: Estimate | None
    all_else: Estimate


@dataclass(frozen=True)
class Report:
    """All that was measured of one system.

    Attributes:
        checkpoints: fold -> sha256 of the network that judged it.
        recipe, protocol: as the checkpoints' config.json says; other than "patientwise", they may have seen the slices.
        right: share of right answers.
        box_area: mean share of the picture in the box, what a random point would hit.
        located: how often the hottest place of the network's own map of the tumour's place lay in the box, by how sure
            the map was.
        healthy: how sure these maps were of slices without a tumour, where none is right.
        sampled, perturbed: slices that `randomised` and `faithfulness` are means over, drawn with a fixed seed.
    """

    system: str
    recipe: str
    protocol: str
    checkpoints: dict[str, str]
    n: int
    right: float
    box_area: float
    scores: tuple[Score, ...]
    sampled: int
    randomised: tuple[Randomised, ...]
    perturbed: int
    faithfulness: tuple[Faithfulness, ...]
    hidden: Hidden
    located: tuple[Bin, ...] = ()
    healthy: tuple[Bin, ...] = ()


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of N maps: hit and near bool (N,), energy float (N,), iou float (N, thresholds), and their peaks (N,)."""

    hit: np.ndarray
    near: np.ndarray
    energy: np.ndarray
    iou: np.ndarray
    peak: np.ndarray


@dataclass(frozen=True, eq=False)
class Judged:
    """N slices and what became of them.

    Attributes:
        predicted: class indices, int (N,).
        scores: name of a method or baseline -> the scores of its maps.
    """

    records: tuple[Record, ...]
    predicted: np.ndarray
    scores: dict[str, Scores]

    @property
    def right(self) -> np.ndarray:
        return self.predicted == np.array([class_index(record.label) for record in self.records])

    @property
    def folds(self) -> np.ndarray:
        return np.array([record.fold for record in self.records])


def measure_all(system: str, root: Path, checkpoints: Mapping[int, Path]) -> Path:
    """Score a system's maps on the slices of the folds that there are checkpoints for.

    Args:
        root: folder of the data sets.
        checkpoints: fold -> folder of the checkpoint that was not trained on that fold; at least two, since the
            threshold for one fold is chosen on the others.

    Returns:
        `weights/<system>/evaluation/localisation.json`; beside it is localisation.csv, one line per slice and method.

    Raises:
        CheckpointError: a checkpoint is missing or damaged.
        DataError: figshare-cheng is not in `root`, or there are fewer than two checkpoints.
    """
    if len(checkpoints) < 2:
        raise DataError("Maps are scored on two folds or more: the threshold for one is chosen on the others.")
    records = read_records(FIGSHARE, root, "images")
    classifiers = {fold: classifier(run_checkpoint(system, folder)) for fold, folder in sorted(checkpoints.items())}
    report, judged = measure(system, classifiers, records, root, _without_tumour(root))
    folder = evaluation_folder(system)
    write_slices(judged, folder / CSV_FILE)
    write(report, folder / JSON_FILE)
    if report.located:
        (weights_folder() / system / LOCATED_FILE).write_text(located_json(report.located))
    return folder / JSON_FILE


def measure(
    system: str,
    classifiers: Mapping[int, Classifier],
    records: Sequence[Record],
    root: Path,
    healthy: Mapping[int, Sequence[Record]] | None = None,
    sampled: int = SAMPLED,
    perturbed: int = PERTURBED,
) -> tuple[Report, Judged]:
    """What `measure_all` writes; the records of folds without a classifier serve for the priors only.

    Args:
        healthy: slices without a tumour by fold.
    """

    def drawn(n: int) -> list[Sample]:
        chosen = {fold: sample(records, fold, n) for fold in classifiers}
        return [(model, chosen[fold], [_read(r, root) for r in chosen[fold]]) for fold, model in classifiers.items()]

    parts = []
    for fold, model in classifiers.items():
        log.info("%s: maps of fold %d.", system, fold)
        parts.append(judge(model, [r for r in records if r.fold == fold], priors(records, fold), root))
    judged = _joined(parts)
    config = next(iter(classifiers.values())).checkpoint.config
    report = Report(
        system=system,
        recipe=config["recipe"]["name"],
        protocol=config["protocol"],
        checkpoints={str(fold): model.checkpoint.sha256 for fold, model in classifiers.items()},
        n=len(judged.records),
        right=float(judged.right.mean()),
        box_area=float(np.mean([record.box.width * record.box.height for record in judged.records])),
        scores=tuple(_score(name, judged) for name in judged.scores),
        sampled=sum(len(slices) for _, slices, _ in drawn(sampled)),
        randomised=randomise(drawn(sampled)),
        perturbed=sum(len(slices) for _, slices, _ in drawn(perturbed)),
        faithfulness=perturb(drawn(perturbed)),
        hidden=hide(drawn(sampled)),
    )
    if LOCATION in judged.scores:
        scores = judged.scores[LOCATION]
        peaks = [_peaks(model, (healthy or {}).get(fold, ()), root) for fold, model in classifiers.items()]
        none = np.concatenate(peaks)
        report = replace(
            report, located=located_bins(scores.peak, scores.hit), healthy=located_bins(none, np.zeros(len(none), bool))
        )
    return report, judged


def _without_tumour(root: Path) -> dict[int, list[Record]]:
    """One slice of each group of near-duplicates by fold; nothing where Kaggle's data set is not in `root`."""
    try:
        parts = patientwise_folds(root).parts
    except DataError:
        return {}
    groups = read_groups()
    firsts = {
        fold: {groups[r.image].group: r for r in reversed(part) if r.image in groups} for fold, part in parts.items()
    }
    return {fold: list(first.values()) for fold, first in firsts.items()}


def _peaks(model: Classifier, records: Sequence[Record], root: Path) -> np.ndarray:
    """How sure the network is of a tumour at the surest place of slices, (N,) in [0, 1]."""
    peaks = [np.zeros(0)]
    for start in range(0, len(records), BATCH):
        location = _look(model, [_read(record, root) for record in records[start : start + BATCH]]).location
        peaks.append(smoothly(location.numpy(), SIDE).max(axis=(1, 2)))
    return np.concatenate(peaks)


# --- Maps -------------------------------------------------------------------------------------------------------------


def class_activation_maps(tail: nn.Module, features: Tensor, targets: Sequence[int], method: str) -> np.ndarray:
    """What `explanation.class_activation_map` gives for one slice, for N slices in one pass.

    Args:
        features: float (N, C, h, w).
        targets: class index of each slice.

    Returns:
        float32 (N, h, w) in [0, 1].
    """
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    hooked = nn.Identity()
    own = nn.Sequential(hooked, tail).eval()
    leaf = features.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        cam = getattr(pytorch_grad_cam, get_method(method).cls)(model=own, target_layers=[hooked])
        try:
            maps = cam(input_tensor=leaf, targets=[ClassifierOutputTarget(int(target)) for target in targets])
        finally:
            cam.activations_and_grads.release()
    return np.nan_to_num(maps).astype(np.float32)


def enlarged(coarse: np.ndarray, side: int) -> np.ndarray:
    """Maps (N, h, w) -> (N, side, side), as `explanation.explain_reading` does; all 0 where nothing was found."""
    return smoothly(coarse, side) * (coarse.max(axis=(1, 2), keepdims=True) > 0.5)


def smoothly(coarse: np.ndarray, side: int) -> np.ndarray:
    """Maps (N, h, w) -> (N, side, side), whatever their maximum."""
    return F.interpolate(torch.from_numpy(coarse)[:, None], (side, side), mode="bilinear")[:, 0].numpy()


def priors(records: Sequence[Record], fold: int) -> dict[str, np.ndarray]:
    """Mean box of the slices that are not in `fold`: float (SIDE, SIDE) by class name, and for "" over all classes."""
    others = [record for record in records if record.fold != fold]
    groups = {name: [record for record in others if record.label == name] for name in CLASS_NAMES} | {"": others}
    return {name: box_masks([r.box for r in group]).mean(axis=0) for name, group in groups.items() if group}


def centre_map(side: int = SIDE) -> np.ndarray:
    """A Gaussian in the middle, its standard deviation a fifth of the side: float (side, side)."""
    axis = (np.arange(side) + 0.5) / side - 0.5
    return np.exp(-(axis**2 + axis[:, None] ** 2) / (2 * 0.2**2))


def ceiling_maps(boxes: Sequence[Box], cells: tuple[int, int]) -> np.ndarray:
    """How much of each of (h, w) cells the box covers, enlarged as maps are: float (N, SIDE, SIDE)."""
    covered = F.adaptive_avg_pool2d(torch.from_numpy(box_masks(boxes)[:, None]).float(), cells)[:, 0].numpy()
    return enlarged(covered / covered.max(axis=(1, 2), keepdims=True), SIDE)


def edge_map(grey: np.ndarray) -> np.ndarray:
    """Gradient magnitude of a picture (H, W), smoothed over a thirtieth of its side."""
    magnitude = np.hypot(ndimage.sobel(grey, axis=0), ndimage.sobel(grey, axis=1))
    return ndimage.gaussian_filter(magnitude, grey.shape[0] / 30)


def _baseline_maps(
    images: Sequence[Image.Image], predicted: Sequence[int], prior: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    grey = [fit(image, SIDE).float().mean(dim=0).numpy() / 255 for image in images]
    yield CENTRE.name, np.stack([centre_map()] * len(images))
    yield PRIOR.name, np.stack([prior[""]] * len(images))
    yield CLASS_PRIOR.name, np.stack([prior.get(CLASS_NAMES[i], prior[""]) for i in predicted])
    yield EDGES.name, np.stack([edge_map(picture) for picture in grey])
    yield BRIGHTNESS.name, np.stack([ndimage.gaussian_filter(picture, SIDE / 30) for picture in grey])


def judge(model: Classifier, records: Sequence[Record], prior: Mapping[str, np.ndarray], root: Path) -> Judged:
    """Classify slices and score every method and baseline on their boxes; the trunk is run once per slice."""
    parts = []
    for start in range(0, len(records), BATCH):
        batch = records[start : start + BATCH]
        images = [_read(record, root) for record in batch]
        seen = _look(model, images)
        features, predicted = seen.features, seen.predicted
        boxes = [record.box for record in batch]
        scores = {name: score_maps(maps, boxes) for name, maps in _maps(model, seen, predicted, SIDE)}
        scores |= {name: score_maps(maps, boxes) for name, maps in _baseline_maps(images, predicted, prior)}
        scores[CEILING.name] = score_maps(ceiling_maps(boxes, tuple(features.shape[-2:])), boxes)
        parts.append(Judged(tuple(batch), predicted, scores))
    return _joined(parts)


def _joined(parts: Sequence[Judged]) -> Judged:
    def together(name: str, field: str) -> np.ndarray:
        return np.concatenate([getattr(part.scores[name], field) for part in parts])

    return Judged(
        tuple(record for part in parts for record in part.records),
        np.concatenate([part.predicted for part in parts]),
        {name: Scores(*(together(name, f) for f in Scores.__dataclass_fields__)) for name in parts[0].scores},
    )


@dataclass(frozen=True, eq=False)
class Seen:
    """N slices as a network sees them.

    Attributes:
        features: (N, C, h, w), those that class-activation maps are made from.
        predicted: class indices, int (N,).
        location: where the network says that the tumour lies, (N, h, w) in [0, 1]; None where it does not say.
    """

    features: Tensor
    predicted: np.ndarray
    location: Tensor | None


def _look(model: Classifier, images: Sequence[Image.Image]) -> Seen:
    locator = model.locator
    with torch.no_grad():
        batch = preprocess(images, model.spec.preprocessing).contiguous(memory_format=torch.channels_last)
        features, maps = run(model.trunk, batch, locator.stages if locator else ())
        predicted = model.tail(features).argmax(dim=1).numpy()
        return Seen(features, predicted, locator.probabilities(maps) if locator else None)


def _coarse_maps(model: Classifier, seen: Seen, targets: Sequence[int]) -> Iterator[tuple[str, np.ndarray]]:
    """Each method's maps as coarse as they are made, float (N, h, w)."""
    if seen.location is not None:
        yield LOCATION, seen.location.numpy()
    for name in CAMS:
        yield name, class_activation_maps(model.tail, seen.features, targets, name)


def _maps(model: Classifier, seen: Seen, targets: Sequence[int], side: int) -> Iterator[tuple[str, np.ndarray]]:
    """Each method's maps, float (N, side, side)."""
    for name, coarse in _coarse_maps(model, seen, targets):
        yield name, (smoothly(coarse, side) if name == LOCATION else enlarged(coarse, side))


def _read(record: Record, root: Path) -> Image.Image:
    return read_image(folder_of(KAGGLE if record.dataset == KAGGLE.name else FIGSHARE, root) / record.image)


# --- Scores on the boxes ----------------------------------------------------------------------------------------------


def box_masks(boxes: Sequence[Box]) -> np.ndarray:
    """Which cells have their centre in the box: bool (N, SIDE, SIDE)."""
    centres = (np.arange(SIDE) + 0.5) / SIDE
    left, top, right, bottom = (edge[:, None] for edge in np.array([box.corners for box in boxes]).T)
    across = (left <= centres) & (centres <= right)
    down = (top <= centres) & (centres <= bottom)
    return down[:, :, None] & across[:, None, :]


def score_maps(maps: np.ndarray, boxes: Sequence[Box]) -> Scores:
    """Score maps, float (N, SIDE, SIDE), not negative, on the boxes of their slices; a map of zeros finds nothing."""
    n, masks = len(maps), box_masks(boxes)
    highest = maps.max(axis=(1, 2))
    found = highest > 0
    flat = maps.reshape(n, -1) / np.where(found, highest, 1)[:, None]
    rows, columns = np.divmod(flat.argmax(axis=1), SIDE)
    x, y = (columns + 0.5) / SIDE, (rows + 0.5) / SIDE
    left, top, right, bottom = np.array([box.corners for box in boxes]).T
    distance = np.hypot(np.maximum(left - x, x - right).clip(0), np.maximum(top - y, y - bottom).clip(0))
    inside = masks.reshape(n, -1)
    energy = (flat * inside).sum(axis=1) / np.where(found, flat.sum(axis=1), 1)
    # How many thresholds each cell reaches; counted per slice, this gives the areas at all thresholds at once.
    reached = np.searchsorted(THRESHOLDS, flat, side="right") + (len(THRESHOLDS) + 1) * np.arange(n)[:, None]

    def areas(which: np.ndarray) -> np.ndarray:
        counts = np.bincount(reached[which], minlength=n * (len(THRESHOLDS) + 1)).reshape(n, -1)
        return counts[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]

    hot, common = areas(np.ones_like(inside)), areas(inside)
    iou = common / (hot + inside.sum(axis=1, keepdims=True) - common)
    return Scores(found & (distance == 0), found & (distance <= TOLERANCE), energy, iou, highest)


def located_bins(peaks: np.ndarray, hits: np.ndarray) -> tuple[Bin, ...]:
    """Maps of the tumour's place by their peak (N,), ascending, and how many were right; empty bins are left out."""
    bins = []
    for low, high in pairwise(PEAKS):
        inside = (peaks >= low) & ((peaks < high) | (high == 1))
        if inside.any():
            bins.append(
                Bin(low, high, round(float(peaks[inside].mean()), 6), int(inside.sum()), int(hits[inside].sum()))
            )
    return tuple(bins)


def best_thresholds(iou: np.ndarray, folds: np.ndarray) -> dict[int, int]:
    """Fold -> index of the threshold with the best mean IoU on the other folds."""
    return {int(fold): int(iou[folds != fold].mean(axis=0).argmax()) for fold in np.unique(folds)}


def _iou_of(scores: Scores, folds: np.ndarray) -> np.ndarray:
    chosen = best_thresholds(scores.iou, folds)
    return scores.iou[np.arange(len(folds)), [chosen[fold] for fold in folds]]


def _score(name: str, judged: Judged) -> Score:
    scores, folds = judged.scores[name], judged.folds
    values = np.stack([scores.hit, scores.near, scores.energy, _iou_of(scores, folds)], axis=1)
    labels = np.array([record.label for record in judged.records])
    clusters = patients(tuple(record.image for record in judged.records))

    def localisation(kept: np.ndarray) -> Localisation:
        return Localisation(int(kept.sum()), *estimates(values[kept], clusters[kept]))

    return Score(
        name,
        every=localisation(np.ones(len(values), bool)),
        right=localisation(judged.right),
        labels={label: localisation(labels == label) for label in CLASS_NAMES if label in labels},
        folds={str(fold): float(scores.hit[folds == fold].mean()) for fold in np.unique(folds)},
        thresholds={str(f): float(THRESHOLDS[i]) for f, i in best_thresholds(scores.iou, folds).items()},
    )


def estimates(values: np.ndarray, clusters: np.ndarray | None = None) -> list[Estimate]:
    """Mean of each column of (N, K), with its percentile-bootstrap 95 % interval; the same resamples for all columns.

    Args:
        clusters: a number per slice (N,); those with one number are resampled together. None: each is on its own.
    """
    values = values.astype(np.float64)
    if not len(values):
        return [Estimate(0.0, (0.0, 0.0))] * values.shape[1]
    _, places, sizes = np.unique(
        np.arange(len(values)) if clusters is None else clusters, return_inverse=True, return_counts=True
    )
    sums = np.zeros((len(sizes), values.shape[1]))
    np.add.at(sums, places, values)
    n = len(sizes)
    drawn = np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    low, high = np.percentile(drawn @ sums / (drawn @ sizes)[:, None], (2.5, 97.5), axis=0)
    return [Estimate(float(m), (float(a), float(b))) for m, a, b in zip(values.mean(axis=0), low, high, strict=True)]


def _estimate(values: Sequence[float]) -> Estimate:
    return estimates(np.array(values)[:, None])[0]


# --- Does the map depend on what was learnt? --------------------------------------------------------------------------

Sample = tuple[Classifier, Sequence[Record], Sequence[Image.Image]]


def randomise(samples: Sequence[Sample]) -> tuple[Randomised, ...]:
    """Compare maps with those of networks that forget stage by stage, the last first; same slices, same classes."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for model, _, images in samples:
        seen = _look(model, images)
        before = dict(_coarse_maps(model, seen, seen.predicted))
        for stage, forgetful in forgetting(model):
            for name, after in _coarse_maps(forgetful, _look(forgetful, images), seen.predicted):
                pairs = found.setdefault((name, stage), [])
                pairs += [(rank_correlation(a, b), similarity(a, b)) for a, b in zip(before[name], after, strict=True)]
    return tuple(Randomised(*key, *map(float, np.mean(pairs, axis=0))) for key, pairs in sorted_by_method(found))


def sorted_by_method(found: Mapping[tuple[str, str], list]) -> list[tuple[tuple[str, str], list]]:
    """Items in the order of METHODS, each method's stages as they came."""
    return sorted(found.items(), key=lambda item: list(METHODS).index(item[0][0]))


def forgetting(model: Classifier) -> Iterator[tuple[str, Classifier]]:
    """The network with its last stage as before training, its last two, ...: (name of the stage, classifier)."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        untrained = model.spec.build()
    whole = nn.Sequential()
    for part in (model.trunk, model.tail):
        for name, stage in part.named_children():
            whole.add_module(name, stage)
    network = copy.deepcopy(whole)
    for name, stage in reversed(list(untrained.named_children())):
        if any(True for _ in stage.parameters()):
            network.get_submodule(name).load_state_dict(stage.state_dict())
            yield name, Classifier(model.spec, model.checkpoint, network)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, of two maps of one shape; 0 where one of them is the same everywhere."""
    ranks = [rankdata(values.ravel()) for values in (a, b)]
    x, y = (r - r.mean() for r in ranks)
    norm = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm else 0.0


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity of two coarse maps in [0, 1], enlarged as people see them."""
    x, y = enlarged(np.stack([a, b]), SIDE).astype(np.float64)

    def smooth(values: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(values, 1.5, truncate=3.5)

    mean_x, mean_y = smooth(x), smooth(y)
    var_x, var_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
    covariance = smooth(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    index = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float((index / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


# --- Does the answer depend on what the map marks? --------------------------------------------------------------------


def order(heat: np.ndarray) -> np.ndarray:
    """Rank of every pixel of a map (S, S), from 0 for the coldest to 1 for the hottest: float32 (S, S).

    Most of many maps is exactly 0; there, what is nearer to the heat counts as hotter.
    """
    vicinity = ndimage.gaussian_filter(heat.astype(np.float64), heat.shape[0] / 8)
    ranks = np.empty(heat.size, np.float32)
    ranks[np.lexsort((vicinity.ravel(), heat.ravel()))] = np.arange(heat.size) / (heat.size - 1)
    return ranks.reshape(heat.shape)


def perturb(samples: Sequence[Sample]) -> tuple[Faithfulness, ...]:
    """Deletion, insertion and ROAD of every method, and of `CENTRE` and `EDGES`, which know nothing of the network."""
    areas_of: dict[str, list[tuple[float, float, float]]] = {}
    for model, _, images in samples:
        for image in images:
            seen = _look(model, [image])
            target, side = int(seen.predicted[0]), model.spec.preprocessing.size
            pixels = fit(image, side).float() / 255
            maps = {name: found[0] for name, found in _maps(model, seen, [target], side)}
            maps |= {CENTRE.name: centre_map(side), EDGES.name: edge_map(pixels.mean(dim=0).numpy())}
            orders = np.stack([order(heat) for heat in maps.values()])
            deleted, inserted = _curves(model, pixels, orders, target)
            for name, *areas in zip(maps, deleted, inserted, _road(model, pixels, orders, target), strict=True):
                areas_of.setdefault(name, []).append(tuple(map(float, areas)))
    return tuple(Faithfulness(name, *estimates(np.array(areas))) for name, areas in areas_of.items())


def _curves(model: Classifier, pixels: Tensor, orders: np.ndarray, target: int) -> tuple[np.ndarray, np.ndarray]:
    blurred = torch.from_numpy(
        ndimage.gaussian_filter(pixels.numpy(), (0, pixels.shape[-1] / 20, pixels.shape[-1] / 20))
    )
    hottest = [torch.from_numpy(orders > 1 - share)[:, None] if share else None for share in REMOVED]
    none = torch.zeros(len(orders), 1, *pixels.shape[1:], dtype=torch.bool)
    areas = []
    for inside, outside in ((torch.zeros_like(pixels), pixels), (pixels, blurred)):
        versions = [torch.where(none if hot is None else hot, inside, outside) for hot in hottest]
        curve = _probabilities(model, torch.cat(versions), target).reshape(len(REMOVED), len(orders))
        areas.append(np.trapezoid(curve, REMOVED, axis=0))
    return areas[0], areas[1]


def _road(model: Classifier, pixels: Tensor, orders: np.ndarray, target: int) -> np.ndarray:
    from pytorch_grad_cam.metrics.road import ROADCombined
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    batch = normalize(pixels[None], model.spec.preprocessing).repeat(len(orders), 1, 1, 1)
    network = nn.Sequential(model.trunk, model.tail).eval()
    with torch.random.fork_rng():  # the package fills in with a little noise
        torch.manual_seed(SEED)
        targets = [ClassifierOutputSoftmaxTarget(target)] * len(orders)
        return ROADCombined(list(ROAD_PERCENTILES))(batch, orders, targets, network)


def _probabilities(model: Classifier, pixels: Tensor, target: int) -> np.ndarray:
    with torch.no_grad():
        chunks = [
            model.tail(model.trunk(normalize(part, model.spec.preprocessing))).softmax(dim=1)[:, target]
            for part in pixels.split(BATCH)
        ]
    return torch.cat(chunks).numpy()


# --- Does the answer need the tumour? ---------------------------------------------------------------------------------


def hide(samples: Sequence[Sample]) -> Hidden:
    """Blacken the tumour's box, as large a box on the other side, or all but the box, where the answer was right."""
    tumour, elsewhere, all_else = [], [], []
    for model, records, images in samples:
        predicted = _look(model, images).predicted
        for record, image, answer in zip(records, images, predicted, strict=True):
            if answer != class_index(record.label):
                continue
            box, other = record.box, replace(record.box, x=1 - record.box.x)
            versions = [_blackened(image, _area(box, image)), _only(image, _area(box, image))]
            if abs(box.x - other.x) >= box.width:
                versions.append(_blackened(image, _area(other, image)))
            stayed = _look(model, versions).predicted == answer
            tumour.append(stayed[0])
            all_else.append(stayed[1])
            elsewhere += list(stayed[2:])
    return Hidden(len(tumour), _estimate(tumour), _estimate(elsewhere) if elsewhere else None, _estimate(all_else))


def _area(box: Box, image: Image.Image) -> tuple[int, int, int, int]:
    left, top, right, bottom = box.corners
    return (
        round(left * image.width),
        round(top * image.height),
        round(right * image.width),
        round(bottom * image.height),
    )


def _blackened(image: Image.Image, area: tuple[int, int, int, int]) -> Image.Image:
    hidden = image.copy()
    hidden.paste((0, 0, 0), area)
    return hidden


def _only(image: Image.Image, area: tuple[int, int, int, int]) -> Image.Image:
    shown = Image.new("RGB", image.size)
    shown.paste(image.crop(area), area[:2])
    return shown


# --- Files and tables -------------------------------------------------------------------------------------------------


def write_slices(judged: Judged, path: Path) -> None:
    """One line per slice and method; what the baselines make of the slices is only in the JSON file, as means."""
    folds, right = judged.folds, judged.right
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name in _methods(judged.scores):
            scores = judged.scores[name]
            iou = _iou_of(scores, folds)
            for i, record in enumerate(judged.records):
                flags = (int(flag[i]) for flag in (right, scores.hit, scores.near))
                rounded = (f"{values[i]:.3f}" for values in (scores.energy, iou, scores.peak))
                writer.writerow([record.image, record.fold, name, *flags, *rounded])


def write(report: Report, path: Path) -> None:
    """Write the JSON file that `read` reads, rounded to 6 decimals."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exact = json.dumps(asdict(report), allow_nan=False)
    rounded = json.loads(exact, parse_float=lambda text: round(float(text), 6))
    path.write_text(json.dumps(rounded, indent=1) + "\n")


def read(path: Path) -> Report:
    """What `write` wrote; DataError where there is none."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Make it with `training.localisation.measure_all`.") from None
    return Report(
        **content
        | {
            "scores": tuple(
                Score(
                    **score
                    | {key: _parsed_localisation(score[key]) for key in ("every", "right")}
                    | {"labels": {name: _parsed_localisation(found) for name, found in score["labels"].items()}}
                )
                for score in content["scores"]
            ),
            "randomised": tuple(Randomised(**row) for row in content["randomised"]),
            "faithfulness": tuple(Faithfulness(**_parsed(row)) for row in content["faithfulness"]),
            "hidden": Hidden(**_parsed(content["hidden"])),
            **{name: tuple(Bin(**row) for row in content.get(name, ())) for name in ("located", "healthy")},
        }
    )


def _parsed(row: dict) -> dict:
    return {
        key: Estimate(value["mean"], tuple(value["interval"])) if isinstance(value, dict) else value
        for key, value in row.items()
    }


def _parsed_localisation(row: dict) -> Localisation:
    return Localisation(**_parsed(row))


def best_method(reports: Sequence[Report]) -> str:
    """The method whose hottest place lies in the box most often, each system that has it counting the same."""

    def hits(name: str) -> float:
        return np.mean([score.every.hit.mean for report in reports for score in report.scores if score.name == name])

    return max(_methods(score.name for report in reports for score in report.scores), key=hits)


def _methods(names: Iterable[str]) -> list[str]:
    """Of these names those of methods, not of baselines, in the order of METHODS."""
    present = set(names)
    return [name for name in METHODS if name in present]


def _get(report: Report, name: str) -> Score:
    return next(score for score in report.scores if score.name == name)


def localisation_table(report: Report) -> str:
    """Markdown: methods, then baselines, on the tumour boxes."""
    rows = [
        [
            TITLES[score.name],
            *(_percent(e) for e in (score.every.hit, score.right.hit, score.every.near)),
            *(_percent(e) for e in (score.every.energy, score.every.iou)),
        ]
        for score in report.scores
    ]
    header = ["map", "hottest place in the box", "where the answer is right", "or close by", "heat in the box", "IoU"]
    return table(header, rows)


def label_table(report: Report) -> str:
    """Markdown: how often each method's hottest place lies in the box, by the slice's true class."""
    present = [label for label in LABELS if label.name in report.scores[0].labels]
    rows = [[TITLES[s.name], *(_percent(s.labels[label.name].hit) for label in present)] for s in report.scores]
    header = ["map", *(f"{label.text} (n = {report.scores[0].labels[label.name].n:,})" for label in present)]
    return table(header, rows)


def faithfulness_table(report: Report) -> str:
    """Markdown: deletion, insertion, ROAD, and the correlation with maps of the network that forgot everything."""
    last = {row.name: row for row in report.randomised}
    rows = [
        [
            TITLES[row.name],
            *(_number(e) for e in (row.deletion, row.insertion, row.road)),
            f"{last[row.name].correlation:.2f}" if row.name in last else DASH,
        ]
        for row in report.faithfulness
    ]
    header = ["map", "deletion (low is good)", "insertion (high)", "ROAD (high)", "correlation, all weights random (0)"]
    return table(header, rows)


def randomisation_table(report: Report) -> str:
    """Markdown: rank correlation with the map of the trained network, as stages forget, the last first."""
    stages = list(dict.fromkeys(row.stage for row in report.randomised))
    found = {(row.name, row.stage): row for row in report.randomised}
    rows = [
        [TITLES[name], *(f"{found[name, s].correlation:.2f} / {found[name, s].ssim:.2f}" for s in stages)]
        for name in _methods(name for name, _ in found)
    ]
    return table(["correlation / SSIM; random from", *stages], rows)


def located_table(report: Report) -> tuple[str, str]:
    """Markdown: a sentence, and how often the place that a network is so sure of lay in the tumour's box."""
    empty, without = {b.low: b.n for b in report.healthy}, sum(b.n for b in report.healthy)
    rows = [
        [
            f"{b.low:.0%} to {b.high:.0%}".replace("%", " %"),
            f"{b.n:,}",
            percent(b.right / b.n, wilson(b.right, b.n)),
            percent(empty.get(b.low, 0) / without, wilson(empty.get(b.low, 0), without)) if without else DASH,
        ]
        for b in report.located
    ]
    header = ["sure at the surest place", "tumours", "that place in the box", f"of {without:,} slices without a tumour"]
    return "The surer the network is of the tumour's place, the more often it is there:", table(header, rows)


def in_words(report: Report, method: str) -> str:
    """How often to believe a method's maps, as a clinician reads it."""
    score, centre, prior = (_get(report, name) for name in (method, CENTRE.name, CLASS_PRIOR.name))
    hidden = report.hidden
    unseen = report.protocol == PATIENTWISE
    seen = "of patients the network was not trained on" if unseen else "some of which the network was trained on"
    control = (
        ""
        if hidden.elsewhere is None
        else (f" (with a patch of that size on the other side blackened, {_of_100(hidden.elsewhere)})")
    )
    return (
        f"On {report.n:,} slices with a tumour, {seen}, the hottest place of the network's {TITLES[method]} map lay "
        f"inside the tumour's box in {_of_100(score.every.hit)} slices of 100, in the box or close by in "
        f"{_of_100(score.every.near)}; where the answer was right, in {_of_100(score.right.hit)} and "
        f"{_of_100(score.right.near)}. Always pointing at the middle of the picture would have been inside in "
        f"{_of_100(centre.every.hit)}, pointing where tumours of the predicted class usually lie in "
        f"{_of_100(prior.every.hit)}. Of 100 units of heat, {_of_100(score.every.energy)} lay in the box, which covers "
        f"{percent(report.box_area)} of the picture. With the tumour blackened, {_of_100(hidden.tumour)} of 100 right "
        f"answers stayed as they were{control}."
    )


def describe(report: Report) -> str:
    """Markdown: all of the report."""
    return "\n\n".join(
        [
            f"{report.system}, n = {report.n:,} slices, {percent(report.right)} answered rightly.",
            in_words(report, best_method([report])),
            localisation_table(report),
            "Hottest place in the box, by class:",
            label_table(report),
            *(located_table(report) if report.located else ()),
            f"What the answer loses with the places marked, on {report.perturbed} slices drawn at random:",
            faithfulness_table(report),
            f"Maps of networks that forget, on {report.sampled} slices drawn at random:",
            randomisation_table(report),
        ]
    )


def _percent(estimate: Estimate) -> str:
    return percent(estimate.mean, estimate.interval)


def _number(estimate: Estimate) -> str:
    low, high = estimate.interval
    return f"{estimate.mean:.3f} ({low + 0:.3f} to {high:.3f})"


def _of_100(share: Estimate) -> str:
    return f"{100 * share.mean:.0f}"
