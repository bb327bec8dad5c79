"""`python -m brain_tumor`: classify slices, list models. Not a medical device."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from PIL import Image

from brain_tumor.catalogue import list_models
from brain_tumor.checkpoints import CheckpointError
from brain_tumor.examination import Examination, consensus_of
from brain_tumor.explanation import DEFAULT_METHOD, METHODS, Explanation, explain_reading, overlay
from brain_tumor.images import ImageError, read_image
from brain_tumor.inference import Classifier, Prediction, load_model
from brain_tumor.labels import CLASS_NAMES, DISPLAY_TEXT
from brain_tumor.registry import MODELS, UnknownModelError
from brain_tumor.report import render
from brain_tumor.trust import Consensus
from brain_tumor.volumes import is_volume, read_volume

BATCH = 16
FAILED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, or 2 where something could not be answered."""
    arguments = _parser().parse_args(argv)
    try:
        status = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader (head, less) has seen enough; what is still in the buffer goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (CheckpointError, UnknownModelError, OSError) as error:
        print(error, file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m brain_tumor", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    command = commands.add_parser("classify", help="classify image files")
    command.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="picture, DICOM or NIfTI file, zip of a series, or folder of such; of a scan, its middle slice",
    )
    command.add_argument(
        "--model",
        nargs="+",
        metavar="NAME",
        help=f"one or more of {', '.join(MODELS)}, or all (default: those that the app offers)",
    )
    command.add_argument("--json", action="store_true", help="one JSON object per image and model, one per line")
    command.add_argument("--overlay", type=Path, metavar="DIR", help="write the slice under its heatmap to this folder")
    command.add_argument("--report", type=Path, metavar="DIR", help="write a report of each image (PDF) to this folder")
    command.add_argument("--method", choices=METHODS, default=DEFAULT_METHOD, help="how the heatmap is made")
    command.add_argument("--target", choices=CLASS_NAMES, help="class to explain (default: the predicted one)")
    command.set_defaults(run=_classify)

    command = commands.add_parser("models", help="list the models and where their weights are")
    command.add_argument("--json", action="store_true", help="one JSON object per model, one per line")
    command.set_defaults(run=_models)
    return parser


def _classify(arguments: argparse.Namespace) -> int:
    classifiers = [load_model(name) for name in _names(arguments.model)]
    if arguments.overlay:
        arguments.overlay.mkdir(parents=True, exist_ok=True)
    if arguments.report:
        arguments.report.mkdir(parents=True, exist_ok=True)
    overlays = _OverlayNames()
    reader = _Reader()
    if not arguments.json:
        print(f"{'image':<32}  {'model':<22}  {'answer':<17}  " + "  ".join(f"{name:>10}" for name in CLASS_NAMES))
    slices = reader.slices(arguments.paths)
    while batch := list(islice(slices, BATCH)):
        answers = [_answer(classifier, batch, arguments, overlays) for classifier in classifiers]
        for one, *explanations in zip(batch, *answers, strict=True):
            predictions = [explanation.prediction for explanation in explanations]
            lines: list[Prediction | Consensus] = [*predictions]
            found = consensus_of(explanations, one.caution)
            if len(predictions) > 1 or found.caution:
                lines.append(found)
            if arguments.report:
                report = render(one, explanations, datetime.now(UTC))
                (arguments.report / f"{overlays.stem(one.name)}_report.pdf").write_bytes(report.pdf())
            for line in lines:
                print(_json_line(one.name, line) if arguments.json else _text_line(one.name, line), flush=True)
    return FAILED if reader.failed else 0


def _names(given: list[str] | None) -> list[str]:
    """Systems to ask, each once; UnknownModelError or CheckpointError follow when they are loaded."""
    if given and "all" not in given:
        return list(dict.fromkeys(given))
    available = list_models(available_only=True)
    names = [model.spec.name for model in available if given or model.spec.offered]
    if not names:
        raise CheckpointError(list_models()[0].problem)
    return names


