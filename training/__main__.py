"""`python -m training`: make and measure checkpoints."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from pathlib import Path

from brain_tumor.checkpoints import weights_folder
from brain_tumor.registry import MODELS
from training.data import data_root
from training.recipes import RECIPES
from training.runs import train_system


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
    command.add_argument("--install", action="store_true", help="put the checkpoint into the weights folder")
    command.set_defaults(run=_train)
    arguments = parser.parse_args(argv)
    return arguments.run(arguments)


def _train(arguments: argparse.Namespace) -> int:
    root = data_root(arguments.data)
    checkpoint = train_system(
        arguments.system, root, arguments.runs, arguments.recipe, arguments.seed, arguments.precision
    )
    if arguments.install:
        target = weights_folder() / arguments.system
        shutil.copytree(checkpoint, target, dirs_exist_ok=True)
        print(target)
    else:
        print(checkpoint)
    return 0


if __name__ == "__main__":
    sys.exit(main())
