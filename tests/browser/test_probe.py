"""Try to break it: what is changed by mouse, finger or key reaches the models, and can be taken back."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Page, expect
from slices import mri_slice

from brain_tumor import list_models

OFFERED = [model.spec for model in list_models(available_only=True) if model.spec.offered]

_GREY = """async ([x, y]) => {
    const image = document.querySelector("#probe-answer .cover img");
    await image.decode();
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0);
    return pen.getImageData(x * canvas.width, y * canvas.height, 1, 1).data[0];
}"""


class Probe:
    """The tab by the names of its parts."""

    def __init__(self, tab: Page, url: str, query: str = ""):
        self.tab = tab
        tab.goto(url + query)
        self.cards = tab.locator("#probe-answer .probe-card")
        self.after = tab.locator("#probe-answer .cover figcaption")
        self.canvas = tab.locator("#probe-canvas canvas")

    def open(self) -> None:
        self.tab.get_by_role("tab", name="Try to break it").click()
        expect(self.cards).to_have_count(len(OFFERED))

    def slider(self, name: str):
        return self.tab.locator(f"#probe-{name}-amount input[type=range]")

    def grey(self, x: float, y: float) -> int:
        """Of the changed slice, at a place in fractions of it."""
        return self.tab.evaluate(_GREY, [x, y])


@pytest.fixture
def probe(tab: Page, app_url: str) -> Probe:
    assert OFFERED, f"no model can be loaded: {list_models()[0].problem}"
    return Probe(tab, app_url)


def test_answers_follow_a_slider_and_undo_takes_it_back(probe):
    probe.open()
    expect(probe.after).to_contain_text("Nothing changed yet")
    probe.slider("brightness").press("End")
    expect(probe.after).to_contain_text("Brightness times 1.5")
    for card in probe.cards.all():
        flipped = card.get_attribute("data-before") != card.get_attribute("data-after")
        expect(card.locator(".verdict")).to_contain_text("Flips" if flipped else "Holds")
        assert card.locator("tbody tr").count() == 1 + flipped
    # A change without a neutral place is switched on by whoever moves its slider.
    probe.slider("jpeg").press("Home")
    expect(probe.after).to_contain_text("Brightness times 1.5; JPEG, quality 5")
    probe.tab.locator("#probe-undo").click()
    expect(probe.after).not_to_contain_text("JPEG")
    expect(probe.tab.locator("#probe-jpeg-on input")).not_to_be_checked()
    probe.tab.locator("#probe-reset").click()
    expect(probe.after).to_contain_text("Nothing changed yet")
    expect(probe.slider("brightness")).to_have_value("1")


def test_a_slider_that_is_moved_before_the_slice_is_there_counts(probe):
    probe.tab.get_by_role("tab", name="Try to break it").click()
    probe.slider("brightness").press("End")
    expect(probe.after).to_contain_text("Brightness times 1.5")
    expect(probe.slider("brightness")).to_have_value("1.5")


def test_what_is_painted_over_is_black_for_the_models(probe):
    probe.open()
    before = probe.grey(0.5, 0.5)
    assert before > 0
    probe.canvas.scroll_into_view_if_needed()
    box = probe.canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    probe.tab.mouse.move(x - 20, y)
    probe.tab.mouse.down()
    probe.tab.mouse.move(x + 20, y, steps=4)
    probe.tab.mouse.up()
    expect(probe.after).to_contain_text("Covered in part")
    assert probe.grey(0.5, 0.5) == 0
    probe.tab.locator("#probe-undo").click()
    expect(probe.after).to_contain_text("Nothing changed yet")
    assert probe.grey(0.5, 0.5) == before
    # By keyboard: the cursor starts in the middle.
    probe.canvas.focus()
    probe.canvas.press("Space")
    expect(probe.after).to_contain_text("Covered in part")
    assert probe.grey(0.5, 0.5) == 0


def test_the_smallest_flip_is_told_and_shown(probe):
    probe.open()
    probe.tab.locator("#probe-brightness-find").click()
    found = probe.tab.locator("#probe-brightness-found p")
    for spec in OFFERED:
        expect(found).to_contain_text(spec.title)
    if "changes to" in found.inner_text():
        expect(probe.after).to_contain_text("Brightness times")
        expect(probe.tab.locator("#probe-answer .probe-card.flips")).not_to_have_count(0)
    else:
        expect(probe.after).to_contain_text("Nothing changed yet")


def test_a_search_does_not_bring_back_the_slice_before(probe):
    probe.open()
    picture = probe.tab.locator("#probe-canvas img")
    before = picture.get_attribute("src")
    probe.tab.locator("#probe-brightness-find").click()
    probe.tab.locator("#probe-source input").click()
    probe.tab.get_by_role("option").last.click()
    expect(picture).not_to_have_attribute("src", before)
    after = picture.get_attribute("src")
    # Searches wait in line: after this one the first has ended.
    probe.tab.locator("#probe-gamma-find").click()
    expect(probe.tab.locator("#probe-gamma-found p")).to_contain_text(OFFERED[0].title)
    expect(probe.tab.locator("#probe-brightness-found")).to_have_text("")
    expect(picture).to_have_attribute("src", after)


def test_the_table_of_every_change_ends_with_reset_and_can_be_had_again(probe):
    probe.open()
    rows = probe.tab.locator("#probe-swept tbody tr")
    probe.tab.locator("#probe-sweep").click()
    expect(rows.first).to_be_visible()
    probe.tab.locator("#probe-reset").click()
    expect(rows).to_have_count(0)
    probe.tab.locator("#probe-sweep").click()
    expect(rows.first).to_be_visible()


def test_the_slice_of_the_first_tab_is_the_one_that_is_tried(probe, tmp_path):
    mri_slice(3, size=300).save(tmp_path / "mine.png")
    probe.tab.set_input_files("#slice-upload input[type=file]", tmp_path / "mine.png")
    expect(probe.tab.locator("#answer .card")).not_to_have_count(0)
    probe.open()
    expect(probe.tab.locator("#probe-canvas img")).to_have_js_property("naturalWidth", 300)
    expect(probe.tab.locator("#probe-source input")).to_have_value("That of the first tab")


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1366, "light")])
def test_nothing_is_wider_than_the_window(tab, app_url, screenshots, width, theme):
    probe = Probe(tab, app_url, f"?__theme={theme}")
    probe.open()
    # A narrow window keeps the last tabs in a menu, so it is narrowed once the tab is open.
    tab.set_viewport_size({"width": width, "height": 844 if width < 500 else 768})
    probe.slider("contrast").press("End")
    expect(probe.after).to_contain_text("Contrast")
    assert tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    tab.screenshot(path=screenshots / f"probe-{width}.png", full_page=True)
