"""Runs against a server that misbehaves, through the command: failures are data, the provider's own troubles are waited out or end the run."""

from __future__ import annotations

import asyncio
import http.server
import os
import signal
import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dprm_data import FunctionProvider
from dprm_data.core.errors import ProviderUnusable
from dprm_data.providers.request import Answer, CallFailed, Request
from tests.engine.helpers import RecordingProvider, annotate, items, label, work
from tests.helpers import answer, write_recipe, write_rows
from tests.processes import dprm, zygote
from tests.servers.llm import LLMProcess, LLMServer

KINDS = ["refusal", "filter", "length", "unparsable", "400", "500", "empty", "broken", "html", "drop", "422", "413"]


def rows_with(folder: Path, *faults: str, plain: int = 8) -> None:
    """Items that are answered, and one for each of these faults."""
    marks = ["fine"] * plain + [f"[[fault:{fault}]]" for fault in faults]
    write_rows(folder / "pairs.jsonl", [{"prompt": f"q{i} {mark}", "response": "r"} for i, mark in enumerate(marks)])


def statuses(folder: Path) -> dict[str, set[tuple[str, str]]]:
    """By the prompt's mark: status and reason of its annotations."""
    prompts = {
        row["item_id"]: row["prompt"][-1]["content"].split(" ", 1)[1]
        for row in pq.read_table(folder / "run/tables/items.parquet").to_pylist()
    }
    found: dict[str, set[tuple[str, str]]] = {}
    for row in pq.read_table(folder / "run/tables/annotations.parquet").to_pylist():
        found.setdefault(prompts[row["item_id"]], set()).add((row["status"], row["reason"] or ""))
    return found


def test_failures_are_data_and_can_be_asked_again(tmp_path: Path, double: LLMServer) -> None:
    rows_with(tmp_path, *KINDS)
    limits = {"concurrency": 8, "attempts": 2}
    recipe = write_recipe(tmp_path, double.url, limits=limits, max_reasks=1)
    first = answer(dprm("run", recipe, "--json", cwd=tmp_path))
    found = {mark: {status for status, _ in pairs} for mark, pairs in statuses(tmp_path).items()}
    assert found == {
        "fine": {"ok"},
        "[[fault:refusal]]": {"refusal"},
        "[[fault:filter]]": {"content_filter"},
        "[[fault:length]]": {"truncated"},
        "[[fault:unparsable]]": {"unparsable"},
        "[[fault:400]]": {"rejected"},
        "[[fault:413]]": {"rejected"},
        "[[fault:422]]": {"rejected"},
        **{f"[[fault:{kind}]]": {"exhausted"} for kind in ("500", "empty", "broken", "html", "drop")},
    }
    assert all(reason for mark, pairs in statuses(tmp_path).items() if mark != "fine" for _, reason in pairs)
    counted = first["annotate"]["statuses"]
    assert counted["rejected"] == 3 * counted["refusal"] and sum(counted.values()) == first["annotate"]["annotations"]
    assert first["summary"]["statuses"] == counted
    by_persona = first["summary"]["personas"]
    assert all(line["annotations"] - line["ok"] == len(KINDS) for line in by_persona)

    requests = double.tally.requests
    again = answer(dprm("run", recipe, "--json", cwd=tmp_path))
    assert double.tally.requests == requests, "a failure is an outcome: it is not asked again by itself"
    assert again["annotate"]["replayed"] == first["annotate"]["annotations"]

    double.faults.draw = lambda body, digest: None  # type: ignore[method-assign]  # the server is mended
    mended = answer(dprm("run", recipe, "--retry-failed", "--json", cwd=tmp_path))
    assert mended["summary"]["statuses"] == {"ok": first["annotate"]["annotations"]}
    failed = sum(count for status, count in counted.items() if status != "ok")
    assert double.tally.requests == requests + failed


