"""The page's API as a program meets it: the real server, asked over HTTP."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import cycle
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import scans
from gradio.state_holder import StateHolder
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from slices import mri_slice

import brain_tumor
from brain_tumor.catalogue import list_models
from brain_tumor.disturbance import DISTURBANCES, disturb
from brain_tumor.explanation import METHODS, overlay, shared
from brain_tumor.labels import CLASS_NAMES, DISPLAY_TEXT
from brain_tumor.probing import Stroke, cover
from brain_tumor.trust import REFUSED, UNCERTAIN, consensus
from brain_tumor.ui import page
from brain_tumor.ui.page import forget

AVAILABLE = list_models(available_only=True)
NAMES = [model.spec.name for model in AVAILABLE]
OFFERED = [model.spec.name for model in AVAILABLE if model.spec.offered]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    assert OFFERED, f"no model can be loaded: {list_models()[0].problem}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        demo = page.build()
        demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **page.launch_options())
        yield demo.local_url
        demo.close()


@pytest.fixture(scope="module")
def client(url) -> Client:
    return Client(url, verbose=False)


@pytest.fixture(scope="module")
def slice_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slices") / "slice.png"
    mri_slice(1, 300).resize((300, 200)).save(path)
    return path


def classify(client: Client, path: Path, **arguments) -> dict:
    return client.predict(image=handle_file(path), api_name="/classify", **arguments)


def picture(answer: dict, key: str = "overlay") -> Image.Image:
    head, content = answer[key].split(",", 1)
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def assert_answers_of_the_python_api(result: dict, path: Path, names: list[str]) -> None:
    expected = brain_tumor.classify(path, names)
    assert result["image"] == path.name
    assert [answer["model"] for answer in result["answers"]] == names
    for answer, prediction in zip(result["answers"], expected, strict=True):
        assert answer["predicted_class"] == prediction.predicted_class
        assert list(answer["probabilities"]) == list(CLASS_NAMES)
        assert answer["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-4)
        assert answer["milliseconds"] > 0
    leading = max(result["consensus"]["probabilities"], key=result["consensus"]["probabilities"].get)
    assert leading == consensus(expected).leading
    assert result["consensus"]["verdict"] in (*CLASS_NAMES, UNCERTAIN, REFUSED)


def test_only_the_documented_endpoints_are_public(client):
    api = client.view_api(return_format="dict", print_info=False)
    documented = re.findall(r"^\| `(/\w+)` ", (Path(__file__).parents[1] / "README.md").read_text(), re.MULTILINE)
    assert sorted(api["named_endpoints"]) == sorted(documented)
    assert not api["unnamed_endpoints"]
    parameters = api["named_endpoints"]["/classify"]["parameters"]
    # In this order: programs may give them by position.
    place = ["series", "plane", "slice", "window_centre", "window_width"]
    assert [p["parameter_name"] for p in parameters] == ["image", "models", "method", "target_class", *place]
    assert all(p["parameter_has_default"] for p in parameters[1:])
    for name, first in (
        ("/disturb", ["image", "disturbance", "severity", "models", "strokes"]),
        ("/smallest_flip", ["image", "disturbance", "models"]),
    ):
        parameters = api["named_endpoints"][name]["parameters"]
        assert [p["parameter_name"] for p in parameters] == [*first, *place]
        assert all(p["parameter_has_default"] for p in parameters[len(first) :])


def test_an_image_is_all_that_is_needed(client, slice_path):
    result = classify(client, slice_path)
    assert_answers_of_the_python_api(result, slice_path, OFFERED)
    for answer in result["answers"]:
        assert answer["method"] == brain_tumor.explain(slice_path, answer["model"]).method
        assert answer["target_class"] == answer["predicted_class"]


@pytest.mark.parametrize("names", [NAMES[:1], NAMES[::-1]], ids=["one", "all, backwards"])
def test_chosen_models_answer_in_the_order_asked_for(client, slice_path, names):
    assert_answers_of_the_python_api(classify(client, slice_path, models=names), slice_path, names)


@pytest.mark.parametrize(("method", "target"), list(zip(METHODS, cycle(CLASS_NAMES), strict=False)))
def test_method_and_target_class_are_honoured(client, slice_path, method, target):
    name = NAMES[-1]
    (answer,) = classify(client, slice_path, models=[name], method=method, target_class=target)["answers"]
    expected = brain_tumor.explain(slice_path, name, target, method)
    assert (answer["method"], answer["target_class"]) == (expected.method, target)
    assert answer["method"] == method or METHODS[method].cls is None
    assert answer["evidence_found"] is expected.found
    shown = np.asarray(picture(answer)).astype(int)
    assert np.abs(shown - overlay(brain_tumor.read_image(slice_path), expected.shown)).max() <= 3


def animated_gif(path: Path) -> None:
    frames = [mri_slice(seed).convert("P") for seed in (1, 2)]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:], duration=200)


def sixteen_bit(path: Path) -> None:
    Image.fromarray(np.asarray(mri_slice(1).convert("L")).astype(np.uint16) * 16).save(path, "PNG")


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    mri_slice(1, 300).resize((300, 200)).save(path, "JPEG", exif=exif)


UNUSUAL = {
    "animated.gif": animated_gif,
    "cmyk.jpg": lambda path: mri_slice(1).convert("CMYK").save(path, "JPEG"),
    "16-bit.png": sixteen_bit,
    "turned.jpg": turned,
    "no extension": lambda path: mri_slice(1).save(path, "PNG"),
    "Schädel (1) ü.png": lambda path: mri_slice(1).save(path, "PNG"),
    "larger than is kept.png": lambda path: mri_slice(1, 512).resize((2300, 2100)).save(path, "PNG"),
}


@pytest.mark.parametrize("title", UNUSUAL)
def test_unusual_files_are_answered_as_by_the_python_api(client, tmp_path, title):
    path = tmp_path / title
    UNUSUAL[title](path)
    result = classify(client, path, models=OFFERED[:1])
    (answer,) = result["answers"]
    (expected,) = brain_tumor.classify(path, OFFERED[:1])
    # A picture that is reduced first is looked at through two resizings instead of one.
    tolerance = 0.05 if title.startswith("larger") else 1e-4
    assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=tolerance)
    width, height = brain_tumor.read_image(path).size
    assert picture(answer).width / picture(answer).height == pytest.approx(width / height, rel=0.01)


def test_of_a_scan_the_middle_slice_is_answered_under_a_name_that_names_nobody(client, tmp_path):
    path = tmp_path / "Doe^Jane.zip"
    slices = scans.series(scans.head())
    with zipfile.ZipFile(path, "w") as archive:
        for k, ds in enumerate(slices):
            archive.writestr(f"Doe^Jane/{k}", scans.encoded(ds))
    result = classify(client, path, models=OFFERED[:1])
    assert result["image"] == f"axial slice {len(slices) // 2 + 1} of {len(slices)}"
    (expected,) = brain_tumor.classify(brain_tumor.read_volume(path).slice("axial", len(slices) // 2), OFFERED[:1])
    assert result["answers"][0]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
    changed = client.predict(handle_file(path), "mirror", 1, OFFERED[:1], api_name="/disturb")
    assert changed["image"] == result["image"]
    before = changed["answers"][0]["before"]
    assert before["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
    # No picture in base64 has this by chance.
    assert "Doe^" not in str(result) + str(changed)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two series in an archive that is named after somebody, as are they."""
    path = tmp_path_factory.mktemp("studies") / "Doe^Jane.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, voxels in enumerate((scans.head(), scans.head((40, 48, 32)))):
            for k, ds in enumerate(scans.series(voxels, PatientName="Doe^Jane", SeriesDescription="Doe^Jane, axial")):
                archive.writestr(f"Doe^Jane/{number}/{k}", scans.encoded(ds))
    return path


