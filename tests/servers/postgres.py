"""A real PostgreSQL of the tests' own: a temporary cluster on loopback, with a password, and with every commit on disk.

One per process of tests (`postgres_server` in tests/conftest.py), a fresh database per test (`postgres`). It can be killed and started again.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dprm_data.core.ledger_address import LedgerAddress

USER = "dprm"
# Not to be found in any file, log or message: it is the same everywhere so that tests can look for it.
PASSWORD = "a-secret-of-the-tests-K7vR2q"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "max_wal_size": "256MB",
    "autovacuum_naptime": "30s",
    "log_min_messages": "fatal",
}
_PATIENCE = 60.0  # seconds until the server answers


def programs() -> Path | None:
    """The folder of PostgreSQL's programs; None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    elsewhere = shutil.which("initdb")
    return Path(elsewhere).resolve().parent if elsewhere else None


@dataclass(frozen=True)
class Database:
    """An empty database. url: without the password, which is wanted in PGPASSWORD (`environment`)."""

    server: PostgresServer
    name: str

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.server.port}/{self.name}"

    @property
    def address(self) -> LedgerAddress:
        return LedgerAddress.parse(self.url)

    @property
    def environment(self) -> dict[str, str]:
        return {"PGPASSWORD": PASSWORD}

    def execute(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """One statement, as an onlooker with a connection of its own."""
        with self.server.connect(self.name) as db:
            ran = db.execute(query, values)
            return ran.fetchall() if ran.description else []


class PostgresServer:
    """A cluster in a temporary folder. Use as a context manager; whatever happens, the server dies with this process."""

    def __init__(self) -> None:
        where = programs()
        assert where, "PostgreSQL is not installed"
        self._programs = where
        # The server refuses to run as root.
        self._owner = pwd.getpwnam(_other_user()) if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="dprm-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._answered = False  # at its port, ever
        self.port = 0

    def __enter__(self) -> PostgresServer:
        try:
            self._make()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self._watcher:
            self._watcher.kill()
            self._watcher.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start the server (again, on the same port) and wait until it answers."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            self._process = self._run("postgres", "-D", str(self._folder / "data"), *self._flags())
            self._watch(self._process.pid)
            while self._process.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(Exception), self.connect("postgres"):
                    self._answered = True
                    return
                time.sleep(0.02)
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start:\n{self.log()}")
            time.sleep(0.1)  # it ended: the port is still in use, or what was killed is still there
            if not self._answered:
                self.port = _free_port()

    def stop(self) -> None:
        """Shut down in order, connections cut."""
        assert self._process
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)

    def kill(self) -> None:
        """SIGKILL to the server and to everything that it has started: as if the power were cut."""
        if self._process is None or self._process.poll() is not None:
            return
        # Stopped first, so that it starts no others meanwhile; its children are in sessions of their own.
        self._process.send_signal(signal.SIGSTOP)
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (*map(int, children), self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(30)

    def _watch(self, pid: int) -> None:
        """A process that ends the server, and removes its folder, when nothing holds the other end of its pipe: however we went."""
        if self._watcher:
            self._watcher.kill()
            self._watcher.wait()
        script = 'read -r line; kill -QUIT "$1"; while kill -0 "$1" 2>/dev/null; do sleep 0.1; done; rm -rf "$2"'
        self._watcher = subprocess.Popen(
            ["sh", "-c", script, "sh", str(pid), str(self._folder)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )

    def log(self) -> str:
        """What the server has said."""
        file = self._folder / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    @contextlib.contextmanager
    def database(self) -> Iterator[Database]:
        """A fresh database, dropped in the end."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with self.connect("postgres") as db:
            db.execute(f"CREATE DATABASE {name}")
        try:
            yield Database(self, name)
        finally:
            if self._process and self._process.poll() is not None:  # a test has killed it
                self.start()
            with self.connect("postgres") as db:
                db.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def connect(self, database: str) -> Any:
        """A connection of psycopg that commits by itself."""
        import psycopg

        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=USER,
            password=PASSWORD,
            dbname=database,
            autocommit=True,
            connect_timeout=10,
        )

    def _make(self) -> None:
        self.port = _free_port()
        password = self._folder / "password"
        password.write_text(PASSWORD)
        if self._owner:
            for path in (self._folder, password):
                os.chown(path, self._owner.pw_uid, self._owner.pw_gid)
        flags = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={password}", "--encoding=UTF8", "--locale=C"]
        made = self._run("initdb", "--no-sync", "-D", str(self._folder / "data"), *flags)
        if made.wait(_PATIENCE):
            raise RuntimeError(f"no PostgreSQL cluster could be made:\n{self.log()}")
        password.unlink()

    def _flags(self) -> list[str]:
        settings = _SETTINGS | {"port": str(self.port)}
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        as_owner: dict[str, Any] = (
            {"user": self._owner.pw_uid, "group": self._owner.pw_gid, "extra_groups": []} if self._owner else {}
        )
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [str(self._programs / program), *arguments],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
                process_group=0,  # a Ctrl-C on the terminal is for the tests
                **as_owner,
            )


def _other_user() -> str:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise RuntimeError("PostgreSQL does not run as root, and there is no other user to run it")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
