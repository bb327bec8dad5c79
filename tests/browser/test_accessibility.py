"""Every tab, filled, for everyone: by the rules of axe-core, by keyboard alone, and from a phone to a large screen."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")

from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Locator, Page, expect
from scans import head, save, series

from brain_tumor import list_models
from brain_tumor.examples import list_examples
from brain_tumor.explanation import DEFAULT_METHOD, METHODS
from brain_tumor.labels import LABELS
from brain_tumor.ui.html import choice

OFFERED = [model.spec for model in list_models(available_only=True) if model.spec.offered]
TABS = ("One slice", "Many slices", "Try to break it", "Models", "Learn")
# What fits does so in either theme.
WIDTHS = {"light": (2560, 1366, 768, 390), "dark": (1366, 390)}
CHECKED_WIDTHS = (1366, 390)
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}

# What sticks out of the window, and text that is cut off without an ellipsis and without a way to scroll to it.
_CUT_OFF = """() => {
    const shown = element => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    const said = element => `${element.tagName} ${element.className}: ${element.textContent.trim().slice(0, 60)}`;
    const hidden = element => element.closest(".sr-only, .visually-hidden, thead, svg, .scroll, .swept");
    const wide = document.documentElement.clientWidth;
    const own = element => [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    return [...document.querySelectorAll(".gradio-container *")].filter(element => {
        if (!own(element) || !shown(element) || hidden(element)) return false;
        const { left, right } = element.getBoundingClientRect();
        if (left < -1 || right > wide + 1) return true;
        const { overflowX, textOverflow } = getComputedStyle(element);
        return overflowX !== "visible" && textOverflow !== "ellipsis" && element.scrollWidth > element.clientWidth + 1;
    }).map(said);
}"""

# What is being computed anew is shown pale: no request may be under way, nor follow the last one at once.
_REST_SECONDS = 0.7
_AT_REST = f"""() => new Promise(done => {{
    let since = performance.now();
    const look = () => {{
        if (document.querySelector(".pending, .generating")) since = performance.now();
        if (performance.now() - since > {1000 * _REST_SECONDS}) done(); else setTimeout(look, 20);
    }};
    look();
}})"""

_DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def open_page(tab: Page, url: str, theme: str = "light") -> None:
    assert OFFERED, f"no model can be loaded: {list_models()[0].problem}"
    # Colours that are on their way from one to the other have no contrast to judge.
    tab.emulate_media(reduced_motion="reduce")
    tab.goto(f"{url}?__theme={theme}")
    tab.locator("html[data-listens]").wait_for(state="attached")


def resize(tab: Page, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 844 if width < 500 else 768})
    tab.evaluate(_DRAWN)


def fill(tab: Page, title: str) -> None:
    """Open a tab and let it show what it has to show."""
    tab.get_by_role("tab", name=title, exact=True).click()
    if title == "One slice":
        tab.locator("#examples button").first.click()
        expect(tab.locator("#answer .card[data-model]")).to_have_count(len(OFFERED))
    elif title == "Many slices":
        tab.set_input_files("#many-upload input[type=file]", [example.path for example in list_examples()[::5]])
        expect(tab.locator("#many-status h2")).to_contain_text("Done")
    elif title == "Try to break it":
        expect(tab.locator("#probe-answer .probe-card")).to_have_count(len(OFFERED))
        tab.locator("#probe-brightness-amount input[type=range]").press("End")
        expect(tab.locator("#probe-answer .cover figcaption")).to_contain_text("Brightness")
    elif title == "Models":
        expect(tab.locator("#models-detail .chart").first).to_be_visible()
    else:
        tab.locator("#learn-said").get_by_label(LABELS[0].text, exact=True).check()
        tab.locator("#learn-sure").get_by_label("80 %").check()
        tab.locator("#learn-commit").click()
        expect(tab.locator("#learn-truth .truth")).to_be_visible()
    tab.evaluate(_AT_REST)
    tab.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")


def faults(tab: Page, title: str, theme: str) -> list[str]:
    """What is wrong at each width with what is shown."""
    found = []
    for width in WIDTHS[theme]:
        resize(tab, width)
        at = f"{title}, {theme}, {width} px"
        if (
            overflow := tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        ) > 0:
            found.append(f"{at}: {overflow} px too wide")
        found += [f"{at}: cut off: {said}" for said in tab.evaluate(_CUT_OFF)]
        if width in CHECKED_WIDTHS:
            for broken in Axe().run(tab, options=RULES).response["violations"]:
                places = ", ".join(str(node["target"][0]) for node in broken["nodes"])
                found.append(f"{at}: {broken['impact']}: {broken['help']} ({broken['id']}): {places}")
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_tab_keeps_to_wcag_and_within_the_window(tab, app_url, theme):
    open_page(tab, app_url, theme)
    found = []
    for title in TABS:
        resize(tab, 1366)
        fill(tab, title)
        found += faults(tab, title, theme)
    for part in ("Tumour types", "Instructive failures"):
        resize(tab, 1366)
        tab.get_by_role("tab", name=part).click()
        expect(
            tab.locator("#learn-page h2, #learn-gallery :is(.failure, .waiting)").locator("visible=true").first
        ).to_be_visible()
        tab.evaluate(_AT_REST)
        found += faults(tab, part, theme)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_is_seldom_seen_keeps_to_wcag_too(tab, app_url, tmp_path, theme):
    """A refusal, a file that cannot be read, and a scan answered along its slices."""
    photograph, damaged = tmp_path / "photograph.png", tmp_path / "damaged.png"
    Image.effect_noise((256, 256), 60).convert("RGB").save(photograph)
    damaged.write_text("no picture at all")
    scan = save(series(head()[:, :, ::5]), tmp_path / "scan")
    open_page(tab, app_url, theme)
    files, found = tab.locator("#slice-upload input[type=file]"), []
    for path, shown in (photograph, "#answer .banner.refused"), (damaged, "#answer [role=alert]"):
        resize(tab, 1366)
        files.set_input_files(path)
        expect(tab.locator(shown)).to_be_visible()
        tab.evaluate(_AT_REST)
        found += faults(tab, path.stem, theme)
    resize(tab, 1366)
    files.set_input_files(sorted(scan.iterdir()))
    tab.locator("#scan-run").click()
    expect(tab.locator("#scan-strip .strip button")).to_have_count(len(list(scan.iterdir())))
    tab.evaluate(_AT_REST)
    found += faults(tab, "scan", theme)
    assert not found, "\n".join(found)


def test_a_phone_shows_all_tabs(tab, app_url):
    resize(tab, 390)
    open_page(tab, app_url)
    for title in TABS:
        button = tab.get_by_role("tab", name=title, exact=True)
        expect(button).to_be_in_viewport(ratio=1)
        button.click()
        expect(button).to_have_attribute("aria-selected", "true")
    for menu in tab.get_by_label("More tabs").all():
        expect(menu).to_be_hidden()


def test_a_laptop_shows_every_answer_without_scrolling(tab, app_url):
    open_page(tab, app_url)
    for example, button in zip(list_examples(), tab.locator("#examples button").all(), strict=True):
        button.click()
        expect(tab.locator("#answer .banner .name")).to_have_text(example.title)
        expect(tab.locator("#verdict")).to_be_in_viewport(ratio=1)
        for bars in tab.locator("#answer .card .bars").all():
            expect(bars).to_be_in_viewport(ratio=1)


def reach(tab: Page, wanted: Locator, key: str = "Tab") -> None:
    """Press a key until the focus is there and can be seen."""
    for _ in range(80):
        if wanted.evaluate("element => element === document.activeElement"):
            break
        tab.keyboard.press(key)
    expect(wanted).to_be_focused()
    assert wanted.evaluate("e => getComputedStyle(e).outlineStyle") != "none", f"{wanted}: focus cannot be seen"


def test_the_keyboard_is_enough_for_answer_settings_and_tabs(tab, app_url):
    open_page(tab, app_url)
    captions = tab.locator("#answer .card[data-model] figcaption")
    reach(tab, tab.locator("#examples button").first)
    tab.keyboard.press("Enter")
    expect(tab.locator("#answer .banner .name")).to_have_text(list_examples()[0].title)
    reach(tab, tab.locator("#target").get_by_label(LABELS[1].text, exact=True))
    tab.keyboard.press("Space")
    expect(captions.locator("b")).to_have_text([LABELS[1].text] * len(OFFERED))
    reach(tab, tab.locator("#method input"))
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    expect(tab.locator("#method input")).not_to_have_value(choice(METHODS[DEFAULT_METHOD]))
    chosen = tab.locator("#method input").input_value()
    expect(captions).to_have_text([re.compile(rf"^{re.escape(chosen)}(:| for)")] * len(OFFERED))
    for title in TABS[2], TABS[4]:
        reach(tab, tab.get_by_role("tab", name=title, exact=True), "Shift+Tab" if title == TABS[2] else "Tab")
        tab.keyboard.press("Enter")
    expect(tab.locator("#learn-slice img")).to_be_visible()
