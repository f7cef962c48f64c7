"""A proxy in front of a model's server that remembers when each request came and when its answer was delivered."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from urllib.parse import urlsplit


@dataclass
class Asked:
    """One request and what became of it."""

    came: float
    delivered: float | None = None


@dataclass
class CountingProxy:
    """Serves on loopback and forwards to ``upstream`` (``http://host:port/v1``); ``asked``: requests by content."""

    upstream: str
    asked: dict[str, list[Asked]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def base_url(self) -> str:
        """The address that clients are given."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> CountingProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def asked_again(self, kills: list[float], grace: float) -> list[str]:
        """Contents asked again although their answer was delivered more than ``grace`` seconds before the next kill.

        ``kills`` are the moments (``time.monotonic``) at which the client was killed.
        """
        again = []
        for content, requests in self.asked.items():
            for earlier, later in pairwise(requests):
                if earlier.delivered is None:
                    continue
                between = [kill for kill in kills if earlier.delivered <= kill <= later.came]
                if not between or between[0] - earlier.delivered > grace:
                    again.append(content)
        return again

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self
        address = urlsplit(self.upstream)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._forward(b"")

            def do_POST(self) -> None:
                self._forward(self.rfile.read(int(self.headers["content-length"])))

            def _forward(self, body: bytes) -> None:
                record = proxy._record(body) if body else None
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                upstream = http.client.HTTPConnection(str(address.hostname), address.port, timeout=600)
                try:
                    upstream.request(self.command, self.path, body or None, headers)
                    answer = upstream.getresponse()
                    content = answer.read()
                    self.send_response(answer.status)
                    self.send_header("content-type", answer.headers.get("content-type", "application/json"))
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                    self.wfile.flush()
                    if record is not None and answer.status == 200:
                        record.delivered = time.monotonic()
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                finally:
                    upstream.close()

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler

    def _record(self, body: bytes) -> Asked:
        content = hashlib.sha256(json.dumps(json.loads(body), sort_keys=True).encode()).hexdigest()[:16]
        record = Asked(time.monotonic())
        with self._lock:
            self.asked.setdefault(content, []).append(record)
        return record
