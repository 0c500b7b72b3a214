"""Tokens of thought in ledgers of this version and of older ones, read and written both ways."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.ledger.call import Reply
from dprm_data.ledger.copy import copy_ledger
from dprm_data.ledger.export import export_calls
from dprm_data.ledger.factory import opened
from dprm_data.ledger.ledger import Ledger
from dprm_data.ledger.stats import stats_of
from dprm_data.ledger.verify import check_ledger
from dprm_data.providers.request import Usage
from tests.ledger.test_ledger import key, reply
from tests.servers.postgres import Database

THOUGHTFUL = Reply("answered", text="x", usage=Usage(3, 90, reasoning_tokens=80))


def place_of(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> tuple[LedgerAddress, Database | None]:
    database: Database | None = request.getfixturevalue("postgres") if kind == "postgres" else None
    return (database.address if database else LedgerAddress.parse(str(tmp_path / "l.sqlite"))), database


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_ledger_from_before_is_read_and_brought_up_to_date(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    place, database = place_of(tmp_path, kind, request)
    with Ledger(place, run="r") as ledger:
        ledger.record_now([(key(1), reply())])
    drop = "ALTER TABLE {}calls DROP COLUMN reasoning_tokens"
    if database:
        database.execute(drop.format("dprm."))
    else:
        with sqlite3.connect(place.path) as db:
            db.execute(drop.format(""))
    with Ledger(place, run="r", readonly=True) as ledger:
        assert ledger.find([key(1)])[key(1)].usage == Usage(3, 1)
    with opened(place) as store:
        assert stats_of(store).groups[0].reasoning_tokens == 0 and check_ledger(store).faults == []
        assert export_calls(store, tmp_path / "calls.parquet") == 1
    with Ledger(place, run="r") as ledger:
        ledger.record_now([(key(2), THOUGHTFUL)])
        found = ledger.find([key(1), key(2)])
        assert [found[key(n)].usage.reasoning_tokens for n in (1, 2)] == [0, 80]
    copied = LedgerAddress.parse(str(tmp_path / "copy.sqlite"))
    copy_ledger(place, copied)
    with opened(copied) as store:
        assert sum(group.reasoning_tokens for group in stats_of(store).groups) == 80
        assert check_ledger(store).faults == []


def test_an_older_version_writes_into_the_ledger_of_this_one(tmp_path: Path) -> None:
    """It names its columns, of which thoughts are none, and it makes checksums without them."""
    place = LedgerAddress.parse(str(tmp_path / "l.sqlite"))
    with Ledger(place, run="r") as ledger:
        ledger.record_now([(key(1), THOUGHTFUL)])
    with sqlite3.connect(place.path) as db:
        columns = [name for (name,) in db.execute("SELECT name FROM pragma_table_info('calls')")]
        older = ", ".join(name for name in columns if name not in ("id", "key", "reasoning_tokens"))
        db.execute(f"INSERT INTO calls (key, {older}) SELECT ?, {older} FROM calls", (key(2),))
        (checksum,) = db.execute("SELECT checksum FROM calls WHERE key = ?", (key(1),)).fetchone()
        db.execute("UPDATE calls SET reasoning_tokens = NULL")
    with Ledger(place, run="r", readonly=True) as ledger:
        assert ledger.find([key(2)])[key(2)].usage == Usage(3, 90)
    with opened(place) as store:
        [fault] = check_ledger(store).faults  # the row under another key, made by hand
        assert checksum and "checksum" in fault
