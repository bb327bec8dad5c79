"""How each system is trained, as data. A recipe states what differs from the defaults of `Recipe`, with the reason.

The recipes named after systems, `progressive_unfreezing` and `linear_probe` are the seed studies' own; the others are
this project's, for networks that start from random weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import product

from brain_tumor.architectures import FOCUS_CELLS
from brain_tumor.preprocessing import FOCUSED
from training.augmentation import Augmentation
from training.crops import Crops


@dataclass(frozen=True)
class Constant:
    """The learning rate stays as it is."""

    def __call__(self, base: float, epoch: float, epochs: int) -> float:
        return base


@dataclass(frozen=True)
class Step:
    """The learning rate is multiplied by `factor` every `every` epochs."""

    every: int
    factor: float

    def __call__(self, base: float, epoch: float, epochs: int) -> float:
        return base * self.factor ** (int(epoch) // self.every)


@dataclass(frozen=True)
class Cosine:
    """A half cosine from the base rate to `final` over the phase, stepped once an epoch."""

    final: float = 1e-6

    def __call__(self, base: float, epoch: float, epochs: int) -> float:
        if base == 0:
            return 0.0
        return self.final + (base - self.final) * (1 + math.cos(math.pi * int(epoch) / epochs)) / 2


@dataclass(frozen=True)
class OneCycle:
    """Linear warm-up over a share of the phase, then a half cosine to nothing, changed every step."""

    warmup: float = 0.15

    def __call__(self, base: float, epoch: float, epochs: int) -> float:
        progress = epoch / epochs
        if progress < self.warmup:
            return base * (0.04 + 0.96 * progress / self.warmup)
        return base * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup))) / 2


Schedule = Constant | Step | Cosine | OneCycle


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs with one optimizer.

    Attributes:
        epochs: length.
        head_lr, backbone_lr: base learning rates; where the system has no backbone, `head_lr` is that of everything.
        thawed: how many of `ModelSpec.thaw`'s parts learn beside the head; None means the whole network.
    """

    name: str
    epochs: int
    head_lr: float
    backbone_lr: float
    thawed: int | None = None


@dataclass(frozen=True)
class Recipe:
    """How a system is trained.

    Attributes:
        protocol: what the recipe is for where nothing else is asked, a key of `training.protocols.PROTOCOLS`.
        initialisation: "random", or "imagenet" for a backbone with ImageNet weights.
        optimizer: "adam", "adamw" or "sgd" (momentum in `momentum`).
        load_size: side to which images are resized before augmentation, px; None means the network's input size.
        resolutions: (first epoch, side in px) pairs where training starts on smaller images than the network's input
            size; the epochs at the last resolution alone compete for the best validation accuracy.
        patience: stop after so many epochs without a better validation accuracy; None means never.
        label_smoothing: share of the target spread evenly over the classes.
        ema: decay per step of the averaged weights that are validated and kept; 0 means the weights themselves.
        box_weight: how much the tumour boxes teach beside the labels (`training.location`), as a factor of the second
            loss; 0 means not at all.
        crops: windows around tumours, and where there is none, instead of whole slices (`training.crops`); slices with
            a tumour whose box is not known are left out. None means whole slices.
        validate: False trains on the validation images too and keeps the last epoch, for a schedule that is settled.
    """

    phases: tuple[Phase, ...]
    protocol: str = "published"
    initialisation: str = "random"
    optimizer: str = "adam"
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 32
    schedule: Schedule = field(default_factory=Constant)
    augmentation: Augmentation = field(default_factory=Augmentation)
    load_size: int | None = None
    resolutions: tuple[tuple[int, int], ...] = ()
    patience: int | None = None
    label_smoothing: float = 0.0
    ema: float = 0.0
    box_weight: float = 0.0
    crops: Crops | None = None
    validate: bool = True

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)


def _everything(epochs: int, lr: float) -> tuple[Phase, ...]:
    return (Phase("all", epochs, head_lr=lr, backbone_lr=lr),)


# Study A's classifier on a frozen backbone would change if the learning rate of frozen parts were not exactly zero, so
# phase 1 thaws nothing; batch-norm layers are in training mode throughout, frozen or not, as in the study.
_UNFREEZING = (
    Phase("1: head", 5, head_lr=1e-3, backbone_lr=0.0, thawed=0),
    Phase("2: + last stage", 5, head_lr=5e-4, backbone_lr=5e-5, thawed=1),
    Phase("3: + stage before", 5, head_lr=3e-4, backbone_lr=3e-5, thawed=2),
    Phase("4: everything", 15, head_lr=1e-4, backbone_lr=1e-5, thawed=None),
)

