"""The main way: from a recipe to a preference dataset, stage by stage.

    ingest ─▶ items ─▶ annotate ─▶ ledger ─▶ collect ─▶ annotations ─▶ fit ─▶ distributions, preferences, card

Only `annotate` costs money, and what it bought is in the ledger for ever: every other stage can be done again for nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson

from dprm_data.annotate.costs import Budget, Prices, prices_for
from dprm_data.annotate.engine import Engine
from dprm_data.annotate.ledger import Ledger
from dprm_data.annotate.loop import in_a_loop, interruptible
from dprm_data.annotate.plan import Plan, make_plan
from dprm_data.annotate.rounds import rounds_for
from dprm_data.annotate.tally import Tally
from dprm_data.annotate.work import Work, make_work
from dprm_data.errors import BudgetReached, DprmError, InputError, ProviderUnusable, RecipeError
from dprm_data.folder import RunFolder
from dprm_data.items import ItemsReport, load_items, store_items
from dprm_data.labels import LabelSpace
from dprm_data.personas import Panel, load_panel, panel_table
from dprm_data.prompts import PromptTemplate, load_prompt
from dprm_data.providers import check, make_batch_provider, make_provider, model_name
from dprm_data.recipe import Recipe
from dprm_data.tables import ANNOTATIONS, PERSONAS, write_parquet

if TYPE_CHECKING:
    from dprm_data.annotate.batching import BatchEngine
    from dprm_data.providers.base import Provider
    from dprm_data.providers.batch import BatchProvider

Rows = Iterable[Mapping[str, Any]]
_FAMILIES = {"openai": "openai", "anthropic": "anthropic", "local": "local"}


class Progress:
    """What a run tells while it goes on; this one keeps silent. `dprm_data/progress.py` has those that speak."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def items(self, count: int) -> None:
        """So many items are stored."""

    def tally(self, tally: Tally) -> None:
        """Called four times a second while calls are made, and once at the end."""

    def say(self, text: str) -> None:
        """A sentence for the person at the screen."""


