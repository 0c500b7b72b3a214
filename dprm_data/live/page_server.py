"""The page over HTTP: read-only, on loopback, behind a token in the address.

The token keeps other users of the machine out, and other pages in the browser; the `Host` header is checked, so that a name that a stranger has pointed at
loopback (DNS rebinding) gets nothing. Nothing is written, and a request does no work but to send what the watcher has read.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dprm_data.core.errors import InputError
from dprm_data.core.html import inlined, page_template
from dprm_data.live.watcher import Watcher

_HOSTS = ("127.0.0.1", "localhost")  # with any port: one that ssh forwards may be another
_MOST_CONNECTIONS = 32
_SECONDS = 10.0  # that a connection may take to send or to read, and may be idle
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@contextmanager
def serving(watcher: Watcher, port: int = 0) -> Iterator[str]:
    """Serve the page in threads until the end of the block. Yields its address. Raises `InputError` if the port cannot be had."""
    token = secrets.token_urlsafe(24)
    try:
        server = _Server(watcher, token, port)
    except OSError as error:
        raise InputError(
            f"port {port} cannot be used: {error.strerror or error}", hint="Give another --port, or leave it out."
        ) from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="page", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{token}/"
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    """Answers at most so many connections at a time; further ones are closed at once."""

    daemon_threads = True
    block_on_close = False  # a browser that hangs must not hold the end up

    def __init__(self, watcher: Watcher, token: str, port: int) -> None:
        self.files: dict[str, tuple[str, Callable[[], bytes]]] = {
            "": ("text/html", lambda: page_template("live", {}).render().encode()),
            "report.css": ("text/css", lambda: inlined("report.css").encode()),
            "live.css": ("text/css", lambda: inlined("live.css").encode()),
            "pieces.js": ("text/javascript", lambda: inlined("pieces.js").encode()),
            "live.js": ("text/javascript", lambda: inlined("live.js").encode()),
        }
        self.watcher, self.token = watcher, token.encode()
        self._room = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke off is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SECONDS
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if _name(self.headers.get("Host", "")) not in _HOSTS:
            self._answer(403, "text/plain", b"This page is for this machine alone.\n")
            return
        parts = urlsplit(self.path)
        token, _, name = parts.path.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(), self.server.token):
            self._answer(403, "text/plain", b"The token in the address is missing or wrong: copy the whole address.\n")
        elif name == "state.json":
            self._state(parse_qs(parts.query).get("seen", ["0"])[0])
        elif name in self.server.files and (name or parts.path.endswith("/")):
            kind, content = self.server.files[name]
            self._answer(200, kind, content())
        else:
            self._answer(404, "text/plain", b"There is no such page.\n")

    def _state(self, seen: str) -> None:
        content = self.server.watcher.newest(int(seen) if seen.isdecimal() and len(seen) < 12 else 0)
        if content is None:
            self._answer(204, "application/json", b"")
        else:
            self._answer(200, "application/json", content)

    def _refuse(self) -> None:
        self.close_connection = True  # whatever body there is stays unread
        self._answer(405, "text/plain", b"This page can only be read.\n", Allow="GET")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def _answer(self, status: int, kind: str, body: bytes, **more: str) -> None:
        with suppress(OSError):
            self.send_response(status)
            for name, value in (_HEADERS | more).items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What cannot be read as a request."""
        self.close_connection = True
        self.command = self.command or ""
        self._answer(code, "text/plain", b"This is no request that can be answered.\n")

    def version_string(self) -> str:
        return "dprm"

    def log_message(self, *_: object) -> None:
        """Nothing is logged: an address holds the token."""


def _name(host: str) -> str | None:
    """The name in a `Host` header, without the port."""
    with suppress(ValueError):
        return urlsplit(f"//{host}").hostname
    return None
