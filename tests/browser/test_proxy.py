"""Behind nginx, set up as the guide says: under a path, over TLS, with a login."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from conftest import ROOT, free_port, served
from gradio_client import Client, handle_file
from playwright.sync_api import Browser, expect
from slices import mri_slice

from brain_tumor import classify
from brain_tumor.ui.login import LOGIN

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
OPENSSL = shutil.which("openssl")
GUIDE = (ROOT / "docs" / "deploy.md").read_text()
PATH = re.search(r"GRADIO_ROOT_PATH: (\S+)", GUIDE)[1]
# A colon in a password is allowed.
USER, PASSWORD = "ward", "a:long one"
START_SECONDS = 20

pytestmark = pytest.mark.skipif(not (NGINX and OPENSSL), reason="nginx and openssl are not installed")


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the page as nginx serves it."""
    folder = tmp_path_factory.mktemp("proxied")
    with served(folder, GRADIO_ROOT_PATH=PATH, **{LOGIN: f"{USER}:{PASSWORD}"}) as url:
        port = free_port()
        nginx = subprocess.Popen([NGINX, "-c", str(_settings(folder, urlsplit(url).netloc, port)), "-p", str(folder)])
        try:
            deadline = time.monotonic() + START_SECONDS
            while True:
                assert nginx.poll() is None, f"nginx does not take the guide's settings:\n{_log(folder)}"
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline, _log(folder)
                    time.sleep(0.1)
            yield f"https://127.0.0.1:{port}{PATH}"
        finally:
            nginx.terminate()
            nginx.wait(timeout=30)


def _settings(folder: Path, page: str, port: int) -> Path:
    """The guide's own, with the addresses and files of this machine in the place of the guide's."""
    certificate = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run([OPENSSL, *certificate.split()], cwd=folder, check=True, capture_output=True)
    site = re.search(r"```nginx\n(.+?)```", GUIDE, re.S)[1]
    for guides, ours in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/nginx/tls", str(folder)),
        ("http://page:7860", f"http://{page}"),
    ):
        assert guides in site
        site = site.replace(guides, ours)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = folder / "nginx.conf"
    path.write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {temporary}\n{site}\n}}\n"
    )
    return path


def _log(folder: Path) -> str:
    path = folder / "error.log"
    return path.read_text() if path.exists() else "It logged nothing."


def test_page_behind_nginx_asks_who_is_there_and_answers_under_its_path(proxied: str, browser: Browser, tmp_path):
    path = tmp_path / "slice.png"
    mri_slice(0).save(path)
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1366, "height": 768})
    tab = context.new_page()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    # As people type it, without the slash at its end.
    tab.goto(proxied)
    tab.get_by_label("username", exact=False).fill(USER)
    tab.get_by_label("password", exact=False).fill(PASSWORD)
    tab.get_by_role("button", name="Login").click()
    tab.locator("html[data-listens]").wait_for(state="attached")
    tab.set_input_files("#slice-upload input[type=file]", path)
    expect(tab.locator("#answer .banner .name")).to_have_text(path.name)
    expect(tab.locator("#answer .card[data-model]")).not_to_have_count(0)
    context.close()
    own = [url for url in asked if not url.startswith(("data:", "blob:"))]
    assert own and not [url for url in own if not url.startswith(proxied)]


def test_programs_reach_the_page_behind_nginx(proxied: str, tmp_path):
    path = tmp_path / "slice.png"
    mri_slice(0).save(path)
    client = Client(f"{proxied}/", auth=(USER, PASSWORD), ssl_verify=False, verbose=False)
    result = client.predict(image=handle_file(path), api_name="/classify")
    assert [answer["model"] for answer in result["answers"]] == [prediction.model for prediction in classify(path)]
    with pytest.raises(Exception, match=r"(?i)credentials|login|401|auth"):
        Client(f"{proxied}/", ssl_verify=False, verbose=False)
