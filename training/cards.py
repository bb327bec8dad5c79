"""Everything that states measured numbers: metrics files, model cards, figures, the tables of the README.

All of it is generated, from `config.json`, `evaluation/history.json` and the per-image logits in `evaluation/*.csv`.
The README is the one beside the weights folder; between the markers

    <!-- generated: results -->
    <!-- /generated -->

stands the table of all systems.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import yaml
from matplotlib.figure import Figure

from brain_tumor.checkpoints import CONFIG_FILE, read_config, weights_folder
from brain_tumor.labels import LABELS
from brain_tumor.registry import MODELS, ModelSpec, get_spec
from training import elsewhere, figures, guards, localisation, localisation_tables, patientwise, robustness, teachers
from training.augmentation import Augmentation
from training.data import DATA_SETS, FIGSHARE, DataError, DataSet
from training.engine import Epoch
from training.evaluation import (
    CHOSEN_MARK,
    DASH,
    Metrics,
    Predictions,
    class_table,
    decimal,
    evaluation_folder,
    measure,
    percent,
    read_predictions,
    systems_with_weights,
    table,
    to_json,
)
from training.export import HISTORY_FILE
from training.figures import millions
from training.outoffold import NETWORKS_FILE, distinct, measure_patientwise, read_networks
from training.protocols import PATIENTWISE, PROTOCOLS, clean_images
from training.reproduction import Reproduction, reproduction, study_folder

CARD_FILE = "README.md"
RESULTS_BLOCK = "results"
# Written by `python -m benchmarks.latency --write`.
LATENCY_FILE = "latency.json"
# What is measured once, on the images themselves, and cannot be computed from predictions.
SOURCES = (
    *(HISTORY_FILE, NETWORKS_FILE, guards.REFUSAL_FILE, guards.SEEN_FILE),
    *(localisation.JSON_FILE, robustness.FILE),
)
DOCUMENT = Path("docs", "trust.md")
INITIALISATIONS = {"random": "random weights", "imagenet": "ImageNet weights"}


@dataclass(frozen=True)
class Result:
    """A checkpoint on the test images of one protocol.

    Attributes:
        dataset, part: what was tested on.
        chose_epoch: the test images also decided which epoch was kept.
        clean: the same without the images that show a slice of Kaggle's `Training`; None where none is left.
    """

    protocol: str
    predictions: Predictions
    metrics: Metrics
    dataset: DataSet
    part: str
    chose_epoch: bool
    clean: Metrics | None


@dataclass(frozen=True)
class Drawing:
    """A figure yet to be drawn, and the text that it shows the content of."""

    draw: Callable[[], Figure]
    source: str


def write_all() -> list[Path]:
    """Write metrics, cards, figures and the README's table anew; returns the files.

    Raises:
        DataError, CheckpointError: a source is damaged; the message names it.
    """
    found = patientwise.believed()
    drawings = _drawings(found)
    for path, drawing in drawings.items():
        figures.save(drawing.draw(), path, drawing.source)
    # After these: a card shows the figures that there are.
    texts = _texts(found)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8", newline="\n")
    return [*texts, *drawings]


def drift() -> list[str]:
    """The files that differ from what `write_all` would write, metrics files without predictions, and what was measured
    of other networks of the folds than the predictions are of, sorted.

    A figure differs if it was drawn from other data; how it is drawn does not matter.
    """
    found = patientwise.believed()
    texts, drawings = _texts(found), _drawings(found)
    files = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    files += [path for path, drawing in drawings.items() if not figures.is_current(path, drawing.source)]
    for system in systems_with_weights():
        files += _of_other_networks(system)
        for path in (*evaluation_folder(system).glob("*.json"), *evaluation_folder(system).glob("*.png")):
            if path.name not in SOURCES and path not in texts and path not in drawings:
                files.append(path)
    return sorted(map(str, files))


def _of_other_networks(system: str) -> list[Path]:
    """What was measured of other networks than the predictions on patients not seen are of, or by another recipe than
    the registry's. Fewer may be measured: those of other folds may have been trained elsewhere."""
    known, folder = read_networks(system), evaluation_folder(system)
    if known is None:
        return []
    located, disturbed = folder / localisation.JSON_FILE, folder / robustness.FILE
    wrong = [folder / NETWORKS_FILE] if known.recipe != get_spec(system).patientwise_recipe else []
    if located.exists() and not localisation.read(located).checkpoints.items() <= known.checkpoints.items():
        wrong.append(located)
    if disturbed.exists():
        asked = robustness.read(disturbed).checkpoints
        of_folds = {name.removeprefix("fold"): sha for name, sha in asked.items() if name != "published"}
        if not of_folds.items() <= known.checkpoints.items():
            wrong.append(disturbed)
    return wrong


