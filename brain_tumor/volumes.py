"""DICOM and NIfTI uploads -> Volume: one file, several, a folder or a zip archive.

Nothing that comes out, errors included, says whose images they are.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from brain_tumor import dicom, nifti
from brain_tumor.images import ImageError
from brain_tumor.slicing import Candidate, Volume, Window
from brain_tumor.uploads import MAX_BYTES, MAX_FILES, MAX_UNPACKED, Member, opened

__all__ = ["MAX_BYTES", "MAX_FILES", "MAX_UNPACKED", "Volume", "Window", "is_volume", "read_volume"]

_HEAD_BYTES = 1024  # enough to tell a format from

Source = str | os.PathLike | Sequence[str | os.PathLike]


def is_volume(source: Source) -> bool:
    """Whether an upload holds DICOM or NIfTI, judged by content. Others are for `images.read_image`."""
    try:
        with opened(source) as members:
            return any(map(_is_either, (member.head(_HEAD_BYTES) for member in members)))
    except ImageError:
        return False


def read_volume(source: Source, item: int | None = None) -> Volume:
    """Open an upload and decode one volume of it: of the series that can be decoded, the longest one
    of the kind that the models know; without such a one, the longest.

    Args:
        source: a DICOM file (single or multi-frame), a NIfTI file (plain or gzipped), a zip archive or a folder of
            such, with whatever else is in it, or several paths.
        item: which of `Volume.items` instead: series of a study, volumes of a 4-D file.

    Raises:
        ImageError: There is nothing to show, or it is damaged, compressed in a way that cannot be read, or larger
            than `MAX_BYTES`, `MAX_UNPACKED` or `MAX_FILES` allow. One sentence that says what to do.
        IndexError: There is no such item.
    """
    with opened(source) as members:
        found = _candidates(members)
        if item is not None and not 0 <= item < len(found):
            raise IndexError(f"There is no item {item}; they are numbered 0 to {len(found) - 1}.")
        items = tuple(f"{k}. {candidate.text}" for k, candidate in enumerate(found, 1))
        refusals = []
        for wanted in range(len(found)) if item is None else [item]:
            try:
                return replace(found[wanted].load(), items=items, item=wanted)
            except ImageError as error:
                refusals.append(error)
        raise refusals[0]


def _candidates(members: list[Member]) -> list[Candidate]:
    dicoms, niftis = [], []
    for member in members:
        head = member.head(_HEAD_BYTES)
        if dicom.is_dicom(head):
            dicoms.append(member)
        elif nifti.is_nifti(head):
            niftis.append(member)
    if not dicoms and not niftis:
        raise ImageError("The upload holds neither DICOM nor NIfTI images; upload such a file, or a zip of a series.")

    found, refusals = [], []
    for read in [partial(dicom.candidates, dicoms)] * bool(dicoms) + [partial(nifti.candidates, m) for m in niftis]:
        try:
            found += read()
        except ImageError as error:
            refusals.append(error)
    if not found:
        raise refusals[0]
    # What the models know comes before what is long: a visitor looks at what opens first, and seldom at the list.
    return sorted(found, key=lambda candidate: (candidate.derived, candidate.caution is not None, -candidate.slices))


def _is_either(head: bytes) -> bool:
    return dicom.is_dicom(head) or nifti.is_nifti(head)
