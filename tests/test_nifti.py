"""NIfTI: whichever way the axes are stored, the patient lies the same way on the screen."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
import scans
from nibabel.nifti1 import Nifti1Image
from nibabel.nifti2 import Nifti2Image
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from brain_tumor.images import ImageError
from brain_tumor.slicing import Window
from brain_tumor.volumes import is_volume, read_volume

HEAD = scans.head()
AFFINE = np.diag([*scans.SPACING, 1.0])
NIBABEL_DATA = Path(nibabel.__file__).parent / "tests" / "data"


def save(image, path: Path) -> Path:
    nibabel.save(image, path)
    return path


def stored_as(codes: str, affine: np.ndarray = AFFINE, kind=Nifti1Image):
    image = kind(HEAD, affine)
    return image.as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(codes)))


def rotation(axis: int, degrees: float) -> np.ndarray:
    turn, (a, b) = np.eye(4), [k for k in range(3) if k != axis]
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn[a, a], turn[a, b], turn[b, a], turn[b, b] = cosine, -sine, sine, cosine
    return turn


def ball(volume, plane: str) -> tuple[float, float]:
    """Where the bright ball is in the slice through it: fractions of width and height, from the upper left."""
    counts = [(np.asarray(volume.slice(plane, k, Window(900, 100)))[..., 0] > 128) for k in range(volume.count(plane))]
    mask = max(counts, key=np.sum)
    assert mask.sum() > 20
    rows, columns = np.nonzero(mask)
    return columns.mean() / mask.shape[1], rows.mean() / mask.shape[0]


ORIENTATIONS = ["RAS", "LAS", "LPS", "LPI", "RPI", "SAR", "PIR", "ASL", "ILP"]


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_every_orientation_is_shown_alike(codes, tmp_path):
    volume = read_volume(save(stored_as(codes), tmp_path / "scan.nii.gz"))
    np.testing.assert_array_equal(volume.voxels, HEAD)
    assert volume.spacing == pytest.approx(scans.SPACING)
    assert volume.planes == ("axial", "coronal", "sagittal")
    # The ball is on the right, to the front and near the top: on the left of the screen and high up.
    for plane in volume.planes:
        x, y = ball(volume, plane)
        assert x < 0.4 and y < 0.4, plane


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
def test_oblique_scans_are_turned_to_the_nearest_planes(codes, axis, tmp_path):
    image = stored_as(codes)
    tilted = Nifti1Image(np.asarray(image.dataobj), rotation(axis, 20) @ image.affine)
    volume = read_volume(save(tilted, tmp_path / "scan.nii"))
    expected = nibabel.as_closest_canonical(tilted)
    np.testing.assert_array_equal(volume.voxels, np.asarray(expected.dataobj))
    for plane in volume.planes:
        x, y = ball(volume, plane)
        assert x < 0.4 and y < 0.4, plane


def test_slices_are_numbered_as_in_nibabel_and_have_square_pixels(tmp_path):
    volume = read_volume(save(stored_as("LPS"), tmp_path / "scan.nii"))
    window = Window(500, 1000)
    axial = np.asarray(volume.slice("axial", 25, window))[..., 0]
    np.testing.assert_array_equal(axial, np.rint(np.clip(HEAD[::-1, ::-1, 25].T / 1000, 0, 1) * 255))
    nx, ny, nz = HEAD.shape
    assert volume.slice("coronal", 30).size == (nx, 1.5 * nz)
    assert volume.slice("sagittal", 30).size == (ny, 1.5 * nz)
    assert [volume.count(plane) for plane in ("sagittal", "coronal", "axial")] == [nx, ny, nz]
    with pytest.raises(IndexError, match="0 to 39"):
        volume.slice("axial", nz)
    with pytest.raises(ValueError, match="axial, coronal, sagittal"):
        volume.slice("original", 0)


def test_thick_slices_are_shown_as_scanned_first(tmp_path):
    volume = read_volume(save(Nifti1Image(HEAD, np.diag([1, 5, 1, 1])), tmp_path / "scan.nii"))
    assert volume.planes[0] == "coronal"


@pytest.mark.parametrize("kind", [Nifti1Image, Nifti2Image])
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan"])
@pytest.mark.parametrize("dtype", [np.uint8, ">i2", np.uint16, np.float32, np.float64])
def test_types_versions_and_extensions(kind, name, dtype, tmp_path):
    voxels = (HEAD / 4).astype(dtype)
    made = save(kind(voxels, AFFINE), tmp_path / ("made.nii.gz" if name.endswith("gz") else "made.nii"))
    path = made.rename(tmp_path / name)
    assert is_volume(path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels, voxels)
    assert volume.voxels.dtype.itemsize == np.dtype(dtype).itemsize


def test_slope_and_intercept_count(tmp_path):
    image = Nifti1Image(HEAD, AFFINE)
    image.header.set_slope_inter(0.5, -10)
    path = save(image, tmp_path / "scan.nii")
    volume = read_volume(path)
    assert volume.voxels.dtype == np.int16
    values = np.asarray(nibabel.load(path).dataobj)
    np.testing.assert_allclose(volume.slope * volume.voxels + volume.intercept, values)
    expected = np.rint(np.clip((values[::-1, ::-1, 20].T - 100) / 200, 0, 1) * 255)
    assert np.abs(np.asarray(volume.slice("axial", 20, Window(200, 200)))[..., 0] - expected).max() <= 1


def test_a_scan_opens_from_the_darkest_to_the_brightest_value_of_its_slices_but_for_outliers(tmp_path):
    voxels = np.where(HEAD > 0, HEAD + np.random.default_rng(2).random(HEAD.shape), 0).astype(np.float32)
    middle = voxels[:, :, voxels.shape[2] // 4 : -(voxels.shape[2] // 4)]
    expected = float(np.median(middle.max(axis=(0, 1))))
    voxels[10, 10, 10] = 1e6
    window = read_volume(save(Nifti1Image(voxels, AFFINE), tmp_path / "scan.nii")).default_window
    assert window.centre - window.width / 2 == pytest.approx(0, abs=1e-3)
    assert window.centre + window.width / 2 == pytest.approx(expected, rel=1e-3)


def test_values_that_are_no_numbers_show_black(tmp_path):
    voxels = HEAD.astype(np.float32)
    voxels[:20] = np.nan
    voxels[40:, :, :] = np.inf
    volume = read_volume(save(Nifti1Image(voxels, AFFINE), tmp_path / "scan.nii"))
    pixels = np.asarray(volume.slice("axial", 20))
    assert np.isfinite(volume.default_window.width)
    assert (pixels[:, -20:] == 0).all() and (pixels[:, :8] == 255).all()


def test_a_volume_of_one_value_shows_black(tmp_path):
    volume = read_volume(save(Nifti1Image(np.full((40, 40, 40), 7, np.int16), AFFINE), tmp_path / "scan.nii"))
    assert not np.asarray(volume.slice("axial", 0)).any()


def test_4d_gives_the_volume_asked_for(tmp_path):
    times = np.stack([HEAD, HEAD // 2, HEAD // 3], axis=-1)
    for name in ("scan.nii", "scan.nii.gz"):
        path = save(Nifti1Image(times, AFFINE), tmp_path / name)
        for k in range(3):
            volume = read_volume(path, item=k)
            np.testing.assert_array_equal(volume.voxels, times[..., k])
            assert len(volume.items) == 3 and volume.item == k
        np.testing.assert_array_equal(read_volume(path).voxels, HEAD)


def test_2d_and_colour(tmp_path):
    flat = read_volume(save(Nifti1Image(HEAD[:, :, 20], AFFINE), tmp_path / "flat.nii"))
    assert flat.planes == ("axial",) and flat.count("axial") == 1
    rgb = np.zeros(HEAD.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["R"], rgb["B"] = 200, HEAD // 4
    volume = read_volume(save(Nifti1Image(rgb, AFFINE), tmp_path / "colour.nii"))
    assert volume.colour
    pixels = np.asarray(volume.slice("axial", 20))
    assert (pixels[..., 0] == 200).all()
    np.testing.assert_array_equal(pixels[..., 2], HEAD[::-1, ::-1, 20].T // 4)


def test_files_of_other_software():
    volume = read_volume(NIBABEL_DATA / "example4d.nii.gz")
    expected = nibabel.as_closest_canonical(nibabel.load(NIBABEL_DATA / "example4d.nii.gz"))
    np.testing.assert_array_equal(volume.voxels, np.asarray(expected.dataobj)[..., 0])
    assert volume.spacing == pytest.approx(expected.header.get_zooms()[:3], rel=1e-3)
    volume = read_volume(NIBABEL_DATA / "anatomical.nii")
    expected = nibabel.as_closest_canonical(nibabel.load(NIBABEL_DATA / "anatomical.nii"))
    np.testing.assert_array_equal(volume.voxels, np.asarray(expected.dataobj))


# --- What cannot be read


def patched(path: Path, at: int, form: str, *values) -> Path:
    content = bytearray(path.read_bytes())
    struct.pack_into(form, content, at, *values)
    path.write_bytes(content)
    return path


@pytest.fixture
def plain(tmp_path):
    return save(Nifti1Image(HEAD, AFFINE), tmp_path / "scan.nii")


@pytest.mark.parametrize(
    "at, form, values, says",
    [
        (40, "<8h", (3, 30000, 30000, 30000, 1, 1, 1, 1), "600 MB"),
        (40, "<8h", (7, 40, 40, 40, 30000, 30000, 30000, 30000), "GB"),
        (40, "<8h", (3, -5, 40, 40, 1, 1, 1, 1), "damaged"),
        (40, "<8h", (3, 0, 40, 40, 1, 1, 1, 1), "damaged"),
        (40, "<8h", (9, 40, 40, 40, 1, 1, 1, 1), "damaged"),
        (70, "<h", (999,), "damaged"),
        (70, "<h", (32,), "magnitude"),
        (108, "<f", (float("nan"),), "damaged"),
        (108, "<f", (3e38,), "damaged"),
        (344, "<4s", (b"ni1\0",), "convert"),
    ],
)
def test_headers_that_cannot_be_used(plain, at, form, values, says):
    patched(plain, at, form, *values)
    tracemalloc.start()
    with pytest.raises(ImageError, match=says):
        read_volume(plain)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_header_that_promises_more_than_there_is_reserves_no_memory(plain):
    patched(plain, 40, "<8h", 3, 600, 600, 600, 1, 1, 1, 1)
    tracemalloc.start()
    with pytest.raises(ImageError, match="cut short"):
        read_volume(plain)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize("keep", [0.2, 0.9])
def test_truncated(plain, tmp_path, keep):
    content = plain.read_bytes()
    packed = gzip.compress(content)
    for name, whole in (("a.nii", content), ("a.nii.gz", packed)):
        path = tmp_path / name
        path.write_bytes(whole[: int(keep * len(whole))])
        with pytest.raises(ImageError, match="cut short"):
            read_volume(path)


@pytest.mark.parametrize("sform", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag([1, 1, 0, 1])])
def test_a_useless_affine_still_gives_slices(sform, plain):
    patched(plain, 252, "<2h", 0, 1)
    patched(plain, 280, "<12f", *sform[:3].ravel())
    volume = read_volume(plain)
    np.testing.assert_array_equal(volume.voxels, HEAD)
    assert volume.spacing == pytest.approx(scans.SPACING)


def test_a_rotation_that_is_none_still_gives_slices(plain):
    broken = patched(plain, 252, "<hh", 1, 0)
    broken = patched(broken, 256, "<fff", 0.9, 0.9, 0.9)
    assert read_volume(broken).slice("axial", 0)
