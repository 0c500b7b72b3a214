"""compare: one question about two responses to one prompt: which is better, in two, three or seven steps; the answer is one of them as JSON.

An item is a pair in one order (`ingest/item_pairs.py`), and both orders are items: an annotator is asked both ways, or half of the panel each way. The two orders of a pair draw the same annotators.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dprm_data.elicit.comparing import Comparing
from dprm_data.elicit.elicitation import Outcome, Question, elicitation
from dprm_data.elicit.parsing import Unreadable
from dprm_data.ingest.item_pairs import paired, sides_of, unordered
from dprm_data.ingest.items import Item
from dprm_data.labels.space import LabelSpace
from dprm_data.panel.personas import Persona

# What is said, from the second response's side to the first's; without the tie for two steps.
_WORDS = {
    3: ("B is better", "neither is better", "A is better"),
    7: (
        *("B is much better", "B is better", "B is slightly better", "neither is better"),
        *("A is slightly better", "A is better", "A is much better"),
    ),
}
_BARE = {"a": 1, "b": -1, "response a": 1, "response b": -1, "tie": 0, "neither": 0, "same": 0}


def answer_space(steps: int) -> LabelSpace:
    """The answers, from the second's side to the first's. The reward of an answer is its preference."""
    words = _WORDS[7 if steps == 7 else 3]
    most = len(words) // 2
    labels = [
        {"name": word.replace(" ", "_"), "words": word, "reward": preference}
        for preference, word in zip(range(-most, most + 1), words, strict=True)
        if preference or steps > 2
    ]
    return LabelSpace.model_validate({"name": f"compare-{steps}", "labels": labels})


@dataclass(frozen=True)
@elicitation("compare")
class SideBySide(Comparing):
    prompt = "compare"
    rationale_prompt = "compare"
    compare_settings: ClassVar[frozenset[str]] = frozenset({"pairs", "budget", "steps", "orders", "criterion"})

    orders: str = "both"

    @classmethod
    def settings(cls, recipe: Any) -> dict[str, Any]:
        asked = recipe.compare
        return {"space": answer_space(asked.steps), "criterion": asked.criterion, "orders": asked.orders}

    @classmethod
    def shown_together(cls, items: Iterable[Item], groups: Iterable[str], recipe: Any) -> Iterator[Item]:
        return paired(items, groups, recipe.compare.pairs, recipe.seed)

    @classmethod
    def said_of(cls, shown: int) -> str:
        return f"{shown // 2:,} pairs of responses, each shown both ways round"

    @property
    def identity(self) -> dict[str, Any]:
        return {"criterion": self.criterion, "orders": self.orders}

    @property
    def part_asked(self) -> float:
        return 1.0 if self.orders == "both" else 0.5

    def drawn_by(self, item: Item) -> str:
        return unordered(item)

    def answering(self, item: Item, personas: Sequence[Persona]) -> Sequence[Persona]:
        if self.orders == "both":
            return personas
        turn = int(unordered(item), 16) % 2  # which half begins differs from pair to pair
        first, second = item.metadata["first"], item.metadata["second"]
        return personas[(turn + (first < second)) % 2 :: 2] if first != second else personas

    def responses(self, item: Item) -> Sequence[Item]:
        return sides_of(item)

    def texts_for(self, responses: list[str]) -> dict[str, Any]:
        return {"first": responses[0], "second": responses[1]}

    def comparisons(self, shown: Mapping[str, Any], label: str | None) -> list[tuple[str, str, int | None]]:
        preference = None if label is None else int(self.space.rewards[self.space.names.index(label)])
        return [(shown["first"], shown["second"], preference)]

    def questions(self, shuffle: Any) -> tuple[Question, ...]:
        """The answers are listed from one side to the other; which side begins is drawn."""
        order = range(self.space.K) if shuffle.random() < 0.5 else range(self.space.K - 1, -1, -1)
        return (Question(tuple(order)),)

    def read(self, text: str) -> Outcome:
        try:
            return super().read(text)
        except Unreadable:
            said = _BARE.get(text.strip().strip("\"'.` ").casefold())
            rewards = self.space.rewards.tolist()
            if said is None or said not in rewards:
                raise
            return Outcome("ok", label=rewards.index(said))
