"""Scores of heatmaps, checked on maps whose score is known and on a network of which it is known where it looks."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save
from scipy.stats import spearmanr
from slices import mri_slice
from torch import nn

from brain_tumor.calibration import Bin
from brain_tumor.catalogue import list_models
from brain_tumor.checkpoints import CONFIG_FILE, MODEL_FILE, REQUIRED_FIELDS
from brain_tumor.explanation import CAMS, METHODS, class_activation_map, class_activation_maps, explain_reading
from brain_tumor.inference import load_model
from brain_tumor.labels import CLASS_NAMES, class_index
from brain_tumor.location import LOCATED_FILE, LOCATION_FILE
from brain_tumor.preprocessing import Preprocessing
from brain_tumor.registry import MODELS, get_spec
from training.data import FIGSHARE, Box, DataError, Record
from training.estimates import estimates
from training.evaluation import DASH
from training.faithfulness import forgetting, order, rank_correlation, similarity
from training.heatmaps import (
    BASELINES,
    CEILING,
    CENTRE,
    LOCATION,
    PRIOR,
    SIDE,
    TITLES,
    box_masks,
    enlarged,
    priors,
)
from training.localisation import (
    CSV_FILE,
    THRESHOLDS,
    TOLERANCE,
    Report,
    best_thresholds,
    measure_all,
    read,
    score_maps,
)
from training.localisation_tables import best_method, compare, describe, in_words, localisation_table

AVAILABLE = [model.spec.name for model in list_models(available_only=True)]
# As in tests/test_explanation.py: the package's own rounding.
MAP_TOLERANCE = 1e-3
# ROAD of the package calls NumPy in a way that NumPy 2 complains about.
pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")


def test_slices_of_one_patient_are_resampled_together():
    values = np.repeat([0.0, 1.0], 50)[:, None]
    alone = estimates(values)[0]
    together = estimates(values, np.repeat(np.arange(10), 10))[0]
    assert alone.mean == together.mean == 0.5
    assert together.interval[0] < alone.interval[0] < 0.5 < alone.interval[1] < together.interval[1]


# --- Maps -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", CAMS)
@pytest.mark.parametrize("name", AVAILABLE)
def test_maps_of_a_batch_are_those_of_its_slices(name, method):
    model = load_model(name)
    readings = model.read([mri_slice(seed, 160) for seed in range(3)])
    targets = [0, 3, 1]
    batch = class_activation_maps(model.tail, torch.cat([r.features for r in readings]), targets, method)
    for reading, target, found, shown in zip(readings, targets, batch, enlarged(batch, SIDE), strict=True):
        single = class_activation_map(model.tail, reading.features, target, method)
        np.testing.assert_allclose(found, single, atol=MAP_TOLERANCE)
        seen = explain_reading(model, reading, (SIDE, SIDE), CLASS_NAMES[target], method).heatmap
        np.testing.assert_allclose(shown / (shown.max() or 1), seen, atol=MAP_TOLERANCE)


def test_priors_do_not_know_the_fold_they_are_for():
    left, right = Box(0.25, 0.5, 0.2, 0.4), Box(0.75, 0.5, 0.2, 0.4)
    records = [
        Record("figshare", "1", "glioma", 1, left),
        Record("figshare", "2", "glioma", 2, right),
        Record("figshare", "3", "pituitary", 2, left),
    ]
    np.testing.assert_array_equal(priors(records, 1)["glioma"], box_masks([right])[0])
    np.testing.assert_array_equal(priors(records, 1)[""], box_masks([right, left]).mean(axis=0))
    np.testing.assert_array_equal(priors(records, 2)[""], box_masks([left])[0])
    assert "pituitary" not in priors(records, 2)


# --- Scores -----------------------------------------------------------------------------------------------------------

BOX = Box(0.5, 0.25, 0.25, 0.125)


def heat_at(x: float, y: float) -> np.ndarray:
    """All heat in the cell at (x, y), fractions of the side."""
    heat = np.zeros((1, SIDE, SIDE))
    heat[0, int(y * SIDE), int(x * SIDE)] = 3.0
    return heat


def test_the_box_itself_is_the_best_map_and_the_rest_the_worst():
    mask = box_masks([BOX]).astype(float)
    assert mask.mean() == BOX.width * BOX.height
    perfect, opposite = score_maps(mask, [BOX]), score_maps(1 - mask, [BOX])
    assert (perfect.hit[0], perfect.near[0], perfect.energy[0]) == (True, True, 1)
    np.testing.assert_array_equal(perfect.iou, 1)
    assert (opposite.hit[0], opposite.energy[0]) == (False, 0)
    np.testing.assert_array_equal(opposite.iou, 0)


def test_x_is_across_and_y_is_down():
    wide = Box(0.5, 0.25, 0.5, 0.125)
    assert score_maps(heat_at(0.7, 0.25), [wide]).hit[0]
    assert not score_maps(heat_at(0.25, 0.7), [wide]).hit[0]


def test_near_is_within_the_tolerance_of_the_box():
    top = BOX.y - BOX.height / 2
    for y, hit, near in ((top + 0.02, 1, 1), (top - TOLERANCE / 2, 0, 1), (top - 1.5 * TOLERANCE, 0, 0)):
        scores = score_maps(heat_at(0.5, y), [BOX])
        assert (scores.hit[0], scores.near[0]) == (hit, near)


def test_a_map_without_heat_finds_nothing():
    scores = score_maps(np.zeros((1, SIDE, SIDE)), [Box(0.5, 0.5, 1, 1)])
    assert not scores.hit[0] and not scores.near[0]
    assert scores.energy[0] == 0
    np.testing.assert_array_equal(scores.iou, 0)


def test_energy_and_iou_are_those_counted_one_by_one():
    rng = np.random.default_rng(0)
    maps = rng.random((4, SIDE, SIDE)) ** 3 * 7
    boxes = [Box(*rng.uniform(0.3, 0.7, 2), *rng.uniform(0.03, 0.5, 2)) for _ in maps]
    scores = score_maps(maps, boxes)
    for i, (heat, mask) in enumerate(zip(maps, box_masks(boxes), strict=True)):
        assert scores.energy[i] == pytest.approx(heat[mask].sum() / heat.sum())
        for k, threshold in enumerate(THRESHOLDS):
            hot = heat >= threshold * heat.max()
            assert scores.iou[i, k] == pytest.approx((hot & mask).sum() / (hot | mask).sum())


def test_the_threshold_of_a_fold_is_chosen_without_it():
    iou = np.zeros((4, len(THRESHOLDS)))
    iou[:2, 3], iou[2:, 11] = 1, 1
    assert best_thresholds(iou, np.array([1, 1, 2, 2])) == {1: 11, 2: 3}


def test_intervals_are_those_of_the_mean():
    values = np.random.default_rng(1).random((900, 2)) < (0.2, 0.7)
    for column, estimate in zip(values.T, estimates(values), strict=True):
        margin = 1.96 * column.std() / 30
        assert estimate.mean == column.mean()
        assert estimate.interval == pytest.approx((estimate.mean - margin, estimate.mean + margin), abs=margin / 8)


def test_the_hottest_pixels_come_first_and_those_without_heat_by_how_near_they_are():
    heat = np.zeros((32, 32), np.float32)
    heat[4, 4], heat[4, 5] = 1.0, 0.5
    ranks = order(heat)
    assert sorted(ranks.ravel()) == pytest.approx(np.linspace(0, 1, 32 * 32))
    assert ranks[4, 4] == 1
    assert ranks[4, 5] > ranks[5, 4] > ranks[16, 16] > ranks[31, 31]


# --- Comparing maps ---------------------------------------------------------------------------------------------------


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 7, 7))
    a[:3] = 0
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic)
    assert rank_correlation(a, a**3) == pytest.approx(1)
    assert rank_correlation(a, np.zeros((7, 7))) == 0


def test_similarity_is_one_of_a_map_with_itself_and_less_of_two():
    a, b = np.random.default_rng(0).random((2, 7, 7)).astype(np.float32)
    assert similarity(a, a) == pytest.approx(1)
    assert similarity(a, b) == pytest.approx(similarity(b, a))
    assert similarity(a, b) < similarity(a, 0.9 * a + 0.1 * b) < 1


def test_stages_forget_from_the_last_to_the_first_and_the_shared_network_does_not():
    name = AVAILABLE[0]
    model, spec = load_model(name), get_spec(name)
    slice_ = mri_slice(0)
    before = model.classify(slice_).logits
    stages, answers = [], []
    for stage, forgetful in forgetting(model):
        stages.append(stage)
        answers.append(forgetful.classify(slice_).logits)
    with_weights = [name for name, stage in spec.build().named_children() if any(True for _ in stage.parameters())]
    assert stages == with_weights[::-1]
    assert len({before, *answers}) == 1 + len(stages), "every stage that forgets changes the answer"
    assert model.classify(slice_).logits == before
    _, last = list(forgetting(model))[-1]
    assert last.classify(slice_).logits == pytest.approx(answers[-1]), "the same random weights every time"


# --- A network of which it is known where it looks --------------------------------------------------------------------

SIZE = 32
# The class is told by which of these is bright. None is in the middle.
PLACES = {"glioma": Box(0.25, 0.25, 0.25, 0.25), "meningioma": Box(0.75, 0.25, 0.25, 0.25)}
PLACES |= {"pituitary": Box(0.25, 0.75, 0.25, 0.25)}


def small_network() -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(grey=nn.Conv2d(3, 1, 1), relu=nn.ReLU(), flatten=nn.Flatten(), fc=nn.Linear(SIZE * SIZE, 4))
    )


def looking_network() -> nn.Sequential:
    """The logit of a class is the mean brightness of its place, times 8; nothing else matters."""
    network = small_network()
    weights = torch.zeros(4, SIZE, SIZE)
    for name, box in PLACES.items():
        left, top, right, bottom = (round(SIZE * edge) for edge in box.corners)
        weights[class_index(name), top:bottom, left:right] = 8 / ((right - left) * (bottom - top))
    with torch.no_grad():
        network.grey.weight.fill_(1 / 3)
        network.grey.bias.zero_()
        network.fc.weight.copy_(weights.flatten(1))
        network.fc.bias.zero_()
    return network


def checkpoint_of(network: nn.Module, system: str, folder: Path) -> Path:
    content = save({key: value.half().contiguous() for key, value in network.state_dict().items()})
    config = dict.fromkeys(REQUIRED_FIELDS, "none") | {
        "system": system,
        "classes": list(CLASS_NAMES),
        "protocol": "patientwise",
        "recipe": {"name": "boxes"},
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    folder.mkdir(parents=True)
    (folder / MODEL_FILE).write_bytes(content)
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    # It takes what is bright for the tumour.
    layer = {"weight": torch.tensor([20.0]).half(), "bias": torch.tensor([-10.0]).half()}
    known = {"system": system, "stages": json.dumps(["relu"]), "sha256": config["sha256"]}
    (folder / LOCATION_FILE).write_bytes(save(layer, known))
    return folder


def picture(label: str, seed: int) -> Image.Image:
    """Dim noise all over, the place of the class bright."""
    pixels = np.random.default_rng(seed).integers(20, 60, (64, 64), dtype=np.uint8)
    left, top, right, bottom = (round(64 * edge) for edge in PLACES[label].corners)
    pixels[top:bottom, left:right] += 180
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Iterator[tuple[Path, Report]]:
    """The files and the report of the looking network on nine slices in two folds, one of which is mislabelled."""
    folder = tmp_path_factory.mktemp("localisation")
    images = folder / "data" / FIGSHARE.folder / "images"
    images.mkdir(parents=True)
    with open(images.parent / FIGSHARE.marker, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["image", "label", "fold", *(f"box_{key}" for key in ("x_center", "y_center", "width", "height"))]
        )
        for i in range(9):
            shown = list(PLACES)[i % 3]
            picture(shown, i).save(images / f"{i}.png")
            box = PLACES[shown]
            label = "pituitary" if i == 0 else shown
            writer.writerow([f"{i}.png", label, 1 + i % 2, box.x, box.y, box.width, box.height])
    spec = replace(
        get_spec(AVAILABLE[0]),
        name="looking",
        build=small_network,
        preprocessing=Preprocessing(SIZE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        cam_layer="relu",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "looking", spec)
        patch.setenv("BRAIN_TUMOR_WEIGHTS", str(folder / "weights"))
        checkpoint = checkpoint_of(looking_network(), "looking", folder / "run")
        path = measure_all("looking", folder / "data", {1: checkpoint, 2: checkpoint})
        yield path, read(path)


def scores(report: Report) -> dict:
    return {score.name: score for score in report.scores}


def test_files_lie_with_the_systems_evaluation(measured):
    path, report = measured
    assert path.parts[-4:] == ("weights", "looking", "evaluation", "localisation.json")
    assert (report.n, report.recipe, report.protocol) == (9, "boxes", "patientwise")
    assert report.right == pytest.approx(8 / 9, abs=1e-6)
    assert report.box_area == 0.0625
    assert set(scores(report)) == set(METHODS) | set(BASELINES)


def test_maps_that_show_where_it_looks_hit_and_the_middle_does_not(measured):
    _, report = measured
    for name in ("hirescam", "layercam", "location"):  # gradient times activation, place by place; and its own word
        found = scores(report)[name]
        assert (found.every.n, found.every.hit.mean, found.every.near.mean) == (9, 1, 1)
        assert found.every.energy.mean > 0.9
        assert found.every.iou.mean > 0.9
        assert found.folds == {"1": 1, "2": 1}
        assert found.right.n == 8
        assert found.labels["pituitary"].n == 4
    assert scores(report)[CENTRE.name].every.hit.mean == 0
    assert scores(report)[CENTRE.name].every.iou.mean < 0.3
    assert scores(report)[PRIOR.name].every.hit.mean < 0.7
    assert scores(report)[CEILING.name].every.hit.mean == 1
    assert scores(report)[CEILING.name].every.energy.mean > 0.9
    assert scores(report)[best_method([report])].every.hit.mean == 1


def test_how_sure_maps_of_the_place_were_is_counted_with_how_often_they_were_right(measured):
    path, report = measured
    assert report.located == (Bin(0.9, 1.0, pytest.approx(1, abs=0.01), 9, 9),)
    assert report.located_intervals == ((pytest.approx(0.70, abs=0.01), 1),)  # Wilson's, of 9 patients
    assert report.located == tuple(Bin(**row) for row in json.loads((path.parents[1] / LOCATED_FILE).read_text()))


def test_taking_away_what_the_map_marks_costs_the_answer(measured):
    _, report = measured
    found = {row.name: row for row in report.faithfulness}
    assert report.perturbed == 9
    for name in ("hirescam", "layercam"):
        assert found[name].deletion.mean < found[CENTRE.name].deletion.mean - 0.1
        assert found[name].insertion.mean > found[CENTRE.name].insertion.mean
        assert found[name].road.mean > found[CENTRE.name].road.mean + 0.1


def test_maps_of_a_network_that_forgot_are_others(measured):
    _, report = measured
    found = {(row.name, row.stage): row for row in report.randomised}
    assert {stage for _, stage in found} == {"fc", "grey"}
    assert abs(found["hirescam", "grey"].correlation) < 0.5


def test_an_answer_about_the_tumour_goes_with_the_tumour(measured):
    hidden = measured[1].hidden
    assert hidden.n == 8
    assert hidden.tumour.mean < 0.5
    assert (hidden.elsewhere.mean, hidden.all_else.mean) == (1, 1)
    # Of those alone on whose other side there is room; of all yes, as few cannot tell that it is always so.
    assert 0 < hidden.apart <= hidden.n
    assert hidden.tumour_apart.mean < hidden.elsewhere.interval[0] < 1


def test_every_slice_has_a_line_per_method_that_the_means_are_of(measured):
    path, report = measured
    with open(path.with_name(CSV_FILE), newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9 * len(METHODS)
    assert {row["right"] for row in rows if row["image"] == "images/0.png"} == {"0"}
    for name in METHODS:
        lines = [row for row in rows if row["method"] == name]
        assert len({row["image"] for row in lines}) == 9
        for column in ("hit", "near", "energy", "iou"):
            mean = np.mean([float(row[column]) for row in lines])
            assert getattr(scores(report)[name].every, column).mean == pytest.approx(mean, abs=1e-3)


def test_tables_say_what_the_file_says(measured):
    _, report = measured
    line = next(line for line in localisation_table(report).splitlines() if TITLES["hirescam"] in line)
    assert "100.00 % (70.09–100.00)" in line
    words = in_words(report, "hirescam")
    assert "inside the tumour's box in 100 slices of 100" in words
    assert "6.25 % of the picture" in words
    assert "of patients the network was not trained on" in words
    assert "was not trained on" not in in_words(replace(report, protocol="published"), "hirescam")
    assert all(title in describe(report) for title in TITLES.values())
    other = replace(report, scores=tuple(score for score in report.scores if score.name != LOCATION))
    place = next(line for line in compare([report, other]).splitlines() if TITLES[LOCATION] in line)
    assert place.count("%") == 1 and place.rstrip(" |").endswith(DASH)


def test_one_fold_alone_is_refused(tmp_path):
    with pytest.raises(DataError, match="two folds"):
        measure_all(AVAILABLE[0], tmp_path, {1: tmp_path})


def test_a_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(DataError, match="measure_all"):
        read(tmp_path / "localisation.json")
