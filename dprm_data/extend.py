"""What an extender needs: the decorators by which a provider, an elicitation and the like are registered, ours as anybody's.

    from dprm_data.extend import panel_source

    @panel_source("census")
    def census_panel(*, base, size): ...

A package that names the module with its decorators in the entry-point group `dprm_data` extends ours without an import:

    [project.entry-points.dprm_data]
    census = "our_package.census"

What each kind must provide is documented where it is defined: `dprm_data.providers`, `dprm_data.elicit`, `dprm_data.preference.family`,
`dprm_data.preference.smoothing`, `dprm_data.panel.panel_sources`, `dprm_data.ledger.store`. Losses and risk measures are registered by
`dprm_trainers.extend`.
"""

from __future__ import annotations

from dprm_data.elicit.elicitation import Elicitation, Outcome, elicitation
from dprm_data.ledger.store import LedgerStore, ledger_store
from dprm_data.panel.panel_sources import panel_source
from dprm_data.preference.family import Family, family
from dprm_data.preference.smoothing import smoothing
from dprm_data.providers.provider import BaseProvider, provider
from dprm_data.providers.request import Answer, CallFailed, Request, Usage

__all__ = [
    "Answer",
    "BaseProvider",
    "CallFailed",
    "Elicitation",
    "Family",
    "LedgerStore",
    "Outcome",
    "Request",
    "Usage",
    "elicitation",
    "family",
    "ledger_store",
    "panel_source",
    "provider",
    "smoothing",
]
