"""DICOM as scanners, archives and other software write it."""

from __future__ import annotations

import warnings

import gdcm
import numpy as np
import pytest
import scans
from pydicom import dcmread, uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from brain_tumor.dicom import is_dicom
from brain_tumor.images import ImageError
from brain_tumor.slicing import Window
from brain_tumor.volumes import Volume, read_volume

HEAD = scans.head()
GREY = np.random.default_rng(5).integers(0, 4096, (48, 64)).astype(np.uint16)


def bundled(name: str) -> str:
    path = get_testdata_file(name, download=False)
    assert path, f"pydicom no longer brings {name}"
    return path


def read(ds: Dataset | list[Dataset], tmp_path, item: int = 0) -> Volume:
    return read_volume(scans.save(ds if isinstance(ds, list) else [ds], tmp_path / "upload"), item)


def shown(volume: Volume, window: Window | None = None) -> np.ndarray:
    image = volume.slice(volume.planes[0], 0, window)
    assert image.mode == "RGB"
    return np.asarray(image)


def stored(volume: Volume) -> np.ndarray:
    """The pixels of a volume of one image, turned back to rows and columns as they are in the file."""
    assert volume.voxels.shape[2] == 1
    return volume.voxels[::-1, ::-1, 0].swapaxes(0, 1)


def grey_8_bit(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(int)


# --- Encodings: all of these are one image

MR_SMALL = dcmread(bundled("MR_small.dcm")).pixel_array


@pytest.mark.parametrize(
    "name",
    [
        "MR_small.dcm",
        "MR_small_implicit.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_expb.dcm",
        "MR_small_padded.dcm",
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "zipMR.gz",
    ],
)
def test_every_encoding_of_an_image_gives_the_same_pixels(name):
    volume = read_volume(bundled(name))
    np.testing.assert_array_equal(stored(volume), MR_SMALL)
    assert volume.voxels.dtype == np.int16
    assert volume.planes == ("axial",) and volume.count("axial") == 1


@pytest.mark.parametrize(
    "syntax", ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"]
)
def test_what_gdcm_compressed_is_unchanged(syntax, tmp_path):
    reader = gdcm.ImageReader()
    reader.SetFileName(bundled("MR_small.dcm"))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(tmp_path / "compressed"))
    assert writer.Write()
    assert dcmread(tmp_path / "compressed").file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(stored(read_volume(tmp_path / "compressed")), MR_SMALL)


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_lossy_12_bit_jpeg_shows_what_jpeg_2000_shows(name):
    # The reference is blurred, so what is compared are the means of blocks.
    blocks = [stored(read_volume(bundled(n))).reshape(128, 8, 32, 8).mean(axis=(1, 3)) for n in (name, "JPEG2000.dcm")]
    assert np.corrcoef(blocks[0].ravel(), blocks[1].ravel())[0, 1] > 0.95


def test_deflated(tmp_path):
    ds = dcmread(bundled("MR_small.dcm"))
    ds.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    np.testing.assert_array_equal(stored(read(ds, tmp_path)), MR_SMALL)


def test_file_without_preamble(tmp_path):
    (tmp_path / "IM000001").write_bytes(scans.encoded(dcmread(bundled("MR_small.dcm")))[132:])
    np.testing.assert_array_equal(stored(read_volume(tmp_path / "IM000001")), MR_SMALL)


@pytest.mark.parametrize("implicit, little", [(True, True), (False, True), (False, False)])
def test_file_without_file_meta(implicit, little, tmp_path):
    ds = dcmread(bundled("MR_small.dcm" if little else "MR_small_bigendian.dcm"))
    del ds.file_meta
    ds.save_as(tmp_path / "IM000001", implicit_vr=implicit, little_endian=little)
    np.testing.assert_array_equal(stored(read_volume(tmp_path / "IM000001")), MR_SMALL)


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_jpeg_dcmtk.dcm",
        "SC_rgb_jpeg_gdcm.dcm",
        "SC_rgb_rle.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
        "examples_jpeg2k.dcm",
    ],
)
def test_colour_is_kept(name):
    volume = read_volume(bundled(name))
    ds = dcmread(bundled(name))
    assert volume.colour and volume.planes == ("original",)
    np.testing.assert_array_equal(shown(volume), ds.pixel_array)
    np.testing.assert_array_equal(shown(volume, Window(10, 20)), ds.pixel_array)


