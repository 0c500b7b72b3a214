"""Coordination: what the workers on one ledger agree about. A process that holds its ledger alone has nobody to agree with.

    leases       which worker has an item: only it sends calls about the item
    budget       what all workers together may spend
    rate limit   requests and tokens per minute of all workers together, and one cooldown for all

`Coordinator` serves one process; a store that several may share names a coordinator of its own (`LedgerStore.coordinator`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, Self

from dprm_data.engine.costs import Budget
from dprm_data.engine.counters import Counters
from dprm_data.providers.limits import Limiter
from dprm_data.recipe.recipe import LimitsConfig


class LeaseLost(Exception):
    """The item has gone to another worker meanwhile: nothing more is sent about it from here."""


class Lease(Protocol):
    """An item belongs to this worker."""

    @property
    def good(self) -> bool:
        """Whether a call may be sent now. Where not, `confirm` finds out whether the lease is lost."""

    async def confirm(self) -> None:
        """Make sure of the lease. Raises `LeaseLost`, or `LedgerError` where that cannot be found out for long."""


class Coordinator:
    """The coordinator of one process. Use as an asynchronous context manager, around everything that is sent."""

    shared = False  # whether there may be other workers

    def budget(self, limit: float | None, spent: float) -> Budget:
        """The budget of a run. limit: dollars, None for no limit; spent: dollars so far."""
        return Budget(limit, spent)

    def limiter(self, limits: LimitsConfig) -> Limiter:
        """What stands before every call."""
        return Limiter(concurrency=limits.concurrency, rpm=limits.rpm, tpm=limits.tpm)

    def claim(self, wanted: Sequence[tuple[bytes, ...]], most: int) -> list[Lease | None]:
        """Lease the first `most` items that are free. wanted: per item, the keys of what its calls begin with (`Work.prefix_keys`).

        Returns, in their order, a lease for every item that is this worker's from now on, and None for those of other workers; the list ends
        with the last item that was needed. Only after this may the ledger be asked which calls an item lacks.
        """
        raise NotImplementedError("one process has nothing to claim")

    def release(self, lease: Lease) -> None:
        """The item is closed and all its replies are on disk: another worker may have it."""
        raise NotImplementedError("one process has nothing to release")

    def report(self, counters: Counters) -> None:
        """Exchange counters: this worker's for those of all workers."""

    def on_failure(self, stop: Callable[[BaseException], None]) -> None:
        """Call `stop` with the reason as soon as the other workers can no longer be talked to."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None