@pytest.mark.slow
def test_a_stormy_server(tmp_path: Path, double: LLMServer) -> None:
    """Everything that can be mended by trying again is: nothing is lost, nothing is asked twice that was answered."""
    chances = {
        "429_ms": 0.1,
        "429_bare": 0.01,
        "500": 0.05,
        "529": 0.02,
        "drop": 0.05,
        "drop_body": 0.03,
        "broken": 0.03,
    }
    double.script({"chances": chances, "latency": 0.005})
    rows_with(tmp_path, plain=16)
    recipe = write_recipe(tmp_path, double.url, panel="paper", limits={"concurrency": 32, "attempts": 12})
    done = answer(dprm("run", recipe, "--json", cwd=tmp_path))
    assert done["summary"]["statuses"] == {"ok": 240}
    whole = double.tally.statuses["200"] - double.tally.faults["broken"]
    assert whole == done["annotate"]["calls"] == 240
    assert set(done["annotate"]["retries"]) >= {"rate_limit", "server", "connection", "broken"}
    db = sqlite3.connect(tmp_path / "run/ledger.sqlite")
    assert db.execute("SELECT COUNT(*) FROM failures").fetchone()[0] == sum(done["annotate"]["retries"].values())


@pytest.mark.slow
def test_a_limited_server_is_asked_no_faster_than_it_allows(tmp_path: Path, double: LLMServer) -> None:
    """The recipe knows the limit: there is hardly a 429."""
    double.script({"rpm": 1200, "burst": 25})
    rows_with(tmp_path, plain=12)
    recipe = write_recipe(tmp_path, double.url, limits={"rpm": 1150})
    done = answer(dprm("run", recipe, "--json", cwd=tmp_path))
    assert done["annotate"]["retries"].get("rate_limit", 0) <= 2
    assert done["summary"]["statuses"].keys() == {"ok"}


