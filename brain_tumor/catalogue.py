"""Which models there are, which of them can be loaded, and what is known about each."""

from __future__ import annotations

import json
from dataclasses import dataclass

from brain_tumor.checkpoints import Checkpoint, CheckpointError, find_checkpoint
from brain_tumor.registry import MODELS, ModelSpec


@dataclass(frozen=True)
class ModelInfo:
    """One system and its checkpoint.

    Attributes:
        checkpoint: None where there is none on this machine.
        measured_accuracy: on the test images of the published protocol, a fraction; None where not evaluated.
        problem: why the checkpoint cannot be used, in a sentence; None where it can.
    """

    spec: ModelSpec
    checkpoint: Checkpoint | None
    measured_accuracy: float | None
    problem: str | None

    @property
    def available(self) -> bool:
        return self.checkpoint is not None


def list_models(available_only: bool = False) -> list[ModelInfo]:
    """All systems in the registry's order; nothing is loaded, nothing downloaded."""
    models = [_info(spec) for spec in MODELS.values()]
    return [model for model in models if model.available or not available_only]


def offered_models() -> list[str]:
    """Names of those that are asked by default: the ones that the page offers and that can be loaded."""
    return [model.spec.name for model in list_models(available_only=True) if model.spec.offered]


def _info(spec: ModelSpec) -> ModelInfo:
    try:
        checkpoint = find_checkpoint(spec.name, download=False)
    except CheckpointError as error:
        return ModelInfo(spec, None, None, str(error))
    return ModelInfo(spec, checkpoint, _measured_accuracy(checkpoint), None)


def _measured_accuracy(checkpoint: Checkpoint) -> float | None:
    path = checkpoint.folder / "evaluation" / "published.json"
    return json.loads(path.read_text())["accuracy"] if path.exists() else None
