"""Pending batches: batches that were submitted but not collected yet, as the ledger records them.

A batch is recorded with all its rows before it is submitted, and gets the provider's id afterwards. A batch without an id may or may not
have reached the provider.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence

from dprm_data.ledger.ledger import Ledger
from dprm_data.ledger.store import PendingBatch

__all__ = ["PendingBatch", "PendingBatches"]


class PendingBatches:
    """One run's pending batches in the ledger. Every change is on disk when its method returns. Raises `RunBusy` if another process has
    locked them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._store, self._run = ledger, ledger.store, ledger.run
        self._store.lock_pending_batches(self._run)

    def batches(self) -> list[PendingBatch]:
        """All pending batches, oldest first."""
        return self._store.batches(self._run)

    def rows(self, batch: PendingBatch) -> dict[bytes, bytes]:
        """A batch's calls: call key to item id."""
        return self._store.batch_rows(batch.number)

    def holds(self, items: Sequence[bytes]) -> set[bytes]:
        """The items, among these, that have calls in a pending batch."""
        return self._store.items_in_batches(items)

    def put(self, calls: Sequence[tuple[bytes, bytes]], reserved: float) -> PendingBatch:
        """Record a batch of these (call key, item id) before it is submitted. reserved: dollars."""
        tag, now = uuid.uuid4().hex, time.time()
        number = self._store.add_batch(self._run, tag, calls, reserved, now)
        return PendingBatch(number, tag, None, len(calls), reserved, now)

    def confirm(self, batch: PendingBatch, batch_id: str) -> None:
        """Record the provider's id of a batch."""
        self._store.confirm_batch(batch.number, batch_id)

    def drop(self, batch: PendingBatch) -> None:
        """Delete a batch that the provider did not accept: its calls are missing again."""
        self._ledger.record_now([], collected=batch.number)
