"""Where a network looked, and where it says that the tumour lies; and how such maps are drawn.

Class-activation maps are made by the grad-cam package. It hooks into the layer it explains and runs the whole network
again. On a network that several requests share, those hooks cross. Here the network is cut behind the layer instead:
the feature maps have been computed once, and each request gives the package a small module of its own, Identity ->
tail, whose Identity carries the hooks. The maps are the same, and cost a pass through the tail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from brain_tumor.calibration import Bin
from brain_tumor.inference import Classifier, Prediction, Reading
from brain_tumor.labels import CLASS_NAMES, class_index


class UnknownMethodError(ValueError):
    """No method of that name; the message lists those that exist."""


@dataclass(frozen=True)
class Method:
    """A way to make a heatmap: `cls` is its class in the grad-cam package, `source` the paper.

    Without a `cls` it is the network's own answer where the tumour lies, whatever the class (`brain_tumor.location`).
    """

    name: str
    title: str
    cls: str | None
    source: str


_METHODS = (
    Method("location", "Tumour's place", None, "brain_tumor.location"),
    Method("gradcam", "Grad-CAM", "GradCAM", "Selvaraju et al. 2017, arXiv:1610.02391"),
    Method("gradcam++", "Grad-CAM++", "GradCAMPlusPlus", "Chattopadhyay et al. 2018, arXiv:1710.11063"),
    Method("layercam", "LayerCAM", "LayerCAM", "Jiang et al. 2021, doi:10.1109/TIP.2021.3089943"),
    Method("hirescam", "HiResCAM", "HiResCAM", "Draelos and Carin 2020, arXiv:2011.08891"),
    Method("xgradcam", "XGrad-CAM", "XGradCAM", "Fu et al. 2020, arXiv:2008.02312"),
    Method("eigengradcam", "EigenGradCAM", "EigenGradCAM", "Gildenblat 2021, package grad-cam"),
)
METHODS = {method.name: method for method in _METHODS}
CAMS = {method.name: method for method in _METHODS if method.cls}
"""Those that explain a class, and that every network has."""
DEFAULT_METHOD = _METHODS[0].name
DEFAULT_CAM = "layercam"
"""Among those whose hottest place lies in the tumour most often, and the more faithful ones (`docs/trust.md`)."""
COMPARED_CAM = "gradcam"
"""The one by which models are compared; what its overlap is worth is in `docs/trust.md`."""
BRIGHT = 0.5
"""A place of which a network is so sure, or surer, is drawn as bright as can be."""
NOWHERE = 0.1
"""Where no cell is taken to be covered by a tumour by more than this, none is shown."""

OVERLAP_CELLS = 8

# Dark to bright in equal perceived steps, also for the colour-blind and in print (matplotlib's inferno).
COLORMAP = matplotlib.colormaps["inferno"]


@dataclass(frozen=True)
class Explanation:
    """Where one model saw evidence for one class in one slice.

    Attributes:
        prediction: the model's answer.
        target_class: the class that is explained.
        method: a key of `METHODS`, the one that made the map.
        heatmap: float32 (H, W) in [0, 1] at the size of the slice. That of a class-activation method has the maximum 1;
            that of "location" says how much the tumour is taken to cover a place.
        found: False where nothing speaks for the class, or no tumour is seen; the heatmap is then all 0.
        evidence: computes the map by which models are compared, float32 (H, W) in [0, 1]: what spoke for the predicted
            class by `COMPARED_CAM`, whatever is shown, or the verdict would change with the map that is looked at.
        support: how often maps of the tumour's place that were as sure were right, where that has been measured.
    """

    prediction: Prediction
    target_class: str
    method: str
    heatmap: np.ndarray
    found: bool
    evidence: Callable[[], np.ndarray] = field(repr=False)
    support: Bin | None = None

    @property
    def located(self) -> bool:
        """The map says where the tumour lies, not what the answer came from."""
        return METHODS[self.method].cls is None

    @property
    def shown(self) -> np.ndarray:
        """The map as it is drawn, float32 (H, W) in [0, 1]: an unsure place is drawn up to twice as bright, or it would
        not be seen on a dark slice."""
        return self.heatmap / max(self.peak, BRIGHT)

    @property
    def likely(self) -> bool:
        """Of a map of the tumour's place: at the hottest place, a tumour is likelier than none."""
        return self.peak >= 0.5

    @property
    def peak(self) -> float:
        """Value of the hottest place, in [0, 1]."""
        return float(self.heatmap.max())


