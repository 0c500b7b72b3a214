"""The first stage of a recipe that has prompts alone: responses are generated, by the run's own engine, ledger and budget.

    prompts ─▶ generate ─▶ ledger ─▶ responses ─▶ items ─▶ annotate (`stages`)

Only the calls cost money; `responses.parquet` and the items are made of the ledger again at no cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pyarrow.parquet as pq

from dprm_data.core.errors import DprmError, InputError, Interrupted
from dprm_data.core.failure_reasons import grouped
from dprm_data.core.format import money
from dprm_data.core.tables import ITEMS, RESPONSES, damage, sha256_of
from dprm_data.engine.counters import Counters
from dprm_data.engine.replay import chunks, row_id
from dprm_data.ingest.items import load_items, store_items
from dprm_data.ledger.ledger import Ledger
from dprm_data.pipeline import stages
from dprm_data.pipeline.pair_items import pair_items
from dprm_data.pipeline.people import has_people, ingest_ratings, source_record
from dprm_data.runs.generated import Generated, generated_items, write_responses
from dprm_data.runs.generation_run import GenerationRun
from dprm_data.runs.run import Run

_KEPT = "generated"  # the part of the manifest that says of what the responses and items were made


def generate(run: Run, *, max_cost: float | None = None, retry_failed: bool = False) -> Counters | None:
    """Make the missing responses of a run that is prepared (`stages.prepare`), and the items of them. None if the recipe generates nothing.

    What ends it early is raised once the responses so far are written; the items are, once all are there.
    """
    if run.recipe.generate is None:
        return None
    if run.is_pulled():
        raise InputError(
            f"{run.folder} was pulled from a published dataset, without the ledger of its calls: generating would pay for all of them again",
            hint="Generate in another folder: dprm generate RECIPE --output FOLDER.",
        )
    own = GenerationRun(run)
    with run.by_turns():
        run.freeze()
    counters = Counters(total_items=pq.read_metadata(own.folder.needs("items")).num_rows)
    if not retry_failed and is_current(run, own):
        return counters
    run.progress.stage("generating responses")
    try:
        stages.make_calls(own, counters, max_cost, retry_failed, lambda ledger: _check_batches(own, ledger))
    except DprmError as stopped:
        if not (isinstance(stopped, Interrupted) and stopped.at_once):
            with suppress(DprmError, KeyboardInterrupt):  # what stopped it is reported
                _write(run, own, anew=True)
        raise
    _write(run, own, anew=retry_failed)
    return counters


def _check_batches(own: GenerationRun, ledger: Ledger) -> None:
    """Refuse to make responses while batches of ratings are at the provider: whoever generates could not collect them. Raises `InputError`."""
    if own.recipe.mode != "batch" or not ledger.store.batches(ledger.run):
        return
    prompts = chunks((row_id(item) for item in load_items(own.folder.table("items")) if not item.completion), 5_000)
    if not any(ledger.store.items_in_batches(ids) for ids in prompts):
        raise InputError(
            "batches of ratings are at the provider, and the recipe now asks for other responses",
            hint="Run the recipe as it was to collect them, then change it.",
        )


def is_current(run: Run, own: GenerationRun) -> bool:
    """Whether responses and items are those of this recipe and these prompts, and none is missing."""
    kept = run.folder.read_manifest().get(_KEPT, {})
    files = ((own.responses_file, RESPONSES), (run.folder.table("items"), ITEMS), (own.folder.table("items"), ITEMS))
    whole = all(path.is_file() and not damage(path, schema) for path, schema in files)
    return whole and bool(kept) and kept.get("made_of") == _made_of(own)


def _made_of(own: GenerationRun) -> list[str]:
    return [own.work.plan_key().hex(), sha256_of(own.folder.table("items"))]


def _write(run: Run, own: GenerationRun, *, anew: bool) -> None:
    """Write the responses that the ledger has and, once none is missing, the items. anew: even if they are current."""
    with run.by_turns():
        if not anew and is_current(run, own):
            return  # another worker was faster
        with own.ledger(readonly=True) as ledger:
            found = write_responses(own.work, ledger, own.folder.table("items"), own.responses_file)
        for line in lines(found):
            run.progress.say(line)
        record = found.as_dict() | {"made_of": _made_of(own) if found.complete else None}
        if found.complete and (found.status["ok"] or found.given):
            _store_items(run, own)
        run.folder.update_manifest(**{_KEPT: record})


def _store_items(run: Run, own: GenerationRun) -> None:
    path = run.folder.table("items")
    stream = generated_items(own.folder.table("items"), own.responses_file, own.config)
    report = store_items(stream, path, progress=run.progress.items, with_dropped=False)
    run.folder.update_manifest(source=source_record(report, path, None))
    if has_people(run):
        ingest_ratings(run)


def make_usable(run: Run) -> None:
    """Pair the responses where they are compared. Raises `DprmError` where they are not worth being judged."""
    if run.recipe.generate is None:
        return
    kept = run.folder.read_manifest().get(_KEPT, {})
    if not kept.get("status", {}).get("ok") and not kept.get("given"):
        reasons = "\n".join(f"  {count:,} × {reason}" for reason, count in kept.get("reasons", {}).items())
        raise DprmError(
            f"none of the {kept.get('responses', 0):,} responses can be used\n{reasons}".rstrip(),
            hint="Fix the cause, then run again with --retry-failed. All answers are in the ledger.",
        )
    alone = kept["single"] + kept["without"]
    if run.recipe.generate.per_prompt > 1 and alone == kept["prompts"] and not kept["given"]:
        raise DprmError(
            "no prompt has two different responses, so there is nothing to compare; nothing was spent on judging them",
            hint="Raise the temperature (generate: temperatures), add models or principles; or set per_prompt: 1 to rate single responses.",
        )
    with run.by_turns():
        pair_items(run)


def lines(found: Generated) -> Iterator[str]:
    """What was generated, in sentences."""
    ok, cost = found.status["ok"], "" if found.cost is None else f", {money(found.cost)}"
    yield f"{found.responses:,} responses to {found.prompts:,} prompts, {ok:,} of them usable{cost}"
    alike = found.status["duplicate"], found.status["near_duplicate"]
    if any(alike):
        yield f"{alike[0]:,} equal another response to their prompt, and {alike[1]:,} nearly do: kept, and not judged twice"
    yield from (f"{count:,} × {reason}" for reason, count in grouped(found.reasons, 5).items())
    if found.single:
        yield f"{_prompts_with(found.single)} one usable response: it makes no pair"
    if found.without:
        yield f"{_prompts_with(found.without)} no usable response"
    if not found.complete:
        yield "not all are there yet: run again to go on"


def _prompts_with(count: int) -> str:
    return "1 prompt has" if count == 1 else f"{count:,} prompts have"


def record(run: Run) -> dict[str, Any]:
    """What the manifest says of the generation."""
    found: dict[str, Any] = run.folder.read_manifest().get(_KEPT, {})
    return found
