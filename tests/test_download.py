"""Data sets are fetched, converted and checked; where they cannot be, the message says how to do it by hand."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_data import write_classes, write_kaggle, write_roboflow

from brain_tumor.labels import CLASS_NAMES
from training import download
from training.__main__ import main
from training.data import DATA_SETS, FIGSHARE, KAGGLE, ROBOFLOW, Box, DataError, read_records
from training.download import bounding_box, convert_figshare, count_images, differences, fetch

h5py = pytest.importorskip("h5py")

NOWHERE = "http://127.0.0.1:9"  # discard: nothing listens there
FOLDS = [3, 1, 5]
LABELS = {1: "meningioma", 2: "glioma", 3: "pituitary"}


def scan(number: int, size: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and tumour mask as one sees them, rows first: a gradient downwards, and a box that is wide, low and left.

    The box spans columns 1/8 to 3/8 and rows 3/4 to 7/8 of the image.
    """
    rows = np.linspace(100, 1000 * number, size)[:, None]
    pixels = (rows + np.zeros((1, size))).astype(np.int16)
    mask = np.zeros((size, size), np.uint8)
    mask[size * 3 // 4 : size * 7 // 8, size // 8 : size * 3 // 8] = 1
    return pixels, mask


def write_matlab(path: Path, **values: np.ndarray) -> None:
    """A MATLAB file of version 7.3: HDF5 behind a header of 512 bytes, matrices with their axes in reverse order."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in values.items():
            file.create_dataset(name, data=np.asarray(value).T)
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(512))


def write_scan(path: Path, number: int, label: int, size: int = 512) -> None:
    pixels, mask = scan(number, size)
    write_matlab(
        path,
        **{
            "cjdata/image": pixels,
            "cjdata/tumorMask": mask,
            "cjdata/label": np.array([[float(label)]]),
            "cjdata/PID": np.array([[ord(c) for c in "100360"]], np.uint16),
            "cjdata/tumorBorder": np.array([[1.0, 2.0, 3.0, 4.0]]),
        },
    )


@pytest.fixture
def originals(tmp_path) -> Path:
    """Three slices in two archives and the author's folds, as figshare has them; the third slice is smaller."""
    folder = tmp_path / "originals"
    folder.mkdir()
    write_matlab(folder / "cvind.mat", cvind=np.array(FOLDS, float)[:, None])
    for number in LABELS:
        write_scan(folder / f"{number}.mat", number, label=number, size=512 if number < 3 else 256)
    for name, numbers in (("brainTumorDataPublic_1-2.zip", (1, 2)), ("brainTumorDataPublic_3-3.zip", (3,))):
        with zipfile.ZipFile(folder / name, "w") as archive:
            for number in numbers:
                archive.write(folder / f"{number}.mat", f"{number}.mat")
                (folder / f"{number}.mat").unlink()
    return folder


@pytest.fixture(autouse=True)
def expected(monkeypatch):
    """One slice of each class is all of figshare's data set here, and the network is not waited for."""
    monkeypatch.setitem(FIGSHARE.counts, "images", {"glioma": 1, "meningioma": 1, "pituitary": 1})
    monkeypatch.setattr(download, "PAUSE", 0)


def converted(root: Path) -> list:
    records = read_records(FIGSHARE, root, "images")
    return [(record.image, record.label, record.fold, record.box) for record in records]


BOX = Box(x=0.25, y=0.81, width=0.25, height=0.12)  # 0.8125 and 0.125 with two decimals
CONVERTED = [(f"images/{number}.jpg", LABELS[number], FOLDS[number - 1], BOX) for number in LABELS]


@pytest.mark.parametrize("unpacked", [False, True])
def test_matlab_files_become_upright_images_folds_and_boxes(unpacked, originals, tmp_path):
    if unpacked:
        for archive in originals.glob("*.zip"):
            shutil.unpack_archive(archive, originals / archive.stem)
            archive.unlink()
    folder = tmp_path / "data" / FIGSHARE.folder
    folder.mkdir(parents=True)
    convert_figshare(originals, folder)
    assert converted(tmp_path / "data") == CONVERTED
    for number in LABELS:
        with Image.open(folder / "images" / f"{number}.jpg") as image:
            assert (image.size, image.mode) == ((512, 512), "L")
            pixels = np.asarray(image).astype(int)
        # Stretched from black to white whatever the values were, and dark at the top, not at the left.
        assert pixels[0].max() <= 3
        assert pixels[-1].min() >= 252
        assert np.abs(pixels - np.linspace(0, 255, 512)[:, None]).max() <= 5


def test_bounding_box_ends_where_the_tumour_does():
    mask = np.zeros((100, 200))
    mask[10, 20] = mask[19, 59] = 1
    assert bounding_box(mask) == pytest.approx((0.2, 0.15, 0.2, 0.1))


def test_files_that_are_not_what_they_should_be_are_named(originals, tmp_path):
    (originals / "4.mat").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"4\.mat is not a MATLAB file"):
        convert_figshare(originals, tmp_path)
    write_scan(originals / "4.mat", 1, label=9)
    with pytest.raises(DataError, match=r"4\.mat is not a slice of Brain tumor dataset"):
        convert_figshare(originals, tmp_path)
    write_scan(originals / "4.mat", 1, label=1)
    with pytest.raises(DataError, match=r"4\.mat: cvind\.mat has folds for the slices 1 to 3"):
        convert_figshare(originals, tmp_path)
    (originals / "4.mat").unlink()
    (originals / "half.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"half\.zip is not a complete archive"):
        convert_figshare(originals, tmp_path)
    (originals / "half.zip").unlink()
    (originals / "cvind.mat").unlink()
    with pytest.raises(DataError, match=r"cvind\.mat.*is not in .*originals"):
        convert_figshare(originals, tmp_path)
    assert not (tmp_path / FIGSHARE.marker).exists()


class Figshare(ThreadingHTTPServer):
    """figshare's public API and file server, as far as one article goes.

    Attributes:
        cuts: bytes after which the next downloads end.
        ranges: which bytes were asked for, one entry per download.
    """

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        self.cuts: list[int] = []
        self.ranges: list[str] = []
        self.knows_ranges = True

    def article(self) -> dict:
        files = [
            {
                "id": i,
                "name": name,
                "size": len(content),
                "is_link_only": False,
                "download_url": f"{self.url}/files/{name}",
                "supplied_md5": "",
                "computed_md5": hashlib.md5(content).hexdigest(),
            }
            for i, (name, content) in enumerate(self.contents.items())
        ]
        return {"id": 1512427, "title": "brain tumor dataset", "version": 5, "files": files}


class _Handler(BaseHTTPRequestHandler):
    server: Figshare

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/v2/articles/1512427":
            return self._answer(200, json.dumps(self.server.article()).encode(), None)
        content = self.server.contents[self.path.removeprefix("/files/")]
        wanted = self.headers.get("Range", "bytes=0-")
        self.server.ranges.append(wanted)
        cut = self.server.cuts.pop(0) if self.server.cuts else None
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if self.server.knows_ranges else 0
        self._answer(206 if start else 200, content[start:], cut)

    def _answer(self, status: int, content: bytes, cut: int | None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:cut])