# What scanners and export software vary: side, tilt, field of view, centring, window. Not up and down: the pituitary is
# recognised by where it lies.
_ACQUISITION = Augmentation(
    flip_horizontal=0.5,
    rotation=15,
    translation=0.1,
    scale=0.15,
    brightness=0.15,
    contrast=0.2,
    gamma=0.25,
    noise=0.03,
)

# A network of three layers learns what `_ACQUISITION` asks for too slowly to get there.
_ACQUISITION_GENTLE = Augmentation(
    flip_horizontal=0.5,
    rotation=10,
    translation=0.05,
    scale=0.1,
    brightness=0.1,
    contrast=0.1,
)

# Patients that are not known lie differently in the scanner than those that are.
_ACQUISITION_STRONG = replace(_ACQUISITION, rotation=20, scale=0.2)

# For the five folds. The boxes teach where the tumour is; which it is, the labels teach as well alone (docs/trust.md).
_BOXES = Recipe(
    phases=_everything(18, 1.5e-3),
    protocol="patientwise",
    optimizer="adamw",
    # Decoupled decay this strong is what keeps 11 M random weights from remembering 5,000 slices.
    weight_decay=0.05,
    # Small batches: 2,900 images at 64 would be no more than 900 steps.
    batch_size=32,
    schedule=OneCycle(),
    augmentation=_ACQUISITION_STRONG,
    # Small images first: a step at 96 px costs a fifth of one at 224 px.
    resolutions=((0, 96), (9, 128), (14, 176), (16, 224)),
    label_smoothing=0.05,
    ema=0.99,
    box_weight=1.0,
    # The schedule is settled: all images teach.
    validate=False,
)

# Eighteen epochs of so few images are few: the network grows a second time, from 160 px.
_BOXES_TWICE = replace(
    _BOXES,
    phases=(*_BOXES.phases, Phase("again", 14, head_lr=1e-3, backbone_lr=1e-3)),
    resolutions=(*_BOXES.resolutions, (18, 160), (30, 224)),
)

# One growth that comes to the network's own input size while there is a learning rate left, and is long enough for a
# network to which large images cost most.
_BOXES_DEEP = replace(_BOXES, phases=_everything(26, 1.5e-3), resolutions=((0, 96), (7, 128), (12, 160), (22, 224)))

# As `_BOXES` for the checkpoint itself, longer.
_TWO_TEACHERS = replace(
    _BOXES,
    # The second phase is at the network's own input size throughout: the first arrives there with its learning rate
    # nearly spent.
    phases=(*_everything(26, 1.5e-3), Phase("full size", 8, head_lr=5e-4, backbone_lr=5e-4)),
    protocol="published",
    augmentation=_ACQUISITION,
    resolutions=((0, 96), (13, 128), (21, 176), (24, 224)),
)

# What a window shows is larger than in the whole slice, so training starts from as few pixels as for those.
_FOCUSED = replace(
    _BOXES,
    phases=_everything(26, 1.5e-3),
    # Windows are cut from slices as the network will see them.
    load_size=FOCUSED.size,
    resolutions=((0, 96), (10, 128), (19, 160)),
    augmentation=replace(_ACQUISITION_STRONG, translation=0.0),
    crops=Crops(side=16 * FOCUS_CELLS / FOCUSED.size, spread=1.4, jitter=0.25, elsewhere=0.3),
)

_SMALL_NETWORK = Recipe(
    phases=_everything(40, 1e-3),
    optimizer="adamw",
    weight_decay=0.05,
    schedule=OneCycle(),
    augmentation=_ACQUISITION_GENTLE,
    label_smoothing=0.05,
    ema=0.99,
    validate=False,
)


def _probe(rate: float, momentum: float, decay: float) -> Recipe:
    """Only the linear layer learns; batch norm stays in training mode, as in study A's recipes."""
    return Recipe(
        phases=(Phase("linear layer", 10, head_lr=rate, backbone_lr=0.0, thawed=0),),
        protocol="external",
        initialisation="imagenet",
        optimizer="sgd",
        momentum=momentum,
        weight_decay=decay,
    )


