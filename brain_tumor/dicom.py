"""DICOM files, single, multi-frame or a series -> Volume.

Only the elements listed in `_ELEMENTS` are read from a file: what names a patient never enters the program. Texts among
them (a series' description, say) are judged for the sequence and dropped.
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, get_decoder, iter_pixels
from pydicom.uid import UID, UID_dictionary

from brain_tumor.acquisition import Acquisition, Caution, judge
from brain_tumor.images import MAX_PIXELS, MIN_SIDE, ImageError
from brain_tumor.slicing import LINEAR, LINEAR_EXACT, SIGMOID, Candidate, Volume, Window, canonical, viewable
from brain_tumor.uploads import DAMAGED, MAX_BYTES, MAX_FILES, Member, too_large

_TEXTS = ("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName")
_GEOMETRY = (
    *("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "ImagerPixelSpacing"),
    *("NominalScannedPixelSpacing", "PixelAspectRatio"),
)
_PIXELS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "ExtendedOffsetTable"),
    *("ExtendedOffsetTableLengths", "PixelData", "FloatPixelData", "DoubleFloatPixelData"),
    *("RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor"),
    *("BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData"),
    *("BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData"),
    *("SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData"),
)
_VALUES = (
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("VOILUTSequence", "PresentationLUTShape"),
)
_ACQUISITION = (
    *("Modality", "ContrastBolusAgent", "ContrastBolusAgentSequence", "BodyPartExamined", "ScanningSequence"),
    *("EchoTime", "EffectiveEchoTime", "RepetitionTime", "InversionTime", "DiffusionBValue", "AcquisitionContrast"),
    *("ImageType", "BurnedInAnnotation"),
)
_ORDER = ("SOPClassUID", "SeriesInstanceUID", "InstanceNumber")
_FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_ELEMENTS = [*_TEXTS, *_GEOMETRY, *_PIXELS, *_VALUES, *_ACQUISITION, *_ORDER, *_FUNCTIONAL_GROUPS]

_HEADER_BYTES = 65_536  # enough for most
_PLANES = ("sagittal", "coronal", "axial")
_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
_AS_STORED = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # an ImageOrientationPatient under which nothing is turned
_MM = 0.01  # closer positions are one: they are written as decimals
_PARALLEL = 0.02  # greatest difference between direction cosines
_UNEVEN = 0.1  # of the median step: more, and slices are missing
_SHEARED = 0.1  # sideways per step between slices: more, and the gantry was tilted
_BARE_GROUPS = (0x0002, 0x0008)  # what files without a preamble begin with
_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT OB OF OW PN SH SL SQ SS ST TM UI UL UN US UT".split())


def is_dicom(head: bytes) -> bool:
    """Whether a file, of which the first 352 bytes or more are given, is DICOM, with a preamble or without."""
    if head[128:132] == b"DICM":
        return True
    if len(head) < 132:
        return False
    for order in "<>":
        group, element = struct.unpack(f"{order}HH", head[:4])
        if group not in _BARE_GROUPS or element > 0x0100:
            continue
        if head[4:6] in _VRS:
            return True
        # Implicit: a length that leads to another element of the same group.
        length = struct.unpack(f"{order}I", head[4:8])[0]
        after = head[8 + length : 12 + length] if length <= 128 else b""
        if len(after) == 4 and struct.unpack(f"{order}HH", after)[0] in _BARE_GROUPS:
            return True
    return False


def candidates(members: Sequence[Member]) -> list[Candidate]:
    """The volumes in files that are DICOM: one per series, orientation and time point.

    Raises:
        ImageError: None of the files has an image; the message says what the first has instead.
    """
    _silence()
    groups: dict[tuple, list[_Frame]] = defaultdict(list)
    refusals = []
    for member in members:
        try:
            for frame in _frames(member):
                groups[frame.group].append(frame)
        except ImageError as error:
            refusals.append(error)
        if sum(map(len, groups.values())) > MAX_FILES:
            raise ImageError(f"The upload has more than {MAX_FILES:,} slices; upload one series.")
    parallel = [part for frames in groups.values() for part in _parallel(frames)]
    found = [_candidate(stack) for frames in parallel for stack in _stacks(frames)]
    if not found:
        raise refusals[0]
    return found


@dataclass(frozen=True)
class _Frame:
    """One image, before its pixels are read.

    Attributes:
        member: file that it is in.
        number: of the frame in the file, from 0.
        group: alike for those that may form one volume, if they are parallel.
        shape: rows, columns.
        colour: three samples per pixel, or a palette.
        orientation: ImageOrientationPatient, or None.
        position: ImagePositionPatient, mm, or None.
        spacing: between rows and between columns, mm.
        instance: InstanceNumber.
        scale: slope and intercept.
        windows: all that are given.
        inverted: high values are dark.
        table: what is stored goes through tables first, modality's or VOI.
        bits: allocated per sample.
        scan: how it was made.
    """

    member: Member
    number: int
    group: tuple = field(repr=False)
    shape: tuple[int, int]
    colour: bool
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    spacing: tuple[float, float]
    instance: int
    scale: tuple[float, float]
    windows: tuple[Window, ...]
    inverted: bool
    table: bool
    bits: int
    scan: Acquisition = field(repr=False)

    @property
    def normal(self) -> np.ndarray:
        orientation = np.array(self.orientation or _AS_STORED)
        return np.cross(orientation[:3], orientation[3:])

    @property
    def height(self) -> float | None:
        """Along the normal, mm."""
        return None if self.position is None or self.orientation is None else float(self.normal @ self.position)


# --- Headers


def _header(member: Member) -> Dataset:
    """All but the pixels; ImageError if it is damaged. Most files need not be unpacked as a whole for it."""
    head = member.head(_HEADER_BYTES)
    try:
        ds, end = _parsed(head, pixels=False)
        if end < len(head):  # where the pixels begin
            return ds
    except Exception:  # cut within an element
        pass
    return _whole(member, pixels=False)


def _whole(member: Member, pixels: bool = True) -> Dataset:
    data = member.read()
    try:
        return _parsed(data, pixels)[0]
    except ImageError:
        raise
    except Exception:  # on malformed files, pydicom raises anything; it quotes values, so it is not passed on
        raise ImageError(DAMAGED) from None


def _parsed(data: bytes, pixels: bool) -> tuple[Dataset, int]:
    """The data set, and where in the data it ends."""
    _check_deflated(data)
    file = io.BytesIO(data)
    ds = pydicom.dcmread(file, force=True, stop_before_pixels=not pixels, specific_tags=_ELEMENTS)
    if "TransferSyntaxUID" not in ds.file_meta:
        implicit, little = ds.original_encoding
        explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        ds.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else explicit
    return ds, file.tell()


def _check_deflated(data: bytes) -> None:
    """pydicom inflates without a limit: count first."""
    if uid.DeflatedExplicitVRLittleEndian.encode() not in data[:2048]:
        return
    start = 144 + int.from_bytes(data[140:144], "little")  # after the group of file meta elements, as long as it says
    inflater, total, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, data[start:]
    while rest and not inflater.eof:
        total += len(inflater.decompress(rest, 1 << 20))
        rest = inflater.unconsumed_tail
        if total > MAX_BYTES:
            raise too_large()


def _frames(member: Member) -> list[_Frame]:
    """ImageError says what the file holds if not images."""
    ds = _header(member)
    try:
        if not ds.get("Rows") or not ds.get("Columns"):
            raise _no_image(ds)
        return list(_frames_of(ds, member))
    except ImageError:
        raise
    except Exception:  # values of a wrong kind; quoted, so not passed on
        raise ImageError(DAMAGED) from None


def _frames_of(ds: Dataset, member: Member) -> Iterator[_Frame]:
    shape = (int(ds.Rows), int(ds.Columns))
    count = int(ds.get("NumberOfFrames") or 1)
    colour = int(ds.get("SamplesPerPixel") or 1) > 1 or ds.get("PhotometricInterpretation") == "PALETTE COLOR"
    if min(shape) < MIN_SIDE:
        raise ImageError(
            f"The slices are too small; at least {MIN_SIDE} x {MIN_SIDE} pixels are needed; export them at full size."
        )
    if shape[0] * shape[1] > MAX_PIXELS or count > MAX_FILES:
        raise too_large()
    shared = _flattened(ds.get("SharedFunctionalGroupsSequence"), 0)
    for number in range(count):
        sources = [*_flattened(ds.get("PerFrameFunctionalGroupsSequence"), number), *shared, ds]
        orientation = _numbers(sources, "ImageOrientationPatient", 6)
        if orientation and not _orthonormal(orientation):
            orientation = None
        windows = tuple(_windows(sources))
        modality_table = _first(sources, "ModalityLUTSequence") is not None
        voi_table = not windows and _first(sources, "VOILUTSequence") is not None
        yield _Frame(
            member=member,
            number=number,
            group=(str(ds.get("SeriesInstanceUID", "")), shape, colour),
            shape=shape,
            colour=colour,
            orientation=orientation,
            position=_numbers(sources, "ImagePositionPatient", 3),
            spacing=_spacing(sources),
            instance=int(ds.get("InstanceNumber") or 0),
            scale=(_number(sources, "RescaleSlope") or 1.0, _number(sources, "RescaleIntercept") or 0.0),
            windows=windows,
            inverted=(
                ds.get("PhotometricInterpretation") == "MONOCHROME1"
                or (ds.get("PresentationLUTShape") == "INVERSE" and not colour)
            ),
            table=not colour and (modality_table or voi_table),
            bits=int(ds.get("BitsAllocated") or 8),
            scan=_scan(ds, sources),
        )


def _flattened(groups: Sequence[Dataset] | None, number: int) -> list[Dataset]:
    """The macros of one item of functional groups, each a data set of its own."""
    if not groups or number >= len(groups):
        return []
    return [element.value[0] for element in groups[number] if element.VR == "SQ" and element.value]


def _first(sources: list[Dataset], keyword: str) -> object:
    return next((source[keyword].value for source in sources if keyword in source and source[keyword].value), None)


def _number(sources: list[Dataset], keyword: str) -> float | None:
    # Not `_first`, for which 0 would be no value.
    for source in sources:
        value = source.get(keyword)
        value = value[0] if isinstance(value, (list, pydicom.multival.MultiValue)) and value else value
        if value not in (None, ""):
            value = float(value)
            return value if np.isfinite(value) else None
    return None


def _numbers(sources: list[Dataset], keyword: str, count: int) -> tuple[float, ...] | None:
    value = _first(sources, keyword)
    values = _tuple(value, float)
    return values if len(values) == count and np.isfinite(values).all() else None


def _tuple(value: object, kind: type) -> tuple:
    if value is None or value == "":
        return ()
    several = not isinstance(value, (str, bytes)) and isinstance(value, Sequence)
    return tuple(kind(v) for v in (value if several else (value,)) if v not in (None, ""))


def _orthonormal(orientation: tuple[float, ...]) -> bool:
    rows, columns = np.array(orientation[:3]), np.array(orientation[3:])
    return bool(np.allclose([rows @ rows, columns @ columns, rows @ columns], [1, 1, 0], atol=0.05))


def _spacing(sources: list[Dataset]) -> tuple[float, float]:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
        spacing = _numbers(sources, keyword, 2)
        if spacing and min(spacing) > 0:
            return spacing
    return (1.0, 1.0)


def _windows(sources: list[Dataset]) -> Iterator[Window]:
    centres = _tuple(_first(sources, "WindowCenter"), float) or _tuple(_number(sources, "WindowCenter"), float)
    widths = _tuple(_first(sources, "WindowWidth"), float)
    function = str(_first(sources, "VOILUTFunction") or LINEAR).upper()
    function = function if function in (LINEAR_EXACT, SIGMOID) else LINEAR
    for centre, width in zip(centres, widths, strict=False):
        if np.isfinite(centre) and (width >= 1 if function == LINEAR else width > 0) and np.isfinite(width):
            yield Window(centre, width, function)


def _scan(ds: Dataset, sources: list[Dataset]) -> Acquisition:
    agents = ds.get("ContrastBolusAgentSequence")
    agent = ds.get("ContrastBolusAgent")
    echo = _number(sources, "EchoTime")
    return judge(
        tuple(str(ds.get(keyword) or "") for keyword in _TEXTS),
        modality=str(ds.get("Modality") or ""),
        agent="given" if agents else None if agent is None else str(agent),
        body_part=str(ds.get("BodyPartExamined") or ""),
        scanning=_tuple(ds.get("ScanningSequence"), str),
        echo_time=_number(sources, "EffectiveEchoTime") if echo is None else echo,
        repetition_time=_number(sources, "RepetitionTime"),
        inversion_time=_number(sources, "InversionTime"),
        diffusion_weighting=_number(sources, "DiffusionBValue"),
        acquisition_contrast=str(_first(sources, "AcquisitionContrast") or ""),
        image_type=_tuple(ds.get("ImageType"), str),
        annotated=_annotated(ds),
    )


def _annotated(ds: Dataset) -> bool | None:
    """Is text burned into the pixels? None where the file does not say and is of a kind that often bears some."""
    said = str(ds.get("BurnedInAnnotation") or "")
    captured = (
        str(ds.get("Modality") or "") in ("SC", "OT", "DOC")
        or str(ds.get("SOPClassUID") or "").startswith(uid.SecondaryCaptureImageStorage)
        or ds.get("SamplesPerPixel") == 3
    )
    return True if said == "YES" else None if not said and captured else False


def _no_image(ds: Dataset) -> ImageError:
    kind = str(ds.get("SOPClassUID", ""))
    if kind == uid.MediaStorageDirectoryStorage or ds.file_meta.get("MediaStorageSOPClassUID") == (
        uid.MediaStorageDirectoryStorage
    ):
        return ImageError(
            "This is a DICOMDIR, a list of files without images; upload the files that it lists as a zip."
        )
    # Only names from the standard: an unknown identifier may be anything.
    what = f" but is of the kind {UID_dictionary[kind][0]}" if kind in UID_dictionary else ""
    return ImageError(f"This DICOM file holds no image{what}; upload the images of the same study.")


# --- Stacks of frames


def _parallel(frames: list[_Frame]) -> list[list[_Frame]]:
    """The three planes of a localiser, say, are of one series but not of one volume."""
    parts: list[list[_Frame]] = []
    for frame in frames:
        for part in parts:
            if _alike(frame.orientation, part[0].orientation):
                part.append(frame)
                break
        else:
            parts.append([frame])
    return parts


def _alike(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    if one is None or other is None:
        return one is other
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) < _PARALLEL


def _stacks(frames: list[_Frame]) -> list[list[_Frame]]:
    """Parallel frames in order along the normal; one stack per time point where positions repeat evenly."""
    frames = sorted(frames, key=lambda frame: (frame.instance, frame.number))  # stable: at last by name
    if any(frame.height is None for frame in frames):
        return [frames]
    frames.sort(key=lambda frame: round(frame.height / _MM))
    places: list[list[_Frame]] = []
    for frame in frames:
        if places and abs(frame.height - places[-1][0].height) <= 2 * _MM:
            places[-1].append(frame)
        else:
            places.append([frame])
    times = len(places[0])
    if len(places) == 1 or any(len(place) != times for place in places):
        return [[frame for place in places for frame in place]]
    return [list(stack) for stack in zip(*places, strict=True)]


def _candidate(frames: list[_Frame]) -> Candidate:
    first = frames[0]
    _, _, tilt, _ = canonical(np.empty((1, 1, 1)), _affine(frames)[0])
    slices = f"{len(frames)} slices" if len(frames) > 1 else "1 slice"
    text = ", ".join(filter(None, (first.scan.text, _plane(frames), slices)))
    caution = first.scan.caution(tilt if first.orientation else 0.0)
    image = first.instance or None if len(frames) == 1 else None
    return Candidate(text, len(frames), first.scan.derived, caution, partial(_load, frames, caution), image)


def _plane(frames: list[_Frame]) -> str:
    if frames[0].orientation is None:
        return "original"
    return _PLANES[canonical(np.empty((1, 1, 1)), _affine(frames)[0])[3]]


def _affine(frames: list[_Frame]) -> tuple[np.ndarray, bool]:
    """Column, row and slice indices -> mm in RAS+; and whether the slices are evenly spaced, one above the other."""
    first = frames[0]
    orientation = np.array(first.orientation or _AS_STORED)
    step, even = 1.0, False
    if len(frames) > 1 and first.orientation and all(frame.position for frame in frames):
        steps = np.diff([frame.position for frame in frames], axis=0)
        along = steps @ first.normal
        if np.median(along) > _MM:
            step = float(np.median(along))
            sideways = np.linalg.norm(steps - np.outer(along, first.normal), axis=1)
            even = bool(np.abs(along - step).max() <= _UNEVEN * step and sideways.max() <= _SHEARED * step)
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * first.spacing[1] * _LPS_TO_RAS
    affine[:3, 1] = orientation[3:] * first.spacing[0] * _LPS_TO_RAS
    affine[:3, 2] = first.normal * step * _LPS_TO_RAS
    return affine, even


def _load(frames: list[_Frame], caution: Caution | None) -> Volume:
    _silence()
    affine, even = _affine(frames)
    stack, (slope, intercept) = _decode(frames)
    voxels, spacing, _, _ = canonical(stack.swapaxes(0, 2), affine)
    planes = viewable(voxels.shape, spacing, _plane(frames), reformat=even)
    return Volume(voxels, spacing, planes, slope, intercept, frames[0].inverted, _presets(frames), caution)


def _presets(frames: list[_Frame]) -> tuple[Window, ...]:
    """Scanners give each slice a window of its own: their medians serve all.

    Those of MR are left out. They show the brain brighter than the slices are that the models learned from, and models
    take a brighter slice for one without a tumour (docs/trust.md).
    """
    if frames[0].colour or frames[0].scan.modality == "MR":
        return ()
    presets = []
    for windows in zip(*(frame.windows for frame in frames), strict=False):
        centre, width = np.median([(window.centre, window.width) for window in windows], axis=0)
        presets.append(Window(float(centre), float(width), windows[0].function))
    return tuple(dict.fromkeys(presets))


# --- Pixels


def _decode(frames: list[_Frame]) -> tuple[np.ndarray, tuple[float, float]]:
    """Voxels (slices, rows, columns), or (slices, rows, columns, 3) uint8; and the slope and intercept of all."""
    first = frames[0]
    scales = {frame.scale for frame in frames}
    # One slope for all voxels leaves them as they are stored; many, or a table, make them real numbers.
    as_values = not first.colour and (len(scales) > 1 or any(frame.table for frame in frames))
    size = len(frames) * first.shape[0] * first.shape[1]
    if size * (3 if first.colour else 4 if as_values else max(1, first.bits // 8)) > MAX_BYTES:
        raise too_large()
    places: dict[int, list[int]] = defaultdict(list)
    for place, frame in enumerate(frames):
        places[id(frame.member)].append(place)
    stack = None
    for of_member in places.values():
        of_member.sort(key=lambda place: frames[place].number)
        for place, pixels in zip(of_member, _pixels([frames[place] for place in of_member], as_values), strict=True):
            if stack is None:
                stack = np.empty((len(frames), *pixels.shape), pixels.dtype.newbyteorder("="))
            if not np.can_cast(pixels.dtype, stack.dtype):
                stack = stack.astype(np.result_type(pixels, stack))
            stack[place] = pixels
    return stack, (1.0, 0.0) if as_values or first.colour else first.scale


def _pixels(frames: list[_Frame], as_values: bool) -> Iterator[np.ndarray]:
    """The decoded pixels of frames of one file, in the order of their numbers."""
    ds = _whole(frames[0].member)
    syntax = ds.file_meta.TransferSyntaxUID
    if not any(keyword in ds for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise _no_image(ds)
    _check_syntax(syntax)
    try:
        if syntax.is_encapsulated:
            _check_coded_sizes(ds, frames)
        numbers = [frame.number for frame in frames]
        twelve_bits = syntax == uid.JPEGExtended12Bit and ds.BitsStored > 8
        decoded = _twelve_bit_jpegs(ds, numbers) if twelve_bits else iter_pixels(ds, indices=numbers)
        for frame, pixels in zip(frames, decoded, strict=True):
            if pixels.shape[:2] != frame.shape:
                raise ImageError(DAMAGED)
            if frame.colour:
                yield _rgb(pixels, ds)
            elif as_values:
                yield _values(pixels, ds, frame)
            else:
                yield pixels
    except ImageError:
        raise
    except Exception:  # a decoder's; it may quote the file
        raise ImageError(DAMAGED) from None


def _check_syntax(syntax: UID) -> None:
    try:
        if get_decoder(syntax).is_available:
            return
    except NotImplementedError:
        pass
    name = f"as {UID_dictionary[syntax][0]}" if syntax in UID_dictionary else "in a way that DICOM does not know"
    raise ImageError(f"The images are compressed {name}, which cannot be read; export them uncompressed.")


def _check_coded_sizes(ds: Dataset, frames: list[_Frame]) -> None:
    """Decoders believe the compressed image, not the header: one that claims 60,000 x 60,000 pixels would be tried."""
    wanted = {frame.number for frame in frames}
    coded = generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames") or 1))
    for number, frame in zip(range(max(wanted) + 1), coded, strict=False):
        if number in wanted and _coded_size(frame) not in (None, frames[0].shape):
            raise ImageError(DAMAGED)


def _coded_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns of a JPEG, JPEG-LS or JPEG 2000 image; None for RLE, which has no size of its own."""
    if frame[:4] == b"\xff\x4f\xff\x51":  # JPEG 2000: the size is always first
        right, bottom, left, top = struct.unpack(">4I", frame[8:24])
        return bottom - top, right - left
    if frame[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return struct.unpack(">2H", frame[at + 5 : at + 9])
        at += 1 if marker == 0xFF else 2 + length  # 0xFF may fill
    return None


def _rgb(pixels: np.ndarray, ds: Dataset) -> np.ndarray:
    bits = int(ds.BitsStored)
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, ds)
        bits = 8 * pixels.dtype.itemsize
    return (pixels >> max(0, bits - 8)).astype(np.uint8)[..., :3]


