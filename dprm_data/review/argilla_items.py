"""Items in Argilla: a record is a prompt with one response, to be labelled, with what the panel said beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from dprm_data.review.argilla_schema import payload, settings
from dprm_data.review.open_pairs import best_order
from dprm_data.review.records import panel_view, records
from dprm_data.review.selection import select
from dprm_data.review.sent_log import SentLog

if TYPE_CHECKING:
    import argilla

    from dprm_data.runs.run import Run


class ItemsForArgilla:
    """The items of a run, as `argilla.push` takes them. blind: hide the panel's answers and figures."""

    def __init__(self, run: Run, *, purpose: str, seed: int, ids: Sequence[str], markdown: bool, blind: bool) -> None:
        self.blind = blind
        self._run, self._purpose, self._markdown = run, purpose, markdown
        self._panel = panel_view(run, blind=blind)
        self._rows = self._panel.row_of()
        self._select = partial(select, self._panel.fit, purpose, seed=seed, ids=ids)

    def settings(self, people: int) -> argilla.Settings:
        return settings(self._run.space, people=people, blind=self.blind, markdown=self._markdown)

    def knows(self, external_id: str) -> bool:
        return external_id in self._rows

    def choose(self, count: int, people: int, ours: Sequence[str], log: SentLog) -> list[str]:
        best = partial(best_order, self._run, self._panel, purpose=self._purpose, each=people)
        chosen, item_ids = self._select(count, already=ours, best=best), self._panel.fit.votes.item_ids
        log.add(chosen, item_ids)
        return [item_ids[int(row)] for row in chosen.rows]

    def payloads(self, keys: Sequence[str], question: str, purposes: dict[str, str]) -> Iterator[dict[str, Any]]:
        for record in records(self._run, self._panel, keys, purposes):
            yield payload(record, self._panel.agent, question, blind=self.blind)