def update(text: str, block: str, content: str) -> str:
    """Replace what stands between a block's markers; ValueError if the text has no such block."""
    opening, closing = f"<!-- generated: {block} -->", "<!-- /generated -->"
    pattern = re.compile(f"({re.escape(opening)}\n).*?({re.escape(closing)})", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"There is no {opening} … {closing} in the text.")
    return pattern.sub(lambda match: f"{match[1]}{content.strip()}\n{match[2]}", text)


def results_table() -> str:
    """Markdown: all systems, what their studies reported, what was measured here, and how the checkpoints were made."""
    header = [
        *("system", "study", "reported", "reproduced"),
        *(f"our checkpoint, {protocol}" for protocol in PROTOCOLS),
        "without copies",
        *("initialisation", "parameters", "training"),
    ]
    rows = [_results_row(spec) for spec in MODELS.values()]
    note = (
        "Reported: by the study, on its own test images. Reproduced: by the study's own recipe on the same images, "
        "mean and standard deviation over seeds. Our checkpoints: with Wilson 95 % intervals, for which each image "
        "counts, also where several show one slice. Without copies: on the Kaggle test images that show no slice of "
        "Kaggle's Training, mirrored, turned or edited, and all of which show a tumour: closer to the truth, though "
        "other slices of the same patients are among the training images, as far as that can be told. "
        f"{DASH}: not measured."
    )
    if any(CHOSEN_MARK in cell for row in rows for cell in row):
        note += f" {_chosen_note()}"
    return f"{table(header, rows)}\n\n{note}"


def _results_row(spec: ModelSpec) -> list[str]:
    row = [spec.title, spec.study or "ours", percent(spec.reported_accuracy), _reproduced_cell(spec.name)]
    parameters = millions(count_parameters(spec))
    if spec.name not in systems_with_weights():
        found = reproduction(spec.name)
        begun, cost = (_initialisation(found.configs[0]), _seeds_cost(found)) if found else (DASH, DASH)
        return [*row, *(DASH for _ in PROTOCOLS), DASH, begun, parameters, cost]
    config = _config(spec.name)
    results = _results(spec.name)
    measured = {result.protocol: _accuracy_cell(result) for result in results}
    row[0] = f"[{spec.title}]({weights_folder().name}/{spec.name}/{CARD_FILE})"
    row += [measured.get(protocol, DASH) for protocol in PROTOCOLS]
    row.append(next((_measured(result.clean) + _mark(result) for result in results if result.clean), DASH))
    return [*row, _initialisation(config), parameters, f"{_minutes(config)}, {_hardware(config)}"]


def _reproduced_cell(system: str) -> str:
    found = reproduction(system)
    if found is None:
        return DASH
    card = study_folder(system).relative_to(weights_folder().parent) / CARD_FILE
    return f"[{_mean_and_spread(found)}]({card.as_posix()})"


def _mean_and_spread(found: Reproduction) -> str:
    n = len(found.accuracies)
    spread = f" ± {100 * found.spread:.2f}" if found.spread is not None else ""
    return f"{100 * found.mean:.2f}{spread} %, {n} seed{'s' if n > 1 else ''}"


