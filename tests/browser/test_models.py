"""The tab with what was measured: every system, its honest number, and charts that can also be read without seeing."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from gradio_client import Client
from playwright.sync_api import Page, expect

from brain_tumor.measured import measured, outcome
from brain_tumor.registry import MODELS

TESTED = [one for one in measured() if one.protocols]


def open_tab(tab: Page, url: str) -> Page:
    assert TESTED, "no committed checkpoint has been evaluated"
    tab.goto(url)
    tab.get_by_role("tab", name="Models", exact=True).click()
    expect(tab.locator("#models-detail .chart").first).to_be_visible()
    return tab


@pytest.fixture
def models(tab: Page, app_url: str) -> Page:
    return open_tab(tab, app_url)


def test_every_system_has_its_row_and_the_honest_number_comes_first(models):
    rows = models.locator("#models-overview tbody tr[data-system]")
    assert [row.get_attribute("data-system") for row in rows.all()] == list(MODELS)
    expect(models.locator("#models-overview .advice")).to_contain_text("Believe the patient-wise one")
    assert models.locator("#models-overview th[role=columnheader]").nth(1).inner_text().startswith("Patient-wise")
    for one in TESTED:
        row = models.locator(f"#models-overview tr[data-system={one.spec.name}]")
        expect(row.locator("[data-label='Published test']")).to_contain_text(f"{100 * one.published.value:.1f} %")
        reported = one.spec.reported_accuracy
        shown = "–" if reported is None else f"{100 * reported:.1f} %"
        expect(row.locator("[data-label=Reported]")).to_contain_text(shown)


def test_a_chosen_system_shows_its_own_numbers(models):
    one = TESTED[-1]
    models.locator("#models-system").get_by_label(one.spec.title, exact=True).check()
    detail = models.locator(f"#models-detail [data-system={one.spec.name}]")
    expect(detail.locator(".facts")).to_contain_text([one.config["sha256"]])
    for index, protocol in enumerate(one.protocols):
        models.locator("#models-test input").nth(index).check()
        found = outcome(one, protocol)
        expect(detail.locator(".advice")).to_contain_text(f"{100 * found.accuracy.value:.1f} %")
        expect(detail.locator(".advice")).to_contain_text(f"{found.accuracy.n:,} slices")
        counts = detail.locator(".chart .cell .count").all_text_contents()
        assert counts == [f"{count:,}" for row in found.confusion for count in row]


def test_charts_can_be_read_without_seeing_them(models):
    charts = models.locator(".models figure.chart")
    assert charts.count() >= 6
    for chart in charts.all():
        svg = chart.locator("> svg")
        assert svg.get_attribute("role") == "img"
        assert chart.locator("h3").inner_text() in svg.get_attribute("aria-label")
        assert chart.locator("details tbody tr").count() > 0
        drawn = chart.locator("> svg .mark, > svg .cell, > svg .line")
        assert drawn.count() and all(
            drawn.evaluate_all("marks => marks.map(m => m.querySelector('title').textContent)")
        )


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (390, "dark"), (1366, "light"), (2560, "dark")])
def test_nothing_runs_out_of_the_page(tab, app_url, screenshots, width, theme):
    models = open_tab(tab, f"{app_url}?__theme={theme}")
    # Not before: on a phone the tab is behind a menu of gradio's.
    tab.set_viewport_size({"width": width, "height": 900})
    assert models.evaluate("document.documentElement.scrollWidth") <= width
    clipped = models.locator(".chart > svg").evaluate_all(
        """svgs => svgs.flatMap(svg => [...svg.querySelectorAll("text")].filter(text => {
            const [inner, outer] = [text.getBoundingClientRect(), svg.getBoundingClientRect()];
            return inner.left < outer.left - 1 || inner.right > outer.right + 1;
        }).map(text => text.textContent))"""
    )
    assert clipped == []
    models.screenshot(path=screenshots / f"models-{width}-{theme}.png", full_page=True)


def test_the_endpoint_says_what_the_table_says(app_url):
    said = Client(app_url, verbose=False).predict(api_name="/models")
    assert said == json.loads(json.dumps([one.to_json() for one in measured()]))
