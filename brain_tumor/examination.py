"""One slice under several models, computing nothing twice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from brain_tumor.acquisition import Caution
from brain_tumor.explanation import COMPARED_CAM, DEFAULT_METHOD, Explanation, explain_reading, overlap
from brain_tumor.inference import Classifier, Prediction, Reading, load_model
from brain_tumor.slicing import Volume, Window
from brain_tumor.trust import Consensus, consensus

MAX_PIXELS = 2048 * 2048
"""Larger pictures are reduced: twelve megabytes a visitor, and still many times what any network looks at."""


@dataclass(frozen=True)
class Place:
    """Which slice of a scan is looked at, and how; nothing in it says whose. Numbers count from 1.

    Attributes:
        plane: in which slices are counted; "original": as stored.
        slice: number of the slice.
        slices: how many there are in that plane.
        series: number of the series, or of the volume in a 4-D file, in the upload.
        all_series: how many it holds.
        window: (centre, width) in the file's units; None where the scan is in colour.
    """

    plane: str
    slice: int
    slices: int
    series: int = 1
    all_series: int = 1
    window: tuple[float, float] | None = None

    @classmethod
    def of(cls, volume: Volume, plane: str, index: int, window: Window | None = None) -> Place:
        """That of a slice as `Volume.slice` makes it, with the same arguments."""
        window = window or volume.default_window
        return cls(
            plane=plane,
            slice=index + 1,
            slices=volume.count(plane),
            series=volume.item + 1,
            all_series=max(1, len(volume.items)),
            window=None if volume.colour else (window.centre, window.width),
        )

    @property
    def name(self) -> str:
        """For example "axial slice 11 of 180"."""
        return f"{self.plane} slice {self.slice} of {self.slices}"

    def text(self) -> str:
        """For example "axial slice 11 of 180, series 2 of 3, window centre 300, width 600"."""
        parts = [self.name]
        if self.all_series > 1:
            parts.append(f"series {self.series} of {self.all_series}")
        if self.window is not None:
            centre, width = self.window
            parts.append(f"window centre {centre:.6g}, width {width:.6g}")
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The attributes; the window as an object with centre and width, or None."""
        window = self.window and {"centre": self.window[0], "width": self.window[1]}
        return {**vars(self), "window": window}


class Examination:
    """A slice and what the models asked so far made of it.

    Attributes:
        name: what the slice is called, without its path.
        image: RGB, at most about `MAX_PIXELS` large.
        caution: what makes the models less believable on it, or None: `Volume.caution_in`.
        place: which slice of a scan it is, or None.
        synthetic: drawn by a program, of no patient.
        shown_by: the settings by which a page showed it last: models, class to explain, method.
    """

    def __init__(
        self,
        image: Image.Image,
        name: str,
        caution: Caution | None = None,
        place: Place | None = None,
        synthetic: bool = False,
    ):
        self.name = name
        self.caution = caution
        self.place = place
        self.synthetic = synthetic
        self.image = _reduced(image)
        self.shown_by: tuple[list[str], str, str] | None = None
        self._readings: dict[str, Reading] = {}

    def answers(
        self, models: Sequence[str], target_class: str | None = None, method: str = DEFAULT_METHOD
    ) -> list[Explanation]:
        """Each model's answer and where it looked; a model that has been asked before is only explained anew.

        Args:
            models: names of systems.
            target_class: class to explain; None means the one that each model predicts.
            method: a key of `explanation.METHODS`.
        """
        return [
            explain_reading(load_model(name), self._read(name), self.image.size, target_class, method)
            for name in models
        ]

    def predictions(self, models: Sequence[str]) -> list[Prediction]:
        """Each model's answer alone, as in `answers`."""
        return [self._read(name).prediction for name in models]

    def _read(self, name: str) -> Reading:
        if name not in self._readings:
            self._readings[name] = load_model(name).read([self.image])[0]
        return self._readings[name]


def consensus_of(explanations: Sequence[Explanation], caution: Caution | None = None) -> Consensus:
    """What the models' answers come to, and whether what spoke for an answer that they share is in the same place."""
    predictions = [explanation.prediction for explanation in explanations]
    return _consensus(predictions, lambda: [one.evidence() for one in explanations], caution)


def consensus_of_readings(
    classifiers: Sequence[Classifier], readings: Sequence[Reading], examined: Examination
) -> Consensus:
    """As `consensus_of`, of slices that nobody is shown an explanation of.

    Args:
        classifiers, readings: of each model, what it read in the slice.
    """

    def evidence() -> list[np.ndarray]:
        size = examined.image.size
        pairs = zip(classifiers, readings, strict=True)
        return [explain_reading(*pair, size, method=COMPARED_CAM).heatmap for pair in pairs]

    return _consensus([reading.prediction for reading in readings], evidence, examined.caution)


def _consensus(
    predictions: Sequence[Prediction], evidence: Callable[[], list[np.ndarray]], caution: Caution | None
) -> Consensus:
    """Heatmaps take time: they are asked for only where they can change the verdict."""
    found = consensus(predictions, caution=caution)
    if found.decided and found.leading != "notumor" and len(predictions) > 1 and found.agreement.unanimous:
        found = consensus(predictions, overlap(evidence()), caution)
    return found


def _reduced(image: Image.Image) -> Image.Image:
    shrink = math.sqrt(MAX_PIXELS / (image.width * image.height))
    if shrink >= 1:
        return image
    return image.resize((round(image.width * shrink), round(image.height * shrink)), Image.Resampling.LANCZOS)
