"""The report as a reader meets it: one page, its words as text, nothing that names the patient."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from slices import mri_slice

from brain_tumor import report
from brain_tumor.calibration import Bin
from brain_tumor.catalogue import list_models
from brain_tumor.checkpoints import Checkpoint
from brain_tumor.examination import Examination, Place
from brain_tumor.explanation import Explanation, overlay
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.registry import MODELS, get_spec
from brain_tumor.report import NOTICE, render

pdfium = pytest.importorskip("pypdfium2", reason="pypdfium2 is not installed")

WHEN = datetime(2026, 11, 22, 4, 10, tzinfo=UTC)
NAME = "Mustermann_Erika_1961.png"
REFUSAL = "This picture has a bright background, like a page or an inverted slice; around a head, MRI is dark."
MODEL = next(model.spec.name for model in list_models(available_only=True))


@pytest.fixture(scope="module")
def examination() -> Examination:
    return Examination(mri_slice(1, 240).resize((240, 280)), NAME)


@pytest.fixture(scope="module")
def answer(examination: Examination) -> Explanation:
    return examination.answers([MODEL], "glioma", "layercam")[0]


@pytest.fixture
def many(answer: Explanation, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[Explanation]]:
    """The first N systems with an answer each, calibrated and with everything that can be said against it."""
    monkeypatch.setattr(
        report,
        "find_checkpoint",
        lambda name, download: Checkpoint(name, None, "weights", {"sha256": f"{list(MODELS).index(name):x}" * 64}),
    )

    def answers(count: int) -> list[Explanation]:
        prediction = replace(
            answer.prediction,
            predicted_class="pituitary",
            calibrated_probabilities=dict(zip(CLASS_NAMES, (0.1234, 0.2345, 0.0004, 0.6417), strict=True)),
            prediction_set=("pituitary", "meningioma", "glioma"),
            support=Bin(0.6, 0.7, 0.65, 212, 130),
            refusal_reason=REFUSAL,
            strangeness=None,
            seen_in_training=True,
        )
        return [replace(answer, prediction=replace(prediction, model=name)) for name in list(MODELS)[:count]]

    return answers


def text_of(pdf: bytes) -> str:
    """All text of a PDF of one page, in its own order, line breaks as spaces."""
    document = pdfium.PdfDocument(pdf)
    assert len(document) == 1
    return " ".join(document[0].get_textpage().get_text_range().split())


def ink(pdf: bytes) -> np.ndarray:
    """The printed page, 1.0 px a point; (H, W, 3)."""
    return np.asarray(pdfium.PdfDocument(pdf)[0].render().to_pil().convert("RGB"))


def test_page_says_in_words_what_was_answered(examination, answer):
    made = render(examination, [answer], WHEN)
    text = text_of(made.pdf())
    prediction = answer.prediction
    assert made.file_name("pdf") == "brain-mri-report-2026-11-22T0410Z.pdf"
    for said in (
        NOTICE,
        "22 November 2026, 04:10 UTC",
        report.VERSION,
        report.headline(made.consensus),
        made.consensus.why,
        get_spec(MODEL).title,
        report.percent(prediction.confidence),
        "evidence for glioma by LayerCAM" if answer.found else "nothing that speaks for glioma",
        made.sha256[MODEL][:16],
    ):
        assert said in text, said
    assert text.index(NOTICE) < text.index(made.consensus.why) < text.index(made.sha256[MODEL][:16])


def test_calibrated_and_raw_scores_support_set_and_warnings_are_on_the_page(examination, many):
    answers = [replace(one, prediction=replace(one.prediction, refusal_reason=None)) for one in many(3)]
    calm = replace(answers[0].prediction, seen_in_training=False, prediction_set=("pituitary",))
    made = render(examination, [replace(answers[0], prediction=calm), *answers[1:]], WHEN)
    text = text_of(made.pdf())
    assert "Of 100 slices from unseen patients scored like this, 61 were right (n = 212)." in text
    assert "Prediction set at 95 %: pituitary tumour alone." in text
    assert "! This slice was in its training data: the answer is memory, not evidence." in text
    assert "! Uncertain: at 95 %, pituitary tumour, meningioma or glioma." in text
    assert "Means nothing" not in text and "Not calibrated" not in text
    for p in (*calm.calibrated_probabilities.values(), *calm.probabilities.values()):
        assert report.percent(p) in text


def test_nothing_on_the_page_of_a_refused_picture_can_be_taken_for_an_answer(examination, many):
    answers = many(2)
    willing = replace(answers[1].prediction, refusal_reason=None)
    text = text_of(render(examination, [answers[0], replace(answers[1], prediction=willing)], WHEN).pdf())
    assert "Not answered" in text and f"! {REFUSAL}" in text
    assert text.count("Means nothing: ") == 2
    assert "Of 100 slices" not in text and "LayerCAM" not in text
    assert "Uncertain: at 95 %" not in text and report.percent(willing.best_probabilities["glioma"]) not in text
    answered = [replace(one, prediction=replace(one.prediction, refusal_reason=None)) for one in answers]
    assert "LayerCAM" in text_of(render(examination, answered, WHEN).pdf())


def test_a_synthetic_slice_cannot_be_taken_for_a_patient_s(answer, examination):
    drawn = Examination(examination.image, NAME, synthetic=True)
    made = render(drawn, [answer], WHEN)
    assert report.SYNTHETIC in text_of(made.pdf()) and json.loads(made.json())["synthetic"] is True
    assert report.SYNTHETIC not in text_of(render(examination, [answer], WHEN).pdf())


@pytest.mark.parametrize(("count", "size"), [(1, (240, 280)), (4, (700, 330)), (9, (240, 280)), (9, (700, 330))])
def test_everything_fits_on_one_page(answer, many, count, size):
    examination = Examination(mri_slice(2, 256).resize(size), NAME * 4, place=PLACE)
    heatmap = np.asarray(Image.fromarray(answer.heatmap).resize(size))
    answers = [replace(one, heatmap=heatmap) for one in many(count)]
    pdf = render(examination, answers, WHEN, with_name=True).pdf()
    text = text_of(pdf)
    for i, one in enumerate(answers):
        assert f"{i:x}" * 16 in text and get_spec(one.prediction.model).title in text
    page = ink(pdf)
    margin = round(report.MARGIN_MM / 25.4 * 72) - 3
    assert (page[:margin] == 255).all() and (page[-margin:] == 255).all()
    assert (page[:, :margin] == 255).all() and (page[:, -margin:] == 255).all()
    # Words of one model do not run into the next one's: what a row says lies between its own rule and the next.
    assert lines_between_rules(pdf) >= count


def lines_between_rules(pdf: bytes) -> int:
    """How many of the rules across the page stand in white, untouched by text."""
    page = np.asarray(pdfium.PdfDocument(pdf)[0].render(scale=4).to_pil().convert("L"))
    inner = page[:, page.shape[1] // 12 : -page.shape[1] // 12]
    rules = np.flatnonzero((inner < 200).mean(axis=1) > 0.99)
    starts = rules[np.flatnonzero(np.diff(rules, prepend=-9) > 1)]
    return sum(bool((inner[y - 2] == 255).all() and (inner[y + 5] == 255).all()) for y in starts)


def test_nothing_depends_on_colour(examination, answer):
    page = ink(render(examination, [answer], WHEN).pdf()).astype(int)
    assert np.ptp(page, axis=2).max() <= 2  # the slice itself is grey


def test_where_a_model_looked_is_drawn_over_the_slice(examination, answer):
    height, width = answer.heatmap.shape
    y, x = np.mgrid[:height, :width]
    blob = np.exp(-((x - 0.7 * width) ** 2 + (y - 0.3 * height) ** 2) / (0.1 * width) ** 2).astype(np.float32)
    looked = replace(answer, heatmap=blob / blob.max(), found=True)
    marked = ink(render(examination, [looked], WHEN).pdf()).mean(axis=2)
    unmarked = ink(render(examination, [replace(looked, found=False)], WHEN).pdf()).mean(axis=2)
    words = round((report.MARGIN_MM + 60) / 25.4 * 72)
    rows, columns = np.nonzero(abs(marked - unmarked)[:, :words] > 40)
    assert rows.size > 50
    # In the upper right of the overlay, and nowhere else; the blob is rounder than the picture is high.
    side = 55 / 25.4 * 72
    left = report.MARGIN_MM / 25.4 * 72
    assert abs((columns.mean() - left) / (side * width / height) - 0.7) < 0.05
    assert np.ptp(rows) < side / 2


def test_name_of_the_upload_is_printed_only_where_asked_for(examination, answer):
    made = render(examination, [answer], WHEN)
    for content in (made.pdf(), made.png(), made.json().encode(), text_of(made.pdf()).encode()):
        assert b"Mustermann" not in content
    assert "Mustermann" not in str(pdfium.PdfDocument(made.pdf()).get_metadata_dict())
    asked = render(examination, [answer], WHEN, with_name=True)
    assert NAME in text_of(asked.pdf()) and json.loads(asked.json())["image"] == NAME


PLACE = Place("axial", 11, 180, 2, 3, (300.0, 600.0))


def test_of_a_scan_it_says_which_slice_and_how_it_is_shown(examination, answer):
    scanned = Examination(examination.image, NAME, place=PLACE)
    made = render(scanned, [answer], WHEN)
    text = text_of(made.pdf())
    assert "Axial slice 11 of 180, series 2 of 3, window centre 300, width 600" in text and "Mustermann" not in text
    assert json.loads(made.json())["place"] == {
        "plane": "axial",
        "slice": 11,
        "slices": 180,
        "series": 2,
        "all_series": 3,
        "window": {"centre": 300, "width": 600},
    }
    assert json.loads(render(examination, [answer], WHEN).json())["place"] is None
    assert replace(PLACE, all_series=1, window=None).text() == PLACE.name == "axial slice 11 of 180"


@pytest.mark.parametrize("name", ["$x^2$ \\alpha {.png", "a\nb\tc.png", "脑部_核磁.png", "x" * 255])
def test_any_name_can_be_printed(examination, answer, name, recwarn):
    made = render(Examination(examination.image, name), [answer], WHEN, with_name=True)
    text = text_of(made.pdf())
    assert json.loads(made.json())["image"] == name
    if name.isascii():
        assert "".join(name.split()) in "".join(text.split())


def test_metadata_name_the_work_and_no_author(examination, answer):
    metadata = pdfium.PdfDocument(render(examination, [answer], WHEN).pdf()).get_metadata_dict()
    assert metadata["Title"].startswith(report.TITLE) and report.VERSION in metadata["Creator"]
    assert metadata["Author"] == "" and metadata["CreationDate"] == "D:20261122041000Z"


def test_the_same_answers_and_time_make_the_same_file_also_when_many_ask_at_once(examination, answer):
    made = render(examination, [answer], WHEN)
    with ThreadPoolExecutor(3) as pool:
        others = list(pool.map(lambda _: render(examination, [answer], WHEN).pdf(), range(3)))
    assert {made.pdf(), *others} == {made.pdf()}
    summer = timezone(timedelta(hours=2))
    assert render(examination, [answer], WHEN.astimezone(summer)).pdf() == made.pdf()


def test_picture_is_the_same_page(examination, answer):
    picture = Image.open(BytesIO(render(examination, [answer], WHEN).png()))
    assert picture.size == (1653, 2338) or picture.size == (1654, 2339)
    small = np.asarray(picture.convert("L").resize((210, 297)), dtype=float)
    printed = pdfium.PdfDocument(render(examination, [answer], WHEN).pdf())[0].render(scale=2).to_pil()
    assert abs(small - np.asarray(printed.convert("L").resize((210, 297)), dtype=float)).mean() < 3


def test_json_holds_what_the_command_line_says_and_the_whole_hash(examination, many):
    answers = many(2)
    content = json.loads(render(examination, answers, WHEN).json())
    assert content["created"] == "2026-11-22T04:10:00+00:00" and content["notice"] == NOTICE
    assert content["consensus"]["verdict"] == "refused" and "image" not in content
    for given, told in zip(answers, content["answers"], strict=True):
        assert told.items() >= given.prediction.to_json().items()
        assert len(told["sha256"]) == 64 and told["support"] == {"n": 212, "right": 130}
        assert (told["method"], told["target_class"]) == ("layercam", "glioma")


def picture(uri: str) -> np.ndarray:
    head, content = uri.split(",", 1)
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(BytesIO(base64.b64decode(content)))).astype(int)


@pytest.mark.parametrize("size", [(240, 280), (900, 600)])
def test_json_holds_the_slice_and_what_was_marked_on_it(answer, size):
    examination = Examination(mri_slice(3, 256).resize(size), NAME)
    heatmap = np.linspace(0, 1, size[0], dtype=np.float32)[None].repeat(size[1], axis=0)
    calm = replace(answer.prediction, refusal_reason=None)
    marked = replace(answer, prediction=calm, heatmap=heatmap, found=True)
    content = json.loads(render(examination, [marked, replace(marked, found=False)], WHEN).json())
    shown, (first, second) = picture(content["picture"]), content["answers"]
    drawn = overlay(examination.image, heatmap)
    assert second["overlay"] is None
    for found, whole, side in (
        (shown, np.asarray(examination.image), report.SLICE_MM),
        (picture(first["overlay"]), drawn, report.OVERLAY_MM),
    ):
        assert max(found.shape) == min(max(size), round(side / 25.4 * report.DPI))
        same = np.asarray(Image.fromarray(whole).resize(found.shape[1::-1], Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(found - same).mean() < 3
    refused = replace(marked, prediction=replace(calm, refusal_reason=REFUSAL, strangeness=None))
    assert json.loads(render(examination, [refused], WHEN).json())["answers"][0]["overlay"] is None


def test_report_of_nothing_or_of_no_moment_is_refused(examination, answer):
    with pytest.raises(ValueError, match="Choose at least one"):
        render(examination, [], WHEN)
    with pytest.raises(ValueError, match="no time zone"):
        render(examination, [answer], datetime(2026, 11, 22))
