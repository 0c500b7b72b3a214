"""The live page of every kind of run, as the JSON that it polls; and the end of a large ledger, read in parts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.ledger.factory import opened
from dprm_data.ledger.ledger import Ledger
from dprm_data.ledger.stats import stats_of
from dprm_data.ledger.store import CallRow
from dprm_data.live.ledger_tail import LedgerTail
from dprm_data.live.run_snapshot import RunSnapshot
from dprm_data.runs.run_status import RunStatus, run_status
from tests.engine.test_batch_mode import batch_recipe, wait_for_pending_batch
from tests.helpers import answer, dprm, write_recipe, write_rows
from tests.pipeline.test_compare_run import write_compare
from tests.pipeline.test_juries import CALLS, IDS, KEYS, jury
from tests.pipeline.test_people_run import ratings, write_people
from tests.processes import zygote
from tests.servers.llm import LLMServer
from tests.servers.postgres import Database


def state(run: Path) -> dict[str, Any]:
    """What the page is told of the run, once it has read all of it."""
    snapshot = RunSnapshot(run)
    try:
        snapshot.check()
        found = snapshot.read(whole=True)
        assert json.loads(json.dumps(found)) == found, "plain data"
        return found
    finally:
        snapshot.close()


@pytest.fixture(scope="module")
def server() -> Iterator[LLMServer]:
    with LLMServer() as made:
        yield made


def test_several_models(server: LLMServer, tmp_path: Path) -> None:
    jury(tmp_path, [server] * 3)
    assert dprm("run", "recipe.yaml", "--quiet", cwd=tmp_path, **KEYS).returncode == 0
    found = state(tmp_path / "run")
    assert {each["name"]: each["answered"] for each in found["models"]} == {f"model-{id_}": CALLS for id_ in IDS}
    assert set(found["by_model"]) == {f"model-{id_}" for id_ in IDS}
    assert (found["items_done"], found["items_total"], found["calls_left"]) == (6, 6, 0)
    status = answer(dprm("status", "run", "--json", cwd=tmp_path))
    assert (status["items_done"], status["items"]) == (6, 6)

    # The same run as somebody has it who pulled its dataset: without the ledger.
    pulled = Path(shutil.copytree(tmp_path / "run", tmp_path / "pulled", ignore=shutil.ignore_patterns("ledger*")))
    manifest = json.loads((pulled / "manifest.json").read_text()) | {"pulled": {"repo": "acme/x"}}
    (pulled / "manifest.json").write_text(json.dumps(manifest))
    there = state(pulled)
    assert there["shares"] == found["shares"] and there["agreement"] == found["agreement"]
    assert {item["id"]: item["shares"] for item in there["items"]} == {
        item["id"]: item["shares"] for item in found["items"]
    }
    assert there["items"][0]["prompt"].startswith("question") and not there["faults"]


def test_the_last_state_is_no_status_that_was_begun_before_the_end(
    server: LLMServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "pairs.jsonl", [{"prompt": "Q?", "response": "A."}])
    assert dprm("run", write_recipe(tmp_path, server.url), "--quiet", cwd=tmp_path).returncode == 0
    ended = threading.Event()

    def slow(path: Path) -> RunStatus:
        before = not ended.is_set()
        ended.wait(20)
        return replace(run_status(path), running=before)

    monkeypatch.setattr("dprm_data.live.run_snapshot.run_status", slow)
    monkeypatch.setattr("dprm_data.live.run_snapshot._FIRST_STATUS", 0.1)
    snapshot = RunSnapshot(tmp_path / "run")
    assert snapshot.read()["state"]["kind"] == "waiting"
    ended.set()
    assert snapshot.read(whole=True)["state"]["kind"] == "finished"
    snapshot.close()


def test_comparisons(server: LLMServer, tmp_path: Path) -> None:
    write_compare(tmp_path, server.url)
    assert dprm("run", "recipe.yaml", "--quiet", cwd=tmp_path).returncode == 0
    found = state(tmp_path / "run")
    assert [label["name"] for label in found["labels"]] == ["B is better", "neither is better", "A is better"]
    assert found["labelled"] == found["calls"] == 32 and not found["faults"]
    assert all(len(item["responses"]) == 2 and item["responses"][0] != item["responses"][1] for item in found["items"])


def test_people_alone(tmp_path: Path) -> None:
    write_people(tmp_path, ratings())
    assert dprm("run", "recipe.yaml", "--quiet", cwd=tmp_path).returncode == 0
    found = state(tmp_path / "run")
    assert not found["simulated"] and found["agreement"]["alpha"] > 0.8
    assert (found["calls"], found["items_done"], found["state"]["kind"]) == (0, 30, "finished")
    assert found["items"] and all(item["prompt"].startswith("what is") for item in found["items"])
    assert answer(dprm("status", "run", "--json", cwd=tmp_path))["items_done"] == 30


def test_stopped_by_the_budget_and_what_has_no_label(server: LLMServer, tmp_path: Path) -> None:
    faults = [{"prompt": f"{kind}? [[fault:{kind}]]", "response": "r"} for kind in ("400", "unparsable", "refusal")]
    plain = [{"prompt": f"{i}?", "response": "r"} for i in range(40)]
    write_rows(tmp_path / "pairs.jsonl", [*plain[:12], *faults, *plain[12:]])
    write_recipe(tmp_path, server.url, limits={"concurrency": 1})
    assert dprm("run", "recipe.yaml", "--quiet", "--max-cost", "0.006", cwd=tmp_path).returncode == 3
    found = state(tmp_path / "run")
    assert found["state"]["kind"] == "stopped" and "the budget of $0.006 is reached" in found["state"]["words"]
    assert 0 < found["items_done"] < found["items_total"] == 43 and found["calls_left"] > 0 and found["projected"]
    assert found["models"][-1]["failed"] == 4 and found["attempts"] == {"rejected": 4}
    assert len(found["failures"]) == 3 and found["labelled"] == found["annotations"] - 12
    assert found["steps"][0][0].startswith("dprm run")


def test_batches_at_the_provider(tmp_path: Path) -> None:
    with LLMServer(batch_seconds=60) as double:
        pid = zygote().start("run", batch_recipe(tmp_path, double.url), "--quiet", cwd=tmp_path)
        wait_for_pending_batch(tmp_path)
        found = state(tmp_path / "run")
        assert found["state"]["kind"] == "running" and found["batches"]["pending"] == 1
        assert found["batches"]["calls"] > 0 and not found["faults"]
        os.kill(pid, signal.SIGKILL)
        zygote().end(pid)
    assert state(tmp_path / "run")["state"] == {"kind": "waiting", "words": "1 batches are with the provider"}


@pytest.mark.slow
def test_a_ledger_in_postgres(server: LLMServer, tmp_path: Path, postgres: Database) -> None:
    write_recipe(tmp_path, server.url, ledger=postgres.url)
    assert dprm("run", "recipe.yaml", "--quiet", cwd=tmp_path, **postgres.environment).returncode == 0
    found = state(tmp_path / "run")
    assert found["calls"] == found["labelled"] == 16 and not found["faults"]
    assert sum(found["pace"]["bars"]) == 16


# -- a large ledger -------------------------------------------------------------------------------------------------------

_ROWS = 45_000


def call(number: int, run: str, at: float) -> CallRow:
    status = "rejected" if number % 50 == 0 else "answered"
    return CallRow(
        number.to_bytes(32, "big"), 0, run, status, "an answer", "stop", None, f"model-{number % 3}", 10, 5, 0, 0,
        0.001, 0.5, at, "", "", 0, None, None,
    )  # fmt: skip


def test_a_large_ledger_is_read_in_parts_and_its_end_again(tmp_path: Path) -> None:
    address = LedgerAddress.parse(tmp_path / "ledger.sqlite")
    began = 1_800_000_000.0
    with Ledger(address) as writer, opened(address) as store:
        rows = [call(i, "mine" if i % 4 else "other", began + i / 20) for i in range(1, _ROWS + 1)]
        writer.store.put("calls", [(i, *row) for i, row in enumerate(rows, 1)])
        tail, until = LedgerTail("mine"), time.monotonic() + 60
        tail.read(store)
        while tail.behind:
            assert time.monotonic() < until
            tail.read(store)
        assert_same(tail, store)
        # Two writers: the lower id comes later.
        more = {_ROWS + 2: 1, _ROWS + 1: 2, _ROWS + 3: 4}
        for id_, extra in more.items():
            writer.store.put("calls", [(id_, *call(10 * _ROWS + extra, "mine", began + _ROWS / 20 + extra))])
            tail.read(store)
        assert_same(tail, store)
        pace = tail.pace(now=began + _ROWS)
        assert pace and sum(pace.bars) == tail.calls and len(pace.bars) <= 91
        assert pace.rate == pytest.approx(15, rel=0.02)
        going = tail.pace(now=began + _ROWS / 20 + 5)
        assert going and going.rate == pytest.approx(15, rel=0.15)


def assert_same(tail: LedgerTail, store: Any) -> None:
    groups = [group for group in stats_of(store).groups if group.run == "mine"]
    assert tail.calls == sum(group.calls for group in groups)
    for name in ("model-0", "model-1", "model-2"):
        [group] = [each for each in groups if (each.model, each.status) == (name, "answered")]
        assert tail.models[name].answered == group.calls
        assert tail.models[name].cost == pytest.approx(group.cost)
    assert tail.models[""].failed == sum(group.calls for group in groups if group.status == "rejected")
