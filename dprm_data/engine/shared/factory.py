"""Which coordinator a run needs: alone on its ledger, or among other processes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, cast

from dprm_data.core.ledger_address import is_postgres
from dprm_data.engine.coordinator import Coordinator
from dprm_data.ledger.ledger import Ledger
from dprm_data.recipe.provider_config import ProviderConfig
from dprm_data.recipe.recipe import Recipe

if TYPE_CHECKING:
    from dprm_data.ledger.postgres import PostgresStore


def coordinator_for(ledger: Ledger, recipe: Recipe) -> Coordinator:
    """The coordinator of a run on this ledger. Other workers may be there where the recipe's ledger is in PostgreSQL."""
    if not is_postgres(recipe.ledger or ""):
        return Coordinator()
    from dprm_data.engine.shared.postgres_coordinator import PostgresCoordinator

    store = cast("PostgresStore", ledger.store)
    return PostgresCoordinator(store, run=recipe.name, scope=_scope(recipe.provider), lease=recipe.limits.lease)


def _scope(provider: ProviderConfig) -> str:
    """What limits are for: one model at one place under one key (the name of its variable)."""
    places = sorted(f"{place.base_url} {place.api_key_env}" for place in provider.places)
    return hashlib.sha256("\0".join([provider.name, provider.model, *places]).encode()).hexdigest()[:32]