def test_palette_and_deep_colours_are_brought_to_8_bits():
    assert len(np.unique(shown(read_volume(bundled("examples_palette.dcm"))).reshape(-1, 3), axis=0)) > 50
    deep, ordinary = (shown(read_volume(bundled(f"SC_rgb_rle{bits}.dcm"))) for bits in ("_16bit", ""))
    assert np.abs(deep.astype(int) - ordinary).max() <= 1


# --- Values and windows


@pytest.mark.parametrize("name", ["MR_small.dcm", "693_J2KI.dcm", "examples_overlay.dcm", "J2K_pixelrep_mismatch.dcm"])
def test_the_files_own_window_looks_as_pydicom_computes_it(name, tmp_path):
    ds = dcmread(bundled(name))
    # That of MR is not gone by.
    ds.Modality = "CT"
    values = apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds).astype(float)
    rescaled = apply_modality_lut(np.array([0.0, 2.0**ds.BitsStored - 1]), ds)
    low = rescaled[0] - (rescaled[1] - rescaled[0] + 1) / 2 * ds.PixelRepresentation
    high = rescaled[1] - (rescaled[1] - rescaled[0] + 1) / 2 * ds.PixelRepresentation
    expected = grey_8_bit((values - low) / (high - low) * 255)
    assert np.abs(shown(read(ds, tmp_path))[..., 0] - expected).max() <= 1


def test_window_presets_come_first_one_first(tmp_path):
    values = {"WindowCenter": [40, 600], "WindowWidth": [80, 2800], "RescaleSlope": 2, "RescaleIntercept": -1000}
    ds = scans.dataset(GREY, Modality="CT", **values)
    volume = read(ds, tmp_path)
    assert [(p.centre, p.width) for p in volume.presets] == [(40, 80), (600, 2800)]
    assert volume.default_window == volume.presets[0]
    values = 2.0 * GREY - 1000
    for window in volume.presets:
        expected = grey_8_bit(((values - window.centre + 0.5) / (window.width - 1) + 0.5) * 255)
        np.testing.assert_array_equal(shown(volume, window)[..., 0], expected)


def test_sigmoid_window(tmp_path):
    asked = {"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"}
    volume = read(scans.dataset(GREY, Modality="CT", **asked), tmp_path)
    expected = 255 / (1 + np.exp(-4 * (GREY - 2000.0) / 1000))
    np.testing.assert_array_equal(shown(volume)[..., 0], grey_8_bit(expected))


def test_window_of_no_width_is_passed_over(tmp_path):
    volume = read(scans.dataset(GREY, Modality="CT", WindowCenter=0, WindowWidth=0), tmp_path)
    assert volume.presets == ()
    assert volume.default_window.centre == pytest.approx((GREY.min() + GREY.max()) / 2)
    assert volume.default_window.width == pytest.approx(GREY.max() - GREY.min())


def test_mr_opens_in_the_range_that_the_models_learned_from_whatever_window_its_file_asks_for(tmp_path):
    volume = read(scans.dataset(GREY, WindowCenter=40, WindowWidth=80), tmp_path)
    expected = grey_8_bit((GREY - GREY.min()) / (GREY.max() - GREY.min()) * 255)
    np.testing.assert_array_equal(shown(volume)[..., 0], expected)


def test_low_values_of_monochrome1_are_bright(tmp_path):
    normal = shown(read(scans.dataset(GREY), tmp_path / "2"))
    inverted = shown(read(scans.dataset(GREY, PhotometricInterpretation="MONOCHROME1"), tmp_path / "1"))
    assert np.abs(255 - normal.astype(int) - inverted).max() <= 1