def study_card(system: str, found: Reproduction) -> str:
    """The README.md of a reproduction: every seed, and of the first what the study shows of its own network."""
    spec, folder = get_spec(system), study_folder(system)
    rows = [
        [path.stem.removeprefix("seed"), percent(accuracy), _minutes(config), _hardware(config)]
        for path, accuracy, config in zip(found.files, found.accuracies, found.configs, strict=True)
    ]
    first = found.files[0]
    metrics, seed = measure(read_predictions(first)), first.stem.removeprefix("seed")
    shown = {"confusion": "Confusion matrix", "curves": "ROC and precision-recall curves", "training": "Loss, accuracy"}
    if not (folder / f"{first.stem}_{HISTORY_FILE}").exists():
        del shown["training"]
    return (
        "\n\n".join(
            [
                f"# {spec.title}, by study {spec.study}'s recipe",
                f"The study reports {percent(spec.reported_accuracy)}; here it was {_mean_and_spread(found)}, on the "
                f"same test images, n = {metrics.n:,}. No weights are kept: "
                f"`python -m training reproduce {system} --study` trains them again.",
                table(["seed", "accuracy", "training", "on"], rows),
                f"Seed {seed}:",
                class_table(metrics),
                *(f"![{text} of seed {seed}]({first.stem}_{name}.png)" for name, text in shown.items()),
            ]
        )
        + "\n"
    )


def _study_drawings(system: str, found: Reproduction) -> dict[Path, Drawing]:
    spec, first, config = get_spec(system), found.files[0], found.configs[0]
    predictions, title = read_predictions(first), f"{spec.title}, study {spec.study}'s recipe"
    source = title + first.read_text(encoding="utf-8")
    drawn = {
        "confusion": Drawing(partial(figures.confusion, measure(predictions), title), source),
        "curves": Drawing(partial(figures.curves, predictions, title), source),
    }
    history = first.with_name(f"{first.stem}_{HISTORY_FILE}")
    if history.exists():
        drawn["training"] = _training_curves(spec, config, history)
    return {first.with_name(f"{first.stem}_{name}.png"): drawing for name, drawing in drawn.items()}


def _accuracy_cell(result: Result) -> str:
    return _measured(result.metrics) + _mark(result)


def _mark(result: Result) -> str:
    return f" {CHOSEN_MARK}" if result.chose_epoch else ""


def _measured(metrics: Metrics) -> str:
    return f"{percent(metrics.accuracy, metrics.accuracy_interval)}, n = {metrics.n:,}"


def _chosen_note() -> str:
    return f"{CHOSEN_MARK} These images also chose the epoch that was kept, so this is a validation accuracy."


def model_card(system: str) -> str:
    """The README.md of a checkpoint's folder, as the Hugging Face Hub shows it: YAML metadata and Markdown.

    Raises:
        UnknownModelError: no such system.
        CheckpointError, DataError: its config.json or a file of predictions is missing or damaged.
    """
    spec, config, results = get_spec(system), _config(system), _results(system)
    metadata = yaml.safe_dump(_metadata(spec, config, results), sort_keys=False, allow_unicode=True, width=1000)
    parts = [
        f"---\n{metadata}---",
        *_introduction(spec, config),
        *_results_section(spec, config, results),
        *_trust_section(spec.name),
        *_training_section(spec, config),
        *_data_section(config, results),
        *_usage_section(spec),
    ]
    return "\n\n".join(parts) + "\n"


def count_parameters(spec: ModelSpec) -> int:
    """Parameters of the system's network, learned or not."""
    # On the meta device no weight is allocated or drawn.
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in spec.build().parameters())


def _metadata(spec: ModelSpec, config: dict[str, Any], results: list[Result]) -> dict[str, Any]:
    task = "image-classification"
    metadata = {
        "license": "mit",
        "library_name": "pytorch",
        "pipeline_tag": task,
        "tags": ["medical-imaging", "mri", "brain-tumor"],
        "datasets": [_training_data(config).title],
        "metrics": ["accuracy", "f1", "precision", "recall", "roc_auc"],
    }
    if not results:
        return metadata
    measured = [
        {
            "task": {"type": task},
            "dataset": {"type": result.dataset.name, "name": result.dataset.title, "split": result.part},
            "metrics": [
                {"type": kind, "name": name, "value": round(value, 6)}
                for kind, name, value in _headline(result.metrics)
                if value is not None
            ],
        }
        for result in results
    ]
    return metadata | {"model-index": [{"name": spec.name, "results": measured}]}


