"""compare: {pairs: active}: pairs are chosen in rounds, from the answers so far, until the budget is used."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dprm_data.runs.asked_pairs import pairs_path
from dprm_data.runs.folder import RunFolder
from tests.helpers import answer, dprm, write_recipe, write_rows
from tests.processes import zygote
from tests.servers.llm import LLMProcess, LLMServer

PROMPTS, SIZE = 6, 5
CHAIN, ALL = PROMPTS * (SIZE - 1), PROMPTS * SIZE * (SIZE - 1) // 2


def _write(folder: Path, url: str, pairs: int, people: int = 1, **changes: Any) -> None:
    rows = [
        {"prompt": f"Question {p}?", "response": f"Answer {r} of {p}."} for p in range(PROMPTS) for r in range(SIZE)
    ]
    write_rows(folder / "pairs.jsonl", rows)
    compare = {"pairs": "active", "budget": pairs * 2 * people} | changes.pop("compare", {})
    write_recipe(
        folder, url, elicitation="compare", compare=compare, panel={"use": "small", "sample": people}, **changes
    )


def _table(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "run" / "tables" / f"{name}.parquet").to_pylist()
    return rows


def _pairs(folder: Path) -> list[frozenset[str]]:
    return [frozenset((row["first_item_id"], row["second_item_id"])) for row in _table(folder, "comparisons")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("active")
    with LLMServer() as server:
        _write(folder, server.url, 36)
        planned = answer(dprm("plan", "recipe.yaml", "--json", cwd=folder))
        done = answer(dprm("run", "recipe.yaml", "--json", cwd=folder))
        made = server.tally.requests
        again = answer(dprm("run", "recipe.yaml", "--json", cwd=folder))
        yield folder, planned, done, made, again, server.tally.requests


def test_the_budget_is_used_and_nothing_is_asked_twice(finished: Any) -> None:
    folder, planned, done, made, again, after = finished
    pairs = Counter(_pairs(folder))
    assert len(pairs) == 36 and set(pairs.values()) == {2}  # both ways round
    assert made == after == 72 == planned["calls_needed"] == planned["annotations"]
    assert done["annotate"]["calls"] == 72 and done["annotate"]["replayed"] == 0
    assert again["annotate"]["calls"] == 0 and again["annotate"]["replayed"] == 72
    assert len(_table(folder, "preferences")) == ALL  # compared or not


@pytest.mark.slow
def test_a_larger_budget_adds_pairs(finished: Any, tmp_path: Path) -> None:
    """And what was chosen before stays chosen."""
    with LLMServer() as server:
        _write(tmp_path, server.url, CHAIN)
        assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
        chain = set(_pairs(tmp_path))
        assert len(chain) == CHAIN
        _write(tmp_path, server.url, 36)
        assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
        assert server.tally.requests == 72
        assert chain < set(_pairs(tmp_path)) == set(_pairs(finished[0]))  # as in one go
        _write(tmp_path, server.url, 10 * ALL)
        planned = answer(dprm("plan", "recipe.yaml", "--json", cwd=tmp_path))
        assert (planned["annotations"], planned["calls_needed"]) == (2 * ALL, 2 * ALL - 72)
        assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
        assert server.tally.requests == 2 * ALL  # there are no more


@pytest.mark.slow
def test_killed_in_any_round(finished: Any, tmp_path: Path) -> None:
    """The same pairs in the end, none of them asked twice but for what was in flight."""
    processes, moments, seen = zygote(), (10, 30, 50, 57, 63), []
    with LLMProcess("--latency", "0.05") as server:
        _write(tmp_path, server.url, 36, limits={"concurrency": 3})
        for moment in moments:
            pid = processes.start("run", "recipe.yaml", cwd=tmp_path)
            while server.stats()["answered_distinct"] < moment:
                time.sleep(0.01)
            os.kill(pid, signal.SIGKILL)
            processes.end()
            seen.append(pq.read_metadata(pairs_path(RunFolder(tmp_path / "run"))).num_rows // 2)
            status = answer(dprm("status", "run", "--json", cwd=tmp_path))
            assert status["calls_made"] + status["calls_left"] == 72  # those of pairs that are not chosen yet, too
        assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
        stats = server.stats()
    assert seen == sorted(seen) and seen[0] == CHAIN < seen[2] < 36, seen
    assert stats["distinct"] == stats["answered_distinct"] == 72
    assert stats["answered"] - 72 <= 5 * len(moments)
    assert set(_pairs(tmp_path)) == set(_pairs(finished[0]))


def test_too_small_a_budget_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, "http://127.0.0.1:9", CHAIN - 1)
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode != 0 and f"Give {2 * CHAIN:,} or more" in " ".join(done.stderr.split())


@pytest.mark.parametrize("compare", [{"budget": None}, {"pairs": "all"}])
def test_active_and_a_budget_go_together(tmp_path: Path, compare: dict[str, Any]) -> None:
    _write(tmp_path, "http://127.0.0.1:9", 40, compare=compare)
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode != 0 and "go together" in done.stderr
