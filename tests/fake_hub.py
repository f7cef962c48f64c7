"""A hub of datasets and models on loopback that speaks the hub's HTTP interface, uploads too, with faults on demand.

The client is the real one: ``datasets`` and ``huggingface_hub`` are pointed at it by ``FakeHub.use``.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

LARGE_SUFFIXES = (".parquet", ".zip", ".arrow")
UPLOADED_LARGE = (*LARGE_SUFFIXES, ".safetensors")


@dataclasses.dataclass
class Repository:
    """A dataset: the files of each commit, and the branches."""

    commits: dict[str, dict[str, bytes]] = dataclasses.field(default_factory=dict)
    refs: dict[str, str] = dataclasses.field(default_factory=dict)
    gated: bool = False
    private: bool = False


@dataclasses.dataclass
class Fault:
    """What goes wrong with the next ``times`` requests of a file's content (``status`` with any request)."""

    pattern: str
    times: int
    status: int | None = None
    cut_after: int | None = None
    flip: bool = False


def blob_id(content: bytes) -> str:
    """Git's hash of a file."""
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class FakeHub:
    """The hub; ``commit`` puts files in it, ``fault`` makes it misbehave, ``requests`` is what it was asked."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, str | None]] = []
        self.large: dict[str, bytes] = {}
        """Large files that were uploaded, by their SHA-256; a commit names them."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def commit(self, dataset: str, files: Mapping[str, bytes | str], branch: str = "main") -> str:
        """Make a commit of these files the branch's newest; returns its id."""
        contents = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
        repository = self.repositories.setdefault(dataset, Repository())
        identity = "".join(f"{path}\0{blob_id(content)}" for path, content in sorted(contents.items()))
        commit = hashlib.sha1(f"{dataset}\0{len(repository.commits)}\0{identity}".encode()).hexdigest()
        repository.commits[commit] = contents
        repository.refs[branch] = commit
        return commit

    def fault(self, pattern: str, times: int = 1, **what: Any) -> None:
        """Let the next ``times`` requests whose path matches go wrong."""
        self.faults.append(Fault(pattern, times, **what))

    def take_fault(self, path: str, method: str) -> Fault | None:
        """The fault that befalls this request, if any."""
        for fault in self.faults:
            content_only = fault.status is None
            if fault.times and re.search(fault.pattern, path) and (method == "GET" or not content_only):
                fault.times -= 1
                return fault
        return None

    @contextmanager
    def running(self) -> Iterator[FakeHub]:
        """Serve until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def use(self, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
        """Point the hub's clients at this hub, with an empty cache."""
        import datasets
        import huggingface_hub.constants as constants
        from huggingface_hub import HfFileSystem

        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", self.endpoint)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache / "datasets")
        monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", cache / "downloads")
        monkeypatch.setattr(constants, "ENDPOINT", self.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        template = self.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)
        hasty = SimpleNamespace(sleep=lambda _: None, time=time.time, monotonic=time.monotonic)
        monkeypatch.setattr("huggingface_hub.utils._http.time", hasty)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        HfFileSystem.clear_instance_cache()


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.answer()

        def do_HEAD(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def do_PUT(self) -> None:
            self.answer()

        def answer(self) -> None:
            url = urlsplit(self.path)
            path = unquote(url.path)
            self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            hub.requests.append((self.command, path, self.headers.get("Range")))
            self.fault = hub.take_fault(path, self.command)
            if self.fault and self.fault.status:
                return self.refuse(self.fault.status, "", "out of order")
            if self.command in ("POST", "PUT") and (written := self.written(path)):
                return written()
            api = re.fullmatch(
                r"/api/(?:datasets|models)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/(.+)|/auth-check)?", path
            )
            file = re.fullmatch(r"(?:/datasets)?/([^/]+/[^/]+)/resolve/(.+)", path)
            match = api or file
            if match is None:
                return self.refuse(404, "", f"no route {path}")
            repository = hub.repositories.get(match[1])
            if repository is None:
                return self.refuse(401, "RepoNotFound", "Invalid username or password.")
            if repository.gated and self.headers.get("Authorization") is None and (file or api[2] != "revision"):
                return self.refuse(401, "GatedRepo", "Access to this dataset is restricted.")
            if file:
                return self.file(repository, *self.revision(repository, file[2]))
            return self.api(match[1], repository, api[2], api[3] or "main", parse_qs(url.query))

        def written(self, path: str) -> Callable[[], None] | None:
            """What answers a request that changes something; None for one that only looks."""
            kind = r"(?:datasets/|models/)?([^/]+/[^/]+?)"
            routes: dict[str, Callable[..., None]] = {
                r"/api/repos/create": self.create,
                r"/api/validate-yaml": lambda: self.json({"errors": [], "warnings": []}),
                rf"/api/{kind}/preupload/main": self.preupload,
                rf"/{kind}\.git/info/lfs/objects/batch": self.batch,
                rf"/api/{kind}/commit/main": self.commit,
                r"/large/([0-9a-f]{64})": self.upload,
                r"/large/([0-9a-f]{64})/verify": self.verify,
            }
            for route, handler in routes.items():
                if match := re.fullmatch(route, path):
                    if self.headers.get("Authorization") is None and not path.startswith("/large/"):
                        return functools.partial(self.refuse, 401, "", "Invalid username or password.")
                    return functools.partial(handler, *match.groups())
            return None

        def create(self) -> None:
            asked = json.loads(self.body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in hub.repositories:
                return self.json({"error": "You already created this repo", "url": f"{hub.endpoint}/{name}"}, 409)
            hub.commit(name, {".gitattributes": "*.parquet filter=lfs"})
            hub.repositories[name].private = asked.get("visibility") == "private"
            return self.json({"url": f"{hub.endpoint}/{asked['type']}s/{name}"})

        def preupload(self, name: str) -> None:
            repository = hub.repositories[name]
            files = repository.commits[repository.refs["main"]]
            told = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(UPLOADED_LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": blob_id(files[file["path"]]) if file["path"] in files else None,
                }
                for file in json.loads(self.body)["files"]
            ]
            self.json({"files": told})

        def batch(self, _: str) -> None:
            objects = []
            for one in json.loads(self.body)["objects"]:
                address = f"{hub.endpoint}/large/{one['oid']}"
                actions = {"upload": {"href": address}, "verify": {"href": f"{address}/verify"}}
                objects.append(one if one["oid"] in hub.large else {**one, "actions": actions})
            self.json({"transfer": "basic", "objects": objects})

        def upload(self, digest: str) -> None:
            content = self.body
            assert hashlib.sha256(content).hexdigest() == digest
            hub.large[digest] = content
            self.json({})

        def verify(self, digest: str) -> None:
            self.json({}, 200 if len(hub.large[digest]) == json.loads(self.body)["size"] else 422)

        def commit(self, name: str) -> None:
            repository = hub.repositories[name]
            files: dict[str, bytes | str] = dict(repository.commits[repository.refs["main"]])
            for line in self.body.splitlines():
                operation = json.loads(line)
                value = operation["value"]
                if operation["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif operation["key"] == "lfsFile":
                    files[value["path"]] = hub.large[value["oid"]]
            commit = hub.commit(name, files)
            self.json({"commitUrl": f"{hub.endpoint}/{name}/commit/{commit}", "commitOid": commit, "success": True})

        @staticmethod
        def revision(repository: Repository, rest: str) -> tuple[str | None, str]:
            """The commit and the path below it that an address ends in."""
            for name, commit in [*repository.refs.items(), *((one, one) for one in repository.commits)]:
                if rest == name or rest.startswith(f"{name}/"):
                    return commit, rest[len(name) + 1 :]
            return None, rest

        def api(
            self, dataset: str, repository: Repository, what: str | None, rest: str, query: dict[str, list[str]]
        ) -> None:
            commit, below = self.revision(repository, rest)
            if commit is None:
                return self.refuse(404, "RevisionNotFound", "Invalid rev id")
            files = repository.commits[commit]
            if what in (None, "revision"):
                siblings = [{"rfilename": path} for path in files]
                info = {
                    "_id": "1",
                    "id": dataset,
                    "sha": commit,
                    "private": repository.private,
                    "gated": repository.gated,
                }
                return self.json({**info, "tags": [], "downloads": 0, "likes": 0, "siblings": siblings})
            if what == "paths-info":
                body = self.body.decode()
                wanted = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body).get("paths", [])
                return self.json([item for item in self.tree(files, "", True) if item["path"] in wanted])
            if below and not any(path.startswith(f"{below}/") for path in files):
                return self.refuse(404, "EntryNotFound", "Entry not found")
            return self.json(self.tree(files, below, query.get("recursive", ["false"])[0].lower() == "true"))

        @staticmethod
        def tree(files: dict[str, bytes], below: str, recursive: bool) -> list[dict[str, Any]]:
            items: dict[str, dict[str, Any]] = {}
            start = f"{below}/" if below else ""
            for path, content in files.items():
                if not path.startswith(start):
                    continue
                parts = path[len(start) :].split("/")
                for depth in range(1, len(parts)):
                    folder = start + "/".join(parts[:depth])
                    if recursive or depth == 1:
                        items[folder] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder}
                if recursive or len(parts) == 1:
                    items[path] = {"type": "file", "oid": blob_id(content), "size": len(content), "path": path}
                    if path.endswith(LARGE_SUFFIXES):
                        sha = hashlib.sha256(content).hexdigest()
                        items[path]["lfs"] = {"oid": sha, "size": len(content), "pointerSize": 130}
            return list(items.values())

        def file(self, repository: Repository, commit: str | None, path: str) -> None:
            if commit is None:
                return self.refuse(404, "RevisionNotFound", "Invalid rev id")
            content = repository.commits[commit].get(path)
            if content is None:
                return self.refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
            large = path.endswith(LARGE_SUFFIXES)
            etag = hashlib.sha256(content).hexdigest() if large else blob_id(content)
            headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
            start = 0
            if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                start, end = int(asked[1]), int(asked[2] or len(content) - 1)
                headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
                content = content[start : end + 1]
            if self.fault and self.fault.flip:
                content = bytes([content[0] ^ 255]) + content[1:]
            self.send_response(206 if asked else 200)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return None
            if self.fault and self.fault.cut_after is not None:
                self.wfile.write(content[: self.fault.cut_after])
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
                return None
            self.wfile.write(content)
            return None

        def json(self, value: Any, status: int = 200) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def refuse(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", message)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler
