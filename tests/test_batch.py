"""Many files at once: a row for each, the same answers as one by one, and nothing kept."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Image
from scans import dataset, encoded, head
from slices import mri_slice

from brain_tumor import __main__ as command_line
from brain_tumor import batch
from brain_tumor.batch import AS_UPLOADED, BY_NAME, DOUBTFUL, UNREADABLE, Batch, Row, chosen, classify_many
from brain_tumor.catalogue import list_models
from brain_tumor.images import ImageError
from brain_tumor.inference import Prediction
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.trust import REFUSED, UNCERTAIN, Agreement, Consensus
from brain_tumor.ui.batch import Session, _table
from brain_tumor.ui.classify import open_upload

NAMES = [model.spec.name for model in list_models(available_only=True)][:2]


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    mri_slice(seed, 96).save(stream, "PNG")
    return stream.getvalue()


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


@pytest.fixture(scope="module")
def upload(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """An archive with clutter, bad files and two of one name; a DICOM slice; several frames; an empty archive."""
    folder = tmp_path_factory.mktemp("upload")
    members = {f"glioma/{seed}.png": png(seed) for seed in range(1, 19)}
    members |= {"meningioma/2.png": png(30), "__MACOSX/glioma/._1.png": b"clutter", "glioma/.DS_Store": b"clutter"}
    members |= {"notes.txt": b"Patient notes", "cut.png": png(1)[:500]}
    zipped = archive(folder / "slices.zip", members)
    pixels = (np.asarray(mri_slice(3, 96).convert("L")).astype(np.uint16)) * 8
    (folder / "slice without extension").write_bytes(encoded(dataset(pixels, InstanceNumber=12)))
    frames = head((40, 40, 4)).transpose(2, 1, 0)
    (folder / "frames.dcm").write_bytes(encoded(dataset(frames)))
    return [
        zipped,
        folder / "slice without extension",
        folder / "frames.dcm",
        archive(folder / "none.zip", {"__MACOSX/1.png": b"clutter"}),
    ]


@pytest.fixture(scope="module")
def rows(upload) -> list[Row]:
    return list(classify_many(upload, NAMES))


def test_every_file_is_a_row_in_the_order_of_the_upload(upload, rows):
    assert [row.number for row in rows] == list(range(1, batch.count(upload) + 1))
    names = [row.name for row in rows]
    archived = ["cut.png", *(f"{seed}.png" for seed in range(1, 19)), "2.png (2)", "File 21"]
    assert names == [*archived, "DICOM 22, image 12", "DICOM 23", "File 24"]
    assert [row.named for row in rows] == [True] * 20 + [False] * 4


def test_bad_files_are_rows_with_a_sentence_and_stop_nothing(rows):
    bad = {row.name: row.problem for row in rows if row.verdict == UNREADABLE}
    assert set(bad) == {"cut.png", "File 21", "DICOM 23", "File 24"}
    assert "cut short" in bad["cut.png"] and "File 21 is not an image" in bad["File 21"]
    assert "4 slices" in bad["DICOM 23"] and "no file" in bad["File 24"]
    for row in rows:
        assert (row.consensus is None) == (row.predictions == ()) == (row.problem is not None)


def test_what_is_unlike_the_training_slices_is_said_beside_the_answer(tmp_path):
    pixels = np.asarray(mri_slice(3, 96).convert("L")).astype(np.uint16) * 8
    (tmp_path / "ct.dcm").write_bytes(encoded(dataset(pixels, Modality="CT")))
    (row,) = classify_many([tmp_path / "ct.dcm"], NAMES[:1])
    assert "CT scan" in row.consensus.caution
    assert "CT scan" in batch.to_csv([row]) and "CT scan" in row.to_json()["consensus"]["caution"]
    assert row.verdict == REFUSED
    assert batch.read_again(row).caution.text == row.consensus.caution


def test_rows_say_what_the_command_line_says(rows, tmp_path, capsys):
    """Across the border of two batches, and the heatmaps' part in the verdict included."""
    for row in rows[13:19]:
        path = tmp_path / row.name
        batch.read_again(row).image.save(path, "PNG")
        command_line.main(["classify", str(path), "--json", "--model", *NAMES])
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = [json.loads(line) for line in batch.to_json_lines(rows[13:19]).splitlines()]
    assert len(told) == len(printed) == 6 * (len(NAMES) + (len(NAMES) > 1))
    for mine, theirs in zip(told, printed, strict=True):
        assert list(mine) == list(theirs)
        assert mine["image"] == Path(theirs["image"]).name
        assert mine["model"] == theirs["model"] and mine.get("verdict") == theirs.get("verdict")
        assert mine["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-3)


def test_exported_lines_tell_what_could_not_be_read_and_what_a_scan_is(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    pixels = np.asarray(mri_slice(3, 96).convert("L")).astype(np.uint16) * 8
    (tmp_path / "ct.dcm").write_bytes(encoded(dataset(pixels, Modality="CT")))
    rows = [*classify_many([tmp_path / "broken.png", tmp_path / "ct.dcm"], NAMES[:1])]
    lines = [json.loads(line) for line in batch.to_json_lines(rows).splitlines()]
    assert lines[0] == {"image": "broken.png", "problem": rows[0].problem}
    assert [line["model"] for line in lines[1:]] == [NAMES[0], "consensus"]
    assert "CT scan" in lines[2]["caution"]


def test_a_scan_s_name_is_neither_shown_nor_exported_nor_kept(tmp_path):
    """It may be its patient's: that of a file, of an archive and of what is in it, readable or not."""
    pixels = np.asarray(mri_slice(3, 96).convert("L")).astype(np.uint16) * 8
    dicom = encoded(dataset(pixels, PatientName="DOE^JANE", SeriesDescription="t1 +C"))
    mask = Nifti1Image((pixels[..., None] > 800).astype(np.int16), np.eye(4)).to_bytes()
    damaged = {
        "DOE^JANE.dcm": dicom[:500],
        "DOE^JANE": dicom[:100],
        "DOE^JANE.nii.gz": gzip.compress(mask)[:30],
        "DOE^JANE.png": encoded(dataset(head((40, 40, 4)).transpose(2, 1, 0))),
        "DOE^JANE.pdf": b"%PDF-1.7",
        "DOE^JANE.zip": archive(tmp_path / "inner.zip", {"DOE^JANE.dcm": dicom}).read_bytes(),
    }
    files = {
        "1/DOE^JANE.dcm": dicom,
        "2/DOE^JANE": dicom,
        "3/DOE^JANE_seg.nii": mask,
        "4/jane-doe.png": png(1),
        "5/DOE^JANE.zip": b"PK\3\4" + bytes(90),
    }
    paths = [tmp_path / name for name in files]
    for path, content in zip(paths, files.values(), strict=True):
        path.parent.mkdir()
        path.write_bytes(content)
    folders = {f"DOE^JANE/{name}": content for name, content in {"good/DOE^JANE.dcm": dicom, **damaged}.items()}
    paths.append(archive(tmp_path / "DOE^JANE.zip", folders))

    session = Session(Batch(paths))
    upload = session.batch
    kept = [path.name for path in Path(upload._folder.name).rglob("*")]
    assert sorted(kept) == ["1", "2", "3", "4", "5", "6"]
    for _ in upload.run(NAMES[:1]):
        pass
    names = [row.name for row in upload.rows]
    assert names[:5] == ["DICOM 1", "DICOM 2", "NIfTI 3", "jane-doe.png", "File 5"]
    assert sorted(name.split()[0] for name in names[5:]) == ["DICOM"] * 3 + ["File"] * 4
    answered = [row for row in upload.rows if not row.problem]
    assert [row.number for row in answered[:4]] == [1, 2, 3, 4] and len(answered) == 5
    # The name still tells what kind of scan it is, and the answer stays the same when the row is opened.
    assert "segmentation" in upload.rows[2].consensus.caution
    again = [batch.read_again(row) for row in answered]
    assert [one.caution and one.caution.text for one in again] == [row.consensus.caution for row in answered]

    told = [
        _table(session, upload.rows),
        batch.to_csv(upload.rows),
        batch.to_json_lines(upload.rows),
        repr(upload.rows),
    ]
    told += [json.dumps([row.to_json() for row in upload.rows]), *(one.name for one in again)]
    for text in told:
        assert not re.search(r"\bdoe\b|jane", text.replace("jane-doe.png", ""), re.IGNORECASE)
    assert "place in the upload" in told[0] and "jane-doe.png" in told[0]
    upload.close()


def test_an_archive_in_an_archive_is_to_be_unpacked(tmp_path):
    inner = archive(tmp_path / "inner.zip", {"1.png": png(1)}).read_bytes()
    outer = archive(tmp_path / "outer.zip", {"a.zip": inner})
    (row,) = classify_many([outer], NAMES[:1])
    assert "unpack it" in row.problem
    for content, advice in (
        ({"a.zip": inner}, "unpack it"),
        ({"1.png": png(1)}, "drop it under Many slices"),
        ({"notes.txt": b"notes"}, "a zip of a DICOM series"),
    ):
        with pytest.raises(ImageError, match=advice):
            open_upload(archive(tmp_path / "upload.zip", content))


def test_an_upload_that_is_gone_is_a_sentence(tmp_path):
    with pytest.raises(ImageError, match="Send it again"):
        Batch([tmp_path / "gone.png"])


def test_a_row_can_be_read_again(rows):
    row = next(row for row in rows if row.name == "2.png (2)")
    assert np.array_equal(batch.read_again(row).image, mri_slice(30, 96))
    again = batch.read_again(next(row for row in rows if row.name == "DICOM 22, image 12"))
    assert (again.name, again.image.size) == ("DICOM 22, image 12", (96, 96))


def test_an_encrypted_or_exploding_archive_is_one_row(tmp_path, monkeypatch):
    monkeypatch.setattr("brain_tumor.uploads.MAX_UNPACKED", 1_000_000)
    bomb = archive(tmp_path / "bomb.zip", {"a.png": bytes(2_000_000)})
    (row,) = classify_many([bomb], NAMES[:1])
    assert row.name == "File 1" and "unpacks to more than" in row.problem


def test_too_many_files_are_refused_before_anything_is_read(tmp_path):
    full = archive(tmp_path / "full.zip", {f"{k}.png": b"" for k in range(batch.MAX_SLICES + 1)})
    with pytest.raises(ImageError, match=r"2,001 files.*in parts"):
        Batch([full])


def test_a_batch_outlives_its_upload_and_leaves_nothing(tmp_path):
    path = tmp_path / "slice.png"
    path.write_bytes(png(1))
    upload = Batch([path, path])
    path.unlink()
    for _ in upload.run(NAMES[:1]):
        pass
    assert upload.finished and [row.problem for row in upload.rows] == [None, None]
    kept = upload.rows[0].place.path
    assert kept.exists()
    upload.close()
    assert not kept.parent.exists()
    with pytest.raises(ImageError):
        batch.read_again(upload.rows[0])


def test_a_stopped_batch_keeps_what_is_done(tmp_path):
    upload = Batch([archive(tmp_path / "slices.zip", {f"{k}.png": png(k) for k in range(40)})])
    steps = upload.run(NAMES[:1])
    next(steps)
    upload.stopped = True
    assert list(steps) == []
    assert len(upload.rows) == batch.FIRST_BATCH < batch.BATCH < upload.total == 40
    upload.close()


def made(number: int, verdict: str, probability: float, name: str = "") -> Row:
    place = batch.Place(Path("slice.png"), 0)
    if verdict == UNREADABLE:
        return Row(number, name or f"{number}.png", place, problem="It is empty.")
    leading = verdict if verdict in CLASS_NAMES else "glioma"
    rest = (1 - probability) / 3
    probabilities = {c: probability if c == leading else rest for c in CLASS_NAMES}
    prediction = Prediction("cnn_v4", leading, probabilities, (0.0,) * 4, 1.0)
    votes = Agreement({leading: ("cnn_v4",)}, leading)
    found = Consensus(verdict, "One model was asked.", leading, probabilities, (leading,), votes, (), 1, False)
    return Row(number, name or f"{number}.png", place, (prediction,), found)


MADE = [
    made(1, "glioma", 0.9),
    made(2, UNREADABLE, 0),
    made(3, "notumor", 0.6),
    made(4, UNCERTAIN, 0.5),
    made(5, REFUSED, 0.99),
    made(6, UNCERTAIN, 0.4),
    made(10, "glioma", 0.99, "Ü 2.png"),
]


def test_the_least_certain_come_first_and_what_was_not_read_last():
    assert [row.number for row in chosen(MADE)] == [5, 6, 4, 3, 1, 10, 2]
    assert [row.number for row in chosen(MADE[::-1], AS_UPLOADED)] == [1, 2, 3, 4, 5, 6, 10]
    assert [row.number for row in chosen([made(1, "glioma", 1, "x10"), made(2, "glioma", 1, "x9")], BY_NAME)] == [2, 1]
    assert MADE[0].uncertainty == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("show", "text", "numbers"),
    [
        (DOUBTFUL, "", [5, 6, 4]),
        (UNREADABLE, "", [2]),
        ("glioma", "", [1, 10]),
        (None, " ü ", [10]),
        ("notumor", "1", []),
    ],
)
def test_filters(show, text, numbers):
    assert [row.number for row in chosen(MADE, show=show, text=text)] == numbers


def test_csv_holds_every_row_and_is_no_program():
    evil = ['=HYPERLINK("http://x","y")', "+1", "-1", "@SUM(A1)", "\t=1", " =1", "＝1"]
    rows = [made(k, "glioma", 0.9, name) for k, name in enumerate(evil, 1)]
    rows += [made(8, UNREADABLE, 0), made(9, REFUSED, 0.7, 'a "quoted", name; ü')]
    lines = list(csv.DictReader(io.StringIO(batch.to_csv(rows))))
    assert [line["image"] for line in lines] == [*(f"'{name}" for name in evil), "8.png", 'a "quoted", name; ü']
    assert all(None not in line and None not in line.values() for line in lines)
    assert (lines[0]["verdict"], lines[0]["cnn_v4_class"]) == ("glioma", "glioma")
    assert float(lines[0]["probability_glioma"]) == 0.9 and float(lines[0]["uncertainty"]) == pytest.approx(0.1)
    assert lines[7]["why"] == "It is empty." and lines[7]["verdict"] == UNREADABLE
    assert lines[8]["verdict"] == REFUSED


def test_the_endpoint_answers_files_and_archives(tmp_path, upload, monkeypatch):
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    from brain_tumor.ui import page

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    demo = page.build()
    demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **page.launch_options())
    try:
        client = Client(demo.local_url, verbose=False)
        files = [handle_file(path) for path in upload[1:3]]
        answered, refused = client.predict(files=files, models=NAMES[:1], api_name="/classify_many")
        with pytest.raises(AppError, match="No file was sent"):
            client.predict(files=[], api_name="/classify_many")
    finally:
        demo.close()
    assert [answer["model"] for answer in answered["answers"]] == NAMES[:1]
    assert answered["consensus"]["verdict"] in (*CLASS_NAMES, UNCERTAIN, REFUSED) and answered["problem"] is None
    assert refused["answers"] == [] and "4 slices" in refused["problem"] and refused["uncertainty"] is None
