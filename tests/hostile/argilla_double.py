"""A server that answers the REST calls of a pull with whatever it is told to: what a broken or hostile Argilla server might send."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import httpx

from dprm_data.review.argilla_server import Server

Answer = Callable[[str], tuple[int, bytes]]  # a path to status and body


class HTTPOnly(Server):
    """Our connection, with the REST calls over a real socket, and without Argilla's client."""

    def __init__(self, url: str) -> None:
        self.url, self.patience = url, 0.2
        self._client = httpx.Client(base_url=url, timeout=10)

    @property
    def http(self) -> httpx.Client:
        return self._client

    def workspace(self, name: str) -> Any:
        return SimpleNamespace(id="w", name=name)

    def dataset(self, workspace: Any, name: str) -> Any:
        return SimpleNamespace(id="d", name=name)


@contextmanager
def argilla_double(answer: Answer) -> Iterator[HTTPOnly]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if body.startswith(b"\x1f\x8b"):
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        double = HTTPOnly(f"http://127.0.0.1:{server.server_port}")
        yield double
        double.http.close()
        server.shutdown()


def page(records: Any, users: Any = ()) -> Answer:
    """One page of records, and these ids of users."""
    body = json.dumps({"items": records}).encode()
    people = json.dumps({"items": [{"id": user} for user in users]}).encode()
    return lambda path: (200, people if path.endswith("/users") else body)
