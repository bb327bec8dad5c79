"""What the page does with a slice or a scan, for programs: named endpoints, which are tools for assistants too.

Gradio takes their descriptions from the docstrings, of each argument its first line.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import gradio as gr
import numpy as np
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder
from PIL import Image

from brain_tumor.catalogue import list_models, offered_models
from brain_tumor.checkpoints import CheckpointError
from brain_tumor.disturbance import DISTURBANCES
from brain_tumor.examination import Examination, Place, consensus_of
from brain_tumor.explanation import DEFAULT_METHOD, METHODS, Explanation, Shared, overlay, shared
from brain_tumor.images import ImageError
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.probing import Comparison, Flip, Stroke, changes_of, first_flips, strokes_from_json
from brain_tumor.report import render
from brain_tumor.slicing import SLICED_ALONG
from brain_tumor.sweep import most_suspicious, sweep
from brain_tumor.ui import html, reports
from brain_tumor.ui.classify import PREDICTED, QUEUE, open_upload
from brain_tumor.ui.probe import in_words
from brain_tumor.ui.viewer import Scan
from brain_tumor.volumes import Window, is_volume, read_volume

SCANNED = "scanned"
"""Choice of the plane that means: the one in which the scan was made."""

WIDEST = 1e12
"""Of a window's centre and width, the largest that is taken."""

# Programs wait for each other, not for visitors: what they send is deleted after minutes.
QUEUE_OF_SWEEPS = {"concurrency_id": "sweep of a program", "concurrency_limit": 1}


_SLICE = """\
image: a picture of one slice (PNG, JPEG, ...), or a scan (DICOM, zip of a series, NIfTI), of which one slice.
    models: names of the networks to ask; by default all that are offered.
    series: of a scan, which series (or volume of a 4-D file), from 1, as the page lists them; by default the first.
    plane: of a scan: axial, coronal, sagittal, or original (as stored); by default the plane that was scanned.
    slice: of a scan, which slice of that plane, from 1; by default the middle one.
    window_centre: of a scan, the value shown mid-grey, in the file's units; by default that in which it opens.
    window_width: of a scan, the span of values from black to white, above 0; by default that in which it opens."""


def _of_a_slice(function: Callable) -> Callable:
    """Say in its docstring, in place of {slice}, what all that are asked about one slice take."""
    function.__doc__ = inspect.cleandoc(function.__doc__ or "").replace("{slice}", _SLICE)
    return function


def build() -> None:
    """Add the endpoints to the Blocks that are being built, on components of their own that are never shown."""
    available = list_models(available_only=True)
    choices = [(model.spec.title, model.spec.name) for model in available]
    kinds = list(DISTURBANCES)
    with gr.Column(visible=False):
        image = gr.File(label="image")
        models = gr.CheckboxGroup(choices, value=offered_models(), label="models")
        method = gr.Dropdown(list(METHODS), value=DEFAULT_METHOD, label="method")
        target = gr.Dropdown([PREDICTED, *CLASS_NAMES], value=PREDICTED, label="target_class")
        name = gr.Dropdown(kinds, value=kinds[0], label="disturbance")
        severity = gr.Number(label="severity")
        strokes = gr.Textbox("[]", label="strokes")
        kind = gr.Dropdown(list(reports.TYPES), value=next(iter(reports.TYPES)), label="kind")
        series = gr.Number(label="series", precision=0)
        plane = gr.Dropdown([SCANNED, *SLICED_ALONG], value=SCANNED, label="plane")
        number = gr.Number(label="slice", precision=0)
        window = [gr.Number(label="window_centre"), gr.Number(label="window_width")]
        answers = gr.JSON(label="answers")
        file = gr.File(label="report")
    place = [series, plane, number, *window]
    for api_name, function, inputs, output, queue in (
        ("classify", classify, [image, models, method, target, *place], answers, QUEUE),
        ("sweep", sweep_scan, [image, models, series, plane, *window], answers, QUEUE_OF_SWEEPS),
        ("report", report, [image, kind, models, method, target, *place], file, QUEUE),
        ("disturb", disturb, [image, name, severity, models, strokes, *place], answers, QUEUE),
        ("smallest_flip", smallest_flip, [image, name, models, *place], answers, QUEUE),
        ("every_change", every_change, [image, models, *place], answers, QUEUE_OF_SWEEPS),
    ):
        gr.Button(visible=False).click(function, inputs, output, api_name=api_name, show_progress="hidden", **queue)