@pytest.fixture
def figshare(originals, monkeypatch):
    with Figshare(originals) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        monkeypatch.setattr(download, "FIGSHARE_API", f"{server.url}/v2/articles/1512427")
        yield server
        server.shutdown()


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_figshare_is_downloaded_through_cuts_converted_and_counted(knows_ranges, figshare, tmp_path, capsys):
    figshare.knows_ranges = knows_ranges
    figshare.cuts = [1000, 500]
    root = tmp_path / "data"
    assert main(["data", "figshare", "--data", str(root)]) == 0
    assert converted(root) == CONVERTED
    assert figshare.ranges[:3] == ["bytes=0-", "bytes=1000-", "bytes=1500-" if knows_ranges else "bytes=500-"]
    captured = capsys.readouterr()
    assert "All as expected" in captured.out
    assert "brainTumorDataPublic_1-2.zip" in captured.err  # a progress bar each

    figshare.ranges.clear()
    (root / FIGSHARE.folder / FIGSHARE.marker).unlink()
    assert main(["data", "figshare", "--data", str(root)]) == 0
    assert converted(root) == CONVERTED
    assert not figshare.ranges  # the archives are still there


def test_interrupted_download_goes_on_in_the_next_call(figshare, tmp_path):
    figshare.cuts = [1000] + [0] * download.ATTEMPTS
    with pytest.raises(DataError, match="after 1,000 of"):
        fetch("figshare", tmp_path / "data")
    figshare.ranges.clear()
    fetch("figshare", tmp_path / "data")
    assert figshare.ranges[0] == "bytes=1000-"
    assert converted(tmp_path / "data") == CONVERTED


