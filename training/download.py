"""Fetch the data sets, bring them into the layout that `training.data` reads, and say what differs from the expected.

Kaggle wants no account for a public data set, nor does figshare; Roboflow does, so its export is fetched by hand. Only
`<root>/<folder of the data set>` is written; nothing else in `root` is touched.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import time
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from tqdm import tqdm

from brain_tumor.labels import CLASS_NAMES
from training.data import DATA_SETS, FIGSHARE, IMAGE_SUFFIXES, KAGGLE, ROBOFLOW, DataError, DataSet, folder_of
from training.evaluation import DASH, table

FIGSHARE_API = "https://api.figshare.com/v2/articles/1512427"
FIGSHARE_LABELS = {1: "meningioma", 2: "glioma", 3: "pituitary"}
FIGSHARE_COLUMNS = ("image", "label", "fold", "box_x_center", "box_y_center", "box_width", "box_height")
FIGSHARE_SIDE = 512
ORIGINALS = "original"
FOLDS_FILE = "cvind.mat"
# Images in the later version of the Kaggle data set, to tell it from the one in `KAGGLE.version`.
KAGGLE_LATER = {7200: "2"}
ATTEMPTS = 5  # in a row without a byte
PAUSE = 1  # second, between them
TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 20

Counts = dict[str, dict[str, int]]


def fetch(name: str, root: Path) -> str:
    """Have the data set in `root`, downloading it where it is not there yet.

    Args:
        name: `DataSet.name`.

    Returns:
        What was found, and what differs from what is expected.

    Raises:
        DataError: it is not there and cannot be fetched; the message says how to do it by hand.
    """
    dataset = _by_name(name)
    if _found(dataset, root) is None:
        FETCHERS[name](root)
    return report(dataset, root)


def overview(root: Path | None) -> str:
    """What is known about every data set and what is found of it in `root`, as text with Markdown tables."""
    return "\n\n".join(_describe(dataset, root) for dataset in DATA_SETS)


def report(dataset: DataSet, root: Path) -> str:
    """Where the data set lies, its images per class beside those expected, and what a difference means.

    Raises:
        DataError: it is not in `root`.
    """
    folder = folder_of(dataset, root)
    counts = _counts_table(dataset, count_images(dataset, folder))
    return "\n\n".join([f"{dataset.title} is in {folder}.", counts, "\n".join(differences(dataset, folder))])


def count_images(dataset: DataSet, folder: Path) -> Counts:
    """Images in the data set's folder by part and class; for figshare, those that are both annotated and there."""
    if dataset.name != FIGSHARE.name:
        return {
            part: {label: _count_files(folder / part / label) for label in labels}
            for part, labels in dataset.counts.items()
        }
    (part,) = dataset.counts
    with open(folder / dataset.marker, newline="") as file:
        labels = Counter(row["label"] for row in csv.DictReader(file) if (folder / part / row["image"]).exists())
    return {part: {label: labels[label] for label in dataset.counts[part]}}


def differences(dataset: DataSet, folder: Path) -> list[str]:
    """Sentences: which classes have not the expected number of images, and what that means; or that all is well."""
    found = count_images(dataset, folder)
    sentences = [
        f"{part}/{label}: {found[part][label]:,} images, expected {expected:,}."
        for part, labels in dataset.counts.items()
        for label, expected in labels.items()
        if found[part][label] != expected
    ]
    if not sentences:
        return [f"All as expected in version {dataset.version}."]
    for part in dataset.counts:
        strange = sorted(p.name for p in (folder / part).glob("*/") if p.name not in CLASS_NAMES)
        if strange:
            sentences.append(f"{part} has {', '.join(strange)} too: class folders are named {', '.join(CLASS_NAMES)}.")
    return [*sentences, _meaning(dataset, found)]


def _meaning(dataset: DataSet, found: Counts) -> str:
    total, expected = _total(found), _total(dataset.counts)
    if dataset.name == KAGGLE.name and total in KAGGLE_LATER:
        return (
            f"{total:,} images are version {KAGGLE_LATER[total]} of this data set. Both studies and all numbers of "
            f"this project are of version {dataset.version} ({expected:,} images): training works, but what is "
            "measured on this version must not be compared with them."
        )
    return (
        f"{total:,} images instead of {expected:,}: not exactly version {dataset.version}. Training works, but numbers "
        "measured on it may differ from those stated."
    )


