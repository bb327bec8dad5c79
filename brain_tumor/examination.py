"""One slice under several models, computing nothing twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from brain_tumor.explanation import DEFAULT_METHOD, Explanation, explain_reading, overlap
from brain_tumor.inference import Reading, load_model
from brain_tumor.trust import Consensus, consensus

MAX_PIXELS = 2048 * 2048
"""Larger pictures are reduced: twelve megabytes a visitor, and still many times what any network looks at."""


class Examination:
    """A slice and what the models asked so far made of it.

    Attributes:
        name: what the slice is called, without its path.
        image: RGB, at most about `MAX_PIXELS` large.
        caution: what makes the models less believable on it, sentences, or None: `Volume.hint`.
        shown_by: the settings by which a page showed it last: models, class to explain, method.
    """

    def __init__(self, image: Image.Image, name: str, caution: str | None = None):
        self.name = name
        self.caution = caution
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
        explanations = []
        for name in models:
            classifier = load_model(name)
            if name not in self._readings:
                self._readings[name] = classifier.read([self.image])[0]
            reading = self._readings[name]
            explanations.append(explain_reading(classifier, reading, self.image.size, target_class, method))
        return explanations


def consensus_of(explanations: Sequence[Explanation], caution: str | None = None) -> Consensus:
    """What the models' answers come to, and whether what spoke for an answer that they share is in the same place."""
    predictions = [explanation.prediction for explanation in explanations]
    agree = len(predictions) > 1 and len({prediction.predicted_class for prediction in predictions}) == 1
    found = consensus(predictions, overlap([one.evidence() for one in explanations]) if agree else None)
    return replace(found, caution=caution)


def _reduced(image: Image.Image) -> Image.Image:
    shrink = math.sqrt(MAX_PIXELS / (image.width * image.height))
    if shrink >= 1:
        return image
    return image.resize((round(image.width * shrink), round(image.height * shrink)), Image.Resampling.LANCZOS)
