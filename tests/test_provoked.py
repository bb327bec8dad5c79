"""Failures on synthetic slices: they fail still, and are no refusals."""

from __future__ import annotations

import pytest

from brain_tumor.provoked import PROVOKED, provoke


@pytest.mark.parametrize("one", PROVOKED, ids=lambda one: f"{one.example}, {one.disturbance}")
def test_what_is_shown_as_a_failure_is_one_and_no_model_refuses_it(one):
    examination, mistake = provoke(one)
    assert mistake.wrong
    models = [said.model for said in mistake.said]
    assert all(e.prediction.refusal_reason is None for e in examination.answers(models))
