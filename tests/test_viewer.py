"""The handlers of a scan's controls, called as a browser may call them: late, twice, about what is no longer there."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import gradio as gr
import nibabel
import numpy as np
import pytest
from scans import head, save, series
from test_trust import answer

from brain_tumor.acquisition import Caution
from brain_tumor.images import ImageError
from brain_tumor.sweep import Finding
from brain_tumor.trust import UNCERTAIN, consensus
from brain_tumor.ui import classify, viewer
from brain_tumor.ui.latest import Latest, unless_overtaken
from brain_tumor.ui.viewer import RUN, STOP, Scan, Sweeping
from brain_tumor.volumes import Volume

SETTINGS = (["resnet18"], "predicted", "location")


@pytest.fixture
def scan() -> Scan:
    volume = Volume(head(), (1.0, 1.0, 1.5), ("axial", "coronal"))
    return Scan(volume, *volume.middle, number=1)


def look(scan: Scan | None, **said) -> tuple:
    """Examination, answer and updates, after the controls were moved to what is said."""
    window = scan.volume.default_window if scan else None
    controls = {"item": 0, "plane": scan and scan.plane, "position": scan and scan.index + 1}
    controls |= {"centre": window and window.centre, "width": window and window.width}
    handler = viewer._looking(lambda examination, *settings: f"{examination.name} by {settings}")
    examination, told, *updates = handler(scan, *(controls | said).values(), *SETTINGS)
    return examination, told, updates


def test_all_that_the_controls_say_counts_whichever_was_moved_last(scan):
    _, told, updates = look(scan, plane="coronal", position=3, width=50.0)
    assert told == f"coronal slice 29 of 56 by {SETTINGS}"
    assert (updates[0].plane, updates[0].index, updates[0].window.width) == ("coronal", 28, 50.0)
    # The slider follows, to the limits of the new plane.
    assert (updates[viewer._POSITION]["value"], updates[viewer._POSITION]["maximum"]) == (29, 56)


def test_a_window_that_is_brighter_than_the_one_in_which_a_scan_opens_makes_an_all_clear_doubtful(scan):
    window = scan.volume.default_window
    for centre, width, brighter in (
        (window.centre, window.width, False),
        (window.centre, window.width / 2, False),  # more contrast, no brighter
        (1.3 * window.centre, window.width, False),
        (0.7 * window.centre, 0.7 * window.width, True),
    ):
        seen = scan.at(None, None, centre, width).examination()
        assert (seen.caution is not None) is brighter
        if brighter:
            healthy = [answer("resnet18", "notumor")]
            assert consensus(healthy, caution=seen.caution).verdict == UNCERTAIN
            assert "miss tumours" in consensus(healthy, caution=seen.caution).caution
            assert consensus([answer("resnet18", "glioma")], caution=seen.caution).verdict == "glioma"
    flair = replace(scan, volume=replace(scan.volume, caution=Caution("This is FLAIR.", doubtful=("glioma",))))
    both = flair.at(None, None, 0.7 * window.centre, 0.7 * window.width).examination().caution
    assert both.text.startswith("This is FLAIR. ") and both.doubtful == ("glioma", "notumor")


@pytest.mark.parametrize(("position", "shown"), [(99, 40), (0, 1), (-5, 1)])
def test_a_position_beyond_the_volume_is_its_last_slice(scan, position, shown):
    examination, _, updates = look(scan, position=position)
    assert examination.name == f"axial slice {shown} of 40"
    assert updates[viewer._POSITION]["value"] == shown


@pytest.mark.parametrize("said", [{}, {"position": None}, {"centre": None}, {"plane": "sagittal"}, {"item": 7}])
def test_what_changes_nothing_is_not_answered_anew(scan, said):
    examination, told, updates = look(scan, **said)
    assert examination == told == gr.skip()
    assert updates[1:] == [gr.skip() for _ in updates[1:]]


def test_a_slider_that_is_moved_is_not_moved_back(scan):
    _, _, updates = look(scan, position=5)
    assert updates[0].index == 4 and updates[viewer._POSITION] == gr.skip()


def test_a_scan_that_is_gone_is_said_to_be(scan):
    assert viewer.GONE in look(None)[1]


def test_a_view_is_not_shown_over_what_was_opened_meanwhile(scan):
    latest = Latest()
    latest.next()
    handler = unless_overtaken(viewer._looking(lambda *_: latest.next()))
    said = (0, "coronal", 1, None, None)
    outputs = handler(latest, scan, *said, *SETTINGS)
    assert outputs == tuple(gr.skip() for _ in outputs)


@pytest.fixture
def swept(monkeypatch) -> list:
    """Slices are found without any network; what shall happen meanwhile is put in as functions."""
    meanwhile: list = []

    def sweep(volume: Volume, plane: str, *_: object):
        for index in range(volume.count(plane)):
            if index == 20:
                for happens in meanwhile:
                    happens()
            yield Finding(index, consensus([answer("resnet18", "glioma")]))

    monkeypatch.setattr(viewer, "sweep", sweep)
    return meanwhile


def test_a_run_is_announced_at_once_and_a_second_press_stops_it(scan, swept):
    latest, sweeping, stopped = Latest(), Sweeping(), []
    latest.next()
    strip, button = viewer._press(sweeping, scan, ["resnet18"])
    assert "0 of 40 slices …" in strip["value"] and button["value"] == STOP
    swept.append(lambda: stopped.append(viewer._press(sweeping, scan, ["resnet18"])))
    told = list(viewer._run(latest, sweeping))
    assert ["16 of 40 slices, about" in strip["value"] for strip, _ in told] == [False, True]
    ((strip, button),) = stopped
    assert "Stopped: 20 of 40 slices." in strip["value"] and button["value"] == RUN
    # The press that stopped it has an event of its own, which finds nothing to do.
    assert list(viewer._run(latest, sweeping)) == [(gr.skip(), gr.skip())]


def test_presses_while_others_are_answered_come_to_one_run(scan, swept):
    latest, sweeping = Latest(), Sweeping()
    latest.next()
    for _ in range(3):
        viewer._press(sweeping, scan, ["resnet18"])
    *_, (strip, button) = viewer._run(latest, sweeping)
    assert "slices …" not in strip["value"] and button["value"] == RUN
    for _ in range(2):
        assert list(viewer._run(latest, sweeping)) == [(gr.skip(), gr.skip())]


def test_a_run_ends_when_it_is_unwanted_or_another_slice_was_opened(scan, swept):
    latest, sweeping = Latest(), Sweeping()
    latest.next()
    for ends in (lambda: viewer._unwanted(sweeping), latest.next):
        swept[:] = [ends]
        viewer._press(sweeping, scan, ["resnet18"])
        *_, (strip, _) = viewer._run(latest, sweeping)
        assert "16 of 40 slices, about" in strip["value"]
        assert sweeping.run is None


def test_a_press_on_another_scan_starts_a_run_whatever_was_left_of_the_one_before(scan, swept):
    sweeping = Sweeping()
    viewer._press(sweeping, scan, ["resnet18"])
    _, button = viewer._press(sweeping, scan.kept(2, []), ["resnet18"])
    assert button["value"] == STOP
    assert viewer.NO_MODEL in viewer._press(sweeping, scan, [])[0]["value"]
    assert viewer.GONE in viewer._press(sweeping, None, ["resnet18"])[0]["value"]


def kept_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(viewer.tempfile, "tempdir", str(folder))
    return folder


def test_the_other_series_can_be_chosen_when_the_server_has_tidied_up(temporary, tmp_path):
    voxels = head()
    save(series(voxels[:, :, ::2]), tmp_path / "up" / "Doe^Jane", "")
    save(series(voxels[:, ::8], "coronal"), tmp_path / "up" / "b", ".dcm")
    paths = sorted(path for path in (tmp_path / "up").rglob("*") if path.is_file())
    scan = classify.open_upload(*map(str, paths))[1].kept(1, paths)
    for path in paths:
        path.unlink()
    examination, told, updates = look(scan, item=1)
    assert told == f"coronal slice 4 of 7 by {SETTINGS}"
    assert updates[viewer._ITEM] == gr.skip() and updates[0].number == 1
    # Back again, and then it is all gone with what refers to it.
    assert look(updates[0], item=0)[0].name == "axial slice 11 of 20"
    assert len(kept_files(temporary)) == len(paths)
    del scan, examination, updates
    gc.collect()
    assert not any(temporary.iterdir())


def test_names_of_files_count_for_the_other_series_too_but_are_not_kept(temporary, tmp_path):
    paths = []
    for name in ("Doe^Jane_flair.nii", "Doe^Jane_t1_gd.nii"):
        paths.append(tmp_path / name)
        nibabel.save(nibabel.Nifti1Image(head(), np.diag([1.0, 1.0, 3.0, 1.0])), paths[-1])
    scan = classify.open_upload(*map(str, paths))[1].kept(1, paths)
    assert scan.volume.caution is None
    assert not any("Doe" in str(path) for path in temporary.rglob("*"))
    other = scan.other(1).volume
    assert "FLAIR" in other.caution.text and other.items == scan.volume.items
    assert not any("Doe" in str(path) for path in temporary.rglob("*"))


def test_a_scan_with_nothing_else_to_choose_keeps_no_file(temporary, tmp_path):
    path = tmp_path / "scan.nii"
    nibabel.save(nibabel.Nifti1Image(head(), np.eye(4)), path)
    assert classify.open_upload(str(path))[1].kept(1, [path]).upload is None
    assert not any(temporary.iterdir())


def test_what_is_no_picture_is_not_called_by_its_name(tmp_path):
    for name in ("DOE^JANE.dcm", "DOE_JANE"):
        path = tmp_path / name
        path.write_bytes(b"\0" * 2000)
        with pytest.raises(ImageError) as error:
            classify.open_upload(str(path))
        assert "DOE" not in str(error.value) and "JANE" not in str(error.value)