class Run:
    """One recipe in one run folder.

    source: rows to use instead of the recipe's source (a `datasets` object, a list of dicts).
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
        self._source = source
        self.progress = progress or Progress()

    @classmethod
    def open(cls, path: str | os.PathLike[str], progress: Progress | None = None) -> Run:
        """The run that was done in this folder."""
        folder = RunFolder.existing(path)
        return cls(folder.recipe(), folder, progress=progress)

    # -- the recipe's parts, loaded when first needed -------------------------------------------------------------------

    @cached_property
    def space(self) -> LabelSpace:
        labels = self.recipe.labels
        return LabelSpace.load(_beside(self.recipe, labels) if isinstance(labels, str) else labels)

    @cached_property
    def panel(self) -> Panel:
        use = self.recipe.panel.use
        return load_panel(_beside(self.recipe, use) if isinstance(use, str) else use)

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
            family=_FAMILIES[provider.name],
            model=self._model_name(),
        )

    @cached_property
    def prices(self) -> Prices:
        batch, allow = self.recipe.mode == "batch", self.recipe.budget.allow_unknown_price
        return prices_for(self.recipe.provider, batch=batch, allow_unknown=allow)

    def ledger(self, *, readonly: bool = False) -> Ledger:
        return Ledger(
            self.folder.ledger_file(self.recipe),
            run=self.recipe.name,
            price_table=self.prices.source if not readonly else "",
            readonly=readonly,
        )

    # -- stages -------------------------------------------------------------------------------------------------------

    def ingest(self) -> ItemsReport | None:
        """Store the source's items in the folder. Returns None where they are there already and the source has not changed."""
        path = self.folder.table("items")
        fingerprint = self._fingerprint()
        if (
            fingerprint
            and path.is_file()
            and self.folder.read_manifest().get("source", {}).get("fingerprint") == fingerprint
        ):
            return None
        from dprm_data.sources import read_items

        given: Any = self._source if self._source is not None else self.recipe.source
        if given is None:
            raise RecipeError(
                "the recipe names no source",
                hint="Give source: {path: ...} or source: {dataset: ...}, or rows from Python.",
            )
        self.progress.stage("reading items")
        report = store_items(read_items(given, base=self.recipe.folder), path, progress=self.progress.items)
        for line in report.lines():
            self.progress.say(line)
        described = {
            "items": report.items,
            "rows": report.rows,
            "duplicates": report.duplicates,
            "refused": report.refused,
            "contested": report.contested,
            "shapes": report.shapes,
        }
        self.folder.update_manifest(source=described | {"fingerprint": fingerprint, "items_sha256": _file_hash(path)})
        return report

    def plan(self) -> Plan:
        """What the run will be, before it is paid: calls, tokens, dollars. Makes no call."""
        return make_plan(self.work, self.folder.table("items"), self.prices, self._known_ledger(), run=self.recipe.name)

    def _known_ledger(self) -> Path | None:
        path = self.folder.ledger_file(self.recipe)
        return path if path.is_file() else None

    def annotate(self, *, max_cost: float | None = None, retry_failed: bool = False) -> Tally:
        """Make all calls that are missing. Returns when everything has an outcome; raises what stopped it before that."""
        if self._is_pulled():
            raise InputError(
                f"{self.folder} was pulled from a published dataset, without the ledger of its calls: annotating would pay for all of them again",
                hint="Annotate in another folder: dprm run RECIPE --output FOLDER.",
            )
        self._freeze()
        tally = Tally(total_items=self._count("items"))
        self.progress.stage("annotating")
        with self.ledger() as ledger:
            limit = max_cost if max_cost is not None else self.recipe.budget.max_cost
            budget = Budget(limit, ledger.spent() if limit is not None else 0.0)
            if limit is not None and not self.prices.known:
                raise DprmError(
                    "a budget cannot hold where the price is not known",
                    hint="Give provider: price, or leave the budget away.",
                )
            try:
                in_a_loop(self._annotate(ledger, budget, tally, retry_failed))
            finally:
                self.folder.update_manifest(last_annotate=tally.as_dict())
        return tally

    async def _annotate(self, ledger: Ledger, budget: Budget, tally: Tally, retry_failed: bool) -> None:
        if self.recipe.mode == "batch":
            await self._annotate_in_batches(ledger, budget, tally, retry_failed)
            return
        provider = make_provider(self.recipe.provider)
        # A model on this machine's own processors answers so many calls at a time; an item's calls together share its cache.
        most = min(self.recipe.limits.concurrency, getattr(provider, "concurrency", self.recipe.limits.concurrency))
        limits = self.recipe.limits.model_copy(update={"concurrency": most})
        engine = Engine(
            provider=provider,
            ledger=ledger,
            prices=self.prices,
            budget=budget,
            limits=limits,
            tally=tally,
            retry_failed=retry_failed,
            rounds=rounds_for(self.recipe.early_stop, self.space),
        )
        async with self._watched(engine, provider):
            await engine.run(self.work, load_items(self.folder.needs("items")))

    async def _annotate_in_batches(self, ledger: Ledger, budget: Budget, tally: Tally, retry_failed: bool) -> None:
        from dprm_data.annotate.batching import BatchEngine

        provider = make_batch_provider(self.recipe.provider)
        engine = BatchEngine(
            provider=provider,
            ledger=ledger,
            prices=self.prices,
            budget=budget,
            limits=self.recipe.limits,
            tally=tally,
            retry_failed=retry_failed,
            rounds=rounds_for(self.recipe.early_stop, self.space),
        )
        async with self._watched(engine, provider):
            await engine.run(self.work, lambda: load_items(self.folder.needs("items")))

    @asynccontextmanager
    async def _watched(self, engine: Engine | BatchEngine, provider: Provider | BatchProvider) -> AsyncIterator[None]:
        """While the engine runs: show how it goes, let it be interrupted, and close the provider in the end."""
        showing = asyncio.create_task(self._show(engine.tally))
        try:
            with interruptible(engine, self.progress.say, str(self.folder)):
                yield
        finally:
            showing.cancel()
            await provider.aclose()
            self.progress.tally(engine.tally)

    async def _show(self, tally: Tally) -> None:
        while True:
            self.progress.tally(tally)
            await asyncio.sleep(0.25)

    def collect(self) -> int:
        """Read the annotations out of the ledger, and add what people said. Returns their number."""
        from dprm_data.annotate.annotations import annotation_batches
        from dprm_data.review.human import merge, with_people

        if self._is_pulled():  # from a published dataset, which has the annotations but no ledger
            return merge(self.folder)
        self.progress.stage("collecting annotations")
        with Ledger(self.folder.ledger_file(self.recipe), readonly=True) as ledger:
            items = load_items(self.folder.needs("items"))
            batches = with_people(annotation_batches(self.work, ledger, items), self.folder)
            rows = write_parquet(self.folder.table("annotations"), ANNOTATIONS, batches)
        write_parquet(self.folder.table("personas"), PERSONAS, [panel_table(self.panel)])
        return rows

    def fit(self, **settings: Any) -> None:
        """Votes to distributions, preferences and the card. `settings` replace those of the recipe's `fit`. Makes no call."""
        from dprm_data.fitting import fit_run

        self.progress.stage("fitting distributions")
        if settings:
            fit = validated_fit(self.recipe, settings)
            self.recipe = self.recipe.model_copy(update={"fit": fit})
        fit_run(self)

    # -- small things -------------------------------------------------------------------------------------------------

    def _freeze(self) -> None:
        prompts = {self.template.name: self.template.source}
        if self.prior_template:
            prompts["distribution"] = self.prior_template.source
        labels = self.space.model_dump(mode="json")
        self.folder.freeze(self.recipe, labels=labels, panel=self.panel.model_dump(mode="json"), prompts=prompts)

    def _model_name(self) -> str:
        """As requests carry it. A pulled run names the model that was asked, wherever its file may be."""
        if self._is_pulled():
            return str(self.folder.read_manifest().get("model", self.recipe.provider.model))
        return model_name(self.recipe.provider)

    def _is_pulled(self) -> bool:
        return "pulled" in self.folder.read_manifest() and not self.folder.ledger_file(self.recipe).exists()

    def _count(self, table: Literal["items", "annotations"]) -> int:
        import pyarrow.parquet as pq

        return int(pq.read_metadata(self.folder.needs(table)).num_rows)

    def _fingerprint(self) -> str | None:
        """A hash of what the items come from: files by name, size and time of change. None where that cannot be known cheaply."""
        source = self.recipe.source
        if self._source is not None or source is None or source.path is None:
            return None
        path = self.recipe.folder / source.path
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        states = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.is_file()]
        content = [source.model_dump(mode="json"), states]
        return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


