"""The controls of a volume: series, plane, slice, window, and the answer along all slices."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import gradio as gr

from brain_tumor.checkpoints import CheckpointError
from brain_tumor.examination import Examination, Place
from brain_tumor.images import ImageError
from brain_tumor.labels import DISPLAY_TEXT
from brain_tumor.slicing import SLICED_ALONG
from brain_tumor.sweep import MIN_SUSPICION, Finding, most_suspicious, sweep
from brain_tumor.trust import UNCERTAIN
from brain_tumor.ui import html
from brain_tumor.ui.latest import unless_overtaken
from brain_tumor.volumes import MAX_FILES, Source, Volume, Window, read_volume

SESSION_SECONDS = 3600
GONE = "The scan is no longer here: it was kept for an hour. Drop it again."
UPLOAD_GONE = "The upload is gone after some minutes. Drop the scan again for its other series."
MOST_SERIES = 100
WIDEST = 1e12
# A line of its own: a scan takes a minute, and single slices shall not wait for it.
QUEUE = {"concurrency_id": "sweep", "concurrency_limit": 1}


@dataclass(frozen=True)
class Scan:
    """A volume that is looked at, and which of its slices.

    Attributes:
        path: the upload, for its other series.
        index: of the slice in the plane, from 0.
        window: None means the volume's default.
        number: of the upload among the visitor's (`Latest`).
    """

    volume: Volume
    path: Source
    plane: str
    index: int
    window: Window | None = None
    number: int = 0

    @property
    def uploaded(self) -> bool:
        """The upload is still there."""
        paths = [self.path] if isinstance(self.path, str | os.PathLike) else self.path
        return all(map(os.path.exists, paths))

    @classmethod
    def open(cls, path: Source, item: int | None = None) -> Scan:
        """The middle slice of the plane that was scanned; ImageError as `read_volume`."""
        volume = read_volume(path, item)
        return cls(volume, path, *volume.middle)

    def examination(self) -> Examination:
        """The slice, under a name that says nothing about the patient."""
        place = Place.of(self.volume, self.plane, self.index, self.window)
        image = self.volume.slice(self.plane, self.index, self.window)
        return Examination(image, place.name, self.volume.hint, place)


@dataclass(frozen=True)
class Controls:
    """The components; `outputs` are those that `shown` fills, in its order."""

    scan: gr.State
    row: gr.Row
    item: gr.Dropdown
    plane: gr.Radio
    position: gr.Slider
    centre: gr.Slider
    width: gr.Slider
    run: gr.Button
    strip: gr.HTML
    pick: gr.Textbox

    @property
    def outputs(self) -> list[Any]:
        return [
            self.scan,
            self.row,
            self.item,
            self.plane,
            self.position,
            self.centre,
            self.width,
            self.strip,
        ]


def controls() -> Controls:
    """Add the controls, hidden until there is a volume.

    They take what any volume may have: who comes back after an hour is told so by a handler, and these are the limits
    that gradio checks first then.
    """
    with gr.Column(visible=False, elem_id="scan") as row:
        with gr.Row(elem_id="scan-where"):
            series = list(range(MOST_SERIES))
            item = gr.Dropdown(series, label="Series", elem_id="scan-item", filterable=False, visible=False)
            plane = gr.Radio(list(SLICED_ALONG), label="Plane", elem_id="scan-plane")
            position = gr.Slider(1, MAX_FILES, 1, step=1, label="Slice", elem_id="scan-position")
        with gr.Row(elem_id="scan-how"):
            centre = gr.Slider(-WIDEST, WIDEST, 0, label="Window centre", elem_id="scan-centre")
            width = gr.Slider(0, WIDEST, 1, label="Window width", elem_id="scan-width")
            run = gr.Button("Run all slices", elem_id="scan-run", size="md")
        strip = gr.HTML("", elem_id="scan-strip", visible=False)
    pick = gr.Textbox(visible="hidden", elem_id="scan-pick", show_label=False)
    scan = gr.State(None, time_to_live=SESSION_SECONDS)
    return Controls(scan, row, item, plane, position, centre, width, run, strip, pick)


def shown(scan: Scan | None) -> tuple[Any, ...]:
    """Updates of `Controls.outputs` for a scan that was just opened, or for none."""
    if scan is None:
        return (None, gr.update(visible=False), *(gr.skip() for _ in range(6)))
    volume, window = scan.volume, scan.window or scan.volume.default_window
    reach = max(window.width, 1e-6)
    return (
        scan,
        gr.update(visible=True),
        gr.update(
            choices=list(zip(volume.items, range(len(volume.items)), strict=True)),
            value=volume.item,
            visible=len(volume.items) > 1,
        ),
        gr.update(choices=list(volume.planes), value=scan.plane, visible=len(volume.planes) > 1),
        _position(scan),
        gr.update(
            minimum=window.centre - 2 * reach,
            maximum=window.centre + 2 * reach,
            value=window.centre,
            step=reach / 100,
            visible=not volume.colour,
        ),
        gr.update(minimum=reach / 20, maximum=4 * reach, value=reach, step=reach / 100, visible=not volume.colour),
        # The caution is in the banner.
        gr.update(value="", visible=False),
    )


def listen(
    controls: Controls,
    latest: gr.State,
    examination: gr.State,
    settings: list[Any],
    answer: gr.HTML,
    show: Callable[..., str],
    hidden: dict[str, Any],
) -> Any:
    """Let the controls answer. `show` makes the answer's HTML from an examination and the settings.

    Returns:
        The event "run all slices", to be cancelled by whoever replaces the scan.
    """
    c = controls

    def choose(scan: Scan | None, item: int, *settings: Any) -> tuple[Any, ...]:
        if scan is None:
            return None, html.problem(GONE), *shown(None)
        try:
            opened = replace(Scan.open(scan.path, item), number=scan.number)
        except (ImageError, OSError) as error:
            # The scan that is shown stays.
            return gr.skip(), html.problem(str(error) if scan.uploaded else UPLOAD_GONE), *shown(scan)
        looked_at = opened.examination()
        return looked_at, show(looked_at, *settings), *shown(opened)

    def turn(scan: Scan | None, plane: str, *settings: Any) -> tuple[Any, ...]:
        if scan is None:
            return None, gr.skip(), gr.skip(), None, html.problem(GONE)
        turned = replace(scan, plane=plane, index=scan.volume.count(plane) // 2)
        looked_at = turned.examination()
        return turned, _position(turned), _no_strip(), looked_at, show(looked_at, *settings)

    def move(scan: Scan | None, position: int, centre: float, width: float, *settings: Any) -> tuple[Any, ...]:
        if scan is None:
            return None, None, html.problem(GONE)
        # The file's own function from value to grey stays.
        window = replace(scan.window or scan.volume.default_window, centre=centre, width=width)
        window = None if scan.volume.colour else window
        moved = replace(scan, index=int(position) - 1, window=window)
        looked_at = moved.examination()
        return moved, looked_at, show(looked_at, *settings)

    def jump(scan: Scan | None, pressed: str, *settings: Any) -> tuple[Any, ...]:
        if scan is None:
            return None, gr.skip(), None, html.problem(GONE)
        position = int(html.picked(pressed))
        jumped = replace(scan, index=position - 1)
        looked_at = jumped.examination()
        return jumped, position, looked_at, show(looked_at, *settings)

    def run(scan: Scan | None, models: list[str]) -> Iterator[Any]:
        if scan is None:
            yield gr.update(value=html.problem(GONE), visible=True)
            return
        if not models:
            yield gr.update(value=html.problem("No model is chosen. Tick at least one under Models."), visible=True)
            return
        findings: list[Finding] = []
        count = scan.volume.count(scan.plane)
        try:
            for finding in sweep(scan.volume, scan.plane, scan.window, models):
                findings.append(finding)
                if len(findings) % 8 == 0 or len(findings) == count:
                    yield gr.update(value=strip(findings, count), visible=True)
        except CheckpointError as error:
            yield gr.update(value=html.problem(str(error)), visible=True)

    last = hidden | {"trigger_mode": "always_last"}
    looked_at = [examination, answer]
    for event, handler, given, outputs in (
        (c.item.input, choose, [c.item], [*looked_at, *c.outputs]),
        (c.plane.input, turn, [c.plane], [c.scan, c.position, c.strip, *looked_at]),
        (c.pick.change, jump, [c.pick], [c.scan, c.position, *looked_at]),
    ):
        event(unless_overtaken(handler), [latest, c.scan, *given, *settings], outputs, **last)
    gr.on(
        [c.position.input, c.centre.input, c.width.input],
        unless_overtaken(move),
        [latest, c.scan, c.position, c.centre, c.width, *settings],
        [c.scan, *looked_at],
        **last,
    )
    # trigger_mode: to gradio, an event that was cancelled is still under way.
    running = c.run.click(run, [c.scan, settings[0]], c.strip, trigger_mode="multiple", **hidden | QUEUE)
    # What is left of a run about another plane, series or window, or by other models, is no longer wanted.
    private = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    gr.on([c.item.input, c.plane.input], None, cancels=[running], **private)
    gr.on([c.centre.input, c.width.input, settings[0].change], _no_strip, None, c.strip, cancels=[running], **private)
    return running


def _no_strip() -> Any:
    return gr.update(value="", visible=False)


def _position(scan: Scan) -> Any:
    count = scan.volume.count(scan.plane)
    return gr.update(minimum=1, maximum=max(2, count), value=scan.index + 1, visible=count > 1)


def strip(findings: list[Finding], count: int) -> str:
    """A bar per slice, as high as a tumour is probable, and the most suspicious slices to press."""
    bars = "".join(_bar(finding) for finding in findings)
    waiting = f'<i style="flex:{count - len(findings)}"></i>' if len(findings) < count else ""
    if len(findings) < count:
        words = f"{len(findings)} of {count} slices"
    else:
        buttons = "".join(
            f'<button type="button" data-pick="scan-pick" data-value="{f.index + 1}">{f.index + 1}: {_text(f)}</button>'
            for f in most_suspicious(findings)
        )
        words = f"Most suspicious first: {buttons}" if buttons else "No slice is suspicious."
        uncertain = sum(finding.consensus.verdict == UNCERTAIN for finding in findings)
        if uncertain and not buttons:
            words = f"A tumour is nowhere as probable as {MIN_SUSPICION:.0%}".replace("%", " %")
            words += f", but about {uncertain} of {count} slices the models are uncertain."
        refused = sum(finding.consensus.refused for finding in findings)
        if refused == count:
            words = "None of these slices was answered: the models take none for a brain MRI slice."
        elif refused:
            words += f" {refused} of {count} slices were not answered."
    return (
        f'<div class="strip" role="group" aria-label="Probability of a tumour along the scan">{bars}{waiting}</div>'
        f'<p class="suspicious">{words}</p>'
    )


def _bar(finding: Finding) -> str:
    text = f"Slice {finding.index + 1}: {_text(finding)}"
    return (
        f'<button type="button" data-pick="scan-pick" data-value="{finding.index + 1}" title="{escape(text)}" '
        f'aria-label="{escape(text)}" class="{finding.consensus.verdict}" tabindex="-1">'
        f'<span style="height:{max(4, 100 * finding.suspicion):.0f}%"></span></button>'
    )


def _text(finding: Finding) -> str:
    found = finding.consensus
    if found.refused:
        return "no brain slice"
    verdict = DISPLAY_TEXT.get(found.verdict, f"perhaps {DISPLAY_TEXT[found.leading].lower()}")
    return f"{verdict}, tumour {html.percent(finding.suspicion)}"
