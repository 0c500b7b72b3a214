"""Servers that throttle badly: waits of no time, of ages, and of no number at all."""

from __future__ import annotations

import http.server
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from dprm_data.providers.failures import retry_after
from dprm_data.providers.limits import Limiter
from dprm_data.providers.rate_headers import seconds_until
from tests.helpers import write_recipe
from tests.processes import dprm
from tests.servers.llm import LLMServer

DAY = 86_400.0  # seconds
GARBAGE = ["nan", "inf", "-inf", "Infinity", "1e999", "", "soon", "9" * 400 + "s", "٣" * 3 + "s?", "0001-01-01", "\0"]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "most"), [("429_zero", 60), ("503_zero", 60)])
def test_retry_after_zero_does_not_storm(tmp_path: Path, fault: str, most: int) -> None:
    """A server that always says "come back at once" gets ever fewer requests."""
    with LLMServer() as server:
        server.script({"chances": {fault: 1.0}})
        recipe = write_recipe(tmp_path, server.url, limits={"give_up_after": 4.0})
        done = dprm("run", recipe, cwd=tmp_path)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert server.tally.requests < most, "a storm"


class Unavailable(http.server.BaseHTTPRequestHandler):
    """Whatever is asked: come back at once."""

    requests = 0

    def do_POST(self) -> None:
        type(self).requests += 1
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(503)
        for name, value in (("Retry-After", "0"), ("Content-Length", "0")):
            self.send_header(name, value)
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
def test_a_batch_api_that_asks_for_no_wait_is_not_hammered(tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Unavailable) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        recipe = write_recipe(tmp_path, url, mode="batch", limits={"give_up_after": 2.0, "poll_every": 0.5})
        done = dprm("run", recipe, cwd=tmp_path)
        server.shutdown()
    assert done.returncode == 1 and "unreachable" in done.stderr, done
    assert 2 < Unavailable.requests < 12


def refuse_all(limiter: Limiter, retry_after: float | None) -> None:
    """A round trip of eight calls, all refused."""
    sent = time.monotonic()
    for _ in range(8):
        limiter.congested(sent, retry_after)


def test_short_waits_that_never_help_grow() -> None:
    limiter = Limiter(concurrency=8)
    waits = []
    for _ in range(9):
        refuse_all(limiter, 0.001)
        waits.append(limiter.cooling)
        limiter._cool_until = 0.0  # as if that time had passed
    assert max(waits[:3]) <= 0.05, "an honest wait is taken at its word"
    assert waits[-1] > 5
    limiter.succeeded(0.0, None)
    refuse_all(limiter, 0.001)
    assert limiter.cooling <= 0.05


@pytest.mark.parametrize("text", GARBAGE)
def test_garbage_is_no_wait(text: str) -> None:
    assert seconds_until(text) is None
    assert retry_after({"retry-after": text}) is None and retry_after({"retry-after-ms": text}) is None
    limiter = Limiter(concurrency=1)
    limiter.obey({"x-ratelimit-remaining-requests": text, "x-ratelimit-reset-requests": text})
    limiter.obey({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": text})
    assert limiter.cooling == 0


@pytest.mark.parametrize("text", ["1e9", "1e300", "Fri, 31 Dec 9999 23:59:59 GMT", "99999999"])
def test_ages_are_a_day_at_most(text: str) -> None:
    asked = retry_after({"retry-after": text})
    assert asked and asked > DAY
    limiter = Limiter(concurrency=1)
    refuse_all(limiter, asked)
    assert DAY - 1 < limiter.cooling <= DAY


def test_one_server_does_not_stop_the_shared_ledger_for_ages(postgres: Any, tmp_path: Path, double: LLMServer) -> None:
    """Who is told to wait for decades ends with words; the others wait for minutes, and not for what is there from before."""
    double.script({"chances": {"429_ages": 1.0}})
    recipe = write_recipe(tmp_path, double.url, ledger=postgres.url)
    done = dprm("run", recipe, cwd=tmp_path, **postgres.environment)
    assert done.returncode == 1 and "the provider asks to wait" in done.stderr, done
    ((left,),) = postgres.execute("SELECT extract(epoch FROM until - clock_timestamp())::float8 FROM dprm.cooldowns")
    assert 0 < left <= 900
    double.script({"chances": {}})
    postgres.execute("UPDATE dprm.cooldowns SET until = clock_timestamp() + interval '30 years'")
    assert dprm("run", recipe, cwd=tmp_path, **postgres.environment).returncode == 0
