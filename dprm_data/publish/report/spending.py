"""Spending: what every annotator's calls cost in tokens, read from the ledger by replaying the work. No call is made."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dprm_data.core.errors import DprmError
from dprm_data.engine.replay import replay
from dprm_data.ingest.items import load_items
from dprm_data.providers.request import Usage

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

MOST_ANNOTATIONS = 20_000  # replayed; of larger runs the first items stand for all


@dataclass
class Spent:
    """calls: answered, with those that asked again; reasked: annotations that needed more calls than they should."""

    calls: int = 0
    reasked: int = 0
    usage: Usage = field(default_factory=Usage)

    @property
    def cached_share(self) -> float | None:
        """Of the input tokens: those read from the provider's cache."""
        return self.usage.cached_tokens / self.usage.input_tokens if self.usage.input_tokens else None


@dataclass(frozen=True)
class Spending:
    """by: annotator. items: of `of` that were looked at. failed: attempts that failed and were tried again, by kind."""

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


def spending(run: Run, items: int) -> Spending | None:
    """Of a run with so many items; None where there is no ledger (as in a pulled dataset)."""
    look_at = max(1, min(items, MOST_ANNOTATIONS // max(run.work.annotations_per_item, 1)))
    by: dict[str, Spent] = {}
    try:
        with run.ledger(readonly=True) as ledger:
            some = itertools.islice(load_items(run.folder.needs("items")), look_at)
            for _, states in replay(run.work, ledger, some):
                for state in states:
                    spent = by.setdefault(state.task.annotator.id, Spent())
                    spent.calls += len(state.replies)
                    spent.reasked += len(state.replies) > len(state.task.questions)
                    for reply in state.replies:
                        spent.usage += reply.usage
            return Spending(by, look_at, items, ledger.failures_by_kind())
    except DprmError:
        return None
