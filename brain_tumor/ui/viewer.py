"""The controls of a volume: series, plane, slice, window, and the answer along all slices."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from brain_tumor.batch import seconds_left
from brain_tumor.checkpoints import CheckpointError
from brain_tumor.examination import Examination, Place
from brain_tumor.images import ImageError
from brain_tumor.labels import DISPLAY_TEXT
from brain_tumor.slicing import SLICED_ALONG
from brain_tumor.sweep import MIN_SUSPICION, Finding, most_suspicious, sweep
from brain_tumor.trust import UNCERTAIN
from brain_tumor.ui import html
from brain_tumor.ui.latest import Latest, unless_overtaken
from brain_tumor.uploads import linked
from brain_tumor.volumes import Source, Volume, Window, read_volume

SESSION_SECONDS = 3600
GONE = "The scan is no longer here: it was kept for an hour. Drop it again."
NO_MODEL = "No model is chosen. Tick at least one under Models."
RUN, STOP = "Run all slices", "Stop"
# A line of its own: a scan takes a minute, and single slices shall not wait for it.
QUEUE = {"concurrency_id": "sweep", "concurrency_limit": 1}


class Upload:
    """The files of a scan, under second names that say nothing: the server soon tidies up those that it got.

    They are gone with this object.
    """

    def __init__(self, paths: Sequence[str | os.PathLike]):
        self._names = [Path(path).name for path in paths]
        self._folder = Path(tempfile.mkdtemp(prefix="brain-tumor-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        for k, path in enumerate(paths):
            linked(Path(path), self._folder / str(k))

    @contextmanager
    def opened(self) -> Iterator[list[Path]]:
        """The files under their own names, which may tell the sequence, or whose they are: only while they are read."""
        with tempfile.TemporaryDirectory(prefix="brain-tumor-") as folder:
            # In a folder each: two files may have the same name.
            paths = [Path(folder, str(k), name) for k, name in enumerate(self._names)]
            for k, path in enumerate(paths):
                path.parent.mkdir()
                linked(self._folder / str(k), path)
            yield paths


@dataclass(frozen=True)
class Scan:
    """A volume that is looked at, and which of its slices.

    Attributes:
        index: of the slice in the plane, from 0.
        window: None means the volume's default.
        number: of the upload among the visitor's (`Latest`).
        upload: the files, for its other series; None where there is no other.
    """

    volume: Volume
    plane: str
    index: int
    window: Window | None = None
    number: int = 0
    upload: Upload | None = field(default=None, repr=False)

    @classmethod
    def open(cls, path: Source, item: int | None = None) -> Scan:
        """The middle slice of the plane that was scanned; ImageError as `read_volume`."""
        volume = read_volume(path, item)
        return cls(volume, *volume.middle)

    def kept(self, number: int, paths: Sequence[str | os.PathLike]) -> Scan:
        """As it is shown on the page, from where its other series can be asked for."""
        return replace(self, number=number, upload=Upload(paths) if len(self.volume.items) > 1 else None)

    def other(self, item: int) -> Scan:
        """Another of the upload's series or volumes; ImageError as `read_volume`."""
        with self.upload.opened() as paths:
            return replace(Scan.open(paths, item), number=self.number, upload=self.upload)

    def at(self, plane: str, position: float | None, centre: float | None, width: float | None) -> Scan:
        """As the controls say: another plane is shown in its middle, and a slice beyond the last is the last.

        None is a number that is being typed, and changes nothing.
        """
        window, shown = self.window, self.window or self.volume.default_window
        said = centre is not None and width is not None and not self.volume.colour
        if said and (centre, width) != (shown.centre, shown.width):
            # The file's own function from value to grey stays.
            window = replace(shown, centre=centre, width=width)
        if plane in self.volume.planes and plane != self.plane:
            return replace(self, plane=plane, index=self.volume.count(plane) // 2, window=window)
        index = self.index if position is None else min(max(int(position), 1), self.volume.count(self.plane)) - 1
        return replace(self, index=index, window=window)

    def examination(self) -> Examination:
        """The slice, under a name that says nothing about the patient."""
        place = Place.of(self.volume, self.plane, self.index, self.window)
        image = self.volume.slice(self.plane, self.index, self.window)
        return Examination(image, place.name, self.volume.caution_in(self.window), place)


@dataclass(eq=False)
class Run:
    """A run along all slices: what it is about, and what it has found in so many seconds.

    `begun`: it is no longer waiting in line.
    """

    scan: Scan
    models: list[str]
    findings: list[Finding] = field(default_factory=list)
    begun: bool = False
    seconds: float = 0.0

    @property
    def strip(self) -> str:
        """The strip, as it is while the run goes on and when it is done."""
        return strip(self.findings, self.scan.volume.count(self.scan.plane), seconds=self.seconds)


class Sweeping:
    """The run that a visitor waits for, or None; one object per visitor, shared by all handlers."""

    def __init__(self) -> None:
        self.run: Run | None = None


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
    strip: gr.HTML
    run: gr.Button

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
            self.run,
        ]


