"""Coordination: what the workers on one ledger share.

    leases       which worker holds an item: only that one sends calls about it
    budget       what all workers together may spend
    rate limit   requests and tokens per minute of all workers together, and one common cooldown

`Coordinator` serves a single process. A store that several processes can share names its own (`LedgerStore.coordinator`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, Self

from dprm_data.engine.budget import Budget
from dprm_data.engine.counters import Counters
from dprm_data.ledger.ledger import Ledger
from dprm_data.providers.limits import Limiter
from dprm_data.recipe.recipe import LimitsConfig


class LeaseLost(Exception):
    """Another worker holds the item now: this one sends nothing more about it."""


class Lease(Protocol):
    """This worker's hold on an item."""

    @property
    def good(self) -> bool:
        """Whether a call may be sent now. If not, `confirm` checks whether the lease is lost."""

    async def confirm(self) -> None:
        """Check that the lease still holds. Raises `LeaseLost`, or `LedgerError` if the ledger stays out of reach."""


class Coordinator:
    """The coordinator of a single process. Use as an asynchronous context manager around all calls."""

    shared = False  # whether there may be other workers

    def budget(self, limit: float | None, ledger: Ledger) -> Budget:
        """The budget of a run. limit: dollars, None for no limit."""
        return Budget(limit, ledger.spent() if limit is not None else 0.0, ledger=ledger)

    def limiter(self, limits: LimitsConfig) -> Limiter:
        """The limiter that every call passes."""
        return Limiter(concurrency=limits.concurrency, rpm=limits.rpm, tpm=limits.tpm)

    def of_model(self, scope: str) -> Coordinator:
        """The coordinator for the calls to one of several models: the same workers and budget, but limits and cooldowns of its own.

        scope: what its limits apply to.
        """
        return self

    def claim(self, wanted: Sequence[tuple[bytes, ...]], most: int) -> list[Lease | None]:
        """Lease the first `most` free items. wanted: for each item, its prefix keys (`Work.prefix_keys`).

        Returns, in the items' order, a lease for every item that this worker now holds, and None for those that others hold; the list ends
        with the last item examined. Look up an item's missing calls in the ledger only after leasing it.
        """
        raise NotImplementedError("one process has nothing to claim")

    def release(self, lease: Lease) -> None:
        """Release a closed item, all of whose replies are on disk: another worker may lease it."""
        raise NotImplementedError("one process has nothing to release")

    def report(self, counters: Counters) -> None:
        """Send this worker's counters, and receive the totals of all workers."""

    def on_failure(self, stop: Callable[[BaseException], None]) -> None:
        """Register `stop`, to be called with the reason once the other workers are out of reach."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None
