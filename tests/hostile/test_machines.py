"""Machines that fail under a ledger: files that lost their content, rows that changed, locks, databases and memory out of reach."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dprm_data import run
from dprm_data.core.errors import DprmError, LedgerError
from dprm_data.engine.replay import TaskState
from dprm_data.ledger import ledger as ledger_module
from dprm_data.ledger.call import Reply
from dprm_data.ledger.factory import opened
from dprm_data.ledger.ledger import Ledger
from dprm_data.ledger.sqlite import SqliteStore
from dprm_data.ledger.verify import check_ledger
from dprm_data.providers.function_provider import FunctionProvider
from dprm_data.providers.request import Answer, Request
from tests.engine.helpers import items, label, work
from tests.helpers import PAIRS, ROOT, answer, environ, write_recipe, write_rows
from tests.ledger.test_ledger import at, fill, found, key, reply
from tests.ledger.test_ledger_command import CALLS, content, copied, make
from tests.processes import dprm, zygote
from tests.servers.llm import LLMServer

pytestmark = pytest.mark.slow

# -- a ledger's file without its content ------------------------------------------------------------------------------

EMPTIED = {"nothing": b"", "a page without tables": None, "zeros": b"\0" * 8192, "a header": b"SQLite format 3\0"}


def page_without_tables() -> bytes:
    """What SQLite leaves of a database that was opened and not written to."""
    db = sqlite3.connect(":memory:")
    db.execute("PRAGMA user_version = 0")
    return db.serialize() or b"\0" * 4096


@pytest.mark.parametrize("kind", EMPTIED)
def test_a_ledger_that_lost_its_content_is_not_a_new_one(tmp_path: Path, double: LLMServer, kind: str) -> None:
    recipe = write_recipe(tmp_path, double.url)
    assert dprm("run", recipe, cwd=tmp_path).returncode == 0
    paid, ledger = double.tally.requests, tmp_path / "run/ledger.sqlite"
    lost = EMPTIED[kind]
    ledger.write_bytes(page_without_tables() if lost is None else lost)
    before = ledger.read_bytes()
    for words in (["run", recipe], ["plan", recipe], ["ledger", "stats", "run"], ["ledger", "check", "run"]):
        done = dprm(*words, cwd=tmp_path)
        assert done.returncode == 1 and "Traceback" not in done.stderr, done
        assert "ledger.sqlite" in done.stderr
    assert double.tally.requests == paid, "calls were paid for again"
    assert ledger.read_bytes() == before
    ledger.unlink()
    assert dprm("run", recipe, cwd=tmp_path).returncode == 0, "who deletes it starts over"
    assert double.tally.requests == 2 * paid


def test_an_emptied_ledger_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "l.sqlite").touch()
    with pytest.raises(LedgerError, match=r"lost its content.*\nRestore it .*delete it"):
        Ledger(at(tmp_path / "l.sqlite"))


def test_the_log_of_a_lost_ledger_is_kept(tmp_path: Path) -> None:
    """SQLite deletes the log beside an empty file, and applies one that it finds beside a new file."""
    path, log = tmp_path / "l.sqlite", tmp_path / "l.sqlite-wal"
    with Ledger(at(path), run="r") as ledger:
        ledger.record_now([(key(1), reply("1"))])
        shutil.copy(log, tmp_path / "kept")
        shutil.copy(path, tmp_path / "whole")
    for lost in (lambda: path.write_bytes(b""), path.unlink):
        shutil.copy(tmp_path / "kept", log)
        lost()
        with pytest.raises(LedgerError, match=r"(?s)\n.*Restore"):
            Ledger(at(path))
        assert log.read_bytes() == (tmp_path / "kept").read_bytes()
    shutil.copy(tmp_path / "whole", path)
    assert found(path, 3) == [1]


_CREATES = """
import os, sqlite3, sys
from tests.ledger.test_ledger import Ledger, at
left = int(sys.argv[2])
def step(event, details):
    global left
    if event in ("sqlite3.connect", "sqlite3.connect/handle", "os.rename", "open", "os.remove") and "l.sqlite" in str(details):
        left -= 1
        if left < 0:
            os._exit(9)