def test_of_a_scan_any_slice_can_be_chosen(client, study):
    volume = brain_tumor.read_volume(study, 1)
    place = {"series": 2, "plane": "coronal", "slice": 11, "window_centre": 300, "window_width": 400.5}
    result = classify(client, study, models=OFFERED[:1], **place)
    assert result["image"] == "coronal slice 11 of 48"
    assert result["place"] == {
        "plane": "coronal",
        "slice": 11,
        "slices": 48,
        "series": 2,
        "all_series": 2,
        "window": {"centre": 300, "width": 400.5},
    }
    shown = volume.slice("coronal", 10, replace(volume.default_window, centre=300, width=400.5))
    (expected,) = brain_tumor.classify(shown, OFFERED[:1])
    assert result["answers"][0]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
    assert picture(result["answers"][0]).size == shown.size
    changed = client.predict(handle_file(study), "mirror", 0, OFFERED[:1], **place, api_name="/disturb")
    flips = client.predict(handle_file(study), "mirror", OFFERED[:1], **place, api_name="/smallest_flip")
    assert changed["place"] == flips["place"] == result["place"]
    assert changed["answers"][0]["before"]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
    assert "Doe^" not in str(result) + str(changed) + str(flips)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({"series": 3}, "no series 3; they are numbered 1 to 2"),
        ({"series": 0}, "no series 0; they are numbered 1 to 2"),
        ({"plane": "original"}, "choose among axial, coronal, sagittal"),
        ({"slice": 0}, "no axial slice 0; they are numbered 1 to 40"),
        ({"slice": 41}, "no axial slice 41; they are numbered 1 to 40"),
        ({"window_width": 0}, "a number above 0"),
        ({"window_centre": 1e300}, "numbers of at most"),
    ],
    ids=str,
)
def test_slices_that_a_scan_does_not_have_are_named(client, study, place, said):
    with pytest.raises(AppError, match=said) as caught:
        classify(client, study, models=OFFERED[:1], **place)
    assert "Doe^" not in str(caught.value) and "Traceback" not in str(caught.value)


