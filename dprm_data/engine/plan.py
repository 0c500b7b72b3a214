"""The plan: the size and the price of a run, before anything is paid for.

Small runs are counted call by call. Large runs are counted on a sample of items, spread evenly over the file, and scaled up; the plan
gives the standard error. Tokens are estimated from characters, and corrected by reported usages where the ledger has enough of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dprm_data.elicit.work import Work
from dprm_data.engine.prices import Prices
from dprm_data.engine.replay import TaskState, advance, replay
from dprm_data.ingest.items import Item, items_of
from dprm_data.ledger.call import Call, Reply
from dprm_data.ledger.ledger import Ledger
from dprm_data.providers.request import Usage
from dprm_data.providers.token_estimates import estimated_input_tokens

_EXACT = 20_000  # up to this many annotations, every call is counted
_SAMPLE = 400  # items counted otherwise
_MIN_ANSWERS = 10  # reported usages needed to correct the estimate


@dataclass(frozen=True)
class Plan:
    """A run's size and price. Dollars are None if no price is known.

    calls_known are in the ledger and cost nothing; calls_needed will be made. cost is the expected cost, cost_at_most the worst case of
    every call (a token per byte of input, all output tokens used, nothing cached), without re-asks. sample: items counted; error: relative
    standard error of the scaled figures (0 if all items were counted). corrected_by: answers whose reported tokens correct the estimate
    (0: uncorrected, at four characters per token). models: each model's plan by its id, where there are several (`jury_plan`).
    """

    items: int
    annotators: int
    annotations: int
    calls_known: int
    calls_needed: int
    input_tokens: int
    output_tokens: int
    cost: float | None
    cost_at_most: float | None
    spent: float
    prices: str
    sample: int
    error: float
    corrected_by: int
    models: dict[str, Plan] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def make_plan(work: Work, items_file: Path, prices: Prices, ledger: Ledger | None) -> Plan:
    """Count the missing calls. Makes none. ledger: None if the run has none yet."""
    with pq.ParquetFile(items_file) as file:
        total = file.metadata.num_rows
        exact = total * work.annotations_per_item <= _EXACT
        sample = list(items_of(file.read()) if exact else _spread(file, _SAMPLE))
    shares = [_Share(prices).count(tasks) for tasks in _tasks(work, sample, ledger)]
    calibration = _Share(prices).count(_calibration(work, ledger))
    spent = ledger.spent() if ledger else 0.0
    figures = np.array([share.figures() for share in shares])
    scale = total / len(sample)
    known, needed, input_tokens, output_tokens, cost, at_most, real, estimated, answers = figures.sum(axis=0)
    correction = real / estimated if answers >= _MIN_ANSWERS and estimated else 1.0
    once = np.array(calibration.figures())
    expected_cost = (cost * correction if prices.known else math.nan) * scale + once[4]
    return Plan(
        items=total,
        annotators=work.annotations_per_item,
        annotations=total * work.annotations_per_item,
        calls_known=round(known * scale + once[0]),
        calls_needed=round(needed * scale + once[1]),
        input_tokens=round(input_tokens * correction * scale + once[2]),
        output_tokens=round(output_tokens * scale + once[3]),
        cost=expected_cost if prices.known else None,
        cost_at_most=at_most * scale + once[5] if prices.known else None,
        spent=spent,
        prices=prices.source,
        sample=len(sample),
        error=0.0 if exact else _relative_error(figures[:, 2]),
        corrected_by=int(answers) if answers >= _MIN_ANSWERS else 0,
    )


class _Share:
    """One item's share of the plan."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._known = self._needed = 0
        self._input = self._output = self._cost = self._at_most = 0.0
        self._real = self._estimated = 0.0
        self._answers = 0

    def figures(self) -> tuple[float, ...]:
        return (
            self._known,
            self._needed,
            self._input,
            self._output,
            self._cost,
            self._at_most,
            self._real,
            self._estimated,
            self._answers,
        )

    def count(self, tasks: list[TaskState]) -> _Share:
        for task in tasks:
            self._known += len(task.replies)
            for call, reply in zip(task.calls, task.replies, strict=True):
                self._compare(call, reply)
            if task.next_call:
                # Further questions of the same task are about as long as the next one.
                missing = max(1, len(task.task.questions) - len(task.replies))
                self._expect(task, task.next_call, missing)
        return self

    def _compare(self, call: Call, reply: Reply) -> None:
        """Compare reported and estimated input tokens."""
        if reply.status == "answered" and reply.usage.input_tokens and not reply.usage.estimated:
            self._answers += 1
            self._real += reply.usage.input_tokens
            self._estimated += estimated_input_tokens(call.request)

    def _expect(self, task: TaskState, call: Call, count: int) -> None:
        output = task.task.elicitation.expected_tokens
        output = min(output, float(call.request.params.get("max_tokens", output)))
        tokens = estimated_input_tokens(call.request)
        self._needed += count
        self._input += count * tokens
        self._output += count * output
        self._cost += count * (self._prices.cost(Usage(input_tokens=round(tokens), output_tokens=round(output))) or 0.0)
        self._at_most += count * (self._prices.worst(call.request) or 0.0)


def _tasks(work: Work, items: list[Item], ledger: Ledger | None) -> Iterator[list[TaskState]]:
    if ledger:
        yield from (list(tasks) for _, tasks in replay(work, ledger, items))
    else:
        yield from ([TaskState.start(task) for task in work.tasks(item)] for item in items)


def _calibration(work: Work, ledger: Ledger | None) -> list[TaskState]:
    tasks = work.calibration_tasks()
    return advance(tasks, ledger) if ledger else [TaskState.start(task) for task in tasks]


def _spread(file: pq.ParquetFile, count: int) -> Iterator[Item]:
    """About `count` items, evenly spaced in up to eight row groups, which are evenly spaced in the file."""
    groups = np.unique(np.linspace(0, file.num_row_groups - 1, min(8, file.num_row_groups)).astype(int))
    for group in groups:
        table = file.read_row_group(int(group))
        rows = np.unique(
            np.linspace(0, table.num_rows - 1, min(math.ceil(count / len(groups)), table.num_rows)).astype(int)
        )
        yield from items_of(table.take(rows))


def _relative_error(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    mean = float(values.mean())
    return float(values.std(ddof=1) / math.sqrt(len(values)) / mean) if mean and len(values) > 1 else 0.0
