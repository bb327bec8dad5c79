"""To the Hugging Face Hub: every checkpoint as a model repository, and the page as a Space.

What a repository should hold is collected and checked first, as an `Upload`; sending it is one commit, after which the
repository holds these files and no others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from brain_tumor.checkpoints import CheckpointError, find_checkpoint, hub_repo, load_network, weights_folder
from brain_tumor.pooling import POOLS_FILE
from brain_tumor.registry import MODELS, get_spec
from training.evaluation import systems_with_weights

ROOT = Path(__file__).resolve().parent.parent
SPACE_FILES = ("app.py", "requirements.txt", "README.md", "LICENSE", "docs/latency.json", "docs/trust.md")
SPACE_PACKAGE = "brain_tumor"
FRONT_MATTER = ("title", "sdk", "sdk_version", "app_file")
GIT_ATTRIBUTES = ".gitattributes"  # the Hub's own: which files it stores aside


class PublishError(RuntimeError):
    """Something cannot be published; the message says why and what to do."""


@dataclass(frozen=True)
class Upload:
    """What a repository on the Hub is to hold.

    Attributes:
        repo: "owner/name".
        kind: "model" or "space".
        files: path in the repository (with /) -> file on this machine.
    """

    repo: str
    kind: str
    files: dict[str, Path]

    def __str__(self) -> str:
        sizes = {name: path.stat().st_size for name, path in self.files.items()}
        lines = [f"{_kilobytes(size)}  {name}" for name, size in sizes.items()]
        return "\n".join([f"{self.kind} {self.repo}", *lines, f"{_kilobytes(sum(sizes.values()))}  together"])


def model_uploads(repo: str) -> list[Upload]:
    """One repository `<repo>-<system>` for every checkpoint in the weights folder, each verified.

    Args:
        repo: "owner/name", what readers put into BRAIN_TUMOR_HUB_REPO.

    Raises:
        CheckpointError: there is none, or one is not what its config.json says.
        PublishError: `repo` is not of that form.
    """
    _check_name(repo)
    return [Upload(hub_repo(system, repo), "model", _files(_verified(system))) for system in _systems()]


def space_upload(repo: str, root: Path = ROOT) -> Upload:
    """The page with the checkpoints that it offers, and nothing that it does not need.

    Args:
        root: of the project.

    Raises:
        CheckpointError: none of the offered systems has a checkpoint, or one is not what its config.json says.
        PublishError: a file is missing, or the README does not say how the Space is to be started.
    """
    _check_name(repo)
    files = {name: root / name for name in SPACE_FILES}
    files |= {f"{SPACE_PACKAGE}/{name}": path for name, path in _files(root / SPACE_PACKAGE).items()}
    missing = [name for name, path in files.items() if not path.is_file()]
    if missing:
        raise PublishError(f"{root} lacks {', '.join(missing)}, which the Space needs.")
    _check_front_matter(root / "README.md", files)
    offered = [system for system in _systems() if MODELS[system].offered]
    if not offered:
        raise CheckpointError(f"None of the systems that the page offers has a checkpoint in {weights_folder()}.")
    for system in offered:
        files |= {f"weights/{system}/{name}": path for name, path in _files(_verified(system)).items()}
    together = weights_folder() / POOLS_FILE
    files |= {f"weights/{POOLS_FILE}": together} if together.exists() else {}
    # What the tab "Models" says of the other systems, and the README's pictures.
    for path in weights_folder().glob("*/evaluation/study/*"):
        files.setdefault(f"weights/{path.relative_to(weights_folder()).as_posix()}", path)
    return Upload(repo, "space", files | {f"docs/{path.name}": path for path in (root / "docs").glob("*.png")})


def send(upload: Upload, private: bool = False) -> str:
    """Create the repository where there is none and replace its content in one commit; returns its address.

    Args:
        private: visible to its owner alone; of no effect on a repository that exists.

    Raises:
        PublishError: no token, no permission, no network, or the Hub refused; the message says which.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

    if not get_token():
        raise PublishError(
            "There is no Hugging Face token. Run `hf auth login`, or set HF_TOKEN to a token with write access from "
            "https://huggingface.co/settings/tokens."
        )
    api = HfApi()
    target = {"repo_id": upload.repo, "repo_type": upload.kind}
    try:
        sdk = {"space_sdk": "gradio"} if upload.kind == "space" else {}
        address = api.create_repo(**target, **sdk, private=private, exist_ok=True)
        stale = set(api.list_repo_files(**target)) - set(upload.files) - {GIT_ATTRIBUTES}
        operations = [CommitOperationAdd(name, path) for name, path in upload.files.items()]
        operations += [CommitOperationDelete(name) for name in sorted(stale)]
        api.create_commit(**target, operations=operations, commit_message=f"Upload {upload.kind}")
    # The Hub's client raises errors of its own, of its HTTP library and of the disk; what went wrong is in the message.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        reason += "" if reason.endswith(".") else "."
        raise PublishError(
            f"{upload.repo} was not published: {reason} If the Hub refuses: `hf auth whoami` says whose token this is, "
            "and it must have write access to that owner's repositories."
        ) from error
    return str(address)


