"""What was measured of every system, read from the evaluation files that lie beside the checkpoints.

Of a system that was not evaluated, or not on some images, the files are missing and their values None. Curves and
tables of one test are computed from its per-image logits, `evaluation/<protocol>.csv`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeVar

import numpy as np
import torch
from scipy.special import softmax

from brain_tumor.calibration import Bin
from brain_tumor.catalogue import ModelInfo, list_models
from brain_tumor.checkpoints import weights_folder
from brain_tumor.labels import CLASS_NAMES, class_index
from brain_tumor.registry import ModelSpec, get_spec

Interval = tuple[float, float]
Content = TypeVar("Content")

PROTOCOLS = ("patientwise", "published", "external")
"""Tests with per-image logits, the most telling first."""

BINS = 10
# 97.5 % quantile of the normal distribution: intervals are of 95 %.
Z = 1.959963984540054


@dataclass(frozen=True)
class Share:
    """A fraction of n images, with its 95 % interval where there is one."""

    value: float
    interval: Interval | None
    n: int


@dataclass(frozen=True)
class Reproduced:
    """Test accuracy by the study's own recipe: mean and standard deviation (None for one seed) over `seeds` runs."""

    mean: float
    spread: float | None
    seeds: int


@dataclass(frozen=True)
class Scores:
    """How well scores say how often they are right: expected calibration error and Brier score (0 to 2)."""

    ece: float
    brier: float


@dataclass(frozen=True)
class Coverage:
    """Prediction sets: share that holds the true class, where `level` was aimed for, and mean number of classes."""

    level: float
    covered: float
    size: float


@dataclass(frozen=True)
class Calibrated:
    """Calibration of one system, measured across folds on n slices of patients that were not seen."""

    n: int
    raw: Scores
    calibrated: Scores
    coverage: tuple[Coverage, ...]
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Patientwise:
    """Five networks, each asked about the fold of patients that it was not trained on.

    Attributes:
        folds: those that are done.
        tumour: of slices with a tumour, told apart from the two other tumours; interval over patients.
        overall: of all slices, the four classes; interval over patients.
        recall: sensitivity by class name, the four classes.
    """

    folds: tuple[int, ...]
    tumour: Share
    overall: Share
    recall: dict[str, float]
    calibrated: Calibrated | None


@dataclass(frozen=True)
class Measured:
    """One system.

    Attributes:
        parameters: of its network, learned or not.
        relative_time: CPU time for a slice on one thread, as a multiple of torchvision's ResNet-18.
        published: accuracy on Kaggle's `Testing`, the images that the studies tested on.
        clean: the same without the images that show a slice of the training images.
        external: accuracy on study B's other data set.
        chose_epoch: the images of `published` also decided which epoch was kept.
        protocols: those of PROTOCOLS that `outcome` can be asked for.
    """

    info: ModelInfo
    parameters: int
    relative_time: float | None
    reproduced: Reproduced | None
    published: Share | None
    clean: Share | None
    external: Share | None
    patientwise: Patientwise | None
    chose_epoch: bool
    protocols: tuple[str, ...]

    @property
    def spec(self) -> ModelSpec:
        return self.info.spec

    @property
    def config(self) -> dict[str, Any] | None:
        """Content of the checkpoint's config.json; None where there is no checkpoint."""
        return self.info.checkpoint and self.info.checkpoint.config

    def to_json(self) -> dict[str, Any]:
        """What the page's API says of it: that of `python -m brain_tumor models --json`, but no path, and more."""
        found = self.info.checkpoint
        data = self.config and {name: self.config["data"][name] for name in ("name", "version", "train")}
        return {
            "model": self.spec.name,
            "title": self.spec.title,
            "available": self.info.available,
            "source": found and found.source,
            "bytes": found and found.size_bytes,
            "sha256": found and found.sha256,
            "reported_accuracy": self.spec.reported_accuracy,
            "measured_accuracy": self.info.measured_accuracy,
            "measured_without_copies": _json(self.clean),
            "published": _json(self.published),
            "external": _json(self.external),
            "patientwise_tumour": _json(self.patientwise and self.patientwise.tumour),
            "patientwise_overall": _json(self.patientwise and self.patientwise.overall),
            "patientwise_folds": list(self.patientwise.folds) if self.patientwise else [],
            "parameters": self.parameters,
            "relative_cpu_time": self.relative_time,
            "trained_on": data,
        }


