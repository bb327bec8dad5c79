"""How several answers about one slice are summed up."""

from __future__ import annotations

import pytest

from brain_tumor.inference import Prediction
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.trust import agreement


def answers(*classes: str) -> list[Prediction]:
    """Model a predicts the first class, b the second, and so on."""
    return [
        Prediction(
            model=model,
            predicted_class=predicted,
            probabilities={name: 0.7 if name == predicted else 0.1 for name in CLASS_NAMES},
            logits=tuple(float(name == predicted) for name in CLASS_NAMES),
            milliseconds=1.0,
        )
        for model, predicted in zip("abcdefghi", classes, strict=False)
    ]


@pytest.mark.parametrize("predicted", CLASS_NAMES)
@pytest.mark.parametrize("models", [2, 4, 9])
def test_all_the_same(predicted, models):
    found = agreement(answers(*[predicted] * models))
    assert found.unanimous
    assert found.leading == predicted
    assert found.models == models
    assert found.votes == {predicted: tuple("abcdefghi"[:models])}


def test_majority_leads_but_is_not_unanimous():
    found = agreement(answers("pituitary", "glioma", "pituitary", "pituitary"))
    assert found.leading == "pituitary"
    assert not found.unanimous
    assert list(found.votes.items()) == [("pituitary", ("a", "c", "d")), ("glioma", ("b",))]
    assert found.models == 4


def test_most_votes_lead_without_a_majority():
    found = agreement(answers("notumor", "glioma", "pituitary", "pituitary", "meningioma"))
    assert found.leading == "pituitary"
    assert list(found.votes) == ["pituitary", "glioma", "meningioma", "notumor"]


@pytest.mark.parametrize(
    "classes",
    [
        ("glioma", "notumor"),
        ("glioma", "notumor", "notumor", "glioma"),
        ("meningioma", "glioma", "meningioma", "pituitary", "glioma"),
        CLASS_NAMES,
    ],
)
def test_a_tie_has_no_leader(classes):
    found = agreement(answers(*classes))
    assert found.leading is None
    assert not found.unanimous
    assert found.models == len(classes)


def test_a_tie_behind_the_leader_does_not_matter():
    assert agreement(answers("notumor", "notumor", "glioma", "pituitary")).leading == "notumor"


def test_order_of_the_answers_does_not_decide():
    classes = ["glioma", "notumor", "notumor", "glioma", "pituitary"]
    assert list(agreement(answers(*classes)).votes) == list(agreement(answers(*classes[::-1])).votes)


def test_one_answer_agrees_with_itself():
    found = agreement(answers("meningioma"))
    assert found.unanimous and found.leading == "meningioma" and found.models == 1


def test_no_answers_are_refused():
    with pytest.raises(ValueError, match="No predictions"):
        agreement([])
