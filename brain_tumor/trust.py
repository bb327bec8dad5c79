"""Can the answers be believed? What several models' answers about one slice come to together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brain_tumor.acquisition import Caution
from brain_tumor.calibration import Bin
from brain_tumor.inference import Prediction, rounded
from brain_tumor.labels import CLASS_NAMES, DISPLAY_TEXT
from brain_tumor.pooling import Pools, geometric_mean, load_pools
from brain_tumor.refusal import refused_together
from brain_tumor.registry import get_spec

UNCERTAIN = "uncertain"
REFUSED = "refused"

MIN_OVERLAP = 0.2
"""Heatmaps that overlap less (`explanation.overlap`) look at different places. How often models
that agree on a tumour of a patient not seen are right, by overlap, is in docs/trust.md: few overlap so little."""

LEAST_SEEN = 0.25
"""Models that name a tumour, and of the surest place are less sure on average, hardly see it. So it is with few tumours
of patients not seen, and with most slices without one that merely look like those that have one (docs/trust.md)."""


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


@dataclass(frozen=True)
class Consensus:
    """What the answers of several models come to.

    Attributes:
        verdict: a class, UNCERTAIN or REFUSED.
        why: one sentence.
        leading: the most probable class, whatever the verdict.
        probabilities: class -> what the models that are calibrated take for probable together (`brain_tumor.pooling`);
            all models where none is.
        prediction_set: the classes that at least one model cannot rule out at 95 %, the most probable first.
        seen_by: the models that had this slice among their training images.
        scored: how many models `probabilities` is of.
        calibrated: these are calibrated.
        support: how often they were right on slices of patients not seen that they scored like this together; None
            where that has not been measured.
        surest_place: `Prediction.surest_place`, mean over the models that say where; None where none does.
        caution: what makes all models less believable on this slice, sentences, or None: `Volume.caution_in`.
    """

    verdict: str
    why: str
    leading: str
    probabilities: dict[str, float]
    prediction_set: tuple[str, ...]
    agreement: Agreement
    seen_by: tuple[str, ...]
    scored: int
    calibrated: bool
    support: Bin | None = None
    surest_place: float | None = None
    caution: str | None = None

    @property
    def probability(self) -> float:
        """That of the leading class."""
        return self.probabilities[self.leading]

    @property
    def meaning(self) -> str:
        """What `probability` is, in a few words."""
        if self.agreement.models == 1:
            return "calibrated score" if self.calibrated else "raw score, not calibrated"
        if self.support and self.scored > 1:
            return f"{self.scored} models together, calibrated"
        if self.calibrated and self.scored == 1:
            return "calibrated score of one model"
        return f"mean of {self.scored} calibrated models" if self.calibrated else "mean of models, not calibrated"

    @property
    def worth(self) -> str | None:
        """A sentence on how often `probability` was right; None where it is not known, a single model's own, or counted
        on slices that most are unlike this one, on which a tumour is hardly seen."""
        if self.support is None or self.scored == 1 or self.hardly_seen:
            return None
        right = f"{self.support.of_hundred} were right (n = {self.support.n:,})"
        return f"Of 100 slices of unseen patients scored like this together, {right}."

    @property
    def unsaid(self) -> bool:
        """Several classes cannot be ruled out, and `why` does not name them all."""
        named = self.why.lower()
        return len(self.prediction_set) > 1 and any(DISPLAY_TEXT[n].lower() not in named for n in self.prediction_set)

    @property
    def hardly_seen(self) -> bool:
        """A tumour is the most probable, and those that say where are sure of no place."""
        return _seen_nowhere(self.leading, self.surest_place)

    @property
    def guess(self) -> str:
        """What an uncertain verdict leaves: "perhaps glioma"; "if a tumour, glioma" where one is hardly seen."""
        text = DISPLAY_TEXT[self.leading].lower()
        return f"if a tumour, {text}" if self.hardly_seen else f"perhaps {text}"

    @property
    def decided(self) -> bool:
        return self.verdict not in (UNCERTAIN, REFUSED)

    @property
    def refused(self) -> bool:
        return self.verdict == REFUSED

    def to_json(self) -> dict[str, Any]:
        """What the command line and the API say of it."""
        return {
            "model": "consensus",
            "verdict": self.verdict,
            "why": self.why,
            "probabilities": rounded(self.probabilities),
            "support": self.support and {"n": self.support.n, "right": self.support.right},
            "prediction_set": list(self.prediction_set),
            "seen_in_training": list(self.seen_by),
            "surest_place": self.surest_place and round(self.surest_place, 4),
            "caution": self.caution,
        }


def agreement(predictions: Sequence[Prediction]) -> Agreement:
    """Count the votes; ValueError if there are none."""
    if not predictions:
        raise ValueError("No predictions, so nothing to agree on.")
    counts = Counter(p.predicted_class for p in predictions)
    ranked = sorted(counts, key=lambda name: (-counts[name], CLASS_NAMES.index(name)))
    tied = len(ranked) > 1 and counts[ranked[0]] == counts[ranked[1]]
    votes = {name: tuple(p.model for p in predictions if p.predicted_class == name) for name in ranked}
    return Agreement(votes, None if tied else ranked[0])


def consensus(
    predictions: Sequence[Prediction],
    overlap: float | None = None,
    caution: Caution | None = None,
    pools: Pools | None = None,
) -> Consensus:
    """What several answers about one slice come to.

    Refused, if the models together take the picture for no brain MRI slice, or if it was made in a way of which they
    know nothing. Uncertain, if only some do, if a model rules the leading class out, if several classes remain for
    most of the models that can say so, if they name a tumour and hardly see one anywhere, if they look at different
    places, or if the class means little on images that were made so. Otherwise the class that they take for the most
    probable together. Models whose scores were never held against patients not seen rule out what they do not predict,
    but do not say how sure the answer is where others can.

    Args:
        predictions: one per model, at least one.
        overlap: the smallest overlap of two heatmaps for the leading class (`explanation.overlap`), if it is known.
        caution: what is known of how the image was made, and speaks against the answers.
        pools: what calibrated models are worth together; None means what lies beside the checkpoints.
    """
    votes = agreement(predictions)
    sure = [p for p in predictions if p.calibrated_probabilities] or predictions
    probabilities, support = _together(sure, load_pools() if pools is None else pools)
    ranked = sorted(CLASS_NAMES, key=lambda name: -probabilities[name])
    sets = [p.prediction_set or (p.predicted_class,) for p in predictions]
    places = [p.surest_place for p in predictions if p.surest_place is not None]
    surest = sum(places) / len(places) if places else None
    verdict, why = _verdict(predictions, votes, ranked[0], sets, surest, overlap)
    if caution and caution.unknown:
        verdict, why = REFUSED, "It is of a kind that the models know nothing of."
    elif caution and verdict in caution.doubtful:
        verdict, why = UNCERTAIN, f"{_say(votes, verdict)}, which means little on an image of this kind."
    return Consensus(
        verdict=verdict,
        why=why,
        leading=ranked[0],
        probabilities=probabilities,
        prediction_set=tuple(name for name in ranked if any(name in chosen for chosen in sets)),
        agreement=votes,
        seen_by=tuple(p.model for p in predictions if p.seen_in_training),
        scored=len(sure),
        calibrated=all(p.calibrated_probabilities for p in sure),
        support=support,
        surest_place=surest,
        caution=caution and caution.text,
    )


def _together(predictions: Sequence[Prediction], pools: Pools) -> tuple[dict[str, float], Bin | None]:
    """Class -> probability, and how often that was right; the predictions are all calibrated, or none is."""
    first = predictions[0]
    if len(predictions) == 1:
        return first.best_probabilities, first.support
    each = np.array([[p.best_probabilities[name] for name in CLASS_NAMES] for p in predictions])
    pool = pools.get(frozenset(p.model for p in predictions)) if first.calibrated_probabilities else None
    found = pool.probabilities(each) if pool else geometric_mean(each)
    support = pool.bin_of(float(found.max())) if pool else None
    return dict(zip(CLASS_NAMES, found.tolist(), strict=True)), support


def _verdict(
    predictions: Sequence[Prediction],
    votes: Agreement,
    leading: str,
    sets: Sequence[tuple[str, ...]],
    surest: float | None,
    overlap: float | None,
) -> tuple[str, str]:
    refusals = [p.refusal_reason for p in predictions if p.refusal_reason]
    if _refused(predictions):
        return REFUSED, Counter(refusals).most_common(1)[0][0]
    if refusals:
        doubting = _list(get_spec(p.model).title for p in predictions if p.refusal_reason)
        return UNCERTAIN, f"{doubting} would not answer: {refusals[0]}"
    text = DISPLAY_TEXT[leading].lower()
    against = [p for p, chosen in zip(predictions, sets, strict=True) if leading not in chosen]
    if against:
        ruled_out = f", which rules {text} out" if any(p.prediction_set for p in against) else ""
        return UNCERTAIN, f"{_list(_answer(p) for p in against)}{ruled_out}."
    # Of the models that can leave several classes open: those that were measured on patients not seen.
    measured = [p for p in predictions if p.prediction_set]
    open_ = [p for p in measured if len(p.prediction_set) > 1]
    remaining = sorted({name for p in open_ for name in p.prediction_set} - {leading}, key=CLASS_NAMES.index)
    doubt = remaining and f"{_list(get_spec(p.model).title for p in open_)} cannot rule out {either(remaining)}"
    if 2 * len(open_) > len(measured):
        return UNCERTAIN, f"{_say(votes, leading)}, but {doubt}."
    if _seen_nowhere(leading, surest):
        return UNCERTAIN, f"{_say(votes, leading)}, but {_hardly_seen(predictions, surest)}."
    if overlap is not None and overlap < MIN_OVERLAP and leading != "notumor":
        return UNCERTAIN, f"The models say {text}, but for reasons in different places of the slice."
    if len(predictions) == 1:
        return leading, "One model was asked: nothing confirms or contradicts it."
    if votes.unanimous and doubt:
        return leading, f"{_say(votes, leading)}; {doubt}."
    if votes.unanimous:
        return leading, f"{_everyone(votes)} agree."
    dissent = [p for p in predictions if p.predicted_class != leading]
    agreeing = votes.models - len(dissent)
    return leading, f"{agreeing} of {votes.models} models; {_list(_answer(p) for p in dissent)}, unsurely."


def _refused(predictions: Sequence[Prediction]) -> bool:
    """By the mean over the models with a gate of how little it looks like a slice; where one refuses without having
    asked its gate, or none has one, by their votes."""
    strangeness = [p.strangeness for p in predictions if p.strangeness is not None]
    if strangeness and all(p.strangeness is not None or p.refusal_reason is None for p in predictions):
        return bool(refused_together(np.array(strangeness)))
    return 2 * sum(p.refusal_reason is not None for p in predictions) >= len(predictions)


def _seen_nowhere(leading: str, surest: float | None) -> bool:
    return leading != "notumor" and surest is not None and surest < LEAST_SEEN


def _hardly_seen(predictions: Sequence[Prediction], surest: float) -> str:
    sure = f"{100 * surest:.0f} % sure at the surest place"
    if len(predictions) == 1:
        return f"it hardly sees one anywhere: {sure}"
    average = ", on average" if sum(p.surest_place is not None for p in predictions) > 1 else ""
    return f"those that say where hardly see one anywhere: {sure}{average}"


def _everyone(votes: Agreement) -> str:
    return {1: "The model", 2: "Both models"}.get(votes.models, f"All {votes.models} models")


def _say(votes: Agreement, name: str) -> str:
    """How many models say that class: "All 4 models say glioma"."""
    text, count = DISPLAY_TEXT[name].lower(), len(votes.votes.get(name, ()))
    if count == votes.models:
        return f"{_everyone(votes)} {'says' if count == 1 else 'say'} {text}"
    return f"{count} of {votes.models} models {'says' if count == 1 else 'say'} {text}"


def either(names: Sequence[str]) -> str:
    """Class names as "glioma or meningioma"."""
    texts = [DISPLAY_TEXT[name].lower() for name in names]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"


def _answer(prediction: Prediction) -> str:
    return f"{get_spec(prediction.model).title} says {DISPLAY_TEXT[prediction.predicted_class].lower()}"


def _list(parts) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
