"""Connections to PostgreSQL: opened, pooled, and had patience with. psycopg is imported here and nowhere before."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from dprm_data.core.errors import InputError, LedgerError
from dprm_data.core.ledger_address import parse, password_of, shown, without_password

if TYPE_CHECKING:
    import psycopg
    from psycopg_pool import ConnectionPool

    Connection = psycopg.Connection[tuple[Any, ...]]
    Pool = ConnectionPool[Connection]

T = TypeVar("T")

_CONNECT_TIMEOUT = 10  # seconds
# libpq's words; an address may say otherwise. A server that answers nothing for a minute is gone (milliseconds there, seconds here).
_DEFAULTS: dict[str, Any] = {
    "connect_timeout": _CONNECT_TIMEOUT,
    "application_name": "dprm",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_WAIT = 1.0  # for a connection of the pool's, before it is asked once more: it only looks for new ones when it is asked
_MOST_CONNECTIONS = 4  # of one process: a reader, a writer, and what watches over the workers
_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)  # seconds between attempts; the last one stays
_PATIENCE = 120.0
_OPENING = 10.0  # seconds for which a server that is just starting is waited for, before anything was heard from it
# https://www.postgresql.org/docs/current/errcodes-appendix.html: connections (08), a server that stops, starts or is crowded (57P, 53300),
# and transactions that stood in each other's way (40).
_PASSING = ("08", "57P01", "57P02", "57P03", "53300", "40001", "40P01", "25P03")
# What is said instead of a code where no connection was made, of a server that is between two lives or crowded: psycopg, libpq, the server.
_STARTING = re.compile(
    "connection refused|starting up|shutting down|not yet accepting|recovery mode|closed the connection|connection reset"
    "|too many clients|connection slots|too many connections",
    re.IGNORECASE,
)
_REFUSING = re.compile("password|authentication|does not exist|pg_hba", re.IGNORECASE)


def patience() -> float:
    """Seconds for which a database that has gone away is waited for; DPRM_LEDGER_PATIENCE replaces the default of two minutes."""
    try:
        return float(os.environ.get("DPRM_LEDGER_PATIENCE", _PATIENCE))
    except ValueError:
        return _PATIENCE


def connect(url: str, *, readonly: bool = False) -> Connection:
    """One connection, which commits by itself, on which a commit is on the server's disk when it returns.

    A server that is just starting is waited for, some seconds at most. Raises `InputError` (the address, a missing driver) or `LedgerError`
    (no server, no database, no right).
    """
    return _at_first(lambda: dial(url, readonly=readonly), url)


def begin(url: str, work: Callable[[Connection], T], *, readonly: bool = False) -> T:
    """The work's result, on a connection of its own, which is closed. Done again where the server restarts in the middle. Raises as `connect`."""

    def once() -> T:
        with dial(url, readonly=readonly) as db:
            return work(db)

    return _at_first(once, url)


def _at_first(once: Callable[[], T], url: str) -> T:
    """Do it, and again for a while where the server is just starting: nobody is left waiting by a wrong address."""
    _driver()
    until = time.monotonic() + min(_OPENING, patience())
    while True:
        try:
            return once()
        except Exception as error:
            if not _starting(error) or time.monotonic() > until:
                raise spoken(error, url) from error
        time.sleep(_PAUSES[2])


def dial(url: str, *, readonly: bool = False) -> Connection:
    """As `connect`, with the driver's own errors."""
    db: Connection = _driver().connect(**_arguments(url))
    _configure(db, readonly=readonly)
    return db


def open_pool(url: str, *, readonly: bool = False, most: int = _MOST_CONNECTIONS) -> Pool:
    """A pool of such connections. The first is made at once, so that what is wrong is said at once. Raises as `connect`.

    Unqualified names in statements mean the schema `dprm` (and PostgreSQL's own).
    """
    connect(url, readonly=readonly).close()
    from psycopg_pool import ConnectionPool

    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # what is wrong is told by errors
    return ConnectionPool(
        kwargs=_arguments(url),
        min_size=1,
        max_size=most,
        open=True,
        timeout=_CONNECT_TIMEOUT,
        reconnect_timeout=_WAIT,  # then the next request begins anew, without the growing pauses between attempts
        configure=lambda db: _configure(db, readonly=readonly),
        name="ledger",
    )


@dataclass
class Patient:
    """Work on a pool's connections that outlives a server's restart.

    stopped: set where waiting has been in vain once; then everything is tried once.
    """

    pool: Pool
    url: str
    stopped: threading.Event = field(default_factory=threading.Event)

    def __call__(self, work: Callable[[Connection], T]) -> T:
        """The work's result. It is done again where the connection was lost in the middle, so it must be such that this does no harm.

        Raises `LedgerError` where the server refuses it, or has been away for longer than `patience()`.
        """

        def once() -> T:
            if self.stopped.is_set():  # the pool may not have noticed yet that the server is back
                with dial(self.url) as db:
                    return work(db)
            with self.pool.connection(timeout=_WAIT) as db:
                return work(db)

        return patiently(once, self.url, self.stopped)