# Kaggle


def fetch_kaggle(root: Path) -> None:
    """Download with kagglehub, which keeps the files in its own cache, and link them into `root`."""
    try:
        import kagglehub
        from kagglehub.exceptions import BackendError, DataCorruptionError
    except ImportError:
        raise DataError(_by_hand(KAGGLE, "kagglehub is not installed: pip install kagglehub")) from None
    folder = root / KAGGLE.folder
    if folder.is_symlink():
        folder.unlink()  # to an earlier download that has since gone from the cache
    if folder.exists():
        raise DataError(f"{folder} is in the way: it exists, but is not the data set. Move it away, then try again.")
    handle = "/".join([*KAGGLE.source.split("/")[-2:], "versions", KAGGLE.version])
    try:
        download = Path(kagglehub.dataset_download(handle))
    except (OSError, BackendError, DataCorruptionError) as error:
        raise DataError(_by_hand(KAGGLE, f"Kaggle did not give it ({_first_line(error)})")) from None
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.symlink_to(download.resolve(), target_is_directory=True)
    except OSError:  # Windows lets few people make links
        shutil.move(download, folder)


# Roboflow


def fetch_roboflow(root: Path) -> None:
    """There is no download without an account: DataError says what to do."""
    raise DataError(_by_hand(ROBOFLOW, "Roboflow gives exports to people with an account only (a free one will do)"))


# figshare


def fetch_figshare(root: Path) -> None:
    """Download the archives of MATLAB files, then convert them; both go on where they were interrupted."""
    folder = root / FIGSHARE.folder
    originals = folder / ORIGINALS
    originals.mkdir(parents=True, exist_ok=True)
    if not _is_complete(originals):
        try:
            for file in _figshare_files():
                download(file["download_url"], originals / Path(file["name"]).name, file["size"], file["computed_md5"])
        except (OSError, HTTPException) as error:
            reason = f"figshare did not give it ({_first_line(error)}); trying again goes on where this ended"
            raise DataError(_by_hand(FIGSHARE, reason)) from None
    convert_figshare(originals, folder)


def _figshare_files() -> list[dict[str, Any]]:
    with urllib.request.urlopen(FIGSHARE_API, timeout=TIMEOUT) as response:
        try:
            return json.load(response)["files"]
        except (ValueError, KeyError):
            raise OSError("the answer is not a list of files") from None


def download(url: str, path: Path, size: int, md5: str) -> None:
    """Download one file, going on where an earlier attempt ended, with a progress bar; does nothing if it is there.

    Args:
        size: bytes.
        md5: of the whole file, hexadecimal.

    Raises:
        OSError: no connection, or it was cut too often, or the content is not what it should be.
    """
    if path.exists() and _size(path) == size:
        return
    partial = path.with_name(path.name + ".partial")
    failures = 0
    with tqdm(total=size, desc=path.name, unit="B", unit_scale=True) as bar:
        while (have := _size(partial)) < size:
            bar.n = have
            error: Exception = ConnectionError(f"{url} ends after {have:,} of {size:,} bytes")
            try:
                _append(url, partial, have, bar)
            except (OSError, HTTPException) as cut:
                error = cut
            failures = 0 if _size(partial) > have else failures + 1
            if failures == ATTEMPTS:
                raise error
            if _size(partial) < size:
                time.sleep(PAUSE)
    if _md5(partial) != md5:
        partial.unlink()
        raise OSError(f"{path.name} arrived damaged and was deleted")
    partial.replace(path)


