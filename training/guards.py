"""Markdown of what was measured of the two guards: refusal, and the index of training images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from brain_tumor.refusal import refused_together
from brain_tumor.registry import get_spec
from training import elsewhere
from training.estimates import estimates
from training.evaluation import DASH, evaluation_folder, percent, table, wilson

REFUSAL_FILE, SEEN_FILE = "refusal.json", "seen.json"
OTHER_SCANS = "elsewhere_fitted_to_the_other_scans"


def refusal_table(systems: Iterable[str]) -> str:
    """What each system refuses of slices and of what is none, and what they refuse together."""
    measured = _measured(systems, REFUSAL_FILE)
    if not measured:
        return _NOTHING
    shares = [_essential(content) for _, content in measured]
    everything = dict.fromkeys(shown for one in shares for shown in one)
    rows = [[shown, *(one.get(shown, DASH) for one in shares)] for shown in everything]
    header = ["refused (95 % interval), of", *(get_spec(system).title for system, _ in measured)]
    gates = [
        f"{_share(_other_gate(content)['slices']['kaggle'], 'refused')}, for {get_spec(system).title}"
        for system, content in measured
    ]
    return "\n\n".join(
        [
            table(header, rows),
            "Pictures of kinds that a gate was not fitted to, the interval over these kinds, were shown to a gate made "
            f"in the same way from fewer kinds; of Kaggle's slices it refuses {'; '.join(gates)}.",
            *_together(measured),
        ]
    )


def passed_table(systems: Iterable[str]) -> str:
    """Of each kind of picture that gates were not fitted to, how many pass for a slice; kinds of which none does are
    left out."""
    measured = _measured(systems, REFUSAL_FILE)
    if not measured:
        return _NOTHING
    kinds = [_other_gate(content)["kinds"]["test"] for _, content in measured]
    passed = {name: [one[name]["n"] - one[name]["refused"] for one in kinds] for name in kinds[0]}
    some = sorted((name for name in passed if any(passed[name])), key=lambda name: -sum(passed[name]))
    rows = [[name, str(kinds[0][name]["n"]), *map(str, passed[name])] for name in some]
    header = ["what passes for a slice", "shown", *(get_spec(system).title for system, _ in measured)]
    return f"{table(header, rows)}\n\nKinds of which no picture passes: {len(passed) - len(some)}."


def scores_table(systems: Iterable[str]) -> str:
    """What each score that a gate could go by refuses of pictures of kinds that it was not fitted to, by itself."""
    measured = _measured(systems, REFUSAL_FILE)
    if not measured:
        return _NOTHING
    names = list(measured[0][1]["other_scores"])
    rows = [
        [name, *(percent(content["other_scores"][name]["test kinds"]) for _, content in measured)] for name in names
    ]
    return table(["score, without the plain checks", *(get_spec(system).title for system, _ in measured)], rows)


def elsewhere_table(systems: Iterable[str]) -> str:
    """Of each scan from elsewhere, the share of pictures refused by a gate that was fitted to the others."""
    measured = [(system, content) for system, content in _measured(systems, REFUSAL_FILE) if OTHER_SCANS in content]
    if not measured:
        return _NOTHING
    shares = [content[OTHER_SCANS] for _, content in measured]
    titles = {scan.name: scan.title for scan in elsewhere.SCANS}
    rows = [
        [
            f"{titles[name]} ({name})",
            str(rate["n"]),
            *(percent(one[name]["refused"] / one[name]["n"]) for one in shares),
        ]
        for name, rate in shares[0].items()
    ]
    return table(["scan", "pictures", *(get_spec(system).title for system, _ in measured)], rows)


def refusal_card(system: str) -> str:
    """All that was measured of one system's refusals; nothing where nothing was."""
    return "".join(
        f"{_refusal(content)}\n\nPictures of kinds that the gate was not fitted to, the interval over these kinds, "
        "were shown to a gate made in the same way from fewer kinds, which refuses "
        f"{_share(_other_gate(content)['slices']['kaggle'], 'refused')}, of Kaggle's slices."
        f"\n\n{passed_table([system])}"
        for _, content in _measured([system], REFUSAL_FILE)
    )


def seen_table(systems: Iterable[str]) -> str:
    """How many copies of training images are found, and how many other slices are taken for one, by data set."""
    measured = _measured(systems, SEEN_FILE)
    if not measured:
        return _NOTHING
    # Systems that were trained on the same images have the same index.
    alike: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for system, content in measured:
        alarms = {rate["images"]: _share(rate) for rate in content["false_alarms"]}
        shares = [
            (copies["images"], _share(copies), alarms.get(copies["images"], DASH)) for copies in content["copies"]
        ]
        alike.setdefault(tuple(shares), []).append(get_spec(system).title)
    rows = [[", ".join(titles), *share] for shares, titles in alike.items() for share in shares]
    header = ["index of", "images", "copies of training images found", "others taken for one"]
    _, first = measured[0]
    worst = [
        f"{rate['images']}: {100 * rate['found'] / rate['n']:.0f} %"
        for rate in first["training_images_disturbed"]
        if rate["found"] < 0.95 * rate["n"]
    ]
    return (
        f"{table(header, rows)}\n\n"
        f"{DASH}: there are no others. The threshold in use is chosen on {first['chosen_on']} slices that are no "
        "copies; each of the others is judged here by one that was chosen without it and its fold.\n\n"
        f"Training images that are changed more are found less often: {'; '.join(worst)}.\n\n"
        f"From its code, {percent(first['picture_variance_explained_by_codes'])} of the variance of a picture of "
        "32 x 32 pixels can be told by a linear decoder."
    )


