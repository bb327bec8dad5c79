"""What a visitor meets: one drop, and every model's answer; nothing to press, nothing left over from before."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Locator, Page, expect
from slices import mri_slice

from brain_tumor import classify, list_models, load_model
from brain_tumor.explanation import CAMS, DEFAULT_CAM, METHODS
from brain_tumor.labels import CLASS_NAMES, DISPLAY_TEXT

OFFERED = [model.spec for model in list_models(available_only=True) if model.spec.offered]


@pytest.fixture(scope="module", autouse=True)
def some_model() -> None:
    assert OFFERED, f"no model can be loaded: {list_models()[0].problem}"


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("slices")
    paths = []
    for seed in range(3):
        paths.append(folder / f"slice-{seed}.png")
        mri_slice(seed, size=(256, 320, 200)[seed]).save(paths[-1])
    return paths


@pytest.fixture
def page(tab: Page, app_url: str) -> AppPage:
    return AppPage(tab, app_url)


class AppPage:
    """The page by the names of its parts."""

    def __init__(self, tab: Page, url: str):
        self.tab = tab
        self.url = url
        self.cards = tab.locator("#answer .card[data-model]")
        self.banner = tab.locator("#answer .banner")
        self.alert = tab.locator("#answer [role=alert]")
        self.heats = tab.locator("#answer .card[data-model] img.heat")
        self.drop_button = tab.locator("#slice-upload button")
        self.open()

    def open(self, query: str = "") -> None:
        self.tab.goto(self.url + query)
        self.tab.locator("#slice-upload input[type=file]").wait_for(state="attached")
        self.tab.locator("html[data-listens]").wait_for(state="attached")

    def upload(self, path: Path) -> None:
        self.tab.set_input_files("#slice-upload input[type=file]", path)

    def show(self, path: Path) -> None:
        """Upload and wait for the answer."""
        self.upload(path)
        self.shows(path)

    def shows(self, path: Path) -> None:
        expect(self.banner.locator(".name")).to_have_text(path.name)
        expect(self.cards).not_to_have_count(0)

    def files(self, path: Path):
        """The file as what a browser hands over in a drop or a paste."""
        return self.tab.evaluate_handle(
            """([name, content]) => {
                const bytes = Uint8Array.from(atob(content), c => c.charCodeAt(0));
                const transfer = new DataTransfer();
                transfer.items.add(new File([bytes], name, { type: "image/png" }));
                return transfer;
            }""",
            [path.name, base64.b64encode(path.read_bytes()).decode()],
        )

    def drop(self, path: Path, on: str) -> None:
        files = self.files(path)
        for event in ("dragenter", "dragover", "drop"):
            self.tab.dispatch_event(on, event, {"dataTransfer": files})

    def paste(self, path: Path) -> None:
        self.files(path).evaluate(
            """files => document.body.dispatchEvent(
                new ClipboardEvent("paste", { clipboardData: files, bubbles: true, cancelable: true }))"""
        )

    def model(self, title: str) -> Locator:
        return self.tab.locator("#models").get_by_label(title, exact=True)

    def choose_target(self, text: str) -> None:
        self.tab.locator("#target").get_by_label(text, exact=True).check()

    def choose_method(self, title: str) -> None:
        self.tab.locator("#method input").click()
        self.tab.get_by_role("option", name=title, exact=True).click()

    def titles(self) -> list[str]:
        return self.cards.locator("h3").all_inner_texts()

    def heat_opacities(self) -> list[float]:
        return [float(heat.evaluate("e => getComputedStyle(e).opacity")) for heat in self.heats.all()]


def test_before_the_first_slice_the_page_says_what_to_do(page):
    expect(page.tab.locator("#answer")).to_contain_text("No slice yet")
    expect(page.tab.locator("#notice")).to_contain_text("Not a medical device")
    expect(page.cards).to_have_count(0)


def test_a_slice_is_answered_by_every_offered_model_without_a_press(page, slices, screenshots):
    page.show(slices[1])
    assert page.titles() == [spec.title for spec in OFFERED]
    expect(page.banner.locator("h2")).not_to_be_empty()
    expected = classify(slices[1], [spec.name for spec in OFFERED])
    for card, prediction in zip(page.cards.all(), expected, strict=True):
        assert card.get_attribute("data-predicted") == prediction.predicted_class
        expect(card.locator(".predicted")).to_contain_text(DISPLAY_TEXT[prediction.predicted_class])
        shown = card.locator(".bars .value").all_inner_texts()
        assert [round(score(text), 2) for text in shown] == [
            pytest.approx(min(max(p, 0.0005), 0.9995), abs=0.011) for p in prediction.best_probabilities.values()
        ]
        expect(card.locator(".bars .top .value")).to_have_text(card.locator(".predicted span").inner_text())
    page.tab.screenshot(path=screenshots / "answer.png", full_page=True)


def score(text: str) -> float:
    """A score as shown ("12.3 %", "< 0.1 %") -> fraction."""
    return float(re.fullmatch(r"[<>]? ?(\d+\.\d) %", text)[1]) / 100


def test_pictures_are_decoded_by_the_browser(page, slices):
    page.show(slices[1])
    expect(page.heats).not_to_have_count(0)
    for card in page.cards.all():
        heat = card.locator("img.heat")
        if heat.count():
            expect(heat).to_have_js_property("complete", True)
            assert heat.evaluate("e => e.naturalWidth") > 0
        else:
            expect(card.locator("figcaption")).to_contain_text(re.compile("nothing here speaks for|Sees no tumour"))
        width = card.locator(".view").evaluate(
            """async view => {
                const image = new Image();
                image.src = getComputedStyle(view).backgroundImage.slice(5, -2);
                await image.decode();
                return image.naturalWidth;
            }"""
        )
        assert width == 320


@pytest.mark.parametrize("way", ["paste", "drop on the page", "drop on the drop zone"])
def test_a_slice_may_be_handed_over_by(page, slices, way):
    ways: dict[str, Callable[[Path], None]] = {
        "paste": page.paste,
        "drop on the page": lambda path: page.drop(path, "#heading"),
        "drop on the drop zone": lambda path: page.drop(path, "#slice-upload button"),
    }
    ways[way](slices[0])
    page.shows(slices[0])
    # And again, now that there is an answer on the page.
    ways[way](slices[2])
    page.shows(slices[2])


def test_a_second_slice_replaces_the_first(page, slices):
    page.show(slices[0])
    first = page.cards.first.locator(".view").evaluate("e => getComputedStyle(e).backgroundImage")
    page.show(slices[1])
    expect(page.cards).to_have_count(len(OFFERED))
    expect(page.tab.locator("#answer")).not_to_contain_text(slices[0].name)
    assert page.cards.first.locator(".view").evaluate("e => getComputedStyle(e).backgroundImage") != first


def test_of_two_slices_in_quick_succession_the_last_is_shown(page, slices):
    page.paste(slices[0])
    page.paste(slices[1])
    page.shows(slices[1])


def test_where_a_model_can_say_it_the_tumours_place_is_shown(page, slices):
    page.show(slices[0])
    for spec, card in zip(OFFERED, page.cards.all(), strict=True):
        says = re.compile("^((Sees|Suspects) a tumour here, .* % sure where brightest|Sees no tumour in any place)$")
        shown = says if load_model(spec.name).locator else re.compile(rf"^{METHODS[DEFAULT_CAM].title}")
        expect(card.locator("figcaption")).to_have_text(shown)


def test_target_class_changes_what_is_explained(page, slices):
    page.show(slices[0])
    for name in CLASS_NAMES:
        page.choose_target(DISPLAY_TEXT[name])
        expect(page.cards.locator("figcaption b")).to_have_text([DISPLAY_TEXT[name]] * len(OFFERED))
    page.choose_method(METHODS[DEFAULT_CAM].title)
    page.choose_target("as predicted")
    predicted = [DISPLAY_TEXT[p.predicted_class] for p in classify(slices[0], [spec.name for spec in OFFERED])]
    expect(page.cards.locator("figcaption b")).to_have_text(predicted)


def test_method_changes_how_it_is_explained(page, slices):
    page.show(slices[0])
    for method in list(CAMS.values())[:3]:
        page.choose_method(method.title)
        starts = re.compile(rf"^{re.escape(method.title)}(:| for)")
        expect(page.cards.locator("figcaption")).to_have_text([starts] * len(OFFERED))


def test_a_setting_that_is_changed_while_the_slice_is_answered_counts(page, slices):
    page.tab.locator("#slice-upload input[type=file]").set_input_files(slices[0])
    page.choose_target(DISPLAY_TEXT["pituitary"])
    expect(page.cards.locator("figcaption b")).to_have_text([DISPLAY_TEXT["pituitary"]] * len(OFFERED))


def test_a_slice_that_comes_while_a_setting_is_followed_is_the_one_that_is_shown(page, slices):
    page.show(slices[0])
    page.choose_target(DISPLAY_TEXT["pituitary"])
    page.paste(slices[1])
    page.shows(slices[1])
    expect(page.cards.locator("figcaption b")).to_have_text([DISPLAY_TEXT["pituitary"]] * len(OFFERED))
    expect(page.banner.locator(".name")).to_have_text(slices[1].name)


def test_the_verdict_says_how_often_the_models_together_were_right(page):
    page.tab.locator("#examples button").first.click()
    worth = page.banner.locator(".worth")
    expect(worth).to_have_text(re.compile(r"^Of 100 slices of unseen patients .* together, \d+ were right \(n = \d+\)"))
    for spec in OFFERED[1:]:
        page.model(spec.title).uncheck()
    expect(page.cards).to_have_count(1)
    expect(worth).to_have_count(0)


def test_settings_hold_for_the_next_slice(page, slices):
    page.choose_target(DISPLAY_TEXT["pituitary"])
    page.show(slices[0])
    expect(page.cards.locator("figcaption b")).to_have_text([DISPLAY_TEXT["pituitary"]] * len(OFFERED))


def test_opacity_slider_fades_the_heatmap(page, slices):
    page.show(slices[0])
    expect(page.heats).not_to_have_count(0)
    slider = page.tab.locator("#opacity input[type=range]")
    initial = page.heat_opacities()
    for key, opacity in (("Home", "0"), ("End", "1")):
        slider.press(key)
        for heat in page.heats.all():
            expect(heat).to_have_css("opacity", opacity)
    # What was set stays for the next slice.
    page.show(slices[1])
    assert set(page.heat_opacities()) == {1.0}
    page.tab.locator("#opacity .reset-button").click()
    for heat in page.heats.all():
        expect(heat).to_have_css("opacity", str(initial[0]))


def test_unticked_models_have_no_card(page, slices):
    page.show(slices[0])
    first = OFFERED[0]
    page.model(first.title).uncheck()
    expect(page.cards).to_have_count(len(OFFERED) - 1)
    for spec in OFFERED[1:]:
        page.model(spec.title).uncheck()
    expect(page.cards).to_have_count(0)
    expect(page.alert).to_contain_text("No model is chosen")
    page.model(first.title).check()
    expect(page.cards.locator("h3")).to_have_text([first.title])


def test_a_model_ticked_again_takes_its_old_place(page, slices):
    if len(OFFERED) < 2:
        pytest.skip("one model alone has no order")
    page.show(slices[0])
    before = page.titles()
    page.model(before[0]).uncheck()
    expect(page.cards).to_have_count(len(before) - 1)
    page.model(before[0]).check()
    expect(page.cards).to_have_count(len(before))
    assert page.titles() == before


def test_a_bad_file_gets_one_sentence_and_no_old_answer(page, slices, tmp_path, screenshots):
    page.show(slices[0])
    bad = tmp_path / "notes.png"
    bad.write_text("Patient notes, no image at all.")
    page.upload(bad)
    expect(page.alert).to_be_visible()
    expect(page.alert).to_contain_text("notes.png is not an image in a format that can be read")
    sentence = page.alert.locator("p").inner_text()
    assert sentence.count(". ") == 0 and "/" not in sentence and "Traceback" not in sentence
    expect(page.cards).to_have_count(0)
    expect(page.banner).to_have_count(0)
    page.tab.screenshot(path=screenshots / "bad-file.png", full_page=True)
    # Settings changed meanwhile must not bring the old slice back.
    page.choose_target(DISPLAY_TEXT["glioma"])
    page.show(slices[2])
    expect(page.cards).to_have_count(len(OFFERED))
    expect(page.alert).to_have_count(0)


def test_a_file_name_is_text_and_never_markup(page, slices, tmp_path):
    path = tmp_path / "<img src=x onerror=alert(1)>.png"
    path.write_bytes(slices[0].read_bytes())
    page.upload(path)
    expect(page.cards).to_have_count(len(OFFERED))
    assert page.tab.locator("#answer .name img").count() == 0


def test_the_keyboard_is_enough_to_hand_in_a_slice(page, slices):
    # Listening from here on: a chooser that opens before anybody listens is lost.
    page.tab.on("filechooser", lambda chooser: chooser.set_files(slices[0]))
    for _ in range(20):
        page.tab.keyboard.press("Tab")
        if page.drop_button.evaluate("e => e === document.activeElement"):
            break
    expect(page.drop_button).to_be_focused()
    page.tab.keyboard.press("Enter")
    page.shows(slices[0])


_CONTRASTS = """() => {
    const parse = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = colour => {
        const [r, g, b] = colour.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = element => {
        for (let e = element; e; e = e.parentElement) {
            const colour = parse(getComputedStyle(e).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour.slice(0, 3);
        }
        return [255, 255, 255];
    };
    const texts = ["h1", ".banner h2", ".banner p", ".card h3", ".predicted", "figcaption", ".bars .label",
                   ".bars .value", ".belief p", ".card summary", ".notice", "#target label span", "#models label span"];
    return texts.map(selector => {
        const element = document.querySelector(selector);
        const [a, b] = [light(parse(getComputedStyle(element).color).slice(0, 3)), light(ground(element))];
        return [selector, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), b];
    });
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_are_readable_in_either_theme(page, slices, screenshots, theme):
    page.open(f"?__theme={theme}")
    page.show(slices[1])
    page.tab.screenshot(path=screenshots / f"{theme}.png", full_page=True)
    found = page.tab.evaluate(_CONTRASTS)
    assert all((ground < 0.2) == (theme == "dark") for _, _, ground in found), found
    pale = {selector: round(contrast, 2) for selector, contrast, _ in found if contrast < 4.5}
    assert not pale, f"less contrast than the 4.5 that WCAG asks for: {pale}"


@pytest.mark.parametrize("width", [390, 1366, 2560])
def test_nothing_is_wider_than_the_window(page, slices, screenshots, width):
    page.tab.set_viewport_size({"width": width, "height": 844 if width < 500 else 768})
    for moment in ("before", "after"):
        if moment == "after":
            page.show(slices[1])
        overflow = page.tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, f"{overflow} px too wide {moment} the first slice"
    for card in page.cards.all():
        box = card.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
        assert card.evaluate("e => e.scrollWidth <= e.clientWidth")
    page.tab.screenshot(path=screenshots / f"width-{width}.png", full_page=True)


def test_on_a_phone_the_settings_are_folded_away_above_the_answer(page, slices):
    page.tab.set_viewport_size({"width": 390, "height": 844})
    page.show(slices[0])
    fold = page.tab.get_by_role("button", name="Models, class and method")
    first = page.model(OFFERED[0].title)
    expect(first).to_be_hidden()
    fold.press("Enter")
    expect(fold).to_have_attribute("aria-expanded", "true")
    first.uncheck()
    expect(page.cards).to_have_count(len(OFFERED) - 1)
    assert fold.bounding_box()["y"] < first.bounding_box()["y"] < page.banner.bounding_box()["y"]
    fold.press("Enter")
    expect(first).to_be_hidden()
    # Where there is room beside the answer, nothing is folded.
    page.tab.set_viewport_size({"width": 1366, "height": 768})
    expect(first).to_be_visible()
    expect(fold).to_be_hidden()


def test_offered_models_stand_side_by_side_on_a_laptop(page, slices):
    page.show(slices[0])
    boxes = [card.bounding_box() for card in page.cards.all()]
    assert len({round(box["y"]) for box in boxes}) == 1
    assert boxes == sorted(boxes, key=lambda box: box["x"])


def test_heatmaps_go_and_come_back_and_stay_away_from_the_next_slice(page, slices):
    page.show(slices[1])
    heat = page.tab.locator(".card .heat").first
    expect(heat).to_be_visible()
    page.tab.get_by_role("button", name="Show or hide heatmaps").first.press("Enter")
    expect(heat).to_be_hidden()
    page.show(slices[2])
    expect(page.tab.locator(".card .heat").first).to_be_hidden()
    page.tab.get_by_role("button", name="Show or hide heatmaps").first.click()
    expect(page.tab.locator(".card .heat").first).to_be_visible()


def test_a_models_title_leads_to_what_is_known_of_it(page, slices):
    page.show(slices[1])
    last = OFFERED[-1]
    page.cards.get_by_role("button", name=last.title, exact=True).click()
    expect(page.tab.locator("#models-system").get_by_label(last.title, exact=True)).to_be_checked()
    expect(page.tab.locator("#models-detail")).to_contain_text(last.recipe)
