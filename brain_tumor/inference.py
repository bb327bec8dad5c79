"""What a model says about a slice."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from brain_tumor.architectures import split
from brain_tumor.calibration import Bin, load_calibration
from brain_tumor.checkpoints import Checkpoint, find_checkpoint, load_network
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.location import Locator, load_locator, run
from brain_tumor.preprocessing import preprocess
from brain_tumor.refusal import load_gate, plain_reason
from brain_tumor.registry import ModelSpec, get_spec
from brain_tumor.seen import load_index

log = logging.getLogger(__name__)

GPU = "cuda"
GPU_BATCH = 8
"""So many slices are worth the way to a GPU, where there is one; fewer are answered on the CPU meanwhile."""


@dataclass(frozen=True)
class Prediction:
    """One model's answer about one slice.

    Attributes:
        model: name of the system.
        predicted_class: the most probable class.
        probabilities: class name -> softmax probability in [0, 1], summing to 1, in the order of the classes.
        logits: what the network computed, one per class, before the softmax.
        milliseconds: preprocessing and network, per image of the batch.
        calibrated_probabilities: as `probabilities`, after what patients that were not trained on taught about them;
            None where the checkpoint has no calibration.
        prediction_set: the classes that cannot be ruled out at 95 %, the most probable first; None likewise.
        support: how often answers of this confidence were right on patients that were not trained on; None likewise.
        refusal_reason: why this is taken to be no brain MRI slice, a sentence; None where nothing speaks against it.
        strangeness: how little it looks like a slice to the model's gate: above 0 it refuses. None where there is no
            gate, or where the picture is refused whatever it looks like to it.
        seen_in_training: the slice, perhaps turned, mirrored or compressed anew, is among the training images.
        surest_place: how much a tumour is taken to cover the place where that is surest, in [0, 1], whatever the class;
            None where the model does not say where.
    """

    model: str
    predicted_class: str
    probabilities: dict[str, float]
    logits: tuple[float, ...]
    milliseconds: float
    calibrated_probabilities: dict[str, float] | None = None
    prediction_set: tuple[str, ...] | None = None
    support: Bin | None = None
    refusal_reason: str | None = None
    strangeness: float | None = None
    seen_in_training: bool = False
    surest_place: float | None = None

    @property
    def in_distribution(self) -> bool:
        """False where the picture is taken to be no brain MRI slice."""
        return self.refusal_reason is None

    @property
    def best_probabilities(self) -> dict[str, float]:
        """The calibrated probabilities where there are any, the network's own otherwise."""
        return self.calibrated_probabilities or self.probabilities

    @property
    def confidence(self) -> float:
        """The probability of the predicted class, calibrated where possible."""
        return self.best_probabilities[self.predicted_class]

    def to_json(self) -> dict[str, Any]:
        """What the command line and the API say of it."""
        return {
            "model": self.model,
            "predicted_class": self.predicted_class,
            "probabilities": rounded(self.probabilities),
            "milliseconds": round(self.milliseconds, 2),
            "calibrated_probabilities": self.calibrated_probabilities and rounded(self.calibrated_probabilities),
            "prediction_set": self.prediction_set and list(self.prediction_set),
            "in_distribution": self.in_distribution,
            "refusal_reason": self.refusal_reason,
            "seen_in_training": self.seen_in_training,
            "surest_place": self.surest_place and round(self.surest_place, 4),
        }


def rounded(probabilities: dict[str, float]) -> dict[str, float]:
    """Probabilities with the six digits that are ever printed."""
    return {name: round(p, 6) for name, p in probabilities.items()}


@dataclass(frozen=True)
class Reading:
    """A prediction with the feature maps it came from, so that it can be explained without another look at the slice.

    Attributes:
        features: float (1, C, h, w), the output of the stage `ModelSpec.cam_layer`.
        location: how much of each cell a tumour covers, float (1, h, w) in [0, 1]; None where the model does not say.
    """

    prediction: Prediction
    features: Tensor
    location: Tensor | None = None


