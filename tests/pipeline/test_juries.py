"""Juries: several models in one panel, as three servers and real `dprm` processes see them."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tests.helpers import answer, write_recipe, write_rows
from tests.processes import dprm, zygote
from tests.servers.llm import LLMProcess, LLMServer

IDS = ("one", "two", "three")
ITEMS, PERSONAS = 6, 4  # of the small panel
CALLS = ITEMS * PERSONAS
KEYS = {"KEY_ONE": "k-one", "KEY_TWO": "k-two", "KEY_THREE": "k-three"}


def jury(
    folder: Path, servers: list[Any], items: int = ITEMS, each: dict[str, dict[str, Any]] | None = None, **recipe: Any
) -> Path:
    """A recipe of three models, each at its own server, with its own price and key."""
    write_rows(folder / "pairs.jsonl", [{"prompt": f"question {i}", "response": "an answer"} for i in range(items)])
    models = [
        {
            "id": id_,
            "name": "openai",
            "model": f"model-{id_}",
            "base_url": f"{server.url}/v1",
            "api_key_env": f"KEY_{id_.upper()}",
            "price": {"input": number * 1e6, "output": 0},  # a token costs a dollar, two, three
            **(each or {}).get(id_, {}),
        }
        for number, (id_, server) in enumerate(zip(IDS, servers, strict=True), start=1)
    ]
    path = write_recipe(folder, labels=3, models=models, **recipe)
    content = yaml.safe_load(path.read_text())
    del content["provider"]
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture
def servers() -> Iterator[list[LLMServer]]:
    """Three models, each of its own opinion."""
    with ExitStack() as stack:
        found = [stack.enter_context(LLMServer(key=key)) for key in KEYS.values()]
        for number, server in enumerate(found, start=1):
            server.says = lambda data, label=number: json.dumps({"label": str(label)})
        yield found


def annotations(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "run" / "tables" / "annotations.parquet").to_pylist()


def run(recipe: Path, *more: object, command: str = "run", code: int = 0, **environment: str) -> Any:
    done = dprm(command, recipe, *more, cwd=recipe.parent, **(KEYS | environment))
    assert done.returncode == code, done.stderr
    return done


# -- who answered, and what it cost ------------------------------------------------------------------------------------


def test_every_model_answers_as_every_persona_at_its_own_price(tmp_path: Path, servers: list[LLMServer]) -> None:
    recipe = jury(tmp_path, servers)
    plan = answer(run(recipe, "--json", command="plan"))
    said = answer(run(recipe, "--json"))
    assert [server.tally.requests for server in servers] == [CALLS] * 3
    rows = annotations(tmp_path)
    assert {(row["model_id"], row["label"]) for row in rows} == {("one", "1"), ("two", "2"), ("three", "3")}
    assert Counter(row["model_id"] for row in rows) == dict.fromkeys(IDS, CALLS)
    assert {row["weight"] for row in rows} == {1.0}
    cost = {id_: sum(row["cost"] for row in rows if row["model_id"] == id_) for id_ in IDS}
    assert cost["two"] == pytest.approx(2 * cost["one"]) and cost["three"] == pytest.approx(3 * cost["one"])
    made = said["annotate"]
    assert (made["items"], made["annotations"], made["calls"]) == (ITEMS, 3 * CALLS, 3 * CALLS)
    assert {id_: each["calls"] for id_, each in made["models"].items()} == dict.fromkeys(IDS, CALLS)
    assert {id_: each["cost"] for id_, each in made["models"].items()} == pytest.approx(cost)
    assert made["cost"] == pytest.approx(sum(cost.values()))
    assert (plan["calls_needed"], plan["annotators"], plan["annotations"]) == (3 * CALLS, 3 * PERSONAS, 3 * CALLS)
    assert {id_: each["calls_needed"] for id_, each in plan["models"].items()} == dict.fromkeys(IDS, CALLS)
    assert plan["cost"] == pytest.approx(sum(each["cost"] for each in plan["models"].values()))
    by_model = {each["model_id"]: each for each in said["summary"]["by_model"]}
    assert {id_: each["ok"] for id_, each in by_model.items()} == dict.fromkeys(IDS, CALLS)
    assert {id_: each["cost_per_vote"] * CALLS for id_, each in by_model.items()} == pytest.approx(cost)
    again = answer(run(recipe, "--json"))["annotate"]
    assert (again["calls"], again["annotations"], again["items"]) == (0, 3 * CALLS, ITEMS)


def test_a_balanced_jury_asks_one_model_as_each_persona(tmp_path: Path, servers: list[LLMServer]) -> None:
    run(
        jury(tmp_path, servers, design="balanced", prior={}, limits={"give_up_unusable": 0})
    )  # the doubles state no distribution
    rows = [row for row in annotations(tmp_path) if row["annotator_id"] != "population"]
    assert len(rows) == CALLS == len({(row["item_id"], row["annotator_id"]) for row in rows})
    for item in {row["item_id"] for row in rows}:
        met = Counter(row["model_id"] for row in rows if row["item_id"] == item)
        assert sorted(met.values()) == [1, 1, 2]
    stated = [row for row in annotations(tmp_path) if row["annotator_id"] == "population"]
    assert Counter(row["model_id"] for row in stated) == dict.fromkeys(IDS, ITEMS), "each model states one"


def test_two_settings_of_one_model_are_told_apart(tmp_path: Path, servers: list[LLMServer]) -> None:
    each = {id_: {"model": "same", "temperature": i / 2} for i, id_ in enumerate(IDS)}
    run(jury(tmp_path, servers, each=each))
    rows = annotations(tmp_path)
    assert {(row["model"], row["model_id"], row["label"]) for row in rows} == {
        ("same", "one", "1"),
        ("same", "two", "2"),
        ("same", "three", "3"),
    }


def test_adding_a_model_asks_only_that_one(tmp_path: Path, servers: list[LLMServer]) -> None:
    write_rows(tmp_path / "pairs.jsonl", [{"prompt": f"question {i}", "response": "an answer"} for i in range(ITEMS)])
    provider = {"name": "openai", "model": "model-one", "base_url": f"{servers[0].url}/v1", "api_key_env": "KEY_ONE"}
    run(write_recipe(tmp_path, provider=provider | {"price": {"input": 0, "output": 0}}, labels=3))
    run(jury(tmp_path, servers))
    assert [server.tally.requests for server in servers] == [CALLS] * 3


# -- limits -----------------------------------------------------------------------------------------------------------


def test_each_model_has_its_own_limits_and_none_holds_another_up(tmp_path: Path, servers: list[LLMServer]) -> None:
    slow, quick, _ = servers
    for server in servers:
        server.script({"latency": 0.05})
    each = {"one": {"limits": {"concurrency": 1}}, "two": {"limits": {"concurrency": 9}}}
    run(jury(tmp_path, servers, each=each, limits={"concurrency": 4}))
    assert [server.tally.max_in_flight for server in servers] == [1, 9, 4]
    assert slow.tally.arrivals[-1] > 4 * quick.tally.arrivals[-1], "one call at a time takes nine times as long"


def test_one_budget_over_all(tmp_path: Path, servers: list[LLMServer]) -> None:
    done = run(jury(tmp_path, servers), "--max-cost", "20000", code=3)
    assert "the budget of $2e+04 is reached" in done.stderr
    rows = annotations(tmp_path)
    spent = sum(row["cost"] for row in rows)
    assert 0 < spent <= 20000 and len(rows) < 3 * CALLS
    assert (tmp_path / "run" / "tables" / "distributions.parquet").exists()


# -- one that is down ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["key", "away", "failing"])
def test_one_model_down_does_not_end_the_others(tmp_path: Path, servers: list[LLMServer], fault: str) -> None:
    items = 25 if fault == "failing" else ITEMS
    each: dict[str, Any] = {"two": {"base_url": "http://127.0.0.1:9/v1"}} if fault == "away" else {}
    each.setdefault("two", {})["limits"] = {"attempts": 1}
    if fault == "failing":
        servers[1].script({"chances": {"500": 1.0}})
    recipe = jury(tmp_path, servers, items, each=each)
    done = run(recipe, code=1, **({"KEY_TWO": "dead"} if fault == "key" else {}))
    assert "1 of 3 models has stopped, and the other 2 have finished" in done.stderr
    reason = {
        "key": "two: the provider refuses every call",
        "away": "two: the provider cannot be reached",
        "failing": "two: none of the first 8 answers of model-two (choice) gives a label. The provider says: 500",
    }
    assert reason[fault] in done.stderr
    assert "Run again" in done.stderr
    calls = items * PERSONAS
    rows = [row for row in annotations(tmp_path) if row["status"] == "ok"]
    assert Counter(row["model_id"] for row in rows) == {"one": calls, "three": calls}
    assert pq.read_metadata(tmp_path / "run" / "tables" / "distributions.parquet").num_rows == items
    servers[1].script({"chances": {}})
    before = servers[1].tally.requests
    run(jury(tmp_path, servers, items), "--retry-failed")
    assert [servers[0].tally.requests, servers[2].tally.requests] == [calls, calls], "these were through"
    assert servers[1].tally.requests - before == calls
    assert Counter(row["model_id"] for row in annotations(tmp_path)) == dict.fromkeys(IDS, calls)


# -- killed -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_and_resumed_without_a_call_paid_twice(tmp_path: Path) -> None:
    """Beyond what was in flight: each model's calls are counted by their content at its own server."""
    kills, concurrency = 4, 4
    most_lost = concurrency + concurrency // 4 + 1  # of one model: sent, or answered and not yet on disk
    with ExitStack() as stack:
        servers = [stack.enter_context(LLMProcess("--latency", latency)) for latency in ("0.01", "0.02", "0.04")]
        recipe = jury(tmp_path, servers, 20, limits={"concurrency": concurrency})
        calls = 20 * PERSONAS
        for kill in range(1, kills + 1):
            pid = zygote().start("run", recipe, cwd=tmp_path, **KEYS)
            deadline = time.monotonic() + 20
            while servers[2].stats()["answered"] < kill * calls / (kills + 2):
                assert time.monotonic() < deadline
                time.sleep(0.005)
            os.kill(pid, signal.SIGKILL)
            assert zygote().end(pid).returncode == -9
        run(recipe)
        stats = [server.stats(details=True) for server in servers]
    for each in stats:
        assert each["answered_distinct"] == each["distinct"] == calls
        assert each["answered"] - calls <= kills * most_lost
    with sqlite3.connect(tmp_path / "run" / "ledger.sqlite") as db:
        assert db.execute("SELECT COUNT(*) FROM calls").fetchone() == (3 * calls,)
    assert Counter(row["model_id"] for row in annotations(tmp_path)) == dict.fromkeys(IDS, calls)
