"""Do the personas of a group answer as the people of that group do, more than as everyone does?

On item i, let a_gi be how far the distribution function of the personas of group g lies from that of the other personas, and b_gi how far that of the people of g lies from that of the
other people. *Alignment* is the mean over items, groups and cuts of  a_gi b_gi : above 0 if personas of a group depart from the rest the way its people do. It is free of bias by the chance in
either, because these are independent. What a faithful panel would reach is the mean of  b_gi b'_gi  with the groups' people cut in two random halves: `possible`. So alignment / possible is 0
where a group's personas say nothing of the group, and 1 where they depart as its people do; where `possible` is not above chance, people of these groups hardly differ on these items, and
there is nothing to reproduce.

*The test* asks whether the personas' groups matter: the personas' group names are permuted (all personas keep their answers), and the p-value is how often a permuted alignment is as large. The persona
is the unit, because another set of personas might have been written: a permutation of raters would call a chance difference between a few personas a group effect. With few personas no
p-value can be small, and `least` says how small it can get.

`own` and `others` are the squared distances (mean over cuts) of a group's personas from the opinion of its own people and of the other people, on items with two votes or more of each;
what chance in few votes adds, F (1 - F) / (n - 1), is subtracted from both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import factorial, prod
from typing import Any

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.ingest.ratings import Ratings
from dprm_data.labels.geometry import reward_order
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Interval, Resamples

PERMUTATIONS = 2_000
_MOST_CELLS = 200_000_000  # permutations × groups × items × cuts


@dataclass(frozen=True)
class Group:
    """One group: its personas and people, the items that both judged, and its personas' squared distance from its own people and from the others."""

    name: str
    personas: int
    people: int
    items: int
    own: Interval
    others: Interval


@dataclass(frozen=True)
class ByGroup:
    """One attribute. alignment, possible: see the module; p_value: of the permutation test; least: the smallest that these personas can give."""

    attribute: str
    groups: tuple[Group, ...]
    alignment: Interval
    possible: Interval
    p_value: float
    least: float

    @property
    def share(self) -> float | None:
        """Alignment as a share of what a faithful panel would reach; None where people of these groups do not differ beyond chance."""
        there = self.possible.value is not None and self.possible.low is not None and self.possible.low > 0
        return (self.alignment.value or 0.0) / self.possible.value if there and self.possible.value else None


