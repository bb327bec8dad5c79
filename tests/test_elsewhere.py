"""Scans from elsewhere: fetched, unpacked the right way up, asked about, and told in a table."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

import nrrd
import numpy as np
import pytest
import scans

from brain_tumor.checkpoints import find_checkpoint, weights_folder
from brain_tumor.volumes import read_volume
from training import elsewhere
from training.data import DataError
from training.elsewhere import AS_OPENED, BRIGHT, Package, Scan

HEAD = scans.head()
BALL = (HEAD == 1000).astype(np.int16)


def as_nrrd(voxels: np.ndarray, path) -> bytes:
    """Axes to the left, the back and the head, as scanners have them."""
    directions = np.diag(scans.SPACING)
    header = {"space": "left-posterior-superior", "space directions": directions, "space origin": [0, 0, 0]}
    nrrd.write(str(path), voxels[::-1, ::-1], header)
    return path.read_bytes()


@pytest.fixture
def package(tmp_path) -> Package:
    """An archive with a scan of each kind, where a registry would have it."""
    contents = {
        "thing-1.0/data/image.nrrd": as_nrrd(HEAD, tmp_path / "image.nrrd"),
        "thing-1.0/data/label.nrrd": as_nrrd(BALL, tmp_path / "label.nrrd"),
    }
    contents |= {f"thing-1.0/dicom/{k}.dcm": scans.encoded(ds) for k, ds in enumerate(scans.series(HEAD))}
    path = tmp_path / "thing-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return Package(path.as_uri(), path.stat().st_size, md5)


@pytest.fixture
def known(package, monkeypatch) -> tuple[Scan, ...]:
    found = (
        Scan("ball", "a head with a ball", package, "*/data/image.nrrd", "*/data/label.nrrd"),
        Scan("series", "a head in DICOM", package, "*/dicom/*.dcm"),
    )
    monkeypatch.setattr(elsewhere, "SCANS", found)
    monkeypatch.setattr(elsewhere, "SLICES", 4)
    return found


def test_scans_are_unpacked_as_they_lie_in_the_body(known, tmp_path):
    folder = elsewhere.fetch(tmp_path / "data")
    assert sorted(path.name for path in folder.iterdir()) == ["ball-tumour.nii.gz", "ball.nii.gz", "series.zip"]
    for name in ("ball.nii.gz", "series.zip"):
        np.testing.assert_array_equal(read_volume(folder / name).voxels, HEAD)
    np.testing.assert_array_equal(read_volume(folder / "ball-tumour.nii.gz").voxels, BALL)


def test_what_is_there_is_not_fetched_again(known, package, tmp_path):
    folder = elsewhere.fetch(tmp_path / "data")
    (tmp_path / package.file).unlink()
    assert elsewhere.fetch(tmp_path / "data") == folder
    (folder / "series.zip").unlink()
    with pytest.raises(DataError, match="cannot be fetched"):
        elsewhere.fetch(tmp_path / "data")


def test_an_archive_of_another_release_is_told(known, package, tmp_path, monkeypatch):
    monkeypatch.setattr(elsewhere, "SCANS", (Scan("x", "x", package, "*/data/other.nii.gz"),))
    with pytest.raises(DataError, match=r"holds no \*/data/other"):
        elsewhere.fetch(tmp_path / "data")


def test_a_folder_that_cannot_be_written_to_is_told(known, tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DataError, match="Give another folder with --data"):
        elsewhere.fetch(tmp_path / "data")


def test_the_committed_outcomes_are_of_the_committed_checkpoints_and_scans():
    content = json.loads((weights_folder().parent / elsewhere.FILE).read_text())
    assert content["systems"] == {name: find_checkpoint(name).sha256 for name in content["systems"]}
    assert {one.scan for one in elsewhere.read()} == {scan.name for scan in elsewhere.SCANS}
    for one in elsewhere.read():
        assert sum(one.verdicts.values()) == sum(one.together.values()) == one.slices


def test_the_box_is_where_the_page_shows_the_tumour(known, tmp_path):
    folder = elsewhere.fetch(tmp_path / "data")
    tumour = read_volume(folder / "ball-tumour.nii.gz")
    index = int(BALL.sum(axis=(0, 1)).argmax())
    shown = np.asarray(read_volume(folder / "ball.nii.gz").slice("axial", index).convert("L"))
    box = elsewhere._box(tumour, index)
    assert shown[int(box.y * shown.shape[0]), int(box.x * shown.shape[1])] == shown.max()
    # The patient's right is on the left, the front at the top.
    _, _, right, bottom = box.corners
    assert right < 0.5 and bottom < 0.5
    assert elsewhere._box(tumour, 0) is None and elsewhere._box(None, index) is None


def test_what_becomes_of_the_slices_is_counted_and_tabulated(known, tmp_path, monkeypatch):
    weights = tmp_path / "project" / "weights"
    weights.mkdir(parents=True)
    (weights.parent / "docs").mkdir()
    (weights / "resnet18").symlink_to(weights_folder() / "resnet18")
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(weights))
    assert elsewhere.outcomes_table() == "Not measured yet."
    assert elsewhere.together_table() == "Not measured yet."
    elsewhere.measure(tmp_path / "data", ["resnet18"])
    outcomes = elsewhere.read()
    assert [(one.scan, one.shown, one.tumour) for one in outcomes] == [
        ("ball", AS_OPENED, True),
        ("ball", AS_OPENED, False),
        ("ball", BRIGHT, True),
        ("ball", BRIGHT, False),
        ("series", AS_OPENED, False),
        ("series", BRIGHT, False),
    ]
    assert outcomes[0].slices + outcomes[1].slices == outcomes[4].slices == 4
    for one in outcomes:
        assert sum(one.verdicts.values()) == one.slices
        assert one.together == one.verdicts
        assert set(one.suspects) == {"resnet18"} and set(one.located) == set(one.suspects if one.tumour else ())
    assert elsewhere.together_table() == "Not measured yet."
    told = " ".join(elsewhere.outcomes_table().split())
    assert "| a head with a ball (ball) | with tumour |" in told
    listed = json.loads((weights.parent / elsewhere.FILE).read_text())["listed"]
    assert list(listed) == ["ball"] and all(len(shows) <= 5 for shows in listed["ball"].values())
    assert "- a head with a ball (ball): of the slices that the page lists as the most suspicious, " in told
    assert elsewhere._which([True, False, True, True]) == "numbers 1, 3 and 4 of 4 show"
    assert elsewhere._which([False, True]) == "number 2 of 2 shows"
    assert elsewhere._which([False]) == "none of 1 shows"
