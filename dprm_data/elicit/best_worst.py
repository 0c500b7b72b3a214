"""best_worst: one question about a set of up to four responses to one prompt: which is the best and which is the worst; the answer names both as JSON.

From an answer about four follow five comparisons without a tie: the best is better than the three others, and the two in the middle are better than the worst. An item is a set in one order (`ingest/item_sets.py`).
Each annotator sees a set in one of its orders.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, permutations
from typing import Any, ClassVar

from dprm_data.elicit.comparing import Comparing
from dprm_data.elicit.elicitation import Outcome, Prefix, Question, Task, elicitation, object_schema
from dprm_data.elicit.parsing import Unreadable, json_object, shortened
from dprm_data.ingest.item_sets import LARGEST, ORDERS, in_any_order, responses_of, sets_of
from dprm_data.ingest.items import Item
from dprm_data.labels.space import LabelSpace
from dprm_data.panel.personas import Persona

_LETTERS = "ABCD"
_ANSWERS = tuple(permutations(_LETTERS, 2))  # the best and the worst
_SPACE = LabelSpace.model_validate(
    {
        "name": "best-worst",
        "labels": [{"name": f"{best}_best_{worst}_worst", "reward": 0.0} for best, worst in _ANSWERS],
    }
)


@dataclass(frozen=True)
@elicitation("best_worst")
class BestWorst(Comparing):
    """size: of the set that is asked about."""

    prompt = "best-worst"
    rationale_prompt = "best-worst"
    gives = "the best and the worst response"
    compare_settings: ClassVar[frozenset[str]] = frozenset({"sets", "criterion"})
    several: ClassVar[bool] = True
    part_asked = 1 / ORDERS
    steps = 2
    answers: ClassVar[LabelSpace] = _SPACE

    size: int = LARGEST

    @classmethod
    def settings(cls, recipe: Any) -> dict[str, Any]:
        return {"space": cls.answers, "criterion": recipe.compare.criterion}

    @classmethod
    def shown_together(cls, items: Iterable[Item], groups: Iterable[str], recipe: Any) -> Iterator[Item]:
        return sets_of(items, groups, recipe.compare.sets, recipe.seed)

    @classmethod
    def said_of(cls, shown: int) -> str:
        sets = shown // ORDERS
        return f"{sets:,} set{'s' if sets != 1 else ''} of responses, each shown in {ORDERS} orders"

    @property
    def identity(self) -> dict[str, Any]:
        return {"criterion": self.criterion}

    def drawn_by(self, item: Item) -> str:
        return in_any_order(item)

    def answering(self, item: Item, personas: Sequence[Persona]) -> Sequence[Persona]:
        begins = int(in_any_order(item), 16)  # which quarter sees the first order differs from set to set
        return personas[(begins + item.metadata["turn"]) % ORDERS :: ORDERS]

    def responses(self, item: Item) -> Sequence[Item]:
        return responses_of(item)

    def texts_for(self, responses: list[str]) -> dict[str, Any]:
        return {"responses": [{"name": name, "text": text} for name, text in zip(_LETTERS, responses, strict=False)]}

    def task(self, prefix: Prefix, annotator: Persona, replicate: int) -> Task:
        of_size = self._of_size[len(prefix.item.metadata["responses"])]
        return Task(of_size, prefix, annotator, replicate, (Question(()),))

    @cached_property
    def _of_size(self) -> dict[int, BestWorst]:
        return {size: replace(self, size=size) for size in range(2, LARGEST + 1)}

    @property
    def letters(self) -> str:
        """The names of the responses, in the order in which they are shown."""
        return _LETTERS[: self.size]

    def values(self, question: Question) -> dict[str, Any]:
        return super().values(question) | {"names": list(self.letters)}

    def schema(self) -> dict[str, Any]:
        name = {"type": "string", "enum": list(self.letters)}
        return object_schema({"best": name, "worst": name} | ({"why": {"type": "string"}} if self.rationale else {}))

    def read(self, text: str) -> Outcome:
        said = json_object(text)
        best, worst = (self._letter(said, name) for name in ("best", "worst"))
        if best == worst:
            raise Unreadable(f"{best} cannot be both the best and the worst")
        why = said.get("why")
        return Outcome("ok", label=_ANSWERS.index((best, worst)), rationale=why if isinstance(why, str) else "")

    def _letter(self, said: Mapping[str, object], name: str) -> str:
        value = said.get(name)
        if not isinstance(value, str):
            raise Unreadable(f'there is no "{name}"')
        letter = value.strip().strip("\"'.` ").upper().removeprefix("RESPONSE ")
        if len(letter) != 1 or letter not in self.letters:
            raise Unreadable(f"{shortened(value)} is none of {', '.join(self.letters)}")
        return letter

    def comparisons(self, shown: Mapping[str, Any], label: str | None) -> list[tuple[str, str, int | None]]:
        ids = shown["responses"]
        if label is None:
            return [(ids[0], ids[1], None)]
        best, worst = map(_LETTERS.index, _ANSWERS[_SPACE.names.index(label)])
        pairs = combinations(range(len(ids)), 2)
        return [(ids[a], ids[b], 1 if a == best or b == worst else -1) for a, b in pairs if {a, b} & {best, worst}]
