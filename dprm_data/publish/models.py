"""The models of a run, and the prompts sent to them, as cards and reports name them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dprm_data.core.scrub import public_addresses, without_secrets

if TYPE_CHECKING:
    from dprm_data.runs.run import Run


def models_asked(run: Run) -> list[dict[str, Any]]:
    """Each model of the recipe: its id, provider, address, weight, and the sampling parameters that were sent."""
    params = {juror.id: juror.elicitation.params for juror in run.work.jury.jurors}
    return [
        {
            "id": entry.id,
            "provider": entry.name,
            "base_url": public_addresses(place.base_url for place in entry.places),
            "weight": entry.weight,
            "sampling": without_secrets(params[entry.id]),
        }
        for entry in run.recipe.entries
    ]


def prompts_sent(run: Run) -> list[dict[str, Any]]:
    """Each prompt's name, version and source."""
    templates = [elicitation.template for elicitation in run.work.elicitations]
    return [{"name": each.name, "version": each.version, "source": each.source} for each in templates]
