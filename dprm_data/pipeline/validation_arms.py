"""What a validation asks: the recipe's panel and model, others beside it, and the simplest rivals, all about the same items.

An arm is a run of its own in a folder of the validation's, on one ledger under one budget: an answer that two arms have in common is paid once, and an interrupted
validation goes on where it was. The arms are about the sample of the crowd's items; nothing of the recipe's own source is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dprm_data.core.errors import InputError, RecipeError
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.core.text import did_you_mean
from dprm_data.ingest.items import Item, store_items
from dprm_data.labels.space import LabelSpace
from dprm_data.panel.panel_sources import load_panel
from dprm_data.panel.personas import Panel
from dprm_data.pipeline import stages
from dprm_data.providers.provider import Provider
from dprm_data.recipe.consistency import AUTO, lacks_logprobs
from dprm_data.recipe.fit_config import FitConfig
from dprm_data.recipe.model_config import default_id
from dprm_data.recipe.recipe import PanelConfig, Recipe
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.run import Progress, Run

Role = Literal["panel", "neutral", "stated"]


@dataclass(frozen=True)
class Arm:
    """One way of asking. role: a panel that is validated, or one of its rivals: the neutral annotator alone, or one stated distribution."""

    role: Role
    model: str
    panel: str
    elicitation: str
    recipe: Recipe

    @property
    def name(self) -> str:
        """ "paper, choice, gpt-x", for tables."""
        return ", ".join(part for part in (self.panel, self.elicitation, self.model) if part and part != AUTO)

    @property
    def folder(self) -> str:
        return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{self.role}-{self.panel}-{self.elicitation}-{self.model}").strip("-.")


def make_arms(
    recipe: Recipe,
    output: Path,
    *,
    models: Sequence[str] = (),
    panels: Sequence[str] = (),
    elicitations: Sequence[str] = (),
    rivals: bool = True,
) -> list[Arm]:
    """The grid of models × panels × elicitations (the recipe's own where none are given), each model followed by its rivals. Raises `InputError`."""
    check_can_validate(recipe)
    found: list[Arm] = []
    neutral = load_panel("neutral")
    for one in _models(recipe, models):
        named = default_id(None, one.provider.model) if one.provider else ", ".join(entry.id for entry in one.entries)
        grid = [
            Arm("panel", named, panel.name, how, _asked(one, panel, how, output))
            for panel in _panels(one, panels)
            for how in elicitations or [one.elicitation]
        ]
        found += grid
        if rivals:
            how = grid[0].elicitation
            if all(arm.panel != neutral.name for arm in grid) and how != "distribution":
                found.append(Arm("neutral", named, neutral.name, how, _asked(one, neutral, how, output)))
            if all(arm.elicitation != "distribution" for arm in grid):
                found.append(Arm("stated", named, "", "distribution", _asked(one, neutral, "distribution", output)))
    return found


def check_can_validate(recipe: Recipe) -> None:
    """Raise `InputError` for a recipe without labels of single responses by a model."""
    if not recipe.entries:
        raise InputError(
            "the recipe asks no model: there is no panel to validate",
            hint="Give it a provider, or models.",
        )
    if recipe.elicitation == "compare":
        raise InputError(
            "elicitation: compare: a validation looks at labels of single responses, and comparisons have none",
            hint="Give --elicitations choice, or another recipe.",
        )


def with_labels(recipe: Recipe, space: LabelSpace) -> Recipe:
    """The recipe, asking for these labels: a public set's own, where people were asked another question."""
    if space == Run(recipe).space:
        return recipe
    return recipe.model_copy(update={"labels": space.model_dump(mode="json"), "prompt": None})


def run_of(
    arm: Arm, output: Path, items: Sequence[Item], progress: Progress | None, provider: Provider | None = None
) -> Run:
    """The arm's run, with the items stored and everything checked. Makes no call."""
    run = Run(arm.recipe, RunFolder(output / "arms" / arm.folder), progress=progress, provider=provider)
    store_items(iter(items), run.folder.table("items"), with_dropped=False)
    stages.check_parts(run)
    return run


def _models(recipe: Recipe, names: Sequence[str]) -> list[Recipe]:
    """The recipe with each of these models: names for its one provider, or ids of its `models`."""
    if not names:
        return [recipe]
    if recipe.provider:
        return [
            recipe.model_copy(update={"provider": recipe.provider.model_copy(update={"model": name})}) for name in names
        ]
    known = {entry.id: entry for entry in recipe.entries}
    for name in names:
        if name not in known:
            raise InputError(
                f"--models: the recipe has no model {name!r}{did_you_mean(name, list(known))}",
                hint=f"Its models: {', '.join(known)}.",
            )
    return [recipe.model_copy(update={"models": [known[name]], "design": "crossed"}) for name in names]


def _panels(recipe: Recipe, names: Sequence[str]) -> list[Panel]:
    """The named panels, or the recipe's."""
    if not names:
        return [load_panel(recipe.panel.use, base=recipe.folder)]
    return [load_panel(name, base=Path()) for name in names]


def _asked(recipe: Recipe, panel: Panel, elicitation: str, output: Path) -> Recipe:
    """The recipe with this panel, asked in this way, about items that are stored already."""
    for entry in recipe.entries:
        if elicitation != AUTO and (reason := lacks_logprobs(entry, elicitation)):
            raise RecipeError(f"{entry.id}: {reason}")
    own = elicitation == recipe.elicitation
    changes = {
        "panel": _panel_config(recipe, panel),
        "elicitation": elicitation,
        "prompt": _absolute(recipe) if own else None,
        "rationale": recipe.rationale and own,
        "replicates": 1 if elicitation == "distribution" or elicitation == "logprobs" else recipe.replicates,
        "source": None,
        "ratings": None,
        "comparisons": None,
        "generate": None,
        "prior": None,
        "early_stop": None,
        "mode": "direct",
        "engine": "direct",
        "fit": FitConfig(family=recipe.fit.family, smoothing=recipe.fit.smoothing),
        "output": None,
        "ledger": recipe.ledger
        if recipe.shares_ledger
        else LedgerAddress.parse(str((output / "ledger.sqlite").absolute())),
    }
    return recipe.model_copy(update=changes)


def _panel_config(recipe: Recipe, panel: Panel) -> PanelConfig:
    """This panel, with as many personas an item as the recipe asks, if it has more."""
    content = panel.model_dump(mode="json")
    sample = recipe.panel.sample
    if sample is None or sample >= len(panel.personas):
        return PanelConfig(use=content)
    known = [name for name in recipe.panel.stratify if name in panel.attribute_names]
    return PanelConfig(use=content, sample=sample, stratify=known, seed=recipe.panel.seed)


def _absolute(recipe: Recipe) -> str | None:
    """The recipe's prompt, found from anywhere."""
    if recipe.prompt is None:
        return None
    file = recipe.folder / recipe.prompt
    return str(file.absolute()) if file.is_file() else recipe.prompt
