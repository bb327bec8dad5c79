"""Does a heatmap depend on what the network has learnt, and the answer on what the map marks, or on the tumour at all?

Weights at random stage by stage (Adebayo et al. 2018, arXiv:1810.03292); deletion and insertion (Petsiuk et al. 2018,
arXiv:1806.07421) and ROAD (Rong et al. 2022, arXiv:2202.00449); and the tumour hidden.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from scipy.stats import rankdata
from torch import Tensor, nn

from brain_tumor.explanation import METHODS
from brain_tumor.inference import Classifier
from brain_tumor.labels import class_index
from brain_tumor.preprocessing import fit, normalize
from training.data import Box, Record
from training.estimates import Estimate, estimates
from training.heatmaps import (
    BATCH,
    CENTRE,
    EDGES,
    SIDE,
    centre_map,
    coarse_maps,
    edge_map,
    enlarged,
    look,
    maps_of,
)
from training.outoffold import patients

REMOVED = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
ROAD_PERCENTILES = (70, 90)
SEED = 0


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
        all_else: with everything but the box blackened.
        apart: of these answers, those about slices on whose other side a box of the same size does not overlap the
            tumour's.
        tumour_apart, elsewhere: of these, with the box blackened and with that on the other side; None where there are
            none.
    """

    n: int
    tumour: Estimate
    all_else: Estimate
    apart: int
    tumour_apart: Estimate | None
    elsewhere: Estimate | None


Sample = tuple[Classifier, Sequence[Record], Sequence[Image.Image]]


def randomise(samples: Sequence[Sample]) -> tuple[Randomised, ...]:
    """Compare maps with those of networks that forget stage by stage, the last first; same slices, same classes."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for model, _, images in samples:
        seen = look(model, images)
        before = dict(coarse_maps(model, seen, seen.predicted))
        for stage, forgetful in forgetting(model):
            for name, after in coarse_maps(forgetful, look(forgetful, images), seen.predicted):
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
            seen = look(model, [image])
            target, side = int(seen.predicted[0]), model.spec.preprocessing.size
            pixels = fit(image, side).float() / 255
            maps = {name: found[0] for name, found in maps_of(model, seen, [target], side)}
            maps |= {CENTRE.name: centre_map(side), EDGES.name: edge_map(pixels.mean(dim=0).numpy())}
            orders = np.stack([order(heat) for heat in maps.values()])
            deleted, inserted = _curves(model, pixels, orders, target)
            for name, *areas in zip(maps, deleted, inserted, _road(model, pixels, orders, target), strict=True):
                areas_of.setdefault(name, []).append(tuple(map(float, areas)))
    clusters = patients(tuple(record.image for _, records, _ in samples for record in records))
    return tuple(Faithfulness(name, *estimates(np.array(areas), clusters)) for name, areas in areas_of.items())


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


def hide(samples: Sequence[Sample]) -> Hidden:
    """Blacken the tumour's box, as large a box on the other side, or all but the box, where the answer was right."""
    right, stay = [], []
    for model, records, images in samples:
        predicted = look(model, images).predicted
        for record, image, answer in zip(records, images, predicted, strict=True):
            if answer != class_index(record.label):
                continue
            box, other = record.box, replace(record.box, x=1 - record.box.x)
            versions = [_blackened(image, _area(box, image)), _only(image, _area(box, image))]
            if abs(box.x - other.x) >= box.width:
                versions.append(_blackened(image, _area(other, image)))
            stayed = look(model, versions).predicted == answer
            right.append(record.image)
            stay.append([*stayed, np.nan][:3])
    stays, clusters = np.array(stay, float).reshape(-1, 3), patients(tuple(right))
    apart = ~np.isnan(stays[:, 2])
    compared = estimates(stays[apart][:, [0, 2]], clusters[apart]) if apart.any() else (None, None)
    return Hidden(len(stays), *estimates(stays[:, :2], clusters), int(apart.sum()), *compared)


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
