"""Membership: this process as one of the workers on a ledger, as long as it renews its row in time.

The database's row is what counts. A worker that is late but still has its row has lost nothing; one whose row another worker has deleted has
lost everything, and joins again as a new worker (its `life` increases). After the row's expiry a worker must not rely on it: it sends
nothing until it has renewed the row. It measures the expiry with its own clock, from the time of its last request for renewal, so it stops
before the others take over.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dprm_data.ledger.postgres_pool import RetryingPool

if TYPE_CHECKING:
    from dprm_data.ledger.postgres_pool import Connection

_JOIN = (
    "INSERT INTO workers (run, scope, writer, name, expires_at, ceiling, open) "
    "VALUES (%s, %s, %s, %s, clock_timestamp() + make_interval(secs => %s), %s, 0) RETURNING id"
)
_RENEW = (
    "UPDATE workers SET expires_at = clock_timestamp() + make_interval(secs => %s), calls = %s, in_flight = %s "
    "WHERE id = %s RETURNING id"
)
# While the server was down, no worker could renew its row.
_DELETE_EXPIRED = (
    "DELETE FROM workers WHERE expires_at < clock_timestamp() "
    "AND clock_timestamp() > pg_postmaster_start_time() + make_interval(secs => %s)"
)
_LEAVE = "DELETE FROM workers WHERE id = %s"

_MAX_GAP = 3.0  # seconds between two searches for expired rows, unless this worker was cut off

# A clock that also counts the time in which the machine sleeps; time.monotonic() does not on Linux.
_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def clock() -> float:
    """Seconds since some moment, including the time in which the machine slept if the system counts it."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


@dataclass(slots=True)
class WorkerCounts:
    """What a worker reports about itself."""

    calls: int = 0
    in_flight: int = 0


class Membership:
    """This process's row among the workers.

    run: whose budget; scope: whose limits; writer: the ledger's writer, under which this process's costs are summed; lease: seconds until the
    row expires unless renewed; ceiling: returns the dollars with which a new row starts.
    """

    def __init__(
        self, pool: RetryingPool, *, run: str, scope: str, writer: UUID, lease: float, ceiling: Callable[[], float]
    ) -> None:
        self._pool = pool
        self.writer = writer
        self._identity = (run, scope, writer, f"{socket.gethostname()}:{os.getpid()}")
        self._lease = lease
        self._ceiling = ceiling
        self._renewing = threading.Lock()
        self._requested_at = self._good_until = 0.0
        self._looked_at = self._may_delete_from = (
            0.0  # when expired rows were looked for, and from when they may be deleted
        )
        self.number = 0
        self.life = 0
        self.ceiling = 0.0  # with which the newest row started
        self.counts = WorkerCounts()

    @property
    def good(self) -> bool:
        """Whether the row certainly exists."""
        return clock() < self._good_until

    @property
    def due(self) -> bool:
        """Whether it is time to renew the row."""
        return clock() > self._good_until - self._lease + min(self._lease / 4, 3.0)

    def renew(self) -> None:
        """Renew the row; if it is gone, join as a new worker. Blocks; from any thread. Raises `LedgerError`."""
        with self._renewing:
            if not self.number or not self._pool.run(self._renew):
                self.ceiling = self._ceiling()
                self.number = self._pool.run(self._join)
                self.life += 1
            self._good_until = self._requested_at + self._lease

    def _renew(self, db: Connection) -> bool:
        self._requested_at = clock()
        values = (self._lease, self.counts.calls, self.counts.in_flight, self.number)
        return db.execute(_RENEW, values).fetchone() is not None

    def _join(self, db: Connection) -> int:
        self._requested_at = clock()
        row: Any = db.execute(_JOIN, (*self._identity, self._lease, self.ceiling)).fetchone()
        return int(row[0])

    def delete_expired(self) -> None:
        """Delete the rows of workers that did not renew them in time. Blocks.

        A worker that was itself cut off waits one lease first: the others may have been cut off, too.
        """
        now = clock()
        if self._looked_at and now - self._looked_at > max(self._lease / 2, _MAX_GAP):
            self._may_delete_from = now + self._lease
        if now >= self._may_delete_from:
            self._pool.run(lambda db: db.execute(_DELETE_EXPIRED, (self._lease,)))
        self._looked_at = clock()

    def leave(self) -> None:
        """Delete the own row, and with it the leases. Tried once: if it fails, the others will find the row expired."""
        number, self.number, self._good_until = self.number, 0, 0.0
        if number:
            with self._pool.pool.connection() as db:
                db.execute(_LEAVE, (number,))
