"""Checkpoints go to the Hub and come back on another machine, whatever happens to the connection."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from subprocess import DEVNULL, PIPE
from tempfile import TemporaryDirectory

import pytest
from hub_client import LOADED
from hub_server import OWNER, TOKEN, Hub, Repository
from slices import mri_slice
from test_checkpoints import half, install

from brain_tumor.checkpoints import MODEL_FILE, hub_repo
from brain_tumor.images import read_image
from brain_tumor.inference import load_model
from brain_tumor.pooling import POOLS_FILE
from training.__main__ import main
from training.publish import ROOT, SPACE_FILES, PublishError, space_upload

PREFIX = f"{OWNER}/brain-tumor"
SMALL, LARGE = "cnn_v1", "cnn_v4"  # the large one is more than huggingface_hub reads at once (10 MB)
NOWHERE = "http://127.0.0.1:9"  # discard: nothing listens there


def environment(folder: Path, endpoint: str, **settings: str) -> dict[str, str]:
    """That of a computer of its own, as far as weights, the Hub's cache and its settings go."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "BRAIN_TUMOR_"))}
    own = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "huggingface"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "BRAIN_TUMOR_WEIGHTS": str(folder / "weights"),
        "PYTHONPATH": str(ROOT),
    }
    return inherited | own | settings


def run(folder: Path, endpoint: str, *arguments: object, **settings: str) -> subprocess.CompletedProcess:
    """`python -m *arguments` on the computer whose files are in that folder."""
    command = [sys.executable, "-m", *map(str, arguments)]
    settings = environment(folder, endpoint, **settings)
    return subprocess.run(command, env=settings, cwd=folder, capture_output=True, text=True, timeout=300)


class Client:
    """tests/hub_client.py, running, and the Hub that it talks to."""

    def __init__(self, folder: Path, hub: Hub):
        self.folder, self.hub = folder, hub
        command = [sys.executable, str(Path(__file__).with_name("hub_client.py"))]
        settings = environment(folder, hub.url)
        self.process = subprocess.Popen(command, env=settings, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True)

    def __call__(self, *request: str):
        """Let it call one of its functions; returns the answer."""
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def publish(self, prefix: str, content: bytes, system: str = SMALL, **config) -> None:
        """Put a checkpoint on the Hub, newer than what is there."""
        with TemporaryDirectory() as folder:
            install(Path(folder), content, system, **config)
            files = {path.name: path.read_bytes() for path in (Path(folder) / system).iterdir()}
        self.repository(prefix).commit(files)

    def repository(self, prefix: str) -> Repository:
        return self.hub.repositories.setdefault(("model", hub_repo(SMALL, prefix)), Repository({}))

    def downloads(self, prefix: str) -> int:
        """How often the weights that a repository has now were downloaded, or begun to be."""
        oid = hashlib.sha256(self.hub.files("model", hub_repo(SMALL, prefix))[MODEL_FILE]).hexdigest()
        return sum(oid in request for request in self.hub.requests)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with Hub() as hub:
        client = Client(tmp_path_factory.mktemp("client"), hub)
        yield client
        client.process.kill()
        client.process.communicate()


def test_published_checkpoint_answers_on_another_machine_and_offline(client, tmp_path, monkeypatch):
    here, there, picture = tmp_path / "here", tmp_path / "there", tmp_path / "slice.png"
    there.mkdir()
    content = half(LARGE)
    folder = install(here, content, LARGE)
    (folder / "evaluation").mkdir()
    (folder / "evaluation" / "published.json").write_text('{"accuracy": 0.5}')
    (folder / ".DS_Store").write_text("left behind")
    mri_slice().save(picture)
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(here))
    expected = load_model(LARGE).classify(read_image(picture)).to_json()["probabilities"]
    classify = ("brain_tumor", "classify", picture, "--model", LARGE, "--json")

    printed = client("publish_models", PREFIX, TOKEN, str(here))
    hub = client.hub
    assert f"{hub.url}/{PREFIX}-{LARGE}" in printed
    files = hub.files("model", f"{PREFIX}-{LARGE}")
    assert set(files) == {".gitattributes", "config.json", MODEL_FILE, "evaluation/published.json"}
    assert files[MODEL_FILE] == content
    assert len(hub.repositories["model", f"{PREFIX}-{LARGE}"].commits) == 2  # the Hub's own and one more

    hub.cut_after = [12_000_000]
    fetched = run(there, hub.url, *classify, BRAIN_TUMOR_HUB_REPO=PREFIX)
    assert fetched.returncode == 0, fetched.stderr
    assert json.loads(fetched.stdout)["probabilities"] == expected
    assert "%" in fetched.stderr  # of a progress bar
    downloads = [request for request in hub.requests if "/cdn/" in request]
    assert len(downloads) == 2
    assert "bytes=10485760-" in downloads[1]

    offline = run(there, NOWHERE, *classify, BRAIN_TUMOR_HUB_REPO=PREFIX)
    assert offline.returncode == 0, offline.stderr
    assert json.loads(offline.stdout)["probabilities"] == expected