def _headline(metrics: Metrics) -> list[tuple[str, str, float | None]]:
    return [
        ("accuracy", "Accuracy", metrics.accuracy),
        ("f1", "Macro F1", metrics.macro_f1),
        ("precision", "Macro precision", metrics.macro_precision),
        ("recall", "Macro sensitivity", metrics.macro_recall),
        ("roc_auc", "Macro ROC-AUC, one against the rest", metrics.macro_roc_auc),
    ]


def _introduction(spec: ModelSpec, config: dict[str, Any]) -> Iterator[str]:
    classes = [label.text.lower() for label in LABELS]
    size = spec.preprocessing.size
    yield f"# {spec.title} for brain tumour MRI slices"
    yield (
        f"This network looks at one MRI slice of a brain, {size} x {size} px, and gives probabilities for "
        f"{', '.join(classes[:-1])} and {classes[-1]}. It has {millions(count_parameters(spec))} parameters and was "
        f"trained from {_initialisation(config)}."
    )
    yield (
        "**It is no medical device.** It was made for research and teaching, has never been tested in a clinic, and "
        "must not take part in any decision about a person's health."
    )


def _results_section(spec: ModelSpec, config: dict[str, Any], results: list[Result]) -> Iterator[str]:
    yield "## Results"
    if spec.study:
        reported = percent(spec.reported_accuracy)
        yield f"Study {spec.study}, which proposed this system, reported an accuracy of {reported}."
    else:
        yield "The system is this project's own; nobody else has reported on it."
    if not results:
        yield "This checkpoint has not been measured yet."
        return
    header = ["protocol", "tested on", "n", "accuracy (95 % interval)", "macro F1", "macro ROC-AUC", "loss"]
    yield table(header, [_result_row(result) for result in results])
    for result in results:
        if result.clean:
            yield _clean_sentence(result)
    yield from _patientwise_section(spec.name)
    if any(result.chose_epoch for result in results):
        yield _chosen_note()
    warnings = [f"> - {d.title}: {fault}" for d in _data_sets(config, results) for fault in d.faults]
    yield "\n".join(["> **Read these numbers with care.** Known faults of the data:", ">", *warnings])
    yield (
        "Intervals of these results are Wilson's, at 95 %, and take each image for a slice of its own, which many are "
        "not: they are too narrow, and hold for images like these, not for other scanners, hospitals or patients. "
        "Every result is computed from the per-image logits in `evaluation/*.csv` by `python -m training tables`."
    )
    for result in results:
        yield f"### `{result.protocol}`"
        description, *_ = (PROTOCOLS[result.protocol].__doc__ or "").split("\n")
        yield f"The protocol: {description}"
        if result.protocol != config["protocol"]:
            yield f"Only its test images are used here: the network was trained under `{config['protocol']}`."
        yield class_table(result.metrics)
        n = f"of {result.metrics.n:,} images, protocol {result.protocol}"
        yield f"![Confusion matrix {n}](evaluation/{result.protocol}_confusion.png)"
        yield f"![ROC and precision-recall curves {n}](evaluation/{result.protocol}_curves.png)"


