"""The first tab: drop a slice, see what each model answers and where it looked."""

from __future__ import annotations

import logging
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from brain_tumor.catalogue import list_models, offered_models
from brain_tumor.checkpoints import CheckpointError
from brain_tumor.examination import Examination
from brain_tumor.examples import list_examples
from brain_tumor.explanation import DEFAULT_METHOD, METHODS, Explanation
from brain_tumor.images import ImageError, looks_like_picture, read_image
from brain_tumor.labels import LABELS
from brain_tumor.registry import MODELS
from brain_tumor.ui import html, reports, viewer
from brain_tumor.ui.latest import Latest
from brain_tumor.ui.viewer import Scan
from brain_tumor.uploads import opened, without_scan
from brain_tumor.volumes import is_volume

log = logging.getLogger(__name__)

PREDICTED = "predicted"
"""Choice of the class to explain that means: whatever each model predicts."""

DEFAULT_OPACITY = 60

# Every event that runs networks waits in one line, so that a crowd slows answers down instead of exhausting memory.
QUEUE = {"concurrency_id": "models", "concurrency_limit": 2}

# A session that is closed or left alone loses its slice.
SESSION_SECONDS = 3600

# The address can be shared: it names models and method, never a picture. On Hugging Face Spaces the page is in a frame,
# and the address to share is that of the page around it, which is told our part only: ours may hold an access token.
_KEEP_ADDRESS = """(models, method) => {
  const address = new URL(window.location);
  address.searchParams.set("models", models.join(","));
  address.searchParams.set("method", method);
  window.history.replaceState(null, "", address);
  const queryString = new URLSearchParams({ models: models.join(","), method }).toString();
  if (window.parent !== window) window.parent.postMessage({ queryString }, "https://huggingface.co");
}"""
_SET_OPACITY = "value => { document.documentElement.style.setProperty('--heat', value / 100); }"


@dataclass(frozen=True)
class First:
    """The components of the tab that other tabs read or fill.

    Attributes:
        examination: State, the `Examination` that is shown or None.
        settings: chosen models, class to explain, method.
        answer: HTML of the answer.
        scan: the controls of a volume.
        latest: State, the visitor's `Latest`.
        sweeping: the event that answers all its slices, to be cancelled by whoever shows another slice.
    """

    examination: gr.State
    settings: tuple[gr.CheckboxGroup, gr.Radio, gr.Dropdown]
    answer: gr.HTML
    scan: viewer.Controls
    latest: gr.State
    sweeping: Any


def build() -> First:
    """Add the tab to the Blocks that are being built."""
    models = list_models(available_only=True)
    choices = [(model.spec.title, model.spec.name) for model in models]
    with gr.Row(elem_id="classify"):
        with gr.Column(elem_id="drop"):
            upload = gr.File(label="Slice", file_count="multiple", elem_id="slice-upload", height=120, show_label=False)
            gr.HTML(html.examples(list_examples()), elem_id="examples")
            example = gr.Textbox(visible="hidden", elem_id="example", show_label=False)
        with gr.Column(elem_id="answers"):
            scan = viewer.controls()
            answer = gr.HTML(html.waiting() if models else html.problem(list_models()[0].problem), elem_id="answer")
            report = reports.controls()
            gr.HTML(html.notice(), elem_id="notice")
        with gr.Column(elem_id="settings"):
            gr.HTML(html.unfold(), elem_id="unfold")
            chosen = gr.CheckboxGroup(choices, value=offered_models(), label="Models", elem_id="models")
            target = gr.Radio(
                [("as predicted", PREDICTED), *((label.text, label.name) for label in LABELS)],
                value=PREDICTED,
                label="Class to explain",
                elem_id="target",
            )
            method = gr.Dropdown(
                [(html.choice(method), method.name) for method in METHODS.values()],
                value=DEFAULT_METHOD,
                label="Method",
                elem_id="method",
                filterable=False,
            )
            opacity = gr.Slider(0, 100, DEFAULT_OPACITY, step=1, label="Heatmap opacity, %", elem_id="opacity")
    examination = gr.State(None, time_to_live=SESSION_SECONDS)
    latest = gr.State(Latest())

    settings = [chosen, target, method]
    hidden = {"api_visibility": "private", "show_progress": "minimal", **QUEUE}
    again = hidden | {"trigger_mode": "always_last", "show_progress": "hidden"}
    # trigger_mode: a slice that comes while another is answered is answered too, not dropped.
    opened = [
        upload.upload(
            _open,
            [latest, upload, *settings],
            [upload, examination, answer, *scan.outputs],
            trigger_mode="multiple",
            **hidden,
        ),
        example.change(_open_example, [latest, example, *settings], [examination, answer, *scan.outputs], **hidden),
    ]
    for event in opened:
        # The settings may have been changed while the slice was on its way.
        event.then(_catch_up, [latest, examination, *settings], answer, **again)
    # trigger_mode: while an answer is drawn, only the last of several changes counts.
    answered = gr.State(None, time_to_live=SESSION_SECONDS)
    gr.on(
        [chosen.change, target.change, method.change],
        _show_again,
        [examination, *settings],
        [answer, answered],
        trigger_mode="always_last",
        **hidden,
    ).then(_overtaken, [answered, examination, *settings], answer, **again)
    sweeping = viewer.listen(scan, latest, examination, settings, answer, show, _catch_up, hidden)
    gr.on([upload.upload, example.change], None, cancels=[sweeping], queue=False, api_visibility="private")
    reports.listen(report, examination, settings, explained, hidden)
    opacity.change(None, opacity, None, js=_SET_OPACITY, api_visibility="private")
    gr.on([chosen.change, method.change], None, [chosen, method], None, js=_KEEP_ADDRESS, api_visibility="private")
    return First(examination, (chosen, target, method), answer, scan, latest, sweeping)