def explain_reading(
    classifier: Classifier,
    reading: Reading,
    size: tuple[int, int],
    target_class: str | None = None,
    method: str = DEFAULT_METHOD,
) -> Explanation:
    """Explain an answer that has been given.

    Args:
        classifier: the one that gave it.
        size: (width, height) of the slice, px, as PIL says it.
        target_class: any of the four classes; None means the predicted one.
        method: a key of `METHODS`. "location" is no explanation of a class: where one is asked for, and for models that
            do not say where the tumour lies, `DEFAULT_CAM` is used instead.

    Raises:
        ValueError: no such class, no such method.
    """
    predicted = reading.prediction.predicted_class
    asked, target_class = target_class, target_class or predicted
    evidence = partial(_evidence, classifier, reading, size, predicted, COMPARED_CAM)
    if get_method(method).cls is None:
        if reading.location is not None and not asked:
            heatmap = _enlarged(reading.location[0], size)
            peak = float(heatmap.max())
            found, support = peak > NOWHERE, classifier.locator.bin_of(peak)
            shown = heatmap if found else np.zeros_like(heatmap)
            return Explanation(reading.prediction, target_class, method, shown, found, evidence, support)
        method = DEFAULT_CAM
    heatmap = _evidence(classifier, reading, size, target_class, method)
    if (target_class, method) == (predicted, COMPARED_CAM):
        return Explanation(reading.prediction, target_class, method, heatmap, bool(heatmap.any()), lambda: heatmap)
    return Explanation(reading.prediction, target_class, method, heatmap, bool(heatmap.any()), evidence)


def _evidence(classifier: Classifier, reading: Reading, size: tuple[int, int], name: str, method: str) -> np.ndarray:
    """What speaks for a class, float32 (H, W) in [0, 1] with the maximum 1; all 0 where nothing does."""
    coarse = class_activation_map(classifier.tail, reading.features, class_index(name), method)
    heatmap = _enlarged(torch.from_numpy(coarse), size)
    # The package stretches every map to [0, 1] whose largest value is above some 1e-14; below, it is rounding.
    # And a slice of fewer pixels than the feature maps may have none where the heat is.
    found = coarse.max() > 0.5 and heatmap.max() > 0
    return (heatmap / heatmap.max()).clip(0, 1) if found else np.zeros_like(heatmap)


def _enlarged(coarse: Tensor, size: tuple[int, int]) -> np.ndarray:
    """A map (h, w) -> float32 (H, W) for a (width, height)."""
    width, height = size
    return F.interpolate(coarse[None, None], (height, width), mode="bilinear")[0, 0].numpy()


def class_activation_map(tail: nn.Module, features: Tensor, target: int, method: str) -> np.ndarray:
    """Heatmap of one class over the feature maps (1, C, h, w) of one slice: float32 (h, w) in [0, 1]; see
    `class_activation_maps`."""
    return class_activation_maps(tail, features, [target], method)[0]


def class_activation_maps(tail: nn.Module, features: Tensor, targets: Sequence[int], method: str) -> np.ndarray:
    """Heatmaps over the feature maps of N slices, each of one class, in one pass.

    Args:
        tail: the network behind the feature maps, (N, C, h, w) -> (N, 4); shared, left as it is.
        features: float (N, C, h, w).
        targets: class index of each slice.
        method: a key of `CAMS`.

    Returns:
        float32 (N, h, w) in [0, 1].
    """
    for target in targets:
        if not 0 <= target < len(CLASS_NAMES):
            # The package's own context manager would swallow the IndexError and return nothing.
            raise ValueError(f"There is no class {target}; the classes are 0 to {len(CLASS_NAMES) - 1}.")
    # The package takes seconds to import (scikit-learn, scipy): not before somebody asks for a map.
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    hooked = nn.Identity()
    own = nn.Sequential(hooked, tail).eval()
    leaf = features.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        cam = getattr(pytorch_grad_cam, get_method(method).cls)(model=own, target_layers=[hooked])
        try:
            heatmaps = cam(input_tensor=leaf, targets=[ClassifierOutputTarget(int(target)) for target in targets])
        finally:
            cam.activations_and_grads.release()
    return np.nan_to_num(heatmaps).astype(np.float32)


