"""`python -m training`: make and measure checkpoints."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from pathlib import Path

from brain_tumor.checkpoints import CheckpointError, weights_folder
from brain_tumor.images import ImageError
from brain_tumor.registry import MODELS, UnknownModelError
from training.cards import write_all
from training.data import DataError, data_root
from training.engine import TrainingError
from training.evaluation import describe, evaluate, measure, read_predictions, systems_with_weights
from training.initialisation import InitialisationError
from training.protocols import PROTOCOLS
from training.recipes import RECIPES
from training.runs import train_system

ALL = "all"


def main(argv: list[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("train", help="train a system, or go on where it was interrupted")
    command.add_argument("system", choices=MODELS)
    command.add_argument("--recipe", choices=RECIPES, help="default: the one of the committed checkpoint")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--data", help="folder of the data sets (default: BRAIN_TUMOR_DATA)")
    command.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept (default: runs)")
    command.add_argument("--precision", choices=["auto", "no", "bf16", "fp16"], default="auto")
    command.add_argument("--imagenet", type=Path, metavar="FILE", help="torchvision's ImageNet weights, not downloaded")
    command.add_argument("--install", action="store_true", help="put the checkpoint into the weights folder")
    command.set_defaults(run=_train)
    command = commands.add_parser("evaluate", help="measure checkpoints and write all tables and figures anew")
    choices = [*MODELS, ALL]
    command.add_argument("systems", nargs="+", choices=choices, metavar="SYSTEM", help=", ".join(choices))
    command.add_argument("--protocol", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS), help="default: every one")
    command.add_argument("--data", help="folder of the data sets (default: BRAIN_TUMOR_DATA)")
    command.set_defaults(run=_evaluate)
    command = commands.add_parser("tables", help="write all tables and figures anew from the predictions on disk")
    command.set_defaults(run=_tables)
    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments)
    except (CheckpointError, DataError, ImageError, InitialisationError, TrainingError, UnknownModelError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2


def _train(arguments: argparse.Namespace) -> int:
    root = data_root(arguments.data)
    checkpoint = train_system(
        arguments.system,
        root,
        arguments.runs,
        arguments.recipe,
        arguments.seed,
        arguments.precision,
        arguments.imagenet,
    )
    if arguments.install:
        target = weights_folder() / arguments.system
        # Predictions of the weights before must not be taken for those of the new ones.
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(checkpoint, target)
        print(target)
    else:
        print(checkpoint)
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    root = data_root(arguments.data)
    systems = systems_with_weights() if ALL in arguments.systems else arguments.systems
    if not systems:
        raise CheckpointError(f"There is no checkpoint in {weights_folder()}: train one, or set BRAIN_TUMOR_WEIGHTS.")
    for system in systems:
        for protocol in arguments.protocol:
            metrics = measure(read_predictions(evaluate(system, protocol, root)))
            print(f"{system}, {protocol}: {describe(metrics)}\n", flush=True)
    write_all()
    return 0


def _tables(arguments: argparse.Namespace) -> int:
    for path in write_all():
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
