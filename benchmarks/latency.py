"""How long does a slice take on this CPU? Every system beside torchvision's ResNet-18, in one run.

    python -m benchmarks.latency [--rounds 60] [--write]

A slice of 512 px, already decoded, is preprocessed and classified, a batch of one in float32, as the page does it; the
weights are random, for what they are takes no part in how long it takes. The systems take turns, as when the page asks
several of them, so that whatever else the machine is doing hits all alike. What counts is the ratio to the reference,
torchvision's own ResNet-18 at 224 px in the same turn: the median over the rounds after a warm-up.

With one thread, time is the thread's own CPU time, which other programs on the machine lengthen little. With all
threads it is the clock on the wall, so nothing else should run meanwhile.

--write puts the result into docs/latency.json, which `python -m training tables` draws.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.models import resnet18

from brain_tumor.preprocessing import IMAGENET, Preprocessing, preprocess
from brain_tumor.registry import MODELS

FILE = Path(__file__).resolve().parent.parent / "docs" / "latency.json"
REFERENCE = "torchvision resnet18, 224 px"
SLICE_SIZE = 512
WARM_UP = 5
LIBRARIES = ("torch", "torchvision", "numpy", "pillow")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60, help="slices per system and number of threads (default: 60)")
    parser.add_argument("--write", action="store_true", help=f"write {FILE.parent.name}/{FILE.name}")
    arguments = parser.parse_args()

    result = latencies(arguments.rounds)
    machine = result["machine"]
    print(f"{machine['cpu']}, {machine['usable_cores']} of {machine['cores']} cores; reference: {REFERENCE}")
    if machine["usable_cores"] == 1:
        print("This process may run on one core, so there is no figure for several threads.")
    for run in result["runs"]:
        print(f"\n{run['threads']} thread{'s' if run['threads'] > 1 else ''}, milliseconds of {run['clock']} time")
        for name, took in run["systems"].items():
            print(f"{name:<22} {took['milliseconds']:9.2f} ms   {took['relative']:6.3f} of the reference")
    if arguments.write:
        FILE.write_text(json.dumps(result, indent=1) + "\n")
        print(f"\n{FILE}")


def latencies(rounds: int, warm_up: int = WARM_UP) -> dict[str, Any]:
    """What docs/latency.json holds: the machine, and a run with one thread and with one per core, where there are more.

    A run has, for the reference and every system, the median milliseconds of a slice, and the median of its ratios to
    the reference of the same round.
    """
    cores = usable_cores()
    return {
        "command": "python -m benchmarks.latency --write",
        "machine": {
            "cpu": cpu_name(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "cores": os.cpu_count(),
            "usable_cores": cores,
            "libraries": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        },
        "reference": REFERENCE,
        "rounds": rounds,
        "runs": [_run(threads, rounds, warm_up) for threads in sorted({1, cores})],
    }


def usable_cores() -> int:
    """Cores that this process may run on; `taskset` and containers leave it fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """The processor as it calls itself."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _run(threads: int, rounds: int, warm_up: int) -> dict[str, Any]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        seconds = _seconds(rounds, warm_up, time.thread_time if threads == 1 else time.perf_counter)
    finally:
        torch.set_num_threads(before)
    reference = seconds[REFERENCE]
    return {
        "threads": threads,
        "clock": "CPU" if threads == 1 else "wall",
        "systems": {
            name: {
                "milliseconds": round(1000 * median(took), 3),
                "relative": round(median(t / r for t, r in zip(took, reference, strict=True)), 4),
            }
            for name, took in seconds.items()
        },
    }


def _seconds(rounds: int, warm_up: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of every round, by name."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ways = {REFERENCE: (resnet18(), IMAGENET)}
        ways |= {name: (spec.build(), spec.preprocessing) for name, spec in MODELS.items()}
    classify = {name: _classifier(network, preprocessing) for name, (network, preprocessing) in ways.items()}
    noise = np.random.default_rng(0).integers(0, 256, (SLICE_SIZE, SLICE_SIZE), dtype=np.uint8)
    slice_ = Image.fromarray(noise).convert("RGB")
    seconds: dict[str, list[float]] = {name: [] for name in classify}
    for number in range(warm_up + rounds):
        for name, once in classify.items():
            started = clock()
            once(slice_)
            if number >= warm_up:
                seconds[name].append(clock() - started)
    return seconds


def _classifier(network: nn.Module, preprocessing: Preprocessing) -> Callable[[Image.Image], None]:
    network = network.to(memory_format=torch.channels_last).eval()

    def once(slice_: Image.Image) -> None:
        with torch.no_grad():
            network(preprocess([slice_], preprocessing).contiguous(memory_format=torch.channels_last))

    return once


if __name__ == "__main__":
    main()