def _json(share: Share | None) -> dict[str, Any] | None:
    return share and {"accuracy": share.value, "interval": share.interval and list(share.interval), "n": share.n}


@dataclass(frozen=True)
class Curve:
    """A ROC curve: 1 − specificity and sensitivity, fractions, from (0, 0) to (1, 1); and the area below."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    area: float


@dataclass(frozen=True)
class ClassResult:
    """One class against the rest; None where there is no image to measure on."""

    name: str
    sensitivity: Share | None
    specificity: Share | None
    roc: Curve | None


@dataclass(frozen=True)
class Outcome:
    """Everything about one system on one test set.

    Attributes:
        confusion: counts, rows the true and columns the predicted class.
        bins: by the score of the answer as it is, not calibrated; about equally many images in each.
        ece: expected calibration error of these bins.
    """

    protocol: str
    accuracy: Share
    confusion: tuple[tuple[int, ...], ...]
    classes: tuple[ClassResult, ...]
    bins: tuple[Bin, ...]
    ece: float


@dataclass(frozen=True)
class Epoch:
    """One epoch of the training; losses in nats, accuracies fractions, those of the validation None without one."""

    epoch: int
    phase: str
    size: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None


@dataclass(frozen=True)
class Found:
    """How often the hottest place of a map lay in the expert's box, for a method or a map made without the network."""

    name: str
    hit: Share


@dataclass(frozen=True)
class Localised:
    """Whether maps show the tumour.

    Attributes:
        unseen: judged by networks that had not seen the patients.
        box_area: mean share of the picture in the box: what a random point would hit.
    """

    unseen: bool
    box_area: float
    found: tuple[Found, ...]


@dataclass(frozen=True)
class Flipped:
    """Share of answers that another brightness, a mirror, ... changed, at the severity that changed most."""

    disturbance: str
    severity: float
    share: Share


@dataclass(frozen=True)
class Refused:
    """Shares refused: of pictures of kinds that the refusal was not fitted to, and, by data set, of real slices."""

    negatives: Share
    slices: dict[str, Share]


@dataclass(frozen=True)
class Evidence:
    """What was measured of a system besides its accuracy; None where it was not."""

    history: tuple[Epoch, ...]
    localised: Localised | None
    flipped: tuple[Flipped, ...]
    refused: Refused | None


@dataclass(frozen=True)
class Latency:
    """CPU time of a network alone for one slice on one thread, relative to a reference, which took so many
    milliseconds; `cpu` is where."""

    reference: str
    cpu: str
    milliseconds: float
    relative: dict[str, float]


def measured() -> list[Measured]:
    """All systems in the registry's order; no network is loaded.

    Raises:
        ValueError: an evaluation file is damaged; the message names it.
    """
    timed = latency()
    return [_measured(info, timed) for info in list_models()]


def _measured(info: ModelInfo, timed: Latency | None) -> Measured:
    spec = info.spec
    evaluation = _evaluation(info)
    published = _read(evaluation / "published.json", lambda content: content)
    config = info.checkpoint and info.checkpoint.config
    return Measured(
        info=info,
        parameters=(config or {}).get("parameters") or _count_parameters(spec.name),
        relative_time=timed and timed.relative.get(spec.name),
        reproduced=_reproduced(evaluation / "study"),
        published=_read(evaluation / "published.json", _accuracy),
        clean=_read(evaluation / "clean.json", _accuracy),
        external=_read(evaluation / "external.json", _accuracy),
        patientwise=_read(evaluation / "patientwise.json", _patientwise),
        chose_epoch=bool(config and published and config["protocol"] == "published" and _chose(config, published)),
        protocols=tuple(name for name in PROTOCOLS if info.available and (evaluation / f"{name}.csv").exists()),
    )


def _evaluation(info: ModelInfo) -> Path:
    folder = info.checkpoint.folder if info.checkpoint else weights_folder() / info.spec.name
    return folder / "evaluation"


@cache
def _count_parameters(system: str) -> int:
    # On the meta device no weight is allocated or drawn.
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in get_spec(system).build().parameters())