def test_no_network_is_named_with_what_to_do(tmp_path):
    done = run(tmp_path, NOWHERE, "brain_tumor", "classify", "a.png", "--model", SMALL, BRAIN_TUMOR_HUB_REPO=PREFIX)
    assert done.returncode == 2
    for part in (f"{PREFIX}-{SMALL} on the Hugging Face Hub", "onnect", "try again when", f"train {SMALL}"):
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_damaged_download_is_refused_named_and_fetched_anew(client):
    prefix = f"{OWNER}/damaged"
    client.publish(prefix, half(SMALL))
    client.hub.damaged = 1
    refused = client("load", prefix, SMALL)
    for part in (MODEL_FILE, "sha256", "removed from its cache", "try again"):
        assert part in refused
    assert [client("load", prefix, SMALL) for _ in range(2)] == [LOADED, LOADED]
    assert client.downloads(prefix) == 2


def test_publication_that_was_bad_is_replaced_once_repaired(client):
    prefix = f"{OWNER}/repaired"
    client.publish(prefix, half(SMALL), sha256="0" * 64)
    assert "sha256" in client("load", prefix, SMALL)
    client.publish(prefix, half(SMALL), system="cnn_v2")
    assert "checkpoint of cnn_v2" in client("load", prefix, SMALL)
    client.publish(prefix, half("baseline_cnn"))
    assert f"does not fit {SMALL}" in client("load", prefix, SMALL)
    client.publish(prefix, half(SMALL))
    assert client("load", prefix, SMALL) == LOADED


def test_download_that_stays_cut_leaves_nothing_in_the_way(client):
    prefix = f"{OWNER}/cut"
    client.publish(prefix, half(SMALL))
    client.hub.cut_after = [1000] * 6  # as often as huggingface_hub tries
    cut = client("load", prefix, SMALL)
    for part in (SMALL, f"{prefix}-{SMALL} on the Hugging Face Hub", "try again when"):
        assert part in cut
    assert client("load", prefix, SMALL) == LOADED


def test_checkpoint_in_the_cache_is_listed_with_its_measured_accuracy(client):
    prefix = f"{OWNER}/listed"
    client.publish(prefix, half(SMALL))
    repository = client.repository(prefix)
    repository.commit(repository.commits[-1][1] | {"evaluation/published.json": b'{"accuracy": 0.5}'})
    assert client("measured", prefix, SMALL) == [None, None]  # listing downloads nothing
    assert client("load", prefix, SMALL) == LOADED
    assert client("measured", prefix, SMALL) == ["hub", 0.5]


@pytest.mark.parametrize(
    ("prefix", "files", "reason"),
    [
        (f"{OWNER}/absent", None, "404"),
        ("a/b/c", None, "Repo id must be"),
        (f"{OWNER}/incomplete", {"README.md": b"nothing else"}, "incomplete there"),
    ],
)
def test_what_cannot_be_fetched_is_named_with_what_to_do(client, prefix, files, reason):
    if files:
        client.repository(prefix).commit(files)
    answer = client("load", prefix, SMALL)
    for part in (f"{prefix}-{SMALL} on the Hugging Face Hub", reason, f"python -m training train {SMALL}"):
        assert part in answer


