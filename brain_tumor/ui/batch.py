"""Many slices at once: a table that fills as answers come, the least certain first."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from brain_tumor import batch
from brain_tumor.batch import AS_UPLOADED, BY_NAME, BY_UNCERTAINTY, DOUBTFUL, MAX_SLICES, UNREADABLE, Batch, Row
from brain_tumor.catalogue import list_models, offered_models
from brain_tumor.checkpoints import CheckpointError
from brain_tumor.images import ImageError
from brain_tumor.labels import DISPLAY_TEXT, LABELS
from brain_tumor.registry import MODELS, UnknownModelError, get_spec
from brain_tumor.trust import REFUSED, UNCERTAIN
from brain_tumor.ui import classify, html, viewer
from brain_tumor.ui.classify import First
from brain_tumor.ui.latest import Latest

log = logging.getLogger(__name__)

# A line of their own: a batch takes minutes, and single slices shall not wait for it.
QUEUE = {"concurrency_id": "batch", "concurrency_limit": 1}

# Nor shall programs wait for visitors: what they send is deleted after minutes.
QUEUE_OF_PROGRAMS = {"concurrency_id": "batch of a program", "concurrency_limit": 1}

PAGE_ROWS = 100
"""Rows in the browser at a time: more of them make phones slow."""

REFRESH_SECONDS = 2
"""Between two drawings of the table while it fills: a browser busy with it answers nothing else."""

_ORDERS = [("least certain", BY_UNCERTAINTY), ("as uploaded", AS_UPLOADED), ("by name", BY_NAME)]
_EVERYTHING = ""
_FILTERS = [
    ("everything", _EVERYTHING),
    ("uncertain or refused", DOUBTFUL),
    *((label.text, label.name) for label in LABELS),
    ("could not be read", UNREADABLE),
]

# A press on a row opens it: its button by keyboard, anything in it by mouse. Who comes back finds the row again.
_PRESS = """
let left = null;
element.addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-row]");
  const copying = !event.target.closest("button") && window.getSelection().toString();
  if (!row || copying) return;
  left = { row: row.dataset.row, top: window.scrollY };
  trigger("select", { row: Number(row.dataset.row) });
});
// Without a size while another tab is shown.
let away = false;
new ResizeObserver(() => {
  if (element.offsetParent && away && left) {
    const button = element.querySelector(`tr[data-row="${left.row}"] button`);
    if (button) button.focus({ preventScroll: true });
    window.scrollTo(0, left.top);
    left = null;
  }
  away = !element.offsetParent;
}).observe(element);
"""
# The verdict is what whoever opened a row wants to hear of; without it, the focus would be lost with the table.
_TO_TOP = """() => {
  window.scrollTo(0, 0);
  setTimeout(() => document.querySelector("#verdict")?.focus({ preventScroll: true }), 100);
}"""
_TO_TABLE = """() => document.querySelector("#many-view").scrollIntoView()"""

# Made in the browser: a file on the server would be deleted before a visitor who reads the table comes for it.
_SAVE = """(text) => {
  if (!text) return;
  const [name, type, content] = JSON.parse(text);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}"""
_BYTE_ORDER_MARK = "\ufeff"  # without it, Excel takes UTF-8 for something else


@dataclass(frozen=True)
class View:
    """Which rows are shown, and how."""

    order: str = BY_UNCERTAINTY
    show: str = _EVERYTHING
    text: str = ""
    page: int = 0


class Session:
    """A visitor's batch and how it is looked at; one object for as long as the batch, shared by all handlers.

    Attributes:
        revealed: the controls that go with rows are on the page. Shown anew, they would lose what is being typed.
        expired: forgotten by the server, after an hour in which its visitor did nothing with it.
    """

    def __init__(self, upload: Batch):
        self.batch = upload
        self.view = View()
        self.revealed = False
        self.expired = False


def build(first: First, tabs: gr.Tabs) -> None:
    """Add the tab's content to the Blocks that are being built."""
    with gr.Row(elem_id="many"):
        with gr.Column(elem_id="many-drop"):
            upload = gr.File(label="Slices", file_count="multiple", elem_id="many-upload", height=120, show_label=False)
        with gr.Column(elem_id="many-state"):
            status = gr.HTML(_waiting(), elem_id="many-status")
            with gr.Row(elem_id="many-actions"):
                stop = gr.Button("Stop", elem_id="many-stop", size="sm", visible=False)
                as_csv = gr.Button("Save as CSV", elem_id="many-csv", size="sm", visible=False)
                as_json = gr.Button("Save as JSON lines", elem_id="many-json", size="sm", visible=False)
                forget = gr.Button("Forget these slices", elem_id="many-forget", size="sm", visible=False)
    with gr.Row(elem_id="many-view", visible=False) as controls:
        order = gr.Dropdown(_ORDERS, value=BY_UNCERTAINTY, label="Order", elem_id="many-order", filterable=False)
        show = gr.Dropdown(_FILTERS, value=_EVERYTHING, label="Show", elem_id="many-show", filterable=False)
        text = gr.Textbox(label="Name contains", elem_id="many-text", max_length=100)
    table = gr.HTML("", elem_id="many-table", js_on_load=_PRESS)
    with gr.Row(elem_id="many-pages", visible=False) as pages:
        back = gr.Button("Previous rows", elem_id="many-back", size="sm")
        forth = gr.Button("Next rows", elem_id="many-forth", size="sm")
    gr.HTML(html.notice(), elem_id="many-notice")
    download = gr.Textbox(visible="hidden", elem_id="many-download", show_label=False)
    session = gr.State(None, time_to_live=classify.SESSION_SECONDS, delete_callback=_expire)

    private = {"api_visibility": "private"}
    paged = [table, pages, back, forth]
    shown = [status, stop, as_csv, as_json, forget, controls, *paged]
    # trigger_mode: files that come while others are answered take their place.
    run = {"trigger_mode": "multiple", "show_progress": "minimal", "show_progress_on": status, **private}
    upload.upload(_take, [upload, session], [upload, session, order, show, text, *shown], **run).then(
        _run, [session, first.settings[0]], shown, **run, **QUEUE
    )
    stop.click(_stop, session, stop, queue=False, show_progress="hidden", **private)
    forget.click(_forget, session, [session, *shown], show_progress="hidden", **private)
    look = {"show_progress": "hidden", "trigger_mode": "always_last", **private}
    gr.on([order.input, show.input, text.change], _look, [session, order, show, text], [session, *paged], **look)
    for button, by in ((back, -1), (forth, 1)):
        button.click(partial(_turn, by=by), session, [session, *paged], **look).then(None, js=_TO_TABLE, **private)
    for button, write in ((as_csv, _csv), (as_json, _json_lines)):
        # Emptied afterwards, so that megabytes do not stay on the page.
        button.click(write, session, download, show_progress="hidden", **private).then(
            None, download, None, js=_SAVE, **private
        ).then(lambda: "", None, download, show_progress="hidden", **private)
    table.select(
        _open,
        [first.latest, session, *first.settings],
        [session, first.examination, first.answer, tabs, table, *first.scan.outputs],
        show_progress="minimal",
        trigger_mode="always_last",
        **private,
        **classify.QUEUE,
    ).success(None, js=_TO_TOP, **private)
    table.select(None, cancels=[first.sweeping], queue=False, **private)
    _endpoint()


