"""What is drawn to fit and judge gates: every kind can be drawn, again and anew, and no role borrows from another."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from slices import mri_slice

from brain_tumor.images import MIN_SIDE
from brain_tumor.refusal import plain_reason
from training import negatives
from training.negatives import FILLINGS, KINDS, ROLES, Stock, bundled, draw, photographs

FEW = 12


@pytest.fixture(scope="module")
def stock() -> Stock:
    colours = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Stock([mri_slice(i) for i in range(4)], [Image.fromarray(colours).resize((160, 120))])


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_state_draws_the_same_and_the_next_another(kind, stock):
    rng = np.random.default_rng(0)
    first, second = (KINDS[kind].draw(rng, stock) for _ in range(2))
    again = KINDS[kind].draw(np.random.default_rng(0), stock)
    assert first.mode in ("L", "RGB") and min(first.size) >= MIN_SIDE
    assert first.tobytes() == again.tobytes()
    assert first.size != second.size or first.tobytes() != second.tobytes()


@pytest.mark.parametrize("role", ROLES)
def test_every_role_has_its_own_kinds(role, stock):
    kinds = [name for name, kind in KINDS.items() if kind.role == role]
    assert len(kinds) >= FEW
    assert [name for name, _ in draw(role, 1, stock)] == kinds


@pytest.mark.parametrize("filling", FILLINGS)
def test_things_on_a_dark_ground_are_for_gates_to_refuse(filling, stock):
    """Most have what every slice has, so that plain checks say nothing: only such pictures teach a gate."""
    kind = KINDS[f"thing filled with {filling}"]
    assert kind.role == "fit"
    reasons = [plain_reason(kind.draw(np.random.default_rng(i), stock)) for i in range(12)]
    assert reasons.count(None) >= 6


def test_every_kind_has_one_of_the_roles():
    assert {kind.role for kind in KINDS.values()} == set(ROLES)


def test_photographs_are_divided_among_the_roles():
    contents = {role: {photograph.tobytes() for photograph in photographs(role)} for role in ROLES}
    assert all(contents.values())
    assert not contents["fit"] & contents["choose"] | contents["choose"] & contents["test"]
    assert not contents["fit"] & contents["test"]


def test_scenes_stand_in_where_no_package_has_photographs(monkeypatch):
    monkeypatch.setattr(negatives, "_PHOTOGRAPHS", ())
    assert photographs("fit")[0].size == photographs("test")[0].size
    assert photographs("fit")[0].tobytes() != photographs("test")[0].tobytes()


def test_bundled_pictures_are_none_that_gates_are_fitted_to():
    names = {name for name, _ in bundled()}
    fitted = {f"{package}/{path}" for package, path, role in negatives._PHOTOGRAPHS if role != "test"}
    assert names and not names & fitted