def _read(path: Path, parse: Callable[[Any], Content]) -> Content | None:
    """What a JSON file says; None if it is not there, ValueError if it cannot be understood."""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}). Restore it, or run `python -m training tables`.") from None


def _accuracy(content: dict[str, Any]) -> Share:
    return _share(content, "accuracy")


def _share(content: dict[str, Any], name: str, n: str = "n") -> Share:
    return Share(float(content[name]), _pair(content[f"{name}_interval"]), int(content[n]))


def _pair(values: Any) -> Interval:
    low, high = values
    return float(low), float(high)


def _chose(config: dict[str, Any], published: dict[str, Any]) -> bool:
    counts = {name: found["support"] for name, found in published["classes"].items()}
    return counts == config["data"]["val"]


def _patientwise(content: dict[str, Any]) -> Patientwise:
    return Patientwise(
        folds=tuple(content["folds"]),
        tumour=_share(content, "tumour", "tumour_n"),
        overall=_share(content, "overall", "overall_n"),
        recall={name: float(value) for name, value in content["recall"].items()},
        calibrated=_calibrated(content["calibration"]) if content.get("calibration") else None,
    )


def _calibrated(content: dict[str, Any]) -> Calibrated:
    return Calibrated(
        n=content["n"],
        raw=Scores(content["raw"]["ece"], content["raw"]["brier"]),
        calibrated=Scores(content["calibrated"]["ece"], content["calibrated"]["brier"]),
        coverage=tuple(Coverage(c["level"], c["covered"], c["size"]) for c in content["coverage"]),
        bins=tuple(Bin(**values) for values in content["bins"]),
    )


def _reproduced(folder: Path) -> Reproduced | None:
    accuracies = [
        float((logits.argmax(axis=1) == labels).mean())
        for labels, logits in map(_read_logits, sorted(folder.glob("seed*.csv")))
    ]
    if not accuracies:
        return None
    return Reproduced(fmean(accuracies), stdev(accuracies) if len(accuracies) > 1 else None, len(accuracies))


def latency() -> Latency | None:
    """What `benchmarks/latency.py` wrote into `docs/` beside the weights folder; None where it is not there."""
    return _read(weights_folder().parent / "docs" / "latency.json", _latency)


def _latency(content: dict[str, Any]) -> Latency:
    alone = next(run for run in content["runs"] if run["threads"] == 1)
    relative = {name: float(found["relative"]) for name, found in alone["systems"].items()}
    milliseconds = float(alone["systems"][content["reference"]]["milliseconds"])
    return Latency(content["reference"], content["machine"]["cpu"], milliseconds, relative)


def evidence(system: Measured) -> Evidence:
    """Training curves, explanations, robustness and refusal; ValueError names a damaged file."""
    folder = _evaluation(system.info)
    return Evidence(
        history=_read(folder / "history.json", _history) or (),
        localised=_read(folder / "localisation.json", _localised),
        flipped=_read(folder / "robustness.json", _flipped) or (),
        refused=_read(folder / "refusal.json", _refused),
    )


def _history(content: list[dict[str, Any]]) -> tuple[Epoch, ...]:
    return tuple(Epoch(**{name: row[name] for name in Epoch.__dataclass_fields__}) for row in content)


def _localised(content: dict[str, Any]) -> Localised:
    found = [(score["name"], score["every"]) for score in content["scores"]]
    return Localised(
        unseen=content["protocol"] == "patientwise",
        box_area=float(content["box_area"]),
        found=tuple(
            Found(name, Share(float(e["hit"]["mean"]), _pair(e["hit"]["interval"]), int(e["n"]))) for name, e in found
        ),
    )


def _flipped(content: dict[str, Any]) -> tuple[Flipped, ...]:
    probe = content["probes"][0]
    worst: dict[str, Flipped] = {}
    for effect in probe["effects"]:
        share = Share(float(effect["flipped"]), _pair(effect["flipped_interval"]), int(probe["n"]))
        name = effect["disturbance"]
        if name not in worst or share.value > worst[name].share.value:
            worst[name] = Flipped(name, effect["severity"], share)
    return tuple(worst.values())