def get_method(name: str) -> Method:
    """The method of that name; UnknownMethodError lists those that exist."""
    try:
        return METHODS[name]
    except KeyError:
        raise UnknownMethodError(f"Unknown method {name!r}; the methods are {', '.join(METHODS)}.") from None


def overlap(heatmaps: Sequence[np.ndarray]) -> float:
    """How far the two of several heatmaps that differ most have their heat in the same places.

    Args:
        heatmaps: at least one, float (H, W) in [0, 1], of one slice.

    Returns:
        The smallest shared mass of two maps that each sum to 1, in [0, 1]; 1 for a single map. A map that is all 0 says
        nothing and is left out.
    """
    masses = [_mass(heatmap) for heatmap in heatmaps if heatmap.any()]
    return min((float(np.minimum(a, b).sum()) for a, b in combinations(masses, 2)), default=1.0)


def comparable(explanations: Sequence[Explanation]) -> list[Explanation]:
    """Those whose heatmaps answer the same question: the tumour's place where two models or more say it, else what the
    answers of the others came from; none where these are of different classes."""
    located = [one for one in explanations if one.located]
    explained = [one for one in explanations if not one.located]
    if len(located) > 1 or not explained:
        return located
    same = len({one.target_class for one in explained}) == 1
    return explained if same else []


@dataclass(frozen=True, eq=False)
class Shared:
    """Where the heatmaps of several models agree.

    Attributes:
        target_class: what they explain; None where they say the tumour's place.
        heatmap: where all are hot, their geometric mean, (H, W) in [0, 1].
        overlap: as `overlap` has it.
    """

    models: tuple[str, ...]
    target_class: str | None
    heatmap: np.ndarray
    overlap: float


def shared(explanations: Sequence[Explanation]) -> Shared | None:
    """Where those of the explanations agree that are `comparable`; None where these are fewer than two, or one of them
    marks nothing."""
    compared = comparable(explanations)
    if len(compared) < 2 or not all(one.found for one in compared):
        return None
    heatmaps = [one.heatmap for one in compared]
    return Shared(
        models=tuple(one.prediction.model for one in compared),
        target_class=None if compared[0].located else compared[0].target_class,
        heatmap=np.exp(np.mean([np.log(heatmap.clip(1e-6)) for heatmap in heatmaps], axis=0)).astype(np.float32),
        overlap=overlap(heatmaps),
    )


def _mass(heatmap: np.ndarray) -> np.ndarray:
    """The map's mass on a coarse grid: maps of networks with fine and with coarse feature maps are to be comparable."""
    coarse = F.adaptive_avg_pool2d(torch.from_numpy(heatmap)[None, None], OVERLAP_CELLS)[0, 0].numpy()
    return coarse / coarse.sum()


def colored(heatmap: np.ndarray) -> Image.Image:
    """Heatmap (H, W) in [0, 1] -> RGBA image whose opacity grows with the heat, to be laid over the slice."""
    rgba = COLORMAP(heatmap, bytes=True)
    rgba[..., 3] = (255 * np.sqrt(heatmap)).astype(np.uint8)
    return Image.fromarray(rgba)


def overlay(image: Image.Image, heatmap: np.ndarray, opacity: float = 0.55) -> np.ndarray:
    """The slice under its heatmap.

    Args:
        image: the slice, (width, height) as the heatmap.
        heatmap: float (H, W) in [0, 1].
        opacity: of the hottest place, in [0, 1].

    Returns:
        uint8 (H, W, 3).
    """
    layer = colored(heatmap)
    layer.putalpha(layer.getchannel("A").point(lambda alpha: round(alpha * opacity)))
    return np.array(Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB"))