def test_space_holds_what_the_page_needs_and_nothing_else(client, tmp_path):
    install(tmp_path, half(LARGE), LARGE)
    install(tmp_path, half(SMALL), SMALL)
    refused = client("publish_space", PREFIX, "", str(tmp_path))
    assert "hf auth login" in refused
    assert "HF_TOKEN" in refused
    forbidden = client("publish_space", "you/page", TOKEN, str(tmp_path))
    assert "you/page was not published" in forbidden
    assert "rights" in forbidden

    publish = ("publish_space", PREFIX, TOKEN, str(tmp_path))
    assert client(*publish) == client(*publish) == f"{client.hub.url}/spaces/{PREFIX}"
    repository = client.hub.repositories["space", PREFIX]
    assert (repository.created["sdk"], repository.created["visibility"]) == ("gradio", "private")
    assert len(repository.commits) == 2  # publishing the same again changes nothing
    files = client.hub.files("space", PREFIX)
    assert {"app.py", "README.md", "LICENSE", "requirements.txt", "brain_tumor/ui/page.py"} <= files.keys()
    assert f"weights/{LARGE}/{MODEL_FILE}" in files
    assert {path.split("/")[0] for path in files if "/" in path} == {"brain_tumor", "docs", "weights"}
    assert not [path for path in files if SMALL in path or "__pycache__" in path]

    # What is no longer here goes from there, too.
    repository.commit(files | {"old.py": b""})
    client(*publish)
    assert client.hub.files("space", PREFIX).keys() == files.keys()


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("BRAIN_TUMOR_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.delenv("BRAIN_TUMOR_HUB_REPO", raising=False)
    return tmp_path / "weights"


def test_dry_run_lists_files_and_sizes(weights, capsys):
    install(weights, half(SMALL))
    assert main(["publish", "models", "--repo", PREFIX, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert f"model {PREFIX}-{SMALL}\n" in printed
    size = (weights / SMALL / MODEL_FILE).stat().st_size
    assert f"{size / 1000:,.1f} kB  {MODEL_FILE}\n" in printed


def test_checkpoint_that_is_not_what_it_says_is_not_published(weights, capsys):
    install(weights, half(SMALL), sha256="0" * 64)
    assert main(["publish", "models", "--repo", PREFIX]) == 2
    assert "sha256" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["models", "space"])
@pytest.mark.parametrize("repo", ["me", "me/", "/page", "a/b/c"])
def test_name_without_owner_is_refused(repo, what, weights, capsys):
    install(weights, half(SMALL))
    assert main(["publish", what, "--repo", repo]) == 2
    assert f"'{repo}' is not OWNER/NAME" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["models", "space"])
def test_nothing_to_publish_is_said(what, weights, capsys):
    assert main(["publish", what, "--repo", PREFIX]) == 2
    assert f"no checkpoint in {weights}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("front", "problem"),
    [
        ("", "does not begin with front matter"),
        ("---\ntitle: [\n---\n", "not YAML"),
        ("---\ntitle: A\nsdk: gradio\napp_file: app.py\n---\n", "lacks sdk_version"),
        ('---\ntitle: A\nsdk: docker\nsdk_version: "6.0"\napp_file: app.py\n---\n', "docker"),
        ("---\ntitle: A\nsdk: gradio\nsdk_version: 6.10\napp_file: app.py\n---\n", "sdk_version in quotation marks"),
        ('---\ntitle: A\nsdk: gradio\nsdk_version: "6.1"\napp_file: main.py\n---\n', "main.py"),
    ],
)
def test_space_that_would_not_start_is_not_published(front, problem, weights, tmp_path):
    for name in (*SPACE_FILES, "brain_tumor/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "README.md").write_text(f"{front}# Title\n")
    with pytest.raises(PublishError, match=problem):
        space_upload(PREFIX, tmp_path)
    (tmp_path / "LICENSE").unlink()
    with pytest.raises(PublishError, match="lacks LICENSE"):
        space_upload(PREFIX, tmp_path)


def test_a_space_has_what_its_table_of_models_and_its_readme_show(monkeypatch):
    monkeypatch.delenv("BRAIN_TUMOR_WEIGHTS", raising=False)
    sent = space_upload(PREFIX).files
    shown = set(re.findall(r"(?:src=\"|!\[[^]]*\]\()(docs/[^)\"]+)", (ROOT / "README.md").read_text()))
    assert len(shown) >= 4 and shown <= sent.keys()
    studied = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("weights/*/evaluation/study/*")}
    assert studied and studied <= sent.keys()
    assert f"weights/{POOLS_FILE}" in sent
