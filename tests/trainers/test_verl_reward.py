"""verl's reward function before a service that is busy: it waits as long as it is asked to, and no longer than its patience."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from dprm_trainers import verl_reward


@contextmanager
def busy(retry_after: str, *, times: int = 1) -> Iterator[tuple[str, list[float]]]:
    """A service that answers 503 with this header, `times` times, then a score; its address, and when it was asked."""
    asked: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(time.monotonic())
            ready = len(asked) > times
            body = json.dumps({"score": 0.5} if ready else {"error": "loading"}).encode()
            self.send_response(200 if ready else 503)
            if not ready:
                self.send_header("Retry-After", retry_after)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def score(url: str, patience: float = 30.0) -> dict[str, float]:
    return asyncio.run(verl_reward.compute_score("", "good", extra_info={"prompt": "x"}, url=url, patience=patience))


def http_date(seconds: float) -> str:
    """That many seconds from now; HTTP dates have whole seconds."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.slow
@pytest.mark.parametrize("ahead, least, most", [(3, 1.8, 4.0), (-60, 0.0, 1.0)])
def test_a_date_is_waited_for(ahead: float, least: float, most: float) -> None:
    with busy(http_date(ahead)) as (url, asked):
        assert score(url) == {"score": 0.5}
    assert least <= asked[1] - asked[0] <= most


@pytest.mark.parametrize("header", ["soon", "nan", "inf", "-3", ""])
def test_a_header_that_says_nothing_is_no_failure(header: str) -> None:
    with busy(header) as (url, asked):
        assert score(url) == {"score": 0.5}
    assert asked[1] - asked[0] < 5.0


@pytest.mark.parametrize("header", ["3600", http_date(3600)], ids=["seconds", "date"])
def test_patience_is_the_longest_wait(header: str) -> None:
    with busy(header, times=9) as (url, asked):
        before = time.monotonic()
        with pytest.raises(RuntimeError, match=r"refused to score a response \(503\): .*loading"):
            score(url, patience=1.0)
        assert time.monotonic() - before < 5.0
    assert len(asked) == 2  # once more at the end
