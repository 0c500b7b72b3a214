"""Coordination: what the workers on one ledger agree about. One process on a ledger of its own has nobody to agree with.

    leases    whose an item is: only its holder sends calls about it
    budget    what may be spent, over all workers together
    pace      requests and tokens per minute over all workers together, and one cooldown for everyone

`Coordinator` is the lonely one; `dprm_data/annotate/together/` has the one whose workers meet in a PostgreSQL database.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, Self, cast

from dprm_data.annotate.costs import Budget
from dprm_data.annotate.limits import Limiter
from dprm_data.annotate.tally import Tally
from dprm_data.ledgers.reference import is_postgres
from dprm_data.recipe import LimitsConfig, ProviderConfig, Recipe

if TYPE_CHECKING:
    from dprm_data.annotate.ledger import Ledger
    from dprm_data.ledgers.postgres import PostgresStore


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

    def report(self, tally: Tally) -> None:
        """Show in the tally what all workers together do."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


def coordinator_for(ledger: Ledger, recipe: Recipe) -> Coordinator:
    """The coordinator of a run on this ledger. Other workers may be there where the recipe's ledger is in PostgreSQL."""
    if not is_postgres(recipe.ledger or ""):
        return Coordinator()
    from dprm_data.annotate.together.coordinator import Together

    store = cast("PostgresStore", ledger.store)
    return Together(store, run=recipe.name, scope=_scope(recipe.provider), lease=recipe.limits.lease)


def _scope(provider: ProviderConfig) -> str:
    """What limits are for: one model at one place under one key (the name of its variable)."""
    places = sorted(f"{place.base_url} {place.api_key_env}" for place in provider.places)
    return hashlib.sha256("\0".join([provider.name, provider.model, *places]).encode()).hexdigest()[:32]
