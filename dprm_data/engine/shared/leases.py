"""Leases: whose an item is. A key is a hash of what an item's calls begin with; its row says which worker may send them.

Two items may begin the same (a template need not show everything), so this worker may hold one key for several items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dprm_data.engine.coordinator import Lease
from dprm_data.engine.shared.membership import Membership
from dprm_data.ledger.postgres_pool import Patient

if TYPE_CHECKING:
    from dprm_data.ledger.postgres_pool import Connection

# Own rows count as free: after a connection was lost nobody knows whether the claim had been committed. In the keys' order, so that two
# workers wait for each other in one order.
_CLAIM = """
WITH wanted AS (SELECT key, item FROM unnest(%(keys)b::bytea[], %(items)b::bigint[]) AS given (key, item)),
taken AS (SELECT DISTINCT item FROM wanted JOIN leases USING (key) WHERE leases.worker <> %(worker)s),
chosen AS (SELECT DISTINCT item FROM wanted WHERE item NOT IN (SELECT item FROM taken) ORDER BY item LIMIT %(most)s)
INSERT INTO leases (key, worker)
SELECT DISTINCT key, %(worker)s::bigint FROM wanted JOIN chosen USING (item) ORDER BY key
ON CONFLICT (key) DO UPDATE SET worker = excluded.worker WHERE leases.worker = excluded.worker
RETURNING key
"""
_LET_GO = "DELETE FROM leases WHERE key = ANY(%b::bytea[]) AND worker = %s"

Keys = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class PostgresLease:
    """An item's lease (`coordination.Lease`): of the life in which it was claimed."""

    keys: Keys
    life: int
    member: Membership
    sure: Callable[[PostgresLease], Awaitable[None]]

    @property
    def good(self) -> bool:
        return self.life == self.member.life and self.member.good

    async def confirm(self) -> None:
        await self.sure(self)


class Leases:
    """This worker's leases. Not for several threads, but for `let_go`."""

    def __init__(self, patient: Patient, member: Membership, sure: Callable[[PostgresLease], Awaitable[None]]) -> None:
        self._patient = patient
        self._member = member
        self._sure = sure
        self._held: Counter[bytes] = Counter()  # for how many items
        self._to_let_go: set[bytes] = set()
        self._leaving: frozenset[bytes] = frozenset()  # being let go at this moment

    def claim(self, wanted: Sequence[Keys], most: int) -> list[Lease | None]:
        """As `Coordinator.claim`: one round trip for all."""
        life, number = self._member.life, self._member.number
        needed = [self._needed(keys) for keys in wanted]
        pairs = [(key, place) for place, keys in enumerate(needed) for key in keys or ()]
        got = self._got(pairs, number, most) if pairs else set()
        claimed: list[Lease | None] = []
        for keys, missing in zip(wanted, needed, strict=True):
            if most == 0:
                break
            if missing is None or not got.issuperset(missing):
                claimed.append(None)
                continue
            most -= 1
            self._held.update(keys)
            self._to_let_go.difference_update(keys)
            claimed.append(PostgresLease(keys, life, self._member, self._sure))
        # Where another was quicker with one of an item's keys, the others are of no use.
        self._to_let_go |= {key for key in got if key not in self._held}
        return claimed

    def _needed(self, keys: Keys) -> Keys | None:
        """Those of the keys that are not held yet; None where one is being let go just now."""
        if not self._leaving.isdisjoint(keys):
            return None
        return tuple(key for key in keys if key not in self._held and key not in self._to_let_go)

    def _got(self, pairs: Sequence[tuple[bytes, int]], number: int, most: int) -> set[bytes]:
        from psycopg.errors import ForeignKeyViolation

        keys, items = [key for key, _ in pairs], [item for _, item in pairs]
        given = {"keys": keys, "items": items, "worker": number, "most": most}

        def work(db: Connection) -> set[bytes]:
            try:
                return {key for (key,) in db.execute(_CLAIM, given, binary=True)}
            except ForeignKeyViolation:  # this worker is taken for dead, and has not noticed yet
                return set()

        return self._patient(work)

    def release(self, lease: PostgresLease) -> None:
        """The item is closed; its keys are let go soon."""
        if lease.life != self._member.life:
            return
        self._held.subtract(lease.keys)
        over = {key for key in lease.keys if self._held[key] <= 0}
        for key in over:
            del self._held[key]
        self._to_let_go |= over

    def forget(self) -> None:
        """All are lost."""
        self._held.clear()
        self._to_let_go.clear()

    # -- letting go: gathered here, done in another thread ----------------------------------------------------------------

    def leaving(self) -> bool:
        """Take up what is to be let go; whether there is any."""
        self._leaving, self._to_let_go = frozenset(self._to_let_go), set()
        return bool(self._leaving)

    def let_go(self) -> None:
        """Delete the rows of what was taken up. Blocks; from any thread."""
        self._patient(lambda db: db.execute(_LET_GO, (list(self._leaving), self._member.number)))

    def left(self) -> None:
        """They are gone."""
        self._leaving = frozenset()
