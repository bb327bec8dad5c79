"""Which tab is being built."""

from __future__ import annotations

import gradio as gr
from gradio.blocks import Block


def tab_of(block: Block) -> gr.Tab:
    """The tab that holds a component: nobody should pay for a tab before it is opened.

    Raises:
        ValueError: it is in none.
    """
    while block is not None:
        if isinstance(block, gr.Tab):
            return block
        block = block.parent
    raise ValueError("The component is in no tab; build it within `with gr.Tab(...)`.")
