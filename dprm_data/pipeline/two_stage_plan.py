"""The plan of a recipe that generates: what the responses will cost, and what judging them will, before any of them is there. Makes no call."""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from dprm_data.elicit.generation import ASSUMED_TOKENS
from dprm_data.engine.jury_plan import make_jury_plan
from dprm_data.engine.plan import Plan
from dprm_data.engine.prices import price_sources
from dprm_data.ingest.item_pairs import pairs_of
from dprm_data.ingest.items import Item, ids_of, load_items, store_items
from dprm_data.ledger.factory import exists
from dprm_data.pipeline import stages
from dprm_data.pipeline.announcement import announce
from dprm_data.pipeline.generate_stage import is_current
from dprm_data.pipeline.pair_items import pair_items
from dprm_data.runs.active_budget import most_pairs
from dprm_data.runs.asked_pairs import comparing
from dprm_data.runs.generated import response_of
from dprm_data.runs.generation_run import GenerationRun
from dprm_data.runs.run import Run

RESPONSES, RATINGS, COMPARISONS = "responses", "ratings", "comparisons"  # the stages' names

_PROMPTS, _ROWS = 200, 20_000  # at most so many, and so many items of theirs, from which judging is estimated
_CHARS = 4  # of a token, in English
_SUMS = ("calls_known", "calls_needed", "input_tokens", "output_tokens", "cost", "cost_at_most", "corrected_by")


def plan(run: Run) -> Plan:
    """Estimate the calls, tokens and dollars of a prepared run; of both stages if it generates (`Plan.stages`). Makes no call."""
    if run.recipe.generate is None:
        return stages.plan(run)
    own = GenerationRun(run)
    if there := is_current(run, own):
        with run.by_turns():
            pair_items(run)
    announce(run)
    with run.ledger(readonly=True) if exists(run.ledger_address) else nullcontext() as ledger:
        responses = make_jury_plan(own.work, own.folder.table("items"), own.prices, ledger)
    responses = replace(responses, items=own.prompts, annotators=own.config.per_prompt)
    ratings = stages.estimate(run) if there else _assumed(run, own)
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
        stages={RESPONSES: responses, COMPARISONS if run.compares else RATINGS: ratings},
    )


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _assumed(run: Run, own: GenerationRun) -> Plan:
    """The plan of judging responses that are not there yet: of an assumed length, all of them different."""
    tokens = min(ASSUMED_TOKENS, own.config.max_tokens)
    sizes = _sizes(own)
    if run.compares:
        sizes = {prompt: size for prompt, size in sizes.items() if size > 1}
    asked = _asked(run, sizes.values())
    wanted = max(1, min(_PROMPTS, _ROWS * len(sizes) // asked)) if asked else _PROMPTS
    prompts = (item for item in load_items(own.folder.table("items")) if not item.completion and item.group_id in sizes)
    sample = list(itertools.islice(prompts, 0, None, max(1, len(sizes) // wanted)))
    items = _responses(sample, sizes, tokens)
    if run.compares:
        groups = [prompt.group_id for prompt in sample for _ in range(sizes[prompt.group_id])]
        items = comparing(run.elicitation).shown_together(items, groups, run.recipe)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "items.parquet"
        report = store_items(items, file)
        found = make_jury_plan(run.work, file, run.prices, None)
    asked = asked or round(report.items * len(sizes) / len(sample))
    what = (
        f"comparisons of {comparing(run.elicitation).said_of(asked)}"
        if run.compares
        else f"ratings of {asked:,} responses"
    )
    said = f"{what}, with {tokens:,} tokens each, which is a guess until they are there"
    return _scaled(replace(found, assumptions=(said, *found.assumptions)), asked / report.items)


def _sizes(own: GenerationRun) -> dict[str, int]:
    """How many responses each prompt will have, by its id: those that are made, and those that the source has."""
    stored = Counter(pq.read_table(own.folder.table("items"), columns=["group_id"])["group_id"].to_pylist())
    return {prompt: rows - 1 + own.config.per_prompt for prompt, rows in stored.items()}


def _asked(run: Run, sizes: Collection[int]) -> int:
    """How many items there will be to ask about: responses, or pairs of them in both orders; 0 for sets, whose number only drawing them tells."""
    if not run.compares:
        return sum(sizes)
    if comparing(run.elicitation).several:
        return 0
    pairs = run.recipe.compare.pairs
    return 2 * (most_pairs(run, sizes) if pairs == "active" else sum(pairs_of(size, pairs) for size in sizes))


def _responses(prompts: Iterable[Item], sizes: Mapping[str, int], tokens: int) -> Iterator[Item]:
    filler = "some " * (tokens * _CHARS // 5)
    for prompt in prompts:
        for number in range(sizes[prompt.group_id]):
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
