"""The systems are declared once, under their fixed names, and what they refer to exists."""

from __future__ import annotations

import pytest
import torch

from brain_tumor.registry import MODELS, UnknownModelError, build_model, get_spec
from training.recipes import RECIPES

STUDIED = (
    "cnn_v1",
    "cnn_v2",
    "cnn_v3",
    "cnn_v4",
    "resnet18",
    "resnet50",
    "efficientnet_b0",
    "baseline_cnn",
    "resnet50_linear_probe",
)
OURS = ("focused_resnet",)
NAMES = (*STUDIED, *OURS)
REPORTED = (0.9237, 0.9497, 0.8284, 0.9809, 0.9725, 0.9847, 0.9542, 0.8684, 0.9510)


def test_names_are_the_fixed_ones_in_order():
    assert tuple(MODELS) == NAMES
    assert tuple(spec.name for spec in MODELS.values()) == NAMES


def test_titles_tell_the_systems_apart():
    assert len({spec.title for spec in MODELS.values()}) == len(MODELS)


def test_app_offers_four():
    offered = [spec.name for spec in MODELS.values() if spec.offered]
    assert offered == ["cnn_v4", "resnet18", "resnet50", "efficientnet_b0"]


def test_reported_accuracies_are_those_of_the_studies():
    assert tuple(MODELS[name].reported_accuracy for name in STUDIED) == REPORTED


@pytest.mark.parametrize("name", OURS)
def test_what_no_study_reported_says_so(name):
    spec = get_spec(name)
    assert (spec.study, spec.study_recipe, spec.reported_accuracy) == (None, None, None)
    assert spec.origin == "this project"


@pytest.mark.parametrize("name", STUDIED)
def test_study_b_recipes_use_its_protocol(name):
    spec = get_spec(name)
    protocol = {"A": "published", "B": "external"}[spec.study]
    assert RECIPES[spec.study_recipe].protocol == protocol


@pytest.mark.parametrize("name", NAMES)
def test_recipes_exist(name):
    spec = get_spec(name)
    assert {spec.recipe, spec.patientwise_recipe} <= set(RECIPES)
    assert spec.study_recipe in RECIPES if spec.study else spec.study_recipe is None


@pytest.mark.parametrize("name", NAMES)
def test_named_stages_exist(name):
    spec = get_spec(name)
    with torch.device("meta"):
        network = build_model(name)
    stages = dict(network.named_children())
    assert spec.cam_layer in stages
    if spec.head is not None:
        assert list(stages)[-1] == spec.head
    for part in (part for group in spec.thaw for part in group):
        assert list(network.get_submodule(part).parameters())


@pytest.mark.parametrize("name", NAMES)
def test_recipe_thaws_no_more_parts_than_there_are(name):
    spec = get_spec(name)
    for recipe in (RECIPES[name] for name in (spec.recipe, spec.study_recipe) if name):
        assert all((phase.thawed or 0) <= len(spec.thaw) for phase in recipe.phases)


def test_imagenet_recipes_are_only_for_systems_with_a_backbone():
    for spec in map(get_spec, STUDIED):
        if RECIPES[spec.study_recipe].initialisation == "imagenet":
            assert spec.head is not None


@pytest.mark.parametrize("function", [get_spec, build_model])
def test_unknown_name_is_answered_with_those_that_exist(function):
    with pytest.raises(UnknownModelError, match="'resnet19'") as error:
        function("resnet19")
    assert all(name in str(error.value) for name in NAMES)
