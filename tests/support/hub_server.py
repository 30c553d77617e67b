"""A hub on this machine: the parts of its HTTP API that a download uses, and its failures."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LFS = (".safetensors", ".bin", ".gguf")
TOKEN = "hf_secret"


@dataclass
class Hub:
    """One repository, ``owner/name``, and how requests for it go wrong.

    ``cut``: by file, the byte after which a connection breaks, once. ``hold``: by file, the byte at
    which the hub stops sending until it is closed. ``asked``: the requests, as method, path and range.
    """

    files: dict[str, bytes]
    name: str = "owner/name"
    url: str = ""
    gated: bool = False
    private: bool = False
    status: int = 200
    corrupt: set[str] = field(default_factory=set)
    cut: dict[str, int] = field(default_factory=dict)
    hold: dict[str, int] = field(default_factory=dict)
    holding: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)

    def ranges(self, name: str) -> list[str | None]:
        """Return the ranges that were asked for of a file."""
        return [part for _, path, part in self.asked if path.endswith(f"/{name}")]


def checksum(name: str, content: bytes) -> str:
    """Return what the hub tells of a file: SHA-256 for large ones, else git's id."""
    if name.endswith(LFS):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def folder_files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve a hub until the block ends."""

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        hub.closed.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Hub

    def do_GET(self) -> None:
        hub = self.served
        path = unquote(urlsplit(self.path).path)
        hub.asked.append(("GET", path, self.headers.get("Range")))
        if hub.status != 200:
            return self._fail(hub.status, "")
        if path == "/api/models/" + hub.name or path.startswith(f"/api/models/{hub.name}/"):
            return self._tell(path)
        if path.startswith(f"/{hub.name}/resolve/{COMMIT}/"):
            return self._send_file(path.removeprefix(f"/{hub.name}/resolve/{COMMIT}/"))
        return self._fail(404 if self._known else 401, "RepoNotFound")

    @property
    def _known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _tell(self, path: str) -> None:
        hub = self.served
        if hub.private and not self._known:
            return self._fail(401, "RepoNotFound")
        revision = path.partition("/revision/")[2]
        if revision not in ("", "main", "v1", COMMIT):
            return self._fail(404, "RevisionNotFound")
        siblings = [_sibling(name, content) for name, content in hub.files.items()]
        told = {"id": hub.name, "modelId": hub.name, "sha": COMMIT, "siblings": siblings}
        return self._answer(200, json.dumps(told).encode())

    def _send_file(self, name: str) -> None:
        hub = self.served
        if hub.gated and not self._known:
            self._fail(403, "GatedRepo")
            return
        content = hub.files[name]
        if name in hub.corrupt:
            content = bytes(byte ^ 1 for byte in content)
        first = 0
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            first = int(asked[1])
        self.send_response(206 if first else 200)
        if first:
            self.send_header(
                "Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}"
            )
        self.send_header("Content-Length", str(len(content) - first))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{checksum(name, hub.files[name])}"')
        self.end_headers()
        end = hub.cut.pop(name, hub.hold.get(name, len(content)))
        self.wfile.write(content[first : max(first, end)])
        self.wfile.flush()
        if name in hub.hold:
            hub.holding.set()
            hub.closed.wait()
        if end < len(content):
            self.close_connection = True

    def _fail(self, status: int, code: str) -> None:
        self._answer(status, b"", {"X-Error-Code": code, "X-Error-Message": code})

    def _answer(self, status: int, body: bytes, headers: dict[str, Any] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write nothing to stderr."""


def _sibling(name: str, content: bytes) -> dict[str, Any]:
    told: dict[str, Any] = {
        "rfilename": name,
        "size": len(content),
        "blobId": checksum("", content),
    }
    if name.endswith(LFS):
        told["lfs"] = {
            "sha256": checksum(name, content),
            "size": len(content),
            "pointerSize": 130,
        }
    return told