def shared_attributes(
    personas: Mapping[str, Mapping[str, Any]], people: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """Attributes that both have, whatever the case and spelling of the space in their names: the personas' name -> the people's."""
    theirs = {_plain(name): name for known in people.values() for name in known}
    ours = dict.fromkeys(name for known in personas.values() for name in known)
    return {name: theirs[_plain(name)] for name in ours if _plain(name) in theirs}


def by_group(
    attribute: str,
    panel: Ratings,
    personas: Mapping[str, Any],
    people: Ratings,
    raters: Mapping[str, Any],
    space: LabelSpace,
    draw: Resamples,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> ByGroup | None:
    """personas, raters: the attribute's value of each annotator by id. None with fewer than two groups that have personas and people on the same items. Shapes: N items, as in `draw`."""
    ours, theirs = (
        {id_: _plain(value) for id_, value in some.items() if value is not None} for some in (personas, raters)
    )
    names = sorted(set(ours.values()) & set(theirs.values()))
    if len(names) < 2:
        return None
    N = draw.weights.shape[1]
    said = _Cells.of(panel, ours, names, space, N)
    crowd = _Cells.of(people, theirs, names, space, N)
    first, second = crowd.cut(np.random.default_rng(seed))
    away = crowd.away()
    alignment = _mean_product(said.away(), away)
    if not np.isfinite(alignment).any():
        return None
    observed = float(np.nanmean(alignment))
    rng = np.random.default_rng(seed)
    limit = max(200, min(permutations, _MOST_CELLS // max(said.sums.size, 1)))
    permuted = np.array([np.nanmean(_mean_product(said.permuted(rng).away(), away)) for _ in range(limit)])
    sizes = [int((said.group == g).sum()) for g in range(len(names))]
    least = max(1.0 / (1 + limit), prod(factorial(size) for size in sizes) / factorial(sum(sizes)))
    as_large = float((1 + (permuted >= observed - 1e-15).sum()) / (1 + limit))
    return ByGroup(
        attribute,
        tuple(_group(names[g], g, said, crowd, draw) for g in range(len(names))),
        draw.mean(alignment),
        draw.mean(_mean_product(first.away(), second.away())),
        max(as_large, least),  # the permutations are a sample, which may hold the observed one too rarely
        least,
    )


@dataclass(frozen=True)
class _Cells:
    """One side's answers: sums (A, N, K - 1) of the distribution functions, and number (A, N) of answers, of every annotator; group (A,)."""

    sums: Floats
    number: Floats
    group: Ints
    groups: int

    @classmethod
    def of(
        cls, ratings: Ratings, group_of: Mapping[str, str], names: list[str], space: LabelSpace, items: int
    ) -> _Cells:
        place = {name: i for i, name in enumerate(names)}
        group = np.array([place.get(group_of.get(id_, ""), -1) for id_ in ratings.annotator_ids], dtype=np.int64)
        known = np.flatnonzero(group >= 0)
        row = np.full(len(group), -1, dtype=np.int64)
        row[known] = np.arange(len(known))
        kept = row[ratings.annotator] >= 0
        a, i = row[ratings.annotator][kept], ratings.item[kept]
        chosen = np.eye(space.K)[ratings.label] if ratings.shares is None else ratings.shares
        F = np.cumsum(chosen[kept][:, reward_order(space.rewards)], axis=1)[:, :-1]
        sums, number = np.zeros((len(known), items, space.K - 1)), np.zeros((len(known), items))
        np.add.at(sums, (a, i), F)
        np.add.at(number, (a, i), 1.0)
        return cls(sums, number, group[known], len(names))

    def permuted(self, rng: np.random.Generator) -> _Cells:
        """The annotators' groups, dealt anew."""
        return _Cells(self.sums, self.number, rng.permutation(self.group), self.groups)

    def cut(self, rng: np.random.Generator) -> tuple[_Cells, _Cells]:
        """Two random halves of the annotators of every group."""
        half = np.zeros(len(self.group), dtype=bool)
        for g in range(self.groups):
            mine = rng.permutation(np.flatnonzero(self.group == g))
            half[mine[: len(mine) // 2]] = True
        return self._take(half), self._take(~half)

    def _take(self, rows: np.ndarray) -> _Cells:
        return _Cells(self.sums[rows], self.number[rows], self.group[rows], self.groups)

    def of_groups(self, *, others: bool = False) -> tuple[Floats, Floats]:
        """Mean distribution function (G, N, K - 1) of each group's answers, or of all the others', NaN where there are none; and their number (G, N)."""
        member = (self.group[None, :] == np.arange(self.groups)[:, None]) != others
        total = np.einsum("ga,ank->gnk", member.astype(np.float64), self.sums)
        number = member.astype(np.float64) @ self.number
        with np.errstate(invalid="ignore", divide="ignore"):
            return total / number[:, :, None], number

    def away(self) -> Floats:
        """How far each group's distribution function is from that of the others (G, N, K - 1)."""
        return np.asarray(self.of_groups()[0] - self.of_groups(others=True)[0])


def _mean_product(a: Floats, b: Floats) -> Floats:
    """The mean over groups and cuts of the product, per item (N,); NaN where no group has both."""
    product = (a * b).mean(axis=2)
    there = np.isfinite(product)
    total = np.where(there, product, 0.0).sum(axis=0)
    return np.where(there.any(axis=0), total / np.maximum(there.sum(axis=0), 1), np.nan)


def _group(name: str, g: int, said: _Cells, crowd: _Cells, draw: Resamples) -> Group:
    """A group's personas against its own people and against the others."""
    panel = said.of_groups()[0][g]
    sides = [[each[g] for each in crowd.of_groups(others=others)] for others in (False, True)]
    both = np.isfinite(panel).all(axis=1) & (sides[0][1] > 1) & (sides[1][1] > 1)
    near, far = (np.where(both, _squared_distance(panel, F, number), np.nan) for F, number in sides)
    people = int((crowd.number[crowd.group == g].sum(axis=1) > 0).sum())
    personas = int((said.group == g).sum())
    return Group(name, personas, people, int(both.sum()), draw.mean(near), draw.mean(far))


def _squared_distance(panel: Floats, F: Floats, number: Floats) -> Floats:
    """Per item (N,), without the chance in few votes."""
    with np.errstate(invalid="ignore", divide="ignore"):
        chance = (F * (1.0 - F)).mean(axis=1) / (number - 1.0)
        return np.asarray(((panel - F) ** 2).mean(axis=1) - chance)


def _plain(name: Any) -> str:
    return str(name).strip().casefold().replace("_", " ").replace("-", " ")