@_of_a_slice
def classify(
    image: str,
    models: list[str],
    method: str,
    target_class: str,
    series: int | None = None,
    plane: str = SCANNED,
    slice: int | None = None,
    window_centre: float | None = None,
    window_width: float | None = None,
) -> dict[str, Any]:
    """Ask trained networks what one brain MRI slice shows, and where they looked.

    Classes: glioma, meningioma, notumor (no tumour), pituitary (tumour).

    Args:
        {slice}
        method: what the heatmap shows; location: where the tumour is taken to be; else what speaks for the class.
        target_class: the class that the heatmap explains; "predicted": the one that each network predicts.

    Returns:
        image: name of the file, or which slice of a scan. place: of a slice of a scan plane, slice, slices (how many),
        series, all_series (how many), window (centre and width; null in colour); null for a picture. consensus: verdict
        (a class, "uncertain", or "refused": no brain MRI slice), why (a sentence), probabilities (class -> that of the
        networks together in [0, 1]), support (of n slices of unseen patients that they scored like this together, how
        many were right, or null), prediction_set, seen_in_training (networks that had this slice among their training
        images), surest_place (mean over the networks that say where, or null), caution (why the scan is unlike what the
        networks know, or null). answers: a list, for each network model, predicted_class, probabilities (class ->
        softmax in [0, 1]), calibrated_probabilities and prediction_set (classes not ruled out at 95 %; both null
        without calibration), in_distribution (false: taken for no brain MRI slice), refusal_reason (a sentence, or
        null), seen_in_training (true: the answer is memory, not evidence), surest_place (how much of the place where it
        sees a tumour most surely is taken for tumour, in [0, 1]; null where it does not say), milliseconds,
        target_class, method (layercam where a network cannot do location), evidence_found (false: the heatmap is
        empty), overlay (the slice under the heatmap, a PNG as data URI). shared: where the heatmaps agree: models
        (those that answer the same question), overlap (in [0, 1]) and overlay; null where there are no two to compare.
    """
    with politely():
        examination = _slice(image, models, series, plane, slice, window_centre, window_width)
        explanations = examination.answers(models, None if target_class == PREDICTED else target_class, method)
    return {
        **_where(examination),
        "consensus": consensus_of(explanations, examination.caution).to_json(),
        "answers": [_answer(examination, explanation) for explanation in explanations],
        "shared": _shared(examination, shared(explanations)),
    }


