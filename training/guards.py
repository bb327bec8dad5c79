"""Markdown of what was measured of the two guards: refusal, and the index of training images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from brain_tumor.registry import get_spec
from training.estimates import estimates
from training.evaluation import DASH, evaluation_folder, percent, table, wilson

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
            rows.append([get_spec(system).title, name, _share(copies), others])
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
        f"{DASH}: there are no others. The threshold in use is chosen on {first['chosen_on']} slices that are no "
        "copies; each of the others is judged here by one that was chosen without it and its fold.\n\n"
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
    used, unknown = content["in_use"], content["fitted_to_kinds_of_role_fit"]["kinds"]["test"].values()
    rows = [[f"{name}: slices", _share(rate, "refused")] for name, rate in used["slices"].items()]
    rows += [[f"slices {name}", _share(rate, "refused")] for name, rate in used["slices_as_brought"].items()]
    rows += [
        [
            f"pictures of {len(unknown)} kinds that it was not fitted to",
            _share_of_kinds([(kind["n"], kind["refused"]) for kind in unknown]),
        ],
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
    kinds = [kind["n"] for kind in judged[0]["kinds"]["test"].values()]
    passed = set.intersection(*(set(one["passed"]) for one in judged))
    # Pictures are numbered kind after kind.
    ends = [*accumulate(kinds)]
    refused = [n - sum(end - n <= i < end for i in passed) for n, end in zip(kinds, ends, strict=True)]
    titles = ", ".join(get_spec(system).title for system, _ in measured)
    return [
        f"At least one of the {len(judged)} systems ({titles}) refuses "
        f"{_share_of_kinds([*zip(kinds, refused, strict=True)])}, of the pictures of kinds that none was fitted to: "
        "for these the consensus names no class. Intervals for such pictures are over kinds, not over pictures."
    ]


def _share_of_kinds(counts: Sequence[tuple[int, int]]) -> str:
    """Of (n, refused) per kind, the share refused with a bootstrap interval over kinds: pictures of one are alike."""
    refused = np.concatenate([np.arange(n) < found for n, found in counts])
    (share,) = estimates(refused[:, None], np.repeat(np.arange(len(counts)), [n for n, _ in counts]))
    return f"{percent(share.mean, share.interval)}, n = {len(refused):,}"


def _share(rate: dict[str, Any], counted: str = "found") -> str:
    n, found = rate["n"], rate[counted]
    return f"{percent(found / n, wilson(found, n))}, n = {n:,}"
