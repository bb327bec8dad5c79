"""Starts the page: `python app.py`, then http://127.0.0.1:7860. Also what Hugging Face Spaces starts."""

from __future__ import annotations

import signal
import sys

from brain_tumor.ui import html, login, zerogpu
from brain_tumor.ui.page import build, forget_idle, launch_options, warm_up

zerogpu.prepare()
demo = build()

if __name__ == "__main__":
    try:
        users = login.users()
    except login.LoginError as error:
        sys.exit(str(error))
    auth_message = html.NOTICE if users else None
    demo.launch(**launch_options(), auth=users, auth_message=auth_message, prevent_thread_lock=True)
    # Only now: the server's start and this import the same packages, from two threads.
    warm_up()
    forget_idle(demo)
    # Uploads are deleted when the process ends by itself, so a service that is stopped has to end so.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    demo.block_thread()
