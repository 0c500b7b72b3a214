"""The ledger's file: its lock, its schema and migrations, and SQLite's errors as `LedgerError`s.

calls       one row per (key, attempt): the newest attempt counts; older ones are kept
failures    one row per failed attempt that was or could have been retried, with its message and cost
done        items that need no further call under a plan: a resumed run skips them without looking up each call
totals      the cost of each run's calls and failed attempts, updated by the commits that add them
holds       dollars that each process may owe for calls which it has not recorded (`hold.py`); killed processes leave theirs
batches     batches submitted to a batch API and not collected yet; their calls are in batch_rows
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dprm_data.core.errors import LedgerError, RunBusy
from dprm_data.core.tables import make_folder
from dprm_data.ledger.store import CHECKED, write_error

APPLICATION_ID = 0x4450524D  # "DPRM": marks the file as ours

# Each step migrates from one version to the next; a new file takes them all. Never change a released step.
_STEPS = (
    """
CREATE TABLE calls (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    run TEXT NOT NULL,
    status TEXT NOT NULL,
    text TEXT NOT NULL,
    finish TEXT NOT NULL,
    logprobs BLOB,
    model TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    cost REAL,
    latency REAL NOT NULL,
    created_at REAL NOT NULL,
    reason TEXT NOT NULL,
    price_table TEXT NOT NULL,
    UNIQUE (key, attempt)
);
CREATE TABLE failures (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    run TEXT NOT NULL,
    kind TEXT NOT NULL,
    status INTEGER,
    message TEXT NOT NULL,
    cost REAL,
    created_at REAL NOT NULL
);
CREATE TABLE done (plan BLOB NOT NULL, item BLOB NOT NULL, PRIMARY KEY (plan, item)) WITHOUT ROWID;
""",
    """
CREATE TABLE totals (run TEXT PRIMARY KEY, cost REAL NOT NULL) WITHOUT ROWID;
INSERT INTO totals SELECT run, SUM(cost) FROM
    (SELECT run, COALESCE(cost, 0) AS cost FROM calls UNION ALL SELECT run, COALESCE(cost, 0) FROM failures) GROUP BY run;
CREATE TABLE batches (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    tag TEXT NOT NULL,
    batch_id TEXT,
    rows INTEGER NOT NULL,
    reserved REAL NOT NULL,
    created_at REAL NOT NULL
);
CREATE TABLE batch_rows (batch INTEGER NOT NULL, key BLOB NOT NULL, item BLOB NOT NULL, PRIMARY KEY (batch, key)) WITHOUT ROWID;
CREATE INDEX batch_rows_by_item ON batch_rows (item);
""",
    "ALTER TABLE calls ADD COLUMN estimated INTEGER NOT NULL DEFAULT 0;",
)
VERSION = len(_STEPS)


def acquire_lock(path: Path) -> FileLock:
    """Lock the file beside the ledger. The lock ends with its process. Raises `RunBusy`, or `LedgerError` if it cannot be locked."""
    if path.is_dir():
        raise LedgerError(f"{path} is a folder, not a ledger's file", hint="Name a file in the recipe (ledger: ...).")
    try:
        make_folder(path.parent)
        lock = FileLock(f"{path}.lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunBusy(
            f"another process is using the ledger {path}",
            hint="Wait for it or stop it: only one run at a time may use a ledger's file.",
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.EIO):
            raise LedgerError(
                f"the ledger {path} cannot be locked: {error.strerror}",
                hint="A network drive may not lock files, or be out of reach. Put the ledger on a local disk (recipe: ledger or output).",
            ) from error
        raise LedgerError(
            f"cannot write in {path.parent}: {error.strerror or error}",
            hint="Choose another output folder, or make this one writable.",
        ) from error
    return lock


def connect(path: Path, *, readonly: bool) -> sqlite3.Connection:
    """A connection to the ledger. Unless `readonly`, creates the file or migrates it to the newest version. Raises `LedgerError`."""
    if not path.exists():
        if readonly:
            raise LedgerError(
                f"no ledger at {path}", hint="Give a ledger, a run folder that has one, or the recipe that names one."
            )
        _create(path.resolve())
    if path.stat().st_size == 0:  # SQLite would take it for a new database, and delete its log
        raise _emptied(path)
    with translated_errors(path):
        mode = "ro" if readonly else "rw"
        db = sqlite3.connect(
            f"file:{_quoted(path)}?mode={mode}", uri=True, check_same_thread=False, timeout=30, isolation_level=None
        )
        try:
            version = _checked_version(db, path)
            if not readonly:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                _migrate(db, version)
        except BaseException:
            db.close()
            raise
    return db


def version_of(db: sqlite3.Connection) -> int:
    """The schema's version."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def columns_of(db: sqlite3.Connection, table: str) -> set[str]:
    """The names of the table's columns; none if there is no such table."""
    return {name for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,))}


