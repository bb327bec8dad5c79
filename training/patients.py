"""Stand-ins for figshare's patients, for intervals that know that slices of one patient are not independent.

The data set as shared names the patient-wise fold of a slice, not its patient. Known is how many patients each class
has. Within a class and fold, slices are clustered by similarity into as many clusters as patients belong there; slices
of one patient, a few millimetres apart in one plane, look alike. Clusters are not patients, and nothing is ever split
by them: they only widen intervals.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.cluster import AgglomerativeClustering

from training.data import FIGSHARE, Record, load_samples, read_records

# Cheng et al. 2015, doi:10.1371/journal.pone.0140381: 233 patients.
PATIENTS = {"glioma": 89, "meningioma": 82, "pituitary": 62}
SIDE = 32


def cluster(records: Sequence[Record], pixels: np.ndarray) -> dict[str, int]:
    """Image -> number of its stand-in patient.

    Args:
        pixels: float (N, SIDE * SIDE), grey, one row per record.
    """
    standard = pixels - pixels.mean(axis=1, keepdims=True)
    standard /= np.linalg.norm(standard, axis=1, keepdims=True) + 1e-9
    found: dict[str, int] = {}
    for label, patients in PATIENTS.items():
        total = sum(record.label == label for record in records)
        for fold in sorted({record.fold for record in records}):
            rows = [i for i, record in enumerate(records) if record.label == label and record.fold == fold]
            count = max(1, round(patients * len(rows) / total))
            if len(rows) <= count:
                numbers = range(len(rows))
            else:
                numbers = AgglomerativeClustering(count, linkage="ward").fit_predict(standard[rows])
            base = len(set(found.values()))
            found |= {records[i].image: base + int(number) for i, number in zip(rows, numbers, strict=True)}
    return found


def write_clusters(root: Path, path: Path) -> None:
    """Write `image,patient` for every slice of figshare-cheng in `root`."""
    records = read_records(FIGSHARE, root, "images")
    pixels = load_samples(records, root, SIDE).pixels[:, 0].flatten(1).double().numpy()
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "patient"))
        writer.writerows(cluster(records, pixels).items())
