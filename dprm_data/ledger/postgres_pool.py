"""Connections to PostgreSQL: opened, pooled, and retried. psycopg is first imported here."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from dprm_data.core.errors import InputError, LedgerError
from dprm_data.core.extras import extra
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.ledger.postgres_errors import is_read_only, is_starting, is_transient, translate

if TYPE_CHECKING:
    import psycopg
    from psycopg_pool import ConnectionPool

    Connection = psycopg.Connection[tuple[Any, ...]]
    Pool = ConnectionPool[Connection]

T = TypeVar("T")

_CONNECT_TIMEOUT = 10  # seconds
# libpq's parameters, which an address may override. A server that is silent for a minute is gone (tcp_user_timeout is in milliseconds).
_DEFAULTS: dict[str, Any] = {
    "connect_timeout": _CONNECT_TIMEOUT,
    "application_name": "dprm",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_POOL_TIMEOUT = 1.0  # seconds until the pool is asked again: it makes new connections only when asked
_MAX_CONNECTIONS = 4  # per process: a reader, a writer, and the coordinator's
_BACKOFF = (0.05, 0.1, 0.2, 0.5, 1.0)  # seconds between attempts; the last one repeats
_RETRY_SECONDS = 120.0
_STARTING_SECONDS = 10.0  # how long to wait for a server that is starting
_STARTING_PAUSE = 0.2


def retry_seconds() -> float:
    """How many seconds to retry a lost database: DPRM_LEDGER_PATIENCE, or two minutes."""
    try:
        return float(os.environ.get("DPRM_LEDGER_PATIENCE", _RETRY_SECONDS))
    except ValueError:
        return _RETRY_SECONDS


def connect(address: LedgerAddress, *, readonly: bool = False) -> Connection:
    """One connection in autocommit mode, whose commits return once they are on the server's disk.

    Waits some seconds for a server that is starting. Raises `InputError` (the address, a missing driver) or `LedgerError`
    (no server, no database, no privilege).
    """
    return _wait_for_start(lambda: _connect_once(address, readonly=readonly), address)


def with_connection(address: LedgerAddress, work: Callable[[Connection], T], *, readonly: bool = False) -> T:
    """Run the work on a connection of its own; again if the server restarts meanwhile. Raises as `connect`."""

    def once() -> T:
        with _connect_once(address, readonly=readonly) as db:
            return work(db)

    return _wait_for_start(once, address)


def _wait_for_start(once: Callable[[], T], address: LedgerAddress) -> T:
    """Retry for a while, but only if the server is starting: a wrong address fails at once."""
    _driver()
    deadline = time.monotonic() + min(_STARTING_SECONDS, retry_seconds())
    while True:
        try:
            return once()
        except Exception as error:
            if not is_starting(error) or time.monotonic() > deadline:
                raise translate(error, address) from error
        time.sleep(_STARTING_PAUSE)


def _connect_once(address: LedgerAddress, *, readonly: bool = False) -> Connection:
    """As `connect`, but in one attempt, and raising the driver's own errors."""
    db: Connection = _driver().connect(**_arguments(address))
    _configure(db, readonly=readonly)
    return db


def open_pool(address: LedgerAddress, *, readonly: bool = False, max_size: int = _MAX_CONNECTIONS) -> Pool:
    """A pool of such connections. Opens one first, so that errors appear here. Raises as `connect`.

    Unqualified names in statements refer to the schema `dprm` (and PostgreSQL's own).
    """
    connect(address, readonly=readonly).close()
    from psycopg_pool import ConnectionPool

    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # our own errors say it
    return ConnectionPool(
        kwargs=_arguments(address),
        min_size=1,
        max_size=max_size,
        open=True,
        timeout=_CONNECT_TIMEOUT,
        reconnect_timeout=_POOL_TIMEOUT,  # the next request starts over, without the pool's growing pauses
        configure=lambda db: _configure(db, readonly=readonly),
        name="ledger",
    )


