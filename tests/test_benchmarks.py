"""What the benchmarks write down is complete, and says on what it was measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from toy_data import write_kaggle

from benchmarks import throughput
from benchmarks.latency import REFERENCE, latencies, usable_cores
from brain_tumor.registry import MODELS
from training.engine import automatic_precision
from training.export import hardware
from training.recipes import RECIPES

COMMITTED = Path(__file__).resolve().parent.parent / "docs" / "latency.json"


@pytest.fixture
def accelerate_anew() -> Iterator[None]:
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_training_is_timed_three_ways(tmp_path, monkeypatch, capsys, accelerate_anew):
    monkeypatch.setitem(RECIPES, throughput.STUDY_A, replace(RECIPES[throughput.STUDY_A], batch_size=4))
    write_kaggle(tmp_path)
    throughput.main(["--data", str(tmp_path), "--images", "8", "--seconds", "0.1"])
    device, *rates = capsys.readouterr().out.splitlines()
    assert hardware(automatic_precision()) in device
    assert [line[:14].strip() for line in rates] == ["this project", "synthetic", "study A"]


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
