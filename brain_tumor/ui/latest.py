"""What is still computed about a slice must not be shown once another has taken its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr


class Latest:
    """Number of what a visitor handed in last; one object per visitor, shared by all handlers."""

    def __init__(self) -> None:
        self.number = 0

    def next(self) -> int:
        """The number of what is handed in now."""
        self.number += 1
        return self.number


def unless_overtaken(handler: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """A handler whose outputs are skipped if something else was handed in before it ended.

    Args:
        handler: from what is shown, which has a `number` or is None, and further inputs, to outputs.

    Returns:
        The handler, with the visitor's `Latest` as its first input.
    """

    def guarded(latest: Latest, shown: Any, *given: Any) -> tuple[Any, ...]:
        outputs = handler(shown, *given)
        overtaken = shown is not None and shown.number != latest.number
        return tuple(gr.skip() for _ in outputs) if overtaken else outputs

    return guarded
