"""A member: this process among the workers on one ledger. It is one for as long as it says so in time.

The database's row is what counts. A worker that is late but whose row is still there has lost nothing; one whose row was deleted by another
has lost all that it had, and comes back as a new one (its `life` rises). From the row's expiry on the worker must not rely on its being
there: it sends nothing before it has heard again. It measures that by its own clock, from the moment it asked for more time, so it stops
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

from dprm_data.ledger.postgres_pool import Patient

if TYPE_CHECKING:
    from dprm_data.ledger.postgres_pool import Connection

_JOIN = (
    "INSERT INTO workers (run, scope, writer, name, expires_at, ceiling, open) "
    "VALUES (%s, %s, %s, %s, clock_timestamp() + make_interval(secs => %s), %s, 0) RETURNING id"
)
_STAY = (
    "UPDATE workers SET expires_at = clock_timestamp() + make_interval(secs => %s), calls = %s, in_flight = %s "
    "WHERE id = %s RETURNING id"
)
# Nobody could ask a server for more time that was not there.
_BURY = (
    "DELETE FROM workers WHERE expires_at < clock_timestamp() "
    "AND clock_timestamp() > pg_postmaster_start_time() + make_interval(secs => %s)"
)
_LEAVE = "DELETE FROM workers WHERE id = %s"

_OUT_OF_TOUCH = 3.0  # seconds

# Seconds that go on while the machine sleeps, which time.monotonic() does not count on Linux.
_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def clock() -> float:
    """Seconds since some moment, those asleep included where the system can tell."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


@dataclass(slots=True)
class Figures:
    """What a worker tells of itself."""

    calls: int = 0
    in_flight: int = 0


class Membership:
    """This process's row among the workers.

    run: whose budget; scope: whose limits; writer: under which the ledger counts this process's costs; lease: seconds that the row is good for
    each time; ceiling: dollars that a new row begins with.
    """

    def __init__(
        self, patient: Patient, *, run: str, scope: str, writer: UUID, lease: float, ceiling: Callable[[], float]
    ) -> None:
        self._patient = patient
        self.writer = writer
        self._who = (run, scope, writer, f"{socket.gethostname()}:{os.getpid()}")
        self._lease = lease
        self._ceiling = ceiling
        self._asking = threading.Lock()
        self._asked_at = self._good_until = 0.0
        self._looked_at = self._judges_from = 0.0  # when dead workers were looked for, and from when they may be
        self.number = 0
        self.life = 0
        self.ceiling = 0.0  # that the newest row began with
        self.figures = Figures()

    @property
    def good(self) -> bool:
        """Whether the row is certainly there."""
        return clock() < self._good_until

    @property
    def due(self) -> bool:
        """Whether it is time to ask for more time."""
        return clock() > self._good_until - self._lease + min(self._lease / 4, 3.0)

    def stay(self) -> None:
        """Ask for more time; where the row is gone, come back as a new worker. Blocks; from any thread. Raises `LedgerError`."""
        with self._asking:
            if not self.number or not self._patient(self._stay):
                self.ceiling = self._ceiling()
                self.number = self._patient(self._join)
                self.life += 1
            self._good_until = self._asked_at + self._lease

    def _stay(self, db: Connection) -> bool:
        self._asked_at = clock()
        values = (self._lease, self.figures.calls, self.figures.in_flight, self.number)
        return db.execute(_STAY, values).fetchone() is not None

    def _join(self, db: Connection) -> int:
        self._asked_at = clock()
        row: Any = db.execute(_JOIN, (*self._who, self._lease, self.ceiling)).fetchone()
        return int(row[0])

    def bury(self) -> None:
        """Delete the rows of workers that did not ask in time. Blocks.

        Who was out of touch for as long itself is no judge of others: whatever kept it may have kept them.
        """
        now = clock()
        if self._looked_at and now - self._looked_at > max(self._lease / 2, _OUT_OF_TOUCH):
            self._judges_from = now + self._lease
        if now >= self._judges_from:
            self._patient(lambda db: db.execute(_BURY, (self._lease,)))
        self._looked_at = clock()

    def leave(self) -> None:
        """Delete the own row, and with it the leases. Tried once: where it fails, the others find it expired."""
        number, self.number, self._good_until = self.number, 0, 0.0
        if number:
            with self._patient.pool.connection() as db:
                db.execute(_LEAVE, (number,))