def test_a_picture_has_neither_series_nor_slices(client, slice_path):
    for place in ({"slice": 1}, {"plane": "axial"}, {"window_width": 3}):
        with pytest.raises(AppError, match="That is no scan"):
            classify(client, slice_path, **place)
    with pytest.raises(AppError, match="That is no scan"):
        client.predict(handle_file(slice_path), api_name="/sweep")


def test_a_scan_is_answered_slice_by_slice(client, study):
    result = client.predict(handle_file(study), OFFERED[:2], series=2, api_name="/sweep")
    volume = brain_tumor.read_volume(study, 1)
    assert (result["place"]["plane"], result["place"]["slices"], result["place"]["series"]) == ("axial", 32, 2)
    assert [row["slice"] for row in result["rows"]] == list(range(1, 33))
    for row in (result["rows"][0], result["rows"][20]):
        expected = consensus(brain_tumor.classify(volume.slice("axial", row["slice"] - 1), OFFERED[:2]))
        assert (row["consensus"]["verdict"] == REFUSED) is expected.refused
        assert row["consensus"]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
        tumour = 0 if expected.refused else (1 - expected.probabilities["notumor"]) * expected.surest_place
        assert row["suspicion"] == pytest.approx(tumour, abs=1e-3)
    if result["most_suspicious"]:
        assert result["rows"][result["most_suspicious"][0] - 1]["suspicion"] == max(
            row["suspicion"] for row in result["rows"]
        )
    assert "Doe^" not in str(result)


@pytest.mark.parametrize("kind", ["pdf", "png", "json"])
def test_report_is_a_file_that_names_nobody(client, study, kind):
    path = Path(client.predict(handle_file(study), kind, OFFERED[:1], slice=12, api_name="/report"))
    content = path.read_bytes()
    assert re.fullmatch(rf"brain-mri-report-\d{{4}}-\d\d-\d\dT\d{{4}}Z\.{kind}", path.name)
    assert content.startswith({"pdf": b"%PDF", "png": b"\x89PNG", "json": b"{"}[kind]) and b"Doe^" not in content
    if kind == "json":
        found = json.loads(content)
        assert (found["place"]["slice"], found["place"]["slices"]) == (12, 40)
        assert [answer["model"] for answer in found["answers"]] == OFFERED[:1]


def test_parts_of_a_slice_can_be_covered(client, slice_path):
    strokes = "[[0.3, 0.5, 0.5]]"
    result = client.predict(handle_file(slice_path), "mirror", 0, OFFERED[:1], strokes, api_name="/disturb")
    covered = cover(brain_tumor.read_image(slice_path), [Stroke(0.3, ((0.5, 0.5),))])
    (expected,) = brain_tumor.classify(covered, OFFERED[:1])
    assert result["change"] == "Covered in part"
    assert result["answers"][0]["after"]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
    with pytest.raises(AppError, match="`strokes` is text such as"):
        client.predict(handle_file(slice_path), "mirror", 0, OFFERED[:1], "[[0.3]]", api_name="/disturb")


