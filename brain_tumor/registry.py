"""The systems as data: nine of two seed studies, and one of this project's own.

Everything that lists models (page, command line, tests, tables) derives from `MODELS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from brain_tumor import architectures, preprocessing
from brain_tumor.preprocessing import Preprocessing


class UnknownModelError(ValueError):
    """No system of that name; the message lists those that exist."""


@dataclass(frozen=True)
class ModelSpec:
    """One system.

    Attributes:
        name: fixed identifier, also the folder under `weights/`.
        title: what people read.
        build: returns the untrained network, a sequence of named stages.
        preprocessing: how the network sees a slice.
        cam_layer: the stage whose output class-activation maps are made from, the last one with spatial extent.
        recipe: how the committed checkpoint is trained, a name in `training.recipes.RECIPES`.
        patientwise_recipe: how it is trained on patient-wise folds, whose predictions tell how far to believe it.
        location_stages: stages, the finest first, that learn to tell the tumour's place where a recipe asks for it.
        backbone: torchvision's name of the network whose ImageNet weights fit; None where there is none.
        head: the stage that does not come from ImageNet weights; None where the whole network starts at random.
        thaw: parts of the backbone in the order in which progressive unfreezing adds them to the head.
        study: the seed study that reported the system, "A" or "B"; None for this project's own.
        study_recipe: how that study trained it; None likewise.
        reported_accuracy: what that study reported on its test set, a fraction; None likewise.
        offered: shown by the app by default.
    """

    name: str
    title: str
    build: Callable[[], nn.Sequential]
    preprocessing: Preprocessing
    cam_layer: str
    recipe: str
    patientwise_recipe: str
    location_stages: tuple[str, ...]
    study: str | None = None
    study_recipe: str | None = None
    reported_accuracy: float | None = None
    backbone: str | None = None
    head: str | None = None
    thaw: tuple[tuple[str, ...], ...] = ()
    offered: bool = False

    @property
    def origin(self) -> str:
        """Whose system it is, in words."""
        return f"study {self.study}" if self.study else "this project"


_SPECS = (
    ModelSpec(
        name="cnn_v1",
        title="CNN v1 (baseline)",
        build=architectures.study_a_baseline,
        preprocessing=preprocessing.STUDY_A_CNN,
        cam_layer="relu2",
        recipe="cnn_v1",
        study_recipe="cnn_v1",
        study="A",
        reported_accuracy=0.9237,
        patientwise_recipe="cnn_v1",
        location_stages=("relu2",),
    ),
    ModelSpec(
        name="cnn_v2",
        title="CNN v2 (improved)",
        build=partial(architectures.study_a_cnn, dropout=0.5),
        preprocessing=preprocessing.STUDY_A_CNN,
        cam_layer="relu3",
        recipe="cnn_v2",
        study_recipe="cnn_v2",
        study="A",
        reported_accuracy=0.9497,
        patientwise_recipe="cnn_v2",
        location_stages=("relu3",),
    ),
    ModelSpec(
        name="cnn_v3",
        title="CNN v3 (advanced)",
        build=partial(architectures.study_a_cnn, dropout=0.5),
        preprocessing=preprocessing.STUDY_A_CNN,
        cam_layer="relu3",
        recipe="cnn_v3",
        study_recipe="cnn_v3",
        study="A",
        reported_accuracy=0.8284,
        patientwise_recipe="cnn_v3",
        location_stages=("relu3",),
    ),
    ModelSpec(
        name="cnn_v4",
        title="CNN v4 (optimized)",
        build=partial(architectures.study_a_cnn, dropout=0.3),
        preprocessing=preprocessing.STUDY_A_CNN,
        cam_layer="relu3",
        recipe="small_network",
        study_recipe="cnn_v4",
        study="A",
        reported_accuracy=0.9809,
        patientwise_recipe="small_network_short",
        location_stages=("relu3",),
        offered=True,
    ),
    ModelSpec(
        name="resnet18",
        title="ResNet-18",
        build=architectures.resnet18,
        preprocessing=preprocessing.IMAGENET,
        cam_layer="layer4",
        recipe="two_teachers",
        study_recipe="progressive_unfreezing",
        backbone="resnet18",
        head="fc",
        thaw=(("layer4",), ("layer3",)),
        study="A",
        reported_accuracy=0.9725,
        patientwise_recipe="boxes_thrice",
        location_stages=("layer3", "layer4"),
        offered=True,
    ),
    ModelSpec(
        name="resnet50",
        title="ResNet-50",
        build=architectures.resnet50,
        preprocessing=preprocessing.IMAGENET,
        cam_layer="layer4",
        recipe="two_teachers_deep",
        study_recipe="progressive_unfreezing",
        backbone="resnet50",
        head="fc",
        thaw=(("layer4",), ("layer3",)),
        study="A",
        reported_accuracy=0.9847,
        patientwise_recipe="boxes_deep",
        location_stages=("layer3", "layer4"),
        offered=True,
    ),
    ModelSpec(
        name="efficientnet_b0",
        title="EfficientNet-B0",
        build=architectures.efficientnet_b0,
        preprocessing=preprocessing.IMAGENET,
        cam_layer="features",
        recipe="two_teachers_thrice",
        study_recipe="progressive_unfreezing",
        backbone="efficientnet_b0",
        head="classifier",
        thaw=(("features.7", "features.8"), ("features.5", "features.6")),
        study="A",
        reported_accuracy=0.9542,
        patientwise_recipe="boxes_twice",
        location_stages=("features.5", "features"),
        offered=True,
    ),
    ModelSpec(
        name="baseline_cnn",
        title="Baseline CNN",
        build=architectures.study_b_cnn,
        preprocessing=preprocessing.UNNORMALIZED,
        cam_layer="relu3",
        recipe="baseline_cnn",
        study_recipe="baseline_cnn",
        study="B",
        reported_accuracy=0.8684,
        patientwise_recipe="baseline_cnn",
        location_stages=("relu3",),
    ),
    ModelSpec(
        name="resnet50_linear_probe",
        title="ResNet-50, linear probe",
        build=architectures.resnet50_linear,
        preprocessing=preprocessing.UNNORMALIZED,
        cam_layer="layer4",
        recipe="linear_probe",
        study_recipe="linear_probe",
        backbone="resnet50",
        head="fc",
        study="B",
        reported_accuracy=0.9510,
        patientwise_recipe="boxes",
        location_stages=("layer3", "layer4"),
    ),
    ModelSpec(
        name="focused_resnet",
        title="Focused ResNet",
        build=architectures.focused_resnet,
        preprocessing=preprocessing.FOCUSED,
        cam_layer="layer3",
        recipe="focused",
        patientwise_recipe="focused_short",
        location_stages=("layer3",),
    ),
)

MODELS = {spec.name: spec for spec in _SPECS}


def get_spec(name: str) -> ModelSpec:
    """The system of that name; UnknownModelError lists those that exist."""
    try:
        return MODELS[name]
    except KeyError:
        raise UnknownModelError(f"Unknown model {name!r}; the models are {', '.join(MODELS)}.") from None


def build_model(name: str) -> nn.Sequential:
    """The system's network with random weights, from torch's generator; `inference.load_model` gives trained ones."""
    return get_spec(name).build()
