"""The ledger in PostgreSQL: many writers, lost connections, a server that dies, and a password that is nowhere to be found."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dprm_data.core.errors import DprmError, InputError, LedgerError, RunBusy
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.engine.pending_batches import PendingBatches
from dprm_data.ledger.factory import exists
from dprm_data.ledger.ledger import Ledger
from dprm_data.ledger.postgres_schema import STEPS
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.locate_ledger import locate
from tests.helpers import PAIRS, ROOT, answer, environ, write_recipe
from tests.ledger.test_ledger import at, key, reply
from tests.processes import dprm
from tests.servers.llm import LLMServer
from tests.servers.postgres import PASSWORD, USER, Database

_SAME = """
import asyncio, sys
from dprm_data.ledger.ledger import Ledger
from tests.ledger.test_ledger import at, key, reply

async def go():
    with Ledger(at(sys.argv[1]), run=sys.argv[2]) as ledger:
        print("ready", flush=True)
        sys.stdin.readline()
        for start in range(0, 300, 30):
            await asyncio.gather(*(ledger.record(key(n), reply(str(n))) for n in range(start, start + 30)))
asyncio.run(go())
"""


@pytest.mark.slow
def test_many_writers_of_the_same_calls(postgres: Database) -> None:
    """Every reply was paid for: all are kept, numbered without gaps, and the sums are right."""
    pipe = subprocess.PIPE
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _SAME, postgres.url, run], cwd=ROOT, env=environ(), stdin=pipe, stdout=pipe
        )
        for run in ("one", "one", "two")
    ]
    for writer in writers:
        assert writer.stdout and writer.stdout.readline() == b"ready\n"
    for writer in writers:
        writer.communicate(b"go\n", timeout=60)
        assert writer.returncode == 0
    rows = postgres.execute("SELECT key, array_agg(attempt ORDER BY attempt) FROM dprm.calls GROUP BY key")
    assert len(rows) == 300 and all(attempts == [0, 1, 2] for _, attempts in rows)
    with Ledger(postgres.address, run="one") as ledger:
        assert ledger.spent() == 150.0


def test_many_may_make_it_at_once(postgres: Database) -> None:
    def one(number: int) -> None:
        with Ledger(postgres.address) as ledger:
            ledger.record_now([(key(number), reply())])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(one, range(6)))
    assert postgres.execute("SELECT count(*) FROM dprm.calls") == [(6,)]


def test_a_server_that_is_killed_and_comes_back(postgres: Database) -> None:
    """Its power is cut twice in the middle of the run, which goes on. Nothing acknowledged is lost, nothing is kept twice."""
    acknowledged: list[int] = []

    async def go() -> None:
        with Ledger(postgres.address, run="r") as ledger:
            going = True

            async def one(worker: int) -> None:
                number = worker
                while going:
                    await ledger.record(key(number), reply(str(number)))
                    acknowledged.append(number)
                    number += 8

            workers = [asyncio.create_task(one(worker)) for worker in range(8)]
            for _ in range(2):
                await asyncio.sleep(0.15)
                await asyncio.to_thread(postgres.server.kill)
                before = len(acknowledged)
                await asyncio.to_thread(postgres.server.start)
                async with asyncio.timeout(30):
                    while len(acknowledged) < before + 50:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
            going = False
            await asyncio.gather(*workers)
            assert len(ledger.find([key(number) for number in acknowledged])) == len(acknowledged)
            assert ledger.counts()["calls"] == len(acknowledged)
            assert ledger.spent() == 0.25 * len(acknowledged)

    asyncio.run(go())


class Cutting:
    """Stands between a client and the server, and cuts the connection after a COMMIT was carried out, before the client hears of it."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.cut_next = False
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server))
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        while data := _read(client):
            if self.cut_next and b"COMMIT" in data:
                self.cut_next = False
                self.cuts += 1
                client.shutdown(socket.SHUT_RDWR)  # first: nothing goes back any more
                server.sendall(data)
                time.sleep(0.3)
                break
            server.sendall(data)
        server.close()

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        while data := _read(server):
            try:
                client.sendall(data)
            except OSError:
                break

    def close(self) -> None:
        self._listening.close()


