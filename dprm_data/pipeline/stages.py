"""The main way: from a recipe to a preference dataset, stage by stage.

    ingest ─▶ items ─▶ annotate ─▶ ledger ─▶ collect ─▶ annotations ─▶ fit ─▶ distributions, preferences, card

Only `annotate` costs money, and what it bought is in the ledger for ever: every other stage can be done again for nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.errors import BudgetReached, DprmError, InputError, ProviderUnusable, RecipeError
from dprm_data.core.tables import ANNOTATIONS, PERSONAS, write_parquet
from dprm_data.engine.costs import Budget
from dprm_data.engine.counters import Counters
from dprm_data.engine.early_stopping import round_policy_for
from dprm_data.engine.event_loop import Stoppable, in_a_loop, interruptible
from dprm_data.engine.plan import Plan, make_plan
from dprm_data.ingest.items import ItemsReport, load_items, store_items
from dprm_data.ledger.factory import exists
from dprm_data.ledger.ledger import Ledger
from dprm_data.panel.personas import panel_table
from dprm_data.preference.family import check_family
from dprm_data.providers.construction import make_batch_provider
from dprm_data.providers.provider import BaseProvider, Provider
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.run import Progress, Rows, Run
from dprm_data.runs.worker import Worker, check_budget


@dataclass(frozen=True, repr=False)
class RunResult:
    """What `run` leaves: the folder, and the counters of this process's calls."""

    folder: RunFolder
    counters: Counters

    def __repr__(self) -> str:
        return f"RunResult({str(self.folder)!r}: {self.counters.items:,} items, {self.counters.calls:,} calls made now)"

    def distributions(self) -> Any:
        """The fitted distributions as an Arrow table (`.to_pandas()` for pandas)."""
        import pyarrow.parquet as pq

        return pq.read_table(self.folder.needs("distributions"))


