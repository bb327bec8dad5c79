"""Every slice of a volume under several models: the answer along the scan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from brain_tumor.examination import Examination, consensus_of_readings
from brain_tumor.inference import load_model
from brain_tumor.trust import Consensus
from brain_tumor.volumes import Volume, Window

BATCH = 8
MIN_SUSPICION = 0.2


@dataclass(frozen=True)
class Finding:
    """One slice of a sweep: its index in the plane, and what the models come to."""

    index: int
    consensus: Consensus

    @property
    def suspicion(self) -> float:
        """Probability that it shows a tumour, times how sure the models that say where are of the surest place, in
        [0, 1]; 0 where it is taken for no brain slice.

        On scans of some kinds each slice looks as if it had a tumour somewhere; the place says on which.
        """
        found = self.consensus
        seen = 1.0 if found.surest_place is None else found.surest_place
        return 0.0 if found.refused else (1.0 - found.probabilities["notumor"]) * seen


def sweep(volume: Volume, plane: str, window: Window | None, models: Sequence[str]) -> Iterator[Finding]:
    """The slices of a plane from the first to the last, a few at a time.

    Args:
        plane, window: as for `Volume.slice`.
        models: names of systems, at least one.

    Raises:
        CheckpointError: a model cannot be loaded.
    """
    classifiers = [load_model(name) for name in models]
    caution = volume.caution_in(window)
    remaining = iter(range(volume.count(plane)))
    while indices := list(islice(remaining, BATCH)):
        examined = [Examination(volume.slice(plane, index, window), "", caution) for index in indices]
        answers = [classifier.read([one.image for one in examined]) for classifier in classifiers]
        for index, one, *readings in zip(indices, examined, *answers, strict=True):
            yield Finding(index, consensus_of_readings(classifiers, readings, one))


def most_suspicious(findings: Sequence[Finding], count: int = 5) -> list[Finding]:
    """The most suspicious findings first, none below MIN_SUSPICION; slices next to one that is listed are left out."""
    chosen: list[Finding] = []
    for finding in sorted(findings, key=lambda f: -f.suspicion):
        if finding.suspicion < MIN_SUSPICION:
            break
        if len(chosen) < count and all(abs(finding.index - other.index) > 1 for other in chosen):
            chosen.append(finding)
    return chosen
