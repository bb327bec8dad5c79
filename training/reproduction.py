"""Is the studies' result reproduced? Their own recipe, several seeds, on their own protocol."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from brain_tumor.checkpoints import CONFIG_FILE, Checkpoint, read_config, weights_folder
from brain_tumor.registry import get_spec
from training.engine import TrainingError
from training.evaluation import measure, read_predictions, write_predictions
from training.export import HISTORY_FILE
from training.protocols import PROTOCOLS
from training.recipes import PROBES, RECIPES
from training.runs import STUDY_FOLDER, processes, train_system

SEEDS = (0, 1, 2)
PROBED = "resnet50_linear_probe"


@dataclass(frozen=True)
class Reproduction:
    """Predictions on the test images of a system trained by its study's recipe, a file per seed; their accuracies,
    fractions, and the config.json of each run."""

    files: tuple[Path, ...]
    accuracies: tuple[float, ...]
    configs: tuple[dict[str, Any], ...]

    @property
    def mean(self) -> float:
        return fmean(self.accuracies)

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds; None for a single one."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else None


def reproduce_study(
    system: str,
    root: Path,
    runs: Path,
    seeds: Iterable[int] = SEEDS,
    precision: str = "auto",
    imagenet_file: Path | None = None,
) -> list[Path]:
    """Train a system by its study's recipe with every seed, and predict the test images of the recipe's protocol.

    Arguments and errors are those of `train_system` and `evaluate`. Runs that are finished are not trained again.

    Returns:
        The CSV files, `seed<k>.csv` in `study_folder`; beside each lies how the network was trained, as JSON, epoch by
        epoch too. Of the weights themselves none is kept there.
    """
    recipe = get_spec(system).study_recipe
    if recipe is None:
        raise TrainingError(f"No study reported {system}: leave out --study to train it as it is offered.")
    test = PROTOCOLS[RECIPES[recipe].protocol](root).test
    paths = []
    for seed in seeds:
        folder = train_system(system, root, runs, recipe, seed, precision, imagenet_file)
        path = study_folder(system) / f"seed{seed}.csv"
        if processes().is_main_process:
            checkpoint = Checkpoint(system, folder, "run", read_config(folder / CONFIG_FILE))
            write_predictions([(checkpoint, test)], root, path)
            shutil.copyfile(folder / CONFIG_FILE, path.with_suffix(".json"))
            shutil.copyfile(folder / "evaluation" / HISTORY_FILE, path.with_name(f"{path.stem}_{HISTORY_FILE}"))
        processes().wait_for_everyone()
        paths.append(path)
    return paths


def search_grid(
    root: Path,
    runs: Path,
    seed: int = 0,
    precision: str = "auto",
    imagenet_file: Path | None = None,
) -> dict[str, float]:
    """Train study B's linear probe by every setting of its grid.

    Arguments and errors are those of `train_system`. Runs that are finished are not trained again.

    Returns:
        Recipe -> accuracy on the validation images, a fraction, the best first.
    """
    found = {}
    for name in PROBES:
        folder = train_system(PROBED, root, runs, name, seed, precision, imagenet_file)
        found[name] = read_config(folder / CONFIG_FILE)["val_accuracy"]
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def study_folder(system: str) -> Path:
    """Where the predictions of the study's recipe lie."""
    return weights_folder() / system / STUDY_FOLDER


def reproduction(system: str) -> Reproduction | None:
    """What was reached with the study's recipe, from the predictions on disk; None where there are none."""
    paths = sorted(study_folder(system).glob("seed*.csv"))
    if not paths:
        return None
    return Reproduction(
        tuple(paths),
        tuple(measure(read_predictions(path)).accuracy for path in paths),
        tuple(json.loads(path.with_suffix(".json").read_text()) for path in paths),
    )