sys.addaudithook(step)
Ledger(at(sys.argv[1])).close()
"""


@pytest.mark.slow
def test_killed_while_creating_a_ledger(tmp_path: Path) -> None:
    """Whenever the process dies, the next one finds no ledger or a whole one, and works."""
    path = tmp_path / "l.sqlite"
    codes = []
    for step in range(12):
        for file in tmp_path.iterdir():
            file.unlink()
        codes.append(subprocess.run([sys.executable, "-c", _CREATES, str(path), str(step)], cwd=ROOT).returncode)
        assert not path.exists() or path.stat().st_size > 4096
        fill(path, range(2))
        assert found(path, 3) == [0, 1]
    assert codes.count(9) >= 4 and codes[-1] == 0


# -- checksums --------------------------------------------------------------------------------------------------------

CHANGES = {
    "UPDATE {calls} SET text = 'other' WHERE id = 5": "call 5 of 'one'",
    "UPDATE {calls} SET finish = 'length' WHERE id = 6": "call 6 of 'one'",
    "UPDATE {calls} SET input_tokens = input_tokens + 1 WHERE id = 7": "call 7 of 'one'",
    "UPDATE {calls} SET model = 'better' WHERE id = 8": "call 8 of 'one'",
    "UPDATE {calls} SET created_at = created_at + 1 WHERE id = 9": "call 9 of 'one'",
    "UPDATE {failures} SET message = 'none' WHERE id = 1": "failed attempt 1 of 'one'",
}


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_changed_row_is_found(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    place: Any = tmp_path / "l.sqlite" if kind == "sqlite" else request.getfixturevalue("postgres").url
    make(place)
    with opened(at(place)) as store:
        assert check_ledger(store).faults == []
    for query in CHANGES:
        if kind == "sqlite":
            with closing(sqlite3.connect(place, isolation_level=None)) as db:
                db.execute(query.format(calls="calls", failures="failures"))
        else:
            request.getfixturevalue("postgres").execute(query.format(calls="dprm.calls", failures="dprm.failures"))
    with opened(at(place)) as store:
        faults = check_ledger(store).faults
    assert [fault for fault in faults if "checksum does not match" not in fault] == []
    assert len(faults) == len(CHANGES)
    for row in CHANGES.values():
        assert sum(fault.startswith(row) for fault in faults) == 1, faults


def test_copies_and_exports_keep_checksums(postgres: Any, tmp_path: Path) -> None:
    first, back = tmp_path / "first.sqlite", tmp_path / "back.sqlite"
    make(first)
    with closing(sqlite3.connect(first, isolation_level=None)) as db:
        db.execute("UPDATE calls SET text = 'other' WHERE id = 5")
    copied(first, postgres.url)
    copied(postgres.url, back)
    assert content(back) == content(first)
    for place in (postgres.url, back):
        with opened(at(place)) as store:
            (fault,) = check_ledger(store).faults
        assert fault.startswith("call 5 ")
    answer(dprm("ledger", "export", first, "calls.parquet", "--json", cwd=tmp_path))
    import duckdb

    ((rows, checksums, length),) = duckdb.sql(
        f"SELECT count(*), count(DISTINCT checksum), min(len(checksum)) FROM '{tmp_path}/calls.parquet'"
    ).fetchall()
    assert rows == CALLS and checksums == CALLS and length == 16


_OLDER = {
    "sqlite": "ALTER TABLE {table} DROP COLUMN checksum",
    "postgres": "ALTER TABLE dprm.{table} DROP COLUMN checksum",
}


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_rows_of_an_earlier_version_have_no_checksum(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    place: Any = tmp_path / "l.sqlite" if kind == "sqlite" else request.getfixturevalue("postgres").url
    environment = {"PGPASSWORD": os.environ.get("PGPASSWORD", "")}
    make(place)
    for table in ("calls", "failures"):
        query = _OLDER[kind].format(table=table)
        if kind == "sqlite":
            with closing(sqlite3.connect(place, isolation_level=None)) as db:
                db.execute(query)
        else:
            request.getfixturevalue("postgres").execute(query)
    for _ in range(2):  # only read, then written to
        done = dprm("ledger", "check", place, cwd=tmp_path, **environment)
        assert done.returncode == 0 and "304 rows of an earlier" in " ".join(done.stdout.split()), done
        with Ledger(at(place), run="one") as ledger:
            ledger.record_now([(key(1), reply("new"))])
            assert ledger.find([key(1)])[key(1)].text == "new"


def test_a_text_that_is_no_text_any_more(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    make(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE calls SET text = CAST(x'ff41' AS TEXT) WHERE id = 5")
    for words in (["check"], ["export"]):
        more = ["calls.parquet"] if words == ["export"] else []
        done = dprm("ledger", *words, path, *more, cwd=tmp_path)
        assert done.returncode == 1 and "is damaged" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "calls.parquet").exists()


# -- terminals, locks, databases --------------------------------------------------------------------------------------

_ON_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(1, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


def calls_in(ledger: Path) -> int:
    with opened(at(ledger)) as store:
        return store.count("calls")


@pytest.mark.parametrize("end", ["closed", "nohup"])
def test_a_terminal_that_goes_away(tmp_path: Path, end: str) -> None:
    """Calls in flight are finished and kept, although nobody can be told; under nohup the run goes on to its end."""
    write_rows(tmp_path / "pairs.jsonl", [{"prompt": f"q {i}", "response": "a"} for i in range(12)])
    with LLMServer(latency=0.3) as server:
        recipe = write_recipe(tmp_path, server.url, limits={"concurrency": 4})
        ours, theirs = os.openpty()
        whole = [sys.executable, "-m", "dprm_data.cli", "run", str(recipe)]
        command = [sys.executable, "-c", _ON_TERMINAL, *(["/usr/bin/nohup"] if end == "nohup" else []), *whole]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environ(), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        while server.tally.in_flight < 4:
            assert process.poll() is None
            time.sleep(0.01)
        os.close(ours)
        code = process.wait(60)
        answered = server.tally.answered.total()
    assert calls_in(tmp_path / "run/ledger.sqlite") == answered
    if end == "nohup":
        assert answered == 12 * 4
    else:
        assert code > 0 and 4 <= answered < 12 * 4, "it ended by itself, early"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EIO])
def test_a_drive_that_cannot_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    import fcntl

    def broken(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(LedgerError, match=r"(?s)cannot be locked.*local disk"):
        Ledger(at(tmp_path / "l.sqlite"))
    monkeypatch.undo()
    fill(tmp_path / "l.sqlite", range(1))


def test_a_database_that_becomes_read_only_is_waited_for(postgres: Any, tmp_path: Path) -> None:
    """Sessions that began while it was read-only are replaced; nothing is lost or paid for twice."""

    def turn(switch: str) -> None:
        with postgres.server.connect("postgres") as db:
            db.execute(f"ALTER DATABASE {postgres.name} {switch}")
            if switch.startswith("SET"):
                db.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (postgres.name,)
                )

    write_rows(tmp_path / "pairs.jsonl", [{"prompt": f"q {i}", "response": "a"} for i in range(12)])
    with LLMServer(latency=0.1) as server:
        recipe = write_recipe(tmp_path, server.url, ledger=postgres.url, limits={"concurrency": 4})
        zygote().start("run", recipe, cwd=tmp_path, **postgres.environment)
        while server.tally.answered.total() < 8:
            time.sleep(0.01)
        turn("SET default_transaction_read_only = on")
        time.sleep(1.5)
        turn("RESET default_transaction_read_only")
        done = zygote().end()
        assert done.returncode == 0, done.stderr
        assert server.tally.answered.total() == 12 * 4 == postgres.execute("SELECT count(*) FROM dprm.calls")[0][0]


def test_a_database_that_stays_read_only(postgres: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPRM_LEDGER_PATIENCE", "0.3")
    Ledger(postgres.address).close()
    with postgres.server.connect("postgres") as db:
        db.execute(f"ALTER DATABASE {postgres.name} SET default_transaction_read_only = on")
    with (
        Ledger(postgres.address) as ledger,
        pytest.raises(LedgerError, match=r"has been read-only for .*\n.*Run again"),
    ):
        ledger.record_now([(key(1), reply())])


# -- memory -----------------------------------------------------------------------------------------------------------


def no_memory(*_: object) -> Any:
    raise MemoryError


async def no_memory_in_the_loop(request: Request) -> Answer:
    """The loop's own callback fails, and what waits for it would wait forever."""
    loop = asyncio.get_running_loop()
    loop.call_soon(no_memory)
    await loop.create_future()
    raise AssertionError


