"""A ledger store of another package: found by its entry point, and used by the command as our own stores are."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.helpers import PAIRS, ROOT, answer, dprm, write_recipe
from tests.servers.llm import LLMServer

PERSONAS = 4  # in the small panel
MODULE = '''
import json
import sqlite3
from collections import Counter
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dprm_data.core.errors import LedgerError, RunBusy
from dprm_data.engine.coordinator import Coordinator
from dprm_data.ledger.store import CALL, FAILURE, TABLES, CallRow, LedgerStore, ledger_store


@ledger_store("jsonlines")
class JsonLinesStore(LedgerStore):
    """A line per transaction; all of it in memory."""

    def __init__(self, address, *, readonly):
        self.address = address
        self.path = self.file_of(address)
        if readonly and not self.exists(address):
            raise LedgerError(f"no ledger at {address.shown}")
        self.lock = FileLock(f"{self.path}.lock")
        try:
            if not readonly:
                self.lock.acquire(timeout=0)
        except Timeout as error:
            raise RunBusy(f"another process uses {address.shown}") from error
        self.calls, self.newest, self.failures, self.finished = [], {}, [], set()
        self.file = self.path.open("r" if readonly else "a+")
        self.file.seek(0)
        for line in self.file:
            self.apply(json.loads(line, object_hook=lambda value: bytes.fromhex(value["hex"])))

    @staticmethod
    def file_of(address):
        return Path(address.url.partition("://")[2])

    @classmethod
    def exists(cls, address):
        return cls.file_of(address).exists()

    @property
    def location(self):
        return self.address.shown

    def apply(self, transaction):
        calls, failures, undone, done = transaction
        for row in map(CallRow._make, calls):
            attempt = self.newest[row.key].attempt + 1 if row.key in self.newest else 0
            self.newest[row.key] = row._replace(attempt=attempt)
            self.calls.append(self.newest[row.key])
        self.failures += map(tuple, failures)
        self.finished -= set(map(tuple, undone))
        self.finished |= set(map(tuple, done))

    def commit(self, transaction):
        content = [transaction.calls, transaction.failures, transaction.undone, transaction.done]
        self.file.write(json.dumps(content, default=lambda value: {"hex": value.hex()}) + "\\n")
        self.file.flush()
        self.apply(content)

    def find(self, keys):
        return {key: self.newest[key] for key in keys if key in self.newest}

    def find_done(self, plan, items):
        return {item for item in items if (plan, item) in self.finished}

    def totals(self):
        sums = Counter()
        for names, rows in ((CALL, self.calls), (FAILURE, self.failures)):
            for row in rows:
                named = dict(zip(names, row))
                sums[named["run"]] += named["cost"] or 0.0
        return dict(sums)

    def spent(self, run):
        return self.totals().get(run, 0.0)

    def count(self, table):
        return len({"calls": self.calls, "failures": self.failures, "done": self.finished}[table])

    def failures_by_kind(self, run):
        return dict(Counter(kind for _, theirs, kind, *_ in self.failures if theirs == run))

    @contextmanager
    def snapshot(self):
        with closing(sqlite3.connect(":memory:")) as db:
            rows = {
                "calls": [(number, *row) for number, row in enumerate(self.calls)],
                "failures": [(number, *row) for number, row in enumerate(self.failures)],
                "done": list(self.finished),
            }
            for table, columns in TABLES.items():
                db.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
                db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", rows.get(table, []))
            yield lambda query: iter(db.execute(query))

    def bytes_on_disk(self):
        return self.path.stat().st_size

    def close(self):
        self.file.close()
        self.lock.release()


@ledger_store("sharedlines")
class SharedLinesStore(JsonLinesStore):
    coordinator = "our_jsonlines:OurCoordinator"


class OurCoordinator(Coordinator):
    def __init__(self, store, *, run, scope, lease):
        store.path.with_name("coordinator.json").write_text(json.dumps([store.location, run, lease]))
'''


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages, with ours as pip leaves it."""
    folder = tmp_path / "site"
    info = folder / "our_jsonlines-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "our_jsonlines.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-jsonlines\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dprm_data]\njsonlines = our_jsonlines\n")
    return folder


def command(site: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return dprm(*arguments, cwd=site.parent, PYTHONPATH=os.pathsep.join([str(ROOT), str(site)]))


@pytest.mark.slow
def test_a_run_on_a_store_of_another_package(site: Path, double: LLMServer) -> None:
    folder = site.parent
    address = f"jsonlines://{folder}/calls.jsonl"
    recipe = write_recipe(folder, double.url, ledger=address)
    calls = len(PAIRS) * PERSONAS
    for _ in range(2):  # the second time nothing is asked
        answer(command(site, "run", recipe, "--json"))
        assert double.tally.stats()["answered"] == calls
    assert yaml.safe_load((folder / "run/recipe.yaml").read_text())["ledger"] == address
    assert not (folder / "run/ledger.sqlite").exists()
    assert answer(command(site, "ledger", "stats", "run", "--json"))["calls"] == calls
    assert answer(command(site, "ledger", "check", address, "--json"))["whole"]
    assert answer(command(site, "ledger", "export", recipe, "export.jsonl", "--json"))["calls"] == calls
    copied = answer(command(site, "ledger", "copy", address, "copy.sqlite", "--json"))
    assert (copied["calls"], copied["done"]) == (calls, len(PAIRS))


@pytest.mark.slow
def test_what_a_store_leaves_out_is_said(site: Path, double: LLMServer) -> None:
    folder = site.parent
    address = f"jsonlines://{folder}/calls.jsonl"
    batch = command(site, "run", write_recipe(folder, double.url, ledger=address, mode="batch"))
    answer(command(site, "run", write_recipe(folder, double.url), "--json"))
    copied = command(site, "ledger", "copy", "run", address)
    for done, feature in ((batch, "mode: batch"), (copied, "dprm ledger copy")):
        assert done.returncode == 2 and f"calls.jsonl: this kind of ledger does not support {feature}" in done.stderr
    missing = command(site, "ledger", "stats", f"jsonlines://{folder}/nothing.jsonl")
    assert missing.returncode == 1 and "no ledger at" in missing.stderr


@pytest.mark.slow
def test_a_store_brings_its_coordinator(site: Path, double: LLMServer) -> None:
    folder = site.parent
    recipe = write_recipe(folder, double.url, ledger=f"sharedlines://{folder}/calls.jsonl", limits={"lease": 7})
    answer(command(site, "run", recipe, "--json"))
    made = yaml.safe_load((folder / "coordinator.json").read_text())
    assert made == [f"sharedlines://{folder}/calls.jsonl", "test", 7.0]


def test_an_unknown_scheme_is_answered_with_what_is_installed(site: Path) -> None:
    recipe = write_recipe(site.parent, ledger="jsonline://calls.jsonl")
    for done in (command(site, "run", recipe), command(site, "ledger", "stats", "jsonline://calls.jsonl")):
        said = " ".join(done.stderr.split())
        assert done.returncode == 2 and "no ledger store 'jsonline'; did you mean 'jsonlines'?" in said
        assert "(installed: sqlite, postgresql, postgres, jsonlines, sharedlines)" in said
