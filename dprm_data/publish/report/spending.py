"""Spending: the tokens of every annotator's calls, from a replay of the ledger. No call is made."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from dprm_data.core.errors import DprmError
from dprm_data.engine.replay import replay
from dprm_data.ingest.items import load_items
from dprm_data.providers.request import Usage

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

MOST_ANNOTATIONS = 20_000  # to replay; in larger runs the first items represent all


@dataclass
class Spent:
    """calls: all that were answered, re-asks included; reasked: annotations that needed a re-ask."""

    calls: int = 0
    reasked: int = 0
    usage: Usage = field(default_factory=Usage)

    @property
    def cached_share(self) -> float | None:
        """The share of input tokens read from the provider's cache."""
        return self.usage.cached_tokens / self.usage.input_tokens if self.usage.input_tokens else None


@dataclass(frozen=True)
class Spending:
    """by: annotator. items: how many of `of` were replayed. failed: attempts that failed, by kind."""

    by: dict[str, Spent]
    items: int
    of: int
    failed: dict[str, int]

    @property
    def total(self) -> Spent:
        total = Spent()
        for spent in self.by.values():
            total.calls += spent.calls
            total.reasked += spent.reasked
            total.usage += spent.usage
        return total


def spending(run: Run) -> Spending | None:
    """The spending of a run; None if it has no ledger (as a pulled dataset)."""
    if not run.asks_models:
        return None
    by: dict[str, Spent] = {}
    try:
        items = pq.read_metadata(run.asked_items).num_rows
        replayed = max(1, min(items, MOST_ANNOTATIONS // max(run.work.annotations_per_item, 1)))
        with run.ledger(readonly=True) as ledger:
            some = itertools.islice(load_items(run.asked_items), replayed)
            for _, states in replay(run.work, ledger, some):
                for state in states:
                    spent = by.setdefault(state.task.annotator.id, Spent())
                    spent.calls += len(state.replies)
                    spent.reasked += len(state.replies) > len(state.task.questions)
                    for reply in state.replies:
                        spent.usage += reply.usage
            return Spending(by, replayed, items, ledger.failures_by_kind())
    except DprmError:
        return None