def _patientwise_section(system: str) -> Iterator[str]:
    path = evaluation_folder(system) / f"{PATIENTWISE}.csv"
    if not path.exists():
        return
    found = measure_patientwise(distinct(read_predictions(path)))
    folds = f"{len(found.folds)} folds" if len(found.folds) > 1 else "one fold"
    yield (
        "**On patients not seen**, the number to believe: networks of this architecture (recipe "
        f"`{read_networks(system).recipe}`), each asked about the patients that it was not trained on "
        f"({folds}), are right in **{percent(found.tumour, found.tumour_interval)}** of {found.tumour_n:,} slices with "
        "a tumour, choosing among the three tumour classes, and in "
        f"{percent(found.overall, found.overall_interval)} of {found.overall_n:,} "
        "distinct slices of all four classes; intervals are over stand-ins for patients."
    )
    if (evaluation_folder(system) / patientwise.RELIABILITY_FIGURE).exists():
        yield f"![How often calibrated probabilities were right](evaluation/{patientwise.RELIABILITY_FIGURE})"


def _clean_sentence(result: Result) -> str:
    classes = [label.text.lower() for label in LABELS if result.clean.classes[label.name].support]
    copies = result.metrics.n - result.clean.n
    accuracy = percent(result.clean.accuracy, result.clean.accuracy_interval)
    return (
        f"Of the {result.metrics.n:,} images of `{result.protocol}`, {copies:,} show a slice that is also among "
        f"Kaggle's Training images, mirrored, turned or edited. On the other {result.clean.n:,} ({', '.join(classes)}) "
        f"the accuracy is **{accuracy}**{_mark(result)}: closer to "
        "the truth, though other slices of the same patients may be among the training images."
    )


def _result_row(result: Result) -> list[str]:
    metrics = result.metrics
    return [
        f"`{result.protocol}`",
        f"{result.dataset.title}, {result.part}",
        f"{metrics.n:,}",
        percent(metrics.accuracy, metrics.accuracy_interval) + _mark(result),
        percent(metrics.macro_f1),
        decimal(metrics.macro_roc_auc),
        f"{metrics.loss:.4f}",
    ]


def _training_section(spec: ModelSpec, config: dict[str, Any]) -> Iterator[str]:
    recipe = config["recipe"]
    whose = f"{'' if recipe['name'] == spec.study_recipe or not spec.study else 'not '}that of {spec.origin}"
    libraries = ", ".join(f"{name} {version}" for name, version in config["libraries"].items())
    facts = [
        ("recipe", f"`{recipe['name']}` of `training/recipes.py`, {whose}"),
        ("initialisation", _initialisation(config)),
        ("seed", config["seed"]),
        ("epochs", f"{config['epochs']}; kept is epoch {config['best_epoch']}, {_why_kept(recipe)}"),
        ("validation accuracy", percent(config["val_accuracy"])),
        ("optimizer", recipe["optimizer"]),
        *((f"phase {phase['name']}", _phase(phase)) for phase in recipe["phases"]),
        ("schedule", f"`{recipe['schedule']}`"),
        ("batch size", recipe["batch_size"]),
        ("momentum", recipe["momentum"]),
        ("weight decay", recipe["weight_decay"]),
        ("label smoothing", recipe["label_smoothing"]),
        ("weight of the tumour boxes as second teacher", recipe["box_weight"]),
        ("averaged weights, decay", recipe["ema"]),
        ("resolutions", ", ".join(f"{size} px from epoch {first + 1}" for first, size in recipe["resolutions"])),
        # Recipes before windows were cut say nothing of them.
        ("cut out of slices", _windows(recipe.get("crops"))),
        ("patience", recipe["patience"] and f"{recipe['patience']} epochs"),
        ("augmentation", _augmentation(recipe["augmentation"])),
        ("hardware", config["hardware"]),
        ("duration", _minutes(config)),
        ("libraries", libraries),
        ("git commit", config["git_commit"]),
        ("sha256 of model.safetensors", config["sha256"]),
    ]
    yield "## Training"
    yield _facts([(name, str(fact)) for name, fact in facts if fact or name == "seed"])
    data = config["data"]
    parts = ("train", "val")
    rows = [[label.text, *(f"{data[part][label.name]:,}" for part in parts)] for label in LABELS]
    rows.append(["together", *(f"{sum(data[part].values()):,}" for part in parts)])
    yield f"Images of {data['name']}, version {data['version']}, under the protocol `{config['protocol']}`:"
    if not recipe["validate"]:
        yield "The protocol's validation images were trained on too, less near-duplicates beyond the second."
    yield table(["class", "training", "validation"], rows)
    if (evaluation_folder(spec.name) / HISTORY_FILE).exists():
        yield "![Loss and accuracy over the epochs](evaluation/training_curves.png)"
        yield (
            "Training values are means over an epoch, while the weights change, of augmented images and with label "
            "smoothing where the recipe has them; validation values are of the weights at its end, without either."
        )


