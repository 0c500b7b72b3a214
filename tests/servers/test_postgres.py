"""The tests' own PostgreSQL: it asks for a password, keeps what was committed when it is killed, and dies with its tests."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from tests.helpers import ROOT
from tests.servers.postgres import Database

_LEFT = """
import os, signal
from tests.servers.postgres import PostgresServer
server = PostgresServer().__enter__()
print(server._process.pid, server._folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_without_the_password_nobody_gets_in(postgres: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    assert postgres.execute("SELECT 1") == [(1,)]
    monkeypatch.setenv("PGPASSWORD", "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.url)


def test_what_was_committed_outlives_a_kill(postgres: Database) -> None:
    postgres.execute("CREATE TABLE kept (x int)")
    postgres.execute("INSERT INTO kept VALUES (7)")
    assert postgres.execute("SHOW fsync") == [("on",)]
    postgres.server.kill()
    with pytest.raises(psycopg.OperationalError):
        postgres.execute("SELECT 1")
    postgres.server.start()
    assert postgres.execute("SELECT x FROM kept") == [(7,)]


@pytest.mark.usefixtures("postgres_server")  # or it is skipped
def test_it_dies_with_the_process_that_started_it() -> None:
    done = subprocess.run([sys.executable, "-c", _LEFT], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == -9, done.stderr
    pid, folder = done.stdout.split()
    deadline = time.monotonic() + 20
    while (_runs(pid) or Path(folder).exists()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(pid) and not Path(folder).exists()


def _runs(pid: str) -> bool:
    command = Path(f"/proc/{pid}/cmdline")  # empty where it has ended and nobody has asked how
    return command.exists() and bool(command.read_bytes())
