"""Run folders of an earlier version: run again they make no call and say the same; what was under way is finished."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import urllib.request
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.before.saved import assert_holds, assert_same_tables, call_keys, dprm_each, rows, unpack
from tests.servers.llm import LLMServer

RUNS = ["choice", "rationale", "logprobs", "distribution", "early", "local"]
FACTS = (
    "elicitation",
    "fit",
    "label_space",
    "model",
    "name",
    "panel",
    "plan_key",
    "prior",
    "prompts",
    "sampling",
    "seeds",
)


def summary_of(old: Path) -> dict[str, Any]:
    """What `show` said, but for the mean rewards of annotators who gave distributions: they were those of the most probable labels."""
    summary: dict[str, Any] = json.loads((old / "show.json").read_text())["summary"]
    gave = {row["annotator_id"] for row in rows(old / "run", "annotations").values() if row["probs"]}
    for persona in summary["personas"]:
        if persona["annotator_id"] in gave:
            del persona["mean_reward"]
    return summary


@pytest.mark.parametrize("name", RUNS)
def test_run_again(tmp_path: Path, double: LLMServer, name: str) -> None:
    if name == "local" and os.environ.get("DPRM_TEST_NO_LOCAL"):
        pytest.skip("DPRM_TEST_NO_LOCAL is set")
    old = unpack(f"run-folders/{name}", tmp_path / "old", double.url)
    job = unpack(f"run-folders/{name}", tmp_path / "new", double.url)
    shutil.rmtree(job / "run/tables")
    keys = call_keys(job / "run/ledger.sqlite")
    commands = [["run", "recipe.yaml"], ["run", "run/recipe.yaml"], ["show", "run"], ["ledger", "stats", "run"], ["ledger", "check", "run"]]  # fmt: skip
    again, frozen, shown, stats, checked = map(json.loads, dprm_each([[*c, "--json"] for c in commands], cwd=job))
    assert double.tally.requests == 0
    assert again["annotate"]["calls"] == frozen["annotate"]["calls"] == 0
    assert call_keys(job / "run/ledger.sqlite") == keys
    assert_same_tables(job / "run", old / "run")
    assert_holds(shown["summary"], summary_of(old))
    new, was = (json.loads((folder / "run/manifest.json").read_text()) for folder in (job, old))
    assert_holds({fact: new.get(fact) for fact in FACTS}, {fact: was.get(fact) for fact in FACTS})
    assert stats["calls"] == len(keys)
    assert checked["faults"] == []


@pytest.mark.parametrize("name", ["choice", "rationale"])
def test_looked_at_and_fitted_as_it_lies_there(tmp_path: Path, name: str) -> None:
    """Without its recipe and without a server: the folder alone."""
    old = unpack(f"run-folders/{name}", tmp_path / "old")
    run = unpack(f"run-folders/{name}", tmp_path / "new") / "run"
    item, vote = next(iter(rows(run, "items"))), next(iter(rows(run, "annotations").values()))
    commands = [
        ["show", run, "--item", item.strip("[']"), "--json"],
        ["show", run, "--persona", vote["annotator_id"], "--json"],
        ["show", run, "--personas", "--json"],
        ["show", run],
        ["fit", run, "--json"],
        ["agreement", run, "--json"],
        ["report", run, "--json"],
    ]
    said = dprm_each(commands, cwd=tmp_path)
    assert json.loads(said[0])["annotations"]
    assert json.loads(said[1])["annotations"]
    assert_same_tables(run, old / "run")
    assert_holds(json.loads(said[4])["summary"], summary_of(old))
    assert "</html>" in (run / "report.html").read_text()


def test_failures_are_asked_again(tmp_path: Path, double: LLMServer) -> None:
    job = unpack("run-folders/choice", tmp_path / "job", double.url)
    statuses = Counter(row["status"] for row in rows(job / "run", "annotations").values())
    wanted = statuses.total() - statuses["ok"] + 2 * statuses["unparsable"]  # the latter again and again
    dprm_each([["run", "recipe.yaml", "--retry-failed", "--quiet"]], cwd=job)
    assert double.tally.requests == wanted


def test_batches_that_were_under_way_are_collected(tmp_path: Path, double: LLMServer) -> None:
    """The first was collected; the second, of what is asked again, was at the provider when the run was broken off."""
    job = unpack("run-folders/batch", tmp_path / "job", double.url)
    batch = json.loads((job / "batch_2.json").read_text())
    hand_over(double.url, batch["rows"][:1], {})  # the provider's batch_1
    hand_over(double.url, batch["rows"], batch["metadata"])
    keys = set(call_keys(job / "run/ledger.sqlite"))
    [done] = dprm_each([["run", "recipe.yaml", "--json"]], cwd=job)
    asked = {key for key, _ in batch["rows"]}
    assert json.loads(done)["summary"]["statuses"] == {"ok": 24}
    assert set(call_keys(job / "run/ledger.sqlite")) == keys | asked
    assert double.tally.requests == len(asked)
    with closing(sqlite3.connect(job / "run/ledger.sqlite")) as db:
        assert db.execute("SELECT COUNT(*) FROM batches").fetchone() == (0,)


def hand_over(url: str, rows: list[Any], metadata: dict[str, str]) -> None:
    """Give a batch to the provider, as the earlier version did."""
    lines = [{"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body} for key, body in rows]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    form = (
        '--X\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--X\r\nContent-Disposition: form-data; name="file"; filename="b.jsonl"\r\n\r\n{content}\r\n--X--\r\n'
    )
    file = post(f"{url}/v1/files", form, "multipart/form-data; boundary=X")
    batch = {"input_file_id": file["id"], "completion_window": "24h", "metadata": metadata}
    post(f"{url}/v1/batches", json.dumps(batch), "application/json")


def post(url: str, content: str, kind: str) -> dict[str, Any]:
    request = urllib.request.Request(url, content.encode(), {"Content-Type": kind}, method="POST")
    with urllib.request.urlopen(request) as response:
        return dict(json.load(response))


def test_a_ledger_of_the_first_version(tmp_path: Path, double: LLMServer) -> None:
    old = unpack("run-folders/distribution", tmp_path / "old", double.url)
    job = unpack("run-folders/distribution", tmp_path / "new", double.url)
    unpack("run-folders/ledger-1", job / "run")
    ledger = job / "run/ledger.sqlite"
    keys = call_keys(ledger)
    assert version(ledger) == 1
    looked = [["ledger", "stats", "run", "--json"], ["ledger", "check", "run", "--json"], ["fit", "run", "--json"]]
    stats, checked, _ = map(json.loads, dprm_each(looked, cwd=job))
    assert (stats["calls"], checked["faults"]) == (len(keys), [])
    assert version(ledger) == 1, "looking changes nothing"
    dprm_each([["run", "recipe.yaml", "--json"], looked[1]], cwd=job)
    assert double.tally.requests == 0
    assert version(ledger) > 1
    assert call_keys(ledger) == keys
    assert_same_tables(job / "run", old / "run")


def version(ledger: Path) -> int:
    with closing(sqlite3.connect(ledger)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])