def _values(pixels: np.ndarray, ds: Dataset, frame: _Frame) -> np.ndarray:
    if "ModalityLUTSequence" in ds:
        pixels = apply_modality_lut(pixels, ds)
    else:
        slope, intercept = frame.scale
        pixels = slope * pixels + intercept
    if frame.table and not frame.windows and "VOILUTSequence" in ds:
        pixels = apply_voi_lut(pixels.astype(np.int64), ds)
    return pixels.astype(np.float32)


def _twelve_bit_jpegs(ds: Dataset, numbers: list[int]) -> Iterator[np.ndarray]:
    """GDCM decodes these rightly, but pydicom's way to it refuses them."""
    import gdcm  # writes to stderr, in C++, what cannot be caught here: it quotes no elements

    coded = generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames") or 1))
    for number, frame in enumerate(coded):
        if number not in numbers:
            continue
        fragment = gdcm.Fragment()
        fragment.SetByteStringValue(frame)
        fragments = gdcm.SequenceOfFragments.New()
        fragments.AddFragment(fragment)
        element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
        element.SetValue(fragments.__ref__())
        image = gdcm.Image()
        image.SetNumberOfDimensions(2)
        image.SetDimensions((ds.Columns, ds.Rows, 1))
        image.SetDataElement(element)
        kind = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
        image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
        image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(uid.JPEGExtended12Bit))))
        image.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, 0))
        pixels = image.GetBuffer().encode("utf-8", "surrogateescape")  # GDCM gives bytes as str
        yield np.frombuffer(pixels, np.uint16).reshape(ds.Rows, ds.Columns)


def _silence() -> None:
    """pydicom quotes values of elements in what it warns and logs. Both calls may be repeated: they add nothing."""
    logging.getLogger("pydicom").addFilter(_quiet)
    warnings.filterwarnings("ignore", module=r"pydicom|brain_tumor\.dicom")


def _quiet(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.CRITICAL