class Classifier:
    """A trained network, ready to answer; safe to share among threads.

    Attributes:
        spec: the system.
        checkpoint: where its weights came from.
        trunk: slice tensor (N, 3, size, size) -> feature maps (N, C, h, w).
        tail: feature maps -> logits (N, 4).
        locator: says where the tumour lies; None where the checkpoint has no such file.
        calibration, gate, index: what tells how far to believe an answer; None where the checkpoint has no such file.
    """

    def __init__(self, spec: ModelSpec, checkpoint: Checkpoint, network: nn.Sequential):
        self.spec = spec
        self.checkpoint = checkpoint
        # A slice of a Sequential is a new one, in training mode whatever its parts are in.
        self.trunk, self.tail = (part.eval() for part in split(network, spec.cam_layer))
        self.locator = load_locator(checkpoint.folder)
        self.calibration = load_calibration(checkpoint.folder)
        self.gate = load_gate(checkpoint.folder)
        self.index = load_index(checkpoint.folder)

    def read(self, images: Sequence[Image.Image]) -> list[Reading]:
        """Answer a batch of slices of any size, keeping the feature maps.

        no_grad instead of inference_mode: class-activation maps later ask for gradients behind these features.
        """
        if not images:
            return []
        started = time.perf_counter()
        with torch.no_grad():
            batch = preprocess(images, self.spec.preprocessing).contiguous(memory_format=torch.channels_last)
            features, logits, location = self._forward(batch)
        milliseconds = 1000 * (time.perf_counter() - started) / len(images)
        places = [None] * len(images) if location is None else location.split(1)
        return [
            Reading(self._prediction(image, row, kept, place, milliseconds), kept, place)
            for image, row, kept, place in zip(
                images, logits, (one.clone() for one in features.split(1)), places, strict=True
            )
        ]

    def classify(self, images: Image.Image | Sequence[Image.Image]) -> Prediction | list[Prediction]:
        """Answer one slice or a batch of slices; a single image is a batch of one."""
        if isinstance(images, Image.Image):
            return self.read([images])[0].prediction
        return [reading.prediction for reading in self.read(images)]

    def _forward(self, batch: Tensor) -> Answer:
        if _gpu and len(batch) >= GPU_BATCH and torch.cuda.is_available():
            try:
                return _gpu(self.spec.name, self.checkpoint.sha256, batch)
            # None is lent, the day's allowance is spent, its memory is full: every such error is of another library.
            except Exception as error:
                log.warning("No answer from the GPU, so the CPU answers: %s", error)
        return _answer(self.trunk, self.tail, self.locator, batch)

    def _prediction(
        self, image: Image.Image, logits: Tensor, features: Tensor, place: Tensor | None, milliseconds: float
    ) -> Prediction:
        reason, strangeness = self.gate.judge(image, features) if self.gate else (plain_reason(image), None)
        prediction = Prediction(
            model=self.spec.name,
            predicted_class=CLASS_NAMES[int(logits.argmax())],
            probabilities=dict(zip(CLASS_NAMES, logits.softmax(dim=0).tolist(), strict=True)),
            logits=tuple(logits.tolist()),
            milliseconds=milliseconds,
            refusal_reason=reason,
            strangeness=strangeness,
            seen_in_training=self.index.contains(image) if self.index else False,
            surest_place=None if place is None else place.max().item(),
        )
        if not self.calibration:
            return prediction
        calibrated = self.calibration.probabilities(prediction.logits)
        return replace(
            prediction,
            calibrated_probabilities=dict(zip(CLASS_NAMES, calibrated.tolist(), strict=True)),
            prediction_set=self.calibration.prediction_set(calibrated),
            support=self.calibration.bin_of(float(calibrated.max())),
        )


_loaded: dict[tuple[str, str], Classifier] = {}
_loading = threading.Lock()


def load_model(name: str) -> Classifier:
    """The trained system of that name, read and verified on first use, then shared by all callers.

    Raises:
        UnknownModelError: no system of that name.
        CheckpointError: its checkpoint is missing, damaged or was changed.
    """
    checkpoint = find_checkpoint(name)
    key = name, checkpoint.sha256
    if key in _loaded:  # without the lock: a process that was forked while it was held would wait for ever
        return _loaded[key]
    with _loading:
        if key not in _loaded:
            spec = get_spec(name)
            _loaded[key] = Classifier(spec, checkpoint, load_network(checkpoint, spec))
        return _loaded[key]


Answer = tuple[Tensor, Tensor, Tensor | None]
"""Feature maps (N, C, h, w), logits (N, 4) and, from networks that say it, the tumour's place (N, h, w), on the CPU."""


def _answer(trunk: nn.Sequential, tail: nn.Sequential, locator: Locator | None, batch: Tensor) -> Answer:
    features, maps = run(trunk, batch, locator.stages if locator else ())
    location = locator.probabilities(maps).cpu() if locator else None
    return features.cpu(), tail(features).float().cpu(), location


_gpu: Callable[[str, str, Tensor], Answer] | None = None


def use_gpu(lend: Callable[[Callable], Callable] = lambda function: function) -> None:
    """Answer batches on a GPU from now on, whenever there is one; where there is none, or it fails, on the CPU.

    Args:
        lend: decorates the function that needs the GPU, which may from then on run in another process.
    """
    global _gpu
    _gpu = lend(_forward_on_gpu)


def _forward_on_gpu(name: str, sha256: str, batch: Tensor) -> Answer:
    """`Classifier._forward` on the GPU, from the CPU and back to it.

    It takes names, not a network: in a forked process, the networks that had been loaded before are there already.
    """
    trunk, tail = _on_gpu(name, sha256)
    with torch.no_grad():
        return _answer(trunk, tail, _loaded[name, sha256].locator, batch.to(GPU))


@cache
def _on_gpu(name: str, sha256: str) -> tuple[nn.Module, nn.Module]:
    classifier = _loaded[name, sha256]
    # A copy: explanations go on using the network on the CPU.
    return copy.deepcopy(classifier.trunk).to(GPU), copy.deepcopy(classifier.tail).to(GPU)
