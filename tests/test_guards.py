"""What is said of refusals counts kinds of pictures, not pictures that are alike."""

from __future__ import annotations

import re

from training.guards import _share_of_kinds


def limits(text: str) -> tuple[float, float]:
    low, high = re.search(r"\(([\d.]+)–([\d.]+)\)", text).groups()
    return float(low), float(high)


def test_pictures_of_one_kind_are_one_piece_of_evidence():
    in_one_kind = _share_of_kinds([(25, 25)] * 30 + [(25, 5)])
    in_all_kinds = _share_of_kinds([(25, 24)] * 20 + [(25, 25)] * 11)
    assert in_one_kind.startswith("97.42 % (")
    assert in_all_kinds.startswith("97.42 % (")
    assert limits(in_one_kind)[0] < limits(in_all_kinds)[0] - 1
    assert limits(in_one_kind)[1] == 100
