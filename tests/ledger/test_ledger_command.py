"""dprm ledger: copies that are the same row by row, exports that others can read, sums that agree, and faults that are found."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dprm_data.core.errors import InputError, LedgerError
from dprm_data.engine.pending_batches import PendingBatches
from dprm_data.ledger.call import Reply
from dprm_data.ledger.copy import Copied, copy_ledger
from dprm_data.ledger.factory import opened
from dprm_data.ledger.ledger import FailedAttempt, Ledger
from dprm_data.ledger.store import TABLES
from dprm_data.providers.request import Usage
from tests.helpers import ROOT, answer, environ
from tests.ledger.test_ledger import at, key, reply
from tests.processes import dprm
from tests.servers.postgres import Database

CALLS = 300


def strange(run: str, number: int) -> Reply:
    logprobs = (("A", -0.1), ("\x00", float("-inf"))) if number % 3 else None
    usage = Usage(10 + number, 2, number, 1)
    cost = None if number % 10 == 0 else 0.125
    return Reply("answered", f"{run} \x00\x1a {number}", "stop", logprobs, "m", usage, cost, 0.5, 1e9 + number)


def make(place: Path | str) -> None:
    """Two runs, calls asked again, strange texts, failures, items done, a batch at the provider."""

    async def go() -> None:
        for run in ("one", "two"):
            with Ledger(at(place), run=run, price_table="prices") as ledger:
                ledger.record_now([(key(number), strange(run, number)) for number in range(CALLS // 2)])
                ledger.note_failure(FailedAttempt(key(1), "server", 500, "oops\x00", 0.5))
                ledger.note_failure(FailedAttempt(key(2), "timeout", None, "", None))
                ledger.note_done(b"plan", run.encode())
                await ledger.flush()
                PendingBatches(ledger).put([(key(1000), b"item"), (key(1001), b"item")], 2.0)

    asyncio.run(go())


def copied(source: Path | str, destination: Path | str) -> Copied:
    return copy_ledger(at(source), at(destination))


def content(place: Path | str) -> dict[str, Any]:
    """All rows of all tables, and the totals."""
    with opened(at(place)) as store, store.snapshot() as select:
        rows = {
            table: list(select(f"SELECT {', '.join(names)} FROM {table} ORDER BY {', '.join(names[:2])}"))
            for table, names in TABLES.items()
        }
        return rows | {"totals": store.totals()}


def test_there_and_back(postgres: Database, tmp_path: Path) -> None:
    """Every row of every table is the same in the copy's copy; doing it twice writes nothing; what is added later is added."""
    first, back = tmp_path / "first.sqlite", tmp_path / "back.sqlite"
    make(first)
    first_copy = answer(dprm("ledger", "copy", first, postgres.url, "--json", cwd=tmp_path, **postgres.environment))
    assert first_copy["calls"] == CALLS and first_copy["written"] == CALLS + 4 and first_copy["batches"] == 2
    assert content(postgres.url) == content(first)
    assert copied(postgres.url, back).calls == CALLS
    assert content(back) == content(first)
    for places in ((first, postgres.url), (postgres.url, back)):
        again = copied(*places)
        assert (again.written, again.calls) == (0, CALLS)
    with Ledger(at(first), run="one") as ledger:
        ledger.record_now([(key(1000), reply()), (key(1001), reply())], collected=1)
    assert copied(first, postgres.url).written == 2
    assert content(postgres.url) == content(first)
    with Ledger(postgres.address, run="one") as ledger:  # and it can be gone on with: numbers go on, sums go on
        spent = ledger.spent()
        ledger.record_now([(key(5000), reply(cost=1.0)), (key(3), reply("newest", cost=1.0))])
        assert ledger.spent() == spent + 2.0 and ledger.find([key(3)])[key(3)].text == "newest"
    with pytest.raises(LedgerError, match="another ledger"):  # now it has calls of its own
        copied(first, postgres.url)


