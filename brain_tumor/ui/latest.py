"""What is still computed about a slice must not be shown once another has taken its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr


class Latest:
    """What a visitor asked for last; one object per visitor, shared by all handlers.

    Attributes:
        number: of what was handed in last.
        begun: answers that were begun, about that or about what is shown of it.
    """

    def __init__(self) -> None:
        self.number = 0
        self.begun = 0

    def next(self) -> int:
        """The number of what is handed in now."""
        self.begun += 1
        self.number += 1
        return self.number

    def unless_overtaken(self, number: int, outputs: Sequence[Any]) -> tuple[Any, ...]:
        """The outputs about what was handed in under that number; skipped, if something else was since."""
        return tuple(outputs) if number == self.number else tuple(gr.skip() for _ in outputs)


def unless_overtaken(handler: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """A handler whose outputs are skipped if something else was handed in before it ended.

    Args:
        handler: from what is shown, which has a `number` or is None, and further inputs, to outputs.

    Returns:
        The handler, with the visitor's `Latest` as its first input.
    """

    def guarded(latest: Latest, shown: Any, *given: Any) -> tuple[Any, ...]:
        latest.begun += 1
        outputs = handler(shown, *given)
        return outputs if shown is None else latest.unless_overtaken(shown.number, outputs)

    return guarded