def _create(path: Path) -> None:
    """Create a ledger under a temporary name, then rename it, so that a ledger's file is never without its tables."""
    log = Path(f"{path}-wal")
    if log.exists() and log.stat().st_size:
        raise LedgerError(
            f"the ledger {path} is gone, but its log {log.name} is there, with answers that were paid for",
            hint="Restore the ledger beside its log. To start over, and pay for every call again, delete the log.",
        )
    new = path.with_name(f"{path.name}.new")
    with translated_errors(path):
        try:
            new.unlink(missing_ok=True)  # of a process that was killed here
            with closing(sqlite3.connect(new, isolation_level=None)) as db:
                db.execute("PRAGMA journal_mode = MEMORY")
                db.execute("PRAGMA synchronous = FULL")
                _migrate(db, 0)
            new.replace(path)
        except OSError as error:
            raise write_error(path, error) from error


def _emptied(path: Path) -> LedgerError:
    return LedgerError(
        f"{path} has lost its content: a ledger is never without tables",
        hint=f"Restore it from a backup. To start over, and pay for every call again, delete it and its log {path.name}-wal.",
    )


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _checked_version(db: sqlite3.Connection, path: Path) -> int:
    (tables,) = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    version = version_of(db)
    if not tables:
        raise _emptied(path)
    if application != APPLICATION_ID:
        raise LedgerError(
            f"{path} is a database, but not a ledger of dprm-data",
            hint="Nothing was changed. Name another file in the recipe (ledger: ...).",
        )
    if version > VERSION:
        raise LedgerError(
            f"{path} was written by a newer dprm-data (ledger version {version}, this one reads up to {VERSION})",
            hint="Upgrade dprm-data.",
        )
    return version


def _migrate(db: sqlite3.Connection, version: int) -> None:
    """Migrate to the newest version, in one transaction."""
    if version < VERSION:
        steps = "".join(_STEPS[version:])
        identity = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
        db.executescript(f"BEGIN IMMEDIATE; {steps} {identity} COMMIT;")
    # Not steps with versions of their own: older programs can use a ledger with these columns and this table.
    db.execute(
        "CREATE TABLE IF NOT EXISTS holds (run TEXT NOT NULL, writer TEXT NOT NULL, held REAL NOT NULL, created_at REAL NOT NULL, "
        "PRIMARY KEY (run, writer)) WITHOUT ROWID"
    )
    for table in CHECKED:
        if "checksum" not in columns_of(db, table):
            db.execute(f"ALTER TABLE {table} ADD COLUMN checksum BLOB")
    if "reasoning_tokens" not in columns_of(db, "calls"):
        db.execute("ALTER TABLE calls ADD COLUMN reasoning_tokens INTEGER")


@contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as `LedgerError`s with a hint."""
    try:
        yield
    except UnicodeDecodeError as error:  # a name in the damaged schema, which SQLite quotes
        raise LedgerError(
            f"{path} is damaged: {error}", hint="Nothing was changed. Restore it from a backup."
        ) from error
    except sqlite3.DatabaseError as error:
        if "not a database" in str(error) or "malformed" in str(error):
            raise LedgerError(
                f"{path} is not a ledger: {error}",
                hint="Nothing was changed. Move it away, or name another file in the recipe (ledger: ...).",
            ) from error
        if "Could not decode" in str(error):
            raise LedgerError(
                f"{path} is damaged: {error}", hint="Nothing was changed. Restore it from a backup."
            ) from error
        if "unable to open" in str(error) and not os.access(path.parent, os.W_OK):
            raise LedgerError(
                f"cannot write in {path.parent}", hint="Choose another output folder, or make this one writable."
            ) from error
        raise write_error(path, error) from error
