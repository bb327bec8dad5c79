"""What a student is asked, and what the score says; what the models confuse; and the pages to read."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest
from slices import mri_slice

from brain_tumor.failures import confident_mistakes, confusions
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.quiz import CONFIDENCES, Case, kaggle_folder, list_cases, score, start
from brain_tumor.tumours import PAGES


def cases(**counts: int) -> list[Case]:
    return [Case(Path(f"{label}-{k}.png"), label, "test") for label, n in counts.items() for k in range(n)]


def test_every_class_comes_as_often_however_many_slices_it_has():
    quiz = start(cases(glioma=900, meningioma=100, notumor=100, pituitary=100), seed=1, size=200)
    counts = Counter(case.label for case in quiz.deck)
    assert len(quiz.deck) == len(set(quiz.deck)) == 200
    assert all(30 <= counts[label] <= 70 for label in CLASS_NAMES)


def test_a_seed_fixes_the_order_and_another_changes_it():
    some = cases(glioma=20, notumor=20)
    assert start(some, 1) == start(some, 1)
    assert start(some, 1) != start(some, 2)


def test_an_answer_counts_once_and_the_next_slice_is_another():
    quiz = start(cases(glioma=2), 0)
    first = quiz.case
    quiz = quiz.answer("glioma", 0.8)
    assert quiz.case == first and not quiz.open
    with pytest.raises(ValueError, match="Next slice"):
        quiz.answer("glioma", 0.8)
    quiz = quiz.next()
    assert quiz.case not in (first, None)
    assert quiz.answer("glioma", 0.8).next().case is None


@pytest.mark.parametrize(("said", "confidence"), [(None, 0.8), ("glioma", None), ("metastasis", 0.8), ("glioma", 0.1)])
def test_half_an_answer_is_none(said, confidence):
    with pytest.raises(ValueError, match="Choose one answer"):
        start(cases(glioma=1), 0).answer(said, confidence)


def test_the_score_is_that_of_brier_and_counts_by_confidence():
    quiz = start(cases(glioma=4), 0)
    for said, confidence, model in (
        ("glioma", 0.8, "glioma"),
        ("glioma", 0.8, "notumor"),
        ("notumor", 0.8, "glioma"),
        ("notumor", 0.25, "glioma"),
    ):
        quiz = quiz.answer(said, confidence, [("m", model)]).next()
    found = score(quiz.answers)
    assert (found.n, found.right) == (4, 2)
    assert found.brier == pytest.approx((0.2**2 + 0.2**2 + 0.8**2 + 0.25**2) / 4)
    assert [(level.confidence, level.right, level.n) for level in found.levels] == [(0.25, 0, 1), (0.8, 2, 3)]
    assert found.models == (("m", 3, 4),)
    assert found.mean_confidence == pytest.approx((3 * 0.8 + 0.25) / 4)
    assert score([]).brier is None


def test_without_data_the_synthetic_examples_are_asked_about_and_say_so():
    found = list_cases(None)
    assert {case.label for case in found} == set(CLASS_NAMES)
    assert all(case.synthetic and case.path.is_file() and case.source.startswith("Synthetic") for case in found)


def test_figshare_comes_with_boxes_and_kaggle_gives_the_slices_without_tumour(tmp_path):
    figshare, kaggle = tmp_path / "figshare-cheng", tmp_path / "kaggle-brain-tumor-mri"
    (figshare / "images").mkdir(parents=True)
    mri_slice().save(figshare / "images" / "1.jpg")
    (figshare / "annotations.csv").write_text(
        "image,label,fold,box_x_center,box_y_center,box_width,box_height\n1.jpg,meningioma,3,0.6,0.4,0.2,0.1\n"
    )
    for label in CLASS_NAMES:
        (kaggle / "Testing" / label).mkdir(parents=True)
        mri_slice().save(kaggle / "Testing" / label / "a.jpg")
    both = list_cases(tmp_path)
    assert [case.label for case in both] == ["meningioma", "notumor"]
    assert both[0].box == pytest.approx((0.5, 0.35, 0.7, 0.45))
    assert not both[0].synthetic and both[1].box is None
    assert {case.label for case in list_cases(kaggle)} == set(CLASS_NAMES)
    assert [case.label for case in list_cases(figshare)] == ["meningioma"]


def test_a_folder_without_data_falls_back_to_the_examples(tmp_path):
    assert list_cases(tmp_path) == list_cases(None)


def test_mistakes_are_mistakes_and_the_surest_come_first():
    found = confident_mistakes()
    if not found:
        pytest.skip("no predictions of an offered model")
    weights = [mistake.weight for mistake in found]
    assert weights == sorted(weights, reverse=True)
    assert all(mistake.wrong and mistake.image.split("/")[1] == mistake.label for mistake in found)
    wrong = sum(len(mistake.wrong) for mistake in found)
    assert wrong == sum(counts.total() for label in CLASS_NAMES for _, _, counts in confusions(label))
    assert all(label not in counts for label in CLASS_NAMES for _, _, counts in confusions(label))


def test_mistakes_are_found_in_the_users_copy():
    root = os.environ.get("BRAIN_TUMOR_DATA")
    if not root or kaggle_folder(Path(root)) is None:
        pytest.skip("BRAIN_TUMOR_DATA names no Kaggle data set")
    assert all((kaggle_folder(Path(root)) / mistake.image).is_file() for mistake in confident_mistakes())


def test_every_class_has_a_page_with_sources():
    assert set(PAGES) == set(CLASS_NAMES)
    for page in PAGES.values():
        assert 3 <= len(page.sources) <= 6
        assert all(re.fullmatch(r"10\.\d{4,}/\S+", source.doi) for source in page.sources)
        assert len({source.doi for source in page.sources}) == len(page.sources)
        assert len(page.sections) >= 5


def test_a_guess_among_four_may_be_called_one():
    assert CONFIDENCES[0] == 1 / len(CLASS_NAMES) and CONFIDENCES[-1] == 1
