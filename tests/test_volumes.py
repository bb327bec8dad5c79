"""Uploads as they come: files, folders and archives with whatever is in them; and nothing that says whose they are."""

from __future__ import annotations

import io
import logging
import pickle
import traceback
import warnings
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import scans
from nibabel.nifti1 import Nifti1Image
from PIL import Image
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.datadict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from brain_tumor import uploads
from brain_tumor.images import ImageError
from brain_tumor.volumes import is_volume, read_volume

HEAD = scans.head()
SLICES = [scans.encoded(ds) for ds in scans.series(HEAD)]


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64)).save(stream, "PNG")
    return stream.getvalue()


CLUTTER = {
    "notes.txt": b"as discussed",
    "preview.png": png(),
    "DICOMDIR": Path(get_testdata_file("DICOMDIR", download=False)).read_bytes(),
    "__MACOSX/series/._IM1": b"\0\5\x16\7" + bytes(200),
    "series/.DS_Store": bytes(500),
    "empty": b"",
    "report": Path(get_testdata_file("test-SR.dcm", download=False)).read_bytes(),
}
NAMES = {
    "flat": "IM{}",
    "nested": "study/series 1/a/b/{}.dcm",
    "absolute": "/etc/{}",
    "climbing": "../../{}.dcm",
    "Windows": "C:\\scans\\{}",
}


@pytest.mark.parametrize("form", NAMES.values(), ids=NAMES)
def test_zip_of_a_series_among_other_things(form, tmp_path):
    path = zipped(tmp_path / "upload.zip", CLUTTER | {form.format(k): data for k, data in enumerate(SLICES)})
    before = set(tmp_path.parent.rglob("*"))
    assert is_volume(path)
    np.testing.assert_array_equal(read_volume(path).voxels, HEAD)
    assert set(tmp_path.parent.rglob("*")) == before


def test_folder_and_list_of_files(tmp_path):
    for name, content in CLUTTER.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    folder = tmp_path / "series"
    for k, data in enumerate(SLICES):
        (folder / f"{k}").write_bytes(data)
    (folder / "again").symlink_to(folder)
    (folder / "0 again").symlink_to(folder / "0")
    assert is_volume(tmp_path)
    np.testing.assert_array_equal(read_volume(tmp_path).voxels, HEAD)
    np.testing.assert_array_equal(read_volume([str(folder / f"{k}") for k in range(len(SLICES))]).voxels, HEAD)


def test_slices_without_position_or_number_follow_their_names(tmp_path):
    plain = [scans.encoded(scans.dataset(HEAD[:, :, k].T, SeriesInstanceUID="1.2")) for k in range(12)]
    path = zipped(tmp_path / "a.zip", {f"slice{k}.dcm": plain[k] for k in (11, 2, 10, 9, 1, 0, 3, 5, 4, 8, 7, 6)})
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels[::-1, ::-1], HEAD[:, :, :12])


