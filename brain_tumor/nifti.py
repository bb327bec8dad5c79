"""NIfTI-1 and -2, plain or gzipped -> Volume. Header fields and extensions with free text are never looked at."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import BinaryIO

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.orientations import io_orientation
from nibabel.spatialimages import HeaderDataError

from brain_tumor.acquisition import SEQUENCES, judge
from brain_tumor.images import MAX_PIXELS, ImageError
from brain_tumor.slicing import Candidate, Volume, canonical, viewable
from brain_tumor.uploads import DAMAGED, MAX_BYTES, MAX_FILES, MAX_UNPACKED, Member, read_exactly, too_large

_HEADERS = {348: Nifti1Header, 540: Nifti2Header}
_MAGIC = {348: (344, b"n+1\0", b"ni1\0"), 540: (4, b"n+2\0", b"ni2\0")}
_PLANES = {0: "sagittal", 1: "coronal", 2: "axial"}
_CHUNK = 1 << 20
_MASK_VALUES = 8  # a segmentation seldom has more labels; an image always has more values
_COLOUR = {("R", "G", "B"), ("R", "G", "B", "A")}


def is_nifti(head: bytes) -> bool:
    """Whether a file, whose first 352 bytes or more are given, is NIfTI."""
    size = _header_size(head)
    if size is None:
        return False
    at, *magics = _MAGIC[size]
    return head[at : at + 4] in magics


def candidates(member: Member) -> list[Candidate]:
    """The volumes of one file: one, or as many as its fourth and later dimensions say.

    Raises:
        ImageError: The header cannot be used, or promises more than the limits.
    """
    with member.open() as stream:
        header = _read_header(stream)
    shape = _shape(header)
    count = math.prod(shape[3:])
    scan = judge((member.words,), modality="MR")
    text = f"NIfTI {SEQUENCES.get(scan.sequence, '')}".strip()
    slices = max(shape[:3]) if min(shape[:3]) > 1 else 1
    return [
        Candidate(
            text=f"{text}, volume {k + 1} of {count}" if count > 1 else text,
            slices=slices,
            derived=scan.derived,
            caution=scan.caution(),
            load=partial(_load, member, k),
        )
        for k in range(count)
    ]


def _load(member: Member, index: int) -> Volume:
    with member.open() as stream:
        header = _read_header(stream)
        shape, dtype = _shape(header)[:3], header.get_data_dtype()
        size = math.prod(shape) * dtype.itemsize
        _skip(stream, _offset(header) + index * size - header.template_dtype.itemsize)
        data = read_exactly(stream, size)
    voxels = np.frombuffer(data, dtype).reshape(shape, order="F")
    if dtype.names:
        voxels = np.stack([voxels[name] for name in dtype.names[:3]], axis=-1)
    voxels, spacing, tilt, _ = canonical(voxels, _affine(header))
    # How it was scanned is not told: thick slices give it away.
    scanned = _PLANES[int(np.argmax(spacing))] if max(spacing) > 1.5 * min(spacing) else "axial"
    flat = [axis for axis in range(3) if voxels.shape[axis] == 1]
    if flat:
        scanned = _PLANES[flat[-1]]
    planes = viewable(voxels.shape, spacing, scanned, reformat=not flat)
    slope, intercept = _scaling(header)
    scan = judge((member.words,), modality="MR")
    if not scan.sequence and voxels.ndim == 3 and _few_values(voxels):
        scan = replace(scan, sequence="mask")
    return Volume(voxels, spacing, planes, slope, intercept, caution=scan.caution(tilt))


def _header_size(head: bytes) -> int | None:
    sizes = {int.from_bytes(head[:4], order) for order in ("little", "big")}
    return next(iter(sizes & _HEADERS.keys()), None)


def _read_header(stream: BinaryIO) -> Nifti1Header:
    head = read_exactly(stream, 348)
    size = _header_size(head) or 348
    head += read_exactly(stream, size - 348)
    at, single, _ = _MAGIC[size]
    if head[at : at + 4] != single:
        raise ImageError("This NIfTI header has its voxels in another file (.img); convert the pair to one .nii file.")
    return _HEADERS[size](head, check=False)


def _shape(header: Nifti1Header) -> tuple[int, ...]:
    """At least three dimensions; ImageError if they, or the type of the voxels, cannot be used."""
    dimensions = [int(d) for d in header["dim"]]
    shape = tuple(dimensions[1 : 1 + dimensions[0]]) if 1 <= dimensions[0] <= 7 else ()
    if len(shape) < 2 or min(shape) < 1:
        raise ImageError(DAMAGED)
    shape += (1,) * (3 - len(shape))
    try:
        dtype = header.get_data_dtype()
    except Exception:
        raise ImageError(DAMAGED) from None
    if dtype.kind not in "iuf" and dtype.names not in _COLOUR:
        raise ImageError("The voxels of this NIfTI file are not real numbers; save their magnitude as a new file.")
    if math.prod(shape[:3]) * dtype.itemsize > MAX_BYTES:
        raise too_large()
    if max(shape[:3]) > MAX_FILES or math.prod(sorted(shape[:3])[1:]) > MAX_PIXELS:
        raise too_large()
    if math.prod(shape[3:]) > MAX_FILES or math.prod(shape) * dtype.itemsize > MAX_UNPACKED:
        raise ImageError(f"This NIfTI file unpacks to more than {MAX_UNPACKED // 10**9} GB; save one volume of it.")
    return shape


def _offset(header: Nifti1Header) -> int:
    offset = float(header["vox_offset"])
    if not 0 <= offset <= MAX_BYTES:  # nor if it is no number
        raise ImageError(DAMAGED)
    return max(int(offset), header.template_dtype.itemsize)


def _affine(header: Nifti1Header) -> np.ndarray:
    try:
        affine = header.get_best_affine()
    except (ValueError, HeaderDataError):  # a quaternion that is none, or voxels of negative size
        affine = np.full((4, 4), np.nan)
    if np.isfinite(affine).all() and np.linalg.det(affine[:3, :3]) and not np.isnan(io_orientation(affine)).any():
        return affine
    zooms = [float(z) if np.isfinite(z) and z > 0 else 1.0 for z in header["pixdim"][1:4]]
    return np.diag([*zooms, 1.0])


def _scaling(header: Nifti1Header) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not math.isfinite(slope) or slope == 0:  # the format's way to say: not scaled
        return 1.0, 0.0
    return slope, intercept if math.isfinite(intercept) else 0.0


def _few_values(voxels: np.ndarray) -> bool:
    values = np.unique(voxels[::3, ::3, ::3])
    return len(values) <= _MASK_VALUES and np.array_equal(values, np.rint(values))


def _skip(stream: BinaryIO, size: int) -> None:
    """By reading: what is gunzipped has to be anyway."""
    while size > 0:
        try:
            part = stream.read(min(_CHUNK, size))
        except Exception:  # as in `read_exactly`
            raise ImageError(DAMAGED) from None
        if not part:
            raise ImageError(DAMAGED)
        size -= len(part)
