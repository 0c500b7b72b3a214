"""The stages of a run, from a recipe to a preference dataset.

    ingest ─▶ items ─▶ annotate ─▶ ledger ─▶ collect ─▶ annotations ─▶ fit ─▶ distributions, preferences, card

Only `annotate` costs money, and the ledger keeps every answer: all other stages can be repeated at no cost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import pyarrow.parquet as pq

from dprm_data.core.errors import BudgetReached, DprmError, InputError, Interrupted, ProviderUnusable, RecipeError
from dprm_data.core.tables import ANNOTATIONS, PERSONAS, write_parquet
from dprm_data.engine.budget import Budget
from dprm_data.engine.counters import Counters
from dprm_data.engine.early_stopping import round_policy_for
from dprm_data.engine.event_loop import Stoppable, interruptible, run_in_loop
from dprm_data.engine.jury_plan import make_jury_plan
from dprm_data.engine.plan import Plan, no_calls
from dprm_data.ingest.items import ItemsReport, StoredItems, load_items, store_items
from dprm_data.ledger.factory import exists
from dprm_data.ledger.ledger import Ledger
from dprm_data.panel.personas import panel_table
from dprm_data.pipeline.active_pairs import in_rounds
from dprm_data.pipeline.announcement import announce, missing_keys
from dprm_data.pipeline.compared_people import comparisons_bring_items, ingest_comparisons
from dprm_data.pipeline.fingerprint import fingerprint_of, is_stored
from dprm_data.pipeline.item_lengths import say_what_is_too_long
from dprm_data.pipeline.kept_tables import KeptTables
from dprm_data.pipeline.pair_items import pair_items
from dprm_data.pipeline.people import bring_items, has_people, ingest_ratings, source_record
from dprm_data.pipeline.prompt_stage import prepare_prompts
from dprm_data.preference.family import check_family
from dprm_data.providers.construction import make_batch_provider
from dprm_data.providers.provider import BaseProvider, provider_class
from dprm_data.recipe.model_config import ModelConfig
from dprm_data.runs.active_budget import planned
from dprm_data.runs.asked_pairs import comparison_batches
from dprm_data.runs.comparison_table import judgements, write_comparisons
from dprm_data.runs.run import Run
from dprm_data.runs.worker import Worker, check_budget


def prepare(run: Run) -> None:
    """Prepare the first call: check the recipe's parts before anything is read, then store the items."""
    contexts = check_parts(run)
    if run.recipe.generate:
        prepare_prompts(run)
        return
    with run.by_turns():
        if not (bring_items(run) or comparisons_bring_items(run)):
            ingest(run)
        if has_people(run):
            ingest_ratings(run)
        ingest_comparisons(run)
        pair_items(run)
    if known := [context for context in contexts if context]:
        say_what_is_too_long(run, min(known))


def check_parts(run: Run) -> list[int | None]:
    """Check the recipe's parts and its models before anything is read. Returns the models' contexts in tokens, None where one is not known."""
    run.prices  # noqa: B018 - raises for an unknown price
    contexts = [] if run.provider else [_made_ready(run, entry) for entry in run.recipe.entries]
    run.settle_elicitation()
    run.work  # noqa: B018 - raises for an unusable panel, prompt or label space
    _check_fit(run)
    if isinstance(run.recipe.labels, list):
        rewards = ", ".join(f"{label.name} {label.reward:g}" for label in run.space.labels)
        run.progress.say(f"labels, from the worst to the best, with their rewards: {rewards}")
    broken = run.space.triangle_violations()
    if broken:
        run.progress.say(f"the ground cost of {run.space.name} is not a metric: {broken[0]}")
    return contexts


def _made_ready(run: Run, entry: ModelConfig) -> int | None:
    """Fetch and check a model on this machine. Returns its context in tokens, if that is known. Raises `InputError`."""
    return provider_class(entry.name).prepare(entry, run.progress.say)


def _check_fit(run: Run) -> None:
    """Check that the answers could be fitted. Raises `InputError`."""
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
    """Annotate, collect and, if `fitted`, fit. If annotating is stopped early, collect and fit the answers so far before raising (a second Ctrl-C leaves that).

    Raises `DprmError` if not a single annotation has a label.
    """
    began = time.time()
    try:
        counters = in_rounds(
            run,
            lambda again: annotate(run, max_cost=max_cost, retry_failed=retry_failed and not again),
            partial(collect, run),
        )
    except (BudgetReached, ProviderUnusable, Interrupted) as stopped:
        if isinstance(stopped, Interrupted):
            if stopped.at_once:
                raise
            run.progress.say("writing tables from the answers so far; press Ctrl-C again to skip that")
        _keep_what_there_is(run, fitted)
        raise
    with run.by_turns():
        if retry_failed or not _kept_by_another(run, began, fitted):
            _keep(run, fitted, anew=retry_failed)
    return counters


