"""What an extender needs: the decorators by which a provider, an elicitation and the like enter, ours as anybody's.

    from dprm_data.extend import panel_source

    @panel_source("census")
    def census_panel(*, base, size): ...

A package that names the module with its decorators in the entry-point group `dprm_data` extends ours without an import.
"""

from __future__ import annotations

from dprm_data.elicit.elicitation import elicitation
from dprm_data.panel.panel_sources import panel_source
from dprm_data.preference.family import Family, family
from dprm_data.preference.smoothing import smoothing

__all__ = ["Family", "elicitation", "family", "panel_source", "smoothing"]