def sweep_scan(
    image: str,
    models: list[str],
    series: int | None = None,
    plane: str = SCANNED,
    window_centre: float | None = None,
    window_width: float | None = None,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> dict[str, Any]:
    """Ask trained networks about every slice of a scan: where along it may a tumour be? A second or less a slice.

    Args:
        image: a scan: DICOM of many slices, a zip of a series, NIfTI.
        models: names of the networks to ask; by default all that are offered.
        series: which series (or volume of a 4-D file), from 1, as the page lists them; by default the first.
        plane: axial, coronal, sagittal, or original (as stored); by default the plane that was scanned.
        window_centre: the value shown mid-grey, in the file's units; by default that in which it opens.
        window_width: the span of values from black to white, above 0; by default that in which it opens.

    Returns:
        place: as of classify, without slice. caution: why the scan, or how it is shown, is unlike what the networks
        know, or null. most_suspicious: numbers of up to five slices, the most suspicious first, none of them next to
        another; empty where the suspicion is nowhere 0.2. rows: a list, for each slice of the plane in its order slice
        (its number, from 1), suspicion (probability that it shows a tumour, times how surely one is seen at the surest
        place, in [0, 1]; 0 where it is taken for no brain slice) and consensus (as of classify).
    """
    with politely():
        _given(image, models)
        if not is_volume(image):
            raise ImageError("That is no scan. Send DICOM or NIfTI, several files as a zip; classify takes pictures.")
        scan = _scan(image, series, plane, None, window_centre, window_width)
        count = scan.volume.count(scan.plane)
        findings = list(progress.tqdm(sweep(scan.volume, scan.plane, scan.window, models), total=count, unit="slices"))
    place = Place.of(scan.volume, scan.plane, scan.index, scan.window).to_json()
    caution = scan.volume.caution_in(scan.window)
    del place["slice"]
    return {
        "place": place,
        "caution": caution and caution.text,
        "most_suspicious": [finding.index + 1 for finding in most_suspicious(findings)],
        "rows": [
            {
                "slice": finding.index + 1,
                "suspicion": round(finding.suspicion, 4),
                "consensus": finding.consensus.to_json(),
            }
            for finding in findings
        ],
    }


@_of_a_slice
def report(
    image: str,
    kind: str,
    models: list[str],
    method: str,
    target_class: str,
    series: int | None = None,
    plane: str = SCANNED,
    slice: int | None = None,
    window_centre: float | None = None,
    window_width: float | None = None,
) -> str:
    """Make the report on one brain MRI slice: a page with the slice, the networks' answers and how far to believe them.

    It names no file and no patient; of a scan it says which slice.

    Args:
        {slice}
        kind: pdf, png (the same page as a picture), or json (the same as data, with the slice and the overlays).
        method: what the heatmap shows; location: where the tumour is taken to be; else what speaks for the class.
        target_class: the class that the heatmap explains; "predicted": the one that each network predicts.

    Returns:
        To programs the report as a file, which the server deletes after minutes. To assistants its name as file, and
        beside it the PDF or the picture, or the JSON with its pictures. Keys of the JSON: title, notice, version,
        created, size (px), place (as of classify), picture (the slice, a PNG as data URI), consensus (as of classify,
        and headline), answers (as of classify, and title, sha256 of the checkpoint, support and place_support (n,
        right: of so many slices scored alike that were not trained on, so many were right; or null), belief
        (sentences); overlay null where nothing is marked).
    """
    with politely():
        examination = _slice(image, models, series, plane, slice, window_centre, window_width)
        explanations = examination.answers(models, None if target_class == PREDICTED else target_class, method)
        made = render(examination, explanations, datetime.now(UTC))
        # Among the uploads, and deleted when they are.
        return save_bytes_to_cache(reports.content(made, kind), made.file_name(kind), get_upload_folder())


@_of_a_slice
def disturb(
    image: str,
    disturbance: str,
    severity: float,
    models: list[str],
    strokes: str = "[]",
    series: int | None = None,
    plane: str = SCANNED,
    slice: int | None = None,
    window_centre: float | None = None,
    window_width: float | None = None,
) -> dict[str, Any]:
    """Change one brain MRI slice and see whether the networks' answers about it change: do they hang on trifles?

    Kinds of change, with the limits of their severity: border 0 to 15 % of the side (blackened), skull 0 to 20 % of its
    radius (all but the head blackened, less that rim), writing 0 to 10 % of the picture (letters burned in), mirror 0
    to 1 (1: left for right), upside_down 0 to 1 (1: turned over), brightness 0.5 to 1.5 (factor), contrast 0.5 to 1.5
    (factor), gamma 0.5 to 2, noise 0 to 20 % of white (sigma), blur 0 to 2 % of the side (sigma), jpeg 5 to 50
    (quality), coarse 32 to 96 px (longer side), turn -15 to 15 ° (anticlockwise), shift -10 to 10 % of the width (to
    the right), scale 0.8 to 1.2 (factor). Parts can be covered with a black brush as well, or instead: mirror 0 changes
    nothing.

    Args:
        {slice}
        disturbance: the kind of change.
        severity: how strong, a number within the limits of its kind and in its unit.
        strokes: of the brush, JSON as text: [[radius / longer side, x / width, y / height, x, y, ...], ...]; or "[]".

    Returns:
        image and place: as of classify. change: in words. answers: a list, for each network model, flipped (true:
        another class than before), before and after (as answers of classify, without target_class, method,
        evidence_found and overlay).
    """
    with politely():
        examination = _slice(image, models, series, plane, slice, window_centre, window_width)
        if isinstance(severity, bool) or not isinstance(severity, int | float):
            raise ImageError("No severity was sent. Give a number as `severity`.")
        changes = changes_of([(disturbance, severity)], _strokes(strokes))
        before = examination.answers(models)
        after = Examination(changes.apply(examination.image), examination.name).answers(models)
    return {
        **_where(examination),
        "change": changes.text(),
        "answers": [
            {
                "model": old.prediction.model,
                "flipped": Comparison(old, new).flipped,
                "before": old.prediction.to_json(),
                "after": new.prediction.to_json(),
            }
            for old, new in zip(before, after, strict=True)
        ],
    }


@_of_a_slice
def smallest_flip(
    image: str,
    disturbance: str,
    models: list[str],
    series: int | None = None,
    plane: str = SCANNED,
    slice: int | None = None,
    window_centre: float | None = None,
    window_width: float | None = None,
) -> dict[str, Any]:
    """Find the mildest change of one kind under which each network answers otherwise about a brain MRI slice.

    Args:
        {slice}
        disturbance: the kind of change; disturb says what each is, its limits and its unit.

    Returns:
        image and place: as of classify. disturbance: the kind of change. words: the finding as a sentence. flips: a
        list, for each network model, severity (in the unit of that kind) and predicted_class (the class it changes to),
        both null where its answer holds within the limits, refused (true: it would take the changed picture for no
        brain MRI slice).
    """
    with politely():
        examination = _slice(image, models, series, plane, slice, window_centre, window_width)
        before = examination.predictions(models)
        flips = first_flips(examination.image, before, disturbance)
    return {
        **_where(examination),
        "disturbance": disturbance,
        "words": in_words(disturbance, flips).replace("<b>", "").replace("</b>", ""),
        "flips": _flips(flips),
    }


@_of_a_slice
def every_change(
    image: str,
    models: list[str],
    series: int | None = None,
    plane: str = SCANNED,
    slice: int | None = None,
    window_centre: float | None = None,
    window_width: float | None = None,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> dict[str, Any]:
    """Try every kind of change at a few severities: which flip the networks' answers about a brain MRI slice?

    Of what is asked about one slice, this takes longest.

    Args:
        {slice}

    Returns:
        image and place: as of classify. changes: a list, for each kind of change disturbance (as of disturb), title (in
        words), severities (those tried) and flips (a list as of smallest_flip).
    """
    with politely():
        examination = _slice(image, models, series, plane, slice, window_centre, window_width)
        before = examination.predictions(models)
        changes = [
            {
                "disturbance": name,
                "title": disturbance.title,
                "severities": list(disturbance.severities),
                "flips": _flips(first_flips(examination.image, before, name, disturbance.severities)),
            }
            for name, disturbance in progress.tqdm(list(DISTURBANCES.items()), unit="kinds of change")
        ]
    return {**_where(examination), "changes": changes}


def _flips(found: Sequence[Flip]) -> list[dict[str, Any]]:
    return [
        {"model": f.model, "severity": f.severity, "predicted_class": f.predicted_class, "refused": f.refused}
        for f in found
    ]


@contextmanager
def politely() -> Iterator[None]:
    """What is wrong with a question becomes a sentence to whoever asked."""
    try:
        yield
    except (ValueError, CheckpointError) as error:
        raise gr.Error(str(error), print_exception=False) from None


def _given(image: str | None, models: list[str]) -> None:
    if not image:
        raise ImageError("No image was sent. Give a file as `image`.")
    if not models:
        raise ImageError("No model was chosen. Name at least one in `models`.")


def _slice(
    image: str | None,
    models: list[str],
    series: int | None,
    plane: str,
    number: int | None,
    centre: float | None,
    width: float | None,
) -> Examination:
    """A picture, or the slice of a scan that was asked for; ImageError, if there is no such."""
    _given(image, models)
    if is_volume(image):
        return _scan(image, series, plane, number, centre, width).examination()
    if plane != SCANNED or any(given is not None for given in (series, number, centre, width)):
        raise ImageError("That is no scan. Leave out `series`, `plane`, `slice` and the window.")
    return open_upload(image)[0]


def _scan(
    image: str, series: int | None, plane: str, number: int | None, centre: float | None, width: float | None
) -> Scan:
    """The scan at the slice that was asked for; ImageError, if there is no such."""
    try:
        scan = Scan.open(image, None if series is None else series - 1)
    except IndexError:
        count = len(read_volume(image).items)
        raise ImageError(f"There is no series {series}; they are numbered 1 to {count}.") from None
    if plane != SCANNED:
        if plane not in scan.volume.planes:
            raise ImageError(f"There is no {plane} plane here; choose among {', '.join(scan.volume.planes)}.")
        scan = replace(scan, plane=plane, index=scan.volume.count(plane) // 2)
    if number is not None:
        count = scan.volume.count(scan.plane)
        if not 1 <= number <= count:
            raise ImageError(f"There is no {scan.plane} slice {number}; they are numbered 1 to {count}.")
        scan = replace(scan, index=number - 1)
    return replace(scan, window=_window(scan, centre, width))


def _window(scan: Scan, centre: float | None, width: float | None) -> Window | None:
    """None means the one in which the scan opens; of which stays what was not asked for otherwise."""
    if centre is None and width is None:
        return None
    if scan.volume.colour:
        raise ImageError("The scan is in colour and has no window. Leave it out.")
    if not all(math.isfinite(value) and abs(value) <= WIDEST for value in (centre or 0.0, width or 0.0)):
        raise ImageError(f"The window's centre and width are numbers of at most {WIDEST:g}.")
    if width is not None and width <= 0:
        raise ImageError("The window's width is a number above 0.")
    own = scan.volume.default_window
    return replace(own, centre=own.centre if centre is None else centre, width=own.width if width is None else width)


def _strokes(text: str) -> tuple[Stroke, ...]:
    try:
        return strokes_from_json(text)
    except ValueError:
        said = "`strokes` is text such as [[0.05, 0.4, 0.5]]: rows of a radius and pairs of x and y, not too many."
        raise ValueError(said) from None


def _where(examination: Examination) -> dict[str, Any]:
    return {"image": examination.name, "place": examination.place and examination.place.to_json()}


def _answer(examination: Examination, explanation: Explanation) -> dict[str, Any]:
    return {
        **explanation.prediction.to_json(),
        "target_class": explanation.target_class,
        "method": explanation.method,
        "evidence_found": explanation.found,
        "overlay": _overlay(examination, explanation.shown),
    }


def _shared(examination: Examination, found: Shared | None) -> dict[str, Any] | None:
    if found is None:
        return None
    overlap = round(found.overlap, 4)
    return {"models": list(found.models), "overlap": overlap, "overlay": _overlay(examination, found.heatmap)}


def _overlay(examination: Examination, heatmap: np.ndarray) -> str:
    return html.data_uri(Image.fromarray(overlay(examination.image, heatmap)))
