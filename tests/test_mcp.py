"""The page's tools as an assistant meets them: the real client of the protocol, the real server."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import nibabel
import numpy as np
import pytest
import scans

pytest.importorskip("mcp", reason="gradio[mcp] is not installed")

from gradio import Blocks
from gradio.route_utils import delete_files_created_by_app
from gradio_client import Client
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, Tool
from nibabel.nifti1 import Nifti1Image
from PIL import Image
from slices import mri_slice

import brain_tumor
from brain_tumor.catalogue import list_models
from brain_tumor.disturbance import DISTURBANCES
from brain_tumor.explanation import METHODS
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.trust import consensus
from brain_tumor.ui import page, tools

AVAILABLE = list_models(available_only=True)
OFFERED = [model.spec.name for model in AVAILABLE if model.spec.offered]
USER = ("Dr. Müller", "pass: word ")


def served(folder: Path, **options) -> Iterator[Blocks]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        demo = page.build()
        demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **page.launch_options(), **options)
        yield demo
        demo.close()


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def demo(uploads: Path) -> Iterator[Blocks]:
    assert OFFERED, f"no model can be loaded: {list_models()[0].problem}"
    yield from served(uploads)


@pytest.fixture(scope="module")
def url(demo: Blocks) -> str:
    return demo.local_url.rstrip("/")


@pytest.fixture(scope="module")
def slice_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slices") / "slice.png"
    mri_slice(1).save(path)
    return path


def ask(url: str, tool: str, headers: dict[str, str] | None = None, **arguments) -> CallToolResult:
    return _with(url, headers, lambda session: session.call_tool(tool, arguments))


def listed(url: str, headers: dict[str, str] | None = None) -> dict[str, Tool]:
    return {tool.name: tool for tool in _with(url, headers, lambda session: session.list_tools()).tools}


def _with(url: str, headers: dict[str, str] | None, do):
    async def run():
        async with (
            httpx.AsyncClient(headers=headers, timeout=60) as http,
            streamable_http_client(f"{url}/gradio_api/mcp/", http_client=http) as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await do(session)

    # In a thread of its own: in this one, the browser tests' event loop is still running.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, run()).result()


def answer(result: CallToolResult) -> dict:
    assert not result.isError, result.content
    return json.loads(result.content[0].text)


def data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_every_named_endpoint_is_a_tool_and_nothing_else(url):
    endpoints = Client(url, verbose=False).view_api(return_format="dict", print_info=False)["named_endpoints"]
    found = listed(url)
    assert {f"/{name}" for name in found} == set(endpoints)


def test_tools_say_all_that_a_model_needs(url):
    found = listed(url)
    for tool in found.values():
        assert tools.NOTICE in tool.description and "Returns JSON: " in tool.description
        for name, schema in tool.inputSchema["properties"].items():
            assert schema["description"].strip(), f"{tool.name}: {name}"
            assert "path" not in schema.get("required", ())
    properties = found["classify"].inputSchema["properties"]
    assert properties["image"]["type"] == "string" and "data:image/png;base64," in properties["image"]["description"]
    assert properties["models"]["items"]["enum"] == [model.spec.name for model in AVAILABLE]
    assert properties["method"]["enum"] == list(METHODS)
    assert set(CLASS_NAMES) < set(properties["target_class"]["enum"])
    assert all(name in found["classify"].description for name in CLASS_NAMES)
    assert found["classify_many"].inputSchema["properties"]["files"]["items"] == {"type": "string"}
    for disturbance in DISTURBANCES.values():
        low, high = disturbance.limits
        said = f"{disturbance.name} {low:g} to {high:g} {disturbance.unit}".strip()
        assert said in found["disturb"].description


def test_a_slice_as_data_uri_is_answered_with_pictures(url, slice_path):
    result = ask(url, "classify", image=data_uri(slice_path))
    found = answer(result)
    expected = brain_tumor.classify(slice_path, OFFERED)
    assert found["consensus"]["verdict"] == consensus(expected).verdict
    for one, prediction in zip(found["answers"], expected, strict=True):
        assert one["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-4)
        assert one["refusal_reason"] is None
        # Where the text would hold a hundred kilobytes of base64 it names the picture that comes with it.
        assert one["overlay"] == f"image {1 + found['answers'].index(one)} of this answer"
    pictures = [Image.open(io.BytesIO(base64.b64decode(content.data))) for content in result.content[1:]]
    shared = found["shared"] is not None
    assert [picture.size for picture in pictures] == [(256, 256)] * (len(OFFERED) + shared)


def test_a_slice_that_was_uploaded_is_answered(url, slice_path):
    (path,) = httpx.post(f"{url}/gradio_api/upload", files={"files": slice_path.open("rb")}).json()
    found = answer(ask(url, "classify", image=f"{url}/gradio_api/file={path}", models=OFFERED[:1]))
    assert found["image"] == slice_path.name


def test_many_slices_in_one_call(url, slice_path):
    rows = answer(ask(url, "classify_many", files=[data_uri(slice_path)] * 2, models=OFFERED[:1]))
    assert [row["problem"] for row in rows] == [None, None]
    assert rows[0]["consensus"]["verdict"] == rows[1]["consensus"]["verdict"]


def test_the_other_tools_answer(url, slice_path):
    image = data_uri(slice_path)
    changed = answer(ask(url, "disturb", image=image, disturbance="mirror", severity=1, models=OFFERED[:1]))
    assert changed["answers"][0]["flipped"] in (True, False)
    flips = answer(ask(url, "smallest_flip", image=image, disturbance="jpeg", models=OFFERED[:1]))
    assert [flip["model"] for flip in flips["flips"]] == OFFERED[:1]
    assert {model["model"] for model in answer(ask(url, "models"))} >= set(OFFERED)
    asked = ask(url, "quiz_slice", seed=1, number=2)
    assert answer(asked)["picture"] == "image 1 of this answer" and asked.content[1].type == "image"
    assert answer(ask(url, "quiz_answer", answer="glioma", confidence=1, seed=1, number=2))["truth"] in CLASS_NAMES


def test_all_slices_of_a_scan_in_one_call(url, tmp_path):
    nibabel.save(Nifti1Image(scans.head((40, 48, 32)), np.eye(4)), tmp_path / "scan.nii")
    content = base64.b64encode((tmp_path / "scan.nii").read_bytes()).decode()
    uri = f"data:application/octet-stream;base64,{content}"
    found = answer(ask(url, "sweep", image=uri, models=OFFERED[:1]))
    assert [row["slice"] for row in found["rows"]] == list(range(1, 33))
    chosen = answer(ask(url, "classify", image=uri, models=OFFERED[:1], plane="sagittal", slice=9, window_width=700))
    assert chosen["image"] == "sagittal slice 9 of 40" and chosen["place"]["window"]["width"] == 700


def test_a_report_comes_with_the_answer(url, slice_path):
    image = data_uri(slice_path)
    named, page_ = ask(url, "report", image=image, models=OFFERED[:1]).content
    assert json.loads(named.text)["file"].endswith(".pdf")
    assert page_.resource.mimeType == "application/pdf" and base64.b64decode(page_.resource.blob).startswith(b"%PDF")
    named, picture = ask(url, "report", image=image, kind="png", models=OFFERED[:1]).content
    assert json.loads(named.text)["file"].endswith(".png")
    assert Image.open(io.BytesIO(base64.b64decode(picture.data))).width > 1600
    result = ask(url, "report", image=image, kind="json", models=OFFERED[:1])
    found = answer(result)
    assert found["picture"] == "image 1 of this answer"
    marked = sum(one["overlay"] is not None for one in found["answers"])
    assert [content.type for content in result.content] == ["text", "text", *["image"] * (1 + marked)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"image": "slice.png"}, "neither a data URI nor a URL"),
        ({"image": "/etc/hostname"}, "neither a data URI nor a URL"),
        ({"image": "data:image/png;base64,iVBORw0KGgo"}, "cut short"),
        ({"image": "data:text/plain;base64,aGVsbG8="}, "not an image in a format that can be read"),
        ({"image": "http://127.0.0.1:9/slice.png"}, "send a data URI instead"),
        ({}, "'image' is a required property"),
        ({"models": ["resnet19"], "image": "data:,"}, "'resnet19' is not one of"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_calls_are_told_what_to_do(url, arguments, said):
    result = ask(url, "classify", **arguments)
    assert result.isError and said in result.content[0].text
    assert "Traceback" not in result.content[0].text


def test_slices_are_deleted_as_uploads_are(uploads, demo, url, slice_path):
    ask(url, "classify", image=data_uri(slice_path), models=OFFERED[:1])
    assert list(uploads.rglob("*.png"))
    delete_files_created_by_app(demo, None)
    assert not list(uploads.rglob("*.png"))


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    for demo in served(tmp_path_factory.mktemp("uploads"), auth=[USER]):
        yield demo.local_url.rstrip("/")


@pytest.mark.parametrize("headers", [{}, basic(USER[0], "wrong"), basic("nobody", USER[1]), {"Authorization": "Basic"}])
@pytest.mark.parametrize("path", ["", "schema", "sse", "messages/?session_id=1"])
def test_a_login_guards_the_tools(closed, headers, path):
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accept = {"Accept": "application/json, text/event-stream"}
    address = f"{closed}/gradio_api/mcp/{path}"
    for reply in (httpx.post(address, json=asked, headers=headers | accept), httpx.get(address, headers=headers)):
        assert reply.status_code == 401, reply.text
        assert "classify" not in reply.text


def test_who_sends_name_and_password_is_answered(closed, slice_path):
    headers = basic(*USER)
    assert "classify" in listed(closed, headers)
    found = answer(ask(closed, "classify", headers, image=data_uri(slice_path), models=OFFERED[:1]))
    assert found["consensus"]["verdict"]


def test_without_the_package_the_page_starts_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(tools, "find_spec", lambda name: None)
    assert page.launch_options()["mcp_server"] is False
    assert "install gradio[mcp]" in caplog.text