def test_bits_above_those_stored_are_no_values(tmp_path):
    signed = (GREY.astype(np.int16) - 2048) & 0x0FFF
    ds = scans.dataset((signed | 0x3000).astype(np.uint16), BitsStored=12, HighBit=11, PixelRepresentation=1)
    np.testing.assert_array_equal(stored(read(ds, tmp_path)), GREY.astype(int) - 2048)


def test_lookup_tables(tmp_path):
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4096, 0, 16], "US"
    table.LUTData = ((4095 - np.arange(4096)) * 3).astype("<u2").tobytes()
    ds = scans.dataset(GREY, BitsStored=12, HighBit=11, ModalityLUTSequence=[table])
    np.testing.assert_array_equal(stored(read(ds, tmp_path / "modality")), (4095 - GREY.astype(int)) * 3)
    voi = Dataset()
    voi.LUTDescriptor, voi.LUTData = [4096, 0, 16], np.where(np.arange(4096) > 2000, 100, 0).astype("<u2").tobytes()
    ds = scans.dataset(GREY, BitsStored=12, HighBit=11, VOILUTSequence=[voi])
    np.testing.assert_array_equal(shown(read(ds, tmp_path / "voi"))[..., 0], 255 * (GREY > 2000))


def test_pixels_become_square(tmp_path):
    image = read(scans.dataset(GREY, PixelSpacing=[2.0, 0.5]), tmp_path).slice("original", 0)
    assert image.size == (64, 48 * 4)


# --- Series


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_series_is_put_in_order_by_position(plane, tmp_path):
    volume = read(scans.series(HEAD, plane), tmp_path)
    np.testing.assert_array_equal(volume.voxels, HEAD)
    assert volume.voxels.dtype == np.int16
    assert volume.spacing == pytest.approx(scans.SPACING)
    assert volume.planes[0] == plane and set(volume.planes) == {"axial", "coronal", "sagittal"}


def test_series_without_positions_follows_its_instance_numbers(tmp_path):
    slices = scans.series(HEAD)
    for ds in slices:
        del ds.ImagePositionPatient, ds.ImageOrientationPatient
    volume = read(slices, tmp_path)
    assert volume.planes == ("original",) and volume.count("original") == HEAD.shape[2]
    # numbered from the top: the first is the highest
    np.testing.assert_array_equal(volume.voxels, HEAD[:, :, ::-1])


def test_loose_files_without_positions_or_numbers_follow_their_names(tmp_path):
    voxels = scans.head()
    paths = []
    for k, ds in enumerate(scans.series(voxels)):
        del ds.ImagePositionPatient, ds.InstanceNumber
        paths.append(tmp_path / f"IM{k}")
        paths[-1].write_bytes(scans.encoded(ds))
    backwards, in_order = read_volume(paths[::-1]), read_volume(tmp_path)
    np.testing.assert_array_equal(backwards.voxels, in_order.voxels)
    assert backwards.count("axial") == len(paths)


def test_series_with_a_gap_is_shown_as_scanned_only(tmp_path):
    slices = scans.series(HEAD)
    volume = read(slices[:15] + slices[18:], tmp_path)
    assert volume.planes == ("axial",) and volume.count("axial") == len(slices) - 3


def test_tilted_gantry_is_shown_as_scanned_only(tmp_path):
    slices = scans.series(HEAD)
    for k, ds in enumerate(slices):
        ds.ImagePositionPatient = [*ds.ImagePositionPatient[:1], float(ds.ImagePositionPatient[1]) + 0.5 * k, 1.5 * k]
    assert read(slices, tmp_path).planes == ("axial",)


