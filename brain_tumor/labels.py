"""The four classes, in the one order that every tensor, file and page of the project uses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """A class: `name` as in folders, files and APIs; `text` as shown to people, `short` where there is little room."""

    name: str
    text: str
    short: str


LABELS = (
    Label("glioma", "Glioma", "Glioma"),
    Label("meningioma", "Meningioma", "Meningioma"),
    Label("notumor", "No tumour", "No tumour"),
    Label("pituitary", "Pituitary tumour", "Pituitary"),
)
"""Alphabetical by name, so position = class index = the order of ImageFolder-style data sets."""

CLASS_NAMES = tuple(label.name for label in LABELS)
DISPLAY_TEXT = {label.name: label.text for label in LABELS}
SHORT_TEXT = {label.name: label.short for label in LABELS}


def class_index(name: str) -> int:
    """Index of a class name; ValueError names the four that exist."""
    try:
        return CLASS_NAMES.index(name)
    except ValueError:
        raise ValueError(f"Unknown class {name!r}; the classes are {', '.join(CLASS_NAMES)}.") from None
