"""A scan in the first tab: slice, plane and window by hand, and the answer along all slices."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Page, expect
from scans import head, save, series
from slices import mri_slice


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    slices = [np.asarray(mri_slice(3, 96, (0.32, -0.1, 0.16) if 5 < i < 9 else None).convert("L")) for i in range(18)]
    voxels = np.stack([pixels[::-1, ::-1].T for pixels in slices], axis=2).astype(np.int16)
    path = tmp_path_factory.mktemp("scans") / "Doe^Jane.nii.gz"
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 4.0, 1.0])), path)
    return path


def assert_a_laptop_shows_all(tab: Page) -> None:
    """Verdict, pictures and, until the strip stands there too, probabilities, without scrolling."""
    scores = "" if tab.locator("#scan-strip .strip").count() else ", #answer .card .bars"
    for part in tab.locator(f"#verdict, #scan-run, #answer .card .view{scores}").all():
        expect(part).to_be_in_viewport(ratio=1)


def test_a_scan_is_walked_through_and_answered_along_its_slices(tab: Page, app_url, scan, screenshots):
    tab.goto(app_url)
    tab.locator("#slice-upload input[type=file]").wait_for(state="attached")
    tab.set_input_files("#slice-upload input[type=file]", scan)
    name = tab.locator("#answer .banner .name")
    expect(name).to_have_text("axial slice 10 of 18")
    tab.locator("#scan-position input[type=range]").press("ArrowRight")
    expect(name).to_have_text("axial slice 11 of 18")
    tab.locator("#scan-plane").get_by_label("coronal").check()
    expect(name).to_have_text(re.compile("coronal slice 49 of 96"))
    tab.locator("#scan-plane").get_by_label("axial").check()
    expect(name).to_have_text("axial slice 10 of 18")

    assert_a_laptop_shows_all(tab)
    tab.locator("#scan-run").click()
    expect(tab.locator("#scan-run")).to_have_text("Stop")
    expect(tab.locator("#scan-strip .suspicious")).to_contain_text("of 18 slices …")
    bars = tab.locator("#scan-strip .strip button")
    expect(bars).to_have_count(18)
    expect(tab.locator("#scan-strip .suspicious")).not_to_contain_text("of 18 slices")
    expect(tab.locator("#scan-run")).to_have_text("Run all slices")
    assert_a_laptop_shows_all(tab)
    bars.nth(2).click()
    expect(name).to_have_text("axial slice 3 of 18")
    tab.screenshot(path=screenshots / "scan.png", full_page=True)
    # A file's name may be a patient's.
    assert "Doe^Jane" not in tab.content()


def test_a_run_ends_with_the_plane_that_it_was_about(tab: Page, app_url, scan):
    tab.goto(app_url)
    tab.locator("#slice-upload input[type=file]").wait_for(state="attached")
    tab.set_input_files("#slice-upload input[type=file]", scan)
    name, bars = tab.locator("#answer .banner .name"), tab.locator("#scan-strip .strip button")
    tab.locator("#scan-plane").get_by_label("coronal").check()
    expect(name).to_have_text(re.compile("coronal slice 49 of 96"))
    tab.locator("#scan-run").click()
    expect(bars.first).to_be_visible()
    tab.locator("#scan-plane").get_by_label("axial").check()
    expect(name).to_have_text("axial slice 10 of 18")
    expect(bars).to_have_count(0)
    # Nor does it hold up the next one.
    tab.locator("#scan-run").click()
    expect(bars).to_have_count(18)
    expect(tab.locator("#scan-strip .suspicious")).not_to_contain_text("of 18 slices")


def test_what_is_no_mri_is_said_above_the_answer(tab: Page, app_url, tmp_path):
    path = next(save(series(head()[:, :, 20:21], Modality="CT"), tmp_path / "ct").iterdir())
    tab.goto(app_url)
    tab.locator("#slice-upload input[type=file]").wait_for(state="attached")
    tab.set_input_files("#slice-upload input[type=file]", path)
    expect(tab.locator("#answer .banner .caution")).to_contain_text("This is a CT scan")
    expect(tab.locator("#verdict")).to_have_attribute("data-verdict", "refused")
    # There is nothing to page through.
    expect(tab.locator("#scan-run")).to_be_hidden()
    expect(tab.locator("#scan-where")).to_be_hidden()


def test_a_scan_s_pictures_are_paged_and_windowed_as_on_a_workstation(tab: Page, app_url, scan):
    tab.goto(app_url)
    tab.locator("#slice-upload input[type=file]").wait_for(state="attached")
    tab.set_input_files("#slice-upload input[type=file]", scan)
    name, width = tab.locator("#answer .banner .name"), tab.locator("#scan-width input[type=range]")
    expect(name).to_have_text("axial slice 10 of 18")
    place = tab.locator("#answer .card .view").first.bounding_box()
    at = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    tab.mouse.move(*at)
    tab.mouse.wheel(0, 100)
    expect(name).to_have_text("axial slice 11 of 18")
    tab.mouse.wheel(0, -100)
    expect(name).to_have_text("axial slice 10 of 18")
    assert tab.evaluate("window.scrollY") == 0

    before, shown = float(width.input_value()), tab.locator("#answer section.answer")
    picture = shown.get_attribute("style")
    tab.mouse.down()
    tab.mouse.move(at[0] + 60, at[1], steps=6)
    tab.mouse.up()
    assert float(width.input_value()) > before
    expect(shown).not_to_have_attribute("style", picture)


def test_the_strip_is_one_stop_by_keyboard_and_arrows_lead_along_it(tab: Page, app_url, scan):
    tab.goto(app_url)
    tab.locator("#slice-upload input[type=file]").wait_for(state="attached")
    tab.set_input_files("#slice-upload input[type=file]", scan)
    expect(tab.locator("#answer .banner .name")).to_have_text("axial slice 10 of 18")
    tab.locator("#scan-run").click()
    bars = tab.locator("#scan-strip .strip button")
    expect(bars).to_have_count(18)
    expect(tab.locator("#scan-strip .suspicious")).not_to_contain_text("of 18 slices")
    tab.locator("#scan-run").focus()
    tab.keyboard.press("Tab")
    expect(bars.first).to_be_focused()
    for _ in range(3):
        tab.keyboard.press("ArrowRight")
    expect(bars.nth(3)).to_be_focused()
    tab.keyboard.press("Enter")
    expect(tab.locator("#answer .banner .name")).to_have_text("axial slice 4 of 18")


def drop(tab: Page, paths: list[Path], on: str) -> None:
    """As a file manager does it: all at once."""
    contents = [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in paths]
    files = tab.evaluate_handle(
        """(contents) => {
            const transfer = new DataTransfer();
            for (const [name, text] of contents) {
                const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
                transfer.items.add(new File([bytes], name, { type: name.endsWith(".png") ? "image/png" : "" }));
            }
            return transfer;
        }""",
        contents,
    )
    tab.dispatch_event(on, "drop", {"dataTransfer": files})


@pytest.fixture
def listening(tab: Page, app_url: str) -> Page:
    tab.goto(app_url)
    tab.locator("#slice-upload input[type=file]").wait_for(state="attached")
    tab.locator("html[data-listens]").wait_for(state="attached")
    return tab


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    paths = [tmp_path_factory.mktemp("pictures") / f"slice-{seed}.png" for seed in range(3)]
    for seed, path in enumerate(paths):
        mri_slice(seed, 128).save(path)
    return paths


@pytest.mark.parametrize("on", ["#heading", "#slice-upload button", "the file dialogue"])
def test_the_loose_files_of_a_series_are_one_scan(listening, tmp_path, on):
    voxels = head()
    long, short = series(voxels[:, :, ::2]), series(voxels[:, ::8], "coronal")
    paths = sorted([*save(long, tmp_path / "a", "").iterdir(), *save(short, tmp_path / "b").iterdir()])
    if on == "the file dialogue":
        listening.set_input_files("#slice-upload input[type=file]", paths)
    else:
        drop(listening, paths, on)
    name = listening.locator("#answer .banner .name")
    expect(name).to_have_text(f"axial slice {len(long) // 2 + 1} of {len(long)}")
    # Which series is shown is said, and the other is there to be chosen.
    expect(listening.get_by_label("Series")).to_have_value(re.compile(f"axial, {len(long)} slices"))
    listening.get_by_label("Series").click()
    listening.get_by_role("option", name=re.compile(f"coronal, {len(short)} slices")).click()
    expect(name).to_have_text(f"coronal slice {len(short) // 2 + 1} of {len(short)}")


@pytest.mark.parametrize("on", ["#heading", "#slice-upload button"])
def test_a_folder_is_dropped_with_all_that_is_in_it(listening, tmp_path, on):
    slices = series(head()[:, :, ::4])
    save(slices[:5], tmp_path / "study" / "a", "")
    save(slices[5:], tmp_path / "study" / "b", "")
    place = listening.locator(on).bounding_box()
    at = {"x": place["x"] + 20, "y": place["y"] + 10}
    # The browser's own drag and drop: what a script makes up has no folders.
    devtools = listening.context.new_cdp_session(listening)
    data = {"items": [], "files": [str(tmp_path / "study")], "dragOperationsMask": 1}
    for event in ("dragEnter", "dragOver", "drop"):
        devtools.send("Input.dispatchDragEvent", {"type": event, "data": data, **at})
    expect(listening.locator("#answer .banner .name")).to_have_text(f"axial slice 6 of {len(slices)}")


@pytest.mark.parametrize("on", ["#heading", "#slice-upload button", "the file dialogue"])
def test_several_pictures_go_where_many_slices_are_answered(listening, pictures, on):
    if on == "the file dialogue":
        listening.set_input_files("#slice-upload input[type=file]", pictures)
    else:
        drop(listening, pictures, on)
    expect(listening.locator("#many-status h2")).to_contain_text("Done: 3 of 3 slices")


def test_pictures_that_do_not_look_like_some_are_opened_one_at_a_time_and_it_is_said(listening, pictures, tmp_path):
    paths = [tmp_path / path.stem for path in pictures]
    for path, picture in zip(paths, pictures, strict=True):
        path.write_bytes(picture.read_bytes())
    drop(listening, paths, "#heading")
    expect(listening.locator("#answer .banner .name")).to_have_text("slice-0")
    expect(listening.locator("#answer .remark")).to_contain_text("This is the first of 3 pictures. Many slices takes")
