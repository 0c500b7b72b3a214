"""PostgreSQL's errors: which ones a retry may clear, and messages for the others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from dprm_data.core.errors import LedgerError
from dprm_data.core.ledger_address import LedgerAddress

# https://www.postgresql.org/docs/current/errcodes-appendix.html: connections (08), a server that stops, starts or is full (57P, 53300),
# transactions that conflict (40), and a database that is read-only for a while (maintenance, failover).
_READ_ONLY = "25006"
_TRANSIENT = ("08", "57P01", "57P02", "57P03", "53300", "40001", "40P01", "25P03", _READ_ONLY)
# Without a connection there is no code. These are the words of psycopg, libpq and the server for one that restarts or is full.
_STARTING = re.compile(
    "connection refused|starting up|shutting down|not yet accepting|recovery mode|closed the connection|connection reset"
    "|too many clients|connection slots|too many connections",
    re.IGNORECASE,
)
_REFUSING = re.compile("password|authentication|does not exist|pg_hba", re.IGNORECASE)


def is_transient(error: BaseException) -> bool:
    """Whether a retry may clear this error of the driver."""
    import psycopg
    from psycopg_pool import PoolTimeout

    if isinstance(error, PoolTimeout):
        return True
    if is_read_only(error):
        return True
    if not isinstance(error, psycopg.OperationalError):
        return False
    # Without a code, the connection itself failed: refused, reset, closed midway.
    return error.sqlstate is None or error.sqlstate.startswith(_TRANSIENT)


def is_read_only(error: BaseException) -> bool:
    """Whether the database accepts no writes at present, or not on this connection."""
    return getattr(error, "sqlstate", None) == _READ_ONLY


def is_starting(error: BaseException) -> bool:
    """Whether a server that refused a first connection may soon accept one. False if one of several hosts refuses us permanently."""
    import psycopg

    if is_read_only(error):
        return True
    if not isinstance(error, psycopg.OperationalError):
        return False
    if error.sqlstate:
        return error.sqlstate.startswith(_TRANSIENT)
    return bool(_STARTING.search(str(error))) and not _REFUSING.search(str(error))


@contextmanager
def translated_errors(address: LedgerAddress) -> Iterator[None]:
    """Raise the driver's errors as `LedgerError`s with a hint."""
    try:
        yield
    except Exception as error:
        translated = translate(error, address)
        if translated is error:
            raise
        raise translated from error


def translate(error: Exception, address: LedgerAddress) -> Exception:
    """A `LedgerError` for an error of the driver; any other error itself."""
    import psycopg

    if not isinstance(error, psycopg.Error):
        return error
    # libpq asks whether the server is running; so does our hint.
    place, reason = address.shown, " ".join(str(error).split("\tIs the server running")[0].split())
    if "password" in reason or "authentication" in reason:
        return LedgerError(
            f"the ledger's database {place} does not let us in: {reason}",
            hint="The password is read from PGPASSWORD or ~/.pgpass, or from the variable that the address names.",
        )
    if "does not exist" in reason and isinstance(error, psycopg.OperationalError):
        return LedgerError(
            f"the ledger {place} cannot be opened: {reason}",
            hint="Create the database and the user (createdb, createuser), or correct the recipe's ledger. The tables are created for you.",
        )
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return LedgerError(
            f"the ledger {place} may not be used: {reason}",
            hint="The first process creates the schema dprm and needs CREATE on the database; later ones need USAGE on the schema, and to read and write its tables.",
        )
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return LedgerError(
            f"the ledger's database {place} cannot be reached: {reason}",
            hint="Is the server running, and are the host, port and database in the recipe's ledger right?",
        )
    return LedgerError(
        f"the ledger {place} cannot be used: {reason}",
        hint="All acknowledged answers are safe. Fix that, then run again to continue.",
    )