@dataclass(frozen=True)
class RunResult:
    """What `run` leaves: the folder, and the tally of this process's calls."""

    folder: RunFolder
    tally: Tally
    stopped: DprmError | None = None

    def distributions(self) -> Any:
        """The fitted distributions as an Arrow table (`.to_pandas()` for pandas)."""
        import pyarrow.parquet as pq

        return pq.read_table(self.folder.needs("distributions"))


def run(
    recipe: Recipe | str | os.PathLike[str] | dict[str, Any],
    *,
    source: Rows | None = None,
    output: str | os.PathLike[str] | None = None,
    max_cost: float | None = None,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """Run a recipe from its items to its dataset.

    source: rows in place of the recipe's source (a `datasets` object, a list of dicts). output: the run folder, in place of the
    recipe's. max_cost: dollars, in place of the recipe's budget.

    Raises `DprmError`. Where the budget or the provider ends the run early, what was bought is fitted first: the folder holds a usable
    partial dataset.
    """
    loaded = Recipe.of(recipe)
    job = Run(loaded, RunFolder(output) if output else None, source=source, progress=progress)
    with job.folder.held():
        prepare(job)
        tally = annotate_and_keep(job, max_cost=max_cost, retry_failed=retry_failed)
    return RunResult(job.folder, tally)


def prepare(job: Run) -> None:
    """Everything before the first call: what cannot work is refused before anything is read, and then the items are stored."""
    job.prices  # noqa: B018 - an unknown price
    job.work  # noqa: B018 - a panel, a prompt or a label space that cannot be used
    job.ingest()


def annotate_and_keep(
    job: Run, *, max_cost: float | None = None, retry_failed: bool = False, fit: bool = True
) -> Tally:
    """Annotate, collect and fit; where annotating is stopped, collect and fit what there is before saying so."""
    try:
        tally = job.annotate(max_cost=max_cost, retry_failed=retry_failed)
    except (BudgetReached, ProviderUnusable):
        with suppress(DprmError):  # what stopped the run is the news
            if job.collect() and fit:
                job.fit()
        raise
    job.collect()
    if fit:
        job.fit()
    return tally


def _beside(recipe: Recipe, reference: str) -> str:
    """A file that the recipe names is looked for in the recipe's folder; a bundled name stays a name."""
    file = recipe.folder / reference
    return str(file) if file.is_file() else reference


def validated_fit(recipe: Recipe, settings: Mapping[str, Any]) -> Any:
    """The recipe's fit with some settings replaced."""
    from dprm_data.recipe import FitConfig
    from dprm_data.yamlfile import validated

    return validated(recipe.fit.model_dump() | dict(settings), FitConfig, RecipeError, "fit")


def with_publish(run: Run, settings: Mapping[str, Any]) -> Run:
    """The run with some settings of the recipe's `publish` replaced."""
    from dprm_data.recipe import PublishConfig
    from dprm_data.yamlfile import validated

    given = run.recipe.publish.model_dump() | dict(settings)
    publish = validated(given, PublishConfig, RecipeError, "publish")
    run.recipe = run.recipe.model_copy(update={"publish": publish})
    return run


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