@pytest.mark.parametrize(
    ("fault", "words"), [("401", "Incorrect API key"), ("quota", "quota"), ("404", "does not exist")]
)
def test_what_dooms_every_call_stops_the_run_at_once(tmp_path: Path, double: LLMServer, fault: str, words: str) -> None:
    rows_with(tmp_path, plain=30)
    double.script({"chances": {fault: 1.0}})
    recipe = write_recipe(tmp_path, double.url, limits={"concurrency": 8})
    done = dprm("run", recipe, cwd=tmp_path, OPENAI_API_KEY="sk-secret-abcdefghijklmnopqrstuvwx")
    assert done.returncode == 1
    assert words in done.stderr and "run again" in done.stderr
    assert double.tally.requests <= 11
    everything = b"".join(path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert b"sk-secret" not in done.stderr.encode() + done.stdout.encode() + everything


def test_a_key_that_dies_in_the_middle(tmp_path: Path, double: LLMServer) -> None:
    rows_with(tmp_path, plain=30)
    double.script({"queue": ["ok"] * 40, "chances": {"401": 1.0}})
    recipe = write_recipe(tmp_path, double.url, limits={"concurrency": 8})
    assert dprm("run", recipe, cwd=tmp_path).returncode == 1
    double.script({"chances": {}})
    done = answer(dprm("run", recipe, "--json", cwd=tmp_path))
    assert done["summary"]["statuses"].keys() == {"ok"}
    assert double.tally.statuses["200"] == done["summary"]["annotations"], "nothing was paid for twice"


@pytest.mark.parametrize("fault", ["401", "403", "404", "402"])
def test_what_one_prompt_alone_meets_is_that_prompts_failure(tmp_path: Path, double: LLMServer, fault: str) -> None:
    """The first, one in the middle, and the last: the run ends, and a rerun has nothing to do."""
    marks = [f"[[fault:{fault}]]", *["fine"] * 6, f"[[fault:{fault}]]", *["fine"] * 6, f"[[fault:{fault}]]"]
    write_rows(tmp_path / "pairs.jsonl", [{"prompt": f"q{i} {mark}", "response": "r"} for i, mark in enumerate(marks)])
    recipe = write_recipe(tmp_path, double.url, limits={"concurrency": 4})
    done = answer(dprm("run", recipe, "--json", cwd=tmp_path))
    each = done["summary"]["annotations"] // len(marks)
    assert done["summary"]["statuses"] == {"ok": 12 * each, "rejected": 3 * each}
    (reason,) = {reason for _, reason in statuses(tmp_path)[f"[[fault:{fault}]]"]}
    assert reason.startswith(fault)
    assert double.tally.answered.total() <= 12 * each + 3, "at most one call asked again for each of these items"
    double.faults.draw = lambda body, digest: None  # type: ignore[method-assign]  # it is mended
    mended = answer(dprm("run", recipe, "--retry-failed", "--json", cwd=tmp_path))
    assert mended["summary"]["statuses"].keys() == {"ok"}


def test_a_redirect_in_a_loop_ends_the_run_at_once(tmp_path: Path) -> None:
    class Loop(http.server.BaseHTTPRequestHandler):
        requests = 0

        def do_POST(self) -> None:
            Loop.requests += 1
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(307)
            self.send_header("Location", f"/{Loop.requests}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    rows_with(tmp_path, plain=30)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Loop) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        recipe = write_recipe(tmp_path, f"http://127.0.0.1:{server.server_port}", limits={"concurrency": 4})
        done = dprm("run", recipe, cwd=tmp_path)
        server.shutdown()
    assert done.returncode == 1 and "redirects in a loop" in done.stderr and "Traceback" not in done.stderr
    assert Loop.requests <= 6 * 3, "each call once"


def test_a_dead_server_is_said_so(tmp_path: Path) -> None:
    rows_with(tmp_path, plain=3)
    done = dprm("run", write_recipe(tmp_path, limits={"attempts": 2}), cwd=tmp_path)
    assert done.returncode == 1 and "cannot be reached" in done.stderr


def test_a_stalled_provider_is_said_so_and_given_up(tmp_path: Path, double: LLMServer) -> None:
    rows_with(tmp_path, plain=3)
    double.script({"chances": {"429_bare": 1.0}})
    recipe = write_recipe(tmp_path, double.url, limits={"give_up_after": 2.0})
    begun = time.monotonic()
    done = dprm("run", recipe, cwd=tmp_path)
    assert done.returncode == 1 and "no answer for" in done.stderr and "Rate limit reached" in done.stderr
    assert "give_up_after" in done.stderr
    assert time.monotonic() - begun < 60
    assert double.tally.requests < 40, "a stalled provider is not stormed"


def test_a_wait_longer_than_the_patience_is_not_begun(tmp_path: Path) -> None:
    async def complete(request: Request) -> Answer:
        raise CallFailed("rate_limit", "come back tomorrow", retry_after=86_400.0)

    provider = RecordingProvider(complete)
    with pytest.raises(ProviderUnusable, match="next try in 86"):
        annotate(tmp_path, provider, work(2), items(3))
    assert len(provider.requests) <= 3  # the first call of each item, if it was sent before the first answer


def test_one_call_that_is_told_to_come_back_tomorrow_does_not_hold_up_the_run(tmp_path: Path) -> None:
    async def complete(request: Request) -> Answer:
        if "question 1\n" in request.messages[-1]["content"]:
            raise CallFailed("server", "maintenance", status=500, retry_after=86_400.0)
        return label()

    assert annotate(tmp_path, FunctionProvider(complete), work(2), items(3)).statuses == {"ok": 4, "exhausted": 2}


def test_one_poisonous_item_with_many_personas_does_not_stop_the_run(tmp_path: Path, double: LLMServer) -> None:
    """Thirty rejected calls in a row about one item say nothing about the provider."""
    rows_with(tmp_path, "400", plain=1)
    recipe = write_recipe(tmp_path, double.url, panel="paper", replicates=2)
    done = answer(dprm("run", "--no-fit", recipe, "--json", cwd=tmp_path))
    assert done["annotate"]["statuses"] == {"rejected": 30, "ok": 30}


def test_a_provider_that_rejects_everything_stops_the_run(tmp_path: Path, double: LLMServer) -> None:
    double.script({"chances": {"422": 1.0}})
    rows_with(tmp_path, plain=60)
    done = dprm("run", write_recipe(tmp_path, double.url, limits={"concurrency": 4}), cwd=tmp_path)
    assert done.returncode == 1 and "gives a label. The provider says: 422" in done.stderr
    limits = {"concurrency": 4, "give_up_unusable": 0}
    done = dprm("run", write_recipe(tmp_path, double.url, limits=limits), cwd=tmp_path)
    assert done.returncode == 1 and "items in a row" in done.stderr


def test_a_row_that_always_meets_a_429_is_given_up_in_the_end(tmp_path: Path) -> None:
    """Such as a request that is larger than the limit on tokens: it must not hold up the run for ever."""

    async def complete(request: Request) -> Answer:
        await asyncio.sleep(0.001)
        if "question 3\n" in request.messages[-1]["content"]:
            raise CallFailed("rate_limit", "Request too large", status=429, retry_after=0.001)
        return label()

    tally = annotate(tmp_path, FunctionProvider(complete), work(2), items(400), concurrency=8, attempts=1)
    assert tally.statuses == {"exhausted": 2, "ok": 798}


def test_an_unreachable_server_uses_up_no_attempts(tmp_path: Path) -> None:
    """It was there, goes away for longer than all attempts together, and comes back: no row is lost."""
    asked = 0

    async def complete(request: Request) -> Answer:
        nonlocal asked
        asked += 1
        if 10 < asked <= 60:
            raise CallFailed("connection", "refused", sent=False, retry_after=0.01)
        return label()

    tally = annotate(tmp_path, FunctionProvider(complete), work(3), items(10), concurrency=4, attempts=2)
    assert tally.statuses == {"ok": 30}


def test_a_retry_that_is_broken_off_forgets_no_item(tmp_path: Path) -> None:
    """The item was done (with failures) when it was asked again: it is not taken for done after a crash in the middle."""
    said = iter(["refuse"] * 4 + ["mumble"] + ["dead key"] * 3)  # two calls, and the one that is asked again

    async def complete(request: Request) -> Answer:
        what = next(said, "answer")
        if what == "dead key":
            raise CallFailed("key", "it died")
        if what == "refuse":
            return Answer("no", "refusal", label().usage, "m")
        return label("?" if what == "mumble" else "2")

    provider, asked, rows = RecordingProvider(complete), work(2), items(2)
    assert annotate(tmp_path, provider, asked, rows, concurrency=1).statuses == {"refusal": 4}
    with pytest.raises(ProviderUnusable):
        annotate(tmp_path, provider, asked, rows, concurrency=1, retry_failed=True)
    assert annotate(tmp_path, provider, asked, rows, concurrency=1).annotations == 4
    tally = annotate(tmp_path, provider, asked, rows, concurrency=1, retry_failed=True)
    assert tally.statuses == {"ok": 4}


def test_two_personas_with_the_same_words_are_one_call(tmp_path: Path) -> None:
    asked = work(3)
    twin = asked.panel.personas[0].model_copy()
    same = asked.panel.model_copy(update={"personas": (twin, twin)})
    provider = RecordingProvider(lambda request: asyncio.sleep(0.01, label()))
    tally = annotate(tmp_path, provider, replace(asked, panel=same), items(3))
    assert len(provider.requests) == 3 and tally.annotations == 6


# -- Ctrl-C -----------------------------------------------------------------------------------------------------------


def begin(recipe: Path, server: LLMProcess) -> int:
    """A run that has calls in flight; its pid."""
    pid = zygote().start("run", recipe, cwd=recipe.parent)
    while server.stats()["in_flight"] < 4:
        time.sleep(0.01)
    return pid


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_finishes_what_is_in_flight_and_says_how_to_go_on(tmp_path: Path, number: int) -> None:
    rows_with(tmp_path, plain=30)
    with LLMProcess("--latency", "0.4") as server:
        recipe = write_recipe(tmp_path, server.url, limits={"concurrency": 4})
        os.kill(begin(recipe, server), number)
        ended = zygote().end()
        assert ended.returncode == 130
        assert "finishing" in ended.stderr and "Run the same command again" in ended.stderr
        assert server.stats()["answered"] == _calls(tmp_path) > 0, "what was in flight was finished and kept"
        server.script(latency=0.0)
        done: Any = answer(dprm("run", recipe, "--json", cwd=tmp_path))
        assert server.stats()["answered"] == done["summary"]["annotations"], "nothing was paid for twice"


def test_a_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    rows_with(tmp_path, plain=30)
    with LLMProcess("--latency", "100") as server:
        pid = begin(write_recipe(tmp_path, server.url, limits={"concurrency": 4}), server)
        os.kill(pid, signal.SIGINT)
        while "Ctrl-C again" not in zygote().errors():
            time.sleep(0.01)
        os.kill(pid, signal.SIGINT)
        ended = zygote().end()
        assert ended.returncode == 130 and "Traceback" not in ended.stderr and "Run the same command" in ended.stderr


def _calls(folder: Path) -> int:
    return int(sqlite3.connect(folder / "run/ledger.sqlite").execute("SELECT COUNT(*) FROM calls").fetchone()[0])
