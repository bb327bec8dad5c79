"""What the README promises can be typed: its blocks of Python are run, against the real page where they ask one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import scans
from nibabel.nifti1 import Nifti1Image
from slices import mri_slice

from brain_tumor.catalogue import list_models
from brain_tumor.ui import page

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
ADDRESS = "http://127.0.0.1:7860"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        demo = page.build()
        demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **page.launch_options())
        yield demo.local_url.rstrip("/")
        demo.close()


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.split("\n")[0])
def test_python_blocks_run(url, tmp_path, block):
    for seed, name in enumerate(("slice", "a", "b")):
        mri_slice(seed).save(tmp_path / f"{name}.png")
    nibabel.save(Nifti1Image(scans.head((40, 48, 32)), np.eye(4)), tmp_path / "scan.nii.gz")
    ran = subprocess.run(
        [sys.executable, "-c", block.replace(ADDRESS, url)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert any(model.spec.name in ran.stdout or model.spec.title in ran.stdout for model in list_models())


def test_every_endpoint_is_asked_once(url):
    with urllib.request.urlopen(f"{url}/gradio_api/info") as reply:
        endpoints = json.load(reply)["named_endpoints"]
    assert sorted(re.findall(r'api_name="(/\w+)"', "".join(blocks("python")))) == sorted(endpoints)


def test_the_address_for_assistants_is_that_of_the_tools(url):
    pytest.importorskip("mcp", reason="gradio[mcp] is not installed")
    (settings,) = blocks("json")
    (server,) = json.loads(settings)["mcpServers"].values()
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    request = urllib.request.Request(server["url"].replace(ADDRESS, url), json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as reply:
        assert '"name":"classify"' in reply.read().decode()
