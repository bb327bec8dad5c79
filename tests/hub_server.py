"""A Hugging Face Hub in a thread: as much of its protocol as huggingface_hub uses to publish and to fetch.

Files that the Hub would store aside (LFS) are those ending in .safetensors; they are redirected to another address, as
the Hub redirects to its content delivery network, and there a test can have the connection cut or the content damaged.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_me"
OWNER = "me"
KINDS = {"": "model", "spaces/": "space"}


@dataclass
class Repository:
    """Commits, oldest first: their hash and the files after them."""

    created: dict[str, Any]
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)

    def commit(self, files: dict[str, bytes]) -> str:
        oid = hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits.append((oid, files))
        return oid

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commits[-1]
        return next((commit for commit in self.commits if commit[0] == revision), None)


class Hub(ThreadingHTTPServer):
    """The server; use it as a context manager.

    Attributes:
        repositories: by kind ("model", "space") and name.
        requests: "METHOD path" of each request, with the range that was asked for.
        elsewhere: address of large files.
        cut_after: bytes after which the next downloads of large files end, one entry per download.
        damaged: so many of the next downloads of large files have a wrong byte.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.elsewhere = f"http://localhost:{self.server_port}"  # for the client another host, as large files are
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.cut_after: list[int] = []
        self.damaged = 0

    def __enter__(self) -> Hub:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.shutdown()
        self.server_close()

    def files(self, kind: str, name: str) -> dict[str, bytes]:
        """What a repository's newest commit holds."""
        return self.repositories[kind, name].commits[-1][1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self._route("HEAD")

    def do_GET(self) -> None:
        self._route("GET")

    def do_POST(self) -> None:
        self._route("POST")

    def do_PUT(self) -> None:
        self._route("PUT")

    def _route(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append(f"{method} {path} {self.headers.get('Range', '')}".strip())
        for pattern, handle in _ROUTES:
            if match := re.fullmatch(pattern, f"{method} {path}"):
                # What is PUT goes to a signed address, without a token.
                if method == "POST" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    return self._error(401, "Invalid username or password.")
                return handle(self, *match.groups())
        self._error(404, f"no such route: {method} {path}")

    def _json(self, content: Any, status: int = 200) -> None:
        self._answer(json.dumps(content).encode(), status, {"Content-Type": "application/json"})

    def _error(self, status: int, message: str, code: str = "") -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._answer(json.dumps({"error": message}).encode(), status, headers)

    def _answer(self, content: bytes, status: int, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut])
        if cut is not None:
            self.close_connection = True

    def _repository(self, kind: str, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """A commit and its files; None after an error was answered."""
        repository = self.server.repositories.get((kind, name))
        if repository is None:
            return self._error(404, "Repository not found", "RepoNotFound")
        found = repository.at(revision)
        return found or self._error(404, "Invalid rev id", "RevisionNotFound")

    def create(self) -> None:
        wanted = json.loads(self.body)
        kind, name = wanted.get("type") or "model", f"{wanted['organization']}/{wanted['name']}"
        prefix = next(prefix for prefix, of in KINDS.items() if of == kind)
        url = {"url": f"{self.server.url}/{prefix}{name}"}
        if wanted["organization"] != OWNER:
            return self._error(403, f"You don't have the rights to create a {kind} under the namespace {name}")
        if (kind, name) in self.server.repositories:
            return self._json(url | {"error": "You already created this repo"}, 409)
        self.server.repositories[kind, name] = Repository(wanted)
        self.server.repositories[kind, name].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        return self._json(url)

    def validate(self) -> None:
        self._json({"errors": [], "warnings": []})

    def preupload(self, kind: str, name: str, revision: str) -> None:
        if found := self._repository(kind, name, revision):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if _is_large(file["path"]) else "regular",
                    "shouldIgnore": False,
                    "oid": _oid(file["path"], found[1][file["path"]]) if file["path"] in found[1] else None,
                }
                for file in json.loads(self.body)["files"]
            ]
            self._json({"files": files})

    def batch(self, prefix: str | None, name: str) -> None:
        objects = [
            {**wanted}
            if wanted["oid"] in self.server.large
            else {**wanted, "actions": {"upload": {"href": f"{self.server.url}/upload/{wanted['oid']}", "header": {}}}}
            for wanted in json.loads(self.body)["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.server.large[oid] = self.body
        self._answer(b"", 200, {})

    def commit(self, kind: str, name: str, revision: str) -> None:
        found = self._repository(kind, name, revision)
        if found is None:
            return
        files = dict(found[1])
        for line in self.body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            match operation["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.server.large[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        oid = self.server.repositories[kind, name].commit(files)
        self._json({"success": True, "commitOid": oid, "commitUrl": f"{self.server.url}/{name}/commit/{oid}"})

    def info(self, kind: str, name: str, revision: str | None) -> None:
        if found := self._repository(kind, name, revision or "main"):
            siblings = [{"rfilename": path} for path in found[1]]
            self._json({"id": name, "modelId": name, "sha": found[0], "private": False, "siblings": siblings})

    def tree(self, kind: str, name: str, revision: str) -> None:
        if found := self._repository(kind, name, revision):
            self._json([_entry(path, content) for path, content in found[1].items()])

    def resolve(self, prefix: str | None, name: str, revision: str, path: str) -> None:
        found = self._repository(KINDS[prefix or ""], name, revision)
        if found is None:
            return
        commit, files = found
        headers = {"X-Repo-Commit": commit}
        if path not in files:
            self._answer(b"", 404, headers | {"X-Error-Code": "EntryNotFound"})
        elif not _is_large(path):
            self._answer(files[path], 200, headers | {"ETag": f'"{_oid(path, files[path])}"'})
        else:
            oid = hashlib.sha256(files[path]).hexdigest()
            self.server.large[oid] = files[path]
            headers |= {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(files[path]))}
            self._answer(b"", 302, headers | {"Location": f"{self.server.elsewhere}/cdn/{oid}"})

    def cdn(self, oid: str) -> None:
        content = self.server.large[oid]
        if self.server.damaged:
            self.server.damaged -= 1
            content = content[:-1] + bytes([content[-1] ^ 1])
        headers = {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"}
        cut = self.server.cut_after.pop(0) if self.server.cut_after else None
        if wanted := self.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._answer(content[start:], 206, headers, cut)
        else:
            self._answer(content, 200, headers, cut)


def _is_large(path: str) -> bool:
    return path.endswith(".safetensors")


def _oid(path: str, content: bytes) -> str:
    if _is_large(path):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _entry(path: str, content: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": path, "size": len(content), "oid": _oid(path, content)}
    if _is_large(path):
        entry["lfs"] = {"oid": entry["oid"], "size": len(content), "pointerSize": 134}
    return entry


_NAME = r"([^/]+/[^/]+)"
_API = rf"/api/(model|space)s/{_NAME}"
_ROUTES = [
    (r"POST /api/repos/create", _Handler.create),
    (r"POST /api/validate-yaml", _Handler.validate),
    (rf"POST {_API}/preupload/([^/]+)", _Handler.preupload),
    (rf"POST {_API}/commit/([^/]+)", _Handler.commit),
    (rf"POST /(spaces/)?{_NAME}\.git/info/lfs/objects/batch", _Handler.batch),
    (r"PUT /upload/(\w+)", _Handler.upload),
    (rf"GET {_API}(?:/revision/([^/]+))?", _Handler.info),
    (rf"GET {_API}/tree/([^/]+)", _Handler.tree),
    (rf"(?:GET|HEAD) /(spaces/)?{_NAME}/resolve/([^/]+)/(.+)", _Handler.resolve),
    (r"GET /cdn/(\w+)", _Handler.cdn),
]
