"""What came of a generation: a row for every response (`tables.RESPONSES`), and the items made of those that can be rated."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core import tables
from dprm_data.core.conversation import Messages
from dprm_data.core.failure_reasons import grouped
from dprm_data.elicit.elicitation import Outcome
from dprm_data.elicit.generation import GenerationTask, GenerationWork, responses_in
from dprm_data.engine.replay import TaskState, replay
from dprm_data.ingest.alike import DistinctTexts
from dprm_data.ingest.items import Item, Role, ids_of, load_items
from dprm_data.ledger.call import Reply
from dprm_data.ledger.ledger import Ledger
from dprm_data.recipe.generate_config import GenerateConfig

_ROWS = 2_000  # of one batch
_MOST_REASONS = 5


@dataclass
class Generated:
    """Counts of a generation. complete: every call has ended; single: prompts with one response that can be rated; without: with none; cost: dollars,
    None if a price is not known."""

    prompts: int = 0
    given: int = 0  # responses that the source has
    responses: int = 0
    status: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)  # responses that can be rated, by model
    reasons: Counter[str] = field(default_factory=Counter)
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = 0.0
    single: int = 0
    without: int = 0
    complete: bool = True

    def as_dict(self) -> dict[str, Any]:
        found = {name: dict(part) if isinstance(part, Counter) else part for name, part in vars(self).items()}
        return found | {"reasons": grouped(self.reasons, _MOST_REASONS)}


def write_responses(work: GenerationWork, ledger: Ledger, prompts_file: Path, out: Path) -> Generated:
    """Write what the ledger has of the generation, in the prompts' order. Makes no call."""
    found = Generated()
    batches = _batches(_rows(work, ledger, load_items(prompts_file), found))
    tables.write_parquet(out, tables.RESPONSES, batches)
    return found


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    while batch := list(itertools.islice(rows, _ROWS)):
        yield pa.RecordBatch.from_pylist(batch, schema=tables.RESPONSES)


def _rows(work: GenerationWork, ledger: Ledger, prompts: Iterable[Item], found: Generated) -> Iterator[dict[str, Any]]:
    group, distinct = "", DistinctTexts()
    for item, states in replay(work, ledger, prompts):
        if item.group_id != group:
            group, distinct = item.group_id, DistinctTexts()
        if item.completion:
            found.given += 1
            distinct.add(item.item_id, item.completion[-1]["content"])
            continue
        rows = [row for state in states for row in _of_call(item, state, distinct)]
        _count(found, rows, sum(state.outcome is None for state in states))
        yield from rows


def _count(found: Generated, rows: list[dict[str, Any]], missing: int) -> None:
    """Add the rows of a prompt, of which so many calls have not ended."""
    found.prompts += 1
    found.responses += len(rows)
    found.complete = found.complete and not missing
    usable = [row for row in rows if row["status"] == "ok"]
    found.single += len(usable) == 1 and not missing
    found.without += not usable and not missing
    for row in rows:
        found.status[row["status"]] += 1
        found.input_tokens += row["input_tokens"]
        found.output_tokens += row["output_tokens"]
        found.cost = None if found.cost is None or row["cost"] is None else found.cost + row["cost"]
        if row["status"] == "ok":
            found.models[row["model_id"]] += 1
        elif not row.get("duplicate_of"):
            found.reasons[f"{row['status']}: {row['reason']}"] += 1


def _of_call(item: Item, state: TaskState, distinct: DistinctTexts) -> Iterator[dict[str, Any]]:
    """The rows of one call: one for each response that it was asked for; none while it has no outcome."""
    outcome, task = state.outcome, state.task
    assert isinstance(task, GenerationTask)
    if outcome is None:
        return
    count = task.draw.count
    shared = _shared(state, count)
    texts = responses_in(state.replies[-1].text, count) if outcome.status == "ok" else []
    for place in range(count):
        row = shared[place] | _told(item, task, place)
        if place < len(texts):
            yield row | _response(item, texts[place], distinct)
        elif outcome.status == "ok":
            yield row | {"status": "missing", "reason": f"asked for {count} responses, and {len(texts)} came"}
        else:
            yield row | _failed(outcome, state.replies[-1])


