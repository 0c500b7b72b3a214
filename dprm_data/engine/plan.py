"""The plan: what a run will be, before it is paid for.

Small runs are counted call by call. Large ones are counted on a sample of items, spread evenly over the file, and scaled up; the plan says
so, with the standard error. Tokens are estimated from characters, and corrected by real usages where the ledger has some.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dprm_data.elicit.work import Work
from dprm_data.engine.costs import Prices
from dprm_data.engine.replay import TaskState, advance, replay
from dprm_data.ingest.items import Item, items_of
from dprm_data.ledger.call import Call, Reply
from dprm_data.ledger.ledger import Ledger
from dprm_data.providers.request import Usage
from dprm_data.providers.token_estimates import estimated_input_tokens

_EXACT = 20_000  # annotations up to which every call is looked at
_SAMPLE = 400  # items looked at otherwise
_ENOUGH_REAL = 10  # real answers that are needed to correct an estimate


@dataclass(frozen=True)
class Plan:
    """A run's size and price. Dollars are None where no price is known.

    calls_known are in the ledger and cost nothing; calls_needed will be made. cost is what is expected, cost_at_most the worst case of every
    call (a token per byte of input, all output tokens used, nothing cached), without re-asks. sample: items that were looked at; error:
    relative standard error of the scaled figures (0 where all were looked at). corrected_by: real answers that the estimate of tokens
    rests on (0: four characters are taken for a token).
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

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def make_plan(work: Work, items_file: Path, prices: Prices, ledger: Ledger | None) -> Plan:
    """Count what is missing. `ledger` is None where there is none yet. Makes no call."""
    with pq.ParquetFile(items_file) as file:
        total = file.metadata.num_rows
        exact = total * work.annotations_per_item <= _EXACT
        sample = list(items_of(file.read()) if exact else _spread(file, _SAMPLE))
    shares = [_Share(prices).count(states) for states in _states(work, sample, ledger)]
    calibration = _Share(prices).count(_calibration(work, ledger))
    spent = ledger.spent() if ledger else 0.0
    figures = np.array([share.figures() for share in shares])
    scale = total / len(sample)
    known, needed, input_tokens, output_tokens, cost, at_most, real, estimated, answers = figures.sum(axis=0)
    correction = real / estimated if answers >= _ENOUGH_REAL and estimated else 1.0
    here = np.array(calibration.figures())
    expected_cost = (cost * correction if prices.known else math.nan) * scale + here[4]
    return Plan(
        items=total,
        annotators=work.annotations_per_item,
        annotations=total * work.annotations_per_item,
        calls_known=round(known * scale + here[0]),
        calls_needed=round(needed * scale + here[1]),
        input_tokens=round(input_tokens * correction * scale + here[2]),
        output_tokens=round(output_tokens * scale + here[3]),
        cost=expected_cost if prices.known else None,
        cost_at_most=at_most * scale + here[5] if prices.known else None,
        spent=spent,
        prices=prices.source,
        sample=len(sample),
        error=0.0 if exact else _relative_error(figures[:, 2]),
        corrected_by=int(answers) if answers >= _ENOUGH_REAL else 0,
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

    def count(self, states: list[TaskState]) -> _Share:
        for state in states:
            self._known += len(state.replies)
            for call, reply in zip(state.calls, state.replies, strict=True):
                self._learn(call, reply)
            if state.waits_for:
                # Further questions of the same task are about as long as the one that comes next.
                missing = max(1, len(state.task.questions) - len(state.replies))
                self._expect(state, state.waits_for, missing)
        return self

    def _learn(self, call: Call, reply: Reply) -> None:
        if reply.status == "answered" and reply.usage.input_tokens and not reply.usage.estimated:
            self._answers += 1
            self._real += reply.usage.input_tokens
            self._estimated += estimated_input_tokens(call.request)

    def _expect(self, state: TaskState, call: Call, count: int) -> None:
        output = state.task.elicitation.expected_tokens
        output = min(output, float(call.request.params.get("max_tokens", output)))
        given = estimated_input_tokens(call.request)
        self._needed += count
        self._input += count * given
        self._output += count * output
        self._cost += count * (self._prices.cost(Usage(input_tokens=round(given), output_tokens=round(output))) or 0.0)
        self._at_most += count * (self._prices.worst(call.request) or 0.0)


def _states(work: Work, items: list[Item], ledger: Ledger | None) -> Iterator[list[TaskState]]:
    if ledger:
        yield from (list(states) for _, states in replay(work, ledger, items))
    else:
        yield from ([TaskState.start(task) for task in work.tasks(item)] for item in items)


def _calibration(work: Work, ledger: Ledger | None) -> list[TaskState]:
    tasks = work.calibration_tasks()
    return advance(tasks, ledger) if ledger else [TaskState.start(task) for task in tasks]


def _spread(file: pq.ParquetFile, count: int) -> Iterator[Item]:
    """About `count` items, evenly spread over at most eight row groups that are evenly spread over the file."""
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