def _refused(content: dict[str, Any]) -> Refused:
    def share(found: dict[str, Any]) -> Share:
        return Share(float(found["fraction"]), _pair(found["interval"]), int(found["n"]))

    return Refused(
        negatives=share(content["fitted_to_kinds_of_role_fit"]["negatives"]["test"]),
        slices={name: share(found) for name, found in content["in_use"]["slices"].items()},
    )


def outcome(system: Measured, protocol: str) -> Outcome:
    """Confusion, sensitivity, specificity, ROC and reliability, from the per-image logits.

    Args:
        protocol: one of `system.protocols`.

    Raises:
        ValueError: the file of predictions is missing or damaged; the message names it.
    """
    labels, logits = _read_logits(_evaluation(system.info) / f"{protocol}.csv")
    probabilities = softmax(logits, axis=1)
    predicted = logits.argmax(axis=1)
    confusion = np.zeros((len(CLASS_NAMES),) * 2, dtype=int)
    np.add.at(confusion, (labels, predicted), 1)
    bins = _bins(probabilities, labels)
    return Outcome(
        protocol=protocol,
        accuracy=share_of(int(confusion.trace()), len(labels)),
        confusion=tuple(map(tuple, confusion.tolist())),
        classes=tuple(
            _class_result(index, labels, predicted, probabilities[:, index]) for index in range(len(CLASS_NAMES))
        ),
        bins=bins,
        ece=sum(abs(b.right - b.n * b.confidence) for b in bins) / len(labels),
    )


def _read_logits(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Class indices, int (N,), and logits, float (N, 4)."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        labels = np.array([class_index(row["label"]) for row in rows])
        logits = np.array([[float(row[f"logit_{name}"]) for name in CLASS_NAMES] for row in rows])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error!r}). Run `python -m training evaluate`.") from None
    if not rows:
        raise ValueError(f"{path} has no predictions. Run `python -m training evaluate`.")
    return labels, logits


def _class_result(index: int, labels: np.ndarray, predicted: np.ndarray, scores: np.ndarray) -> ClassResult:
    truth, called = labels == index, predicted == index
    positives, negatives = int(truth.sum()), int((~truth).sum())
    return ClassResult(
        name=CLASS_NAMES[index],
        sensitivity=share_of(int((truth & called).sum()), positives) if positives else None,
        specificity=share_of(int((~truth & ~called).sum()), negatives) if negatives else None,
        roc=roc(truth, scores) if positives and negatives else None,
    )


def roc(truth: np.ndarray, scores: np.ndarray) -> Curve:
    """ROC curve of scores (N,) for truth, bool (N,) of both kinds; images with one score are one step."""
    order = np.argsort(-scores, kind="stable")
    scores, truth = scores[order], truth[order]
    steps = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    y = np.concatenate([[0], truth.cumsum()[steps]]) / truth.sum()
    x = np.concatenate([[0], (~truth).cumsum()[steps]]) / (~truth).sum()
    area = float(np.trapezoid(y, x))
    # A point in the middle of a straight stretch says nothing.
    bends = (np.diff(x[:-1]) * np.diff(y[1:]) - np.diff(y[:-1]) * np.diff(x[1:])) != 0
    kept = np.concatenate([[True], bends, [True]])
    return Curve(tuple(x[kept].tolist()), tuple(y[kept].tolist()), area)


def _bins(probabilities: np.ndarray, labels: np.ndarray) -> tuple[Bin, ...]:
    """About equally many images in each, by confidence; equal confidences are not torn apart."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    edges = np.unique(np.quantile(confidence, np.arange(1, BINS) / BINS).round(4))
    edges = np.concatenate([[0.0], edges[(edges > 0) & (edges < 1)], [1.0]])
    which = (np.searchsorted(edges, confidence, side="right") - 1).clip(0, len(edges) - 2)
    return tuple(
        Bin(
            low=float(edges[i]),
            high=float(edges[i + 1]),
            confidence=float(confidence[which == i].mean()),
            n=int((which == i).sum()),
            right=int(right[which == i].sum()),
        )
        for i in range(len(edges) - 1)
        if (which == i).any()
    )


def share_of(successes: int, trials: int) -> Share:
    """A proportion with Wilson's 95 % score interval."""
    p, z = successes / trials, Z
    centre = (p + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * np.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    return Share(p, (max(0.0, float(centre - half)), min(1.0, float(centre + half))), trials)
