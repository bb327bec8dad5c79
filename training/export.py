"""From a finished run to a checkpoint folder: fp16 weights and a config.json that says all about them."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections import Counter
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from brain_tumor.checkpoints import CONFIG_FILE, MODEL_FILE
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.location import LOCATION_FILE
from brain_tumor.registry import ModelSpec
from training.data import DATA_SETS, Record
from training.engine import Progress
from training.protocols import Split
from training.recipes import Recipe

HISTORY_FILE = "history.json"
LIBRARIES = ("torch", "torchvision", "accelerate", "safetensors", "numpy", "pillow")


def export(
    state: dict[str, Tensor],
    progress: Progress,
    spec: ModelSpec,
    recipe_name: str,
    recipe: Recipe,
    split: Split,
    seed: int,
    precision: str,
    commit: str,
    folder: Path,
) -> dict[str, Any]:
    """Write model.safetensors, config.json and history.json into `folder`; returns the config.

    Args:
        state: weights to keep, float32, as `engine.train` returns them; its location layer becomes
            location.safetensors.
        precision: it was trained in, as `engine.train` takes it.
        commit: what `git_commit` said when the run was started.

    Raises:
        ValueError: a weight is too large for fp16.
    """
    half = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    infinite = [key for key, value in half.items() if value.is_floating_point() and not value.isfinite().all()]
    if infinite:
        raise ValueError(f"These weights do not fit fp16: {', '.join(infinite[:3])}.")
    location = {name: half.pop(f"location.{name}") for name in ("weight", "bias") if f"location.{name}" in half}
    content = save({key: value.contiguous() for key, value in half.items()})
    best = progress.history[progress.best_epoch]
    used = [d for d in DATA_SETS if any(record.dataset == d.name for record in split.train)]
    config = {
        "system": spec.name,
        "architecture": spec.title,
        "parameters": sum(p.numel() for p in spec.build().parameters()),
        "preprocessing": asdict(spec.preprocessing),
        "classes": list(CLASS_NAMES),
        "recipe": described(recipe_name, recipe),
        "protocol": recipe.protocol,
        "initialisation": recipe.initialisation,
        "seed": seed,
        "data": {
            "name": " + ".join(dataset.title for dataset in used),
            "version": " + ".join(dataset.version for dataset in used),
            "train": _counts(split.train),
            "val": _counts(split.val),
        },
        "epochs": len(progress.history),
        "best_epoch": progress.best_epoch + 1,
        "val_accuracy": best.val_accuracy if split.val else None,
        "seconds": round(progress.seconds),
        "hardware": hardware(precision),
        "libraries": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        "git_commit": commit,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(content)
    if location:
        known = {"system": spec.name, "stages": json.dumps(spec.location_stages), "sha256": config["sha256"]}
        flat = {name: value.flatten().contiguous() for name, value in location.items()}
        (folder / LOCATION_FILE).write_bytes(save(flat, known))
    history = [asdict(epoch) for epoch in progress.history]
    (folder / "evaluation").mkdir(exist_ok=True)
    (folder / "evaluation" / HISTORY_FILE).write_text(json.dumps(history, indent=1) + "\n")
    # Last: a folder that has it is complete.
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=1) + "\n")
    return config


def described(name: str, recipe: Recipe) -> dict[str, Any]:
    """A recipe as config.json has it."""
    return {"name": name} | asdict(recipe) | {"schedule": repr(recipe.schedule)}


def hardware(precision: str) -> str:
    """The device that trains, and how exactly it computes, in words."""
    if torch.cuda.is_available():
        device = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    else:
        threads = torch.get_num_threads()
        device = f"CPU, {threads} thread{'s' if threads > 1 else ''}"
    return f"{device}, {'fp32' if precision == 'no' else precision}"


def git_commit() -> str:
    """Commit of the code that runs, with "+changes" where files differ from it; "unknown" outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    code = ("brain_tumor/*.py", "training/*.py")

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", *code) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _counts(records: list[Record]) -> dict[str, int]:
    counts = Counter(record.label for record in records)
    return {name: counts[name] for name in CLASS_NAMES}
