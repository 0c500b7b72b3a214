"""Coordination: what the workers on one ledger agree about. One process on a ledger of its own has nobody to agree with.

    leases    whose an item is: only its holder sends calls about it
    budget    what may be spent, over all workers together
    pace      requests and tokens per minute over all workers together, and one cooldown for everyone

`Coordinator` is the lonely one; `dprm_data/annotate/together/` has the one whose workers meet in a PostgreSQL database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, Self

from dprm_data.engine.costs import Budget
from dprm_data.engine.counters import Counters
from dprm_data.providers.limits import Limiter
from dprm_data.recipe.recipe import LimitsConfig

if TYPE_CHECKING:
    pass


class LeaseLost(Exception):
    """The item has gone to another worker meanwhile: nothing more is sent about it from here."""


class Lease(Protocol):
    """That an item is this worker's."""

    @property
    def good(self) -> bool:
        """Whether a call may be sent now. Where not, `confirm` says whether the lease is lost."""

    async def confirm(self) -> None:
        """Make sure of the lease. Raises `LeaseLost`, or `LedgerError` where nobody can say for long."""


class Coordinator:
    """One process, alone. Use as an asynchronous context manager, around everything that is sent."""

    shared = False  # whether there may be other workers

    def budget(self, limit: float | None, spent: float) -> Budget:
        """The budget (dollars; None: no limit) of a run that has spent so much already."""
        return Budget(limit, spent)

    def limiter(self, limits: LimitsConfig) -> Limiter:
        """What stands before every call."""
        return Limiter(concurrency=limits.concurrency, rpm=limits.rpm, tpm=limits.tpm)

    def claim(self, wanted: Sequence[tuple[bytes, ...]], most: int) -> list[Lease | None]:
        """Lease the first `most` items that are free. wanted: per item, the keys of what its calls begin with (`Work.prefix_keys`).

        Returns, in their order, a lease for every item that is this worker's from now on and None for those that are others'; what is beyond
        the last item that was needed is not in the list. Only after this may the ledger be asked what the item misses.
        """
        raise NotImplementedError("alone, there is nothing to be claimed")

    def release(self, lease: Lease) -> None:
        """The item is closed, and all its replies are on disk: it may be another's."""
        raise NotImplementedError("alone, there is nothing to be released")

    def report(self, counters: Counters) -> None:
        """Show in the counters what all workers together do."""

    def on_failure(self, stop: Callable[[BaseException], None]) -> None:
        """Call `stop` with the reason as soon as the other workers can no longer be talked to."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None