def test_another_ledger_is_refused_and_left_alone(postgres: Database, tmp_path: Path) -> None:
    first, other = tmp_path / "first.sqlite", tmp_path / "other.sqlite"
    make(first)
    for place in (other, postgres.url):
        with Ledger(at(place), run="theirs") as ledger:
            ledger.record_now([(key(1), reply("theirs"))])
        before = content(place)
        with pytest.raises(LedgerError, match=r"another ledger\n.*Copy into an empty ledger"):
            copied(first, place)
        assert content(place) == before
    with Ledger(at(tmp_path / "batch.sqlite"), run="theirs") as ledger:  # nothing but a batch at the provider
        PendingBatches(ledger).put([(key(7000), b"item")], 1.0)
    with pytest.raises(LedgerError, match="another ledger"):
        copied(first, tmp_path / "batch.sqlite")
    with pytest.raises(InputError, match="into itself"):
        copied(first, first)
    said = dprm("ledger", "copy", first, other, cwd=tmp_path)
    assert said.returncode == 1 and "another ledger" in said.stderr and "Traceback" not in said.stderr


_COPIES = """
import sys
from pathlib import Path
from dprm_data.ledger import copy
from tests.ledger.test_ledger import at
copy._CHUNK = 20
copy.copy_ledger(at(sys.argv[1]), at(sys.argv[2]), on_progress=lambda rows: print(rows, flush=True))
"""


def test_a_copy_that_is_killed_goes_on(postgres: Database, tmp_path: Path) -> None:
    first = tmp_path / "first.sqlite"
    make(first)
    command = [sys.executable, "-c", _COPIES, str(first), postgres.url]
    process = subprocess.Popen(command, cwd=ROOT, env=environ(), stdout=subprocess.PIPE)
    assert process.stdout
    while int(process.stdout.readline()) < 100:
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    time.sleep(0.1)
    there = postgres.execute("SELECT count(*) FROM dprm.calls")[0][0]
    assert 0 < there < CALLS
    assert copied(first, postgres.url).written <= CALLS + 4 - there
    assert content(postgres.url) == content(first)