def _take(files: list[str], old: Session | None) -> tuple[Any, ...]:
    """Keep the upload before the server tidies it up; the batch before is forgotten."""
    _close(old)
    view = (BY_UNCERTAINTY, _EVERYTHING, "")
    try:
        session = Session(Batch(files))
    except ImageError as error:
        return None, None, *view, html.problem(str(error)), *_shown(None)[1:]
    return None, session, *view, *_shown(session)


def _run(session: Session | None, models: list[str]) -> Iterator[tuple[Any, ...]]:
    if session is None or (session.batch.closed and not session.expired) or session.batch.models:
        # Forgotten, or under way: two uploads may have waited for their turn, and the second replaced the first.
        yield _skipped()
        return
    upload = session.batch
    try:
        # In the order of the registry, as in the first tab.
        drawn = -REFRESH_SECONDS
        for _ in upload.run(_asked(models)):
            if upload.seconds - drawn >= REFRESH_SECONDS and not upload.closed:
                drawn = upload.seconds
                yield _shown(session)
    except (CheckpointError, ImageError) as error:
        log.error("%s", error)
        upload.stopped = True
        yield html.problem(str(error)), *_shown(session)[1:]
        return
    if session.expired:
        yield html.problem("The batch took so long that it was forgotten. Drop the files in parts."), *_shown(None)[1:]
        return
    # Closed: another upload or nothing is on the page by now.
    yield _skipped() if upload.closed else _shown(session)


