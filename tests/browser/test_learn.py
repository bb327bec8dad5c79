"""Learn: nothing is given away before the student has answered, and the score adds up."""

from __future__ import annotations

import os
import re

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Page, expect

from brain_tumor import list_models
from brain_tumor.labels import DISPLAY_TEXT
from brain_tumor.provoked import PROVOKED
from brain_tumor.tumours import PAGES

OFFERED = [model.spec for model in list_models(available_only=True) if model.spec.offered]


class Learn:
    """The tab by the names of its parts."""

    def __init__(self, tab: Page, url: str, query: str = ""):
        self.tab = tab
        tab.goto(url + query)
        tab.get_by_role("tab", name="Learn").click()
        self.slice = tab.locator("#learn-slice img")
        self.truth = tab.locator("#learn-truth .truth")
        self.tally = tab.locator("#learn-score")
        expect(self.slice).to_be_visible()

    def answer(self, text: str, percent: str) -> None:
        self.tab.locator("#learn-said").get_by_label(text, exact=True).check()
        self.tab.locator("#learn-sure").get_by_label(percent).check()
        self.tab.locator("#learn-commit").click()
        expect(self.truth).to_be_visible()


@pytest.fixture
def learn(tab: Page, app_url: str) -> Learn:
    return Learn(tab, app_url)


def test_the_truth_comes_after_the_answer_and_the_score_counts_it(learn):
    before = learn.tab.locator("#learn-slice").inner_text().lower()
    assert not [text for text in DISPLAY_TEXT.values() if text.lower() in before]
    learn.tab.locator("#learn-commit").click()
    expect(learn.tab.locator("#learn-truth [role=alert]")).to_contain_text("Choose one answer and how sure you are")
    expect(learn.truth).to_have_count(0)
    learn.answer("Glioma", "80 %")
    expect(learn.truth.locator(".learn-card")).to_have_count(len(OFFERED))
    right = "Right." in learn.truth.locator("h3").inner_text()
    expect(learn.tally).to_contain_text(f"You: {int(right)} of 1")
    expect(learn.tally).to_contain_text(f"Brier score {0.04 if right else 0.64:.2f}")
    first = learn.slice.get_attribute("src")
    learn.tab.locator("#learn-next").click()
    expect(learn.truth).to_have_count(0)
    expect(learn.slice).not_to_have_attribute("src", first)
    expect(learn.tab.locator("#learn-said input:checked")).to_have_count(0)
    learn.answer("No tumour", "40 %")
    expect(learn.tally).to_contain_text(" of 2")
    learn.tab.locator("#learn-restart").click()
    expect(learn.tally).to_contain_text("Your score begins")


def test_each_class_has_a_page_with_sources(learn):
    learn.tab.get_by_role("tab", name="Tumour types").click()
    for label, page in PAGES.items():
        learn.tab.locator("#learn-class").get_by_label(DISPLAY_TEXT[label], exact=True).check()
        expect(learn.tab.locator("#learn-page h2")).to_have_text(DISPLAY_TEXT[label])
        expect(learn.tab.locator("#learn-page ol a")).to_have_count(len(page.sources))


def test_failures_are_shown_from_ones_own_data_or_on_synthetic_slices(learn):
    learn.tab.get_by_role("tab", name="Instructive failures").click()
    gallery = learn.tab.locator("#learn-gallery")
    expect(gallery.locator(".failure").first).to_be_visible()
    if not os.environ.get("BRAIN_TUMOR_DATA"):
        expect(gallery).to_contain_text("python -m training data kaggle")
        expect(gallery.locator(".failure .file")).to_have_text([re.compile("^Synthetic")] * len(PROVOKED))


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1366, "light")])
def test_nothing_is_wider_than_the_window(tab, app_url, screenshots, width, theme):
    learn = Learn(tab, app_url, f"?__theme={theme}")
    # A narrow window keeps the last tabs in a menu, so it is narrowed once the tab is open.
    tab.set_viewport_size({"width": width, "height": 844 if width < 500 else 768})
    learn.answer("Meningioma", "60 %")
    assert tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    # Pictures go into the repository's documentation: never those of patients.
    if "Synthetic" in learn.truth.inner_text():
        tab.screenshot(path=screenshots / f"learn-{width}.png", full_page=True)
