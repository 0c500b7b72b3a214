"""Pairs of items as items: what is asked about where two responses to one prompt are compared.

A pair's completion is the first response's turns and then the second's; its metadata says which responses they are, and where the second begins. Its id is a hash of both ids in their order, so that the
two orders of a pair are two items, and whatever is asked about an item (work, plan, batch, worker, lease, resume) can be asked about a pair.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Literal

from dprm_data.ingest.items import Item

Chosen = Literal["all", "adjacent", "active"] | int


def pair_of(first: Item, second: Item) -> Item:
    """The two responses, shown in this order."""
    return Item(
        item_id=_digits("pair", first.item_id, second.item_id),
        prompt=first.prompt,
        completion=first.completion + second.completion,
        group_id=first.group_id,
        role=None,
        source=f"{first.source} and {second.source}",
        metadata={"first": first.item_id, "second": second.item_id, "turns": len(first.completion)},
    )


def sides_of(pair: Item) -> tuple[Item, Item]:
    """The two responses of a pair."""
    at = pair.metadata["turns"]
    first, second = pair.metadata["first"], pair.metadata["second"]
    return (
        replace(pair, item_id=first, completion=pair.completion[:at], metadata={}),
        replace(pair, item_id=second, completion=pair.completion[at:], metadata={}),
    )


def unordered(pair: Item) -> str:
    """What both orders of a pair have in common: a hash of the two ids."""
    return _digits("either order", *sorted((pair.metadata["first"], pair.metadata["second"])))


def paired(items: Iterable[Item], groups: Iterable[str], chosen: Chosen, seed: int) -> Iterator[Item]:
    """The chosen pairs of the items of each prompt, in both orders; groups: of all items.

    all: every pair; adjacent: each response with the next one of its prompt (with these active begins); a number: so many per prompt, drawn by their ids. Texts are held until all responses to their prompt are there.
    """
    for responses in held_together(items, groups):
        for first, second in _chosen(responses, chosen, seed):
            yield pair_of(first, second)
            yield pair_of(second, first)


def held_together(items: Iterable[Item], groups: Iterable[str]) -> Iterator[list[Item]]:
    """The items of each prompt, as soon as all of them are there; groups: of all items."""
    left, held = Counter(groups), dict[str, list[Item]]()
    for item in items:
        held.setdefault(item.group_id, []).append(item)
        left[item.group_id] -= 1
        if not left[item.group_id]:
            yield held.pop(item.group_id)


def pairs_of(size: int, chosen: Chosen) -> int:
    """How many pairs `paired` makes of so many responses to a prompt."""
    if chosen in ("adjacent", "active"):
        return max(0, size - 1)
    pairs = size * (size - 1) // 2
    return pairs if chosen == "all" else min(pairs, int(chosen))


def _chosen(responses: list[Item], chosen: Chosen, seed: int) -> list[tuple[Item, Item]]:
    if chosen in ("adjacent", "active"):
        return list(pairwise(responses))
    pairs = list(combinations(responses, 2))
    if chosen == "all":
        return pairs
    drawn = sorted(pairs, key=lambda pair: _digits(str(seed), *sorted(each.item_id for each in pair)))
    return drawn[: int(chosen)]


def _digits(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32]