def _asked(models: list[str]) -> list[str]:
    if not models:
        raise CheckpointError("No model is chosen. Tick at least one under One slice, and drop the files again.")
    return [name for name in MODELS if name in models]


def _stop(session: Session | None) -> Any:
    """Ends the batch after the slices that the networks are at."""
    if session:
        session.batch.stopped = True
    return gr.update(value="Stopping …", interactive=False)


def _forget(session: Session | None) -> tuple[Any, ...]:
    _close(session)
    return None, *_shown(None)


def _close(session: Session | None) -> None:
    if session:
        session.batch.close()


def _expire(session: Session | None) -> None:
    if session:
        session.expired = True
    _close(session)


def _renewed(session: Session | None) -> Any:
    """As an output it starts the hour again, after which the server forgets a batch."""
    return session if session and not session.batch.closed else gr.skip()


def _look(session: Session | None, order: str, show: str, text: str) -> tuple[Any, ...]:
    if session:
        session.view = View(order, show, text)
    return _renewed(session), *_paged(session)


def _turn(session: Session | None, by: int) -> tuple[Any, ...]:
    if session:
        view = session.view
        last = max(0, (len(_selection(session)) - 1) // PAGE_ROWS)
        session.view = replace(view, page=min(max(view.page + by, 0), last))
    return _renewed(session), *_paged(session)


def _open(
    latest: Latest, session: Session | None, models: list[str], target: str, method: str, event: gr.EventData
) -> tuple[Any, ...]:
    """Show a row's slice in the first tab."""
    try:
        row = _row_at(session, int(event.row))
        examination = batch.read_again(row)
    except (ImageError, IndexError):
        raise _gone("This slice is") from None
    number = latest.next()
    session.batch.opened.add(row.number)
    answer = classify.show(examination, models, target, method)
    outputs = (examination, answer, gr.Tabs(selected="slice"), *viewer.shown(None))
    examination, answer, tabs, *scan = latest.unless_overtaken(number, outputs)
    return _renewed(session), examination, answer, tabs, _table(session, _selection(session)), *scan


def _row_at(session: Session | None, number: int) -> Row:
    """IndexError, if there is no such row any more that can be opened."""
    rows = session.batch.rows if session and not session.batch.closed else []
    if not 1 <= number <= len(rows) or rows[number - 1].problem:
        raise IndexError(number)
    return rows[number - 1]


def _csv(session: Session | None) -> str:
    return _file(session, "slices.csv", "text/csv", batch.to_csv, _BYTE_ORDER_MARK)


def _json_lines(session: Session | None) -> str:
    return _file(session, "slices.jsonl", "application/x-ndjson", batch.to_json_lines)


def _file(session: Session | None, name: str, kind: str, write: Any, mark: str = "") -> str:
    """What `_SAVE` makes a file of: all rows, in the order of the upload."""
    if session is None:
        raise _gone("The table is")
    return json.dumps([name, kind, mark + write(session.batch.rows)])


def _gone(what: str) -> gr.Error:
    sentence = f"{what} no longer here: uploads are forgotten after an hour. Drop them again."
    return gr.Error(sentence, title="Gone", print_exception=False)


def _skipped() -> tuple[Any, ...]:
    return tuple(gr.skip() for _ in _shown(None))


def _shown(session: Session | None) -> tuple[Any, ...]:
    """Status, stop, CSV, JSON, forget, controls, and what `_paged` gives."""
    if session is None:
        return _waiting(), *(gr.update(visible=False),) * 5, *_paged(None)
    upload = session.batch
    stop = gr.update(value="Stop", interactive=True, visible=not upload.finished)
    some = gr.skip() if session.revealed else gr.update(visible=bool(upload.rows))
    session.revealed = bool(upload.rows)
    return _status(upload), stop, *(some,) * 4, *_paged(session)


def _paged(session: Session | None) -> tuple[Any, ...]:
    """Table, pages, back, forth."""
    if session is None:
        return "", gr.update(visible=False), gr.skip(), gr.skip()
    rows, page = _selection(session), session.view.page
    last = max(0, (len(rows) - 1) // PAGE_ROWS)
    return (
        _table(session, rows),
        gr.update(visible=last > 0),
        gr.update(interactive=page > 0),
        gr.update(interactive=page < last),
    )


def _selection(session: Session) -> list[Row]:
    view = session.view
    return batch.chosen(session.batch.rows, view.order, view.show or None, view.text)


_WHY_NUMBERS = "Files other than pictures go by their place in the upload: a scan's file name may be its patient's."


def _waiting() -> str:
    return (
        '<section class="waiting"><h2>Many slices, one table</h2>'
        f"<p>Drop image or DICOM files, or a zip of them; up to {MAX_SLICES:,} at once. The models ticked under "
        "<b>One slice</b> are asked, and the slices that they are least sure of come first. Press a row to open it."
        f"</p><p>{_WHY_NUMBERS}</p>"
        "<p>The files stay on the server for as long as the table, an hour at most, and nobody else sees them."
        "</p></section>"
    )


def _status(upload: Batch) -> str:
    done, total = len(upload.rows), upload.total
    counts = Counter(row.verdict for row in upload.rows)
    if upload.finished:
        how = "Stopped" if done < total else "Done"
        headline = f"{how}: {done:,} of {_slices(total)} in {_duration(upload.seconds)}"
        bar, role = "", ' role="status"'
    else:
        left = batch.seconds_left(done, total, upload.seconds)
        rest = "waiting for the networks" if left is None else f"about {_duration(left)} left"
        headline = f"{done:,} of {_slices(total)}, {rest}"
        # Not read out at every step: the bar itself is there to be asked.
        bar, role = f'<progress max="{total}" value="{done}" aria-label="Slices answered"></progress>', ""
    asked = ", ".join(get_spec(name).title for name in upload.models)
    asked = f'<p class="asked">Asked: {asked}.</p>' if asked else ""
    tallies = "".join(
        f"<li><b>{counts[verdict]:,}</b> {text}</li>" for verdict, text in _TALLIES.items() if counts[verdict]
    )
    tallies = f'<ul class="tallies">{tallies}</ul>' if tallies else ""
    return f'<section class="progress"><h2{role}>{headline}</h2>{bar}{tallies}{asked}</section>'


_TALLIES = {
    REFUSED: "not answered",
    UNCERTAIN: "uncertain",
    **{label.name: label.text.lower() for label in LABELS},
    UNREADABLE: "could not be read",
}


def _slices(n: int) -> str:
    return f"{n:,} slice" if n == 1 else f"{n:,} slices"


def _duration(seconds: float) -> str:
    """Without a line break between number and unit."""
    if seconds < 60:
        return f"{max(1, round(seconds))}\u00a0s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}\u00a0min" if minutes >= 10 else f"{minutes}\u00a0min {rest}\u00a0s"


def _table(session: Session, rows: list[Row]) -> str:
    if not session.batch.rows:
        return ""
    if not rows:
        return '<p class="nothing">No slice so far is like that. Show everything, or look for another name.</p>'
    start = PAGE_ROWS * session.view.page
    page = rows[start : start + PAGE_ROWS]
    # What holds for all that are shown is said once.
    cautions = {row.consensus.caution for row in page if row.consensus}
    shared = cautions.pop() if len(page) > 1 and len(cautions) == 1 else None
    above = f'<p class="caution">{escape(shared)}</p>' if shared else ""
    lines = "".join(_row(row, row.number in session.batch.opened, shared) for row in page)
    hint = "" if all(row.named for row in page) else f'<p class="unnamed">{_WHY_NUMBERS}</p>'
    return (
        f'{above}<table role="table"><caption>Rows {start + 1:,} to {start + len(page):,} of {len(rows):,}</caption>'
        '<thead role="rowgroup"><tr role="row"><th role="columnheader" scope="col">Slice</th>'
        '<th role="columnheader" scope="col">Answer</th><th role="columnheader" scope="col">Probability</th>'
        f'<th role="columnheader" scope="col">Why</th></tr></thead><tbody role="rowgroup">{lines}</tbody></table>{hint}'
    )


def _row(row: Row, opened: bool, said: str | None) -> str:
    """A row of the table.

    Args:
        said: a caution that stands above the table already.
    """
    name = escape(row.name)
    if row.problem:
        return (
            f'<tr role="row" class="unreadable"><td role="cell" class="name">{name}</td>'
            '<td role="cell" class="verdict">Could not be read</td><td role="cell" class="probability"></td>'
            f'<td role="cell" class="why">{escape(row.problem)}</td></tr>'
        )
    found = row.consensus
    kind = found.verdict if found.verdict in (REFUSED, UNCERTAIN) else "decided"
    leading = DISPLAY_TEXT[found.leading]
    verdict = {REFUSED: "Not answered", UNCERTAIN: f"Uncertain: {found.guess}"}.get(found.verdict, leading)
    # What the networks score a picture that is no brain MRI slice means nothing.
    probability = "" if found.verdict == REFUSED else _probability(found.probability)
    seen = '<span class="seen">Was in the training data.</span>' if found.seen_by else ""
    told = not found.caution or found.caution == said
    caution = "" if told else f'<span class="caution">{escape(found.caution)}</span>'
    mark = '<span class="opened">opened</span>' if opened else ""
    return (
        f'<tr role="row" class="{kind}" data-row="{row.number}" data-verdict="{found.verdict}">'
        f'<td role="cell" class="name"><button type="button" title="Open {name}">{name}</button>{mark}</td>'
        f'<td role="cell" class="verdict">{verdict}</td><td role="cell" class="probability">{probability}</td>'
        f'<td role="cell" class="why">{escape(found.why)}{caution}{seen}</td></tr>'
    )


def _probability(p: float) -> str:
    """Whole per cent; never 0 or 100, which no network can know."""
    text = "> 99 %" if p > 0.99 else f"{100 * p:.0f} %"
    return f'<span class="track" aria-hidden="true"><span style="width:{p:.0%}"></span></span><span>{text}</span>'


def _endpoint() -> None:
    """The named endpoint /classify_many, on components of its own that are never shown."""
    models = list_models(available_only=True)
    files = gr.File(label="files", file_count="multiple", visible=False)
    names = gr.CheckboxGroup(
        [(model.spec.title, model.spec.name) for model in models], value=offered_models(), label="models", visible=False
    )
    result = gr.JSON(label="rows", visible=False)
    gr.Button(visible=False).click(
        classify_many, [files, names], result, api_name="classify_many", show_progress="hidden", **QUEUE_OF_PROGRAMS
    )


def classify_many(files: list[str], models: list[str]) -> list[dict[str, Any]]:
    """Ask trained networks what each of many brain MRI slices shows, without heatmaps; a second or less a slice.

    Classes: glioma, meningioma, notumor (no tumour), pituitary (tumour).

    Args:
        files: pictures of slices, DICOM files of one slice, or zips of such; 2,000 slices at most in all.
        models: names of the networks to ask; by default all that are offered.

    Returns:
        A list, for each file in the order sent: image (a picture's name, with a number if it is the second of its name;
        of other files, whose names may be patients', what it is and its place), problem (why it could not be read, a
        sentence, or null), uncertainty (1 - probability of the leading class, in [0, 1], or null), consensus (as of
        classify, or null) and answers (as of classify, without target_class, method, evidence_found and overlay).
    """
    if not files:
        raise gr.Error("No file was sent. Give at least one in `files`.", print_exception=False)
    if not models:
        raise gr.Error("No model was chosen. Name at least one in `models`.", print_exception=False)
    upload = None
    try:
        upload = Batch(files)
        for _ in upload.run(models):
            pass
        return [row.to_json() for row in upload.rows]
    except (ImageError, CheckpointError, UnknownModelError) as error:
        raise gr.Error(str(error), print_exception=False) from None
    finally:
        if upload:
            upload.close()