def _trust_section(system: str) -> Iterator[str]:
    """What was measured of refusal, heatmaps and robustness; what each number means is in the project's DOCUMENT."""
    located, disturbed = (evaluation_folder(system) / name for name in (localisation.JSON_FILE, robustness.FILE))
    parts = {"Pictures that are refused": guards.refusal_card(system)}
    if located.exists():
        parts["Where the heatmaps point"] = localisation_tables.describe(localisation.read(located))
    if disturbed.exists():
        parts["Changes that flip answers"] = robustness.describe(robustness.read(disturbed))
    if not any(parts.values()):
        return
    yield "## How far to believe it"
    yield f"What these numbers mean is told in the project's `{DOCUMENT.as_posix()}`."
    for title, text in parts.items():
        if text:
            yield f"### {title}\n\n{text}"


def _why_kept(recipe: dict[str, Any]) -> str:
    return "the best on the validation images" if recipe["validate"] else "the last: nothing was chosen during training"


def _facts(facts: list[tuple[str, str]]) -> str:
    return "\n".join(f"- {name}: {fact}" for name, fact in facts)


def _phase(phase: dict[str, Any]) -> str:
    rates = f"learning rate {phase['head_lr']:g}"
    if phase["backbone_lr"] != phase["head_lr"]:
        rates += f" (head), {phase['backbone_lr']:g} (backbone)"
    return f"{phase['epochs']} epochs, {rates}"


def _augmentation(augmentation: dict[str, Any]) -> str:
    unchanged = asdict(Augmentation())
    changed = {name: value for name, value in augmentation.items() if value != unchanged.get(name)}
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in changed.items()) or "none"


def _windows(crops: dict[str, float] | None) -> str | None:
    return crops and (
        f"windows {crops['side']:.0%} as wide, more or less by a factor of {crops['spread']:g}, around the tumour, and "
        f"where there is none: of slices without one, and of {crops['elsewhere']:.0%} of the others"
    ).replace("%", " %")


def _data_section(config: dict[str, Any], results: list[Result]) -> Iterator[str]:
    yield "## Data"
    yield "\n".join(f"- [{d.title}]({d.source}), {d.licence}. {d.citation}" for d in _data_sets(config, results))


def _usage_section(spec: ModelSpec) -> Iterator[str]:
    yield "## Use"
    yield f"```bash\npython -m brain_tumor classify slice.png --model {spec.name}\n```"
    yield (
        "```python\nfrom PIL import Image\n\nfrom brain_tumor import load_model\n\n"
        f'prediction = load_model("{spec.name}").classify(Image.open("slice.png"))\n```'
    )


def _texts(found: dict[str, patientwise.Believed]) -> dict[Path, str]:
    """All generated text files, with their content."""
    texts = {}
    for system in systems_with_weights():
        for result in _results(system):
            texts[evaluation_folder(system) / f"{result.protocol}.json"] = to_json(result.metrics)
            if result.protocol == "published" and result.clean:
                texts[evaluation_folder(system) / "clean.json"] = to_json(result.clean)
        texts[weights_folder() / system / CARD_FILE] = model_card(system)
    for system, reproduced in _reproductions().items():
        texts[study_folder(system) / CARD_FILE] = study_card(system, reproduced)
    texts |= patientwise.texts(found)
    if _readme_wants_results():
        blocks = {
            RESULTS_BLOCK: results_table,
            "patientwise": partial(patientwise.accuracy_table, found),
            "asked": partial(_asked, found),
        }
        texts[_readme()] = _updated(_readme(), blocks)
    document = weights_folder().parent / DOCUMENT
    if document.exists():
        texts[document] = _updated(document, _document_blocks(found))
    return texts


