"""Where the models go wrong on synthetic slices, for those who have no data set to see it on real ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from brain_tumor.catalogue import offered_models
from brain_tumor.disturbance import disturb, get_disturbance
from brain_tumor.examination import Examination
from brain_tumor.examples import list_examples
from brain_tumor.failures import Mistake, Said
from brain_tumor.images import read_image


@dataclass(frozen=True)
class Provoked:
    """A change of a synthetic slice that makes models err, though it hides nothing from a reader.

    Attributes:
        example: title of the slice.
        disturbance, severity: as `disturbance.disturb` takes them.
    """

    example: str
    disturbance: str
    severity: float

    @property
    def lesson(self) -> str:
        """What a student may learn from it, a sentence or two."""
        return _LESSONS[self.disturbance]


PROVOKED = (
    Provoked("Synthetic glioma 2", "writing", 7),
    Provoked("Synthetic glioma 2", "noise", 10),
    Provoked("Synthetic glioma 1", "brightness", 1.5),
    Provoked("Synthetic glioma 3", "upside_down", 1),
    Provoked("Synthetic pituitary tumour 4", "writing", 10),
    Provoked("Synthetic no tumour 1", "coarse", 32),
    Provoked("Synthetic pituitary tumour 3", "coarse", 32),
    Provoked("Synthetic pituitary tumour 3", "brightness", 1.5),
)
_LESSONS = {
    "writing": "Nothing about the brain has changed. A reader looks past the letters; to a network they are strong "
    "edges in the picture like any others.",
    "noise": "A reader looks through noise. A network that has seen little of it meets textures that it does not know.",
    "brightness": "The same brain at another setting of the window: grey values of MRI have no unit, and what is "
    "bright on one scanner is not on another.",
    "upside_down": "The tumour is as plain as before. No network here was shown a head upside down.",
    "coarse": "What is left in a thumbnail is enough to see that something is there, not what: the surest answer would "
    "be none.",
}


@cache  # the same for every visitor
def provoke(one: Provoked) -> tuple[Examination, Mistake]:
    """The changed slice, and what the offered models make of it now.

    Raises:
        CheckpointError: a checkpoint is missing or damaged.
    """
    example = next(example for example in list_examples() if example.title == one.example)
    disturbance = get_disturbance(one.disturbance)
    amount = f" {disturbance.text(one.severity)}" if len(disturbance.severities) > 1 else ""
    examination = Examination(disturb(read_image(example.path), one.disturbance, one.severity), example.title)
    said = tuple(
        Said(p.model, p.predicted_class, p.best_probabilities[p.predicted_class])
        for p in examination.predictions(offered_models())
    )
    return examination, Mistake(f"{example.title}. {disturbance.title}{amount}", example.label, said)
