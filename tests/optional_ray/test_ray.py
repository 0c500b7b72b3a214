"""Runs on a real Ray, with a real PostgreSQL as the ledger and a provider that counts what it is asked.

`make test-distributed` runs this in an environment of its own; elsewhere it is skipped.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

pytest.importorskip("ray", reason="Ray is not installed here: make test-distributed")

from tests.helpers import dprm, write_recipe
from tests.optional_ray.conftest import (
    CALLS,
    IN_FLIGHT,
    ITEMS,
    Job,
    a_cluster,
    a_job,
    answered,
    content,
    ended,
    wait_until,
)
from tests.servers.llm import LLMProcess, LLMServer
from tests.servers.postgres import PASSWORD, Database

KEY = "sk-secret-abcdefghijklmnopqrstuvwx"
NO_TIMES = ["item_id", "annotator_id", "label", "probs", "weight", "replicate", "status", "model", "call_key"]


def complete(done: dict[str, Any]) -> None:
    """Everything has a label, as the command counts it."""
    annotate = done["annotate"]
    assert (annotate["items"], annotate["annotations"], annotate["failures"]) == (ITEMS, CALLS, {})


def test_a_run_is_what_it_is_in_one_process(job: Job, server: LLMProcess, tmp_path: Path) -> None:
    server.script(latency=0.2)  # longer than it takes both actors to start
    done = job.dprm("run", OPENAI_API_KEY=KEY)
    assert done.returncode == 0, done.stderr
    noise = [
        line
        for line in done.stderr.splitlines()
        if "ray" in line.lower() or "WARN" in line or "/site-packages/" in line
    ]
    assert not noise, "Ray is to be quiet"
    stats = answered(server)
    assert stats["requests"] == stats["answered_distinct"] == CALLS
    assert len(job.database.execute("SELECT DISTINCT writer FROM dprm.writers WHERE cost > 0")) == 2, (
        "both actors asked"
    )

    server.script(latency=0.0)
    again = content(job.dprm("run", "--json", OPENAI_API_KEY=KEY))
    assert again["annotate"]["calls"] == 0 and again["annotate"]["items"] == ITEMS
    assert again["annotate"]["replayed"] == CALLS
    assert server.stats()["requests"] == CALLS, "nothing was asked again"

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "pairs.jsonl").write_bytes((tmp_path / "pairs.jsonl").read_bytes())
    direct = dprm("run", write_recipe(elsewhere, server.url, panel="paper"), cwd=elsewhere)
    assert direct.returncode == 0, direct.stderr
    here, there = (
        pq.read_table(folder / "run/tables/annotations.parquet", columns=NO_TIMES) for folder in (tmp_path, elsewhere)
    )
    assert here.equals(there)

    files = [*(tmp_path / "run").rglob("*"), *job.ray_folder.rglob("*")]
    everything = b"".join(file.read_bytes() for file in files if file.is_file())
    assert b"gpt-4o-mini" in everything and b"gcs_server" in everything, "there is something to look into"
    for secret in (KEY, PASSWORD):
        assert secret.encode() not in everything + done.stderr.encode() + done.stdout.encode()


def test_an_actor_is_killed(job: Job, server: LLMProcess) -> None:
    running = job.start("run", "--no-fit", "--json")
    for number in (1, 2):
        wait_until(lambda so_many=number: job.rows() > so_many * CALLS // 4, "nothing is asked")
        os.kill(job.actors()[0], signal.SIGKILL)
    done = content(ended(running))
    stats = answered(server)
    complete(done)
    assert stats["answered_distinct"] == job.rows() == CALLS
    assert stats["requests"] <= CALLS + 2 * IN_FLIGHT, "more than what was in flight was sent again"


def test_the_command_is_killed_and_started_again(tmp_path: Path, postgres: Database, server: LLMProcess) -> None:
    with a_job(tmp_path, postgres, server.url, ray={"actors": [1, 2], "batch_size": 2}) as job:
        kill_and_start_again(job, server)


def kill_and_start_again(job: Job, server: LLMProcess) -> None:
    for number in (1, 2):
        running = job.start("annotate")
        wait_until(lambda so_many=number: job.rows() > so_many * CALLS // 4, "nothing is asked")
        running.kill()
        assert ended(running).returncode == -signal.SIGKILL
    before = job.rows()
    done = content(job.dprm("run", "--no-fit", "--json"))
    stats = answered(server)
    complete(done)
    assert done["annotate"]["calls"] <= CALLS - before
    assert stats["answered_distinct"] == job.rows() == CALLS
    assert stats["requests"] <= CALLS + 2 * 2 * IN_FLIGHT, "more than what two actors had in flight was sent again"


def test_ctrl_c_finishes_what_is_in_flight(job: Job, server: LLMProcess) -> None:
    running = job.start("annotate")
    wait_until(lambda: job.rows() > CALLS // 4, "nothing is asked")
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does it: everyone in the group
    done = ended(running)
    stats = answered(server)
    assert done.returncode == 130, done.stderr
    assert "Run the same command again" in done.stderr and "Traceback" not in done.stderr
    assert stats["requests"] == job.rows() < CALLS, "what was in flight was kept"
    complete(content(job.dprm("run", "--no-fit", "--json")))
    assert answered(server)["requests"] == CALLS


def test_a_second_ctrl_c_leaves_at_once(job: Job, server: LLMProcess) -> None:
    server.script(latency=600.0)
    running = job.start("annotate")
    wait_until(lambda: server.stats()["in_flight"] >= 2, "nothing is asked")
    assert running.stderr
    os.killpg(running.pid, signal.SIGINT)
    while "stopping" not in running.stderr.readline():
        assert running.poll() is None, "it has not said that it waits for what is in flight"
    os.killpg(running.pid, signal.SIGINT)
    done = ended(running)
    assert done.returncode == 130 and "Traceback" not in done.stderr, done.stderr
    assert job.rows() == 0


def test_the_budget_holds_over_all_actors(job: Job, server: LLMProcess) -> None:
    planned = content(job.dprm("plan", "--json"))
    limit = planned["cost"] / 2
    stopped = job.dprm("run", "--max-cost", str(limit))
    assert stopped.returncode == 3, stopped.stderr
    assert "the budget of" in stopped.stderr and "Raise the budget" in stopped.stderr
    spent = content(job.dprm("plan", "--json"))["spent"]
    each = spent / job.rows()
    assert job.rows() == answered(server)["requests"] < CALLS
    assert limit - 20 * each < spent <= limit, "it is used up, and not more"
    assert (job.folder / "run/tables/distributions.parquet").exists(), "what was bought is usable"
    complete(content(job.dprm("run", "--json")))
    assert answered(server)["requests"] == CALLS


def test_requests_per_minute_hold_over_all_actors_and_endpoints(tmp_path: Path, postgres: Database) -> None:
    per_second = 20
    with LLMServer() as server:
        fleet = [{"base_url": f"{url}/v1"} for url in (server.url, server.url.replace("127.0.0.1", "localhost"))]
        provider = {"name": "openai", "model": "gpt-4o-mini", "endpoints": fleet}
        with a_job(tmp_path, postgres, server.url, provider=provider, limits={"rpm": 60 * per_second}) as job:
            complete(content(job.dprm("run", "--no-fit", "--json")))
        assert server.tally.requests == CALLS
        for seconds in (2, 5):
            assert server.tally.most_within(seconds) <= per_second * (seconds + 1), "a second's worth may come at once"


def test_what_dooms_every_call_ends_the_run_as_in_one_process(
    tmp_path: Path, postgres: Database, double: LLMServer
) -> None:
    double.script({"chances": {"401": 1.0}})
    with a_job(tmp_path, postgres, double.url) as job:
        done = job.dprm("run", OPENAI_API_KEY=KEY)
    assert double.tally.requests <= 2 * IN_FLIGHT
    direct = write_recipe(tmp_path, double.url, output="direct")
    alone = dprm("run", direct, cwd=tmp_path, OPENAI_API_KEY=KEY)
    assert done.returncode == alone.returncode == 1
    assert "the provider refuses every call: Incorrect API key" in done.stderr and KEY not in done.stderr
    assert done.stderr.splitlines()[-2:] == alone.stderr.splitlines()[-2:], "the same words as in one process"


def test_on_a_cluster_keys_come_from_the_nodes(job: Job, server: LLMProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three nodes; the one that the command runs on has no processor to spare, and the command has no key."""
    server.script(key=KEY, latency=0.0)
    monkeypatch.setenv("RAY_TMPDIR", str(job.ray_folder))
    monkeypatch.setenv("KEY_OF_THE_FLEET", KEY)
    with a_cluster() as address:
        monkeypatch.delenv("KEY_OF_THE_FLEET")
        refused = job.changed(address, key="KEY_OF_NOBODY").dprm("annotate")
        assert refused.returncode == 2 and f"would run as part of the Ray cluster at {address}" in refused.stderr
        monkeypatch.setenv("DPRM_TRUST", address.rpartition(":")[0])
        done = job.changed(address, key="KEY_OF_NOBODY").dprm("annotate")
        assert done.returncode == 2, done.stderr
        assert "on the node " in done.stderr and "the environment variable KEY_OF_NOBODY is not set" in done.stderr
        assert server.stats()["requests"] == 0
        complete(content(job.changed(address, key="KEY_OF_THE_FLEET").dprm("run", "--no-fit", "--json")))
    assert answered(server)["requests"] == CALLS
