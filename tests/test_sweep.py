"""The answer along a scan: every slice once, the suspicious ones first, and neighbours not listed twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from slices import mri_slice
from test_trust import answer

from brain_tumor import classify, trust
from brain_tumor.acquisition import Caution
from brain_tumor.catalogue import offered_models
from brain_tumor.examination import consensus_of
from brain_tumor.sweep import MIN_SUSPICION, Finding, most_suspicious, sweep
from brain_tumor.trust import UNCERTAIN, consensus
from brain_tumor.ui import viewer
from brain_tumor.volumes import Volume

OFFERED = offered_models()


def finding(index: int, suspicion: float, refused: bool = False, place: float | None = None) -> Finding:
    said = replace(
        answer("resnet18", "glioma", refusal_reason="No brain." if refused else None, surest_place=place),
        calibrated_probabilities={"glioma": suspicion, "meningioma": 0.0, "notumor": 1 - suspicion, "pituitary": 0.0},
    )
    return Finding(index, consensus([said]))


def test_every_slice_is_answered_once_as_it_is_alone():
    slices = [np.asarray(mri_slice(seed, 96).convert("L")) for seed in range(11)]
    # Axial slices as a volume stores them: X to the right, Y to the front, Z to the head.
    voxels = np.stack([pixels[::-1, ::-1].T for pixels in slices], axis=2)
    volume = Volume(voxels=voxels, spacing=(1.0, 1.0, 1.0), planes=("axial",))
    found = list(sweep(volume, "axial", None, OFFERED))
    assert [f.index for f in found] == list(range(11))
    for index in (0, 10):
        alone = consensus(classify(volume.slice("axial", index), OFFERED))
        assert found[index].consensus.leading == alone.leading
        assert found[index].consensus.probabilities == pytest.approx(alone.probabilities, abs=1e-4)


@pytest.fixture(scope="module")
def tumours() -> Volume:
    """Slices with a mass in various places: of some, the models say the same for reasons in different places."""
    masses = [(0.5 * np.cos(k), 0.5 * np.sin(k), 0.1 + 0.02 * (k % 5)) for k in range(12)]
    slices = [np.asarray(mri_slice(seed, 96, mass).convert("L")) for seed, mass in enumerate(masses)]
    voxels = np.stack([pixels[::-1, ::-1].T for pixels in slices], axis=2)
    caution = Caution("Which sequence is not known.")
    return Volume(voxels=voxels, spacing=(1.0, 1.0, 1.0), planes=("axial",), caution=caution)


@pytest.mark.parametrize("least", [None, 1.1], ids=["as it is", "whatever overlaps is too little"])
def test_the_verdict_about_a_slice_is_that_of_the_slice_when_it_is_opened(tumours, monkeypatch, least):
    if least is not None:
        monkeypatch.setattr(trust, "MIN_OVERLAP", least)
    verdicts = set()
    for found in sweep(tumours, "axial", None, OFFERED[:2]):
        alone = viewer.Scan(tumours, "axial", found.index).examination()
        expected = consensus_of(alone.answers(OFFERED[:2]), alone.caution)
        assert (found.consensus.verdict, found.consensus.why) == (expected.verdict, expected.why)
        assert found.consensus.caution == expected.caution == alone.caution.text
        verdicts.add(found.consensus.why)
    assert least is None or any("different places" in why for why in verdicts)


def test_the_most_suspicious_come_first_without_their_neighbours():
    found = [finding(i, s) for i, s in enumerate((0.1, 0.5, 0.9, 0.8, 0.3, 0.7, 0.1))]
    assert [f.index for f in most_suspicious(found)] == [2, 5]
    assert [f.index for f in most_suspicious(found, count=1)] == [2]


def test_where_every_slice_looks_ill_the_one_on_which_a_tumour_is_seen_comes_first():
    found = [finding(i, 0.9, place=place) for i, place in enumerate((0.3, 0.1, 0.8, 0.1, 0.1))]
    assert [f.index for f in most_suspicious(found)] == [2, 0]


def test_nothing_suspicious_is_nothing_listed():
    assert most_suspicious([finding(i, MIN_SUSPICION / 2) for i in range(5)]) == []


def test_slices_that_the_models_are_uncertain_of_are_no_all_clear():
    calm = [replace(f, consensus=replace(f.consensus, verdict="notumor")) for f in (finding(0, 0.15), finding(1, 0.01))]
    unsure = replace(calm[0], consensus=replace(calm[0].consensus, verdict=UNCERTAIN))
    told = viewer.strip([unsure, calm[1]], 2)
    assert "No slice is suspicious" not in told
    assert "Nowhere is a tumour suspected by 20 % or more, but about 1 of 2 slices the models are uncertain" in told
    assert "No slice is suspicious" in viewer.strip(calm, 2)


def test_a_run_that_goes_on_or_was_stopped_does_not_look_like_one_that_is_done():
    found = [finding(0, 0.01), finding(1, 0.9)]
    assert "0 of 9 slices …" in viewer.strip([], 9)
    going = viewer.strip(found, 9)
    assert "2 of 9 slices …" in going and "Most suspicious" not in going
    stopped = viewer.strip(found, 9, stopped=True)
    assert "Stopped: 2 of 9 slices." in stopped and "Most suspicious first" in stopped
    nothing = viewer.strip([], 9, stopped=True)
    assert "Stopped: 0 of 9 slices." in nothing and "suspicious." not in nothing


def test_what_is_no_brain_is_not_suspicious():
    assert finding(0, 0.9, refused=True).suspicion == 0
    assert finding(0, 0.9).suspicion == pytest.approx(0.9)


def test_a_scan_of_which_nothing_was_answered_is_not_called_free_of_suspicion():
    unanswered = [finding(k, 0.9, refused=True) for k in range(3)]
    assert "No slice is suspicious" not in viewer.strip(unanswered, 3)
    assert "None of these slices was answered" in viewer.strip(unanswered, 3)
    assert "2 of 3 slices were not answered" in viewer.strip([*unanswered[:2], finding(2, 0.01)], 3)
