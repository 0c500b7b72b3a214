"""Rate one response with a panel in one function call, without any file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel

from dprm_data.api.preference_distribution import PreferenceDistribution
from dprm_data.api.recipes import RecipeLike, arun, run
from dprm_data.core.errors import BudgetReached, Interrupted, ProviderUnusable
from dprm_data.labels.space import LabelSpace
from dprm_data.panel.personas import Panel
from dprm_data.providers.provider import Provider
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.run import Progress

Texts = str | Sequence[Mapping[str, Any]]
# An object, or what a recipe has in its place.
ProviderLike = Provider | Mapping[str, Any]
PanelLike = Panel | Mapping[str, Any] | str
LabelsLike = LabelSpace | Mapping[str, Any] | Sequence[str] | str | int

# Recipe keys about many items, or about how their calls are distributed.
_FOR_MANY: dict[str, Any] = {
    "source": None,
    "annotators": None,
    "ratings": None,
    "early_stop": None,
    "mode": "direct",
    "engine": "direct",
}


def rate(
    prompt: Texts,
    response: Texts,
    *,
    recipe: RecipeLike | None = None,
    provider: ProviderLike | None = None,
    panel: PanelLike | None = None,
    labels: LabelsLike | None = None,
    max_cost: float | None = None,
    output: str | os.PathLike[str] | None = None,
    progress: Progress | bool | None = False,
) -> PreferenceDistribution:
    """How a population would rate one response to a prompt: a panel of personas judges it, and the distribution is fitted to their votes.

    prompt, response: texts, or lists of messages. recipe: the settings to ask with (its source is not read). provider: an object as `run` takes it, or a
    recipe's `provider` section, such as {"name": "openai", "model": "gpt-4o-mini"}. panel, labels: as a recipe names them, or objects. All three override the recipe.
    max_cost: dollars. output: a folder to keep the run in, so that the same response is not paid for twice; without it
    only a `ledger` that the recipe names keeps the calls.

    Raises `DprmError`. For many responses use `run`: they share one prior, one budget and one rate limit.
    """
    with _single(recipe, provider, panel, labels, output) as (made, own, folder):
        result = run(
            made,
            source=_row(prompt, response),
            output=folder,
            provider=own,
            max_cost=max_cost,
            progress=progress,
        )
        return PreferenceDistribution.of(result, made)


async def arate(
    prompt: Texts,
    response: Texts,
    *,
    recipe: RecipeLike | None = None,
    provider: ProviderLike | None = None,
    panel: PanelLike | None = None,
    labels: LabelsLike | None = None,
    max_cost: float | None = None,
    output: str | os.PathLike[str] | None = None,
    progress: Progress | bool | None = False,
) -> PreferenceDistribution:
    """`rate` in the caller's event loop (like `arun` for `run`). The arguments are those of `rate`."""
    with _single(recipe, provider, panel, labels, output) as (made, own, folder):
        result = await arun(
            made,
            source=_row(prompt, response),
            output=folder,
            provider=own,
            max_cost=max_cost,
            progress=progress,
        )
        return PreferenceDistribution.of(result, made)


@contextmanager
def _single(
    recipe: RecipeLike | None,
    provider: ProviderLike | None,
    panel: PanelLike | None,
    labels: LabelsLike | None,
    output: str | os.PathLike[str] | None,
) -> Iterator[tuple[Recipe, Provider | None, str | os.PathLike[str]]]:
    """The recipe for one response, the provider if it is an object, and the folder, which is temporary unless given."""
    section = provider if isinstance(provider, Mapping) else None
    own = None if isinstance(provider, Mapping) else provider
    made = _recipe(recipe, section, own, panel, labels)
    if output is not None:
        yield made, own, output
        return
    with tempfile.TemporaryDirectory(prefix="dprm-", ignore_cleanup_errors=True) as folder:
        try:
            yield made, own, folder
        except (BudgetReached, ProviderUnusable, Interrupted) as stopped:
            if made.ledger is None:
                stopped.hint = "The answers so far are not kept: give output=FOLDER to keep them, and to continue."
            raise


def _recipe(
    recipe: RecipeLike | None,
    section: Mapping[str, Any] | None,
    own: Provider | None,
    panel: PanelLike | None,
    labels: LabelsLike | None,
) -> Recipe:
    changes = dict(_FOR_MANY)
    if section is not None:
        changes |= {"provider": dict(section), "models": None}
    if own is not None:
        changes |= {"models": None}
    if panel is not None:
        changes["panel"] = {"use": _plain(panel)} if isinstance(panel, Panel | str) else dict(panel)
    if labels is not None:
        changes["labels"] = _plain(labels)
    if recipe is None or isinstance(recipe, dict):
        return Recipe.of((recipe or {}) | changes, provider=own)
    # A recipe may omit the provider: until the given one is in place, a stand-in has its name.
    stand_in = SimpleNamespace(family=str(section.get("name")), model="") if section is not None else None
    given = Recipe.of(recipe, provider=own or stand_in)
    made = Recipe.of(given.model_dump(exclude_unset=True) | changes, provider=own)
    # A copy of the given recipe, because the files that it names are relative to its folder.
    return given.model_copy(update={name: getattr(made, name) for name in made.model_fields_set})


def _plain(given: Any) -> Any:
    if isinstance(given, BaseModel):
        return given.model_dump(mode="json", exclude_unset=True)
    return list(given) if isinstance(given, Sequence) and not isinstance(given, str) else given


def _row(prompt: Texts, response: Texts) -> list[dict[str, Any]]:
    return [{"prompt": _plain(prompt), "response": _plain(response)}]
