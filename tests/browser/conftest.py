"""A real Chromium in front of the real app; nothing it asks for may lie outside this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMIUM_ARGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
START_SECONDS = 120
WAIT_SECONDS = 60
# What gradio's client says of requests that end because the page is left.
LEAVING = ("AbortError: signal is aborted without reason", "Unexpected error Connection errored out.")

# Parts of the page: a slow machine needs its time, a wait ends as soon as what it waits for is there.
sync_api.expect.set_options(timeout=1000 * WAIT_SECONDS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser, a server and the networks on two cores now and then lose a race; a fault loses it every time."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture(scope="session")
def app_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of `python app.py`, which must not have logged an error when all is over."""
    with served(tmp_path_factory.mktemp("app")) as url:
        yield url


@contextmanager
def served(folder: Path, **settings: str) -> Iterator[str]:
    """Run `python app.py` with these environment variables, its files in `folder`; gives its own address."""
    port = free_port()
    environment = os.environ | {
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
        "PYTHONUNBUFFERED": "1",
        **settings,
    }
    url, log = f"http://127.0.0.1:{port}", folder / "app.log"
    with log.open("w") as output:
        app = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=output, stderr=output)
        try:
            _wait_until_served(url, app, log)
            yield url
        finally:
            app.terminate()
            app.wait(timeout=30)
    assert "Traceback" not in log.read_text(), log.read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_served(url: str, app: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if app.poll() is not None:
            pytest.fail(f"app.py ended with status {app.returncode}:\n{log.read_text()}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"app.py served nothing within {START_SECONDS} s:\n{log.read_text()}")


@pytest.fixture(scope="session")
def browser() -> Iterator[sync_api.Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_ARGS))
        yield browser
        browser.close()


@pytest.fixture
def tab(browser: sync_api.Browser) -> Iterator[sync_api.Page]:
    """A fresh tab without history; fails the test on a request to another host and on any error in the console."""
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    foreign: list[str] = []
    errors: list[str] = []

    def guard(route: sync_api.Route) -> None:
        if urlsplit(route.request.url).hostname in ("127.0.0.1", "localhost"):
            route.continue_()
        else:
            foreign.append(route.request.url)
            route.abort()

    context.route("**/*", guard)
    tab = context.new_page()
    tab.set_default_timeout(1000 * WAIT_SECONDS)
    tab.on(
        "console",
        lambda message: (
            errors.append(message.text) if message.type == "error" and not message.text.startswith(LEAVING) else None
        ),
    )
    tab.on("pageerror", lambda error: errors.append(str(error)))
    yield tab
    context.close()
    assert not foreign, f"The page asked other hosts: {foreign}"
    assert not errors, f"Errors in the console: {errors}"


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Folder in which pictures of the page are left for people to look at."""
    folder = Path(os.environ.get("BRAIN_TUMOR_SCREENSHOTS") or ROOT / "build" / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
