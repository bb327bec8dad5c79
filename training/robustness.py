"""How often does a system's answer flip when its slice is disturbed?

Measured for every change and severity of `brain_tumor.disturbance`. What should not matter and yet flips answers is a
shortcut that the network took, or a fragility that its user must know of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from brain_tumor.checkpoints import CONFIG_FILE, Checkpoint, find_checkpoint, load_network, read_config
from brain_tumor.disturbance import DISTURBANCES, Disturbance, disturb
from brain_tumor.images import read_image
from brain_tumor.inference import Classifier
from brain_tumor.labels import class_index
from brain_tumor.registry import get_spec
from training.data import DATA_SETS, FIGSHARE, DataError, Record, folder_of, read_records
from training.evaluation import DASH, Interval, evaluation_folder, percent, table, wilson
from training.heatmaps import look
from training.protocols import clean_test

FILE = "robustness.json"
KAGGLE_TEST, FIGSHARE_TEST = "kaggle_clean", "figshare_out_of_fold"
TITLES = {
    KAGGLE_TEST: "Kaggle Testing without copies of Training images (all of them tumours)",
    FIGSHARE_TEST: "figshare, patients that the network was not trained on",
}
SLICES_PER_FOLD = 50
SAMPLE_SEED = 0
# Noise, blur and blocks of compression are counted in pixels, so all slices are brought to one size first: that of the
# matrix of an ordinary scan.
SIDE = 256
BATCH = 32


@dataclass(frozen=True)
class Effect:
    """What one severity of one change did to n answers; fractions with Wilson 95 % intervals.

    Attributes:
        disturbance: a key of DISTURBANCES.
        flipped: share of the slices whose predicted class is another one than without the change.
        accuracy: share of right answers with the change.
    """

    disturbance: str
    severity: float
    flipped: float
    flipped_interval: Interval
    accuracy: float
    accuracy_interval: Interval


@dataclass(frozen=True)
class Probe:
    """All changes on one set of n slices.

    Attributes:
        test: a key of TITLES.
        accuracy: share of right answers without any change.
    """

    test: str
    n: int
    accuracy: float
    accuracy_interval: Interval
    effects: tuple[Effect, ...]


@dataclass(frozen=True)
class Robustness:
    """What was measured of one system.

    Attributes:
        checkpoints: sha256 of what answered, under "published" and, out of fold, "fold1" to "fold5".
    """

    system: str
    checkpoints: dict[str, str]
    probes: tuple[Probe, ...]


def measure_all(system: str, root: Path, checkpoints: Mapping[int, Path] | None = None) -> Path:
    """Disturb the clean Kaggle test images under the published checkpoint, and figshare slices out of fold.

    What the same weights did is not measured again.

    Args:
        root: folder of the data sets.
        checkpoints: test fold -> folder of the checkpoint that was not trained on that fold; of each such fold
            `SLICES_PER_FOLD` slices are drawn with a fixed seed. None leaves figshare out.

    Returns:
        `weights/<system>/evaluation/robustness.json`.

    Raises:
        CheckpointError: a checkpoint is missing or damaged.
        DataError: a data set is not in `root`, or a fold has no slices.
    """
    published = find_checkpoint(system, download=False)
    sources = {"published": published.sha256}
    path = evaluation_folder(system) / FILE
    probes = [
        _measured(path, published)
        or summarise(KAGGLE_TEST, probe_answers(classifier(published), clean_test(root), root))
    ]
    if checkpoints:
        answers, slices = [], read_records(FIGSHARE, root, "images")
        for fold, folder in sorted(checkpoints.items()):
            checkpoint = run_checkpoint(system, folder)
            sources[f"fold{fold}"] = checkpoint.sha256
            answers.append(probe_answers(classifier(checkpoint), sample(slices, fold, SLICES_PER_FOLD), root))
        probes.append(summarise(FIGSHARE_TEST, np.concatenate(answers)))
    write(Robustness(system, sources, tuple(probes)), path)
    return path


def _measured(path: Path, published: Checkpoint) -> Probe | None:
    """What these weights did on the clean test images under today's changes, where it has been measured: it takes long,
    and comes out the same."""
    if not path.exists():
        return None
    before = read(path)
    probe = next(probe for probe in before.probes if probe.test == KAGGLE_TEST)
    same = [(effect.disturbance, effect.severity) for effect in probe.effects] == conditions()
    return probe if same and before.checkpoints["published"] == published.sha256 else None


def sample(records: Sequence[Record], fold: int, n: int) -> list[Record]:
    """At most n slices of a fold, drawn with a fixed seed, in the order that they are in; DataError if it has none."""
    found = [record for record in records if record.fold == fold]
    if not found:
        raise DataError(f"There are no slices of fold {fold}; give checkpoints for the folds of annotations.csv only.")
    chosen = np.random.default_rng(SAMPLE_SEED).permutation(len(found))[:n]
    return [found[i] for i in sorted(chosen)]


def run_checkpoint(system: str, folder: Path) -> Checkpoint:
    """The checkpoint of a training run; CheckpointError where it is missing."""
    return Checkpoint(system, folder, "run", read_config(folder / CONFIG_FILE))


def classifier(checkpoint: Checkpoint) -> Classifier:
    """A checkpoint, verified and ready to answer; CheckpointError where it is damaged."""
    spec = get_spec(checkpoint.system)
    return Classifier(spec, checkpoint, load_network(checkpoint, spec))


def conditions() -> list[tuple[str, float]]:
    """Every change and severity that is measured."""
    return [(d.name, severity) for d in DISTURBANCES.values() for severity in d.severities]


def probe_answers(classifier: Classifier, records: Sequence[Record], root: Path) -> np.ndarray:
    """What a model answers about slices, undisturbed and under every condition.

    Returns:
        int (N, 2 + C): the true class, the answer without any change, the answers under each of `conditions()`.
    """
    folders = {d.name: folder_of(d, root) for d in DATA_SETS if any(r.dataset == d.name for r in records)}
    answers = np.empty((len(records), 2 + len(conditions())), dtype=int)
    for i, record in enumerate(records):
        image = read_image(folders[record.dataset] / record.image).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        versions = [image, *(disturb(image, *condition) for condition in conditions())]
        answers[i, 0] = class_index(record.label)
        answers[i, 1:] = _predicted(classifier, versions)
    return answers


def _predicted(classifier: Classifier, images: Sequence[Image.Image]) -> list[int]:
    """Class indices; without the guards, which take longer than a small network and say nothing about the class."""
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    return [index for batch in batches for index in look(classifier, batch).predicted]


def summarise(test: str, answers: np.ndarray) -> Probe:
    """Count flips and right answers; `answers` as `probe_answers` gives them."""
    n, truth, before = len(answers), answers[:, 0], answers[:, 1]
    effects = [
        Effect(name, severity, *_share(after != before), *_share(after == truth))
        for (name, severity), after in zip(conditions(), answers[:, 2:].T, strict=True)
    ]
    return Probe(test, n, *_share(before == truth), tuple(effects))


def _share(events: np.ndarray) -> tuple[float, Interval]:
    count, n = int(events.sum()), len(events)
    return count / n, wilson(count, n)


def write(robustness: Robustness, path: Path) -> None:
    """Write the JSON file that `read` reads, rounded to 6 decimals."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exact = json.dumps(asdict(robustness), allow_nan=False)
    rounded = json.loads(exact, parse_float=lambda text: round(float(text), 6))
    path.write_text(json.dumps(rounded, indent=1) + "\n")


