"""How several answers about one slice are summed up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from brain_tumor.acquisition import Caution
from brain_tumor.calibration import Bin
from brain_tumor.inference import Prediction
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.pooling import Pool
from brain_tumor.trust import LEAST_SEEN, MIN_OVERLAP, REFUSED, UNCERTAIN, agreement, consensus


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


def answer(model: str, predicted: str, others: tuple[str, ...] = (), **fields) -> Prediction:
    """A calibrated answer that cannot rule `others` out."""
    (prediction,) = answers(predicted)
    calibrated = {name: 0.7 if name == predicted else 0.1 for name in CLASS_NAMES}
    chosen = (predicted, *others)
    return replace(prediction, model=model, calibrated_probabilities=calibrated, prediction_set=chosen, **fields)


def test_models_that_agree_name_the_class():
    found = consensus([answer("cnn_v4", "glioma"), answer("resnet18", "glioma")], overlap=0.5)
    assert (found.verdict, found.why) == ("glioma", "Both models agree.")
    assert found.prediction_set == ("glioma",)


def test_a_model_that_rules_the_class_out_makes_it_uncertain_and_is_named():
    found = consensus(
        [answer("cnn_v4", "glioma"), answer("resnet18", "glioma"), answer("resnet50", "meningioma")], overlap=0.5
    )
    assert found.verdict == UNCERTAIN
    assert found.leading == "glioma"
    assert "ResNet-50 says meningioma" in found.why
    assert found.prediction_set == ("glioma", "meningioma")


def test_an_unsure_dissenter_does_not_decide():
    unsure = answer("resnet50", "meningioma", ("glioma",))
    found = consensus([answer("cnn_v4", "glioma"), answer("resnet18", "glioma"), unsure], overlap=0.5)
    assert found.verdict == "glioma"
    assert "2 of 3" in found.why
    assert "ResNet-50" in found.why


def test_a_model_that_is_not_calibrated_votes_but_does_not_say_how_sure_the_answer_is():
    loud = {name: float(name == "glioma") for name in CLASS_NAMES}
    voter = replace(answers("glioma")[0], model="resnet50", probabilities=loud)
    both = [answer("cnn_v4", "glioma"), answer("resnet18", "glioma")]
    assert consensus([*both, voter]).probabilities == consensus(both).probabilities
    assert consensus([voter]).probability == 1
    dissenter = replace(answers("meningioma")[0], model="resnet50")
    found = consensus([*both, dissenter])
    assert (found.verdict, found.why) == (UNCERTAIN, "ResNet-50 says meningioma.")


def test_models_that_cannot_leave_classes_open_do_not_outvote_those_that_do():
    open_ = [answer(name, "glioma", ("meningioma",)) for name in ("cnn_v4", "resnet18")]
    plain = [replace(answers("glioma")[0], model=name) for name in ("resnet50", "efficientnet_b0")]
    found = consensus([*open_, *plain], overlap=0.5)
    assert (found.verdict, found.leading) == (UNCERTAIN, "glioma")
    assert "All 4 models say glioma" in found.why and "cannot rule out meningioma" in found.why
    assert consensus([open_[0], answer("resnet18", "glioma"), *plain], overlap=0.5).verdict == "glioma"


def test_two_classes_that_remain_are_both_named():
    found = consensus([answer(name, "glioma", ("meningioma",)) for name in ("cnn_v4", "resnet18")], overlap=0.5)
    assert found.verdict == UNCERTAIN
    assert found.why == ("Both models say glioma, but CNN v4 (optimized) and ResNet-18 cannot rule out meningioma.")
    assert not found.unsaid


def test_what_few_cannot_rule_out_is_said_beside_what_all_say():
    found = consensus(
        [answer("cnn_v4", "glioma", ("meningioma",)), answer("resnet18", "glioma"), answer("resnet50", "glioma")],
        overlap=0.5,
    )
    assert found.verdict == "glioma"
    assert found.why == "All 3 models say glioma; CNN v4 (optimized) cannot rule out meningioma."


def test_what_is_not_said_already_is_to_be_said():
    against = answer("resnet50", "meningioma")
    found = consensus([answer("cnn_v4", "glioma", ("pituitary",)), answer("resnet18", "glioma"), against])
    assert found.verdict == UNCERTAIN
    assert found.unsaid


def test_the_probability_says_whose_it_is():
    plain = replace(answers("glioma")[0], model="resnet50")
    both = [answer("cnn_v4", "glioma"), answer("resnet18", "glioma")]
    assert consensus(both, pools={}).meaning == "mean of 2 calibrated models"
    assert consensus([*both, plain], pools={}).meaning == "mean of 2 calibrated models"
    assert consensus(both[:1]).meaning == "calibrated score"
    assert consensus([both[0], plain]).meaning == "calibrated score of one model"
    assert "not calibrated" in consensus([plain]).meaning


def test_models_that_agree_are_surer_together_than_each_and_say_how_often_that_was_right():
    both = [answer("cnn_v4", "glioma"), answer("resnet18", "glioma")]
    bins = (Bin(0, 0.8, 0.6, 50, 30), Bin(0.8, 1, 0.9, 1200, 1150))
    pools = {frozenset({"cnn_v4", "resnet18"}): Pool(0.5, bins, 1250)}
    found = consensus(both, pools=pools)
    assert found.probability > 0.8 and sum(found.probabilities.values()) == pytest.approx(1)
    assert found.meaning == "2 models together, calibrated"
    assert found.worth == "Of 100 slices of unseen patients scored like this together, 96 were right (n = 1,200)."
    assert found.to_json()["support"] == {"n": 1200, "right": 1150}
    unseen = consensus([replace(one, surest_place=0.1) for one in both], pools=pools)
    assert unseen.support == found.support and unseen.worth is None
    # What is known of two says nothing of three.
    three = consensus([*both, answer("resnet50", "glioma")], pools=pools)
    assert three.probability == pytest.approx(0.7) and three.support is None and three.worth is None
    # One that is not calibrated has no part in it.
    assert consensus([*both, replace(answers("glioma")[0], model="resnet50")], pools=pools).support == bins[1]


def test_images_of_a_kind_that_models_know_nothing_of_get_no_verdict():
    both = [answer("cnn_v4", "glioma"), answer("resnet18", "glioma")]
    found = consensus(both, 0.5, Caution("This is a CT scan.", unknown=True))
    assert (found.verdict, found.caution) == (REFUSED, "This is a CT scan.")


def test_a_class_that_means_little_on_such_images_is_no_verdict():
    flair = Caution("This is FLAIR.", doubtful=("notumor",))
    healthy, ill = ([answer(name, predicted) for name in ("cnn_v4", "resnet18")] for predicted in ("notumor", "glioma"))
    assert consensus(ill, 0.5, flair).verdict == "glioma"
    found = consensus(healthy, None, flair)
    assert found.verdict == UNCERTAIN
    assert found.why == "Both models say no tumour, which means little on an image of this kind."


def test_models_that_look_at_different_places_are_not_believed():
    both = [answer("cnn_v4", "pituitary"), answer("resnet18", "pituitary")]
    assert consensus(both, overlap=MIN_OVERLAP / 2).verdict == UNCERTAIN
    assert consensus(both, overlap=2 * MIN_OVERLAP).verdict == "pituitary"
    # What is nowhere can be seen anywhere.
    nothing = [answer("cnn_v4", "notumor"), answer("resnet18", "notumor")]
    assert consensus(nothing, overlap=MIN_OVERLAP / 2).verdict == "notumor"


def test_a_tumour_that_is_named_but_hardly_seen_is_not_believed():
    def asked(*places: float | None, named: str = "glioma"):
        names = ("cnn_v4", "resnet18", "resnet50")
        return consensus(
            [answer(name, named, surest_place=place) for name, place in zip(names, places, strict=False)], overlap=0.5
        )

    found = asked(None, 0.1, 0.3)
    assert (found.verdict, found.leading) == (UNCERTAIN, "glioma")
    assert found.why == (
        "All 3 models say glioma, but those that say where hardly see one anywhere: 20 % sure at the surest place, on "
        "average."
    )
    assert found.guess == "if a tumour, glioma"
    assert asked(None, 0.1, 0.6).verdict == "glioma"
    # What says no place says nothing against one, and where there is no tumour, there is none to see.
    assert asked(None).verdict == "glioma"
    assert asked(None, 0.1, 0.3, named="notumor").verdict == "notumor"
    alone = consensus([answer("resnet18", "glioma", surest_place=LEAST_SEEN / 2)])
    assert alone.verdict == UNCERTAIN and "The model says glioma, but it hardly sees one anywhere" in alone.why


def test_a_picture_that_half_of_the_models_refuse_is_refused_with_the_reason():
    reason = "This picture is in colour; MRI slices are grey."
    refused = answer("cnn_v4", "glioma", refusal_reason=reason)
    found = consensus([refused, answer("resnet18", "glioma")])
    assert (found.verdict, found.why) == (REFUSED, reason)


def test_one_model_of_several_that_refuses_makes_the_answer_uncertain():
    refused = answer("cnn_v4", "glioma", refusal_reason="It is a cat.")
    found = consensus([refused, answer("resnet18", "glioma"), answer("resnet50", "glioma")])
    assert found.verdict == UNCERTAIN
    assert found.why == "CNN v4 (optimized) would not answer: It is a cat."


@pytest.mark.parametrize("strangeness, verdict", [(3.0, REFUSED), (0.5, UNCERTAIN)])
def test_of_gates_that_disagree_the_surer_one_counts_for_more(strangeness, verdict):
    strange = answer("cnn_v4", "glioma", refusal_reason="It is a cat.", strangeness=strangeness)
    found = consensus([strange, *(answer(name, "glioma", strangeness=-0.9) for name in ("resnet18", "resnet50"))])
    assert found.verdict == verdict and "It is a cat." in found.why


def test_memory_is_said_to_be_memory():
    found = consensus([answer("cnn_v4", "glioma", seen_in_training=True), answer("resnet18", "glioma")])
    assert found.seen_by == ("cnn_v4",)
    assert found.to_json()["seen_in_training"] == ["cnn_v4"]


def test_one_model_alone_is_called_alone():
    found = consensus([answer("resnet18", "notumor")])
    assert found.verdict == "notumor"
    assert "One model" in found.why


def test_a_model_without_a_gate_has_no_say_in_what_is_refused():
    strange = [answer(name, "glioma", refusal_reason="A cat.", strangeness=2.0) for name in ("cnn_v4", "resnet18")]
    mild = answer("resnet50", "glioma", strangeness=-0.5)
    without = [answer(name, "glioma") for name in ("efficientnet_b0", "focused_resnet")]
    assert consensus([*strange, mild]).verdict == REFUSED
    assert consensus([*strange, mild, *without]).verdict == REFUSED
