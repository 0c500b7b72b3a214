"""Pairs of responses in Argilla: a record shows the prompt, response A and response B, and asks which is better. Nothing of what models said is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from dprm_data.core.text import cut
from dprm_data.elicit.side_by_side import answer_space
from dprm_data.review.argilla_schema import DESCRIPTION, GUIDELINES, chat
from dprm_data.review.sent_log import SentLog
from dprm_data.review.shown_pairs import ShownPair, choose_pairs, pair_records, response_text

if TYPE_CHECKING:
    import argilla

    from dprm_data.runs.run import Run


class PairsForArgilla:
    """The pairs of a run, as `argilla.push` takes them."""

    blind = True

    def __init__(self, run: Run, *, purpose: str, seed: int, ids: Sequence[str], markdown: bool) -> None:
        self._run, self._markdown = run, markdown
        self._choice: dict[str, Any] = {"purpose": purpose, "seed": seed, "ids": ids}
        self._items = set(pq.read_table(run.folder.needs("items"), columns=["item_id"])["item_id"].to_pylist())

    def settings(self, people: int) -> argilla.Settings:
        import argilla as rg

        asked = self._run.recipe.compare
        labels = {label.name: label.said for label in reversed(answer_space(asked.steps).labels)}
        criterion = asked.criterion.strip()
        return rg.Settings(
            guidelines=cut(
                f"Read the conversation and the two responses to it, A and B. Then say: **{criterion}**\n\n"
                "Both are to be read in full. Which of them is A was drawn by lot.",
                GUIDELINES,
            ),
            fields=[
                rg.ChatField("conversation", title="Conversation", use_markdown=self._markdown),
                rg.TextField("first", title="Response A", use_markdown=self._markdown),
                rg.TextField("second", title="Response B", use_markdown=self._markdown),
            ],
            questions=[
                rg.LabelQuestion(
                    "label",
                    title=cut(criterion, DESCRIPTION),
                    labels=labels,
                    visible_labels=len(labels) if len(labels) >= 3 else None,
                ),
                rg.TextQuestion("comment", title="Why? (if you like)", required=False),
            ],
            metadata=[rg.TermsMetadataProperty("chosen_as", title="chosen as", visible_for_annotators=False)],
            distribution=rg.TaskDistribution(min_submitted=people),
        )

    def knows(self, external_id: str) -> bool:
        pair = ShownPair.of(external_id)
        return pair is not None and pair.sides <= self._items

    def choose(self, count: int, people: int, ours: Sequence[str], log: SentLog) -> list[str]:
        already = [pair for key in ours if (pair := ShownPair.of(key))]
        chosen = choose_pairs(
            self._run,
            self._choice["purpose"],
            count,
            seed=self._choice["seed"],
            ids=self._choice["ids"],
            already=already,
        )
        log.chosen |= {pair.key: (self._choice["purpose"], 1.0) for pair in chosen}
        return [pair.key for pair in chosen]

    def payloads(self, keys: Sequence[str], question: str, purposes: dict[str, str]) -> Iterator[dict[str, Any]]:
        pairs = [pair for key in dict.fromkeys(keys) if (pair := ShownPair.of(key))]
        for record in pair_records(self._run, pairs):
            yield {
                "external_id": record.pair.key,
                "fields": {
                    "conversation": chat(record.prompt),
                    "first": response_text(record.first) or "(empty)",
                    "second": response_text(record.second) or "(empty)",
                },
                "metadata": {"chosen_as": purposes.get(record.pair.key, "ids")},
                "suggestions": [],
            }