def _keep_what_there_is(run: Run, fitted: bool) -> None:
    """Collect and fit after a run that was stopped: what stopped it is reported, not a failed fit, and another Ctrl-C ends this."""
    with suppress(DprmError, KeyboardInterrupt), run.by_turns():
        if collect(run) and fitted:
            fit(run)


def _keep(run: Run, fitted: bool, *, anew: bool) -> None:
    """Collect and fit, after the last call. anew: also if nothing has changed since the last time."""
    kept = {"began": time.time(), "plan": run.work.plan_key().hex(), "fitted": fitted}
    tables = KeptTables(run, fitted=fitted)
    if anew or not tables.current:
        collect(run)
        _check_labels(run)
        if fitted:
            fit(run)
        tables.written()
    if run.shared:
        run.folder.update_manifest(kept=kept)


def _kept_by_another(run: Run, began: float, fitted: bool) -> bool:
    """Whether another worker has collected (and fitted) the same work since `began`."""
    kept = run.folder.read_manifest().get("kept", {}) if run.shared else {}
    same = kept.get("plan") == run.work.plan_key().hex() and kept.get("began", 0.0) > began
    return same and (kept["fitted"] or not fitted)


def _check_labels(run: Run) -> None:
    import pyarrow.compute as pc  # slow to import, and a rerun with nothing new needs none

    table = judgements(run.folder, ["status", "reason"])
    if table.num_rows and not pc.any(pc.equal(table["status"], "ok")).as_py():
        most = max(pc.value_counts(table["reason"]).to_pylist(), key=lambda entry: entry["counts"])
        raise DprmError(
            f"none of the {table.num_rows:,} annotations has a label; the most frequent reason ({most['counts']:,}): {most['values']}",
            hint="Fix the cause, then run again with --retry-failed to ask for them again. All answers are in the ledger.",
        )


def _count(run: Run) -> int:
    return int(pq.read_metadata(run.asked_items).num_rows)


# -- stages -----------------------------------------------------------------------------------------------------------


def ingest(run: Run) -> ItemsReport | None:
    """Store the source's items in the folder. Returns None if they are there already and the source has not changed."""
    path = run.folder.table("items")
    fingerprint = _fingerprint(run)
    if is_stored(path, run.folder.read_manifest().get("source", {}), fingerprint):
        return None
    from dprm_data.ingest.messages import unseen
    from dprm_data.ingest.sources import read_items

    source: Any = run.source if run.source is not None else run.recipe.source
    if source is None:
        raise RecipeError(
            "the recipe has no source",
            hint="Give source: {path: ...} or source: {dataset: ...}, or rows from Python.",
        )
    run.progress.stage("reading items")
    found = read_items(source, base=run.recipe.folder)
    report = store_items(found, path, progress=run.progress.items, refuse=unseen)
    for line in report.lines():
        run.progress.say(line)
    run.folder.update_manifest(source=source_record(report, path, fingerprint))
    return report


def plan(run: Run) -> Plan:
    """Estimate the run's calls, tokens and dollars, and say how it will ask. Makes no call."""
    announce(run)
    return estimate(run)


def estimate(run: Run) -> Plan:
    """The plan alone."""
    if not run.asks_models:
        return no_calls(_count(run))
    with run.ledger(readonly=True) if exists(run.ledger_address) else nullcontext() as ledger:
        found = make_jury_plan(run.work, run.asked_items, run.prices, ledger)
    return planned(run, found, lambda: make_jury_plan(run.work, run.asked_items, run.prices, None))


def annotate(run: Run, *, max_cost: float | None = None, retry_failed: bool = False) -> Counters:
    """Make the missing calls. Returns when every annotation has an outcome; raises what stopped the run before that."""
    if run.is_pulled():
        raise InputError(
            f"{run.folder} was pulled from a published dataset, without the ledger of its calls: annotating would pay for all of them again",
            hint="Annotate in another folder: dprm run RECIPE --output FOLDER.",
        )
    if missing := missing_keys(run):  # before the recipe in the folder is another than that of its tables
        raise missing[0]
    with run.by_turns():
        run.freeze()
    if not run.asks_models:
        return Counters(total_items=_count(run), items=_count(run))
    if run.why_elicitation and provider_class(run.recipe.entries[0].name).answers_in_words:
        run.progress.say(run.why_elicitation)
    counters = Counters(total_items=_count(run))
    run.progress.stage("annotating")
    make_calls(run, counters, max_cost, retry_failed)
    return counters


