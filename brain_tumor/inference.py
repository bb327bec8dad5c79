"""What a model says about a slice."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from brain_tumor.architectures import split
from brain_tumor.checkpoints import Checkpoint, find_checkpoint, load_network
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.preprocessing import preprocess
from brain_tumor.registry import ModelSpec, get_spec


@dataclass(frozen=True)
class Prediction:
    """One model's answer about one slice.

    Attributes:
        model: name of the system.
        predicted_class: the most probable class.
        probabilities: class name -> softmax probability in [0, 1], summing to 1, in the order of the classes.
        logits: what the network computed, one per class, before the softmax.
        milliseconds: preprocessing and network, per image of the batch.
    """

    model: str
    predicted_class: str
    probabilities: dict[str, float]
    logits: tuple[float, ...]
    milliseconds: float

    def to_json(self) -> dict[str, Any]:
        """What the command line and the API say of it."""
        return {
            "model": self.model,
            "predicted_class": self.predicted_class,
            "probabilities": {name: round(p, 6) for name, p in self.probabilities.items()},
            "milliseconds": round(self.milliseconds, 2),
        }


@dataclass(frozen=True)
class Reading:
    """A prediction with the feature maps it came from, so that it can be explained without another look at the slice.

    Attributes:
        features: float (1, C, h, w), the output of the stage `ModelSpec.cam_layer`.
    """

    prediction: Prediction
    features: Tensor


class Classifier:
    """A trained network, ready to answer; safe to share among threads.

    Attributes:
        spec: the system.
        checkpoint: where its weights came from.
        trunk: slice tensor (N, 3, size, size) -> feature maps (N, C, h, w).
        tail: feature maps -> logits (N, 4).
    """

    def __init__(self, spec: ModelSpec, checkpoint: Checkpoint, network: nn.Sequential):
        self.spec = spec
        self.checkpoint = checkpoint
        # A slice of a Sequential is a new one, in training mode whatever its parts are in.
        self.trunk, self.tail = (part.eval() for part in split(network, spec.cam_layer))

    def read(self, images: Sequence[Image.Image]) -> list[Reading]:
        """Answer a batch of slices of any size, keeping the feature maps.

        no_grad instead of inference_mode: class-activation maps later ask for gradients behind these features.
        """
        if not images:
            return []
        started = time.perf_counter()
        with torch.no_grad():
            batch = preprocess(images, self.spec.preprocessing).contiguous(memory_format=torch.channels_last)
            features = self.trunk(batch)
            logits = self.tail(features).float()
        milliseconds = 1000 * (time.perf_counter() - started) / len(images)
        return [
            Reading(self._prediction(row, milliseconds), features[i : i + 1].clone()) for i, row in enumerate(logits)
        ]

    def classify(self, images: Image.Image | Sequence[Image.Image]) -> Prediction | list[Prediction]:
        """Answer one slice or a batch of slices; a single image is a batch of one."""
        if isinstance(images, Image.Image):
            return self.read([images])[0].prediction
        return [reading.prediction for reading in self.read(images)]

    def _prediction(self, logits: Tensor, milliseconds: float) -> Prediction:
        probabilities = logits.softmax(dim=0).tolist()
        return Prediction(
            model=self.spec.name,
            predicted_class=CLASS_NAMES[int(logits.argmax())],
            probabilities=dict(zip(CLASS_NAMES, probabilities, strict=True)),
            logits=tuple(logits.tolist()),
            milliseconds=milliseconds,
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
    with _loading:
        if key not in _loaded:
            spec = get_spec(name)
            _loaded[key] = Classifier(spec, checkpoint, load_network(checkpoint, spec))
        return _loaded[key]
