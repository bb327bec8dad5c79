"""Starts the page: `python app.py`, then http://127.0.0.1:7860. Also what Hugging Face Spaces starts."""

from __future__ import annotations

from brain_tumor.ui.page import build, launch_options, warm_up

demo = build()

if __name__ == "__main__":
    warm_up()
    demo.launch(**launch_options())
