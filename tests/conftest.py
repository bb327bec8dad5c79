"""How the tests share a machine when they run side by side (`-n 2`)."""

from __future__ import annotations

import os

import pytest
from xdist.scheduler import LoadScopeScheduling

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if WORKERS > 1:
    # Read when torch is first imported, and by what the tests start: two processes that both take every core are slower
    # than two with half of them.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // WORKERS)))


class _ByFile(LoadScopeScheduling):
    """A file's tests stay together, as its fixtures are made once; so do all that want the one server and browser."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "browser" if "/browser/" in file else file


def pytest_xdist_make_scheduler(config: pytest.Config, log) -> _ByFile:
    return _ByFile(config, log)
