"""From a ledger's reference to its store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dprm_data.core.ledger_address import Reference, parse
from dprm_data.ledger.store import Store


def open_store(reference: Reference, *, readonly: bool = False) -> Store:
    """The store at a path or a URL, made where it is to be written and is not there.

    Raises `InputError`, `LedgerError`; `RunBusy` where another process holds the file.
    """
    place = parse(reference)
    if isinstance(place, Path):
        from dprm_data.ledger.sqlite import SqliteStore

        return SqliteStore(place, readonly=readonly)
    from dprm_data.ledger.postgres import PostgresStore

    return PostgresStore(place, readonly=readonly)


def exists(reference: Reference) -> bool:
    """Whether there is a ledger yet. Raises as `open_store` where that cannot be found out."""
    place = parse(reference)
    if isinstance(place, Path):
        return place.is_file()
    from dprm_data.ledger.postgres_pool import begin
    from dprm_data.ledger.postgres_schema import version_of

    return begin(place, lambda db: version_of(db, place), readonly=True) > 0


@contextmanager
def opened(reference: Reference) -> Iterator[Store]:
    """A store to look at, closed in the end. Raises as `open_store`."""
    store = open_store(reference, readonly=True)
    try:
        yield store
    finally:
        store.close()
