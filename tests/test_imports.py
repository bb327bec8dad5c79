"""Imports run one way, and importing does nothing but import."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What a module of brain_tumor may import from it, besides what those it may import may: the layers, lowest first.
MAY_IMPORT = {
    "labels": (),
    "images": (),
    "preprocessing": (),
    "architectures": ("labels",),
    "registry": ("architectures", "preprocessing"),
    "checkpoints": ("registry",),
    "calibration": ("labels",),
    "refusal": ("checkpoints",),
    "seen": ("checkpoints",),
    "location": ("calibration", "checkpoints"),
    "inference": ("calibration", "checkpoints", "location", "refusal", "seen"),
    "explanation": ("inference",),
    "pooling": ("calibration", "checkpoints"),
    "trust": ("acquisition", "inference", "pooling", "refusal"),
    "catalogue": ("checkpoints",),
    "measured": ("calibration", "catalogue"),
    "examination": ("explanation", "slicing", "trust"),
    "sweep": ("examination", "volumes"),
    "acquisition": ("labels",),
    "slicing": ("acquisition", "images"),
    "uploads": ("images",),
    "dicom": ("acquisition", "slicing", "uploads"),
    "nifti": ("acquisition", "slicing", "uploads"),
    "volumes": ("dicom", "nifti"),
    "disturbance": (),
    "examples": (),
    "version": (),
    "batch": ("examination", "volumes"),
    "probing": ("disturbance", "examination", "examples"),
    "tumours": (),
    "quiz": ("examples", "labels"),
    "failures": ("calibration", "catalogue"),
    "provoked": ("disturbance", "examination", "examples", "failures"),
    "lessons": ("provoked", "quiz"),
    "report": ("examination", "version"),
    "__init__": ("catalogue", "examination", "images", "version", "volumes"),
    "__main__": ("catalogue", "examination", "images", "report", "volumes"),
    "ui": (
        "batch",
        "catalogue",
        "disturbance",
        "examination",
        "examples",
        "failures",
        "images",
        "lessons",
        "measured",
        "probing",
        "quiz",
        "report",
        "sweep",
        "tumours",
        "volumes",
    ),
}

# Files opened for writing, weights read, sockets: none of it may happen while modules are imported. The folder for
# temporary files is looked at afterwards: Python itself tries out whether it can be written to.
WATCH = """
import importlib, json, os, socket, sys

def refuse(*_, **__):
    raise AssertionError("a socket was opened")

class NoSocket(socket.socket):
    __init__ = refuse

done = []

def watch(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if not isinstance(path, (str, bytes)):
            return
        path = os.fsdecode(path)
        writes = any(c in mode for c in "wax+") if mode else bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        weights = path.endswith((".safetensors", ".pt", ".pth"))
        if (writes or weights) and path != os.devnull and not path.startswith(os.environ["TMPDIR"]):
            done.append([event, path, str(mode)])
    elif event in ("socket.connect", "socket.bind", "socket.getaddrinfo"):
        done.append([event, str(arguments)])

socket.socket = NoSocket
sys.addaudithook(watch)
for module in sys.argv[1:]:
    importlib.import_module(module)
print(json.dumps(done))
"""

BLOCK = """
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("gradio", "pytorch_grad_cam"):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
for module in sys.argv[1:]:
    importlib.import_module(module)
"""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


BRAIN_TUMOR = sorted((ROOT / "brain_tumor").rglob("*.py"))
TRAINING = sorted((ROOT / "training").rglob("*.py"))
SOURCES = [ROOT / "app.py", *BRAIN_TUMOR, *TRAINING]
each_source = pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))


def imported(path: Path) -> Iterator[str]:
    """Full names of the modules that a source imports anywhere, functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            for alias in node.names:
                # `from brain_tumor import labels` imports a module, `from brain_tumor.labels import LABELS` a name.
                submodule = ROOT.joinpath(*node.module.split("."), f"{alias.name}.py")
                yield f"{node.module}.{alias.name}" if submodule.exists() else node.module


def layer(module: str) -> str:
    """brain_tumor.ui.page -> ui; brain_tumor itself -> __init__."""
    return [*module.split("."), "__init__"][1]


def reachable(name: str) -> set[str]:
    return set(MAY_IMPORT[name]).union(*(reachable(lower) for lower in MAY_IMPORT[name]))


@each_source
def test_only_the_page_imports_gradio(path):
    page = path.name == "app.py" or path.parent.name == "ui"
    packages = {name.split(".")[0] for name in imported(path)}
    assert page or not packages & {"gradio", "gradio_client"}


@each_source
def test_only_training_imports_training(path):
    assert path in TRAINING or "training" not in {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", BRAIN_TUMOR, ids=module_name)
def test_imports_within_the_package_run_one_way(path):
    own = layer(module_name(path))
    allowed = reachable(own) | ({"ui"} if own == "ui" else set())
    upward = {name for name in imported(path) if name.split(".")[0] == "brain_tumor" and layer(name) not in allowed}
    assert not upward, f"brain_tumor.{own} may import {sorted(allowed)}"


def test_every_module_has_its_place_in_the_order():
    assert {layer(module_name(path)) for path in BRAIN_TUMOR} == set(MAY_IMPORT)


def run(script: str, modules: list[str], tmp_path: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(tmp_path / "scratch"),
        "MPLCONFIGDIR": str(tmp_path / "scratch" / "matplotlib"),
        "PYTHONPATH": str(ROOT),
    }
    for folder in ("work", "scratch"):
        (tmp_path / folder).mkdir()
    result = subprocess.run(
        [sys.executable, "-c", script, *modules],
        cwd=tmp_path / "work",
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    assert not list((tmp_path / "work").iterdir())
    return result


@pytest.mark.parametrize("package", ["brain_tumor", "training"])
def test_importing_writes_nothing_connects_nowhere_and_loads_no_weights(package, tmp_path):
    modules = [module_name(path) for path in {"brain_tumor": BRAIN_TUMOR, "training": TRAINING}[package]]
    result = run(WATCH, modules, tmp_path)
    assert json.loads(result.stdout.splitlines()[-1]) == []
    left = {path.name for path in (tmp_path / "scratch").rglob("*") if path.is_file()}
    if package == "training":
        # Whoever draws figures needs matplotlib's list of the fonts on this machine, made once; the package does not.
        left = {name for name in left if not name.startswith("fontlist")}
    assert not left


def test_training_needs_neither_gradio_nor_grad_cam(tmp_path):
    run(BLOCK, [module_name(path) for path in TRAINING], tmp_path)


def test_the_package_but_its_page_needs_neither_gradio_nor_grad_cam(tmp_path):
    run(BLOCK, [module_name(path) for path in BRAIN_TUMOR if path.parent.name != "ui"], tmp_path)