def test_damaged_download_is_not_kept(figshare, tmp_path):
    name, content = next(iter(figshare.contents.items()))
    article = figshare.article()
    figshare.article = lambda: article
    figshare.contents[name] = bytes(len(content))
    with pytest.raises(DataError, match=f"{name} arrived damaged"):
        fetch("figshare", tmp_path / "data")
    figshare.contents[name] = content
    fetch("figshare", tmp_path / "data")
    assert converted(tmp_path / "data") == CONVERTED


def test_without_network_the_steps_by_hand_are_given_and_work(originals, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download, "FIGSHARE_API", NOWHERE)
    root = tmp_path / "data"
    assert main(["data", "figshare", "--data", str(root)]) == 2
    message = capsys.readouterr().err
    for part in ("figshare did not give it", FIGSHARE.source, "cvind.mat", f"{FIGSHARE.folder}/original"):
        assert part in message
    shutil.copytree(originals, root / FIGSHARE.folder / "original", dirs_exist_ok=True)
    assert main(["data", "figshare", "--data", str(root)]) == 0
    assert converted(root) == CONVERTED


class Kaggle(ThreadingHTTPServer):
    """Kaggle's address for downloads, and the requests that it got."""

    daemon_threads = True

    def __init__(self, archive: bytes):
        super().__init__(("127.0.0.1", 0), _KaggleHandler)
        self.archive = archive
        self.requests: list[dict] = []


class _KaggleHandler(BaseHTTPRequestHandler):
    server: Kaggle

    def log_message(self, *_) -> None:
        pass

    def do_POST(self) -> None:
        self.server.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        assert "Authorization" not in self.headers
        self.send_response(200)
        self.send_header("Content-Type", "application/zip")
        self.send_header("Content-Length", str(len(self.server.archive)))
        self.end_headers()
        self.wfile.write(self.server.archive)


@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    """Kaggle, and kagglehub on a machine without an account; where the former is, as kagglehub has it."""
    pytest.importorskip("kagglehub")
    from kagglesdk import kaggle_env

    write_kaggle(tmp_path / "there", train=2, test=1)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for path in (tmp_path / "there" / KAGGLE.folder).rglob("*.png"):
            file.write(path, path.relative_to(tmp_path / "there" / KAGGLE.folder))
    for variable in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    with Kaggle(archive.getvalue()) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, endpoint)
        yield server
        server.shutdown()


def test_kaggle_is_fetched_without_an_account_and_found_by_the_readers(kaggle, tmp_path, capsys):
    root = tmp_path / "data"
    assert main(["data", "kaggle", "--data", str(root)]) == 0
    (request,) = kaggle.requests
    assert request["ownerSlug"] == "masoudnickparvar"
    assert request["datasetSlug"] == "brain-tumor-mri-dataset"
    assert str(request["datasetVersionNumber"]) == KAGGLE.version
    assert len(read_records(KAGGLE, root, "Training")) == 8
    printed = capsys.readouterr().out
    assert "Training/glioma: 2 images, expected 1,321." in printed

    assert main(["data", "kaggle", "--data", str(root)]) == 0
    assert len(kaggle.requests) == 1
    # Whoever cleans kagglehub's cache gets the data set again.
    shutil.rmtree(tmp_path / "cache")
    assert main(["data", "kaggle", "--data", str(root)]) == 0
    assert len(read_records(KAGGLE, root, "Testing")) == 4


