"""`python -m training`: make and measure checkpoints."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from brain_tumor.checkpoints import CheckpointError, weights_folder
from brain_tumor.images import ImageError
from brain_tumor.registry import MODELS, UnknownModelError, get_spec
from training import audit, elsewhere, gallery, localisation, overlaps, refusal, robustness, seen, teachers
from training.cards import write_all
from training.data import DATA_SETS, DataError, data_root
from training.download import fetch, overview
from training.engine import TrainingError
from training.evaluation import describe, evaluate, measure, read_predictions, systems_with_weights
from training.initialisation import InitialisationError
from training.outoffold import CLUSTERS_FILE, NoFoldsError, fold_checkpoints, predict_folds
from training.patients import write_clusters
from training.protocols import FOLDS, PATIENTWISE, PROTOCOLS
from training.publish import PublishError, model_uploads, send, space_upload
from training.recipes import BEST_PROBE, PROBES, RECIPES
from training.reproduction import PROBED, SEEDS, reproduce_study, search_grid
from training.runs import install, processes, train_system

ALL = "all"


def _patientwise(system: str, root: Path, runs: Path) -> Path:
    return predict_folds(system, root, runs)


def _refusal(system: str, root: Path, runs: Path) -> Path:
    return refusal.fit_and_measure(system, root)


def _seen(system: str, root: Path, runs: Path) -> Path:
    return seen.fit_and_measure(system, root)


def _localisation(system: str, root: Path, runs: Path) -> Path:
    return localisation.measure_all(system, root, _folds(system, runs))


def _robustness(system: str, root: Path, runs: Path) -> Path:
    return robustness.measure_all(system, root, _folds(system, runs))


def _folds(system: str, runs: Path) -> dict[int, Path]:
    return {fold: checkpoint.folder for fold, checkpoint in fold_checkpoints(system, runs).items()}


def _overlap(systems: list[str], root: Path, runs: Path) -> Path:
    folds = {system: fold_checkpoints(system, runs) for system in systems}
    return overlaps.measure({system: found for system, found in folds.items() if found}, root)


TRUST = {
    "patientwise": _patientwise,
    "refusal": _refusal,
    "seen": _seen,
    "localisation": _localisation,
    "robustness": _robustness,
}
"""What `trust` measures of a system, in the order in which it does: first what is quick."""
ON_REQUEST = {"second_teacher": teachers.measure_all}
"""What it measures where it is asked to: it wants folds trained for the purpose."""
TOGETHER = {"overlap": _overlap}
"""What it measures of several systems together, after that."""


def main(argv: list[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("data", help="get a data set and check it; without a name, what is known of each")
    command.add_argument("dataset", nargs="?", choices=[dataset.name for dataset in DATA_SETS])
    command.add_argument("--data", help="folder of the data sets (default: BRAIN_TUMOR_DATA)")
    command.set_defaults(run=_data)
    command = commands.add_parser("audit", help="find near-duplicates within and across the data sets")
    command.add_argument("--data", help="folder of the data sets (default: BRAIN_TUMOR_DATA)")
    command.add_argument("--out", type=Path, default=Path("runs/audit"), help="for the report (default: runs/audit)")
    command.add_argument("--install", action="store_true", help="make the groups found those that the protocols go by")
    command.set_defaults(run=_audit)
    command = commands.add_parser("train", help="train a system, or go on where it was interrupted")
    command.add_argument("system", choices=MODELS)
    command.add_argument("--recipe", choices=RECIPES, help="default: the one of the committed checkpoint")
    _add_run_options(command)
    command.add_argument("--protocol", choices=[*PROTOCOLS, PATIENTWISE], help="default: the recipe's own")
    command.add_argument("--fold", type=int, choices=FOLDS, help=f"with --protocol {PATIENTWISE}: the one to test on")
    command.add_argument("--install", action="store_true", help="put the checkpoint into the weights folder")
    command.set_defaults(run=_train)
    command = commands.add_parser("evaluate", help="measure checkpoints and write all tables and figures anew")
    choices = [*MODELS, ALL]
    command.add_argument("systems", nargs="+", choices=choices, metavar="SYSTEM", help=", ".join(choices))
    command.add_argument("--protocol", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS), help="default: every one")
    command.add_argument("--data", help="folder of the data sets (default: BRAIN_TUMOR_DATA)")
    command.set_defaults(run=_evaluate)
    command = commands.add_parser("trust", help="measure how far to believe checkpoints, and write what the app reads")
    command.add_argument("systems", nargs="+", choices=choices, metavar="SYSTEM", help=", ".join(choices))
    command.add_argument(
        "--only", nargs="+", choices=[*TRUST, *ON_REQUEST, *TOGETHER], help=f"default: all but {', '.join(ON_REQUEST)}"
    )
    command.add_argument("--data", help="folder of the data sets (default: BRAIN_TUMOR_DATA)")
    command.add_argument("--runs", type=Path, default=Path("runs"), help="where the folds are (default: runs)")
    command.set_defaults(run=_trust)
    command = commands.add_parser("elsewhere", help="fetch scans that other software brings along, and ask about them")
    command.add_argument("--data", help="folder of the data sets (default: BRAIN_TUMOR_DATA)")
    command.set_defaults(run=_elsewhere)
    command = commands.add_parser("gallery", help="draw right and wrong answers from your own copy of the data")
    command.add_argument("systems", nargs="+", choices=choices, metavar="SYSTEM", help=", ".join(choices))
    command.add_argument("--protocol", choices=PROTOCOLS, default="published")
    command.add_argument("--data", help="folder of the data sets (default: BRAIN_TUMOR_DATA)")
    command.add_argument("--out", type=Path, default=Path("runs/gallery"), help="default: runs/gallery")
    command.set_defaults(run=_gallery)
    command = commands.add_parser("reproduce", help="train, install and measure systems, and write all tables anew")
    command.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"default: all of {', '.join(MODELS)}")
    command.add_argument("--study", action="store_true", help=f"by the study's own recipe, with {len(SEEDS)} seeds")
    _add_run_options(command)
    command.set_defaults(run=_reproduce)
    command = commands.add_parser(
        "grid", help=f"train {PROBED} by each of the {len(PROBES)} settings of study B's grid"
    )
    _add_run_options(command)
    command.set_defaults(run=_grid)
    command = commands.add_parser("publish", help="put the checkpoints, or the page, on the Hugging Face Hub")
    command.add_argument("what", choices=["models", "space"])
    command.add_argument("--repo", required=True, metavar="OWNER/NAME", help="models become OWNER/NAME-<system>")
    command.add_argument("--private", action="store_true", help="where a repository is new, nobody else can see it")
    command.add_argument("--dry-run", action="store_true", help="say what would be uploaded")
    command.set_defaults(run=_publish)
    command = commands.add_parser("tables", help="write all tables and figures anew from the predictions on disk")
    command.set_defaults(run=_tables)
    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments)
    except (
        CheckpointError,
        DataError,
        ImageError,
        InitialisationError,
        PublishError,
        TrainingError,
        UnknownModelError,
    ) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2


def _add_run_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--data", help="folder of the data sets (default: BRAIN_TUMOR_DATA)")
    command.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept (default: runs)")
    command.add_argument("--precision", choices=["auto", "no", "bf16", "fp16"], default="auto")
    command.add_argument("--imagenet", type=Path, metavar="FILE", help="torchvision's ImageNet weights, not downloaded")


def _data(arguments: argparse.Namespace) -> int:
    if arguments.dataset:
        print(fetch(arguments.dataset, data_root(arguments.data)))
    else:
        given = arguments.data or os.environ.get("BRAIN_TUMOR_DATA")
        print(overview(Path(given) if given else None))
    return 0


def _audit(arguments: argparse.Namespace) -> int:
    root = data_root(arguments.data)
    found = audit.audit(root)
    for path in audit.write(found, root, arguments.out):
        print(path)
    if arguments.install:
        print(audit.install(found))
        write_clusters(root, CLUSTERS_FILE)
        print(CLUSTERS_FILE)
    return 0


def _train(arguments: argparse.Namespace) -> int:
    if (arguments.fold is None) == (arguments.protocol == PATIENTWISE):
        raise TrainingError(f"--protocol {PATIENTWISE} and --fold go together.")
    if arguments.fold and arguments.install:
        raise TrainingError("A fold's checkpoint is not installed: it has not seen a fifth of the patients on purpose.")
    checkpoint = _trained(arguments, arguments.system, arguments.recipe, arguments.protocol, arguments.fold)
    if processes().is_main_process:
        print(install(checkpoint, arguments.system) if arguments.install else checkpoint)
    return 0


def _trained(
    arguments: argparse.Namespace,
    system: str,
    recipe: str | None = None,
    protocol: str | None = None,
    fold: int | None = None,
) -> Path:
    options = arguments.seed, arguments.precision, arguments.imagenet
    return train_system(system, data_root(arguments.data), arguments.runs, recipe, *options, protocol, fold)


def _evaluate(arguments: argparse.Namespace) -> int:
    root = data_root(arguments.data)
    for system in _with_weights(arguments.systems):
        _measure(system, arguments.protocol, root)
    write_all()
    return 0


def _with_weights(systems: list[str]) -> list[str]:
    found = systems_with_weights() if ALL in systems else systems
    if not found:
        raise CheckpointError(f"There is no checkpoint in {weights_folder()}: train one, or set BRAIN_TUMOR_WEIGHTS.")
    return found


def _trust(arguments: argparse.Namespace) -> int:
    root = data_root(arguments.data)
    systems = _with_weights(arguments.systems)
    parts = arguments.only or [*TRUST, *(TOGETHER if len(systems) > 1 else ())]
    for system in systems:
        for part, measure_part in (TRUST | ON_REQUEST).items():
            if part not in parts:
                continue
            try:
                print(measure_part(system, root, arguments.runs), flush=True)
            except NoFoldsError as error:
                if ALL not in arguments.systems:
                    raise
                print(f"{system}, {part} is left out. {error}", file=sys.stderr, flush=True)
    for part in (part for part in TOGETHER if part in parts):
        print(TOGETHER[part](systems, root, arguments.runs), flush=True)
    write_all()
    return 0


def _elsewhere(arguments: argparse.Namespace) -> int:
    print(elsewhere.measure(data_root(arguments.data), systems_with_weights()))
    write_all()
    return 0


def _gallery(arguments: argparse.Namespace) -> int:
    root = data_root(arguments.data)
    for system in _with_weights(arguments.systems):
        for path in gallery.draw(system, arguments.protocol, root, arguments.out / system):
            print(path)
    return 0


def _measure(system: str, protocols: Iterable[str], root: Path) -> None:
    for protocol in protocols:
        metrics = measure(read_predictions(evaluate(system, protocol, root)))
        print(f"{system}, {protocol}: {describe(metrics)}\n", flush=True)


def _reproduce(arguments: argparse.Namespace) -> int:
    root = data_root(arguments.data)
    named = [get_spec(system) for system in arguments.systems or MODELS]
    systems = [spec.name for spec in named if spec.study or not arguments.study or arguments.systems]
    for protocol in PROTOCOLS.values():
        protocol(root)  # a data set that is missing is better missed now than after hours
    for system in systems:
        try:
            if arguments.study:
                reproduce_study(system, root, arguments.runs, SEEDS, arguments.precision, arguments.imagenet)
                continue
            checkpoint = _trained(arguments, system)
        except InitialisationError as error:
            if arguments.systems:
                raise
            print(f"{system} is left out. {error}", file=sys.stderr, flush=True)
            continue
        if processes().is_main_process:
            install(checkpoint, system)
            _measure(system, PROTOCOLS, root)
        processes().wait_for_everyone()
    if processes().is_main_process:
        write_all()
    return 0


def _grid(arguments: argparse.Namespace) -> int:
    root = data_root(arguments.data)
    found = search_grid(root, arguments.runs, arguments.seed, arguments.precision, arguments.imagenet)
    for name, accuracy in found.items():
        print(f"{name}: {100 * accuracy:.2f} % of the validation images{', the study chose it' * (name == BEST_PROBE)}")
    return 0


def _publish(arguments: argparse.Namespace) -> int:
    uploads = model_uploads(arguments.repo) if arguments.what == "models" else [space_upload(arguments.repo)]
    for upload in uploads:
        print(upload, flush=True)
        if not arguments.dry_run:
            print(send(upload, arguments.private), flush=True)
    return 0


def _tables(arguments: argparse.Namespace) -> int:
    for path in write_all():
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
