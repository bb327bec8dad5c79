"""One training run from names to a checkpoint folder: data, network, engine, export."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from brain_tumor.checkpoints import CONFIG_FILE, read_config, weights_folder
from brain_tumor.registry import get_spec
from training.data import load_samples
from training.engine import TrainingError, automatic_precision, train
from training.export import described, export, git_commit
from training.initialisation import initial_network
from training.protocols import boxed, split_for, with_boxes
from training.recipes import RECIPES, Recipe

# What a system's folder holds about other weights than its own: those of the study's recipe, and those of the folds.
STUDY_FOLDER = Path("evaluation", "study")
TEACHERS_FOLDER = Path("evaluation", "second_teacher")
OF_THE_FOLDS = (
    "calibration.json",
    "location.json",
    "evaluation/patientwise*",
    "evaluation/reliability.png",
    "evaluation/localisation.*",
)

log = logging.getLogger(__name__)


def get_recipe(name: str) -> Recipe:
    """The recipe of that name; ValueError lists those that exist."""
    try:
        return RECIPES[name]
    except KeyError:
        raise ValueError(f"Unknown recipe {name!r}; the recipes are {', '.join(RECIPES)}.") from None


def train_system(
    system: str,
    root: Path,
    runs: Path,
    recipe_name: str | None = None,
    seed: int = 0,
    precision: str = "auto",
    imagenet_file: Path | None = None,
    protocol: str | None = None,
    fold: int | None = None,
) -> Path:
    """Train one system, or finish a run that was interrupted.

    Args:
        root: folder of the data sets.
        runs: the run's own folder is made in it, named after system, recipe and seed.
        recipe_name: a key of RECIPES; None means the one the committed checkpoint is made with, or the one for folds.
        imagenet_file: where the recipe starts from ImageNet weights, a file to take them from.
        protocol: a key of PROTOCOLS, or PATIENTWISE with a fold; None means the recipe's own.

    Returns:
        The checkpoint folder, `<run>/checkpoint`.
    """
    spec = get_spec(system)
    recipe_name = recipe_name or (spec.recipe if fold is None else spec.patientwise_recipe)
    recipe = get_recipe(recipe_name)
    recipe = replace(recipe, protocol=protocol or recipe.protocol)
    folder = run_folder(runs, system, recipe_name, seed, fold)
    checkpoint = folder / "checkpoint"
    if (checkpoint / CONFIG_FILE).exists():
        finished(folder, recipe_name, recipe)
        log.info("%s is finished; delete it to train again.", folder)
        return checkpoint
    commit = git_commit()
    precision = automatic_precision() if precision == "auto" else precision
    try:
        split = split_for(recipe.protocol, root, fold, recipe.validate)
    except ValueError as error:
        raise TrainingError(str(error)) from None
    if recipe.box_weight:
        # Windows are cut around boxes: whose box is not known is of no use then.
        known = boxed if recipe.crops else with_boxes
        split = replace(split, train=known(split.train, root))
    size = spec.preprocessing.size
    log.info("%s: %d images to train, %d to validate.", folder.name, len(split.train), len(split.val))
    state, progress = train(
        network=initial_network(spec, recipe, seed, imagenet_file),
        spec=spec,
        recipe=recipe,
        train_samples=load_samples(split.train, root, recipe.load_size or size),
        val_samples=load_samples(split.val, root, size),
        folder=folder,
        seed=seed,
        precision=precision,
    )
    # Of several processes one writes: batch norm's statistics, hence the sha256, are each process's own.
    if processes().is_main_process:
        config = export(state, progress, spec, recipe_name, recipe, split, seed, precision, commit, checkpoint)
        accuracy = config["val_accuracy"]
        reason = "the last one" if accuracy is None else f"validation accuracy {100 * accuracy:.2f} %"
        log.info("Kept epoch %d, %s: %s", config["best_epoch"], reason, checkpoint)
    processes().wait_for_everyone()
    return checkpoint


def finished(folder: Path, recipe_name: str, recipe: Recipe) -> dict[str, Any]:
    """The config.json of a finished run; TrainingError if it was trained by another recipe of that name."""
    config = read_config(folder / "checkpoint" / CONFIG_FILE)
    if config["recipe"] != json.loads(json.dumps(described(recipe_name, recipe))):
        raise TrainingError(
            f"{folder} was trained by another recipe of that name, or another protocol. Move it away, or give "
            "another folder as --runs."
        )
    return config


def run_folder(runs: Path, system: str, recipe_name: str, seed: int, fold: int | None = None) -> Path:
    """Where the run of that name is kept."""
    return runs / f"{system}-{recipe_name}-{'' if fold is None else f'fold{fold}-'}seed{seed}"


def processes() -> PartialState:
    """The processes of `accelerate launch`, or the only one; the Accelerator's own, whoever asks first."""
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))


def install(checkpoint: Path, system: str) -> Path:
    """Put a run's checkpoint into the weights folder in place of what is there; returns its new folder.

    What the checkpoint before predicted goes with it: it must not be taken for predictions of the new one. What the
    study's recipe reached stays, as does what the second teacher is worth; and where the recipe is the same, so does
    what `OF_THE_FOLDS` names: by another one, a score of 80 % means something else.
    """
    target = weights_folder() / system
    partial = target.with_name(f"{system}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(checkpoint, partial)
    before = read_config(target / CONFIG_FILE)["recipe"]["name"] if (target / CONFIG_FILE).exists() else None
    same = before == read_config(checkpoint / CONFIG_FILE)["recipe"]["name"]
    for pattern in (str(STUDY_FOLDER / "*"), str(TEACHERS_FOLDER / "*"), *(OF_THE_FOLDS if same else ())):
        for file in target.glob(pattern):
            kept = partial / file.relative_to(target)
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, kept)
    old = target.with_name(f"{system}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.replace(old)
    partial.replace(target)
    shutil.rmtree(old, ignore_errors=True)
    return target
