"""Leases: which worker holds an item. A lease's key is a hash of the prefix of an item's calls; its row names the worker that may send them.

Two items may share a prefix (a template need not show everything), so a worker may hold one key for several items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dprm_data.engine.coordinator import Lease
from dprm_data.engine.shared.membership import Membership
from dprm_data.ledger.postgres_pool import RetryingPool

if TYPE_CHECKING:
    from dprm_data.ledger.postgres_pool import Connection

# Own rows count as free: after a lost connection it is unknown whether the claim was committed. Sorted by key, so that two workers lock in
# the same order.
_CLAIM = """
WITH wanted AS (SELECT key, item FROM unnest(%(keys)b::bytea[], %(items)b::bigint[]) AS pairs (key, item)),
taken AS (SELECT DISTINCT item FROM wanted JOIN leases USING (key) WHERE leases.worker <> %(worker)s),
chosen AS (SELECT DISTINCT item FROM wanted WHERE item NOT IN (SELECT item FROM taken) ORDER BY item LIMIT %(most)s)
INSERT INTO leases (key, worker)
SELECT DISTINCT key, %(worker)s::bigint FROM wanted JOIN chosen USING (item) ORDER BY key
ON CONFLICT (key) DO UPDATE SET worker = excluded.worker WHERE leases.worker = excluded.worker
RETURNING key
"""
_DELETE = "DELETE FROM leases WHERE key = ANY(%b::bytea[]) AND worker = %s"

Keys = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class PostgresLease:
    """An item's lease (`coordinator.Lease`). It is lost when the membership's life in which it was claimed ends."""

    keys: Keys
    life: int
    member: Membership
    renew: Callable[[PostgresLease], Awaitable[None]]

    @property
    def good(self) -> bool:
        return self.life == self.member.life and self.member.good

    async def confirm(self) -> None:
        await self.renew(self)


class Leases:
    """This worker's leases. Only `delete_released` may run in another thread.

    renew: makes sure that a lease still holds; raises `LeaseLost` if it does not.
    """

    def __init__(
        self, pool: RetryingPool, member: Membership, renew: Callable[[PostgresLease], Awaitable[None]]
    ) -> None:
        self._pool = pool
        self._member = member
        self._renew = renew
        self._held: Counter[bytes] = Counter()  # key: the number of items that need it
        self._released: set[bytes] = set()  # keys to delete
        self._deleting: frozenset[bytes] = frozenset()  # keys being deleted

    def claim(self, wanted: Sequence[Keys], most: int) -> list[Lease | None]:
        """As `Coordinator.claim`, in one round trip."""
        life, number = self._member.life, self._member.number
        needed = [self._missing(keys) for keys in wanted]
        pairs = [(key, item) for item, keys in enumerate(needed) for key in keys or ()]
        got = self._insert(pairs, number, most) if pairs else set()
        claimed: list[Lease | None] = []
        for keys, missing in zip(wanted, needed, strict=True):
            if most == 0:
                break
            if missing is None or not got.issuperset(missing):
                claimed.append(None)
                continue
            most -= 1
            self._held.update(keys)
            self._released.difference_update(keys)
            claimed.append(PostgresLease(keys, life, self._member, self._renew))
        # If another worker was faster with one of an item's keys, the item's other keys are useless.
        self._released |= {key for key in got if key not in self._held}
        return claimed

    def _missing(self, keys: Keys) -> Keys | None:
        """The keys, among these, that are not held yet; None if one is being deleted."""
        if not self._deleting.isdisjoint(keys):
            return None
        return tuple(key for key in keys if key not in self._held and key not in self._released)

    def _insert(self, pairs: Sequence[tuple[bytes, int]], number: int, most: int) -> set[bytes]:
        from psycopg.errors import ForeignKeyViolation

        keys, items = [key for key, _ in pairs], [item for _, item in pairs]
        values = {"keys": keys, "items": items, "worker": number, "most": most}

        def work(db: Connection) -> set[bytes]:
            try:
                return {key for (key,) in db.execute(_CLAIM, values, binary=True)}
            except ForeignKeyViolation:  # this worker was declared dead and has not noticed yet
                return set()

        return self._pool.run(work)

    def release(self, lease: PostgresLease) -> None:
        """Release a closed item; its keys are deleted soon."""
        if lease.life != self._member.life:
            return
        self._held.subtract(lease.keys)
        unused = {key for key in lease.keys if self._held[key] <= 0}
        for key in unused:
            del self._held[key]
        self._released |= unused

    def clear(self) -> None:
        """All leases are lost."""
        self._held.clear()
        self._released.clear()

    # -- deleting: keys gather here and are deleted in another thread -----------------------------------------------------

    def begin_deleting(self) -> bool:
        """Select the keys to delete. Returns whether there are any."""
        self._deleting, self._released = frozenset(self._released), set()
        return bool(self._deleting)

    def delete_released(self) -> None:
        """Delete the selected keys. Blocks; from any thread."""
        self._pool.run(lambda db: db.execute(_DELETE, (list(self._deleting), self._member.number)))

    def end_deleting(self) -> None:
        """The selected keys are deleted."""
        self._deleting = frozenset()
