"""Find, verify and load checkpoints.

A checkpoint is a folder `<system>/` with `model.safetensors` (fp16) and `config.json`, which holds the sha256 of the
former. It is looked for in the weights folder, then in the Hugging Face cache, then on the Hub. What is in the cache
stays until it is removed there (`hf cache rm`), or turns out to be damaged.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import nn

from brain_tumor.labels import CLASS_NAMES
from brain_tumor.registry import ModelSpec, get_spec

MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
REQUIRED_FIELDS = (
    "system",
    "architecture",
    "preprocessing",
    "classes",
    "recipe",
    "protocol",
    "initialisation",
    "seed",
    "data",
    "libraries",
    "hardware",
    "seconds",
    "git_commit",
    "sha256",
)


class CheckpointError(RuntimeError):
    """A checkpoint is missing, incomplete or not what it says; the message names it, where it lies and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint found on this machine, not loaded and not yet verified.

    Attributes:
        source: "weights" or "hub".
        config: the content of config.json.
    """

    system: str
    folder: Path
    source: str
    config: dict[str, Any]

    @property
    def model_file(self) -> Path:
        return self.folder / MODEL_FILE

    @property
    def size_bytes(self) -> int:
        return self.model_file.stat().st_size

    @property
    def sha256(self) -> str:
        return self.config["sha256"]


def weights_folder() -> Path:
    """`BRAIN_TUMOR_WEIGHTS`, else `weights/` beside the package."""
    given = os.environ.get("BRAIN_TUMOR_WEIGHTS")
    return Path(given) if given else Path(__file__).resolve().parent.parent / "weights"


def find_checkpoint(system: str, download: bool = True) -> Checkpoint:
    """The system's checkpoint in the weights folder, the Hub's cache or, where `download` is allowed, on the Hub.

    Raises:
        UnknownModelError: no such system.
        CheckpointError: there is none, or its config.json cannot be used.
    """
    get_spec(system)
    folder = weights_folder() / system
    if (folder / MODEL_FILE).exists():
        return _checkpoint(system, folder, "weights")
    looked = [str(folder)]
    remedy = "name the Hub repositories in BRAIN_TUMOR_HUB_REPO"
    if repo := hub_repo(system):
        try:
            folder = _hub_folder(repo, download)
        # The Hub's client raises errors of its own, of its HTTP library (which is another since 2.0) and of the disk.
        except Exception as error:
            looked.append(f"{repo} on the Hugging Face Hub ({_first_line(error)})")
            remedy = f"try again when {repo} can be reached"
        else:
            with _dropped_if_bad(folder / CONFIG_FILE, "hub"):
                return _checkpoint(system, folder, "hub")
    raise CheckpointError(
        f"There is no checkpoint of {system}: looked in {' and in '.join(looked)}. "
        f"Train it with `python -m training train {system} --data DIR --install`, point BRAIN_TUMOR_WEIGHTS to a "
        f"folder that has it, or {remedy}."
    )


def hub_repo(system: str, prefix: str | None = None) -> str | None:
    """Hub repository of a system: with the prefix "me/brain-tumor", it is "me/brain-tumor-resnet18".

    Args:
        prefix: default `BRAIN_TUMOR_HUB_REPO`; where that is not set either, there is no repository.
    """
    prefix = prefix or os.environ.get("BRAIN_TUMOR_HUB_REPO")
    return f"{prefix}-{system}" if prefix else None


def read_config(path: Path) -> dict[str, Any]:
    """Content of a config.json with all required fields; CheckpointError names what is missing."""
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing: without it {path.parent} cannot be verified. Restore the folder."
        ) from None
    except ValueError as error:  # of the JSON or of its encoding
        raise CheckpointError(f"{path} is not valid JSON ({error}). Restore the folder.") from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} is not a JSON object. Restore the folder.")
    missing = [name for name in REQUIRED_FIELDS if name not in config]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}. Restore the folder.")
    if config["classes"] != list(CLASS_NAMES):
        raise CheckpointError(
            f"{path} has the classes {config['classes']}, not {list(CLASS_NAMES)}. Restore the folder."
        )
    return config


def load_network(checkpoint: Checkpoint, spec: ModelSpec) -> nn.Sequential:
    """The trained network: verified, float32, in evaluation mode, no parameter asking for gradients.

    Raises:
        CheckpointError: the file is not the one config.json describes, or does not fit the architecture; a file that
            came from the Hub is then removed from its cache.
    """
    with _dropped_if_bad(checkpoint.model_file, checkpoint.source):
        return _load_network(checkpoint, spec)


def _load_network(checkpoint: Checkpoint, spec: ModelSpec) -> nn.Sequential:
    # Read once: what is hashed is what is loaded.
    content = checkpoint.model_file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != checkpoint.sha256:
        raise CheckpointError(
            f"{checkpoint.model_file} is damaged or was changed: its sha256 is {digest[:12]}…, "
            f"{CONFIG_FILE} says {checkpoint.sha256[:12]}…. Restore the folder from a copy that you trust."
        )
    network = spec.build()
    try:
        tensors = load_tensors(content)
        network.load_state_dict(
            {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
        )
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).removeprefix("Error(s) in loading state_dict for Sequential:")
        raise CheckpointError(
            f"{checkpoint.model_file} does not fit {spec.name} ({shorten(reason, 200, placeholder=' …')}). "
            "Restore the folder."
        ) from None
    return network.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def _checkpoint(system: str, folder: Path, source: str) -> Checkpoint:
    config = read_config(folder / CONFIG_FILE)
    # Some systems have the same architecture: their weights could be mistaken for each other's.
    if config["system"] != system:
        raise CheckpointError(
            f"{folder} holds a checkpoint of {config['system']}, not of {system}. Restore the folder."
        )
    return Checkpoint(system, folder, source, config)


def _hub_folder(repo: str, download: bool) -> Path:
    """The repository's files, of one commit. The cache goes first: what is there needs no network and no waiting."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    for local in (True, False) if download else (True,):
        try:
            folder = Path(snapshot_download(repo, local_files_only=local))
        except LocalEntryNotFoundError:
            if not local:
                raise
        else:
            # A download that was interrupted leaves some of the files.
            if all((folder / name).exists() for name in (CONFIG_FILE, MODEL_FILE)):
                return folder
    raise FileNotFoundError("incomplete there" if download else "not in its cache on this machine")


@contextmanager
def _dropped_if_bad(file: Path, source: str) -> Iterator[None]:
    """A bad file from the Hub leaves the cache, where every later call would find it again."""
    try:
        yield
    except CheckpointError as error:
        if source != "hub":
            raise
        file.resolve().unlink(missing_ok=True)  # the cache holds a link and, elsewhere, what it points to
        file.unlink(missing_ok=True)
        raise CheckpointError(
            f"{error} It came from the Hub and was removed from its cache: try again, and it is fetched anew. If that "
            "fails as well, what was published is damaged."
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
