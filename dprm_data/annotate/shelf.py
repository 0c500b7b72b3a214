"""The shelf: batches that were handed over to a provider and are not collected yet, as the ledger keeps them.

A batch is noted, with all its rows, before it is handed over, and gets the provider's id afterwards: one without an id may or may not have
reached the provider.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from dprm_data.annotate.ledger import Ledger
from dprm_data.annotate.ledgerfile import speaking

_LOOKUP = 500


@dataclass(frozen=True, slots=True)
class Shelved:
    """A batch on the shelf. number: in the ledger; batch_id: at the provider, None where it is not known to have got there; reserved:
    dollars; created_at: seconds since 1970."""

    number: int
    tag: str
    batch_id: str | None
    rows: int
    reserved: float
    created_at: float


class Shelf:
    """The ledger's batches of one run. Every change is on disk when it returns."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def batches(self) -> list[Shelved]:
        """All of them, oldest first."""
        query = "SELECT id, tag, batch_id, rows, reserved, created_at FROM batches WHERE run = ? ORDER BY id"
        with speaking(self._ledger.path):
            return [Shelved(*row) for row in self._ledger.db.execute(query, (self._ledger.run,))]

    def rows(self, batch: Shelved) -> dict[bytes, bytes]:
        """A batch's calls: key to item id."""
        with speaking(self._ledger.path):
            found = self._ledger.db.execute("SELECT key, item FROM batch_rows WHERE batch = ?", (batch.number,))
            return {bytes(key): bytes(item) for key, item in found}

    def holds(self, items: Sequence[bytes]) -> set[bytes]:
        """Those of these items that have calls on the shelf."""
        held: set[bytes] = set()
        for start in range(0, len(items), _LOOKUP):
            some = items[start : start + _LOOKUP]
            query = f"SELECT DISTINCT item FROM batch_rows WHERE item IN ({', '.join('?' * len(some))})"
            with speaking(self._ledger.path):
                held.update(row[0] for row in self._ledger.db.execute(query, some))
        return held

    def put(self, calls: Sequence[tuple[bytes, bytes]], reserved: float) -> Shelved:
        """Note a batch of these (key, item id) that is about to be handed over."""
        tag, now = uuid.uuid4().hex, time.time()
        with speaking(self._ledger.path), self._ledger.transaction() as db:
            made = db.execute(
                "INSERT INTO batches (run, tag, rows, reserved, created_at) VALUES (?, ?, ?, ?, ?)",
                (self._ledger.run, tag, len(calls), reserved, now),
            )
            number = int(made.lastrowid or 0)
            db.executemany("INSERT INTO batch_rows VALUES (?, ?, ?)", [(number, key, item) for key, item in calls])
        return Shelved(number, tag, None, len(calls), reserved, now)

    def confirm(self, batch: Shelved, batch_id: str) -> None:
        """It is at the provider, under this id."""
        with speaking(self._ledger.path), self._ledger.transaction() as db:
            db.execute("UPDATE batches SET batch_id = ? WHERE id = ?", (batch_id, batch.number))

    def drop(self, batch: Shelved) -> None:
        """It was not taken: its calls are missing again."""
        self._ledger.record_now([], collected=batch.number)