class _Reader:
    """Reads files one after the other; a bad one is a line on stderr and does not stop the others."""

    def __init__(self) -> None:
        self.failed = False

    def slices(self, paths: Sequence[str]) -> Iterator[Examination]:
        """Under their paths as names; of a scan, the middle slice."""
        for path in self._files(paths):
            try:
                yield self._scan(path) if is_volume(path) else Examination(read_image(path), path)
            except ImageError as error:
                self._report(path, error)

    def _scan(self, path: str) -> Examination:
        volume = read_volume(path)
        plane, index = volume.middle
        count = volume.count(plane)
        said = [f"slice {index + 1} of {count} ({plane}) is answered."] if count > 1 else []
        for sentence in (*said, *([volume.caution.text] if volume.caution else [])):
            print(f"{path}: {sentence}", file=sys.stderr, flush=True)
        return Examination(volume.slice(plane, index), path, volume.caution)

    def _files(self, paths: Sequence[str]) -> Iterator[str]:
        for path in paths:
            if not Path(path).is_dir():
                yield path
                continue
            files = [file for file in sorted(Path(path).rglob("[!.]*")) if file.is_file()]
            if not files:
                self._report(path, "there is no file in this folder.")
            yield from map(str, files)

    def _report(self, path: str, problem: object) -> None:
        self.failed = True
        print(f"{path}: {problem}", file=sys.stderr, flush=True)


def _answer(
    classifier: Classifier,
    batch: Sequence[Examination],
    arguments: argparse.Namespace,
    names: _OverlayNames,
) -> list[Explanation]:
    explanations = []
    readings = classifier.read([one.image for one in batch])
    for one, reading in zip(batch, readings, strict=True):
        explanation = explain_reading(classifier, reading, one.image.size, arguments.target, arguments.method)
        explanations.append(explanation)
        if arguments.overlay:
            picture = Image.fromarray(overlay(one.image, explanation.shown))
            picture.save(arguments.overlay / f"{names.stem(one.name)}_{classifier.spec.name}.png")
    return explanations


class _OverlayNames:
    """One file name per image, also where two folders hold files of the same name."""

    def __init__(self) -> None:
        self._stems: dict[str, str] = {}

    def stem(self, path: str) -> str:
        if path not in self._stems:
            stem, n = Path(path).stem, 1
            while (candidate := stem if n == 1 else f"{stem}-{n}") in self._stems.values():
                n += 1
            self._stems[path] = candidate
        return self._stems[path]


def _json_line(path: str, answer: Prediction | Consensus) -> str:
    return json.dumps({"image": path, **answer.to_json()})


def _text_line(path: str, answer: Prediction | Consensus) -> str:
    shown = path if len(path) <= 32 else "…" + path[-31:]
    if isinstance(answer, Consensus):
        text, probabilities, remark = DISPLAY_TEXT.get(answer.verdict, answer.verdict), answer.probabilities, answer.why
        model = "consensus"
    else:
        text, probabilities, model = DISPLAY_TEXT[answer.predicted_class], answer.best_probabilities, answer.model
        remark = answer.refusal_reason or ("In the training data." if answer.seen_in_training else "")
    scores = "  ".join(f"{p:>10.1%}" for p in probabilities.values())
    return f"{shown:<32}  {model:<22}  {text:<17}  {scores}  {remark}".rstrip()


def _models(arguments: argparse.Namespace) -> int:
    models = list_models()
    if not arguments.json:
        print(f"{'model':<22}  {'from':<8}  {'size':>8}  {'reported':>8}  {'measured':>8}  sha256 or what is missing")
    for model in models:
        found = model.checkpoint
        if arguments.json:
            print(
                json.dumps(
                    {
                        "model": model.spec.name,
                        "title": model.spec.title,
                        "available": model.available,
                        "source": found and found.source,
                        "path": found and str(found.model_file),
                        "bytes": found and found.size_bytes,
                        "sha256": found and found.sha256,
                        "reported_accuracy": model.spec.reported_accuracy,
                        "measured_accuracy": model.measured_accuracy,
                        "problem": model.problem,
                    }
                )
            )
            continue
        measured = f"{model.measured_accuracy:.2%}" if model.measured_accuracy is not None else "-"
        reported = f"{model.spec.reported_accuracy:.2%}" if model.spec.reported_accuracy is not None else "-"
        size = f"{found.size_bytes / 2**20:.1f} MiB" if found else "-"
        print(
            f"{model.spec.name:<22}  {found.source if found else '-':<8}  {size:>8}  "
            f"{reported:>8}  {measured:>8}  {found.sha256[:16] if found else 'no checkpoint'}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