PROBES = {
    f"linear_probe_{rate:g}_{momentum:g}_{decay:g}": _probe(rate, momentum, decay)
    for rate, momentum, decay in product((1e-2, 5e-3, 1e-3), (0.9, 0.95), (0.0, 1e-4))
}
"""Study B's grid: learning rate, momentum, weight decay."""
BEST_PROBE = "linear_probe_0.01_0.9_0.0001"
"""The study's choice."""

RECIPES: dict[str, Recipe] = {
    "cnn_v1": Recipe(phases=_everything(10, 1e-3)),
    "cnn_v2": Recipe(phases=_everything(10, 1e-3)),
    "cnn_v3": Recipe(
        phases=_everything(15, 1e-3),
        weight_decay=1e-4,
        schedule=Step(every=5, factor=0.5),
        augmentation=Augmentation(flip_horizontal=0.5, rotation=15, translation=0.1, brightness=0.2, contrast=0.2),
    ),
    "cnn_v4": Recipe(
        phases=_everything(20, 1e-3),
        weight_decay=5e-5,
        schedule=Step(every=5, factor=0.5),
        augmentation=Augmentation(flip_horizontal=0.5, rotation=10, brightness=0.1, contrast=0.1),
        patience=5,
    ),
    "progressive_unfreezing": Recipe(
        phases=_UNFREEZING,
        initialisation="imagenet",
        batch_size=64,
        schedule=Cosine(final=1e-6),
        augmentation=Augmentation(
            flip_horizontal=0.5,
            flip_vertical=0.3,
            rotation=15,
            translation=0.1,
            crop_area=0.85,
            brightness=0.2,
            contrast=0.2,
            saturation=0.1,
        ),
        load_size=240,
    ),
    "boxes": _BOXES,
    # What the boxes are worth is the difference (`training.teachers`).
    "labels_only": replace(_BOXES, box_weight=0.0),
    "boxes_twice": _BOXES_TWICE,
    "boxes_thrice": replace(
        # Both times it comes to its own input size with the learning rate nearly spent, and is no better there than at
        # 160 px: a third phase stays there.
        _BOXES_TWICE,
        phases=(*_BOXES_TWICE.phases, Phase("full size", 6, head_lr=5e-4, backbone_lr=5e-4)),
    ),
    "boxes_deep": _BOXES_DEEP,
    "focused_short": _FOCUSED,
    "focused": replace(
        # Nearly twice the images of four folds: as many steps as these are measured with.
        _FOCUSED,
        phases=_everything(16, 1.5e-3),
        protocol="published",
        augmentation=replace(_ACQUISITION, translation=0.0),
        resolutions=((0, 96), (6, 128), (11, 160)),
    ),
    "two_teachers": _TWO_TEACHERS,
    "two_teachers_thrice": replace(
        # For a network that still learns fast when a phase ends: it grows again from 128 px, and again.
        _TWO_TEACHERS,
        phases=(
            *_everything(26, 1.5e-3),
            Phase("again", 18, head_lr=1e-3, backbone_lr=1e-3),
            Phase("once more", 18, head_lr=1e-3, backbone_lr=1e-3),
        ),
        resolutions=(
            *((0, 96), (13, 128), (21, 176), (24, 224)),
            *((26, 128), (38, 176), (40, 224)),
            *((44, 128), (56, 176), (59, 224)),
        ),
    ),
    "two_teachers_deep": replace(
        # For a network to which large images cost most: it learns from small ones, and sees large ones at the end.
        _TWO_TEACHERS,
        phases=(
            *_everything(30, 1.5e-3),
            Phase("larger", 9, head_lr=7e-4, backbone_lr=7e-4),
            # As `boxes_twice`: a network of this size has not learned all it can by then.
            Phase("again", 18, head_lr=1e-3, backbone_lr=1e-3),
        ),
        resolutions=((0, 96), (18, 128), (30, 176), (35, 224), (39, 128), (49, 176), (53, 224)),
    ),
    "small_network": _SMALL_NETWORK,
    # For the five folds.
    "small_network_short": replace(_SMALL_NETWORK, phases=_everything(18, 1e-3), protocol="patientwise"),
    "baseline_cnn": Recipe(phases=_everything(10, 1e-3), protocol="external"),
    "linear_probe": PROBES[BEST_PROBE],
    **PROBES,
}
