"""The heatmaps that are scored: of many slices at once, and those of guesses that know nothing of the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import ndimage
from torch import Tensor

from brain_tumor.explanation import CAMS, METHODS, class_activation_maps
from brain_tumor.images import read_image
from brain_tumor.inference import Classifier
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.location import run
from brain_tumor.preprocessing import fit, preprocess
from training.data import FIGSHARE, KAGGLE, Box, Record, folder_of

SIDE = 128
"""Maps and boxes are compared on a grid of so many cells a side."""
BATCH = 32


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
CEILING = Baseline("ceiling", "The box itself, as coarse as Grad-CAM: the most that it and its relatives can reach")
BASELINES = {b.name: b for b in (CENTRE, PRIOR, CLASS_PRIOR, EDGES, BRIGHTNESS, CEILING)}
LOCATION = next(name for name, method in METHODS.items() if not method.cls)
TITLES = {name: source.title for name, source in (METHODS | BASELINES).items()}


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


def baseline_maps(
    images: Sequence[Image.Image], predicted: Sequence[int], prior: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    grey = [fit(image, SIDE).float().mean(dim=0).numpy() / 255 for image in images]
    yield CENTRE.name, np.stack([centre_map()] * len(images))
    yield PRIOR.name, np.stack([prior[""]] * len(images))
    yield CLASS_PRIOR.name, np.stack([prior.get(CLASS_NAMES[i], prior[""]) for i in predicted])
    yield EDGES.name, np.stack([edge_map(picture) for picture in grey])
    yield BRIGHTNESS.name, np.stack([ndimage.gaussian_filter(picture, SIDE / 30) for picture in grey])


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


def look(model: Classifier, images: Sequence[Image.Image]) -> Seen:
    locator = model.locator
    with torch.no_grad():
        batch = preprocess(images, model.spec.preprocessing).contiguous(memory_format=torch.channels_last)
        features, maps = run(model.trunk, batch, locator.stages if locator else ())
        predicted = model.tail(features).argmax(dim=1).numpy()
        return Seen(features, predicted, locator.probabilities(maps) if locator else None)


def coarse_maps(model: Classifier, seen: Seen, targets: Sequence[int]) -> Iterator[tuple[str, np.ndarray]]:
    """Each method's maps as coarse as they are made, float (N, h, w)."""
    if seen.location is not None:
        yield LOCATION, seen.location.numpy()
    for name in CAMS:
        yield name, class_activation_maps(model.tail, seen.features, targets, name)


def maps_of(model: Classifier, seen: Seen, targets: Sequence[int], side: int) -> Iterator[tuple[str, np.ndarray]]:
    """Each method's maps, float (N, side, side)."""
    for name, coarse in coarse_maps(model, seen, targets):
        yield name, (smoothly(coarse, side) if name == LOCATION else enlarged(coarse, side))


def read_slice(record: Record, root: Path) -> Image.Image:
    return read_image(folder_of(KAGGLE if record.dataset == KAGGLE.name else FIGSHARE, root) / record.image)


def box_masks(boxes: Sequence[Box]) -> np.ndarray:
    """Which cells have their centre in the box: bool (N, SIDE, SIDE)."""
    centres = (np.arange(SIDE) + 0.5) / SIDE
    left, top, right, bottom = (edge[:, None] for edge in np.array([box.corners for box in boxes]).T)
    across = (left <= centres) & (centres <= right)
    down = (top <= centres) & (centres <= bottom)
    return down[:, :, None] & across[:, None, :]


def methods_among(names: Iterable[str]) -> list[str]:
    """Of these names those of methods, not of baselines, in the order of METHODS."""
    present = set(names)
    return [name for name in METHODS if name in present]