def _append(url: str, partial: Path, have: int, bar: tqdm) -> None:
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with (
        urllib.request.urlopen(request, timeout=TIMEOUT) as response,
        # A server that does not know ranges sends the whole file anew.
        open(partial, "ab" if response.status == 206 else "wb") as file,
    ):
        while chunk := response.read(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def convert_figshare(originals: Path, folder: Path) -> None:
    """MATLAB files to `images/<n>.jpg` (512 x 512 px, 8-bit grey, smallest value black, largest white) and annotations.

    Args:
        originals: holds cvind.mat and the numbered .mat files, in the downloaded archives or unpacked, at any depth.
        folder: of the data set.

    Raises:
        DataError: a file is missing or unreadable; the message names it.
    """
    folds = _read_folds(originals)
    (part,) = FIGSHARE.counts
    (folder / part).mkdir(exist_ok=True)
    rows = {}
    total = len(_numbers(originals))
    for number, name, file in tqdm(_matrices(originals), desc="converting", total=total, unit=" slices"):
        pixels, label, mask = _read_slice(file, name)
        if not 1 <= number <= len(folds):
            raise DataError(f"{name}: {FOLDS_FILE} has folds for the slices 1 to {len(folds)} only.")
        image = f"{number}.jpg"
        picture = Image.fromarray(_to_grey(pixels)).resize((FIGSHARE_SIDE, FIGSHARE_SIDE), Image.Resampling.BICUBIC)
        picture.save(folder / part / image, quality=95)
        rows[number] = (image, label, folds[number - 1], *(f"{value:.2f}" for value in bounding_box(mask)))
    # Last and in one move: the data set is recognised by this file.
    partial = folder / (FIGSHARE.marker + ".partial")
    with open(partial, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIGSHARE_COLUMNS)
        writer.writerows(row for _, row in sorted(rows.items()))
    partial.replace(folder / FIGSHARE.marker)


def bounding_box(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Box around what is not zero in a mask (height, width): x and y of its centre, width and height, as fractions."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return (left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height


def _to_grey(pixels: np.ndarray) -> np.ndarray:
    low, high = float(pixels.min()), float(pixels.max())
    return np.round((pixels - low) * (255 / max(high - low, 1e-9))).astype(np.uint8)


def _read_slice(file: BinaryIO, name: str) -> tuple[np.ndarray, str, np.ndarray]:
    """Pixels (height, width), class and tumour mask (height, width) of one file."""
    with _open_matlab(file, name) as content:
        try:
            data = content["cjdata"]
            # MATLAB stores columns first: what HDF5 calls the first axis runs along the image's rows.
            pixels, mask = data["image"][()].T, data["tumorMask"][()].T
            label = FIGSHARE_LABELS[int(data["label"][()].item())]
        except (KeyError, ValueError, AttributeError) as error:
            raise DataError(f"{name} is not a slice of {FIGSHARE.title}: {_first_line(error)}") from None
    if pixels.ndim != 2 or pixels.shape != mask.shape or not mask.any():
        raise DataError(f"{name}: image of shape {pixels.shape}, tumour mask of shape {mask.shape} or empty.")
    return pixels.astype(np.float64), label, mask


def _read_folds(originals: Path) -> list[int]:
    path = next(originals.rglob(FOLDS_FILE), None)
    if path is None:
        raise DataError(f"{FOLDS_FILE}, the author's folds, is not in {originals}. Get it from {FIGSHARE.source}.")
    with open(path, "rb") as file, _open_matlab(file, str(path)) as content:
        return [int(fold) for fold in content["cvind"][()].ravel()]


def _open_matlab(file: BinaryIO, name: str):
    try:
        import h5py
    except ImportError:
        raise DataError("h5py, which reads MATLAB's files, is not installed: pip install h5py") from None
    try:
        return h5py.File(file, "r")
    except OSError as error:
        raise DataError(f"{name} is not a MATLAB file of version 7.3, or damaged: {_first_line(error)}") from None


def _matrices(originals: Path) -> Iterator[tuple[int, str, BinaryIO]]:
    """Number, name and content of every numbered .mat file, in archives or not."""
    for path in sorted(originals.rglob("*.mat")):
        if path.stem.isdigit():
            with open(path, "rb") as file:
                yield int(path.stem), str(path), file
    for path in sorted(originals.rglob("*.zip")):
        with _open_archive(path) as archive:
            for member in filter(_is_slice, archive.namelist()):
                try:
                    content = archive.read(member)
                except (zipfile.BadZipFile, OSError) as error:
                    raise DataError(f"{path}: {member} is damaged ({error}). Delete it and try again.") from None
                yield int(Path(member).stem), f"{member} in {path}", io.BytesIO(content)


def _numbers(originals: Path) -> set[int]:
    names = [path.name for path in originals.rglob("*.mat")]
    for path in originals.rglob("*.zip"):
        with _open_archive(path) as archive:
            names += archive.namelist()
    return {int(Path(name).stem) for name in filter(_is_slice, names)}


def _open_archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise DataError(f"{path} is not a complete archive. Delete it and try again.") from None


def _is_slice(name: str) -> bool:
    return Path(name).suffix == ".mat" and Path(name).stem.isdigit()


def _is_complete(originals: Path) -> bool:
    return len(_numbers(originals)) >= _total(FIGSHARE.counts) and any(originals.rglob(FOLDS_FILE))


# What is said


FETCHERS: dict[str, Callable[[Path], None]] = {
    KAGGLE.name: fetch_kaggle,
    ROBOFLOW.name: fetch_roboflow,
    FIGSHARE.name: fetch_figshare,
}

STEPS: dict[str, tuple[str, ...]] = {
    KAGGLE.name: (
        f"Open {KAGGLE.source} in a browser and choose version {KAGGLE.version}; later versions have other images.",
        "Download the archive and unpack it.",
        f"Have its folders {' and '.join(KAGGLE.counts)} in DIR/{KAGGLE.folder}.",
    ),
    ROBOFLOW.name: (
        f"Open {ROBOFLOW.source} in a browser and log in.",
        f"Choose the version whose training split has {sum(ROBOFLOW.counts['train'].values()):,} images "
        f"({ROBOFLOW.version}).",
        'Choose "Download Dataset", the format "Folder Structure", "Download zip to computer".',
        f"Unpack it so that DIR/{ROBOFLOW.folder} has {' and '.join(ROBOFLOW.counts)}, with one folder per class: "
        f"{', '.join(CLASS_NAMES)}. Rename class folders that are spelled otherwise; other splits are not used.",
    ),
    FIGSHARE.name: (
        f'Open {FIGSHARE.source} in a browser and choose "Download all".',
        f"Put {FOLDS_FILE} and the archives brainTumorDataPublic_*.zip, unpacked or not, into "
        f"DIR/{FIGSHARE.folder}/{ORIGINALS}.",
    ),
}


def _by_hand(dataset: DataSet, reason: str) -> str:
    steps = [*STEPS[dataset.name], f"Then: python -m training data {dataset.name} --data DIR"]
    numbered = "\n".join(f"  {i}. {step}" for i, step in enumerate(steps, start=1))
    return f"{dataset.title} is not here, and {reason}. By hand:\n{numbered}"


def _describe(dataset: DataSet, root: Path | None) -> str:
    folder = _found(dataset, root) if root else None
    if folder:
        where = str(folder)
    elif root:
        where = f"not in {root}; python -m training data {dataset.name} --data {root}"
    else:
        where = "no folder to look in; give --data DIR or set BRAIN_TUMOR_DATA"
    lines = [
        f"{dataset.name}: {dataset.title}, version {dataset.version}",
        f"  source:   {dataset.source}",
        f"  licence:  {dataset.licence}",
        f"  citation: {dataset.citation}",
        f"  found:    {where}",
        *(f"  fault:    {fault}" for fault in dataset.faults),
    ]
    parts = ["\n".join(lines), _counts_table(dataset, count_images(dataset, folder) if folder else None)]
    return "\n\n".join(parts + (["\n".join(differences(dataset, folder))] if folder else []))


def _counts_table(dataset: DataSet, found: Counts | None) -> str:
    """Markdown: images found / expected, one line per part, one column per class; a dash where nothing was found."""
    labels = [name for name in CLASS_NAMES if any(name in part for part in dataset.counts.values())]

    def cell(found_here: int | None, expected: int) -> str:
        return f"{DASH if found_here is None else f'{found_here:,}'} / {expected:,}"

    rows = [
        [
            part,
            *(cell(found and found[part][label], expected[label]) for label in labels),
            cell(found and sum(found[part].values()), sum(expected.values())),
        ]
        for part, expected in dataset.counts.items()
    ]
    return table(["found / expected", *labels, "together"], rows)


def _by_name(name: str) -> DataSet:
    return next(dataset for dataset in DATA_SETS if dataset.name == name)


def _found(dataset: DataSet, root: Path) -> Path | None:
    try:
        return folder_of(dataset, root)
    except DataError:
        return None


def _count_files(folder: Path) -> int:
    return sum(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.glob("*"))


def _total(counts: Counts) -> int:
    return sum(sum(labels.values()) for labels in counts.values())


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
