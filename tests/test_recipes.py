"""The studies' recipes are those the studies describe, to the last number."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import pytest
import torch
from torch import nn

from brain_tumor.registry import MODELS, build_model, get_spec
from training.augmentation import Augmentation
from training.engine import parameter_groups
from training.protocols import PATIENTWISE, PROTOCOLS
from training.recipes import RECIPES, Constant, Cosine, OneCycle, Phase, Step


@dataclass
class Study:
    """What a seed study says about the training of a system."""

    optimizer: str
    epochs: tuple[int, ...]
    head_lr: tuple[float, ...]
    schedule: object
    protocol: str = "published"
    initialisation: str = "random"
    batch_size: int = 32
    weight_decay: float = 0.0
    momentum: float = 0.0
    patience: int | None = None
    load_size: int | None = None


STUDIES = {
    "cnn_v1": Study("adam", (10,), (1e-3,), Constant()),
    "cnn_v2": Study("adam", (10,), (1e-3,), Constant()),
    "cnn_v3": Study("adam", (15,), (1e-3,), Step(5, 0.5), weight_decay=1e-4),
    "cnn_v4": Study("adam", (20,), (1e-3,), Step(5, 0.5), weight_decay=5e-5, patience=5),
    "progressive_unfreezing": Study(
        "adam",
        (5, 5, 5, 15),
        (1e-3, 5e-4, 3e-4, 1e-4),
        Cosine(1e-6),
        initialisation="imagenet",
        batch_size=64,
        load_size=240,
    ),
    "baseline_cnn": Study("adam", (10,), (1e-3,), Constant(), protocol="external"),
    "linear_probe": Study(
        "sgd",
        (10,),
        (0.01,),
        Constant(),
        protocol="external",
        initialisation="imagenet",
        momentum=0.9,
        weight_decay=1e-4,
    ),
}
AUGMENTATIONS = {
    "cnn_v3": dict(flip_horizontal=0.5, rotation=15, translation=0.1, brightness=0.2, contrast=0.2),
    "cnn_v4": dict(flip_horizontal=0.5, rotation=10, brightness=0.1, contrast=0.1),
    "progressive_unfreezing": dict(
        flip_horizontal=0.5,
        flip_vertical=0.3,
        rotation=15,
        translation=0.1,
        crop_area=0.85,
        brightness=0.2,
        contrast=0.2,
        saturation=0.1,
    ),
}
# What learns beside the head in the four phases of progressive unfreezing.
RESNET = (
    set(),
    {"layer4"},
    {"layer3", "layer4"},
    {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"},
)
EFFICIENTNET = (
    set(),
    {"features.7", "features.8"},
    {"features.5", "features.6", "features.7", "features.8"},
    {f"features.{i}" for i in range(9)},
)
THAWED = {"resnet18": RESNET, "resnet50": RESNET, "efficientnet_b0": EFFICIENTNET}
PHASE_EPOCHS = (5, 5, 5, 15)
PHASE_RATES = ((0.0, 1e-3), (5e-5, 5e-4), (3e-5, 3e-4), (1e-5, 1e-4))


def untrained(name: str) -> nn.Sequential:
    """The network without values: enough to see what learns."""
    with torch.device("meta"):
        return build_model(name)


def stage(parameter: str) -> str:
    """ "layer4" of "layer4.0.conv1.weight", "features.7" of "features.7.0.weight"."""
    return ".".join(parameter.split(".")[: 2 if parameter.startswith("features.") else 1])


@pytest.mark.parametrize("name", STUDIES)
def test_study_recipe_is_as_described(name):
    recipe, study = RECIPES[name], STUDIES[name]
    assert tuple(phase.epochs for phase in recipe.phases) == study.epochs
    assert recipe.epochs == sum(study.epochs)
    assert tuple(phase.head_lr for phase in recipe.phases) == study.head_lr
    for field in fields(Study):
        if field.name not in ("epochs", "head_lr"):
            assert getattr(recipe, field.name) == getattr(study, field.name), field.name
    assert (recipe.label_smoothing, recipe.ema, recipe.resolutions) == (0, 0, ())


@pytest.mark.parametrize("name", STUDIES)
def test_study_augmentation_is_as_described(name):
    assert RECIPES[name].augmentation == Augmentation(**AUGMENTATIONS.get(name, {}))


def test_every_system_has_its_studys_recipe():
    assert {spec.study_recipe for spec in MODELS.values() if spec.study} == set(STUDIES)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_can_be_carried_out(name):
    recipe = RECIPES[name]
    assert recipe.protocol in (*PROTOCOLS, PATIENTWISE)
    assert recipe.initialisation in ("random", "imagenet")
    firsts = [first for first, _ in recipe.resolutions]
    assert firsts == sorted(set(firsts))
    # The last resolution is reached, and is the first epoch's if there is but one.
    assert not firsts or (firsts[0] == 0 and firsts[-1] < recipe.epochs)


@pytest.mark.parametrize("spec", [s for s in MODELS.values() if RECIPES[s.recipe].resolutions], ids=lambda s: s.name)
def test_growing_resolution_ends_at_the_scale_of_the_input(spec):
    recipe = RECIPES[spec.recipe]
    side = recipe.crops.side if recipe.crops else 1
    assert recipe.resolutions[-1][1] / side == pytest.approx(spec.preprocessing.size)
    assert not recipe.crops or recipe.load_size == spec.preprocessing.size


@pytest.mark.parametrize("name", [name for name, study in STUDIES.items() if study.schedule != Constant()])
def test_schedule_is_torchs_own(name):
    recipe = RECIPES[name]
    for phase in recipe.phases:
        for base in (phase.head_lr, phase.backbone_lr):
            optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=base)
            if isinstance(recipe.schedule, Step):
                torchs = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.5)
            else:
                torchs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=phase.epochs, eta_min=1e-6)
            for epoch in range(phase.epochs):
                expected = optimizer.param_groups[0]["lr"] if base else 0.0
                for within in (0.0, 0.5, 0.999):
                    assert recipe.schedule(base, epoch + within, phase.epochs) == pytest.approx(expected, rel=1e-9)
                optimizer.step()
                torchs.step()


@pytest.mark.parametrize(
    ("schedule", "epochs", "expected"),
    [
        (Constant(), 10, {0: 1e-3, 9.9: 1e-3}),
        (Step(5, 0.5), 20, {0: 1e-3, 4.99: 1e-3, 5: 5e-4, 10: 2.5e-4, 15: 1.25e-4, 19.9: 1.25e-4}),
        (Cosine(1e-6), 5, {0: 1e-3, 1: 1e-6 + 0.999e-3 * (1 + math.cos(math.pi / 5)) / 2}),
        (OneCycle(0.2), 10, {0: 4e-5, 1: 5.2e-4, 2: 1e-3, 6: 5e-4, 10: 0.0}),
    ],
    ids=["constant", "step", "cosine", "one cycle"],
)
def test_schedule_has_the_stated_values(schedule, epochs, expected):
    for epoch, value in expected.items():
        assert schedule(1e-3, epoch, epochs) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("phase", range(4))
@pytest.mark.parametrize("name", THAWED)
def test_progressive_unfreezing_thaws_what_the_study_thawed(name, phase):
    spec, network = get_spec(name), untrained(name)
    assert spec.study_recipe == "progressive_unfreezing"
    phases = RECIPES[spec.study_recipe].phases
    for earlier in phases[:phase]:
        parameter_groups(network, spec, earlier)
    groups = parameter_groups(network, spec, phases[phase])

    learning = {key: p for key, p in network.named_parameters() if p.requires_grad}
    assert {stage(key) for key in learning} == {spec.head} | THAWED[name][phase]
    frozen = {stage(key) for key, p in network.named_parameters() if not p.requires_grad}
    assert not frozen & {stage(key) for key in learning}
    in_groups = {id(p): group["name"] for group in groups for p in group["params"]}
    assert in_groups == {id(p): "head" if stage(key) == spec.head else "backbone" for key, p in learning.items()}
    assert sum(len(group["params"]) for group in groups) == len(learning)
    backbone_lr, head_lr = PHASE_RATES[phase]
    rates = {group["name"]: group["base_lr"] for group in groups}
    assert rates == ({"head": head_lr, "backbone": backbone_lr} if phase else {"head": head_lr})
    assert phases[phase].epochs == PHASE_EPOCHS[phase]


def test_linear_probe_trains_the_linear_layer_alone():
    spec, network = get_spec("resnet50_linear_probe"), untrained("resnet50_linear_probe")
    (phase,) = RECIPES["linear_probe"].phases
    (group,) = parameter_groups(network, spec, phase)
    assert [key for key, p in network.named_parameters() if p.requires_grad] == ["fc.weight", "fc.bias"]
    assert [tuple(p.shape) for p in group["params"]] == [(4, 2048), (4,)]


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("resnet50_linear_probe",)])
def test_committed_recipe_trains_everything_in_the_end(name):
    spec, network = get_spec(name), untrained(name)
    parameter_groups(network, spec, Phase("frozen", 1, 1e-3, 0.0, thawed=0))
    groups = parameter_groups(network, spec, RECIPES[spec.recipe].phases[-1])
    assert all(p.requires_grad for p in network.parameters())
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
