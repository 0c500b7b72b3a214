"""A run: one recipe in one run folder, with the recipe's parts loaded on first use.

Its stages are in `dprm_data/pipeline/stages.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

from dprm_data.core.errors import PanelError, RecipeError
from dprm_data.core.ledger_address import is_postgres
from dprm_data.core.yamlfile import validated
from dprm_data.elicit.template import PromptTemplate, load_prompt
from dprm_data.elicit.work import Work, make_work
from dprm_data.engine.costs import Prices, prices_for
from dprm_data.engine.counters import Counters
from dprm_data.labels.space import LabelSpace
from dprm_data.ledger.factory import exists
from dprm_data.ledger.ledger import Ledger
from dprm_data.panel.personas import Panel, load_panel
from dprm_data.providers import check, model_name
from dprm_data.recipe.recipe import FitConfig, PublishConfig, Recipe
from dprm_data.runs.folder import RunFolder

Rows = Iterable[Mapping[str, Any]]


class Progress:
    """Receives a run's progress and ignores it; `dprm_data.terminal.progress` has one that shows it."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def items(self, count: int) -> None:
        """`count` items have been stored so far."""

    def update(self, counters: Counters) -> None:
        """Called four times a second while calls are made, and once at the end."""

    def say(self, text: str) -> None:
        """Receives a message for the user."""


class Run:
    """One recipe in one run folder.

    source: rows in place of the recipe's source (a `datasets` object, a list of dicts).
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder | None = None,
        *,
        source: Rows | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.recipe = recipe
        self.folder = folder or RunFolder(recipe.output_folder)
        self.source = source
        self.progress = progress or Progress()

    @classmethod
    def open(cls, path: str | os.PathLike[str], progress: Progress | None = None) -> Run:
        """The run in this folder. Raises `InputError` if it is not a run folder."""
        folder = RunFolder.existing(path)
        return cls(folder.recipe(), folder, progress=progress)

    # -- other processes in the same folder -----------------------------------------------------------------------------

    @property
    def shared(self) -> bool:
        """Whether several processes may work on the run at once: with a database as their ledger, each making its own calls."""
        direct = self.recipe.mode == "direct" and self.recipe.engine == "direct"
        return direct and is_postgres(self.recipe.ledger or "")

    def at_work(self) -> AbstractContextManager[None]:
        """Lock the folder for the whole work on the run, unless it is shared. Raises `RunBusy`."""
        return nullcontext() if self.shared else self.folder.held()

    def by_turns(self) -> AbstractContextManager[None]:
        """Lock the folder for writing in it, if the run is shared: processes take turns."""
        if not self.shared:
            return nullcontext()
        return self.folder.held(waiting=lambda: self.progress.stage("waiting for another worker to write its files"))

    # -- the recipe's parts, loaded on first use ------------------------------------------------------------------------

    @cached_property
    def space(self) -> LabelSpace:
        labels = self.recipe.labels
        return LabelSpace.load(_beside(self.recipe, labels) if isinstance(labels, str) else labels)

    @cached_property
    def panel(self) -> Panel:
        use, sample = self.recipe.panel.use, self.recipe.panel.sample
        panel = load_panel(_beside(self.recipe, use) if isinstance(use, str) else use)
        if sample and sample > len(panel.personas):
            raise PanelError(
                f"panel.sample: {sample}, but the panel {panel.name} has {len(panel.personas)} personas",
                hint="Give a smaller sample, or leave it out to ask all of them.",
            )
        return panel

    @cached_property
    def template(self) -> PromptTemplate:
        return load_prompt(self.recipe.prompt or self.recipe.elicitation, self.recipe.folder)

    @cached_property
    def prior_template(self) -> PromptTemplate | None:
        return load_prompt("distribution") if self.recipe.prior else None

    @cached_property
    def work(self) -> Work:
        check(self.recipe.provider, logprobs=self.recipe.elicitation == "logprobs")
        provider = self.recipe.provider
        return make_work(
            self.recipe,
            self.space,
            self.panel,
            self.template,
            self.prior_template,
            family=provider.name,
            model=self._model_name(),
        )

    @cached_property
    def prices(self) -> Prices:
        batch, allow = self.recipe.mode == "batch", self.recipe.budget.allow_unknown_price
        return prices_for(self.recipe.provider, batch=batch, allow_unknown=allow)

    def ledger(self, *, readonly: bool = False) -> Ledger:
        return Ledger(
            self.folder.ledger_at(self.recipe),
            run=self.recipe.name,
            price_table=self.prices.source if not readonly else "",
            readonly=readonly,
        )

    def freeze(self) -> None:
        """Write the recipe to the folder, with everything it names."""
        prompts = {self.template.name: self.template.source}
        if self.prior_template:
            prompts["distribution"] = self.prior_template.source
        labels = self.space.model_dump(mode="json")
        self.folder.freeze(self.recipe, labels=labels, panel=self.panel.model_dump(mode="json"), prompts=prompts)

    def _model_name(self) -> str:
        """The model's name in requests. A pulled run has it in its manifest, as its file may be elsewhere."""
        if self.is_pulled():
            return str(self.folder.read_manifest().get("model", self.recipe.provider.model))
        return model_name(self.recipe.provider)

    def is_pulled(self) -> bool:
        """Whether the run was pulled from a published dataset, without the ledger of its calls."""
        return "pulled" in self.folder.read_manifest() and not exists(self.folder.ledger_at(self.recipe))

    def with_fit(self, settings: Mapping[str, Any]) -> Run:
        """The run with some settings of the recipe's `fit` replaced."""
        fit = validated(self.recipe.fit.model_dump() | dict(settings), FitConfig, RecipeError, "fit")
        self.recipe = self.recipe.model_copy(update={"fit": fit})
        return self

    def with_publish(self, settings: Mapping[str, Any]) -> Run:
        """The run with some settings of the recipe's `publish` replaced."""
        publish = validated(self.recipe.publish.model_dump() | dict(settings), PublishConfig, RecipeError, "publish")
        self.recipe = self.recipe.model_copy(update={"publish": publish})
        return self


def _beside(recipe: Recipe, reference: str) -> str:
    """The path of a file in the recipe's folder, if there is one by this name; otherwise the name, of something bundled."""
    file = recipe.folder / reference
    return str(file) if file.is_file() else reference
