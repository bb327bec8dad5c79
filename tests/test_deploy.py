"""The container holds what the Space holds, and its web server's settings are those of the page."""

from __future__ import annotations

import re
from pathlib import Path

from brain_tumor.ui.login import LOGIN, LOGIN_FILE
from training.publish import SPACE_FILES, SPACE_PACKAGE

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DOCS = (ROOT / "docs" / "deploy.md").read_text()


def test_container_is_given_what_the_space_is_given():
    copied = {name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M) for name in line.split()}
    let_through = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.M))
    needed = {name.split("/")[0] for name in (*SPACE_FILES, SPACE_PACKAGE, "weights")} - {"README.md"}
    assert needed == copied == let_through
    assert all((ROOT / name).exists() for name in copied)


def test_container_runs_as_somebody_without_rights_and_asks_nobody():
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", DOCKERFILE, re.M)
    assert "HF_HUB_OFFLINE=1" in DOCKERFILE and "GRADIO_ANALYTICS_ENABLED=False" in DOCKERFILE
    folders = re.findall(r"(?:HOME|MPLCONFIGDIR|GRADIO_TEMP_DIR)=(\S+)", DOCKERFILE)
    assert len(folders) == 3 and all(folder.startswith("/tmp") for folder in folders)


def test_guide_names_the_settings_that_exist():
    assert {LOGIN, LOGIN_FILE} == set(re.findall(r"BRAIN_TUMOR_LOGIN\w*", DOCS))
    path = re.search(r"GRADIO_ROOT_PATH: (\S+)", DOCS)[1]
    assert f"location {path}/ {{" in DOCS and f"location = {path}/login {{" in DOCS
