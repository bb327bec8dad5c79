"""Slices to try the page with: drawn by a program, so they show nobody. `training.synthetic` makes them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "examples"
INDEX_FILE = "examples.json"


@dataclass(frozen=True)
class Example:
    """One synthetic slice.

    Attributes:
        path: PNG, 8-bit grey, square.
        label: the class it was drawn for.
        title: what people read; begins with "Synthetic".
        view: the plane and what it passes through, such as "axial, ventricles".
        contrast: the sequence whose grey values it has, such as "FLAIR".
        box: left, top, right, bottom of the drawn tumour, fractions of the side; None where none was drawn.
    """

    path: Path
    label: str
    title: str
    view: str
    contrast: str
    box: tuple[float, float, float, float] | None


@cache
def list_examples() -> tuple[Example, ...]:
    """All examples, class by class in the order of the classes; no picture is read."""
    rows = json.loads((FOLDER / INDEX_FILE).read_text(encoding="utf-8"))["examples"]
    return tuple(
        Example(
            path=FOLDER / row["file"],
            label=row["label"],
            title=row["title"],
            view=row["view"],
            contrast=row["contrast"],
            box=tuple(row["box"]) if row["box"] else None,
        )
        for row in rows
    )
