"""The whole page and how it is served."""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.state_holder import StateHolder

from brain_tumor.catalogue import offered_models
from brain_tumor.inference import load_model
from brain_tumor.ui import batch, classify, endpoints, html, learn, models, probe, teaching, tools
from brain_tumor.ui.classify import SESSION_SECONDS
from brain_tumor.uploads import MAX_BYTES

log = logging.getLogger(__name__)

HERE = Path(__file__).parent

# Uploads are deleted minutes after they came, (every, older than) in seconds. Nothing on the page refers to them: what
# is shown is part of the page itself.
DELETE_CACHE = (60, 300)
FORGET_EVERY = 60.0

SYSTEM_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]


def build() -> gr.Blocks:
    """The page, not yet served."""
    with gr.Blocks(title="Brain MRI, several opinions", delete_cache=DELETE_CACHE, fill_width=True) as page:
        gr.HTML(html.heading(), elem_id="heading")
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("One slice", id="slice", elem_id="tab-slice"):
                first = classify.build()
            with gr.Tab("Many slices", id="many", elem_id="tab-many"):
                batch.build(first, tabs)
            with gr.Tab("Try to break it", id="break", elem_id="tab-break"):
                probe.build(first)
            with gr.Tab("Models", id="models", elem_id="tab-models"):
                models.build()
            with gr.Tab("Learn", id="learn", elem_id="tab-learn"):
                learn.build()
        endpoints.build()
        teaching.build()
        page.load(classify.from_address, None, [first.settings[0], first.settings[2]], api_visibility="private")
    return page


def launch_options() -> dict[str, Any]:
    """Arguments of `Blocks.launch` that the page needs wherever it is served."""
    return {
        "theme": gr.themes.Base(
            primary_hue="teal",
            neutral_hue="slate",
            font=SYSTEM_FONTS,
            font_mono=["ui-monospace", "monospace"],
        ).set(
            # The default is too pale to read, by the contrast that WCAG asks for.
            body_text_color_subdued="*neutral_600",
            body_text_color_subdued_dark="*neutral_400",
            block_title_text_color="*neutral_700",
            button_primary_background_fill="*primary_700",
            button_primary_background_fill_dark="*primary_700",
            block_title_text_color_dark="*neutral_300",
        ),
        "css_paths": sorted(HERE.glob("*.css")),
        "js": (HERE / "page.js").read_text(),
        "max_file_size": MAX_BYTES,
        # It would keep every visitor's slices and answers in the browser and on the server.
        "run_history": False,
        # Server-side rendering starts a node process that outlives the app.
        "ssr_mode": False,
        "footer_links": ["api"],
        "mcp_server": tools.prepare(),
    }


def forget_idle(page: gr.Blocks) -> None:
    """From now on, forget what visitors left who have done nothing for `SESSION_SECONDS`.

    gradio lets go of a `gr.State` by itself, but keeps the last value of every other component, answers with slices in
    them too, for as long as it runs.
    """

    def work() -> None:
        while True:
            time.sleep(FORGET_EVERY)
            try:
                forget(page.state_holder, datetime.now() - timedelta(seconds=SESSION_SECONDS))
            except Exception as error:  # gradio tidies the same dictionaries, without a lock; the next round will do
                log.warning("Idle visitors are forgotten later: %s.", type(error).__name__)

    threading.Thread(target=work, name="forget", daemon=True).start()


def forget(sessions: StateHolder, before: datetime) -> None:
    """Forget the sessions that were last used before a time, local and without a time zone as gradio notes it."""
    for session, used in list(sessions.time_last_used.items()):
        if used < before:
            sessions.delete_state(session)
            with sessions.lock:
                sessions.session_data.pop(session, None)
                sessions.time_last_used.pop(session, None)


def warm_up() -> None:
    """Load the offered models and the explanation package in the background: the first visitor need not wait."""

    def work() -> None:
        import pytorch_grad_cam  # noqa: F401  (imported for its side effect: it takes seconds)

        for name in offered_models():
            load_model(name)

    threading.Thread(target=work, name="warm-up", daemon=True).start()
