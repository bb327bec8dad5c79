"""What the benchmarks write down is complete, and says on what it was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.latency import REFERENCE, latencies, usable_cores
from brain_tumor.registry import MODELS

COMMITTED = Path(__file__).resolve().parent.parent / "docs" / "latency.json"


@pytest.fixture(scope="module")
def measured() -> dict:
    """One round, which leaves threads and random numbers as they were."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    result = latencies(rounds=1, warm_up=0)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    return result


def test_every_system_is_timed_with_one_thread_and_with_all(measured):
    assert [run["threads"] for run in measured["runs"]] == sorted({1, usable_cores()})
    for run in measured["runs"]:
        assert list(run["systems"]) == [REFERENCE, *MODELS]
        assert run["systems"][REFERENCE]["relative"] == 1
        assert all(took["milliseconds"] > 0 and took["relative"] > 0 for took in run["systems"].values())
    assert measured["machine"]["cpu"]
    assert measured["machine"]["libraries"]["torch"] == torch.__version__.split("+")[0]


def test_committed_latencies_cover_the_registry(measured):
    committed = json.loads(COMMITTED.read_text())
    assert committed.keys() == measured.keys()
    assert committed["rounds"] >= 30
    (one, *_) = committed["runs"]
    assert one["threads"] == 1
    assert set(one["systems"]) == {REFERENCE, *MODELS}, "Run `python -m benchmarks.latency --write`."
