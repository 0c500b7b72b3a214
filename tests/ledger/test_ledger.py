"""What is particular to the ledger's file (the rest is in test_ledger_stores.py): torn, full, shared, old, new, and not a ledger at all."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from dprm_data.core.errors import LedgerError, RunBusy
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.ledger import sqlite_file
from dprm_data.ledger.call import Reply
from dprm_data.ledger.ledger import Ledger
from dprm_data.providers.request import Usage
from tests.helpers import ROOT

at = LedgerAddress.parse


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def reply(text: str = "x", cost: float | None = 0.25) -> Reply:
    return Reply("answered", text, usage=Usage(3, 1), cost=cost, created_at=1.0)


def fill(path: Path, numbers: range) -> None:
    with Ledger(at(path), run="r") as ledger:
        for number in numbers:
            ledger.record_now([(key(number), reply(str(number)))])


def found(path: Path, count: int) -> list[int]:
    with Ledger(at(path), readonly=True) as ledger:
        replies = ledger.find([key(number) for number in range(count)])
    return sorted(int(reply.text) for reply in replies.values())


def test_a_torn_last_transaction(tmp_path: Path) -> None:
    """A power cut in the middle of a write: the log's last frames are incomplete. What was committed before is there."""
    path, torn = tmp_path / "l.sqlite", tmp_path / "torn" / "l.sqlite"
    torn.parent.mkdir()
    with Ledger(at(path), run="r") as ledger:
        sizes = []
        for number in range(12):
            ledger.record_now([(key(number), reply(str(number)))])
            sizes.append(Path(f"{path}-wal").stat().st_size)
        shutil.copy(path, torn)
        wal = Path(f"{path}-wal").read_bytes()
    assert len(set(sizes)) > 3
    for cut in (sizes[-1] - 1, sizes[-1] - 3000, sizes[-2] + 24, sizes[-3] + 1):
        shutil.copy(path, torn) if not torn.exists() else None
        Path(f"{torn}-shm").unlink(missing_ok=True)
        Path(f"{torn}-wal").write_bytes(wal[:cut])
        whole = max(i for i, size in enumerate(sizes) if size <= cut) + 1
        numbers = found(torn, 12)
        assert numbers[:whole] == list(range(whole))
        with Ledger(at(torn), run="r") as ledger:
            ledger.record_now([(key(99), reply("99"))])
        torn.unlink()
        shutil.copy(path, torn)


def test_garbage_at_the_end_of_the_log(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    with Ledger(at(path), run="r") as ledger:
        for number in range(5):
            ledger.record_now([(key(number), reply(str(number)))])
        copy = tmp_path / "copy.sqlite"
        shutil.copy(path, copy)
        Path(f"{copy}-wal").write_bytes(Path(f"{path}-wal").read_bytes() + b"\xff" * 9000)
    assert found(copy, 5) == list(range(5))


_FULL = """
import asyncio, resource, sys
from pathlib import Path
from dprm_data.ledger.ledger import Ledger
from dprm_data.core.errors import LedgerError
from tests.ledger.test_ledger import at, key, reply
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

async def go():
    path = Path(sys.argv[1])
    acknowledged = []
    ledger = Ledger(at(path), run="r")
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    async def one(number):
        await ledger.record(key(number), reply(str(number) + " " * 3000))
        acknowledged.append(number)
    results = await asyncio.wait_for(asyncio.gather(*(one(n) for n in range(400)), return_exceptions=True), 20)
    for start in range(400, 1200, 50):
        results += await asyncio.wait_for(asyncio.gather(*(one(n) for n in range(start, start + 50)), return_exceptions=True), 20)
    failed = [r for r in results if r is not None]
    assert failed and all(isinstance(r, LedgerError) for r in failed), failed[:1]
    print(len(acknowledged), flush=True)
    if sys.argv[2] == "room":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    try:
        ledger.close()
        print("closed")
    except LedgerError as error:
        print(error)
asyncio.run(go())
"""


@pytest.mark.parametrize("later", ["full", "room"])
def test_a_full_disk(tmp_path: Path, later: str) -> None:
    """Nobody hangs, the error says what to do, what was acknowledged is there; with room again, what was paid for is written after all."""
    path = tmp_path / "l.sqlite"
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(path), later], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    count, said = done.stdout.split("\n", 1)
    with Ledger(at(path), readonly=True) as ledger:
        rows = ledger.counts()["calls"]
    if later == "full":
        assert "cannot be written" in said and "Make room" in said
        assert rows >= int(count)
    else:
        assert said.strip() == "closed" and rows == 1200


def test_numbers_larger_than_the_file_can_hold(tmp_path: Path) -> None:
    with Ledger(at(tmp_path / "l.sqlite")) as ledger:
        ledger.record_now([(key(1), Reply("answered", usage=Usage(10**30, 1)))])
        assert ledger.find([key(1)])[key(1)].usage.input_tokens == 2**63 - 1


def test_two_processes_on_one_ledger(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    script = f"from tests.ledger.test_ledger import Ledger, at\nLedger(at({str(path)!r}))"
    with Ledger(at(path)):
        second = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert second.returncode and "another process is using the ledger" in second.stderr
        with pytest.raises(RunBusy):
            Ledger(at(path))
        with Ledger(at(path), readonly=True) as reader:  # looking is allowed
            assert reader.counts()["calls"] == 0
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=60).returncode == 0


def test_an_older_ledger_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    db = sqlite3.connect(path)
    first, identity = sqlite_file._STEPS[0], f"PRAGMA application_id = {sqlite_file.APPLICATION_ID};"
    db.executescript(f"{first} {identity} PRAGMA user_version = 1;")
    values = "'r', 'answered', '7', 'stop', NULL, 'm', 1, 1, 0, 0, 0.25, 0.0, 1.0, '', ''"
    columns = (
        "key, attempt, run, status, text, finish, logprobs, model, input_tokens, output_tokens, cached_tokens, "
        "cache_write_tokens, cost, latency, created_at, reason, price_table"
    )
    db.execute(f"INSERT INTO calls ({columns}) VALUES (?, 0, {values})", (key(7),))
    db.execute(
        "INSERT INTO failures (key, run, kind, message, cost, created_at) VALUES (x'00', 'r', 'server', '', 0.5, 0)"
    )
    db.commit()
    db.close()
    with Ledger(at(path), run="r", readonly=True) as ledger:  # looking changes nothing
        assert ledger.spent() == 0.75
        assert sqlite_file.version_of(ledger.store.db) == 1
    with Ledger(at(path), run="r") as ledger:
        assert sqlite_file.version_of(ledger.store.db) == sqlite_file.VERSION
        assert ledger.spent() == 0.75
        assert ledger.find([key(7)])[key(7)].text == "7"
        ledger.record_now([(key(8), reply())])
        assert ledger.spent() == 1.0


def test_a_newer_ledger_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    fill(path, range(1))
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {sqlite_file.VERSION + 1}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=r"newer dprm-data.*\n.*Upgrade"):
        Ledger(at(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"id,name\n1,x\n" * 500, b"SQLite format 3\0" + b"\x7f" * 4000])
def test_what_is_no_ledger_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "l.sqlite"
    path.write_bytes(content)
    with pytest.raises(LedgerError):
        Ledger(at(path))
    assert path.read_bytes() == content


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(LedgerError, match="is a folder") as refused:
        Ledger(at(tmp_path / "folder"))
    assert refused.value.hint and [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_another_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (x)")
    db.commit()
    db.close()
    with pytest.raises(LedgerError, match="not a ledger"):
        Ledger(at(path))