def test_folder_that_is_something_else_is_not_touched(kaggle, tmp_path, capsys):
    (tmp_path / "data" / KAGGLE.folder / "mine").mkdir(parents=True)
    assert main(["data", "kaggle", "--data", str(tmp_path / "data")]) == 2
    assert "is in the way" in capsys.readouterr().err
    assert (tmp_path / "data" / KAGGLE.folder / "mine").exists()


def test_kaggle_out_of_reach_gives_the_steps_by_hand(kaggle, tmp_path, monkeypatch, capsys):
    from kagglesdk import kaggle_env

    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, NOWHERE)
    assert main(["data", "kaggle", "--data", str(tmp_path / "data")]) == 2
    message = capsys.readouterr().err
    for part in (
        "Kaggle did not give it",
        KAGGLE.source,
        "Training and Testing",
        KAGGLE.folder,
        "python -m training data",
    ):
        assert part in message


def test_roboflow_explains_itself_then_checks_what_was_unpacked(tmp_path, capsys):
    assert main(["data", "roboflow", "--data", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    for part in ("account", ROBOFLOW.source, "1,695", "Folder Structure", f"DIR/{ROBOFLOW.folder}", *CLASS_NAMES):
        assert part in message
    write_roboflow(tmp_path, n=3)
    (tmp_path / ROBOFLOW.folder / "train" / "notumor").rename(tmp_path / ROBOFLOW.folder / "train" / "No tumor")
    assert main(["data", "roboflow", "--data", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "train/notumor: 0 images, expected 335." in printed
    assert "No tumor" in printed


def test_counts_that_differ_are_named_one_by_one(tmp_path, monkeypatch):
    write_classes(tmp_path / "Training", 3)
    write_classes(tmp_path / "Testing", 2)
    (tmp_path / "Training" / "glioma" / "notes.txt").write_text("no image")
    found = count_images(KAGGLE, tmp_path)
    assert found == {"Training": dict.fromkeys(CLASS_NAMES, 3), "Testing": dict.fromkeys(CLASS_NAMES, 2)}
    for part, counts in found.items():
        monkeypatch.setitem(KAGGLE.counts, part, counts)
    assert differences(KAGGLE, tmp_path) == ["All as expected in version 1."]
    (tmp_path / "Testing" / "pituitary" / "000.png").unlink()
    first, meaning = differences(KAGGLE, tmp_path)
    assert first == "Testing/pituitary: 1 images, expected 2."
    assert "19 images instead of 20: not exactly version 1" in meaning


def test_later_version_of_kaggle_is_recognised(tmp_path, monkeypatch):
    write_classes(tmp_path / "Training", 3)
    monkeypatch.setattr(download, "KAGGLE_LATER", {12: "2"})
    assert "12 images are version 2 of this data set" in differences(KAGGLE, tmp_path)[-1]
    assert "must not be compared" in differences(KAGGLE, tmp_path)[-1]


def test_overview_states_what_is_known_and_found(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("BRAIN_TUMOR_DATA", raising=False)
    assert main(["data"]) == 0
    printed = capsys.readouterr().out
    for dataset in DATA_SETS:
        for part in (dataset.title, dataset.source, dataset.licence, dataset.citation, *dataset.faults):
            assert part in printed
    assert "give --data DIR" in printed
    write_roboflow(tmp_path, n=3)
    assert main(["data", "--data", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert str(tmp_path / ROBOFLOW.folder) in printed
    assert f"not in {tmp_path}; python -m training data kaggle" in printed
    assert "3 / 564" in printed
