"""Scans drawn by program: a head with one bright ball on its right, to the front and near the top."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

SPACING = (1.0, 1.0, 1.5)  # mm


def head(shape: tuple[int, int, int] = (48, 56, 40)) -> np.ndarray:
    """int16 (X, Y, Z), X to the right, Y to the front, Z to the top; values from 0 to about 1,000."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    tissue = 400 + 60 * np.random.default_rng(1).random(shape)
    values = np.where((x / 0.8) ** 2 + (y / 0.95) ** 2 + (z / 0.9) ** 2 < 1, tissue, 0)
    values[(x - 0.45) ** 2 + (y - 0.4) ** 2 + (z - 0.4) ** 2 < 0.06] = 1000
    return values.astype(np.int16)


def dataset(pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, **elements) -> Dataset:
    """An MR image; pixels (rows, columns) or (frames, rows, columns), 16 bits."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = MRImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.Modality = "MR"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        ds.NumberOfFrames = len(pixels)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.PixelData = np.ascontiguousarray(pixels).astype(pixels.dtype.newbyteorder("<")).tobytes()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def encoded(ds: Dataset) -> bytes:
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def series(voxels: np.ndarray, plane: str = "axial", **elements) -> list[Dataset]:
    """Slices as a scanner writes them (positions in LPS), from low to high, numbered the other way round.

    Args:
        voxels: as from `head`.
        plane: in which the slices are.
        elements: further DICOM elements.
    """
    nx, ny, nz = voxels.shape
    sx, sy, sz = SPACING
    left, back, down = [1, 0, 0], [0, 1, 0], [0, 0, -1]
    right_most, front_most, top_most = -(nx - 1) * sx, -(ny - 1) * sy, (nz - 1) * sz
    orientation, spacing, count = {
        "axial": (left + back, [sy, sx], nz),
        "coronal": (left + down, [sz, sx], ny),
        "sagittal": (back + down, [sz, sy], nx),
    }[plane]
    uid = generate_uid()
    slices = []
    for k in range(count):
        pixels, position = {
            "axial": lambda k=k: (voxels[::-1, ::-1, k].T, [right_most, front_most, k * sz]),
            "coronal": lambda k=k: (voxels[::-1, k, ::-1].T, [right_most, -k * sy, top_most]),
            "sagittal": lambda k=k: (voxels[k, ::-1, ::-1].T, [-k * sx, front_most, top_most]),
        }[plane]()
        ds = dataset(pixels, SeriesInstanceUID=uid, InstanceNumber=count - k, PixelSpacing=spacing)
        ds.ImageOrientationPatient, ds.ImagePositionPatient = orientation, position
        for keyword, value in elements.items():
            setattr(ds, keyword, value)
        slices.append(ds)
    return slices


def save(slices: list[Dataset], folder: Path, suffix: str = ".dcm") -> Path:
    """Under names whose order means nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(3).permutation(len(slices))
    for number, ds in zip(order, slices, strict=True):
        (folder / f"{number}{suffix}").write_bytes(encoded(ds))
    return folder