def controls() -> Controls:
    """Add the controls, hidden until there is a volume."""
    with gr.Column(visible=False, elem_id="scan") as row:
        with gr.Row(elem_id="scan-where"):
            item = gr.Dropdown([], label="Series", elem_id="scan-item", filterable=False, visible=False)
            plane = gr.Radio(list(SLICED_ALONG), label="Plane", elem_id="scan-plane")
            # No button to reset: to what is no longer there, and without an event.
            position = gr.Slider(1, 2, 1, step=1, label="Slice", elem_id="scan-position", buttons=[])
        with gr.Row(elem_id="scan-how"):
            centre = gr.Slider(0, 1, 0, label="Window centre", elem_id="scan-centre", buttons=[])
            width = gr.Slider(0, 1, 1, label="Window width", elem_id="scan-width", buttons=[])
            run = gr.Button(RUN, elem_id="scan-run", size="md")
        strip = gr.HTML("", elem_id="scan-strip", visible=False)
    scan = gr.State(None, time_to_live=SESSION_SECONDS)
    return Controls(scan, row, item, plane, position, centre, width, strip, run)


def shown(scan: Scan | None) -> tuple[Any, ...]:
    """Updates of `Controls.outputs` for a scan that was just opened, or for none."""
    if scan is None:
        return (None, gr.update(visible=False), *(gr.skip() for _ in range(7)))
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
        gr.update(value=RUN, visible=any(volume.count(plane) > 1 for plane in volume.planes)),
    )


def listen(
    controls: Controls,
    latest: gr.State,
    examination: gr.State,
    settings: list[Any],
    answer: gr.HTML,
    show: Callable[..., str],
    catch_up: Callable[..., Any],
    hidden: dict[str, Any],
) -> Any:
    """Let the controls answer.

    Args:
        show: makes the answer's HTML from an examination and the settings.
        catch_up: the same from the visitor's `Latest`, an examination and the settings, if these were others.

    Returns:
        The event "run all slices", to be cancelled by whoever replaces the scan.
    """
    c = controls
    # One event for all of them, of which the browser has one under way at a time and then sends what the controls say
    # by then: two that both start from the same state could end in either order.
    gr.on(
        [c.item.input, c.plane.input, c.position.input, c.centre.input, c.width.input],
        unless_overtaken(_looking(show)),
        [latest, c.scan, c.item, c.plane, c.position, c.centre, c.width, *settings],
        [examination, answer, *c.outputs],
        # A slider may be beyond the limits that it has by then.
        preprocess=False,
        **hidden | {"trigger_mode": "always_last"},
    ).then(
        catch_up,
        [latest, examination, *settings],
        answer,
        **hidden | {"trigger_mode": "always_last", "show_progress": "hidden"},
    )

    sweeping = gr.State(Sweeping())
    at_once = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    # trigger_mode: to gradio, an event that was cancelled is still under way.
    running = c.run.click(
        _press, [sweeping, c.scan, settings[0]], [c.strip, c.run], trigger_mode="multiple", **at_once
    ).then(
        _run,
        [latest, sweeping],
        [c.strip, c.run],
        **hidden | QUEUE | {"trigger_mode": "multiple", "show_progress": "hidden"},
    )
    # What is left of a run about another plane, series or window, or by other models, is no longer wanted.
    gr.on(
        [c.item.input, c.plane.input, c.centre.input, c.width.input, settings[0].change],
        _unwanted,
        sweeping,
        [c.strip, c.run],
        cancels=[running],
        **at_once,
    )
    return running


def _looking(show: Callable[..., str]) -> Callable[..., tuple[Any, ...]]:
    """The handler of all controls but the button: examination, answer and `Controls.outputs`."""

    def look(
        scan: Scan | None,
        item: int,
        plane: str,
        position: float | None,
        centre: float | None,
        width: float | None,
        *settings: Any,
    ) -> tuple[Any, ...]:
        if scan is None:
            return None, html.problem(GONE), *shown(None)
        same = [gr.skip() for _ in shown(None)]
        if item != scan.volume.item and item in range(len(scan.volume.items)):
            try:
                opened = scan.other(item)
            except (ImageError, OSError) as error:
                # The scan that is shown stays.
                return gr.skip(), html.problem(str(error)), *shown(scan)
            looked_at = opened.examination()
            updates = list(shown(opened))
            updates[_ITEM] = gr.skip()  # yet another may have been chosen meanwhile
            return looked_at, show(looked_at, *settings), *updates
        now = scan.at(plane, position, centre, width)
        updates = [now, *same[1:]]
        if now.plane != scan.plane or position not in (None, now.index + 1):
            updates[_POSITION] = _position(now)
        if now == scan:
            return gr.skip(), gr.skip(), *updates
        looked_at = now.examination()
        return looked_at, show(looked_at, *settings), *updates

    return look


