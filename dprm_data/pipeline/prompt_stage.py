"""The stage before a generation: the source's prompts are stored, and the models that will answer them made ready. Makes no call."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dprm_data.core.errors import RecipeError
from dprm_data.core.message_parts import ToolCall, ToolResult, parts_of
from dprm_data.ingest.items import Item, ItemsReport, Refused, load_items, store_items
from dprm_data.ingest.messages import unseen
from dprm_data.ingest.sources import ItemStream, read_items
from dprm_data.ledger.call import Call
from dprm_data.pipeline.active_pairs import check_chain
from dprm_data.pipeline.fingerprint import fingerprint_of, is_stored
from dprm_data.pipeline.people import source_record
from dprm_data.providers.provider import provider_class
from dprm_data.providers.token_estimates import estimated_input_tokens
from dprm_data.runs.active_budget import asks_actively
from dprm_data.runs.generation_run import GenerationRun
from dprm_data.runs.run import Run

_MOST = 5_000  # prompts whose length is looked at


def prepare_prompts(run: Run) -> None:
    """Check the models that generate, and store the source's prompts. Raises `DprmError`."""
    own = GenerationRun(run)
    own.prices  # noqa: B018 - raises for an unknown price
    contexts = [provider_class(entry.name).prepare(entry, run.progress.say) for entry in own.config.models]
    own.work  # noqa: B018 - raises for a model that is not there
    with run.by_turns():
        _store_prompts(run, own)
    if own.config.per_prompt == 1 and not own.given:
        _say_no_pairs(run)
    if asks_actively(run):
        check_chain(run, own.prompts * (own.config.per_prompt - 1) + own.given)
    if known := [context for context in contexts if context]:
        _say_what_is_too_long(own, min(known))


def _store_prompts(run: Run, own: GenerationRun) -> None:
    path, fingerprint = own.folder.table("items"), _fingerprint(run)
    if is_stored(path, run.folder.read_manifest().get("prompts_source", {}), fingerprint):
        return
    source: Any = run.source if run.source is not None else run.recipe.source
    if source is None:
        raise RecipeError(
            "the recipe has no source of prompts",
            hint="Give source: {path: ...} or source: {dataset: ...}, or rows from Python.",
        )
    run.progress.stage("reading prompts")
    stream = _Prompts(read_items(source, base=run.recipe.folder, prompts=True), own.config.existing == "rate")
    report = store_items(stream, path, progress=run.progress.items, refuse=unanswerable)
    stored = pq.read_table(path, columns=["item_id", "group_id"])
    prompts = int(np.sum(stored["item_id"].to_numpy() == stored["group_id"].to_numpy()))
    counts = {"prompts": prompts, "given": report.items - prompts, "left_out": stream.left_out}
    for line in _lines(report, counts):
        run.progress.say(line)
    run.folder.update_manifest(prompts_source=source_record(report, path, fingerprint) | counts)


def _say_no_pairs(run: Run) -> None:
    """Say that there will be none; raise `RecipeError` where they are what is asked about."""
    if run.compares:
        raise RecipeError(
            "generate.per_prompt: 1 makes one response to each prompt, and elicitation: compare asks about two",
            hint="Give per_prompt: 2 or more.",
        )
    run.progress.say("generate: per_prompt: 1 makes one response to each prompt: there will be no pairs")


@dataclass
class _Prompts(Iterator[Item | Refused]):
    """The prompts of a source, with the responses that it has unless they are to be left out. rated: they are not."""

    stream: ItemStream
    rated: bool
    left_out: int = 0

    def __next__(self) -> Item | Refused:
        for found in self.stream:
            if isinstance(found, Refused) or not found.completion or self.rated:
                return found
            self.left_out += 1
        raise StopIteration

    @property
    def rows(self) -> int:
        return self.stream.rows

    @property
    def shapes(self) -> dict[str, str]:
        return self.stream.shapes

    @property
    def times(self) -> dict[str, str]:
        return self.stream.times


def _lines(report: ItemsReport, counts: dict[str, int]) -> Iterator[str]:
    """What was read, in sentences."""
    said = [line for line in report.lines() if not line.startswith(f"{report.items:,} items from")]
    yield from said[: len(report.shapes)]
    yield f"{counts['prompts']:,} prompts from {report.rows:,} rows"
    if counts["given"]:
        yield (
            f"{counts['given']:,} responses are in the source already: they are judged beside the generated ones "
            "(generate: {existing: leave_out} leaves them out)"
        )
    if counts["left_out"]:
        yield f"{counts['left_out']:,} responses of the source are left out"
    yield from said[len(report.shapes) :]


def unanswerable(item: Item) -> str | None:
    """Why a model that reads texts only cannot answer the prompt (or judge the response): what is in it besides text. None if nothing is."""
    if reason := unseen(item):
        return reason
    for at, turn in enumerate(() if item.completion else item.prompt):
        if turn["role"] == "tool" or any(isinstance(part, ToolCall | ToolResult) for part in parts_of(turn)):
            return f"prompt[{at}] is about a call of a tool, which generation cannot go on from yet"
    return None


def _say_what_is_too_long(own: GenerationRun, context: int) -> None:
    """Say how many prompts are longer than a model's context in tokens, by their characters: they will be rejected, each with its reason."""
    count = too_long = 0
    for item in itertools.islice(load_items(own.folder.needs("items")), _MOST):
        steps = [task.next(()) for task in own.work.tasks(item)]
        asked = [estimated_input_tokens(step.request) for step in steps if isinstance(step, Call)]
        count += not item.completion
        too_long += max(asked, default=0.0) > context
    if too_long:
        run_out = f"about {too_long:,} of {count:,} prompts are longer than the model's context of {context:,} tokens"
        own.progress.say(f"{run_out} and will be rejected, each with its reason")


def _fingerprint(run: Run) -> str | None:
    """A hash of all that the prompts are read by. None for a source that is not files."""
    source, config = run.recipe.source, run.recipe.generate
    if run.source is not None or source is None or source.path is None or config is None:
        return None
    path = run.recipe.folder / Path(source.path).expanduser()
    return fingerprint_of(path, source.model_dump(mode="json"), config.existing)