def _systems() -> list[str]:
    systems = systems_with_weights()
    if not systems:
        raise CheckpointError(f"There is no checkpoint in {weights_folder()}: train one, or set BRAIN_TUMOR_WEIGHTS.")
    return systems


def _verified(system: str) -> Path:
    """The system's folder; its weights are the file that config.json describes, and load."""
    checkpoint = find_checkpoint(system, download=False)
    if checkpoint.source != "weights":
        raise CheckpointError(f"{weights_folder() / system} has a config, but no weights. Restore the folder.")
    load_network(checkpoint, get_spec(system))
    return checkpoint.folder


def _files(folder: Path) -> dict[str, Path]:
    """All files in a folder at any depth, without what Python, editors and systems leave behind."""
    files = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name.as_posix(): path
        for name, path in files.items()
        if "__pycache__" not in name.parts and not any(part.startswith(".") for part in name.parts)
    }


def _check_name(repo: str) -> None:
    owner, _, name = repo.partition("/")
    if not owner or not name or "/" in name:
        raise PublishError(f"{repo!r} is not OWNER/NAME.")


def _check_front_matter(readme: Path, files: dict[str, Path]) -> None:
    front = _front_matter(readme)
    lacking = [field for field in FRONT_MATTER if field not in front]
    if lacking:
        raise PublishError(f"The front matter of {readme} lacks {', '.join(lacking)}.")
    if front["sdk"] != "gradio":
        raise PublishError(f"The front matter of {readme} has the sdk {front['sdk']!r}, not gradio.")
    unquoted = [field for field in ("sdk_version", "python_version") if not isinstance(front.get(field, ""), str)]
    if unquoted:  # 3.10 would be read as 3.1
        raise PublishError(f"The front matter of {readme} must have {', '.join(unquoted)} in quotation marks.")
    if len(front.get("short_description", "")) > 60:
        raise PublishError(f"The short_description in {readme} has more than the 60 characters that the Hub allows.")
    if front["app_file"] not in files:
        raise PublishError(f"The front matter of {readme} names {front['app_file']}, which is not uploaded.")


def _front_matter(readme: Path) -> dict[str, Any]:
    start, *rest = readme.read_text(encoding="utf-8").split("---\n", maxsplit=2)
    try:
        front = yaml.safe_load(rest[0]) if not start and len(rest) == 2 else None
    except yaml.YAMLError as error:
        raise PublishError(f"The front matter of {readme} is not YAML: {error}") from None
    if not isinstance(front, dict):
        raise PublishError(f"{readme} does not begin with front matter between two lines of ---.")
    return front


def _kilobytes(size: int) -> str:
    return f"{size / 1000:>12,.1f} kB"
