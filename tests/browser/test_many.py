"""Many slices: drop, watch the table fill, sort, filter, open, save, stop."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Page, expect
from scans import dataset, encoded
from slices import mri_slice

from brain_tumor.catalogue import list_models

OFFERED = [model.spec for model in list_models(available_only=True) if model.spec.offered]
SLICES = 104
MINUTES = 4
BAD = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More slices than a page of the table has rows, and one file that is none."""
    folder = tmp_path_factory.mktemp("many")
    path = folder / "slices.zip"
    drawn = []
    for seed in range(8):
        drawn.append(folder / f"{seed}.png")
        mri_slice(seed, 128).save(drawn[-1])
    with zipfile.ZipFile(path, "w") as file:
        for k in range(SLICES):
            file.write(drawn[k % len(drawn)], f"case-{k:03}.png")
        file.writestr(BAD, b"no image")
    return path


@pytest.fixture
def many(tab: Page, app_url: str) -> Page:
    tab.goto(app_url)
    tab.get_by_role("tab", name="Many slices").click()
    tab.locator("#many-upload input[type=file]").wait_for(state="attached")
    return tab


def drop(many: Page, *paths: Path) -> None:
    many.set_input_files("#many-upload input[type=file]", paths)


def test_an_archive_becomes_a_table_whose_rows_open(many, archive, screenshots):
    drop(many, archive)
    rows = many.locator("#many-table tr[data-row]")
    expect(many.locator("#many-status progress")).to_be_visible()
    done = f"Done: {SLICES + 1} of {SLICES + 1} slices"
    expect(many.locator("#many-status h2")).to_contain_text(done, timeout=60_000 * MINUTES)
    expect(many.locator("#many-status")).to_contain_text("1 could not be read")
    expect(rows).to_have_count(100)
    many.screenshot(path=screenshots / "many.png")
    many.locator("#many-forth").click()
    expect(many.locator("#many-table caption")).to_have_text(f"Rows 101 to {SLICES + 1} of {SLICES + 1}")

    many.get_by_label("Show").click()
    many.get_by_role("option", name="could not be read").click()
    expect(many.locator("#many-table tbody tr")).to_have_count(1)
    # What comes from a visitor is text, never markup. Folders of an archive are not shown, nor what looks like one.
    expect(many.locator("#many-table .name")).to_have_text(BAD)
    many.get_by_label("Show").click()
    many.get_by_role("option", name="everything").click()
    many.get_by_label("Name contains").fill("CASE-01")
    expect(rows).to_have_count(10)

    button = rows.locator("button").nth(4)
    name = button.inner_text()
    verdict = rows.nth(4).get_attribute("data-verdict")
    button.press("Enter")
    expect(many.locator("#answer .banner .name")).to_have_text(name)
    # The same slice gets the same verdict in both tabs.
    expect(many.locator("#verdict")).to_have_attribute("data-verdict", verdict)
    # Whoever opened it by keyboard is where the answer is.
    expect(many.locator("#verdict")).to_be_focused()
    many.get_by_role("tab", name="Many slices").click()
    expect(many.locator("#many-table tr", has_text=name)).to_contain_text("opened")
    expect(rows).to_have_count(10)

    with many.expect_download() as saved:
        many.locator("#many-csv").click()
    lines = list(csv.DictReader(saved.value.path().open(encoding="utf-8-sig")))
    assert [line["image"] for line in lines] == [BAD, *(f"case-{k:03}.png" for k in range(SLICES))]
    with many.expect_download() as saved:
        many.locator("#many-json").click()
    unread, *answers = [json.loads(line) for line in saved.value.path().read_text().splitlines()]
    assert unread.keys() == {"image", "problem"}
    assert len(answers) == SLICES * (len(OFFERED) + (len(OFFERED) > 1))

    many.locator("#many-forget").click()
    expect(many.locator("#many-status")).to_contain_text("Many slices, one table")
    expect(rows).to_have_count(0)


def test_a_scan_has_a_number_for_a_name_that_may_be_its_patient_s(many, archive, screenshots):
    path = archive.parent / "Doe^Jane.dcm"
    path.write_bytes(encoded(dataset(np.asarray(mri_slice(3, 96).convert("L")).astype(np.uint16) * 8)))
    drop(many, archive.parent / "1.png", path)
    expect(many.locator("#many-status h2")).to_contain_text("Done: 2 of 2 slices", timeout=60_000 * MINUTES)
    many.get_by_label("Order").click()
    many.get_by_role("option", name="as uploaded").click()
    expect(many.locator("#many-table td.name")).to_have_text(["1.png", "DICOM 2"])
    expect(many.locator("#many-table")).to_contain_text("a scan's file name may be its patient's")
    many.screenshot(path=screenshots / "many-scan.png")
    many.locator("#many-table button", has_text="DICOM 2").click()
    expect(many.locator("#answer .banner .name")).to_have_text("DICOM 2")
    # Gradio's uploads lose the sign between the two.
    assert "Jane" not in many.content()


def test_a_stopped_batch_keeps_its_rows_and_another_takes_its_place(many, archive):
    long = archive.parent / "long.zip"
    with zipfile.ZipFile(long, "w") as file:
        for k in range(1500):
            file.write(archive.parent / "0.png", f"{k}.png")
    drop(many, long)
    expect(many.locator("#many-table tr[data-row]").first).to_be_visible()
    many.locator("#many-stop").click()
    expect(many.locator("#many-status h2")).to_contain_text("Stopped: ")
    expect(many.locator("#many-stop")).to_be_hidden()
    assert 0 < many.locator("#many-table tr[data-row]").count() <= 100
    drop(many, archive.parent / "1.png", archive.parent / "2.png")
    expect(many.locator("#many-status h2")).to_contain_text("Done: 2 of 2 slices")
    expect(many.locator("#many-table tr[data-row]")).to_have_count(2)