def test_longest_series_comes_first_and_the_others_can_be_had(tmp_path):
    long = scans.series(HEAD, SeriesDescription="t1_mprage +C")
    short = scans.series(HEAD[:, :, :20] // 2, SeriesDescription="ax FLAIR")
    volume = read(long + short, tmp_path)
    np.testing.assert_array_equal(volume.voxels, HEAD)
    assert volume.items == (
        "1. MR T1-weighted with contrast agent, axial, 40 slices",
        "2. MR FLAIR, axial, 20 slices",
    )
    other = read_volume(tmp_path / "upload", item=1)
    np.testing.assert_array_equal(other.voxels, HEAD[:, :, :20] // 2)
    assert other.item == 1 and "FLAIR" in other.caution.text and volume.caution is None
    with pytest.raises(IndexError, match="0 to 1"):
        read_volume(tmp_path / "upload", item=2)


def test_planes_of_a_localiser_are_not_mixed(tmp_path):
    slices = scans.series(HEAD)[:9] + scans.series(HEAD, "coronal")[:7]
    for ds in slices:
        ds.SeriesInstanceUID, ds.Rows, ds.Columns = "1.2.3", 40, 40
        ds.PixelData = ds.PixelData[: 2 * 40 * 40]
    volume = read(slices, tmp_path)
    assert volume.count("axial") == 9 and len(volume.items) == 2


def test_repeated_positions_are_volumes_of_their_own(tmp_path):
    early, late = scans.series(HEAD), scans.series(HEAD // 2)
    for k, ds in enumerate(early + late):
        ds.SeriesInstanceUID, ds.InstanceNumber = "1.2.3", k
    volume = read(early + late, tmp_path)
    np.testing.assert_array_equal(volume.voxels, HEAD)
    np.testing.assert_array_equal(read_volume(tmp_path / "upload", item=1).voxels, HEAD // 2)


def test_slopes_that_differ_between_slices_are_applied(tmp_path):
    slices = scans.series(HEAD)
    for k, ds in enumerate(slices):
        ds.RescaleSlope, ds.RescaleIntercept = 1 + k, -k
    volume = read(slices, tmp_path)
    np.testing.assert_allclose(
        volume.slope * volume.voxels + volume.intercept, HEAD * (1.0 + np.arange(40)) - np.arange(40)
    )


# --- Several frames in a file


def enhanced(voxels: np.ndarray) -> Dataset:
    """An enhanced MR image with its frames in an order that means nothing."""
    slices = scans.series(voxels)
    order = np.random.default_rng(4).permutation(len(slices))
    ds = scans.dataset(np.stack([slices[k].pixel_array for k in order]))
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = uid.EnhancedMRImageStorage

    def macro(keyword: str, **elements) -> Dataset:
        item, group = Dataset(), Dataset()
        for name, value in elements.items():
            setattr(item, name, value)
        setattr(group, keyword, [item])
        return group

    shared = macro("PixelMeasuresSequence", PixelSpacing=slices[0].PixelSpacing)
    shared.update(macro("PlaneOrientationSequence", ImageOrientationPatient=slices[0].ImageOrientationPatient))
    shared.update(macro("PixelValueTransformationSequence", RescaleSlope=3, RescaleIntercept=7))
    shared.update(macro("FrameVOILUTSequence", WindowCenter=1500, WindowWidth=3000))
    ds.SharedFunctionalGroupsSequence = [shared]
    positions = [slices[k].ImagePositionPatient for k in order]
    ds.PerFrameFunctionalGroupsSequence = [macro("PlanePositionSequence", ImagePositionPatient=p) for p in positions]
    return ds


def test_the_window_of_an_enhanced_image_is_that_of_its_frames(tmp_path):
    ds = enhanced(HEAD)
    ds.Modality = "CT"
    assert read(ds, tmp_path).default_window.centre == 1500


def test_enhanced_mr_is_a_volume(tmp_path):
    volume = read(enhanced(HEAD), tmp_path)
    np.testing.assert_array_equal(volume.voxels, HEAD)
    assert (volume.slope, volume.intercept) == (3, 7)
    assert volume.presets == ()
    assert len(volume.planes) == 3 and volume.spacing == pytest.approx(scans.SPACING)


def test_frames_of_a_secondary_capture_keep_their_order(tmp_path):
    frames = np.stack([GREY // (k + 1) for k in range(5)])
    volume = read(scans.dataset(frames), tmp_path)
    assert volume.planes == ("original",) and volume.count("original") == 5
    for k in range(5):
        np.testing.assert_array_equal(volume.voxels[::-1, ::-1, k].T, frames[k])
    colour = read_volume(bundled("SC_rgb_rle_2frame.dcm"))
    np.testing.assert_array_equal(
        [np.asarray(colour.slice("original", k)) for k in range(2)],
        dcmread(bundled("SC_rgb_rle_2frame.dcm")).pixel_array,
    )


# --- What cannot be read


@pytest.mark.parametrize(
    "name, says",
    [
        ("test-SR.dcm", "Comprehensive SR"),
        ("rtplan.dcm", "RT Plan"),
        ("rtstruct.dcm", "RT Structure Set"),
        ("waveform_ecg.dcm", "ECG"),
        ("DICOMDIR", "upload the files that it lists"),
        ("MR_truncated.dcm", "cut short"),
        ("SC_rgb_small_odd.dcm", "too small"),
    ],
)
def test_errors_say_what_the_file_is(name, says):
    with pytest.raises(ImageError, match=says) as caught:
        read_volume(bundled(name))
    assert str(caught.value).endswith(".")


def test_unsupported_compression_is_named(tmp_path):
    ds = dcmread(bundled("MR_small_RLE.dcm"))
    ds.file_meta.TransferSyntaxUID = uid.MPEG4HP41
    with pytest.raises(ImageError, match=r"MPEG-4 AVC/H\.264 High Profile / Level 4\.1.*uncompressed"):
        read(ds, tmp_path)


@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm"])
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_truncated_compressed_files(name, keep, tmp_path):
    with open(bundled(name), "rb") as file:
        content = file.read()
    path = tmp_path / "short"
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ImageError, match=r"cut short|no image"):
        read_volume(path)


def test_compressed_image_that_claims_to_be_huge_is_not_tried(tmp_path):
    with open(bundled("MR_small_jp2klossless.dcm"), "rb") as file:
        content = bytearray(file.read())
    at = content.index(b"\xff\x4f\xff\x51") + 8
    content[at : at + 8] = (60_000).to_bytes(4, "big") * 2
    (tmp_path / "bomb").write_bytes(content)
    with pytest.raises(ImageError, match="damaged"):
        read_volume(tmp_path / "bomb")


@pytest.mark.parametrize("elements", [{"Rows": 65535, "Columns": 65535}, {"NumberOfFrames": 2_000_000_000}])
def test_header_that_claims_to_be_huge_is_not_believed(elements, tmp_path):
    with pytest.raises(ImageError, match="600 MB"):
        read(scans.dataset(GREY, **elements), tmp_path)


def test_deflated_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr("brain_tumor.dicom.MAX_BYTES", 1_000_000)
    ds = scans.dataset(np.zeros((1024, 1024), np.uint16), uid.DeflatedExplicitVRLittleEndian)
    assert len(scans.encoded(ds)) < 10_000
    with pytest.raises(ImageError, match="600 MB"):
        read(ds, tmp_path)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_give_an_image_or_an_error(seed, tmp_path):
    rng = np.random.default_rng(seed)
    content = bytearray(scans.encoded(dcmread(bundled(["MR_small.dcm", "MR_small_jp2klossless.dcm"][seed % 2]))))
    for at in rng.integers(132, min(len(content), 1800), 12):
        content[at] = rng.integers(256)
    (tmp_path / "damaged").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            shown(read_volume(tmp_path / "damaged"))
        except ImageError as error:
            assert str(error).endswith(".")


@pytest.mark.parametrize("content", [b"", b"\x08\x00", b"\x08\x00" * 300, b"\x02\x00 are notes " * 40, bytes(600)])
def test_other_contents_are_not_dicom(content):
    assert not is_dicom(content)


@pytest.mark.parametrize(("said", "hinted"), [(None, True), ("NO", False), ("YES", True)])
def test_captures_of_a_screen_may_bear_names_unless_the_file_says_no(said, hinted, tmp_path):
    ds = scans.series(HEAD)[0]
    ds.Modality, ds.SOPClassUID = "OT", "1.2.840.10008.5.1.4.1.1.7"
    if said:
        ds.BurnedInAnnotation = said
    caution = read([ds], tmp_path).caution
    assert (caution is not None and "look for names" in caution.text) == hinted
