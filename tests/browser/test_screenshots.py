"""The pictures in the README are the page as it is: each is taken anew and compared with the one that is committed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from brain_tumor import list_models
from brain_tumor.examples import list_examples

DOCS = Path(__file__).resolve().parents[2] / "docs"
OFFERED = [model.spec for model in list_models(available_only=True) if model.spec.offered]
TAKE_ANEW = "BRAIN_TUMOR_SCREENSHOTS=docs python -m pytest tests/browser/test_screenshots.py"

MAX_BYTES = 250_000
SQUARE = 32
"""Side of the squares whose mean grey is compared, CSS pixels: fonts and milliseconds hardly change it."""
TOLERANCE = 0.012
"""Mean difference of the squares, 1 between black and white. Another font makes about 0.007, another slice 0.02."""


@dataclass(frozen=True)
class Picture:
    """What is on it, in which theme, its size in CSS pixels, and how many pixels each of these has.

    `window` is the height of the window where the picture shows but its upper part.
    """

    show: Callable[[Page], None]
    theme: str
    width: int
    height: int
    scale: int = 1
    window: int = 0


def answer(tab: Page, example: str = "Synthetic meningioma 3") -> None:
    tab.get_by_role("button", name=example, exact=True).click()
    expect(tab.locator("#answer .card[data-model]")).to_have_count(len(OFFERED))


def answer_on_phone(tab: Page) -> None:
    answer(tab)
    tab.locator("#verdict").evaluate("e => window.scrollTo(0, e.getBoundingClientRect().top - 12)")


def broken(tab: Page) -> None:
    """The mildest change of one kind that flips an answer."""
    answer(tab, "Synthetic glioma 1")
    tab.get_by_role("tab", name="Try to break it").click()
    expect(tab.locator("#probe-answer .probe-card")).to_have_count(len(OFFERED))
    tab.locator("#probe-brightness-find").click()
    expect(tab.locator("#probe-brightness-found p")).to_be_visible()


def batch(tab: Page) -> None:
    tab.get_by_role("tab", name="Many slices").click()
    tab.set_input_files("#many-upload input[type=file]", [example.path for example in list_examples()])
    expect(tab.locator("#many-status h2")).to_contain_text("Done")


PICTURES = {
    "page": Picture(answer, "light", 1366, 768),
    "page-dark-phone": Picture(answer_on_phone, "dark", 390, 844, scale=2),
    "break": Picture(broken, "light", 1366, 768, window=1130),
    "batch": Picture(batch, "light", 1366, 768),
}


def take(browser: Browser, url: str, picture: Picture) -> Image.Image:
    with browser.new_context(
        viewport={"width": picture.width, "height": picture.window or picture.height},
        device_scale_factor=picture.scale,
        reduced_motion="reduce",
    ) as context:
        tab = context.new_page()
        tab.goto(f"{url}?__theme={picture.theme}")
        tab.locator("html[data-listens]").wait_for(state="attached")
        picture.show(tab)
        tab.mouse.move(0, 0)
        tab.evaluate("document.activeElement.blur()")
        expect(tab.locator(".generating, .wrap.translucent:not(.hide)")).to_have_count(0)
        taken = Image.open(
            BytesIO(
                tab.screenshot(
                    animations="disabled", clip={"x": 0, "y": 0, "width": picture.width, "height": picture.height}
                )
            )
        )
    # A palette, for a small file. The method gives the few bright pixels of heatmaps colours of their own too.
    return taken.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)


def squares(image: Image.Image, picture: Picture) -> np.ndarray:
    """Mean grey of squares, [0, 1]."""
    size = round(picture.width / SQUARE), round(picture.height / SQUARE)
    return np.asarray(image.convert("RGB").convert("L").resize(size, Image.Resampling.BOX), np.float32) / 255


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_shows_the_page_as_it_is(browser, app_url, screenshots, name):
    assert OFFERED, f"no model can be loaded: {list_models()[0].problem}"
    picture, path, committed = PICTURES[name], screenshots / f"{name}.png", DOCS / f"{name}.png"
    taken = take(browser, app_url, picture)
    taken.save(path, optimize=True)
    assert committed.is_file(), f"docs/{name}.png is missing. Take it: {TAKE_ANEW}"
    assert committed.stat().st_size <= MAX_BYTES
    shown = Image.open(committed)
    assert shown.size == taken.size, f"docs/{name}.png has another size. Take it anew: {TAKE_ANEW}"
    difference = float(np.abs(squares(shown, picture) - squares(taken, picture)).mean())
    assert difference <= TOLERANCE, (
        f"docs/{name}.png no longer shows the page (difference {difference:.3f}; see {path}). "
        f"Look at the new one, and take it anew: {TAKE_ANEW}"
    )


def test_the_readme_shows_every_picture():
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert [name for name in PICTURES if f"docs/{name}.png" not in readme] == []
