"""A scan in the first tab: slice, plane and window by hand, and the answer along all slices."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel
import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Page, expect
from slices import mri_slice


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    slices = [np.asarray(mri_slice(3, 96, (0.32, -0.1, 0.16) if 5 < i < 9 else None).convert("L")) for i in range(18)]
    voxels = np.stack([pixels[::-1, ::-1].T for pixels in slices], axis=2).astype(np.int16)
    path = tmp_path_factory.mktemp("scans") / "Doe^Jane.nii.gz"
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 4.0, 1.0])), path)
    return path


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

    tab.locator("#scan-run").click()
    bars = tab.locator("#scan-strip .strip button")
    expect(bars).to_have_count(18)
    expect(tab.locator("#scan-strip .suspicious")).not_to_contain_text("of 18 slices")
    bars.nth(2).click()
    expect(name).to_have_text("axial slice 3 of 18")
    tab.screenshot(path=screenshots / "scan.png", full_page=True)
    # A file's name may be a patient's.
    assert "Doe^Jane" not in tab.content()
