"""Many files and archives -> one row each: read, answered and let go a few at a time, so that memory does not grow.

Only pictures are shown under their names: those of scans, and of files that may be a damaged one, are often patients'.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from brain_tumor import dicom, nifti
from brain_tumor.acquisition import Caution
from brain_tumor.examination import Examination, consensus_of_readings
from brain_tumor.images import ImageError, looks_like_picture, read_image
from brain_tumor.inference import Classifier, Prediction, load_model
from brain_tumor.labels import CLASS_NAMES
from brain_tumor.trust import REFUSED, UNCERTAIN, Consensus
from brain_tumor.uploads import DAMAGED, ZIP, Member, linked, opened

FIRST_BATCH, BATCH = 2, 16
"""So many files are answered at once at first, and at most: whoever waits sees soon that something happens."""
MAX_SLICES = 2_000
"""In one upload. A row takes a few kilobytes, and stays as long as its visitor."""

UNREADABLE = "unreadable"
DOUBTFUL = "doubtful"
"""What `chosen` takes besides a verdict: those without an answer and those with an uncertain one."""

BY_UNCERTAINTY, AS_UPLOADED, BY_NAME = "uncertainty", "upload", "name"

_HEAD_BYTES = 1024  # enough to tell a format from

# A spreadsheet computes a cell that begins so; some of them also behind spaces, and with full-width signs.
_FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@＝＋－＠]")


@dataclass(frozen=True)
class Place:
    """Where a slice can be read again: `member` counts the files of an archive, and is 0 for a plain file."""

    path: Path
    member: int


@dataclass(frozen=True)
class Row:
    """What came of one file.

    Attributes:
        number: place in the upload, from 1.
        name: a picture's base name; of all else what it is and `number`. Made unique within the upload.
        place: where the slice can be read again.
        predictions: one per model; none where the file could not be read.
        consensus: what they come to; None likewise.
        problem: why the file could not be read, a sentence; None where it could.
        caution: as `Examination.caution`.
        named: `name` is the file's own.
    """

    number: int
    name: str
    place: Place = field(repr=False)
    predictions: tuple[Prediction, ...] = ()
    consensus: Consensus | None = None
    problem: str | None = None
    caution: Caution | None = None
    named: bool = True

    @property
    def verdict(self) -> str:
        """A class, or `UNCERTAIN`, `REFUSED` or `UNREADABLE`."""
        return self.consensus.verdict if self.consensus else UNREADABLE

    @property
    def uncertainty(self) -> float | None:
        """1 - probability of the leading class, calibrated where possible; None where there is no answer."""
        return 1 - self.consensus.probability if self.consensus else None

    def to_json(self) -> dict[str, Any]:
        """What the API says of it."""
        return {
            "image": self.name,
            "problem": self.problem,
            "uncertainty": self.uncertainty if self.uncertainty is None else round(self.uncertainty, 6),
            "consensus": self.consensus and self.consensus.to_json(),
            "answers": [prediction.to_json() for prediction in self.predictions],
        }


@dataclass(frozen=True)
class _Slice:
    """A file that has been read: either `examined` or `problem` is None."""

    number: int
    name: str
    named: bool
    place: Place
    examined: Examination | None
    problem: str | None


def count(paths: Sequence[Path]) -> int:
    """How many rows an upload will give; nothing is unpacked. ImageError if there are more than `MAX_SLICES`."""
    total = sum(map(_members_in, paths))
    if total > MAX_SLICES:
        raise ImageError(f"These are {total:,} files. At most {MAX_SLICES:,} are answered at once; drop them in parts.")
    return total


def classify_many(paths: Sequence[Path], models: Sequence[str], words: Sequence[str] | None = None) -> Iterator[Row]:
    """Answer many files, in their order, up to `BATCH` at a time; no picture is kept.

    Args:
        paths: image files, DICOM files of one slice, and zip archives of such.
        models: names of systems.
        words: what the files are called, where their paths do not say it.

    Raises:
        UnknownModelError, CheckpointError: before the first row. A bad file is a row.
    """
    for rows in _batches(paths, models, words or [path.name for path in paths]):
        yield from rows


def _batches(paths: Sequence[Path], models: Sequence[str], words: Sequence[str]) -> Iterator[list[Row]]:
    """`classify_many`, the rows that are answered at once together."""
    classifiers = [load_model(name) for name in models]
    slices, size = _slices(paths, words), FIRST_BATCH
    while batch := list(islice(slices, size)):
        yield [*_answered(batch, classifiers)]
        size = min(2 * size, BATCH)


def read_again(row: Row) -> Examination:
    """The slice of a row, as it was answered; ImageError if its file is gone."""
    with opened(row.place.path) as members:
        member = members[row.place.member]
        examined = _read(member, member.head(_HEAD_BYTES), row.name)
    # The file's name, which may tell the sequence, has not been kept.
    examined.caution, examined.name = row.caution, row.name
    return examined


def _answered(batch: Sequence[_Slice], classifiers: Sequence[Classifier]) -> Iterator[Row]:
    images = [one.examined.image for one in batch if one.examined]
    readings = [classifier.read(images) for classifier in classifiers]
    by_slice = zip(*readings, strict=True)
    for one in batch:
        if not one.examined:
            yield Row(one.number, one.name, one.place, problem=one.problem, named=one.named)
            continue
        read = next(by_slice)
        predictions = tuple(reading.prediction for reading in read)
        # The heatmaps of one slice at a time: they are large.
        found = consensus_of_readings(classifiers, read, one.examined)
        yield Row(one.number, one.name, one.place, predictions, found, caution=one.examined.caution, named=one.named)


def _slices(paths: Sequence[Path], words: Sequence[str]) -> Iterator[_Slice]:
    """All files, read one after the other: those of an archive while it is open."""
    names = Counter()
    for number, (place, member) in enumerate(_members(paths, words), 1):
        head = member.head(_HEAD_BYTES) if isinstance(member, Member) else b""
        kind = _kind(member, head)
        name = f"{kind} {number}" if kind else _printable(member.words)
        names[name] += 1
        unique = name if names[name] == 1 else f"{name} ({names[name]})"
        try:
            if isinstance(member, ImageError):
                raise member
            examined = _read(member, head, unique)
            yield _Slice(number, examined.name, kind is None, place, examined, None)
        except ImageError as error:
            yield _Slice(number, unique, kind is None, place, None, str(error))


def _kind(member: Member | ImageError, head: bytes) -> str | None:
    """What to call a file whose name is not for showing; None for a picture, damaged ones included."""
    if dicom.is_dicom(head):
        return "DICOM"
    if nifti.is_nifti(head):
        return "NIfTI"
    if isinstance(member, Member) and looks_like_picture(head, member.words):
        return None
    return "File"


def _members(paths: Sequence[Path], words: Sequence[str]) -> Iterator[tuple[Place, Member | ImageError]]:
    for path, called in zip(paths, words, strict=True):
        try:
            with opened(path, called) as members:
                if not members:
                    raise ImageError("There is no file in this archive.")
                yield from ((Place(path, k), member) for k, member in enumerate(members))
        except ImageError as error:
            yield Place(path, 0), error


def _members_in(path: Path) -> int:
    try:
        with opened(path) as members:
            return len(members) or 1
    except ImageError:
        return 1


def _read(member: Member, head: bytes, name: str) -> Examination:
    """As the first tab does it, so that both get the same answer."""
    if head.startswith(ZIP):
        raise ImageError("It is an archive within another one; unpack it and drop what was in it.")
    if dicom.is_dicom(head) or nifti.is_nifti(head):
        return _single_slice(member, head, name)
    try:
        with member.open() as stream:
            image = read_image(stream, name)
    except ImageError:
        raise
    except Exception:  # each kind of archive has its own
        raise ImageError(DAMAGED) from None
    return Examination(image, name)


def _single_slice(member: Member, head: bytes, name: str) -> Examination:
    found = dicom.candidates([member]) if dicom.is_dicom(head) else nifti.candidates(member)
    slices = sum(candidate.slices for candidate in found)
    if slices > 1:
        raise ImageError(f"It holds {slices} slices: open it under One slice, where you can page through them.")
    volume, image = found[0].load(), found[0].image
    called = f"{name}, image {image}" if image else name
    return Examination(volume.slice(volume.planes[0], 0), called, volume.caution)


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)


def chosen(rows: Iterable[Row], order: str = BY_UNCERTAINTY, show: str | None = None, text: str = "") -> list[Row]:
    """Some rows, sorted.

    Args:
        order: `BY_UNCERTAINTY`, the least certain first: refused ones, uncertain ones, the others, and last those
            that could not be read; `AS_UPLOADED`; or `BY_NAME`.
        show: a verdict, `UNREADABLE` or `DOUBTFUL`; None means all.
        text: part of the name, in upper or lower case.
    """
    wanted = {DOUBTFUL: (REFUSED, UNCERTAIN), None: (*CLASS_NAMES, REFUSED, UNCERTAIN, UNREADABLE)}.get(show, (show,))
    text = text.strip().lower()
    kept = [row for row in rows if row.verdict in wanted and text in row.name.lower()]
    keys = {
        BY_UNCERTAINTY: lambda row: (_rank(row.verdict), -(row.uncertainty or 0), row.number),
        AS_UPLOADED: lambda row: row.number,
        BY_NAME: lambda row: [(int(part), "") if part.isdecimal() else (-1, part) for part in _parts(row.name)],
    }
    return sorted(kept, key=keys[order])


def _rank(verdict: str) -> int:
    return {REFUSED: 0, UNCERTAIN: 1, UNREADABLE: 3}.get(verdict, 2)


def _parts(name: str) -> list[str]:
    return re.split(r"(\d{1,18})", name.lower())


def seconds_left(done: int, total: int, seconds: float) -> float | None:
    """Time that the rest will take if it goes on as before; None where nothing is done yet."""
    return seconds * (total - done) / done if done else None


def to_json_lines(rows: Iterable[Row]) -> str:
    """What `python -m brain_tumor classify --json` prints: a line per slice and model, and one of the consensus.

    Of a single model, only where the scan is unlike what it knows. A file that could not be read has its `problem`.
    """
    lines = []
    for row in rows:
        if row.problem:
            lines.append(json.dumps({"image": row.name, "problem": row.problem}))
        answers: list[Prediction | Consensus] = [*row.predictions]
        if len(answers) > 1 or (row.consensus and row.consensus.caution):
            answers.append(row.consensus)
        lines += [json.dumps({"image": row.name, **answer.to_json()}) for answer in answers]
    return "".join(f"{line}\n" for line in lines)


def to_csv(rows: Sequence[Row]) -> str:
    """A line per file, for a spreadsheet: probabilities in [0, 1], lists joined by semicolons.

    Texts that a spreadsheet would compute are preceded by an apostrophe, as file names come from anywhere.
    """
    models = list(dict.fromkeys(p.model for row in rows for p in row.predictions))
    stream = io.StringIO()
    writer = csv.writer(stream)
    probabilities = [f"probability_{name}" for name in CLASS_NAMES]
    by_model = [f"{model}_{what}" for model in models for what in ("class", "probability")]
    head = ["number", "image", "verdict", "leading_class", "uncertainty", *probabilities]
    writer.writerow([*head, "prediction_set", "seen_in_training", *by_model, "why"])
    for row in rows:
        found = row.consensus
        cells = [row.number, row.name, row.verdict]
        if found:
            answers = {p.model: (p.predicted_class, _digits(p.confidence)) for p in row.predictions}
            cells += [found.leading, _digits(row.uncertainty), *map(_digits, found.probabilities.values())]
            cells += [";".join(found.prediction_set), ";".join(found.seen_by)]
            cells += [cell for model in models for cell in answers[model]]
        else:
            cells += [""] * (4 + len(CLASS_NAMES) + 2 * len(models))
        writer.writerow([_harmless(cell) for cell in (*cells, _why(row))])
    return stream.getvalue()


def _why(row: Row) -> str:
    found = row.consensus
    return " ".join(filter(None, [found.why, found.caution])) if found else row.problem


def _digits(probability: float) -> str:
    return f"{probability:.6f}"


def _harmless(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


class Batch:
    """One visitor's upload and the rows that it gave so far.

    The files get a number as second name in a folder of the batch's own, so that they can be opened again when the
    server has long tidied up its uploads. They are gone when the batch is closed or forgotten.

    Attributes:
        total: rows that there will be.
        rows: those there are, in the order of the upload.
        models: who was asked.
        opened: numbers of the rows that were looked at.
        seconds: that it took so far.
        stopped: no further rows are wanted.
    """

    def __init__(self, files: Sequence[str | os.PathLike]):
        """ImageError if there are more than `MAX_SLICES`."""
        self._folder = tempfile.TemporaryDirectory(prefix="brain-tumor-", ignore_cleanup_errors=True)
        try:
            self._paths = [self._kept(Path(file), k) for k, file in enumerate(files, 1)]
            self._words = [Path(file).name for file in files]
            self.total = count(self._paths)
        except BaseException:
            self._folder.cleanup()
            raise
        self.rows: list[Row] = []
        self.models: tuple[str, ...] = ()
        self.opened: set[int] = set()
        self.seconds = 0.0
        self.stopped = False
        self.closed = False

    @property
    def finished(self) -> bool:
        return self.stopped or len(self.rows) == self.total

    def run(self, models: Sequence[str]) -> Iterator[None]:
        """Answer the files until `stopped`; comes back after every few rows. Errors: `classify_many`."""
        self.models = tuple(models)
        started = time.monotonic()
        batches = _batches(self._paths, models, self._words)
        while not self.stopped and (new := next(batches, None)):
            self.rows += new
            self.seconds = time.monotonic() - started
            yield
        batches.close()

    def close(self) -> None:
        """Stop, and delete the files."""
        self.stopped = self.closed = True
        self._folder.cleanup()

    def _kept(self, file: Path, k: int) -> Path:
        kept = Path(self._folder.name, str(k))
        try:
            linked(file, kept)
        except FileNotFoundError:
            raise ImageError("An upload is gone after some minutes. Send it again.") from None
        except OSError as error:  # the error itself names the file, and would be logged
            reason = (error.strerror or "input failed").lower()
            raise ImageError(f"The upload cannot be kept on the server: {reason}. Send it again in parts.") from None
        return kept
