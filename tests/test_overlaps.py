"""Heatmaps of fold networks are compared as the page compares them, and count in the consensus that is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from slices import mri_slice
from test_outoffold import overconfident

from brain_tumor import examples
from brain_tumor.catalogue import offered_models
from brain_tumor.checkpoints import find_checkpoint
from brain_tumor.examination import Examination
from brain_tumor.explanation import COMPARED_CAM, overlap
from brain_tumor.images import read_image
from training.data import FIGSHARE, DataError, Record
from training.overlaps import measure, read, write
from training.protocols import Folds
from training.selective import decided

SYSTEMS = offered_models()[:2]


@pytest.fixture
def folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """Some of the project's own slices as the only fold of a data set in `tmp_path`."""
    folder = tmp_path / FIGSHARE.folder
    (folder / "images").mkdir(parents=True)
    (folder / FIGSHARE.marker).touch()
    records = []
    images = [read_image(path) for path in sorted(examples.FOLDER.glob("*.png"))[:6]]
    for number, image in enumerate([*images, *(mri_slice(seed) for seed in range(3))]):
        image.save(folder / "images" / f"{number}.png")
        records.append(Record(FIGSHARE.name, f"images/{number}.png", "glioma", 2))
    monkeypatch.setattr("training.overlaps.patientwise_folds", lambda root: Folds({2: records}))
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(find_checkpoint(SYSTEMS[0]).folder.parent))
    monkeypatch.setattr("training.overlaps.weights_folder", lambda: tmp_path / "weights")
    return records


def test_overlaps_are_those_of_the_page_where_models_agree(folds, tmp_path):
    checkpoints = {system: {2: find_checkpoint(system)} for system in SYSTEMS}
    found = read(measure(checkpoints, tmp_path))
    assert found.systems == tuple(SYSTEMS)
    expected = {}
    for record in folds:
        image = Image.open(tmp_path / FIGSHARE.folder / record.image)
        answers = Examination(image.convert("RGB"), record.image).answers(SYSTEMS, method=COMPARED_CAM)
        if len({answer.target_class for answer in answers}) == 1:
            expected[record.image] = overlap([answer.heatmap for answer in answers])
    assert found.by_image() == pytest.approx(expected, abs=1e-3)
    assert expected
    write(found, tmp_path / "again.csv")
    assert read(tmp_path / "again.csv") == found


def test_systems_without_a_common_fold_cannot_be_compared(tmp_path):
    with pytest.raises(DataError, match="same folds"):
        measure({SYSTEMS[0]: {1: find_checkpoint(SYSTEMS[0])}, SYSTEMS[1]: {}}, tmp_path)


def test_heatmaps_in_different_places_silence_the_consensus():
    one = overconfident(400)
    both = {"cnn_v4": one, "resnet18": one}
    everywhere, _ = decided(both)
    tumours = [image for image, name in zip(one.images, one.predicted, strict=True) if name != 2]
    apart, _ = decided(both, dict.fromkeys(tumours, 0.0))
    assert 0 < apart.share < everywhere.share
    assert apart.n == everywhere.n == len(np.unique(one.images))