def read(path: Path) -> Robustness:
    """What `write` wrote; DataError where there is none."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Make it with `training.robustness.measure_all`.") from None
    probes = [
        Probe(
            **probe
            | {
                "accuracy_interval": tuple(probe["accuracy_interval"]),
                "effects": tuple(
                    Effect(**effect | {key: tuple(effect[key]) for key in ("flipped_interval", "accuracy_interval")})
                    for effect in probe["effects"]
                ),
            }
        )
        for probe in content["probes"]
    ]
    return Robustness(content["system"], content["checkpoints"], tuple(probes))


def compare(measured: Sequence[Robustness]) -> str:
    """Markdown: of 100 answers of each system, how many flip at each severity; a table for each set of slices."""
    parts = []
    for test, title in TITLES.items():
        probes = [(m.system, probe) for m in measured for probe in m.probes if probe.test == test]
        if not probes:
            continue
        flips = [{(e.disturbance, e.severity): e.flipped for e in probe.effects} for _, probe in probes]
        rows = [[d.title, _severities(d), *(_flips(one, d) for one in flips)] for d in DISTURBANCES.values()]
        titles = [f"{get_spec(system).title}, n = {probe.n:,}" for system, probe in probes]
        parts.append(f"How many of 100 answers flip. {title}:\n\n{table(['change', 'by', *titles], rows)}")
    return "\n\n".join(parts)


def _severities(disturbance: Disturbance) -> str:
    if len(disturbance.severities) == 1:
        return DASH
    numbers = " · ".join(f"{severity:g}" for severity in disturbance.severities).replace("-", "−")
    return f"{numbers} {disturbance.unit}".rstrip()


def _flips(flips: Mapping[tuple[str, float], float], disturbance: Disturbance) -> str:
    shares = [flips.get((disturbance.name, severity)) for severity in disturbance.severities]
    return " · ".join(DASH if share is None else f"{100 * share:.1f}" for share in shares)


def flip_table(probe: Probe) -> str:
    """Markdown: one line per change; how many of 100 answers flip at each severity, and the worst of them."""
    rows = []
    for disturbance in DISTURBANCES.values():
        effects = [effect for effect in probe.effects if effect.disturbance == disturbance.name]
        if not effects:
            continue
        title = f"{disturbance.title} ({disturbance.unit})" if disturbance.unit else disturbance.title
        worst = max(effects, key=lambda effect: effect.flipped)
        each = " · ".join(f"{e.severity:g}: {100 * e.flipped:.1f}".replace("-", "−") for e in effects)
        rows.append([title, each, percent(worst.flipped, worst.flipped_interval), percent(worst.accuracy)])
    header = ["change", "answers that flip, of 100, by severity", "worst (95 % interval)", "accuracy there"]
    return table(header, rows)


def describe(robustness: Robustness) -> str:
    """Markdown: what was measured, and a table for each set of slices."""
    return "\n\n".join(
        f"{TITLES[probe.test]}: n = {probe.n:,}, accuracy {percent(probe.accuracy, probe.accuracy_interval)} "
        f"undisturbed {DASH} how many answers change with the picture:\n\n{flip_table(probe)}"
        for probe in robustness.probes
    )
