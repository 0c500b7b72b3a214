"""Make the coordinator that a run needs: for one process that has its ledger to itself, or for several that share it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pkgutil import resolve_name

from dprm_data.engine.coordinator import Coordinator
from dprm_data.ledger.ledger import Ledger
from dprm_data.recipe.provider_config import ProviderConfig
from dprm_data.recipe.recipe import Recipe


def coordinator_for(ledger: Ledger, recipe: Recipe) -> Coordinator:
    """The coordinator that the ledger's store names, created with the store and these arguments:

    run: whose budget is shared; scope: whose rate limits are shared (of several models: each has its own by `Coordinator.of_model`);
    lease: seconds after which a silent process counts as dead.
    """
    if ledger.store.coordinator is None:
        return Coordinator()
    coordinator: Callable[..., Coordinator] = resolve_name(ledger.store.coordinator)
    return coordinator(ledger.store, run=recipe.name, scope=_scope_of_all(recipe), lease=recipe.limits.lease)


def _scope_of_all(recipe: Recipe) -> str:
    scopes = sorted(scope_of(entry) for entry in recipe.entries)
    return scopes[0] if len(scopes) == 1 else hashlib.sha256("\0".join(scopes).encode()).hexdigest()[:32]


def scope_of(provider: ProviderConfig) -> str:
    """What a rate limit applies to: one model at these servers with these keys (by the names of their variables)."""
    places = sorted(f"{place.base_url} {place.api_key_env}" for place in provider.places)
    return hashlib.sha256("\0".join([provider.name, provider.model, *places]).encode()).hexdigest()[:32]
