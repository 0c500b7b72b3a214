"""The plan of a recipe that generates: what the responses will cost, and what rating them will, before any of them is there. Makes no call."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from dprm_data.elicit.generation import ASSUMED_TOKENS
from dprm_data.engine.jury_plan import make_jury_plan
from dprm_data.engine.plan import Plan
from dprm_data.engine.prices import price_sources
from dprm_data.ingest.items import Item, ids_of, load_items, store_items
from dprm_data.ledger.factory import exists
from dprm_data.pipeline import stages
from dprm_data.pipeline.generate_stage import is_current
from dprm_data.runs.generated import response_of
from dprm_data.runs.generation_run import GenerationRun
from dprm_data.runs.run import Run

RESPONSES, RATINGS = "responses", "ratings"  # the stages' names

_PROMPTS = 200  # for whose responses rating is estimated
_CHARS = 4  # of a token, in English
_SUMS = ("calls_known", "calls_needed", "input_tokens", "output_tokens", "cost", "cost_at_most", "corrected_by")


def plan(run: Run) -> Plan:
    """Estimate the calls, tokens and dollars of a prepared run; of both stages if it generates (`Plan.stages`). Makes no call."""
    if run.recipe.generate is None:
        return stages.plan(run)
    stages.announce(run)
    own = GenerationRun(run)
    with run.ledger(readonly=True) if exists(run.ledger_address) else nullcontext() as ledger:
        responses = make_jury_plan(own.work, own.folder.table("items"), own.prices, ledger)
    responses = replace(responses, items=own.prompts, annotators=own.config.per_prompt)
    ratings = stages.estimate(run) if is_current(run, own) else _assumed(run, own)
    return _both(run, own, responses, ratings)


def _both(run: Run, own: GenerationRun, responses: Plan, ratings: Plan) -> Plan:
    sums: dict[str, Any] = {name: _sum(getattr(responses, name), getattr(ratings, name)) for name in _SUMS}
    ranges = responses.cost_range, ratings.cost_range
    known = [each for each in ranges if each]
    return replace(
        ratings,
        **sums,
        cost_range=(sum(low for low, _ in known), sum(high for _, high in known)) if len(known) == 2 else None,
        prices=price_sources({**own.prices, **run.prices}),
        assumptions=(*responses.assumptions, *ratings.assumptions),
        models={},
        stages={RESPONSES: responses, RATINGS: ratings},
    )


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _assumed(run: Run, own: GenerationRun) -> Plan:
    """The plan of rating responses that are not there yet: of an assumed length, all of them different."""
    tokens = min(ASSUMED_TOKENS, own.config.max_tokens)
    step = max(1, own.prompts // _PROMPTS)
    prompts = (item for item in load_items(own.folder.table("items")) if not item.completion)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "items.parquet"
        report = store_items(_responses(itertools.islice(prompts, 0, None, step), own.config.per_prompt, tokens), file)
        found = make_jury_plan(run.work, file, run.prices, None)
    items = own.prompts * own.config.per_prompt + own.given
    said = f"ratings: of {items:,} responses of {tokens:,} tokens each, which is a guess until they are there"
    return _scaled(replace(found, assumptions=(said, *found.assumptions)), items / report.items)


def _responses(prompts: Iterator[Item], count: int, tokens: int) -> Iterator[Item]:
    filler = "some " * (tokens * _CHARS // 5)
    for prompt in prompts:
        for number in range(count):
            completion = response_of(f"{number} {filler}")
            item_id, group_id = ids_of(prompt.prompt, completion)
            yield Item(item_id, prompt.prompt, completion, group_id, None, prompt.source, {})


def _scaled(found: Plan, factor: float) -> Plan:
    """A plan for so many times the items."""
    if factor == 1:
        return found
    changed: dict[str, Any] = {}
    for each in fields(Plan):
        value = getattr(found, each.name)
        if each.name in ("items", "annotations", "calls_needed", "input_tokens", "output_tokens"):
            changed[each.name] = round(value * factor)
        elif each.name in ("cost", "cost_at_most"):
            changed[each.name] = None if value is None else value * factor
    low_high = None if found.cost_range is None else (found.cost_range[0] * factor, found.cost_range[1] * factor)
    models = {id_: _scaled(each, factor) for id_, each in found.models.items()}
    return replace(found, **changed, cost_range=low_high, models=models)