def _updated(path: Path, blocks: dict[str, Callable[[], str]]) -> str:
    """The document with those of the blocks filled in that it has."""
    text = path.read_text(encoding="utf-8")
    for block, content in blocks.items():
        if f"<!-- generated: {block} -->" in text:
            text = update(text, block, content())
    return text


def _document_blocks(found: dict[str, patientwise.Believed]) -> dict[str, Callable[[], str]]:
    return {
        "asked": partial(_asked, found),
        "accuracy": partial(patientwise.accuracy_table, found),
        "second_teacher": lambda: teachers.comparison(systems_with_weights()),
        "calibration": partial(patientwise.calibration_table, found),
        "sets": partial(patientwise.sets_table, found),
        "selective": partial(patientwise.selective_table, found),
        "overlap": partial(patientwise.overlap_table, found),
        "places": partial(patientwise.places_table, found),
        "refusal": lambda: guards.refusal_table(systems_with_weights()),
        "passed": lambda: guards.passed_table(systems_with_weights()),
        "scores": lambda: guards.scores_table(systems_with_weights()),
        "seen": lambda: guards.seen_table(systems_with_weights()),
        "elsewhere": elsewhere.outcomes_table,
        "elsewhere_together": elsewhere.together_table,
        "elsewhere_refused": lambda: guards.elsewhere_table(systems_with_weights()),
        "explanations": lambda: _compared(localisation.JSON_FILE, localisation.read, localisation_tables.compare),
        "robustness": lambda: _compared(robustness.FILE, robustness.read, robustness.compare),
    }


def _asked(found: dict[str, patientwise.Believed]) -> str:
    return patientwise.coverage_note(found, [name for name in systems_with_weights() if get_spec(name).offered])


def _compared(name: str, read: Callable[[Path], Any], compare: Callable[[list[Any]], str]) -> str:
    paths = [evaluation_folder(system) / name for system in systems_with_weights()]
    measured = [read(path) for path in paths if path.exists()]
    return compare(measured) if measured else "Not measured yet."


def _drawings(found: dict[str, patientwise.Believed]) -> dict[Path, Drawing]:
    """All generated figures: those of the cards and, if there is a README to show them, those of the README."""
    drawings = {}
    compared: dict[str, list[figures.System]] = {}
    for system in systems_with_weights():
        spec, config, folder = get_spec(system), _config(system), evaluation_folder(system)
        for result in _results(system):
            title = f"{spec.title}, {result.protocol}"
            source = title + (folder / f"{result.protocol}.csv").read_text(encoding="utf-8")
            confusion = partial(figures.confusion, result.metrics, title)
            curves = partial(figures.curves, result.predictions, title)
            drawings[folder / f"{result.protocol}_confusion.png"] = Drawing(confusion, source)
            drawings[folder / f"{result.protocol}_curves.png"] = Drawing(curves, source)
            point = figures.System(spec.title, count_parameters(spec), result.metrics, _latencies().get(system))
            compared.setdefault(result.protocol, []).append(point)
        if (folder / HISTORY_FILE).exists():
            drawings[folder / "training_curves.png"] = _training_curves(spec, config, folder / HISTORY_FILE)
    for system, reproduced in _reproductions().items():
        drawings |= _study_drawings(system, reproduced)
    figures_folder = weights_folder().parent / "docs"
    for path, (draw, source) in patientwise.drawings(found, figures_folder).items():
        drawings[path] = Drawing(draw, source)
    if _readme_wants_results():
        folder = figures_folder
        for protocol, systems in compared.items():
            draw = partial(figures.comparison, systems, protocol)
            drawings[folder / f"comparison_{protocol}.png"] = Drawing(draw, repr(systems))
        for dataset in DATA_SETS:
            draw = partial(figures.class_distribution, dataset)
            drawings[folder / f"classes_{dataset.name}.png"] = Drawing(draw, repr(dataset))
    return drawings