def test_where_heatmaps_agree_is_told(client, slice_path):
    together = [brain_tumor.explain(slice_path, name, "glioma", "gradcam") for name in OFFERED[:2]]
    expected = shared(together)
    asked = {"method": "gradcam", "target_class": "glioma"}
    found = classify(client, slice_path, models=OFFERED[:2], **asked)["shared"]
    assert found["models"] == OFFERED[:2]
    assert found["overlap"] == pytest.approx(expected.overlap, abs=1e-3)
    marked = overlay(brain_tumor.read_image(slice_path), expected.heatmap)
    assert np.abs(np.asarray(picture(found)).astype(int) - marked).max() <= 3
    assert classify(client, slice_path, models=OFFERED[:1], **asked)["shared"] is None


def test_every_change_is_tried_as_if_one_by_one(client, slice_path):
    tried = client.predict(handle_file(slice_path), OFFERED[:1], api_name="/every_change")
    assert tried["image"] == slice_path.name
    assert [change["disturbance"] for change in tried["changes"]] == list(DISTURBANCES)
    flipping = [change for change in tried["changes"] if change["flips"][0]["severity"] is not None]
    assert 0 < len(flipping) < len(DISTURBANCES)
    for change in tried["changes"]:
        (flip,) = change["flips"]
        severities = change["severities"] if flip["severity"] is None else [flip["severity"]]
        assert set(severities) <= set(DISTURBANCES[change["disturbance"]].severities)
        images = [disturb(brain_tumor.read_image(slice_path), change["disturbance"], s) for s in severities]
        said = {brain_tumor.classify(image, OFFERED[:1])[0].predicted_class for image in images}
        (held,) = (prediction.predicted_class for prediction in brain_tumor.classify(slice_path, OFFERED[:1]))
        assert said == {flip["predicted_class"] or held}


def quiz(client: Client, number: int, **answer) -> dict:
    name = "/quiz_answer" if answer else "/quiz_slice"
    return client.predict(**answer, seed=3, number=number, api_name=name)


def test_a_quiz_asks_before_it_tells(client):
    asked = quiz(client, 1)
    assert asked["classes"] == list(CLASS_NAMES)
    assert quiz(client, 1)["picture"] == asked["picture"] != quiz(client, 2)["picture"]
    told = [quiz(client, 1, answer=name, confidence=0.8) for name in CLASS_NAMES]
    truth = told[0]["truth"]
    for name, answer in zip(CLASS_NAMES, told, strict=True):
        assert (answer["truth"], answer["right"]) == (truth, name == truth)
        assert answer["squared_error"] == pytest.approx((0.8 - answer["right"]) ** 2)
        assert [one["model"] for one in answer["answers"]] == OFFERED
    # Synthetic slices are kept because the models are right about them; what is asked about does not say what it is.
    if asked["synthetic"]:
        assert {one["predicted_class"] for one in told[0]["answers"]} == {truth}
    assert not {truth, told[0]["source"]} & {str(value) for value in asked.values()}


@pytest.mark.parametrize(
    ("number", "answer", "said"),
    [
        (0, {}, "no slice 0; they are numbered 1 to"),
        (10_000, {}, "no slice 10000; they are numbered 1 to"),
        (1, {"answer": "glioma", "confidence": 0.7}, "one of 0.25, 0.4, 0.6, 0.8, 0.9, 1"),
        (1, {"answer": "astrocytoma", "confidence": 0.8}, "astrocytoma"),
    ],
)
def test_a_quiz_says_what_is_wrong_with_a_question(client, number, answer, said):
    with pytest.raises(AppError, match=said):
        quiz(client, number, **answer)


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_what_a_student_should_know_of_a_class_has_sources(client, name):
    page = client.predict(name, api_name="/tumour_type")
    assert page["title"] == DISPLAY_TEXT[name]
    assert all(section["heading"] and section["paragraphs"] for section in page["sections"])
    assert all(source["doi"].startswith("10.") for source in page["sources"])
    for confused in page["confused"]:
        assert sum(confused["wrong"].values()) < confused["slices"] and name not in confused["wrong"]


