"""The buttons that save the report of the slice that is shown; for the first tab."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import gradio as gr

from brain_tumor.checkpoints import CheckpointError
from brain_tumor.examination import Examination
from brain_tumor.explanation import Explanation
from brain_tumor.report import Report, render

TYPES = {"pdf": "application/pdf", "png": "image/png", "json": "application/json"}

# Made in the browser: no file with a visitor's slice is written on the server.
_SAVE = """(text) => {
  if (!text) return "";
  const [name, type, content] = JSON.parse(text);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  return "";
}"""


def controls() -> tuple[list[gr.Button], gr.Textbox]:
    """The buttons, shown by the style sheet where there is an answer, and where a report waits to be saved."""
    with gr.Row(elem_id="report"):
        buttons = [gr.Button(f"Report as {kind.upper()}", size="sm", elem_id=f"report-{kind}") for kind in TYPES]
    return buttons, gr.Textbox(visible="hidden", elem_id="report-download", show_label=False)


def listen(
    placed: tuple[list[gr.Button], gr.Textbox],
    examination: gr.State,
    settings: Sequence[gr.components.Component],
    explained: Callable[..., list[Explanation]],
    hidden: dict[str, Any],
) -> None:
    """Let the buttons save what is shown.

    Args:
        placed: what `controls` gave.
        explained: (examination, *settings) -> the models' answers.
    """
    buttons, download = placed
    for kind, button in zip(TYPES, buttons, strict=True):
        button.click(partial(_report, kind, explained), [examination, *settings], download, **hidden).success(
            None, download, download, js=_SAVE, api_visibility="private"
        )


def _report(
    kind: str, explained: Callable[..., list[Explanation]], examination: Examination | None, *settings: Any
) -> str:
    """What `_SAVE` makes a file of: its name, its type and its content in base 64."""
    if examination is None:
        raise gr.Error("The slice is no longer here: it was kept for an hour. Drop it again.", print_exception=False)
    try:
        report = render(examination, explained(examination, *settings), datetime.now(UTC))
    except (CheckpointError, ValueError) as error:
        raise gr.Error(str(error), print_exception=False) from None
    return json.dumps([report.file_name(kind), TYPES[kind], base64.b64encode(content(report, kind)).decode()])


def content(report: Report, kind: str) -> bytes:
    """The report as a file of a kind, one of `TYPES`."""
    return {"pdf": report.pdf, "png": report.png, "json": lambda: report.json().encode()}[kind]()