def run(
    recipe: Recipe | str | os.PathLike[str] | dict[str, Any],
    *,
    source: Rows | None = None,
    output: str | os.PathLike[str] | None = None,
    provider: Provider | None = None,
    max_cost: float | None = None,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """Run a recipe from its items to its dataset.

    source: rows in place of the recipe's source (a `datasets` object, a list of dicts). output: the run folder, in place of the
    recipe's. provider: an object to ask in place of the recipe's provider, as `Run` takes it: the recipe's `provider` may then be left
    out. max_cost: dollars, in place of the recipe's budget.

    Raises `DprmError`. Where the budget or the provider ends the run early, what was bought is fitted first: the folder holds a usable
    partial dataset.
    """
    loaded = Recipe.of(recipe, provider=provider)
    folder = RunFolder(output) if output else None
    job = Run(loaded, folder, source=source, progress=progress, provider=provider)
    with job.at_work():
        prepare(job)
        counters = annotate_and_keep(job, max_cost=max_cost, retry_failed=retry_failed)
    return RunResult(job.folder, counters)


def prepare(run: Run) -> None:
    """Everything before the first call: what cannot work is refused before anything is read, and then the items are stored."""
    run.prices  # noqa: B018 - an unknown price
    run.work  # noqa: B018 - a panel, a prompt or a label space that cannot be used
    _check_fit(run)
    broken = run.space.triangle_violations()
    if broken:
        run.progress.say(f"the ground cost of {run.space.name} is no metric: {broken[0]}")
    with run.by_turns():
        ingest(run)


def _check_fit(run: Run) -> None:
    """Refuses settings under which the answers could not be fitted. Raises `InputError`."""
    recipe = run.recipe
    check_family(recipe.fit.family, run.space)
    if recipe.early_stop:
        try:
            check_family("beta", run.space)
        except InputError as error:
            raise RecipeError(
                f"early_stop learns a beta prior, whatever fit.family is: {error.message}",
                hint="Give the space axes, or leave early_stop out of the recipe.",
            ) from error
    if recipe.prior and recipe.prior.strength == "auto" and recipe.elicitation == "distribution":
        raise RecipeError(
            "prior.strength: auto is estimated from votes, and elicitation: distribution gives none: "
            "every item would get the same distribution",
            hint="Give a number of votes, such as strength: 2.",
        )


def annotate_and_keep(
    run: Run, *, max_cost: float | None = None, retry_failed: bool = False, fitted: bool = True
) -> Counters:
    """Annotate, collect and fit; where annotating is stopped, collect and fit what there is before saying so.

    Raises `DprmError` where not a single annotation has a label: that is no dataset.
    """
    began = time.time()
    try:
        counters = annotate(run, max_cost=max_cost, retry_failed=retry_failed)
    except (BudgetReached, ProviderUnusable):
        with suppress(DprmError), run.by_turns():  # what stopped the run is the news
            if collect(run) and fitted:
                fit(run)
        raise
    with run.by_turns():
        if retry_failed or not _kept_by_another(run, began, fitted):
            _keep(run, fitted)
    return counters


def _keep(run: Run, fitted: bool) -> None:
    """All calls are made: collect, and fit."""
    kept = {"began": time.time(), "plan": run.work.plan_key().hex(), "fitted": fitted}
    collect(run)
    _check_labels(run)
    if fitted:
        fit(run)
    if run.shared:
        run.folder.update_manifest(kept=kept)


def _kept_by_another(run: Run, began: float, fitted: bool) -> bool:
    """Whether another worker that saw the same end of the same work, after this one began, has collected (and fitted) it all."""
    kept = run.folder.read_manifest().get("kept", {}) if run.shared else {}
    same = kept.get("plan") == run.work.plan_key().hex() and kept.get("began", 0.0) > began
    return same and (kept["fitted"] or not fitted)


def _check_labels(run: Run) -> None:
    table = pq.read_table(run.folder.needs("annotations"), columns=["status", "reason"])
    if table.num_rows and not pc.any(pc.equal(table["status"], "ok")).as_py():
        most = max(pc.value_counts(table["reason"]).to_pylist(), key=lambda entry: entry["counts"])
        raise DprmError(
            f"none of the {table.num_rows:,} annotations has a label; the most frequent reason ({most['counts']:,}): {most['values']}",
            hint="Mend that and run again with --retry-failed: it asks them anew. What was answered is in the ledger.",
        )


def _count(run: Run) -> int:
    return int(pq.read_metadata(run.folder.needs("items")).num_rows)


# -- stages -----------------------------------------------------------------------------------------------------------


def ingest(run: Run) -> ItemsReport | None:
    """Store the source's items in the folder. Returns None where they are there already and the source has not changed."""
    path = run.folder.table("items")
    fingerprint = _fingerprint(run)
    if (
        fingerprint
        and path.is_file()
        and run.folder.read_manifest().get("source", {}).get("fingerprint") == fingerprint
    ):
        return None
    from dprm_data.ingest.sources import read_items

    given: Any = run.source if run.source is not None else run.recipe.source
    if given is None:
        raise RecipeError(
            "the recipe names no source",
            hint="Give source: {path: ...} or source: {dataset: ...}, or rows from Python.",
        )
    run.progress.stage("reading items")
    report = store_items(read_items(given, base=run.recipe.folder), path, progress=run.progress.items)
    for line in report.lines():
        run.progress.say(line)
    described = {
        "items": report.items,
        "rows": report.rows,
        "duplicates": report.duplicates,
        "refused": report.refused,
        "contested": report.contested,
        "shapes": report.shapes,
    }
    run.folder.update_manifest(source=described | {"fingerprint": fingerprint, "items_sha256": _file_hash(path)})
    return report


def plan(run: Run) -> Plan:
    """What the run will be, before it is paid: calls, tokens, dollars. Makes no call."""
    with run.ledger(readonly=True) if exists(run.ledger_address) else nullcontext() as ledger:
        return make_plan(run.work, run.folder.table("items"), run.prices, ledger)


def annotate(run: Run, *, max_cost: float | None = None, retry_failed: bool = False) -> Counters:
    """Make all calls that are missing. Returns when everything has an outcome; raises what stopped it before that."""
    if run.is_pulled():
        raise InputError(
            f"{run.folder} was pulled from a published dataset, without the ledger of its calls: annotating would pay for all of them again",
            hint="Annotate in another folder: dprm run RECIPE --output FOLDER.",
        )
    with run.by_turns():
        run.freeze()
    counters = Counters(total_items=_count(run))
    run.progress.stage("annotating")
    with run.ledger() as ledger:
        limit = max_cost if max_cost is not None else run.recipe.budget.max_cost
        check_budget(run, limit)
        try:
            in_a_loop(_annotate(run, ledger, limit, counters, retry_failed))
        finally:
            run.folder.update_manifest(last_annotate=counters.as_dict())
    return counters


async def _annotate(run: Run, ledger: Ledger, limit: float | None, counters: Counters, retry_failed: bool) -> None:
    if run.recipe.mode == "batch":
        await _annotate_in_batches(run, ledger, limit, counters, retry_failed)
        return
    if run.recipe.engine == "ray":
        await _annotate_on_ray(run, limit, counters, retry_failed)
        return
    async with Worker(run, ledger, max_cost=limit, retry_failed=retry_failed) as worker:
        engine = worker.engine(counters)
        async with _watched(run, engine):
            await engine.run(run.work, load_items(run.folder.needs("items")))


async def _annotate_on_ray(run: Run, limit: float | None, counters: Counters, retry_failed: bool) -> None:
    from dprm_data.pipeline.ray.cluster import joined
    from dprm_data.pipeline.ray.job_spec import JobSpec
    from dprm_data.pipeline.ray.ray_engine import RayEngine

    with joined(run.recipe.ray) as ray:
        engine = RayEngine(ray, run, JobSpec.of(run, max_cost=limit, retry_failed=retry_failed), counters)
        async with _watched(run, engine):
            await engine.run()


async def _annotate_in_batches(
    run: Run, ledger: Ledger, limit: float | None, counters: Counters, retry_failed: bool
) -> None:
    from dprm_data.engine.batch import BatchEngine

    budget = Budget(limit, ledger.spent() if limit is not None else 0.0)
    own = cast("BaseProvider | None", run.provider)  # `Run` takes no other in this mode
    provider = make_batch_provider(run.recipe.provider) if own is None else own.batches()
    engine = BatchEngine(
        provider=provider,
        ledger=ledger,
        prices=run.prices,
        budget=budget,
        limits=run.recipe.limits,
        counters=counters,
        retry_failed=retry_failed,
        rounds=round_policy_for(run.recipe.early_stop, run.space),
    )
    try:
        async with _watched(run, engine):
            await engine.run(run.work, lambda: load_items(run.folder.needs("items")))
    finally:
        await provider.aclose()


@asynccontextmanager
async def _watched(run: Run, engine: Stoppable) -> AsyncIterator[None]:
    """While the engine runs: show how it goes, and let it be interrupted."""
    showing = asyncio.create_task(_show(run, engine.counters))
    try:
        with interruptible(engine, run.progress.say, run.ledger_address.shown):
            yield
    finally:
        showing.cancel()
        run.progress.update(engine.counters)


async def _show(run: Run, counters: Counters) -> None:
    while True:
        run.progress.update(counters)
        await asyncio.sleep(0.25)


def collect(run: Run) -> int:
    """Read the annotations out of the ledger, and add what people said. Returns their number."""
    from dprm_data.engine.annotations import annotation_batches
    from dprm_data.review.human_annotations import merge, with_people

    if run.is_pulled():  # from a published dataset, which has the annotations but no ledger
        return merge(run.folder)
    run.progress.stage("collecting annotations")
    with run.ledger(readonly=True) as ledger:
        items = load_items(run.folder.needs("items"))
        batches = with_people(annotation_batches(run.work, ledger, items), run.folder)
        rows = write_parquet(run.folder.table("annotations"), ANNOTATIONS, batches)
    write_parquet(run.folder.table("personas"), PERSONAS, [panel_table(run.panel)])
    return rows


def fit(run: Run, **settings: Any) -> None:
    """Votes to distributions, preferences and the card. `settings` replace those of the recipe's `fit`. Makes no call."""
    from dprm_data.pipeline.fit_stage import fit_run

    run.progress.stage("fitting distributions")
    fit_run(run.with_fit(settings) if settings else run)


# -- small things -----------------------------------------------------------------------------------------------------


def _fingerprint(run: Run) -> str | None:
    """A hash of what the items come from: files by name, size and time of change. None where that cannot be known cheaply."""
    source = run.recipe.source
    if run.source is not None or source is None or source.path is None:
        return None
    path = run.recipe.folder / source.path
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    states = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.is_file()]
    content = [source.model_dump(mode="json"), states]
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
