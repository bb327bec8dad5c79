"""Can the answers be believed? So far: do the models agree?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from brain_tumor.inference import Prediction
from brain_tumor.labels import CLASS_NAMES


@dataclass(frozen=True)
class Agreement:
    """How several models' answers about one slice go together.

    Attributes:
        votes: class -> names of the models that predict it, most votes first.
        leading: the class with the most votes, or None where two share the first place.
    """

    votes: dict[str, tuple[str, ...]]
    leading: str | None

    @property
    def unanimous(self) -> bool:
        return len(self.votes) == 1

    @property
    def models(self) -> int:
        return sum(len(names) for names in self.votes.values())


def agreement(predictions: Sequence[Prediction]) -> Agreement:
    """Count the votes; ValueError if there are none."""
    if not predictions:
        raise ValueError("No predictions, so nothing to agree on.")
    counts = Counter(p.predicted_class for p in predictions)
    ranked = sorted(counts, key=lambda name: (-counts[name], CLASS_NAMES.index(name)))
    tied = len(ranked) > 1 and counts[ranked[0]] == counts[ranked[1]]
    votes = {name: tuple(p.model for p in predictions if p.predicted_class == name) for name in ranked}
    return Agreement(votes, None if tied else ranked[0])