@dataclass
class RetryingPool:
    """Runs work on a pool's connections, again if a connection is lost, so that it survives a restart of the server.

    stopped: set once retrying was given up; from then on everything is tried only once.
    """

    pool: Pool
    address: LedgerAddress
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self, work: Callable[[Connection], T]) -> T:
        """Run the work and return its result. It may run several times, so it must be idempotent.

        Raises `LedgerError` if the server refuses it, or has been away for longer than `retry_seconds()`.
        """

        def once() -> T:
            if self.stopped.is_set():  # the pool may not have noticed yet that the server is back
                with _connect_once(self.address) as db:
                    return work(db)
            with self.pool.connection(timeout=_POOL_TIMEOUT) as db:
                try:
                    return work(db)
                except Exception as error:
                    if is_read_only(error):  # a new connection may reach a server that is not
                        db.close()
                    raise

        return retry(once, self.address, self.stopped)


@dataclass
class RetryingConnection:
    """Runs work in transactions on one connection that holds a lock. Replaces a lost connection, and takes the lock again first.

    lock: takes the lock on a new connection. Raises if another process has it, which is not retried.
    """

    address: LedgerAddress
    lock: Callable[[Connection], None]
    _db: Connection | None = None

    def run(self, work: Callable[[Connection], T]) -> T:
        """Run the work and return its result. Raises as `RetryingPool.run`, and what `lock` raises."""

        def once() -> T:
            db = self._db or self._locked()
            try:
                with db.transaction():
                    return work(db)
            except BaseException:
                self.close()
                raise

        return retry(once, self.address)

    def _locked(self) -> Connection:
        db = _connect_once(self.address)
        try:
            self.lock(db)
        except BaseException:
            db.close()
            raise
        self._db = db
        return db

    def close(self) -> None:
        """Close the connection; the lock ends with it."""
        if self._db:
            self._db.close()
            self._db = None


def retry(once: Callable[[], T], address: LedgerAddress, stopped: threading.Event | None = None) -> T:
    """Retry until it succeeds, as long as the errors are transient. Raises `LedgerError`."""
    failing_since: float | None = None
    attempt = 0
    while True:
        started = time.monotonic()
        try:
            return once()
        except Exception as error:
            if not is_transient(error):
                raise translate(error, address) from error
            failing_since = failing_since or started
            if time.monotonic() - failing_since > retry_seconds() or (stopped and stopped.is_set()):
                if stopped:
                    stopped.set()
                raise _unavailable(error, address, time.monotonic() - failing_since) from error
        pause = _BACKOFF[min(attempt, len(_BACKOFF) - 1)]
        attempt += 1
        if stopped:
            stopped.wait(pause)
        else:
            time.sleep(pause)


def _unavailable(error: Exception, address: LedgerAddress, seconds: float) -> LedgerError:
    if not is_read_only(error):
        try:  # a pool reports only that it has no connection
            _connect_once(address).close()
        except Exception as reason:
            error = reason
    state = "read-only" if is_read_only(error) else "away"
    return LedgerError(
        f"the ledger's database {address.shown} has been {state} for {seconds:.0f} s: {' '.join(str(error).split())}",
        hint="All acknowledged answers are safe. Run again when it is back, to continue.",
    )


def _arguments(address: LedgerAddress) -> dict[str, Any]:
    """The driver's arguments, password included: never show them."""
    psycopg = _driver()
    try:
        arguments: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(address.url)
    except (psycopg.Error, ValueError) as error:
        raise InputError(
            f"ledger {address.shown} is not a database's address: {' '.join(str(error).split())}",
            hint="It looks like postgresql://user@host:5432/database.",
        ) from error
    password = address.password()
    return _DEFAULTS | arguments | ({"password": password} if password else {}) | {"autocommit": True}


def _configure(db: Connection, *, readonly: bool) -> None:
    settings = {
        "search_path": "dprm",
        "synchronous_commit": "on",  # whatever the server's default: acknowledged means on disk
        "default_transaction_isolation": "'read committed'",  # attempts are numbered by what others have committed
        # A transaction must not hold its locks for hours after losing the network to its client.
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
    }
    # A reader's transaction may stay open while its rows are written elsewhere.
    settings |= (
        {"default_transaction_read_only": "on"} if readonly else {"idle_in_transaction_session_timeout": "'60s'"}
    )
    db.execute("; ".join(f"SET {name} = {value}" for name, value in settings.items()))


def _driver() -> Any:
    with extra("postgres", what="a ledger in PostgreSQL"):
        import psycopg
        import psycopg_pool  # noqa: F401
    return psycopg
