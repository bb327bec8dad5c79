"""For students: answer first, then see what the models said."""

from __future__ import annotations

import gradio as gr



def build() -> None:
    """Add the tab's content to the Blocks that are being built."""
    gr.HTML("<p>Not there yet.</p>")
