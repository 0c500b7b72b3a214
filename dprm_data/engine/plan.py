"""The plan: the size and the price of a run, before anything is paid for.

Small runs are counted call by call. Large runs are counted on a sample of items, spread evenly over the file, and scaled up; the plan
gives the standard error. What a call costs is in `cost_estimates.py`: a guess with a range, which answers in the ledger correct.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.elicit.elicitation import Task
from dprm_data.elicit.work import Work
from dprm_data.engine.cost_estimates import (
    Learned,
    Range,
    Voice,
    expected_output,
    guessed,
    learned_from,
    voice_of,
)
from dprm_data.engine.prices import Prices
from dprm_data.engine.replay import TaskState, advance, replay
from dprm_data.ingest.items import Item, items_of
from dprm_data.ledger.call import Call
from dprm_data.ledger.ledger import Ledger
from dprm_data.providers.token_estimates import estimated_input_tokens

_EXACT = 20_000  # up to this many annotations, every call is counted
_SAMPLE = 400  # items counted otherwise
_QUICK, _FEWEST_QUICK = 300, 4  # annotations counted, and items at least, while a run waits
_BEGINNING = 64  # items of the file's beginning, where answers are to be found first


@dataclass(frozen=True)
class Plan:
    """A run's size and price. Dollars are None if no price is known.

    calls_known are in the ledger and cost nothing; calls_needed will be made, without re-asks. cost is the expected cost, cost_range its
    likely range under `assumptions`. cost_at_most is the worst case of every call (a token per byte of
    input, all output tokens used, nothing cached), without re-asks. sample: items counted; error: relative standard error of the scaled
    figures (0 if all items were counted). corrected_by: answers whose reported tokens correct the estimate (0: it is a guess). models: each model's
    plan by its id, where there are several (`jury_plan`). stages: each stage's plan, where responses are generated first (`pipeline/two_stage_plan`).
    """

    items: int
    annotators: int
    annotations: int
    calls_known: int
    calls_needed: int
    input_tokens: int
    output_tokens: int
    cost: float | None
    cost_range: tuple[float, float] | None
    cost_at_most: float | None
    spent: float
    prices: str
    sample: int
    error: float
    corrected_by: int
    assumptions: tuple[str, ...]
    models: dict[str, Plan] = field(default_factory=dict)
    stages: dict[str, Plan] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def no_calls(items: int) -> Plan:
    """The plan of a run in which no model is asked."""
    return Plan(items, 0, 0, 0, 0, 0, 0, 0.0, (0.0, 0.0), 0.0, 0.0, "", items, 0.0, 0, ())


def make_plan(
    work: Work,
    items_file: Path,
    prices: Prices,
    ledger: Ledger | None,
    *,
    exact: int = _EXACT,
    most_items: int = _SAMPLE,
    learned: Mapping[Voice, Learned] | None = None,
) -> Plan:
    """Count the missing calls. Makes none.

    ledger: None if the run has none yet. exact: up to this many annotations, every call is counted; most_items: items counted otherwise.
    learned: what is known of the answers; default: what the ledger knows.
    """
    with pq.ParquetFile(items_file) as file:
        total = file.metadata.num_rows
        is_exact = total * work.annotations_per_item <= exact
        sample = list(items_of(file.read()) if is_exact else _spread(file, most_items))
        beginning = [] if is_exact or not ledger else _beginning(file)
    states = list(_tasks(work, sample, ledger))
    calibration = _calibration(work, ledger)
    if learned is None:
        seen = {item.item_id for item in sample}
        others = _tasks(work, [item for item in beginning if item.item_id not in seen], ledger)
        learned = learned_from([*others, *states, calibration], prices) if ledger else {}
    learned = {voice: known for voice, known in learned.items() if known.enough}
    whole = _Sum(prices, learned)
    lengths = [whole.count(tasks, weight=total / len(sample)) for tasks in states]
    whole.count(calibration)
    error = 0.0 if is_exact else _relative_error(lengths)
    cost = whole.cost(2 * error)
    return Plan(
        items=total,
        annotators=work.annotations_per_item,
        annotations=work.annotations_of(total),
        calls_known=round(whole.known),
        calls_needed=round(whole.needed),
        input_tokens=round(whole.tokens_in),
        output_tokens=round(whole.tokens_out),
        cost=cost.expected if prices.known else None,
        cost_range=(cost.low, cost.high) if prices.known else None,
        cost_at_most=whole.at_most if prices.known else None,
        spent=ledger.spent() if ledger else 0.0,
        prices=prices.source,
        sample=len(sample),
        error=error,
        corrected_by=sum(known.answers for known in learned.values()),
        assumptions=tuple(_assumptions(whole.voices, learned)),
    )


async def guess_and_correction(
    work: Work, items_file: Path, prices: Prices, learned: Mapping[Voice, Learned]
) -> tuple[Range, Range]:
    """What the whole run costs: as a plan guesses it, and corrected by what was learned. From a few items, while calls are in flight."""
    with pq.ParquetFile(items_file) as file:
        total = file.metadata.num_rows
        sample = list(_spread(file, max(_FEWEST_QUICK, _QUICK // work.annotations_per_item)))
    sums = _Sum(prices, {}), _Sum(prices, learned)
    lengths: list[float] = []
    for item in sample:
        tasks = [TaskState.start(task) for task in work.tasks(item)]
        guessed_length, _ = (whole.count(tasks, weight=total / len(sample)) for whole in sums)
        lengths.append(guessed_length)
        await asyncio.sleep(0)
    error = 2 * _relative_error(lengths)
    return sums[0].cost(error), sums[1].cost(error)


class _Sum:
    """Adds up what is known and what is missing."""

    def __init__(self, prices: Prices, learned: Mapping[Voice, Learned]) -> None:
        self._prices = prices
        self._learned = learned
        self.known = self.needed = self.tokens_in = self.tokens_out = self.at_most = 0.0
        self.voices: dict[Voice, Task] = {}  # one task of each
        self._calls: defaultdict[Voice, float] = defaultdict(float)
        self._dollars: defaultdict[Voice, Range] = defaultdict(Range)

    def count(self, states: Sequence[TaskState], *, weight: float = 1.0) -> float:
        """Add one item's tasks, which stand for so many. Returns the item's missing input tokens."""
        before = self.tokens_in
        for place, state in enumerate(states):
            self.known += weight * len(state.replies)
            if state.next_call:
                self._expect(state, state.next_call, weight, first=place == 0)
        return self.tokens_in - before

    def _expect(self, state: TaskState, call: Call, weight: float, *, first: bool) -> None:
        voice = voice_of(state.task)
        tokens_in, tokens_out = estimated_input_tokens(call.request), expected_output(state.task.elicitation).expected
        if known := self._learned.get(voice):
            tokens_in, tokens_out = tokens_in * known.input_ratio, known.output
            dollars = known.dollars(call, first=first)
        else:
            dollars = guessed(state.task, call, self._prices, first=first)
        # Further questions of the same task are about as long as the next one.
        count = weight * max(1, len(state.task.questions) - len(state.replies))
        self.needed += count
        self.tokens_in += count * tokens_in
        self.tokens_out += count * tokens_out
        self.at_most += count * (self._prices.worst(call.request) or 0.0)
        self.voices.setdefault(voice, state.task)
        self._calls[voice] += count
        self._dollars[voice] += dollars * count

    def cost(self, error: float) -> Range:
        """Dollars. error: relative error of the whole, beside that of what was learned."""
        total = Range()
        for voice, dollars in self._dollars.items():
            known = self._learned.get(voice)
            total += dollars.widened(known.error(self._calls[voice])) if known else dollars
        return total.widened(error)


def _assumptions(voices: Mapping[Voice, Task], learned: Mapping[Voice, Learned]) -> Iterator[str]:
    """What the range rests on: what is guessed for all voices, then one line for each."""
    if voices.keys() - learned.keys():
        yield (
            "input tokens from characters (4 a token in English; the range covers other tokenizers and scripts); low: the input "
            "that an item's calls share is cached; high: one answer in ten is asked for again"
        )
    for voice, task in voices.items():
        name = f"{voice[0]}, {voice[2] or voice[1]}"
        if known := learned.get(voice):
            yield (
                f"{name}: from {known.answers:,} answers, {known.input_ratio:.2f} × the estimated input and {known.output:,.0f} "
                "output tokens a question, with their re-asks and cached input"
            )
        else:
            output = expected_output(task.elicitation)
            yield (
                f"{name}: {output.low:,.0f} to {output.high:,.0f} output tokens an answer, thoughts included "
                f"(expected: {output.expected:,.0f})"
            )


def _tasks(work: Work, items: list[Item], ledger: Ledger | None) -> Iterator[list[TaskState]]:
    if ledger:
        yield from (list(tasks) for _, tasks in replay(work, ledger, items))
    else:
        yield from ([TaskState.start(task) for task in work.tasks(item)] for item in items)


def _calibration(work: Work, ledger: Ledger | None) -> list[TaskState]:
    tasks = work.calibration_tasks()
    return advance(tasks, ledger) if ledger else [TaskState.start(task) for task in tasks]


def _beginning(file: pq.ParquetFile) -> list[Item]:
    """The first items of the file."""
    for batch in file.iter_batches(batch_size=_BEGINNING):
        return list(items_of(pa.Table.from_batches([batch])))
    return []


def _spread(file: pq.ParquetFile, count: int) -> Iterator[Item]:
    """About `count` items, evenly spaced in up to eight row groups, which are evenly spaced in the file."""
    groups = np.unique(np.linspace(0, file.num_row_groups - 1, min(8, file.num_row_groups)).astype(int))
    for group in groups:
        table = file.read_row_group(int(group))
        rows = np.unique(
            np.linspace(0, table.num_rows - 1, min(math.ceil(count / len(groups)), table.num_rows)).astype(int)
        )
        yield from items_of(table.take(rows))


def _relative_error(values: Sequence[float]) -> float:
    found = np.array(values)
    mean = float(found.mean())
    return float(found.std(ddof=1) / math.sqrt(len(found)) / mean) if mean and len(found) > 1 else 0.0