def make_calls(
    run: Run,
    counters: Counters,
    max_cost: float | None,
    retry_failed: bool,
    check: Callable[[Ledger], None] = lambda ledger: None,
) -> None:
    """Make the missing calls of the run's work under its budget; the manifest says how that ended. check: raises what forbids them."""
    with run.ledger() as ledger:
        limit = max_cost if max_cost is not None else run.recipe.budget.max_cost
        check_budget(run, limit)
        counters.possibly_billed = ledger.possibly_billed()
        check(ledger)
        stopped: str | None = "interrupted"
        try:
            run_in_loop(_make_calls(run, ledger, limit, counters, retry_failed))
            stopped = None
        except DprmError as error:
            stopped = error.message
            raise
        finally:
            run.folder.update_manifest(last_annotate=counters.as_dict() | {"stopped": stopped})


async def _make_calls(run: Run, ledger: Ledger, limit: float | None, counters: Counters, retry_failed: bool) -> None:
    """Make the missing calls of the run's work, as its recipe says: directly, in batches, or on a cluster."""
    if run.recipe.mode == "batch":
        await _annotate_in_batches(run, ledger, limit, counters, retry_failed)
        return
    if run.recipe.engine == "ray":
        await _annotate_on_ray(run, limit, counters, retry_failed)
        return
    total = counters.total_items
    async with Worker(run, ledger, max_cost=limit, retry_failed=retry_failed, total_items=total) as worker:
        engine = worker.engine(counters)
        async with _watched(run, engine):
            await engine.run(run.work, StoredItems(run.asked_items))


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
    from dprm_data.pipeline.batch_canary import try_directly

    calls = (counters.total_items or 0) * run.work.annotations_per_item
    await try_directly(run, ledger, limit, counters, calls=calls, retry_failed=retry_failed)
    budget = Budget(limit, ledger.spent() if limit is not None else 0.0)  # batches are held in their own table
    own = cast("BaseProvider | None", run.provider)  # `Run` takes no other in this mode
    [entry] = run.recipe.entries  # more are refused in this mode
    provider = make_batch_provider(entry, say=run.progress.say) if own is None else own.batches()
    engine = BatchEngine(
        provider=provider,
        ledger=ledger,
        prices=run.prices[entry.id],
        budget=budget,
        limits=run.recipe.limits,
        counters=counters,
        retry_failed=retry_failed,
        rounds=round_policy_for(run.recipe.early_stop, run.space),
    )
    try:
        async with _watched(run, engine):
            await engine.run(run.work, lambda: load_items(run.asked_items))
    finally:
        await provider.aclose()


@asynccontextmanager
async def _watched(run: Run, engine: Stoppable) -> AsyncIterator[None]:
    """Show the engine's progress and handle interrupts while it runs."""
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
    """Read the annotations from the ledger, and add those of people. Returns their number."""
    from dprm_data.engine.annotations import annotation_batches
    from dprm_data.review.human_annotations import merge, with_people
    from dprm_data.review.pair_answers import compared_answers, merge_comparisons

    if run.is_pulled():  # it has annotations, but no ledger
        return merge(run.folder) + merge_comparisons(run.folder)
    run.progress.stage("collecting annotations")
    with run.ledger(readonly=True) if run.asks_models else nullcontext() as ledger:
        answers = annotation_batches(run.work, ledger, load_items(run.asked_items)) if ledger else ()
        asked = comparison_batches(answers, run.asked_items, run.work.elicitation) if run.compares else None
        rows = write_comparisons(run.folder, asked, compared_answers(run.folder))
        labels = with_people(() if run.compares else answers, run.folder)
        rows += write_parquet(run.folder.table("annotations"), ANNOTATIONS, labels)
    write_parquet(run.folder.table("personas"), PERSONAS, [panel_table(run.panel)])
    return rows


def fit(run: Run, **settings: Any) -> None:
    """Fit distributions and write preferences and card. `settings` override those of the recipe's `fit`. Makes no call."""
    from dprm_data.pipeline.fit_stage import fit_run

    run.progress.stage("fitting distributions")
    fit_run(run.with_fit(settings) if settings else run)


# -- hashes -----------------------------------------------------------------------------------------------------------


def _fingerprint(run: Run) -> str | None:
    """A hash of the source's settings and files. None for a source that is not files."""
    source = run.recipe.source
    if run.source is not None or source is None or source.path is None:
        return None
    return fingerprint_of(run.recipe.folder / Path(source.path).expanduser(), source.model_dump(mode="json"))