def from_address(request: gr.Request) -> tuple[Any, Any]:
    """Models and method as a shared address names them; what it does not name, or wrongly, stays as it is."""
    available = {model.spec.name for model in list_models(available_only=True)}
    models = [name for name in request.query_params.get("models", "").split(",") if name in available]
    method = request.query_params.get("method")
    return models or gr.skip(), method if method in METHODS else gr.skip()


def _open(latest: Latest, paths: list[str], *settings: Any) -> tuple[Any, ...]:
    """Read the upload and answer. The drop zone is emptied at once, ready for the next slice."""
    number = latest.next()
    return None, *latest.unless_overtaken(number, _opened(number, paths, *settings))


def _opened(number: int, paths: list[str], *settings: Any) -> tuple[Any, ...]:
    try:
        examination, scan = open_upload(*paths)
        scan = scan and scan.kept(number, paths)
    except ImageError as error:
        return None, html.problem(str(error)), *viewer.shown(None)
    answer = show(examination, *settings)
    if scan is None and len(paths) > 1:
        left = f"This is the first of {len(paths):,} pictures. Many slices takes them all: drop them there."
        answer = html.remark(left) + answer
    return examination, answer, *viewer.shown(scan)


def open_upload(*paths: str) -> tuple[Examination, Scan | None]:
    """The slice that an upload opens with: of a scan, which may lie in many files, the middle one; else the first.

    Raises:
        ImageError: it cannot be read; the message says why and what to do.
    """
    if is_volume(paths):
        scan = Scan.open(paths[0] if len(paths) == 1 else paths)
        return scan.examination(), scan
    if zipfile.is_zipfile(paths[0]):
        with opened(paths[0]) as members:  # says why, if it is that it cannot be opened
            raise without_scan(members)
    name = Path(paths[0]).name
    with open(paths[0], "rb") as file:
        known = looks_like_picture(file.read(64), name)
    # What is no picture may be a damaged scan, whose name may be a patient's.
    return Examination(read_image(paths[0], name if known else "This file"), name), None


def _open_example(latest: Latest, pressed: str, *settings: Any) -> tuple[Any, ...]:
    number = latest.next()
    example = next(e for e in list_examples() if e.title == html.picked(pressed))
    examination = Examination(read_image(example.path), example.title, synthetic=True)
    return latest.unless_overtaken(number, (examination, show(examination, *settings), *viewer.shown(None)))


def _catch_up(latest: Latest, examination: Examination | None, *settings: Any) -> Any:
    """Answer anew if the settings were changed meanwhile; whatever is begun before that is done catches up itself."""
    if examination is None or examination.shown_by == settings:
        return gr.skip()
    begun = latest.begun
    answer = show(examination, *settings)
    return answer if latest.begun == begun else gr.skip()


def _show_again(examination: Examination | None, *settings: Any) -> tuple[str, Examination | None]:
    return show(examination, *settings), examination


def _overtaken(answered: Examination | None, examination: Examination | None, *settings: Any) -> Any:
    """A slice that came while the one before was answered anew may have been answered first, and covered."""
    return gr.skip() if answered is examination else show(examination, *settings)


def show(examination: Examination | None, models: list[str], target: str, method: str) -> str:
    if examination is None:
        return html.waiting()
    examination.shown_by = (models, target, method)
    if not models:
        return html.problem("No model is chosen. Tick at least one under Models.")
    try:
        return html.answer(examination, explained(examination, models, target, method))
    except CheckpointError as error:
        log.error("%s", error)
        return html.problem(str(error))


def explained(examination: Examination, models: list[str], target: str, method: str) -> list[Explanation]:
    """The answers in the order of the registry: a card keeps its place when its model is unticked and ticked again."""
    chosen = [name for name in MODELS if name in models]
    return examination.answers(chosen, None if target == PREDICTED else target, method)