def patiently(once: Callable[[], T], url: str, stopped: threading.Event | None = None) -> T:
    """Do it until it is done, as long as what goes wrong may pass. Raises `LedgerError`."""
    since: float | None = None
    attempt = 0
    while True:
        began = time.monotonic()
        try:
            return once()
        except Exception as error:
            if not passing(error):
                raise spoken(error, url) from error
            since = since or began
            if time.monotonic() - since > patience() or (stopped and stopped.is_set()):
                if stopped:
                    stopped.set()
                raise _gone(error, url, time.monotonic() - since) from error
        pause = _PAUSES[min(attempt, len(_PAUSES) - 1)]
        attempt += 1
        if stopped:
            stopped.wait(pause)
        else:
            time.sleep(pause)


def passing(error: BaseException) -> bool:
    """Whether an error of the driver's may be gone at the next attempt."""
    import psycopg
    from psycopg_pool import PoolTimeout

    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, psycopg.OperationalError):
        return False
    # Without a code it is the connection's own: refused, reset, closed in the middle.
    return error.sqlstate is None or error.sqlstate.startswith(_PASSING)


def _starting(error: BaseException) -> bool:
    """Whether a server that has not taken us is there in a moment. Of several addresses, one that refuses us for good is enough."""
    import psycopg

    if not isinstance(error, psycopg.OperationalError):
        return False
    if error.sqlstate:
        return error.sqlstate.startswith(_PASSING)
    return bool(_STARTING.search(str(error))) and not _REFUSING.search(str(error))


class Speaking:
    """Turns the driver's errors into words that say what to do. Use as a context manager."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        import psycopg

        if isinstance(error, psycopg.Error):
            raise spoken(error, self._url) from error


def spoken(error: Exception, url: str) -> Exception:
    """The error as it is told: a `LedgerError`, or itself where it is none of the driver's."""
    import psycopg

    if not isinstance(error, psycopg.Error):
        return error
    # libpq asks whether the server runs; so do we.
    where, what = shown(url), " ".join(str(error).split("\tIs the server running")[0].split())
    if "password" in what or "authentication" in what:
        return LedgerError(
            f"the ledger's database {where} does not let us in: {what}",
            hint="The password is looked for in PGPASSWORD and in ~/.pgpass, or in the variable that the address names.",
        )
    if "does not exist" in what and isinstance(error, psycopg.OperationalError):
        return LedgerError(
            f"the ledger {where} cannot be opened: {what}",
            hint="Make the database and the user (createdb, createuser), or mend the recipe's ledger. Tables are made by themselves.",
        )
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return LedgerError(
            f"the ledger {where} may not be used: {what}",
            hint="The first process makes the schema dprm and needs CREATE on the database; later ones USAGE on the schema, and to read and write its tables.",
        )
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return LedgerError(
            f"the ledger's database {where} cannot be reached: {what}",
            hint="Is the server running, and are the host, port and database in the recipe's ledger right?",
        )
    return LedgerError(
        f"the ledger {where} cannot be used: {what}",
        hint="What was acknowledged is safe. Mend that and run again: it goes on from there.",
    )


def _gone(error: Exception, url: str, seconds: float) -> LedgerError:
    try:  # a pool only says that it has none
        dial(url).close()
    except Exception as reason:
        error = reason
    return LedgerError(
        f"the ledger's database {shown(url)} has been away for {seconds:.0f} s: {' '.join(str(error).split())}",
        hint="What was acknowledged is safe. Run again when it is back: it goes on from there.",
    )


def _arguments(url: str) -> dict[str, Any]:
    """What the driver is given. The password is in it: not to be shown."""
    psycopg = _driver()
    reference = parse(url)
    assert isinstance(reference, str)
    try:
        arguments: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(without_password(reference))
    except (psycopg.Error, ValueError) as error:
        raise InputError(
            f"ledger {shown(reference)} is no address of a database: {' '.join(str(error).split())}",
            hint="It looks like postgresql://user@host:5432/database.",
        ) from error
    password = password_of(reference)
    given = {"password": password} if password else {}
    return _DEFAULTS | arguments | given | {"autocommit": True}


def _configure(db: Connection, *, readonly: bool) -> None:
    settings = {
        "search_path": "dprm",
        "synchronous_commit": "on",  # whatever the server's default is: acknowledged means on disk
        "default_transaction_isolation": "'read committed'",  # attempts are numbered by what others have committed
        # A transaction whose client the network has swallowed must not hold its locks for hours.
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
    }
    # A reader's transaction may stay open while what it reads is written elsewhere.
    settings |= (
        {"default_transaction_read_only": "on"} if readonly else {"idle_in_transaction_session_timeout": "'60s'"}
    )
    db.execute("; ".join(f"SET {name} = {value}" for name, value in settings.items()))


def _driver() -> Any:
    try:
        import psycopg
        import psycopg_pool  # noqa: F401
    except ImportError as error:
        raise InputError(
            "a ledger in PostgreSQL needs the driver psycopg",
            hint="Install it: pip install 'dprm-data[postgres]'",
        ) from error
    return psycopg