def test_zip_of_nifti_files_offers_each_the_best_first(tmp_path):
    members = {}
    for k, name in enumerate(["seg", "t1c", "t1n", "t2f", "t2w"]):
        values = (HEAD > 900).astype(np.uint8) if name == "seg" else HEAD // (k + 1)
        members[f"case/case-{name}.nii"] = Nifti1Image(values, np.eye(4)).to_bytes()
    volume = read_volume(zipped(tmp_path / "case.zip", members))
    np.testing.assert_array_equal(volume.voxels, HEAD // 2)
    assert volume.caution is None and len(volume.items) == 5
    assert volume.items[-1].endswith("a segmentation")


def test_of_a_study_the_kind_that_the_models_know_is_opened_though_another_is_longer(tmp_path):
    longest = scans.series(HEAD, SeriesDescription="ax FLAIR")
    known = scans.series(HEAD[:, :, :20] // 2, SeriesDescription="t1_mprage +C")
    shorter = scans.series(HEAD[:, :, :12] // 3, SeriesDescription="t1_mprage +C")
    members = {f"{k}": scans.encoded(ds) for k, ds in enumerate(longest + shorter + known)}
    volume = read_volume(zipped(tmp_path / "study.zip", members))
    np.testing.assert_array_equal(volume.voxels, HEAD[:, :, :20] // 2)
    assert volume.caution is None and [item[-9:] for item in volume.items] == ["20 slices", "12 slices", "40 slices"]


def test_of_a_study_a_series_that_can_be_decoded_is_opened(tmp_path):
    # MPEG2 is a film; there are 40 such slices, and 12 that can be read.
    films, readable = scans.series(HEAD), scans.series(HEAD[:, :, :12])
    for ds in films:
        ds.file_meta.TransferSyntaxUID = uid.MPEG2MPML
        ds.PixelData = encapsulate([bytes(64)])
    members = {f"{k}": scans.encoded(ds) for k, ds in enumerate(films + readable)}
    path = zipped(tmp_path / "study.zip", members)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels, HEAD[:, :, :12])
    assert (volume.item, len(volume.items)) == (1, 2)
    with pytest.raises(ImageError, match="MPEG2"):
        read_volume(path, 0)


@pytest.mark.parametrize(
    "content",
    [b"", png(), b"%PDF-1.7 " * 60, b"BM" + bytes(600), b"\x08\x00 to begin " * 50, b"PK\3\4" + bytes(400)],
    ids=["empty", "PNG", "PDF", "BMP", "text", "damaged zip"],
)
def test_what_is_no_volume(content, tmp_path):
    path = tmp_path / "scan.dcm"
    path.write_bytes(content)
    assert not is_volume(path)
    with pytest.raises(ImageError):
        read_volume(path)


def test_archives_and_folders_of_pictures_are_no_volumes(tmp_path):
    assert not is_volume(zipped(tmp_path / "a.zip", {"a.png": png(), "b.dcm": png()}))
    assert not is_volume(tmp_path)
    assert not is_volume(tmp_path / "missing")


@pytest.mark.parametrize("name", ["CT_small.dcm", "test-SR.dcm", "zipMR.gz"])
def test_content_counts_not_the_extension(name, tmp_path):
    (tmp_path / "holiday.png").write_bytes(Path(get_testdata_file(name, download=False)).read_bytes())
    assert is_volume(tmp_path / "holiday.png")


# --- Limits


def test_zip_that_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    path = zipped(tmp_path / "a.zip", {"IM1": SLICES[0], "IM2": bytes(3_000_000)})
    monkeypatch.setattr(uploads, "MAX_UNPACKED", 2_000_000)
    with pytest.raises(ImageError, match="upload one series"):
        read_volume(path)


def test_member_that_is_too_large(tmp_path, monkeypatch):
    path = zipped(tmp_path / "a.zip", {"IM1": SLICES[0] + bytes(3_000_000)})
    monkeypatch.setattr(uploads, "MAX_BYTES", 2_000_000)
    with pytest.raises(ImageError, match="upload fewer or smaller"):
        read_volume(path)


def test_too_many_files(tmp_path):
    path = zipped(tmp_path / "a.zip", {str(k): b"" for k in range(uploads.MAX_FILES + 1)})
    with pytest.raises(ImageError, match="10,000 files"):
        read_volume(path)


def test_encrypted_zip_is_told_from_a_damaged_one(tmp_path):
    content = bytearray(zipped(tmp_path / "a.zip", {"IM1": SLICES[0]}).read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(content)
    with pytest.raises(ImageError, match="password"):
        read_volume(tmp_path / "locked.zip")


def test_damaged_member(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("IM1", SLICES[0])
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[len(content) // 2] ^= 0xFF  # the checksum no longer fits
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ImageError, match="damaged"):
        read_volume(tmp_path / "a.zip")


# --- Whose images they are stays in the file

SECRET = "Geheim"
_TEXT = {"AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"}
# What an image cannot be read without, or is judged by.
_KEPT = {"PhotometricInterpretation", "SpecificCharacterSet"}


def revealing(ds: Dataset) -> Dataset:
    """With the secret in every text element of the standard, and in a private one."""
    for tag, (vr, *_, keyword) in DicomDictionary.items():
        if vr in _TEXT and keyword and keyword not in _KEPT and tag > 0x00080000 and tag >> 16 != 0xFFFE:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ds[tag] = DataElement(tag, vr, f"{SECRET}{len(ds)}")
    block = ds.private_block(0x0099, SECRET, create=True)
    block.add_new(1, "LO", f"{SECRET} private")
    nested = Dataset()
    nested.PatientName = f"{SECRET}^nested"
    ds.RequestAttributesSequence = [nested]
    return ds


def everything(volume) -> str:
    """All that a volume could give away, in one string."""
    fields = {name: value for name, value in vars(volume).items() if name != "voxels"}
    return repr(volume) + str(volume) + repr(fields) + repr(pickle.dumps(fields)) + repr(volume.slice("axial", 0).info)


def assert_silent(output: str) -> None:
    assert SECRET.lower() not in output.lower()


@pytest.fixture
def outlets(caplog, capfd, recwarn):
    """What was logged, printed or warned of so far."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("pydicom").setLevel(logging.DEBUG)
    yield lambda: caplog.text + "".join(capfd.readouterr()) + "".join(str(w.message) for w in recwarn)
    logging.getLogger("pydicom").setLevel(logging.NOTSET)


def test_identifiers_do_not_come_out_of_a_volume(tmp_path, outlets):
    folder = tmp_path / f"{SECRET} folder"
    scans.save([revealing(ds) for ds in scans.series(HEAD)], folder, suffix=f" {SECRET}.dcm")
    assert SECRET.encode() in next(folder.iterdir()).read_bytes()
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.voxels, HEAD)
    assert_silent(everything(volume) + outlets())


def test_identifiers_do_not_come_out_of_nifti(tmp_path, outlets):
    image = Nifti1Image(HEAD, np.eye(4))
    for name in ("descrip", "intent_name", "aux_file", "db_name"):
        image.header[name] = SECRET.encode()
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", SECRET.encode() * 9))
    path = tmp_path / f"{SECRET}.nii"
    nibabel.save(image, path)
    assert path.read_bytes().count(SECRET.encode()) > 9
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels, HEAD)
    assert_silent(everything(volume) + outlets())


def _truncated(content: bytes) -> bytes:
    return content[: len(content) - 1000]


def _without_pixels(content: bytes) -> bytes:
    return content[: content.rindex(b"\xe0\x7f\x10\x00")]


def _text_for_number(content: bytes) -> bytes:
    at = content.index(b"\x28\x00\x08\x00IS") + 8
    return content[:at] + SECRET.encode() + content[at + len(SECRET) :]


def _unknown_syntax(content: bytes) -> bytes:
    return content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.Geheim.1.2.\0")


def _locked(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(f"{SECRET}.dcm", content)
    packed = bytearray(stream.getvalue())
    packed[packed.index(b"PK\1\2") + 8] |= 1
    return bytes(packed)


def _zipped_truncated(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(f"{SECRET}.dcm", _truncated(content))
    return stream.getvalue()


@pytest.mark.parametrize(
    "harm",
    [_truncated, _without_pixels, _text_for_number, _unknown_syntax, _locked, _zipped_truncated, lambda content: None],
    ids=["truncated", "no pixels", "text for a number", "unknown syntax", "locked", "truncated in zip", "missing"],
)
def test_identifiers_do_not_come_out_of_errors(harm, tmp_path, outlets):
    ds = revealing(scans.dataset(np.repeat(HEAD[None, :, :, 0], 2, axis=0)))
    ds.NumberOfFrames = "2       "
    path = tmp_path / f"{SECRET}.dcm"
    if (content := harm(scans.encoded(ds))) is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        read_volume(path)
    shown = str(caught.value) + "".join(traceback.format_exception(caught.value))
    assert_silent(shown + outlets())
    assert str(caught.value).endswith(".")


def test_unknown_kinds_are_not_quoted(tmp_path):
    ds = Dataset()
    ds.file_meta = scans.dataset(HEAD[:, :, 0]).file_meta
    ds.SOPClassUID, ds.PatientName = "1.2.826.0.1.19770131", SECRET
    (tmp_path / "a").write_bytes(scans.encoded(ds))
    with pytest.raises(ImageError, match="holds no image; upload"):
        read_volume(tmp_path / "a")


def test_implicit_syntax_with_identifiers(tmp_path, outlets):
    ds = revealing(scans.series(HEAD)[0])
    ds.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    (tmp_path / "a").write_bytes(scans.encoded(ds))
    assert_silent(everything(read_volume(tmp_path / "a")) + outlets())