@pytest.mark.parametrize("where", ["a task", "a thread", "the loop", "a commit", "the ledger's task"])
def test_out_of_memory_ends_with_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    async def judge(request: Request) -> Answer:
        return no_memory() if where == "a task" else label()

    functions: dict[str, Any] = {"a thread": no_memory, "the loop": no_memory_in_the_loop}
    if where == "a commit":
        monkeypatch.setattr(SqliteStore, "commit", no_memory)
    if where == "the ledger's task":
        made = iter([ledger_module.Transaction])
        monkeypatch.setattr(ledger_module, "Transaction", lambda run: next(made, no_memory)(run))

    def timed_out(*_: object) -> None:
        raise AssertionError("it hangs")

    signal.signal(signal.SIGALRM, timed_out)
    signal.alarm(20)
    try:
        with pytest.raises(DprmError, match=r"(?s)(out of memory|MemoryError).*run again") as ended:
            run(
                {"panel": "small", "elicitation": "choice"},
                source=PAIRS,
                output=tmp_path / "run",
                provider=FunctionProvider(functions.get(where, judge), model="gpt-4o-mini"),
            )
    finally:
        signal.alarm(0)
    assert ended.value.hint


_TOO_MUCH = """
import resource, sys
from dprm_data import run
from dprm_data.core.errors import DprmError
from dprm_data.providers.function_provider import FunctionProvider
from tests.helpers import PAIRS
resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
try:
    run({"panel": "small"}, source=PAIRS, output=sys.argv[1], provider=FunctionProvider(lambda request: "x" * 2**40))
except DprmError as error:
    print(error)
"""


def test_a_process_out_of_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TOO_MUCH, str(tmp_path / "run")], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("out of memory\n") and "Traceback" not in done.stderr, done


def test_log_probabilities_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    make(path)
    for garbage in (
        "x'00ff'",
        "'text'",
        f"x'{zlib.compress(b'[[1]]').hex()}'",
        f"x'{zlib.compress(b' ' * 2**27).hex()}'",
    ):
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(f"UPDATE calls SET logprobs = {garbage} WHERE key = ?", (key(1),))
        with Ledger(at(path), readonly=True) as ledger, pytest.raises(LedgerError, match="cannot be read"):
            ledger.find([key(1)])


def test_replay_hands_over_bounded_texts() -> None:
    state = TaskState.start(work(1).tasks(items(1)[0])[0])
    state.take(Reply("answered", "x" * 5_000_000))
    assert len(state.replies[0].text) == 1_000_000
