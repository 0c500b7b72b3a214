"""What a recipe cannot ask for at once. Sections check themselves; here is what one section means for another."""

from __future__ import annotations

from typing import Any

from dprm_data.core.registry import ELICITATIONS
from dprm_data.core.validation import FieldError
from dprm_data.recipe.generate_config import check_generate
from dprm_data.recipe.people_config import check_people
from dprm_data.recipe.provider_config import ProviderConfig

AUTO = "auto"  # elicitation: as the model is best asked; a run folder says what was chosen (runs/auto_elicitation.py)

Recipe = Any  # `dprm_data.recipe.recipe.Recipe`, which imports this module


def check_together(recipe: Recipe) -> None:
    """Check the sections against each other. Raises `ValueError`, or `FieldError` where one field is to blame."""
    check_people(recipe)
    check_generate(recipe)
    if len(recipe.entries) > 1:
        _check_several_models(recipe)
    elif "design" in recipe.model_fields_set and not recipe.models:
        raise FieldError("design", "says which of several models answer as which personas; give models")
    _check_compare(recipe)
    if recipe.mode == "batch":
        _check_batches(recipe)
    if recipe.engine == "ray":
        _check_ray(recipe)


def _check_compare(recipe: Recipe) -> None:
    """Comparisons are no labels of an item, and sets are no pairs."""
    name, given = recipe.elicitation, recipe.compare.model_fields_set
    asked = ELICITATIONS.get(name) if name != AUTO and name in ELICITATIONS else None
    if not (asked and asked.compares):
        if "compare" in recipe.model_fields_set:
            raise FieldError("compare", "says how responses are compared; give elicitation: compare, or leave it out")
        return
    for field in ("early_stop", "prior"):
        if getattr(recipe, field):
            raise FieldError(field, f"is about the labels of an item; with elicitation: {name}, leave it out")
    for field in sorted(given - asked.compare_settings):
        raise FieldError(
            f"compare.{field}",
            f"says nothing to elicitation: {name}, which has {', '.join(sorted(asked.compare_settings))}; leave it out",
        )


def _check_several_models(recipe: Recipe) -> None:
    """Each model goes through the items at its own pace."""
    if recipe.early_stop:
        raise FieldError(
            "early_stop", "looks at all votes of an item, and several models answer at their own pace; leave it out"
        )
    if recipe.mode == "batch":
        raise FieldError("mode", "a run's batches belong to one model; with several models, leave mode: batch out")
    if recipe.engine == "ray":
        raise FieldError(
            "engine",
            "an actor of a cluster ends with the first model that is down; with several models, start several workers instead",
        )


def _check_batches(recipe: Recipe) -> None:
    for entry in recipe.entries:
        kind = entry.kind
        if kind and not kind.has_batches:
            free = " (and nothing there costs anything)" if kind.is_free else ""
            raise FieldError("mode", f"{kind.title} has no batches{free}; leave mode: batch out")
        if entry.endpoints:
            raise FieldError(
                "mode", "a batch belongs to one account; give the one provider instead of endpoints, or leave mode out"
            )


def _check_ray(recipe: Recipe) -> None:
    if not recipe.shares_ledger:
        raise ValueError(
            "engine: ray needs a ledger that all actors share: give ledger: postgresql://user@host/database "
            "(a SQLite file can be held by one process only)"
        )
    if recipe.mode == "batch":
        raise ValueError("engine: ray makes its calls itself; the provider's batches (mode: batch) need no actors")
    if recipe.early_stop:
        raise ValueError("early_stop learns from the items of one process; with engine: ray, leave it out")


def lacks_logprobs(provider: ProviderConfig, elicitation: str | None, *, frozen: bool = False) -> str | None:
    """Why this provider cannot answer this elicitation; None if it can, or if that cannot be known here. frozen: the recipe of a run that was
    begun, whatever is known of its model by now."""
    if (
        elicitation is None
        or elicitation == AUTO
        or elicitation not in ELICITATIONS
        or not ELICITATIONS.get(elicitation).needs_logprobs
    ):
        return None
    other = "compare" if ELICITATIONS.get(elicitation).compares else "choice"
    if provider.kind and not provider.kind.has_logprobs:
        return f"{provider.kind.title} gives no log-probabilities, which elicitation: {elicitation} reads; use {other}"
    if provider.kind and not frozen and provider.kind.capabilities(provider).logprobs is False:
        return (
            f"{provider.model} gives no log-probabilities, which elicitation: {elicitation} reads; use {other} "
            "(or say otherwise in provider.capabilities.logprobs)"
        )
    return None
