"""A run: one recipe in one run folder, with the recipe's parts loaded on first use.

Its stages are in `dprm_data/pipeline/stages.py`.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from dprm_data.core.errors import InputError, PanelError, RecipeError
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.core.registry import ELICITATIONS
from dprm_data.core.resources import is_file
from dprm_data.core.yamlfile import validated
from dprm_data.elicit.distribution import Distribution
from dprm_data.elicit.elicitation import Elicitation
from dprm_data.elicit.jury import Jury
from dprm_data.elicit.template import PromptTemplate, load_prompt
from dprm_data.elicit.work import Work, make_work
from dprm_data.engine.counters import Counters
from dprm_data.engine.prices import Prices, price_sources, prices_for
from dprm_data.labels.space import LabelSpace
from dprm_data.ledger.factory import exists
from dprm_data.ledger.ledger import Ledger
from dprm_data.panel.panel_sources import load_panel
from dprm_data.panel.personas import Panel
from dprm_data.providers.provider import BaseProvider, Provider, provider_class
from dprm_data.recipe.consistency import AUTO
from dprm_data.recipe.fit_config import FitConfig
from dprm_data.recipe.model_config import ModelConfig
from dprm_data.recipe.recipe import PublishConfig, Recipe
from dprm_data.recipe.trust import check
from dprm_data.runs import auto_elicitation
from dprm_data.runs.asked_pairs import pairs_file
from dprm_data.runs.begun import began_with_prompt, begun_panel
from dprm_data.runs.folder import RunFolder

if TYPE_CHECKING:
    from dprm_data.ingest.splits import Splits

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

    source: rows to use instead of the recipe's source (a `datasets` object, a list of dicts).
    provider: an object to use instead of the recipe's provider: anything with `family`, `complete` and `aclose` (called when
    annotating ends). Its price is the recipe's `provider: price`, or the list price if its family is a registered provider's; otherwise it
    is unknown, costs are not counted, and a budget is refused. Raises `InputError` if the recipe's mode or engine needs more.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder | None = None,
        *,
        source: Rows | None = None,
        progress: Progress | None = None,
        provider: Provider | None = None,
    ) -> None:
        if provider is not None:
            recipe = Recipe.of(recipe, provider=provider)
            _check_can_ask(recipe, provider)
        self.recipe = recipe
        self.provider = provider
        self.folder = folder or RunFolder(recipe.output_folder)
        self.source = source
        self.progress = progress or Progress()
        self.why_elicitation = ""  # which elicitation was chosen for `auto`, and why; "" where nothing was to choose

    @classmethod
    def open(cls, path: str | os.PathLike[str], progress: Progress | None = None) -> Run:
        """The run in this folder. Raises `InputError` if it is not a run folder, or its ledger's address is not trusted (`recipe/trust`)."""
        folder = RunFolder.existing(path)
        recipe = folder.recipe()
        check(recipe)
        return cls(recipe, folder, progress=progress)

    def splits(self) -> Splits:
        """The splits of the run's items: by the source's column if it has one, else seeded."""
        from dprm_data.ingest.splits import split_items

        column = self.recipe.source.split_column if self.recipe.source else None
        return split_items(self.folder.needs("items"), self.recipe.publish, column)

    # -- other processes in the same folder -----------------------------------------------------------------------------

    @property
    def shared(self) -> bool:
        """Whether several processes may work on it at once: they share its ledger, and each makes its own calls."""
        return self.recipe.shares_ledger and self.recipe.mode == "direct" and self.recipe.engine == "direct"

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

    @property
    def asks_models(self) -> bool:
        """Whether a model is asked: without one, people's ratings are all there is, and there are no calls, no prompts and no ledger."""
        return bool(self.recipe.entries)

    @property
    def states_population(self) -> bool:
        """Whether every annotation is a model's statement about a whole population, so that there are no votes."""
        return self.asks_models and self.elicitation.states_population

    @property
    def compares(self) -> bool:
        """Whether models are asked to compare two responses, rather than to judge one."""
        name = self.recipe.elicitation  # `auto` never compares, and an extension may not be installed here
        return self.asks_models and name in ELICITATIONS and bool(ELICITATIONS.get(name).compares)

    @property
    def asked_items(self) -> Path:
        """The table of what models are asked about: the items, or pairs of them. Raises `InputError` if it is not there."""
        return pairs_file(self.folder) if self.compares else self.folder.needs("items")

    @property
    def expected_annotations(self) -> int:
        """How many annotations (or comparisons) the recipe asks models for. Raises `InputError` before there are items."""
        if self.compares and self.is_pulled():
            return int(pq.read_metadata(self.folder.needs("comparisons")).num_rows)
        return self.work.annotations_of(pq.read_metadata(self.asked_items).num_rows) if self.asks_models else 0

    @cached_property
    def panel(self) -> Panel:
        if not self.asks_models:
            return Panel.of_nobody()
        use, sample, base = self.recipe.panel.use, self.recipe.panel.sample, self.recipe.folder
        use = _beside(self.recipe, use) if isinstance(use, str) else use
        panel = begun_panel(self.folder, use, base) or load_panel(use, base=base)
        if sample and sample > len(panel.personas):
            raise PanelError(
                f"panel.sample: {sample}, but the panel {panel.name} has {len(panel.personas)} personas",
                hint="Give a smaller sample, or leave it out to ask all of them.",
            )
        return panel

    def settle_elicitation(self) -> None:
        """Put the elicitation that suits the model in the place of `auto`, once."""
        if self.recipe.elicitation != AUTO or not self.asks_models:
            return
        chosen = auto_elicitation.choose(
            self.recipe, self.folder, self.ledger_address, lambda: self.space, own_provider=self.provider is not None
        )
        self.recipe = self.recipe.model_copy(update={"elicitation": chosen.name})
        self.why_elicitation = f"elicitation: {chosen.name}, because {chosen.why}" if chosen.why else ""

    @cached_property
    def elicitation(self) -> type[Elicitation]:
        self.settle_elicitation()
        found: type[Elicitation] = ELICITATIONS.get(self.recipe.elicitation)
        return found

    @cached_property
    def template(self) -> PromptTemplate:
        if prompt := self.recipe.prompt:
            return load_prompt(prompt, self.recipe.folder)
        rationale = self.recipe.rationale and not began_with_prompt(
            self.folder, self.elicitation.prompt, rationale=True
        )
        return self.elicitation.default_template(rationale=rationale)

    @cached_property
    def prior_template(self) -> PromptTemplate | None:
        return Distribution.default_template() if self.recipe.prior else None

    @cached_property
    def work(self) -> Work:
        if not self.asks_models:
            return Work(Jury(()), self.panel, self.recipe.panel, replicates=1)
        self.settle_elicitation()
        names = self.model_names()
        return make_work(self.recipe, self.space, self.panel, self.template, self.prior_template, names=names)

    @cached_property
    def prices(self) -> dict[str, Prices]:
        """By the model's id. Raises `PriceUnknown`."""
        batch, allow = self.recipe.mode == "batch", self.recipe.budget.allow_unknown_price or self.provider is not None
        return {entry.id: prices_for(entry, batch=batch, allow_unknown=allow) for entry in self.recipe.entries}

    @property
    def ledger_address(self) -> LedgerAddress:
        return self.folder.ledger_at(self.recipe)

    def ledger(self, *, readonly: bool = False) -> Ledger:
        return Ledger(
            self.ledger_address,
            run=self.recipe.name,
            price_table=price_sources(self.prices) if not readonly else "",
            readonly=readonly,
        )

    def freeze(self) -> None:
        """Write the recipe to the folder, with its label space, panel and prompts."""
        prompts = {self.template.name: self.template.source} if self.asks_models else {}
        if self.prior_template:
            prompts[self.prior_template.name] = self.prior_template.source
        labels = self.space.model_dump(mode="json")
        self.folder.freeze(self.recipe, labels=labels, panel=self.panel.model_dump(mode="json"), prompts=prompts)
        sources = {each.id: provider_class(each.name).model_source(each.model) for each in self.recipe.entries}
        if len(sources) == 1 and (source := next(iter(sources.values()))):
            self.folder.update_manifest(model=self.work.elicitation.model, model_source=source)
        elif any(sources.values()):
            self.folder.update_manifest(model_sources={id_: source for id_, source in sources.items() if source})

    def model_names(self) -> dict[str, str]:
        """The models' names in requests, by id. The manifest has them where a model file may be missing: pulled runs, and runs of another machine."""
        manifest, entries, pulled = self.folder.read_manifest(), self.recipe.entries, self.is_pulled()
        kept = {id_: str(model["model"]) for id_, model in manifest.get("models", {}).items()}
        if len(entries) == 1 and "model" in manifest:
            kept[entries[0].id] = str(manifest["model"])
        return {entry.id: self._model_name(entry, kept.get(entry.id), pulled=pulled) for entry in entries}

    def _model_name(self, entry: ModelConfig, kept: str | None, *, pulled: bool) -> str:
        if pulled:
            return kept or entry.model
        kind = provider_class(entry.name)
        return kept if kept and kind.model_source(entry.model) is None else kind.model_name(entry.model)

    def is_pulled(self) -> bool:
        """Whether the run was pulled from a published dataset, which has no ledger."""
        return "pulled" in self.folder.read_manifest() and not exists(self.ledger_address)

    def with_fit(self, settings: Mapping[str, Any]) -> Run:
        """A copy of the run with some settings of the recipe's `fit` replaced. Raises `RecipeError`."""
        fit = validated(self.recipe.fit.model_dump() | dict(settings), FitConfig, RecipeError, "fit")
        return self._with(fit=fit)

    def with_publish(self, settings: Mapping[str, Any]) -> Run:
        """A copy of the run with some settings of the recipe's `publish` replaced. Raises `RecipeError`."""
        publish = validated(self.recipe.publish.model_dump() | dict(settings), PublishConfig, RecipeError, "publish")
        return self._with(publish=publish)

    def _with(self, **parts: FitConfig | PublishConfig) -> Run:
        """A copy with parts of the recipe replaced. Loaded parts are kept, because they do not depend on these."""
        other = copy.copy(self)
        other.recipe = self.recipe.model_copy(update=parts)
        return other


def _check_can_ask(recipe: Recipe, provider: Provider) -> None:
    """Refuse a provider object if the recipe needs more than calls from this process. Raises `InputError`."""
    if recipe.engine == "ray":
        raise InputError(
            "engine: ray: a provider that is an object of this process cannot be asked by others",
            hint="Register its class (dprm_data.providers says how) and name it in the recipe, or leave engine: ray out.",
        )
    if recipe.mode == "batch" and not (isinstance(provider, BaseProvider) and provider.has_batches):
        raise InputError(f"mode: batch: the provider {provider.family!r} has no batches", hint="Leave mode: batch out.")


def _beside(recipe: Recipe, reference: str) -> str:
    """Return the path of a file in the recipe's folder if it exists, otherwise the name, for a bundled text."""
    file = recipe.folder / reference
    return str(file) if is_file(file) else reference