def _told(item: Item, task: GenerationTask, place: int) -> dict[str, Any]:
    """Whose response to what it is, and what the model was told."""
    draw = task.draw
    return {
        "group_id": item.group_id,
        "prompt": [{"role": turn["role"], "content": turn["content"]} for turn in item.prompt],
        "model_id": draw.model_id,
        "temperature": draw.temperature,
        "system": draw.system or None,
        "principle": draw.principle or None,
        "sample": draw.sample,
        "place": place,
        "source": item.source,
        "source_id": item.source_id,
    }


def _shared(state: TaskState, count: int) -> list[dict[str, Any]]:
    """What the responses of a call have in common; its tokens and dollars are shared out over them."""
    last, answered = state.replies[-1], [reply for reply in state.replies if reply.status == "answered"]
    costs = [reply.cost for reply in answered]
    cost = None if None in costs else sum(each or 0.0 for each in costs) / count
    read = _share_out(sum(reply.usage.input_tokens for reply in answered), count)
    written = _share_out(sum(reply.usage.output_tokens for reply in answered), count)
    common = {
        "model": last.model or state.task.elicitation.model,
        "finish": last.finish if last.status == "answered" else None,
        "cost": cost,
        "call_key": state.calls[-1].key.hex(),
        "created_at": datetime.fromtimestamp(last.created_at, UTC),
    }
    return [common | {"input_tokens": read[i], "output_tokens": written[i]} for i in range(count)]


def _share_out(tokens: int, count: int) -> list[int]:
    return [tokens // count + (i < tokens % count) for i in range(count)]


def _response(item: Item, text: str, distinct: DistinctTexts) -> dict[str, Any]:
    item_id, _ = ids_of(item.prompt, response_of(text))
    like = distinct.add(item_id, text)
    if like is None:
        return {"response": text, "status": "ok", "item_id": item_id}
    status, other = like
    equals = "equals" if status == "duplicate" else "nearly equals"
    return {"response": text, "status": status, "reason": f"{equals} {other[:8]}", "duplicate_of": other}


def _failed(outcome: Outcome, last: Reply) -> dict[str, Any]:
    empty = outcome.status == "unparsable" and not last.text.strip()
    text = last.text if outcome.status == "truncated" and last.text.strip() else None
    return {"response": text, "status": "empty" if empty else outcome.status, "reason": outcome.reason or None}


def response_of(text: str) -> Messages:
    """A response as an item has it."""
    return ({"role": "assistant", "content": text},)


# -- items ----------------------------------------------------------------------------------------------------------------


def generated_items(prompts_file: Path, responses_file: Path, config: GenerateConfig) -> Iterator[Item]:
    """The items to be rated, in the prompts' order: the responses that the source has, and those that were generated and are no other's like."""
    roles = _roles(config)
    groups = itertools.groupby(_usable(responses_file), key=lambda row: row["group_id"])
    group, rows = next(groups, (None, iter(())))
    for item in load_items(prompts_file):
        if item.completion:
            yield item
        elif item.group_id == group:
            for row in rows:
                yield Item(
                    row["item_id"],
                    item.prompt,
                    response_of(row["response"]),
                    item.group_id,
                    roles.get(row["model_id"]),
                    item.source,
                    item.metadata,
                    item.source_id,
                    row["model_id"],
                )
            group, rows = next(groups, (None, iter(())))


def _roles(config: GenerateConfig) -> dict[str, Role]:
    """Of a weaker and a stronger model, whose response is chosen by its origin."""
    if config.strategy != "weak_strong":
        return {}
    weak, strong = config.models
    return {weak.id: "rejected", strong.id: "chosen"}


def _usable(responses_file: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(responses_file) as file:
        for batch in file.iter_batches(columns=["group_id", "item_id", "response", "model_id", "status"]):
            yield from (row for row in batch.to_pylist() if row["status"] == "ok")
