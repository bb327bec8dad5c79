"""Cards, tables and figures: generated from the predictions, readable by others, and in step with them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from matplotlib.figure import Figure
from test_evaluation import HAND_MADE, SYSTEM, make_checkpoint, root, write_csv  # noqa: F401

from brain_tumor.labels import CLASS_NAMES, LABELS
from brain_tumor.registry import MODELS, get_spec
from training import figures
from training.__main__ import main
from training.cards import CHOSEN_MARK, count_parameters, drift, model_card, results_table, update, write_all
from training.data import DATA_SETS, KAGGLE
from training.engine import Epoch
from training.evaluation import Predictions, measure
from training.protocols import read_groups
from training.recipes import RECIPES

README = "# Title\n\n<!-- generated: results -->\n<!-- /generated -->\n\nText.\n"


@pytest.fixture
def repository(tmp_path, root, monkeypatch) -> Path:  # noqa: F811
    """A folder with a README and one measured checkpoint."""
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(tmp_path / "weights"))
    make_checkpoint(tmp_path / "weights" / SYSTEM, root)
    write_csv(tmp_path / "weights" / SYSTEM / "evaluation" / "published.csv", HAND_MADE)
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def test_nothing_in_this_repository_differs_from_its_source(monkeypatch):
    monkeypatch.delenv("BRAIN_TUMOR_WEIGHTS", raising=False)
    assert drift() == [], "Run `python -m training tables`."


def test_tables_writes_everything_and_then_nothing_differs(repository, capsys):
    assert drift()
    assert main(["tables"]) == 0
    assert drift() == []
    evaluation = repository / "weights" / SYSTEM / "evaluation"
    names = {"published.json", "published_confusion.png", "published_curves.png", "training_curves.png"}
    assert names <= {path.name for path in evaluation.iterdir()}
    assert all(Path(line).exists() for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("README.md", "70.00 %", "97.00 %"),
        (f"weights/{SYSTEM}/README.md", "70.00 %", "97.00 %"),
        (f"weights/{SYSTEM}/evaluation/published.json", '"accuracy": 0.7', '"accuracy": 0.97'),
    ],
)
def test_a_changed_number_is_reported(repository, file, old, new):
    write_all()
    path = repository / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert drift() == [str(path)]


def test_changed_predictions_are_reported_in_all_that_shows_them(repository):
    write_all()
    evaluation = repository / "weights" / SYSTEM / "evaluation"
    write_csv(evaluation / "published.csv", HAND_MADE[:-1])
    stale = {Path(path).relative_to(repository).as_posix() for path in drift()}
    assert stale == {
        "README.md",
        "docs/comparison_published.png",
        f"weights/{SYSTEM}/README.md",
        f"weights/{SYSTEM}/evaluation/published.json",
        f"weights/{SYSTEM}/evaluation/published_confusion.png",
        f"weights/{SYSTEM}/evaluation/published_curves.png",
    }


def test_metrics_without_predictions_are_reported(repository):
    write_all()
    stray = repository / "weights" / SYSTEM / "evaluation" / "external.json"
    stray.write_text('{"accuracy": 0.99}\n')
    assert drift() == [str(stray)]


def test_a_readme_without_markers_is_left_alone(repository):
    (repository / "README.md").write_text("# Title\n")
    write_all()
    assert (repository / "README.md").read_text() == "# Title\n"
    assert drift() == []


def test_update_replaces_one_block_only():
    text = "a\n<!-- generated: x -->\nold\n<!-- /generated -->\nb\n<!-- generated: y -->\nkept\n<!-- /generated -->\n"
    new = update(text, "x", r"new \1 line")
    assert new == text.replace("old", r"new \1 line")
    assert update(new, "x", r"new \1 line") == new
    with pytest.raises(ValueError, match="generated: z"):
        update(text, "z", "")


def test_the_hub_reads_the_card(repository):
    write_all()
    card = ModelCard.load(repository / "weights" / SYSTEM / "README.md")
    assert card.data.license == "mit"
    assert card.data.pipeline_tag == "image-classification"
    measured = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert measured["accuracy"] == 0.7
    stored = json.loads((repository / "weights" / SYSTEM / "evaluation" / "published.json").read_text())
    assert measured["f1"] == stored["macro_f1"]


def test_the_card_says_what_a_user_must_know(repository):
    write_all()
    folder = repository / "weights" / SYSTEM
    card, config = model_card(SYSTEM), json.loads((folder / "config.json").read_text())
    for fact in (
        "no medical device",
        "1.5 min",
        "random weights",
        f"--model {SYSTEM}",
        config["sha256"],
        config["hardware"],
        *KAGGLE.faults,
        *(label.text for label in LABELS),
    ):
        assert fact in card
    links = re.findall(r"\]\((evaluation/[^)]+)\)", card)
    assert len(links) == 3
    assert all((folder / link).exists() for link in links)
    assert not re.search(r"\b(nan|None)\b", card)


def test_copies_of_training_images_are_left_out_of_a_second_number(repository):
    """Groups as the audit committed them: of these test images, one shows a slice that is in Training too."""
    groups = read_groups()
    trained = {found.group for image, found in groups.items() if image.startswith("Training/glioma/")}
    tested = [image for image in groups if image.startswith("Testing/glioma/")]
    copy = next(image for image in tested if groups[image].group in trained)
    new = [image for image in tested if groups[image].group not in trained][:2]
    path = repository / "weights" / SYSTEM / "evaluation" / "published.csv"
    header = path.read_text().splitlines()[0]
    right, wrong = "glioma,,9,0,0,0", "glioma,,0,9,0,0"
    rows = [f"{copy},{right}", f"{new[0]},{right}", f"{new[1]},{wrong}"]
    path.write_text("\n".join([header, *rows]) + "\n")
    card = model_card(SYSTEM)
    assert "Of the 3 images of `published`, 1 show a slice that is also among Kaggle's Training images" in card
    assert "On the other 2 (glioma) the accuracy is **50.00 %" in card
    row = next(line for line in results_table().splitlines() if MODELS[SYSTEM].title in line)
    assert "66.67 %" in row and "50.00 %" in row
    assert CHOSEN_MARK not in row
    path = repository / "weights" / SYSTEM / "config.json"
    config = json.loads(path.read_text())
    config["data"]["val"] = dict.fromkeys(CLASS_NAMES, 0) | {"glioma": 3}
    path.write_text(json.dumps(config))
    row = next(line for line in results_table().splitlines() if MODELS[SYSTEM].title in line)
    assert f"n = 3 {CHOSEN_MARK}" in row and f"n = 2 {CHOSEN_MARK}" in row


def test_a_checkpoint_without_predictions_gets_a_card_without_numbers(repository):
    (repository / "weights" / SYSTEM / "evaluation" / "published.csv").unlink()
    assert "not been measured" in model_card(SYSTEM)
    assert "model-index" not in model_card(SYSTEM)


def test_results_of_images_that_chose_the_epoch_are_marked(repository):
    assert CHOSEN_MARK not in results_table()
    path = repository / "weights" / SYSTEM / "config.json"
    config = json.loads(path.read_text())
    config["data"]["val"] = dict(zip(CLASS_NAMES, (3, 2, 4, 1), strict=True))
    path.write_text(json.dumps(config))
    assert f"n = 10 {CHOSEN_MARK}" in results_table()
    assert "validation accuracy" in results_table()


def test_the_results_table_has_all_systems(repository):
    rows = results_table().splitlines()[2:]
    for row, spec in zip(rows, MODELS.values(), strict=False):
        assert spec.title in row
        assert (f"{spec.reported_accuracy:.2%}".replace("%", " %") if spec.study else "ours") in row
    assert "70.00 % (39.68–89.22), n = 10" in rows[0]


@pytest.mark.parametrize("system", MODELS)
def test_parameters_are_those_of_the_network(system):
    network = get_spec(system).build()
    assert count_parameters(get_spec(system)) == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("recipe", RECIPES)
def test_training_curves_of_every_recipe_can_be_drawn(tmp_path, recipe):
    phases = [phase.name for phase in RECIPES[recipe].phases for _ in range(phase.epochs)]
    history = [
        Epoch(i, phase, 64, 1e-3, 1e-4, 1 / (i + 1), 0.5, 1 / (i + 1), 0.5, 1, 1) for i, phase in enumerate(phases)
    ]
    check_figure(partial(figures.training, history, len(history), "Title"), tmp_path)


@pytest.mark.parametrize("dataset", DATA_SETS, ids=lambda dataset: dataset.name)
def test_class_distributions_can_be_drawn(tmp_path, dataset):
    check_figure(partial(figures.class_distribution, dataset), tmp_path)


@pytest.mark.filterwarnings("error")
def test_evaluation_figures_can_be_drawn_without_a_class(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 3], 300)
    logits = rng.normal(size=(300, len(CLASS_NAMES)))
    predictions = Predictions(tuple(map(str, range(300))), labels, (1,) * 300, logits)
    good = replace(predictions, logits=logits + 4 * np.eye(len(CLASS_NAMES))[labels])
    for shown in (predictions, good):
        check_figure(partial(figures.curves, shown, "Title"), tmp_path)
        check_figure(partial(figures.confusion, measure(shown), "Title"), tmp_path)
    systems = [figures.System(spec.title, 1_000_000, measure(good)) for spec in MODELS.values()]
    check_figure(partial(figures.comparison, systems, "published"), tmp_path)


def check_figure(draw: Callable[[], Figure], folder: Path) -> None:
    """Small, the same bytes every time, and carrying the digest of its source."""
    for name in ("a.png", "b.png"):
        figures.save(draw(), folder / name, "source")
    assert (folder / "a.png").read_bytes() == (folder / "b.png").read_bytes()
    assert (folder / "a.png").stat().st_size < 60_000
    assert figures.is_current(folder / "a.png", "source")
    assert not figures.is_current(folder / "a.png", "another source")