def _reproductions() -> dict[str, Reproduction]:
    found = {system: reproduction(system) for system in MODELS}
    return {system: one for system, one in found.items() if one}


def _latencies() -> dict[str, float]:
    """System -> CPU time for a slice, relative to the benchmark's reference, with one thread; empty if not measured."""
    path = weights_folder().parent / "docs" / LATENCY_FILE
    if not path.exists():
        return {}
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
    run = next(run for run in runs if run["threads"] == 1)
    return {name: took["relative"] for name, took in run["systems"].items()}


def _training_curves(spec: ModelSpec, config: dict[str, Any], path: Path) -> Drawing:
    source = path.read_text(encoding="utf-8")
    history = [Epoch(**row) for row in json.loads(source)]
    train, val = (sum(config["data"][part].values()) for part in ("train", "val"))
    title = f"{spec.title}: n = {train:,} training and {val:,} validation images"
    draw = partial(figures.training, history, config["best_epoch"], title)
    return Drawing(draw, source + title + str(config["best_epoch"]))


def _readme() -> Path:
    return weights_folder().parent / "README.md"


def _readme_wants_results() -> bool:
    return _readme().exists() and f"<!-- generated: {RESULTS_BLOCK} -->" in _readme().read_text(encoding="utf-8")


def _results(system: str) -> list[Result]:
    """The system's measured protocols, in the order of PROTOCOLS."""
    config = _config(system)
    paths = [evaluation_folder(system) / f"{protocol}.csv" for protocol in PROTOCOLS]
    return [_result(path, config) for path in paths if path.exists()]


def _result(path: Path, config: dict[str, Any]) -> Result:
    predictions = read_predictions(path)
    metrics = measure(predictions)
    dataset, part = _tested_on(predictions, path)
    counts = {name: c.support for name, c in metrics.classes.items()}
    chose_epoch = dataset is _training_data(config) and counts == config["data"]["val"]
    clean = predictions.only(clean_images())
    return Result(path.stem, predictions, metrics, dataset, part, chose_epoch, measure(clean) if clean.images else None)


def _tested_on(predictions: Predictions, path: Path) -> tuple[DataSet, str]:
    """The data set and the part that the images come from, by the first folder of their paths."""
    part = predictions.images[0].split("/")[0]
    for dataset in DATA_SETS:
        if part in dataset.counts:
            return dataset, part
    raise DataError(f"{path}: {predictions.images[0]} belongs to no data set of training.data.")


def _training_data(config: dict[str, Any]) -> DataSet:
    name = config["data"]["name"]
    for dataset in DATA_SETS:
        if dataset.title == name:
            return dataset
    raise DataError(f"The {CONFIG_FILE} of {config['system']} names {name!r}, no data set of training.data.")


def _data_sets(config: dict[str, Any], results: list[Result]) -> list[DataSet]:
    used = {_training_data(config).name, *(result.dataset.name for result in results)}
    if config["recipe"]["box_weight"] or (evaluation_folder(config["system"]) / f"{PATIENTWISE}.csv").exists():
        used.add(FIGSHARE.name)
    return [dataset for dataset in DATA_SETS if dataset.name in used]


def _config(system: str) -> dict[str, Any]:
    return read_config(weights_folder() / system / CONFIG_FILE)


def _initialisation(config: dict[str, Any]) -> str:
    return INITIALISATIONS.get(config["initialisation"], config["initialisation"])


def _seeds_cost(found: Reproduction) -> str:
    minutes = fmean(config["seconds"] / 60 for config in found.configs)
    return f"{minutes:.1f} min a seed, {'; '.join(dict.fromkeys(map(_hardware, found.configs)))}"


def _hardware(config: dict[str, Any]) -> str:
    return config["hardware"].replace(" 1 threads", " 1 thread")


def _minutes(config: dict[str, Any]) -> str:
    return f"{config['seconds'] / 60:.1f} min"