def _read(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        return b""


def test_a_commit_whose_acknowledgement_is_lost_is_not_made_twice(postgres: Database) -> None:
    between = Cutting(postgres.server.port)
    url = f"postgresql://{USER}@127.0.0.1:{between.port}/{postgres.name}?sslmode=disable"
    with Ledger(at(url), run="r") as ledger:
        for number in range(3):
            between.cut_next = True
            ledger.record_now([(key(number), reply())])
        batch = PendingBatches(ledger).put([(key(9), b"item")], 1.0)
    assert between.cuts == 3
    between.close()
    assert postgres.execute("SELECT count(*), max(attempt) FROM dprm.calls") == [(3, 0)]
    with Ledger(postgres.address, run="r") as ledger:
        assert ledger.spent() == 0.75
        assert [kept.number for kept in PendingBatches(ledger).batches()] == [batch.number]


def test_a_server_that_stays_away(postgres: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for as long as is asked for, and then said so; what could not be written is written if it is back in the end."""
    monkeypatch.setenv("DPRM_LEDGER_PATIENCE", "0.5")

    async def go() -> None:
        with Ledger(postgres.address, run="r") as ledger:
            await ledger.record(key(1), reply())
            await asyncio.to_thread(postgres.server.kill)
            with pytest.raises(LedgerError, match=r"has been away for .*refused.*\n.*Run again"):
                async with asyncio.timeout(60):
                    await ledger.record(key(2), reply("paid for"))
            await asyncio.to_thread(postgres.server.start)

    asyncio.run(go())
    with Ledger(postgres.address) as ledger:
        assert len(ledger.find([key(1), key(2)])) == 2


def test_a_newer_ledger_and_another_database_are_refused_and_left_alone(postgres: Database) -> None:
    with Ledger(postgres.address):
        pass
    postgres.execute("UPDATE dprm.version SET version = %s", (len(STEPS) + 1,))
    with pytest.raises(LedgerError, match=r"newer dprm-data.*\n.*Upgrade"):
        Ledger(postgres.address)
    postgres.execute("DROP SCHEMA dprm CASCADE")
    postgres.execute("CREATE SCHEMA dprm CREATE TABLE theirs (x int)")
    with pytest.raises(LedgerError, match="not a ledger"):
        Ledger(postgres.address)
    assert postgres.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'dprm'") == [("theirs",)]


def test_connections_are_ours_whatever_the_database_says(postgres: Database) -> None:
    """Commits are on disk, attempts are numbered by what others committed, and a lost client's locks do not stay for hours."""
    postgres.execute(f"ALTER DATABASE {postgres.name} SET synchronous_commit = off")
    postgres.execute(f"ALTER DATABASE {postgres.name} SET default_transaction_isolation = 'serializable'")
    wanted = {
        "synchronous_commit": "on",
        "default_transaction_isolation": "read committed",
        "idle_in_transaction_session_timeout": "1min",
        "tcp_keepalives_idle": "30",
    }
    with Ledger(postgres.address) as ledger, ledger.store.pool.connection() as db:  # type: ignore[attr-defined]
        assert {name: db.execute(f"SHOW {name}").fetchone()[0] for name in wanted} == wanted


def test_a_runs_batches_are_one_process_s_business(postgres: Database) -> None:
    with Ledger(postgres.address, run="r") as first, Ledger(postgres.address, run="r") as second:
        shelf = PendingBatches(first)
        with pytest.raises(RunBusy, match="is collecting the batches of r"):
            PendingBatches(second)
        with Ledger(postgres.address, run="another") as third:
            PendingBatches(third)
        # The connection that holds the lock is cut: it is taken up again before anything is changed.
        postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        batch = shelf.put([(key(1), b"item")], 1.0)
        with pytest.raises(RunBusy):
            PendingBatches(second)
        # Somebody else was faster: then nothing is changed.
        postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        time.sleep(0.2)
        PendingBatches(second)
        with pytest.raises(RunBusy):
            shelf.confirm(batch, "an id")
        assert PendingBatches(second).batches()[0].batch_id is None


# -- the whole command ------------------------------------------------------------------------------------------------


def test_a_run_on_postgres_and_its_password_is_nowhere(postgres: Database, double: LLMServer, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, double.url, ledger=postgres.url)
    planned = answer(dprm("plan", recipe, "--json", cwd=tmp_path, **postgres.environment))
    ran = dprm("run", recipe, "--json", cwd=tmp_path, **postgres.environment)
    summary = answer(ran)["summary"]
    asked = double.tally.answered.total()
    assert summary and asked == postgres.execute("SELECT count(*) FROM dprm.calls")[0][0] > len(PAIRS)
    again = dprm("run", recipe, cwd=tmp_path, **postgres.environment)
    assert again.returncode == 0 and double.tally.answered.total() == asked
    looks = [dprm(*words, cwd=tmp_path, **postgres.environment) for words in (("show", "run"), ("report", "run"))]
    stats = dprm("ledger", "stats", "run", cwd=tmp_path, **postgres.environment)
    assert f"{asked:,} calls" in stats.stdout and [done.returncode for done in looks] == [0, 0]
    assert planned and f"ledger: {postgres.url}" in (tmp_path / "run/recipe.yaml").read_text()
    assert not (tmp_path / "run/ledger.sqlite").exists()
    wrong = dprm("run", recipe, cwd=tmp_path, PGPASSWORD=PASSWORD[:-1])
    assert wrong.returncode == 1 and "does not let us in" in wrong.stderr
    said = "".join(done.stdout + done.stderr for done in (ran, again, stats, wrong, *looks))
    kept = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    rows = postgres.execute("SELECT string_agg(c::text, '') FROM dprm.calls c")[0][0]
    for place in (said.encode(), rows.encode(), *kept):
        assert PASSWORD[:-1].encode() not in place


def test_a_batch_run_on_postgres(postgres: Database, double: LLMServer, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, double.url, ledger=postgres.url, mode="batch", limits={"poll_every": 0.1})
    done = dprm("run", recipe, cwd=tmp_path, **postgres.environment)
    assert done.returncode == 0, done.stderr
    calls = postgres.execute("SELECT count(*), max(attempt) FROM dprm.calls")[0]
    assert calls[0] > len(PAIRS) and calls[1] == 0
    assert postgres.execute("SELECT count(*) FROM dprm.batches UNION ALL SELECT count(*) FROM dprm.batch_rows") == [
        (0,),
        (0,),
    ]


SECRET = "s3cret/with@signs#"


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://me:{SECRET}@host:5432/db",
        f"postgres://me:{SECRET}@host/db",
        f"postgresql://me@host/db?password={SECRET}",
        f"postgresql://me@host/db?sslmode=require&PASSWORD={SECRET}",
        f"postgresql://:{SECRET}@host/db",
        f"postgresql://me:${{A}}{SECRET}@host/db",
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path: Path, address: str) -> None:
    hidden = LedgerAddress(address, "postgresql").shown
    assert "s3cret" not in hidden and "signs" not in hidden
    with pytest.raises(InputError, match="PGPASSWORD") as refused:
        at(address)
    done = dprm("run", write_recipe(tmp_path, ledger=address), cwd=tmp_path)
    looked = dprm("ledger", "stats", address, cwd=tmp_path)
    assert done.returncode == looked.returncode == 2 and "recipe.yaml:" in done.stderr
    for text in (str(refused.value), done.stderr, looked.stderr, looked.stdout):
        assert "PGPASSWORD" in text or not text
        assert "s3cret" not in text and "signs" not in text
    assert not (tmp_path / "run").exists()


def test_an_address_may_name_a_variable_for_its_password(postgres: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgres.url.replace(f"{USER}@", f"{USER}:${{LEDGER_PASSWORD}}@")
    monkeypatch.delenv("PGPASSWORD")
    with pytest.raises(InputError, match="LEDGER_PASSWORD is not set"):
        Ledger(at(url))
    monkeypatch.setenv("LEDGER_PASSWORD", PASSWORD)
    with Ledger(at(url)) as ledger:
        assert PASSWORD not in ledger.store.location and PASSWORD not in repr(ledger.store.pool)  # type: ignore[attr-defined]


@pytest.mark.parametrize("scheme", ["mysql", "postgresql+psycopg", "POSTGRESQL"])
def test_another_kind_of_address_is_no_file(tmp_path: Path, scheme: str) -> None:
    address = f"{scheme}://me:{SECRET}@host/db"
    recipe = write_recipe(tmp_path, ledger=address)
    for read in (lambda: at(address), lambda: locate(address), lambda: Recipe.load(recipe)):
        with pytest.raises(DprmError, match=f"no ledger store {re.escape(repr(scheme))}") as refused:
            read()
        told = f"{refused.value} {refused.value.hint}"
        assert "installed: sqlite, postgresql" in told and "such as postgresql://" in told and "s3cret" not in told


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows with every connection that is tried."""
    tried: list[object] = []
    connect = psycopg.connect

    def counted(*args: Any, **named: Any) -> Any:
        tried.append(None)
        return connect(*args, **named)

    monkeypatch.setattr(psycopg, "connect", counted)
    return tried


def test_who_comes_while_the_server_starts_waits_for_it(postgres: Database, dialled: list[object]) -> None:
    Ledger(postgres.address).close()
    postgres.server.kill()
    dialled.clear()
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(Ledger, postgres.address, readonly=True)
        while len(dialled) < 2:  # it was refused once, and goes on
            assert not opening.done(), opening.exception()
            time.sleep(0.01)
        postgres.server.start()
        with opening.result(60) as ledger:
            assert ledger.spent() == 0


@pytest.mark.parametrize(
    "place", ["{user}@no-such-host.invalid/x", "{user}@127.0.0.1:{port}/nothing", "nobody@127.0.0.1:{port}/x"]
)
def test_nobody_waits_for_what_will_not_come(postgres: Database, dialled: list[object], place: str) -> None:
    with pytest.raises(LedgerError):
        Ledger(at(f"postgresql://{place.format(user=USER, port=postgres.server.port)}"))
    assert len(dialled) == 1


def test_who_may_not_use_it_is_told_what_is_needed(postgres: Database) -> None:
    Ledger(postgres.address).close()
    postgres.execute(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
    try:
        for read in (partial(Ledger, readonly=True), Ledger, exists):
            with pytest.raises(LedgerError, match="permission denied") as refused:
                read(at(postgres.url.replace(f"{USER}@", "guest@")))
            assert refused.value.hint and "CREATE" in refused.value.hint
    finally:
        postgres.execute("DROP ROLE guest")


def test_what_is_wrong_with_the_database_is_said(postgres: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPRM_LEDGER_PATIENCE", "0.2")
    port = postgres.server.port
    for url, what in (
        (f"postgresql://{USER}@127.0.0.1:{port}/nothing", 'database "nothing" does not exist'),
        (f"postgresql://nobody@127.0.0.1:{port}/{postgres.name}", "does not let us in"),
        (f"postgresql://{USER}@127.0.0.1:1/{postgres.name}", "cannot be reached"),
        (f"postgresql://{USER}@127.0.0.1:port/x", 'invalid integer value "port"'),
        (f"postgresql://{USER}@127.0.0.1:{port}/x?colour=blue", "not a database's address"),
    ):
        with pytest.raises(DprmError, match=re.escape(what)) as refused:
            Ledger(at(url))
        assert refused.value.hint


def test_without_the_driver_it_says_what_to_install(tmp_path: Path) -> None:
    script = "import sys; sys.modules['psycopg'] = None\nfrom dprm_data.cli import main; sys.argv = ['dprm', 'ledger', 'stats', 'postgresql://u@h/d']; main()"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environ(), capture_output=True, text=True)
    assert done.returncode == 2 and "dprm-data[postgres]" in done.stderr and "Traceback" not in done.stderr


def test_a_file_needs_no_driver(tmp_path: Path) -> None:
    script = f"import sys; sys.modules['psycopg'] = None\nfrom tests.ledger.test_ledger import Ledger, at\nLedger(at({str(tmp_path / 'l.sqlite')!r})).close()"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=dict(os.environ)).returncode == 0
