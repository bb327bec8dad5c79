"""Files, folders and archives -> members, opened one at a time and read within limits; nothing is written to disk.

Messages never give a name: names of medical files and folders are often those of patients.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

from brain_tumor.images import ImageError, is_picture

# A whole-head scan of 512 x 512 x 1,000 voxels of 16 bits is 524 MB; a server of 16 GB survives some of these at once.
MAX_BYTES = 600_000_000
"""Of one file, unpacked, and of one volume's voxels."""
MAX_UNPACKED = 4_000_000_000
"""Of all that is unpacked on the way to a volume: an archive's members together, or a 4-D file's earlier volumes."""
MAX_FILES = 10_000
"""Files in a folder or an archive, and slices in a volume."""

ZIP = b"PK\3\4"
"""What an archive that can be opened begins with."""

_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
_HEAD_BYTES = 64  # enough to tell a picture from
DAMAGED = "The upload is cut short or damaged; copy it again from where it came."


@dataclass(frozen=True)
class Member:
    """A file on disk or in an archive.

    Attributes:
        words: its name without folders, for judging the sequence only: names may be those of patients.
    """

    words: str = field(repr=False)
    _open: Callable[[], BinaryIO] = field(repr=False)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """A stream of the content, gunzipped; ImageError if it cannot be opened."""
        with ExitStack() as stack:
            try:
                stream = stack.enter_context(self._open())
                packed = stream.read(2) == _GZIP
                stream.seek(0)
            except Exception as error:
                raise ImageError(_reason(error)) from None
            yield stack.enter_context(gzip.GzipFile(fileobj=stream)) if packed else stream

    def head(self, size: int) -> bytes:
        """The first bytes; fewer, down to none, if there are no more or they cannot be read."""
        try:
            with self.open() as stream:
                return stream.read(size)
        except (ImageError, OSError, EOFError, zlib.error, zipfile.BadZipFile):
            return b""

    def read(self) -> bytes:
        """All content; ImageError if it is damaged or larger than `MAX_BYTES`."""
        with self.open() as stream:
            return read_exactly(stream)


def read_exactly(stream: BinaryIO, size: int | None = None) -> bytes:
    """Read `size` bytes, or without a size all there are.

    Raises:
        ImageError: There are fewer, or more than `MAX_BYTES`, or they are damaged.
    """
    content = bytearray()
    wanted = MAX_BYTES + 1 if size is None else size
    try:
        # In parts: asked for all at once, Python reserves the memory before it knows that a file is shorter.
        while len(content) < wanted and (part := stream.read(min(_CHUNK, wanted - len(content)))):
            content += part
    except Exception:  # each kind of archive has its own
        raise ImageError(DAMAGED) from None
    if len(content) > MAX_BYTES:
        raise too_large()
    if size is not None and len(content) < size:
        raise ImageError(DAMAGED)
    return bytes(content)


def too_large() -> ImageError:
    return ImageError(f"The images take more than {MAX_BYTES // 1_000_000} MB unpacked; upload fewer or smaller ones.")


def linked(file: Path, name: Path) -> None:
    """Give a file a second name, or a copy on another file system; FileNotFoundError if it is gone."""
    try:
        os.link(file, name)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(file, name)


@contextmanager
def opened(source: str | os.PathLike | Sequence[str | os.PathLike], words: str | None = None) -> Iterator[list[Member]]:
    """All files of an upload, in the natural order of their names, to be read within the `with`.

    Args:
        source: a file, a zip archive, a folder with all it contains, or several of these, in whatever order.
        words: what a file that is no archive is called, where its path does not say it.

    Raises:
        ImageError: There is nothing there, or too much, or it needs a password.
    """
    paths = [Path(path) for path in ([source] if isinstance(source, (str, os.PathLike)) else source)]
    paths.sort(key=lambda path: _natural(path.name))
    with ExitStack() as stack:
        members = [member for path in paths for member in _members(path, stack, words)]
        if len(members) > MAX_FILES:
            raise _too_many()
        yield members


def _members(path: Path, stack: ExitStack, words: str | None) -> list[Member]:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return [_file(inner) for inner in _walk(path)]
        if not stat.S_ISREG(mode):  # a pipe would be waited for
            raise ImageError("The upload is not an ordinary file; copy what it holds into one and upload that.")
        with open(path, "rb") as file:
            zipped = file.read(len(ZIP)) == ZIP
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(_reason(error)) from None
    return _zipped(path, stack) if zipped else [_file(path, words)]


def _file(path: Path, words: str | None = None) -> Member:
    return Member(words or path.name, partial(open, path, "rb"))


def _walk(folder: Path) -> list[Path]:
    found = []
    for parent, folders, names in os.walk(folder):  # follows no links, so neither in circles nor out of the folder
        folders.sort(key=_natural)
        for name in sorted(names, key=_natural):
            path = Path(parent, name)
            if not _clutter(path.name, parent) and path.is_file() and not path.is_symlink():
                found.append(path)
        if len(found) > MAX_FILES:
            raise _too_many()
    return found


def _zipped(path: Path, stack: ExitStack) -> list[Member]:
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except Exception as error:  # NotImplementedError, struct.error and more on malformed archives
        raise ImageError(_reason(error)) from None
    infos = [info for info in archive.infolist() if not info.is_dir() and not _clutter(*_split(info.filename))]
    if len(infos) > MAX_FILES:
        raise _too_many()
    if any(info.flag_bits & 0x1 for info in infos):
        raise ImageError("The zip archive is encrypted; unpack it with its password and upload what was in it.")
    # Members cannot yield more than they declare: zipfile stops there. So this bounds all that can come out.
    if sum(info.file_size for info in infos) > MAX_UNPACKED:
        raise ImageError(f"The zip archive unpacks to more than {MAX_UNPACKED // 1_000_000_000} GB; upload one series.")
    infos.sort(key=lambda info: _natural(info.filename))
    return [Member(_split(info.filename)[0], partial(archive.open, info)) for info in infos]


def _split(name: str) -> tuple[str, str]:
    folder, _, base = name.replace("\\", "/").rpartition("/")
    return base, folder


def _clutter(base: str, folder: str) -> bool:
    return base.startswith(".") or base.upper() == "DICOMDIR" or "__MACOSX" in folder.replace("\\", "/").split("/")


def _natural(name: str) -> list[tuple[int, str]]:
    """So that slice 10 comes after slice 9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", name.lower())]


def without_scan(members: Sequence[Member]) -> ImageError:
    """What is wrong with an archive where a scan is wanted, and what to do."""
    if not members:
        return ImageError("There is no file in this archive; zip the files of a scan and upload that.")
    if any(member.head(len(ZIP)) == ZIP for member in members):
        return ImageError("The archive holds another one instead of a scan; unpack it and upload what was in it.")
    if any(is_picture(member.head(_HEAD_BYTES)) for member in members):
        return ImageError("The archive holds pictures and no scan (DICOM or NIfTI); drop it under Many slices.")
    return ImageError("The archive holds no scan (DICOM or NIfTI); upload a NIfTI file or a zip of a DICOM series.")


def _too_many() -> ImageError:
    return ImageError(f"The upload has more than {MAX_FILES:,} files; upload one series.")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"The upload cannot be read: {error.strerror.lower()}."
    return DAMAGED