_ITEM, _POSITION = 2, 4  # in `Controls.outputs`


def _press(sweeping: Sweeping, scan: Scan | None, models: list[str]) -> tuple[Any, Any]:
    """Strip and button, at once: the run itself may have to wait for those of others. A second press stops it."""
    run, sweeping.run = sweeping.run, None
    button = gr.update(value=RUN)
    if scan is None or not models:
        return gr.update(value=html.problem(NO_MODEL if scan else GONE), visible=True), button
    if run and run.scan.number == scan.number:
        found = strip(run.findings, run.scan.volume.count(run.scan.plane), stopped=True)
        return gr.update(value=found, visible=True), button
    sweeping.run = Run(scan, models)
    return gr.update(value=sweeping.run.strip, visible=True), gr.update(value=STOP)


def _run(latest: Latest, sweeping: Sweeping) -> Iterator[tuple[Any, Any]]:
    """Strip and button, while the run that was asked for last is the one that is wanted."""
    run = sweeping.run
    if run is None or run.begun:
        yield gr.skip(), gr.skip()
        return
    run.begun = True
    scan, started = run.scan, time.monotonic()
    try:
        for finding in sweep(scan.volume, scan.plane, scan.window, run.models):
            if sweeping.run is not run or scan.number != latest.number:
                return
            run.findings.append(finding)
            run.seconds = time.monotonic() - started
            if len(run.findings) % 8 == 0:
                yield gr.update(value=run.strip, visible=True), gr.skip()
        if sweeping.run is run:
            yield gr.update(value=run.strip, visible=True), gr.update(value=RUN)
    except CheckpointError as error:
        yield gr.update(value=html.problem(str(error)), visible=True), gr.update(value=RUN)
    finally:
        if sweeping.run is run:
            sweeping.run = None


def _unwanted(sweeping: Sweeping) -> tuple[Any, Any]:
    sweeping.run = None
    return _no_run()


def _no_run() -> tuple[Any, Any]:
    return gr.update(value="", visible=False), gr.update(value=RUN)


def _position(scan: Scan) -> Any:
    count = scan.volume.count(scan.plane)
    return gr.update(minimum=1, maximum=max(2, count), value=scan.index + 1, visible=count > 1)


def strip(findings: list[Finding], count: int, stopped: bool = False, seconds: float = 0.0) -> str:
    """A bar per slice, as high as a tumour is suspected, and the most suspicious slices to press.

    Args:
        findings: so far.
        count: of the slices that there are.
        stopped: there will be no more findings.
        seconds: that it took so far.
    """
    done = len(findings)
    bars = "".join(_bar(finding, first=not number) for number, finding in enumerate(findings))
    waiting = f'<i style="flex:{count - done}"></i>' if done < count else ""
    words = _words(findings) if done == count or (stopped and done) else ""
    if done < count:
        so_far = f"{done} of {count} slices"
        words = f"Stopped: {so_far}. {words}" if stopped else f"{so_far}{_left(done, count, seconds)} …"
    return (
        f'<div class="strip" role="group" aria-label="Suspicion of a tumour along the scan">{bars}{waiting}</div>'
        f'<p class="suspicious">{words}</p>'
    )


def _words(findings: list[Finding]) -> str:
    count = len(findings)
    buttons = "".join(
        f'<button type="button" data-pick="scan-position" data-value="{f.index + 1}">{f.index + 1}: {_text(f)}</button>'
        for f in most_suspicious(findings)
    )
    words = f"Most suspicious first: {buttons}" if buttons else "No slice is suspicious."
    uncertain = sum(finding.consensus.verdict == UNCERTAIN for finding in findings)
    if uncertain and not buttons:
        words = f"Nowhere is a tumour suspected by {MIN_SUSPICION:.0%} or more".replace("%", " %")
        words += f", but about {uncertain} of {count} slices the models are uncertain."
    refused = sum(finding.consensus.refused for finding in findings)
    if refused == count:
        return "None of these slices was answered: the models take none for a brain MRI slice."
    return f"{words} {refused} of {count} slices were not answered." if refused else words


def _left(done: int, count: int, seconds: float) -> str:
    left = seconds_left(done, count, seconds)
    return f", about {max(1, round(left))} s left" if left else ""


def _bar(finding: Finding, first: bool) -> str:
    text = f"Slice {finding.index + 1}: {_text(finding)}"
    return (
        f'<button type="button" data-pick="scan-position" data-value="{finding.index + 1}" title="{escape(text)}" '
        f'aria-label="{escape(text)}" class="{finding.consensus.verdict}" tabindex="{0 if first else -1}">'
        f'<span style="height:{max(4, 100 * finding.suspicion):.0f}%"></span></button>'
    )


def _text(finding: Finding) -> str:
    found = finding.consensus
    if found.refused:
        return "no brain slice"
    verdict = DISPLAY_TEXT.get(found.verdict, found.guess)
    return f"{verdict}, suspicion {html.percent(finding.suspicion)}"