_NOTHING = "Not measured yet."


def _measured(systems: Iterable[str], name: str) -> list[tuple[str, dict[str, Any]]]:
    paths = {system: evaluation_folder(system) / name for system in systems}
    return [(system, _read(path)) for system, path in paths.items() if path.exists()]


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _other_gate(content: dict[str, Any]) -> dict[str, Any]:
    """What was measured of the gate that was fitted without the kinds that it is tested on."""
    return content["fitted_to_kinds_of_role_fit"]


def _essential(content: dict[str, Any]) -> dict[str, str]:
    """What was shown -> share refused, of what decides whether the gate is of use."""
    used, unknown = content["in_use"], [*_other_gate(content)["kinds"]["test"].values()]
    shares = dict(_refused(f"{name}: slices", rate) for name, rate in used["slices"].items())
    shown = f"pictures of {len(unknown)} kinds that it was not fitted to, n = {sum(kind['n'] for kind in unknown):,}"
    shares[shown] = _share_of_kinds([(kind["n"], kind["refused"]) for kind in unknown])
    bundled = used["bundled"]
    shown = f"logos, plots and photographs that came with packages ({bundled['plain']} refused by the plain checks)"
    return shares | dict([_refused(shown, bundled)])


def _refused(shown: str, rate: dict[str, Any]) -> tuple[str, str]:
    n, refused = rate["n"], rate["refused"]
    return f"{shown}, n = {n:,}", percent(refused / n, wilson(refused, n))


def _refusal(content: dict[str, Any]) -> str:
    changed = dict(_refused(f"slices {name}", rate) for name, rate in content["in_use"]["slices_as_brought"].items())
    rows = [[shown, share] for shown, share in (_essential(content) | changed).items()]
    return table(["shown", "refused (95 % interval)"], rows)


def _together(measured: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """What several systems refuse together, a paragraph; nothing for fewer than two."""
    if len(measured) < 2:
        return []
    judged = [_other_gate(content) for _, content in measured]
    kinds = [kind["n"] for kind in judged[0]["kinds"]["test"].values()]
    together, any_of_them = _refused_by([one["strangeness"] for one in judged])
    titles = ", ".join(get_spec(system).title for system, _ in measured)
    used = [content["in_use"] for _, content in measured]
    falsely = {name: _refused_by([one["strangeness"][name] for one in used]) for name in used[0]["slices"]}

    def of_slices(which: int) -> str:
        counts = {name: {"n": len(found[which]), "refused": int(found[which].sum())} for name, found in falsely.items()}
        return "; ".join(f"{_share(rate, 'refused')}, of {name}" for name, rate in counts.items())

    return [
        f"**Together** the {len(judged)} systems ({titles}) refuse {_share_of_kinds(_by_kind(kinds, together))}, "
        f"n = {sum(kinds):,}, of the pictures of kinds that none was fitted to, and of slices {of_slices(0)}. Where "
        f"only some refuse, the consensus is uncertain: at least one of them refuses "
        f"{_share_of_kinds(_by_kind(kinds, any_of_them))} of these pictures, and of slices {of_slices(1)}."
    ]


def _refused_by(strangeness: Sequence[Sequence[float | None]]) -> tuple[np.ndarray, np.ndarray]:
    """Of each system and picture, how little it looks like a slice (None: refused for a plain reason, by all) -> which
    pictures they refuse together, and which at least one of them refuses, bool (N,)."""
    values = np.array([[np.inf if one is None else one for one in pictures] for pictures in strangeness])
    return refused_together(values), (values > 0).any(axis=0)


def _by_kind(kinds: Sequence[int], refused: np.ndarray) -> list[tuple[int, int]]:
    """(n, refused) per kind; pictures are numbered kind after kind."""
    return [(n, int(refused[end - n : end].sum())) for n, end in zip(kinds, accumulate(kinds), strict=True)]


def _share_of_kinds(counts: Sequence[tuple[int, int]]) -> str:
    """Of (n, refused) per kind, the share refused with a bootstrap interval over kinds: pictures of one are alike."""
    refused = np.concatenate([np.arange(n) < found for n, found in counts])
    (share,) = estimates(refused[:, None], np.repeat(np.arange(len(counts)), [n for n, _ in counts]))
    return percent(share.mean, share.interval)


def _share(rate: dict[str, Any], counted: str = "found") -> str:
    n, found = rate["n"], rate[counted]
    return f"{percent(found / n, wilson(found, n))}, n = {n:,}"
