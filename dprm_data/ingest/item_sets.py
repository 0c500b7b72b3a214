"""Sets of up to four responses as items: what is asked about where an annotator says which response to a prompt is the best and which is the worst.

As with pairs (`ingest/item_pairs.py`), a set in one order is an item. Every set is shown in four orders, each to a quarter of the annotators: each response comes before each other one in two of the four, and (of four
responses) once at each place, so that an effect of the place favours none. The sets of a prompt are drawn one by one: each begins with the response that has met the fewest others, and takes those that have not met yet.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import Literal

from dprm_data.ingest.item_pairs import held_together
from dprm_data.ingest.items import Item

LARGEST = 4  # responses in a set
# For four: a Latin square in which each pair has each order twice. Two and three have no such square: two orders and the reverse of each.
_ORDERS = {
    2: ((0, 1), (1, 0), (0, 1), (1, 0)),
    3: ((0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)),
    4: ((0, 1, 3, 2), (1, 2, 0, 3), (2, 3, 1, 0), (3, 0, 2, 1)),
}
ORDERS = 4


def sets_of(items: Iterable[Item], groups: Iterable[str], sets: int | Literal["all"], seed: int) -> Iterator[Item]:
    """Sets of the items of each prompt, in their orders; groups: of all items. sets: so many per prompt, or `all`: until every two responses have been in one set."""
    for responses in held_together(items, groups):
        drawn = sorted(responses, key=lambda each: _digits(str(seed), each.item_id))
        for members in drawn_sets(len(drawn), sets):
            for turn in range(ORDERS):
                yield set_of([drawn[i] for i in in_order(members, turn)], turn)


@cache
def drawn_sets(size: int, sets: int | Literal["all"]) -> tuple[tuple[int, ...], ...]:
    """Sets of up to four of so many responses, by number. No set comes twice, so there may be fewer than `sets`."""
    met, uses, found = Counter[frozenset[int]](), [0] * size, dict[frozenset[int], tuple[int, ...]]()
    while len(met) < size * (size - 1) // 2 if sets == "all" else size > 1 and len(found) < sets:
        members: list[int] = []
        while len(members) < min(LARGEST, size):
            members.append(_next(members, uses, met))
        if frozenset(members) in found:
            break
        found[frozenset(members)] = tuple(members)
        met.update(map(frozenset, combinations(members, 2)))
        for i in members:
            uses[i] += 1
    return tuple(found.values())


def in_order(members: tuple[int, ...], turn: int) -> list[int]:
    """The members of a set in the order in which this quarter of the annotators sees them."""
    return [members[at] for at in _ORDERS[len(members)][turn]]


def _next(members: list[int], uses: list[int], met: Counter[frozenset[int]]) -> int:
    """Who comes next into a set: who has met the fewest of its members (the first: of all), then who has been in the fewest sets."""

    def order(i: int) -> tuple[int, int, int, int]:
        times = [met[frozenset((i, j))] for j in members or range(len(uses)) if j != i]
        return -times.count(0), uses[i], sum(times), i

    return min((i for i in range(len(uses)) if i not in members), key=order)


def set_of(responses: list[Item], turn: int) -> Item:
    """The responses, shown in this order. turn: which quarter of the annotators is asked, from 0."""
    first = responses[0]
    ids = [each.item_id for each in responses]
    return Item(
        item_id=_digits("set", str(turn), *ids),
        prompt=first.prompt,
        completion=tuple(message for each in responses for message in each.completion),
        group_id=first.group_id,
        role=None,
        source=" and ".join(each.source for each in responses),
        metadata={"responses": ids, "turns": [len(each.completion) for each in responses], "turn": turn},
    )


def responses_of(item: Item) -> list[Item]:
    """The responses of a set, in the order in which they are shown."""
    found, at = [], 0
    for id_, turns in zip(item.metadata["responses"], item.metadata["turns"], strict=True):
        found.append(replace(item, item_id=id_, completion=item.completion[at : at + turns], metadata={}))
        at += turns
    return found


def in_any_order(item: Item) -> str:
    """What all orders of a set have in common: a hash of the ids."""
    return _digits("any order", *sorted(item.metadata["responses"]))


def _digits(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32]