def test_failures_are_of_the_class_asked_for_and_really_wrong(client):
    found = client.predict("glioma", api_name="/failures")
    everything = client.predict(api_name="/failures")
    assert found["failures"] and found["known"] < everything["known"]
    assert {failure["truth"] for failure in found["failures"]} == {"glioma"}
    assert len({failure["truth"] for failure in everything["failures"]}) > 1
    for failure in found["failures"]:
        assert any(said["predicted_class"] != "glioma" for said in failure["said"]) and failure["lesson"]
        assert picture(failure, "picture").width > 100


def huge_png() -> bytes:
    """30,000 x 30,000 px in a hundred kilobytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(1 + 30_000 // 8)) for _ in range(30_000)) + packer.flush()
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def truncated_jpeg() -> bytes:
    stream = io.BytesIO()
    mri_slice(1).save(stream, "JPEG")
    return stream.getvalue()[:2000]


BAD = {
    "notes.png": (lambda: b"Patient notes, no image at all.", "not an image in a format that can be read"),
    "cut.jpg": (truncated_jpeg, "cut short, damaged"),
    "huge.png": (huge_png, "more than 40 million pixels"),
    "empty.png": (lambda: b"", "is empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_get_one_sentence_without_a_look_behind_the_scenes(client, tmp_path, name):
    make, why = BAD[name]
    path = tmp_path / name
    path.write_bytes(make())
    with pytest.raises(AppError) as caught:
        classify(client, path)
    message = str(caught.value)
    assert name in message and why in message
    assert message.endswith(".") and ". " not in message and "\n" not in message
    assert "/" not in message and "Traceback" not in message and "Error" not in message


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ({"models": []}, "No model was chosen"),
        ({"models": ["resnet19"]}, "resnet19"),
        ({"method": "scorecam"}, "scorecam"),
        ({"target_class": "notumour"}, "notumour"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arguments_that_do_not_exist_are_named(client, slice_path, arguments, culprit):
    with pytest.raises(AppError, match=culprit) as caught:
        classify(client, slice_path, **arguments)
    assert "Traceback" not in str(caught.value)


def test_no_image_is_a_sentence_too(client):
    with pytest.raises(AppError, match="No image was sent"):
        client.predict(image=None, api_name="/classify")


def test_visitors_at_once_get_their_own_answers(url, tmp_path):
    paths = [tmp_path / f"slice-{seed}.png" for seed in range(4)]
    for seed, path in enumerate(paths):
        mri_slice(seed, 200 + 20 * seed).save(path)
    clients = [Client(url, verbose=False) for _ in paths]

    def ask(i: int) -> list[dict]:
        return [classify(clients[i], paths[i], target_class=target) for target in CLASS_NAMES[:2]]

    with ThreadPoolExecutor(len(paths)) as pool:
        answers = list(pool.map(ask, range(len(paths))))
    for path, results in zip(paths, answers, strict=True):
        for target, result in zip(CLASS_NAMES, results, strict=False):
            assert_answers_of_the_python_api(result, path, OFFERED)
            assert all(answer["target_class"] == target for answer in result["answers"])
            side = Image.open(path).width
            assert all(picture(answer).size == (side, side) for answer in result["answers"])


def test_page_is_built_from_nothing_that_lies_on_another_host(url):
    with urllib.request.urlopen(url) as response:
        html = response.read().decode()
    assert "Brain MRI" in html
    loaded = re.findall(r"""<(?:script|link|img|iframe)[^>]*?(?:src|href)\s*=\s*["']?(https?:)?//([^"'/ >]+)""", html)
    imported = re.findall(r"""(?:@import|url\()\s*["']?(https?:)?//([^"'/ )]+)""", html)
    hosts = {host for _, host in loaded + imported if not host.startswith(("127.0.0.1", "localhost"))}
    assert not hosts
    assert "fonts.googleapis" not in html and "fonts.gstatic" not in html


def test_what_an_idle_visitor_left_is_forgotten():
    with gr.Blocks() as blocks:
        gr.HTML()
    sessions = StateHolder()
    sessions.set_blocks(blocks)
    sessions["idle"]
    forget(sessions, datetime.now() - timedelta(hours=1))
    assert "idle" in sessions
    forget(sessions, datetime.now() + timedelta(hours=1))
    assert "idle" not in sessions and not sessions.time_last_used