def test_an_old_file_is_copied_as_it_is(tmp_path: Path) -> None:
    """One of version 1, which has no totals and no batches, is only read."""
    from dprm_data.ledger import sqlite_file

    make(tmp_path / "new.sqlite")
    old = sqlite3.connect(tmp_path / "old.sqlite")
    old.executescript(
        f"{sqlite_file._STEPS[0]} PRAGMA application_id = {sqlite_file.APPLICATION_ID}; PRAGMA user_version = 1;"
        f"ATTACH '{tmp_path / 'new.sqlite'}' AS new;"
        + "".join(
            f"INSERT INTO main.{table} SELECT {', '.join(name for name in TABLES[table] if name not in ('estimated', 'checksum', 'reasoning_tokens'))} FROM new.{table};"
            for table in ("calls", "failures", "done")
        )
    )
    old.close()
    copied(tmp_path / "old.sqlite", tmp_path / "copy.sqlite")
    new = content(tmp_path / "new.sqlite") | {"batches": [], "batch_rows": []}
    lacking = {"calls": 2, "failures": 1}  # columns that came later, at the end
    without = {table: [(*row[:-n], *[None] * n) for row in new[table]] for table, n in lacking.items()}
    assert content(tmp_path / "copy.sqlite") == new | without


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_exports_stats_and_check(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    place: Any = tmp_path / "l.sqlite" if kind == "sqlite" else request.getfixturevalue("postgres").url
    environment = {"PGPASSWORD": os.environ.get("PGPASSWORD", "")}
    make(place)
    for name in ("calls.parquet", "calls.jsonl"):
        done = answer(dprm("ledger", "export", place, "-o", name, "--json", cwd=tmp_path, **environment))
        assert done["calls"] == CALLS
    query = "SELECT count(*), sum(input_tokens), sum(cost), count(DISTINCT key), max(attempt), sum(len(logprobs)) FROM "
    parquet = duckdb.sql(f"{query} '{tmp_path}/calls.parquet'").fetchall()
    assert parquet == [(CALLS, 25350, 33.75, 150, 1, 400)]
    lines = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert [row["text"] for row in lines][:2] == ["one \x00\x1a 0", "one \x00\x1a 1"] and len(lines) == CALLS
    assert lines[1]["logprobs"] == [{"token": "A", "logprob": -0.1}, {"token": "\x00", "logprob": None}]
    stats = answer(dprm("ledger", "stats", place, "--json", cwd=tmp_path, **environment))
    assert stats["calls"] == CALLS and stats["done"] == 2 and stats["batches"] == 2 and stats["bytes"] > 10_000
    assert stats["totals"] == {"one": 17.375, "two": 17.375}
    one, two = stats["groups"]
    assert (one["run"], one["calls"], one["cost"], one["unpriced"], one["again"]) == ("one", 150, 16.875, 15, 0)
    assert (two["again"], two["input_tokens"], two["first"]) == (150, 12675, 1e9)
    assert [(f["kind"], f["attempts"], f["cost"]) for f in stats["failures"][:2]] == [
        ("server", 1, 0.5),
        ("timeout", 1, 0.0),
    ]
    for words in (("stats", place), ("check", place)):
        looked = dprm("ledger", *words, cwd=tmp_path, **environment)
        assert looked.returncode == 0 and "300 calls" in looked.stdout, looked
    wrong = dprm("ledger", "export", place, "calls.csv", cwd=tmp_path, **environment)  # as in former versions
    assert "FILE is now --output FILE" in wrong.stderr
    assert wrong.returncode == 2 and not (tmp_path / "calls.csv").exists()


FAULTS = {
    "UPDATE calls SET logprobs = {garbage} WHERE id = 5": "log-probabilities cannot be read",
    "UPDATE calls SET status = 'maybe' WHERE id = 6": "its status is 'maybe'",
    "UPDATE calls SET key = {garbage} WHERE id = 7": "not a hash of 32 bytes",
    "UPDATE calls SET output_tokens = -5 WHERE id = 8": "negative number",
    "DELETE FROM calls WHERE id = 9": "lack an attempt",
    "UPDATE calls SET cost = cost + 1 WHERE id = 12": "its rows add up to",
    "DELETE FROM batches WHERE id = 1": "2 rows of pending batches belong to no batch",
    "DELETE FROM batch_rows WHERE batch = 2 AND item = {item}": "and has 0",
}


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_faults_are_found(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    place: Any = tmp_path / "l.sqlite" if kind == "sqlite" else request.getfixturevalue("postgres").url
    make(place)
    for query in FAULTS:
        if kind == "sqlite":
            with sqlite3.connect(place) as db:
                db.execute(query.format(garbage="x'00ff'", item="CAST('item' AS BLOB)"))
            db.close()
        else:
            query = query.replace("UPDATE ", "UPDATE dprm.").replace("FROM ", "FROM dprm.")
            request.getfixturevalue("postgres").execute(query.format(garbage="'\\x00ff'", item="'item'"))
    done = dprm("ledger", "check", place, "--json", cwd=tmp_path, PGPASSWORD=os.environ.get("PGPASSWORD", ""))
    faults = json.loads(done.stdout)["faults"]
    assert done.returncode == 1
    for query, words in FAULTS.items():
        assert any(words in fault for fault in faults), (query, faults)


def test_a_damaged_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    make(path)
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 4 : 4096 * 4 + 2000] = b"\x55" * 2000
    path.write_bytes(damaged)
    done = dprm("ledger", "check", path, cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done


def test_what_a_run_folder_and_a_recipe_mean(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(
        "name: t\nsource: {path: x.jsonl}\nprovider: {name: openai, model: m}\noutput: out\nledger: shared.sqlite\n"
    )
    make(tmp_path / "shared.sqlite")
    assert answer(dprm("ledger", "stats", "recipe.yaml", "--json", cwd=tmp_path))["calls"] == CALLS
    missing = dprm("ledger", "stats", ".", cwd=tmp_path / "..")
    assert missing.returncode == 2 and "not a run folder" in missing.stderr
