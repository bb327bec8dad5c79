"""Markdown of what was measured of the two guards: refusal, and the index of training images."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from brain_tumor.registry import get_spec
from training.evaluation import CHOSEN_MARK, DASH, evaluation_folder, percent, table, wilson

REFUSAL_FILE, SEEN_FILE = "refusal.json", "seen.json"


def refusal_tables(systems: Iterable[str]) -> str:
    """Per system: slices that were refused though they are slices, and pictures that were not though they are none."""
    measured = _measured(systems, REFUSAL_FILE)
    return "\n\n".join([*(_refusal(*one) for one in measured), *_together(measured)]) or _NOTHING


def seen_table(systems: Iterable[str]) -> str:
    """How many copies of training images are found, and how many other slices are taken for one, by data set."""
    rows = []
    for system, content in _measured(systems, SEEN_FILE):
        alarms = {rate["images"]: rate for rate in content["false_alarms"]}
        for copies in content["copies"]:
            name = copies["images"]
            others = _share(alarms[name]) if name in alarms else DASH
            mark = f" {CHOSEN_MARK}" if name in content["chosen_on"] else ""
            rows.append([get_spec(system).title, name, _share(copies), others + mark])
    if not rows:
        return _NOTHING
    header = ["system", "images", "copies of training images found", "others taken for one"]
    first = next(iter(dict(_measured(systems, SEEN_FILE)).values()))
    worst = [
        f"{rate['images']} {100 * rate['found'] / rate['n']:.0f} %"
        for rate in first["training_images_disturbed"]
        if rate["found"] < 0.95 * rate["n"]
    ]
    return (
        f"{table(header, rows)}\n\n"
        f"{DASH}: there are no others. {CHOSEN_MARK}: the threshold was chosen on these others.\n\n"
        f"Training images that are changed more are found less often: {', '.join(worst)}.\n\n"
        f"From its code, {percent(first['picture_variance_explained_by_codes'])} of the variance of a picture of "
        "32 x 32 pixels can be told by a linear decoder."
    )


_NOTHING = "Not measured yet."


def _measured(systems: Iterable[str], name: str) -> list[tuple[str, dict[str, Any]]]:
    paths = {system: evaluation_folder(system) / name for system in systems}
    return [(system, _read(path)) for system, path in paths.items() if path.exists()]


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _refusal(system: str, content: dict[str, Any]) -> str:
    used, unknown = content["in_use"], content["fitted_to_kinds_of_role_fit"]["negatives"]["test"]
    rows = [[f"{name}: slices", _share(rate, "refused")] for name, rate in used["slices"].items()]
    rows += [[f"slices {name}", _share(rate, "refused")] for name, rate in used["slices_as_brought"].items()]
    rows += [
        ["pictures of kinds that it was not fitted to", _share(unknown, "refused")],
        ["real pictures that came with software packages", _share(used["bundled"], "refused")],
    ]
    return f"### {get_spec(system).title}\n\n{table(['shown', 'refused'], rows)}\n\n{_other_gate(content)}"


def _other_gate(content: dict[str, Any]) -> str:
    slices = content["fitted_to_kinds_of_role_fit"]["slices"]["kaggle"]
    return (
        "Kinds that it was not fitted to were shown to a gate made in the same way from fewer kinds of pictures, which "
        f"refuses {_share(slices, 'refused')}, of Kaggle's slices."
    )


def _together(measured: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """What several systems refuse together, a paragraph; nothing for fewer than two."""
    measured = [(system, content["fitted_to_kinds_of_role_fit"]) for system, content in measured]
    measured = [(system, judged) for system, judged in measured if "passed" in judged]
    if len(measured) < 2:
        return []
    judged = [content for _, content in measured]
    n = judged[0]["negatives"]["test"]["n"]
    passed = len(set.intersection(*(set(one["passed"]) for one in judged)))
    titles = ", ".join(get_spec(system).title for system, _ in measured)
    return [
        f"At least one of the {len(judged)} systems ({titles}) refuses "
        f"{_share({'n': n, 'found': n - passed})}, of the pictures of kinds that none was fitted to: for these the "
        "consensus names no class."
    ]


def _share(rate: dict[str, Any], counted: str = "found") -> str:
    n, found = rate["n"], rate[counted]
    return f"{percent(found / n, wilson(found, n))}, n = {n:,}"
