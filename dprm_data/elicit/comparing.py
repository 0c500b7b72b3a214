"""What all elicitations have in common that show several responses to one prompt: which ones are shown together, by what they are compared, and which comparisons follow from an answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dprm_data.elicit.choice import Choice
from dprm_data.elicit.elicitation import Prefix, Question
from dprm_data.elicit.template import fence
from dprm_data.ingest.items import Item
from dprm_data.recipe.comparisons_config import CRITERION


@dataclass(frozen=True)
class Comparing(Choice):
    """Asks about items that hold several responses. Its labels are no categories of a response.

    compare_settings: the keys of the recipe's `compare` that mean something here.
    """

    compares: ClassVar[bool] = True
    several: ClassVar[bool] = False  # whether more than one comparison follows from an answer
    compare_settings: ClassVar[frozenset[str]] = frozenset({"criterion"})

    criterion: str = CRITERION

    @classmethod
    def shown_together(cls, items: Iterable[Item], groups: Iterable[str], recipe: Any) -> Iterator[Item]:
        """What is asked about, as items; groups: of all items."""
        raise NotImplementedError(f"{cls.__name__}.shown_together")

    @classmethod
    def said_of(cls, shown: int) -> str:
        """So many of these items, in words."""
        raise NotImplementedError(f"{cls.__name__}.said_of")

    @property
    def steps(self) -> int:
        """Of a comparison: 2 has no tie."""
        return self.space.K

    def comparisons(self, shown: Mapping[str, Any], label: str | None) -> list[tuple[str, str, int | None]]:
        """The comparisons that follow from an answer: the ids of the first and the second, in the order in which they were shown, and by how many steps the first is better; None where there is no answer.

        shown: the item's metadata; label: the answer's."""
        raise NotImplementedError(f"{type(self).__name__}.comparisons")

    def responses(self, item: Item) -> Sequence[Item]:
        """The responses that the item holds, in the order in which they are shown."""
        raise NotImplementedError(f"{type(self).__name__}.responses")

    def texts_for(self, responses: list[str]) -> dict[str, Any]:
        """The responses' texts by the names that the block `item` of the template has for them."""
        return {"responses": responses}

    def open(self, item: Item) -> Prefix:
        read = [self.texts(each) for each in self.responses(item)]
        prompt, responses = read[0][0], [response for _, response in read]
        mark = fence(item.item_id, [*responses, *(f"{message['role']}\n{message['content']}" for message in prompt)])
        values = {"prompt": prompt, "fence": mark} | self.texts_for(responses)
        system = self.template.render("system", {"labels": self.labels, "criterion": self.criterion.strip()})
        return Prefix(item, system, self.template.render("item", values), mark)

    def values(self, question: Question) -> dict[str, Any]:
        return super().values(question) | {"criterion": self.criterion.strip()}
