"""Alike responses to one prompt: those that equal another but for white space, and those that nearly do.

Nearly: the sets of their runs of five characters, white space normalised, have a Jaccard index above 0.9 (what both have, over what either
has). To rate one of them again says nothing new, and a pair of them has no preferred one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

_RUN, _NEARLY = 5, 0.9

Likeness = Literal["duplicate", "near_duplicate"]


@dataclass
class DistinctTexts:
    """The texts of one prompt's responses that are no other's like."""

    _exact: dict[str, str] = field(default_factory=dict)  # normalised text: its id
    _runs: list[tuple[str, frozenset[str]]] = field(default_factory=list)

    def add(self, id_: str, text: str) -> tuple[Likeness, str] | None:
        """Take in the next text. None if it is unlike those before; otherwise how it is like one of them, and whose id that has."""
        normal = " ".join(text.split())
        if normal in self._exact:
            return "duplicate", self._exact[normal]
        runs = frozenset(normal[i : i + _RUN] for i in range(max(1, len(normal) - _RUN + 1)))
        for other, theirs in self._runs:
            if jaccard(runs, theirs) > _NEARLY:
                return "near_duplicate", other
        self._exact[normal] = id_
        self._runs.append((id_, runs))
        return None


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """The share of what either has that both have."""
    few, many = sorted((len(one), len(other)))
    if few <= _NEARLY * many:  # it cannot be more
        return few / many if many else 1.0
    shared = len(one & other)
    return shared / (few + many - shared)
