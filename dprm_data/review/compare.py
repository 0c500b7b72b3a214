"""Compare the panel with people: by item, overall, by category and by persona.

The panel's fitted distribution P_i is compared with the shares Q_i of people's n_i votes, by Wasserstein-1 under the label space's ground cost.

*The floor.* A few votes differ from the distribution they are drawn from: with few people per item the distance is large even where the panel is right.
`floor` is the expected distance if people's votes were drawn from the panel's own distribution (by simulation), and `excess` is the rest: 0 for a panel that
these votes cannot distinguish from people.

*People's own agreement* bounds what a panel can reach: `panel_says` is the chance that a random answer equals the panel's most likely label,
`people_say` that it equals the most frequent label of the other people on the item (ties shared).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.ingest.ratings import Ratings, ratings_from_annotations
from dprm_data.labels.geometry import has_closed_form, wasserstein
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Interval, Resamples, by_reward, nominal
from dprm_data.review.overlap import Overlap, reviewed

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

_DRAWS = 200  # of people's votes from the panel's distribution, for the floor
_PROGRAMS = 4_000  # linear programs that the floor may cost, where W1 has no closed form


@dataclass(frozen=True)
class ItemCompared:
    """One item. reward_gap: the panel's expected reward minus people's."""

    item_id: str
    people: int
    distance: float
    excess: float
    panel_label: str
    people_label: str
    reward_gap: float


@dataclass(frozen=True)
class PersonaCompared:
    """One persona on the reviewed items. distance: mean ground cost between its label and a person's; agreement: chance that they are equal."""

    annotator_id: str
    items: int
    distance: Interval
    agreement: Interval
    reward_gap: Interval


@dataclass(frozen=True)
class Comparison:
    """All figures with their intervals at `level`. confusion: people's shares (columns) by the panel's most likely label (rows); None for a label that is never the panel's."""

    labels: list[str]
    items: int
    people: int
    answers: int
    level: float
    representative: bool
    purposes: dict[str, int]
    distance: Interval
    floor: float
    excess: Interval
    mode_accuracy: Interval
    panel_says: Interval
    people_say: Interval
    reward_gap: Interval
    alpha: dict[str, dict[str, Interval]]
    confusion: list[list[float] | None]
    panel_modes: list[int]
    share_gaps: list[Interval]
    by_source: dict[str, Interval]
    by_panel_label: dict[str, Interval]
    personas: list[PersonaCompared]
    compared: list[ItemCompared] = field(repr=False)
    notes: list[str] = field(default_factory=list)

    def as_dict(self, *, items: bool = True) -> dict[str, Any]:
        content = asdict(self)
        return content if items else {name: value for name, value in content.items() if name != "compared"}


def compare(run: Run, *, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> Comparison:
    """Compare the panel with people's submitted answers. Makes no call. Raises ReviewError if they have no item in common."""
    both = reviewed(run)
    space = run.space
    draw = Resamples.of(both.groups, both.stands_for, resamples=resamples, level=level, seed=seed)
    P = both.view.fit.distribution[both.rows]
    n = both.people.sum(axis=1)
    Q = both.people / n[:, None]
    distance = wasserstein(P, Q, space.ground_cost)
    floor = expected_distance(P, n, space, seed=seed)
    modes = P.argmax(axis=1)
    gap = (P - Q) @ space.rewards
    return Comparison(
        labels=space.names,
        items=len(both),
        people=both.persons,
        answers=int(n.sum()),
        level=level,
        representative=both.representative,
        purposes=both.purposes,
        distance=draw.mean(distance),
        floor=float(draw.mean(floor).value or 0.0),
        excess=draw.mean(distance - floor),
        mode_accuracy=draw.mean(_same_mode(modes, both.people)),
        panel_says=draw.mean(Q[np.arange(len(Q)), modes]),
        people_say=draw.mean(says_the_others_mode(both.people)),
        reward_gap=draw.mean(gap),
        alpha=_alphas(both, space, draw, Q),
        confusion=_confusion(modes, Q, both.stands_for, space.K),
        panel_modes=np.bincount(modes, minlength=space.K).tolist(),
        share_gaps=[draw.mean(P[:, k] - Q[:, k]) for k in range(space.K)],
        by_source=_by(both.sources, gap, draw),
        by_panel_label=_by([space.names[k] for k in modes], gap, draw),
        personas=_personas(both, space, draw, Q),
        compared=_items(both, space, modes, distance, distance - floor, gap),
        notes=_notes(both, n),
    )


def compare_and_keep(run: Run, *, level: float = 0.95) -> Comparison:
    """Compare, and store the figures (without the items) in the run's manifest, for its card and report."""
    found = compare(run, level=level)
    run.folder.update_manifest(review=found.as_dict(items=False))
    return found


def expected_distance(P: Floats, n: Floats, space: LabelSpace, *, seed: int = 0) -> Floats:
    """The mean W1 between P (N, K) and the shares of n (N,) votes drawn from it, by simulation, shape (N,)."""
    draws = _DRAWS if has_closed_form(space.ground_cost) else max(2, min(_DRAWS, _PROGRAMS // max(len(P), 1)))
    rng = np.random.default_rng(seed)
    shares = P / P.sum(axis=1, keepdims=True)
    total = np.zeros(len(P))
    for _ in range(draws):
        total += wasserstein(P, rng.multinomial(n.astype(np.int64), shares) / n[:, None], space.ground_cost)
    return total / draws


def says_the_others_mode(people: Floats) -> Floats:
    """The chance that one of an item's answers (N, K) equals the others' most frequent label, ties shared; NaN with one answer."""
    n = people.sum(axis=1)
    chance = np.zeros(len(people))
    for k in range(people.shape[1]):  # the others of a person who answered k
        others = people.copy()
        others[:, k] -= 1.0
        top = others == others.max(axis=1, keepdims=True)
        chance += people[:, k] * top[:, k] / top.sum(axis=1)
    return np.where(n > 1, chance / np.maximum(n, 1.0), np.nan)


def _same_mode(modes: Ints, people: Floats) -> Floats:
    """1 where the panel's label is people's most frequent one, shared among ties."""
    top = people == people.max(axis=1, keepdims=True)
    return np.asarray(top[np.arange(len(modes)), modes] / top.sum(axis=1))


def _alphas(both: Overlap, space: LabelSpace, draw: Resamples, Q: Floats) -> dict[str, dict[str, Interval]]:
    """Within the panel, within people, and between them; nominal and by reward."""
    panel = _panel_ratings(both, space).votes().counts
    shares = both.panel / np.maximum(both.panel.sum(axis=1, keepdims=True), 1e-12)
    voted = both.panel.sum(axis=1) > 0
    shares = np.where(voted[:, None], shares, both.view.fit.distribution[both.rows])
    return {
        name: {
            "panel": draw.alpha(panel, squared),
            "people": draw.alpha(both.people, squared),
            "between": draw.alpha_between(shares, Q, squared),
        }
        for name, squared in (("nominal", nominal(space.K)), ("reward", by_reward(space.rewards)))
    }


def _panel_ratings(both: Overlap, space: LabelSpace) -> Ratings:
    """The panel's ratings of the reviewed items, with the items' numbers in `both`."""
    found = ratings_from_annotations(both.view.annotations, space)
    place = {item: i for i, item in enumerate(both.item_ids)}
    number = np.array([place.get(item, -1) for item in found.item_ids], dtype=np.int64)
    kept = found.take(np.flatnonzero(number[found.item] >= 0) if len(found) else np.zeros(0, dtype=np.int64))
    item = number[kept.item] if len(kept) else kept.item
    return Ratings(
        both.item_ids, kept.annotator_ids, kept.K, item, kept.annotator, kept.label, np.ones(len(kept)), kept.replicate
    )


def _confusion(modes: Ints, Q: Floats, stands_for: Floats, K: int) -> list[list[float] | None]:
    rows: list[list[float] | None] = []
    for k in range(K):
        w = stands_for[modes == k]
        rows.append((w @ Q[modes == k] / w.sum()).tolist() if len(w) else None)
    return rows


def _by(names: list[str], gap: Floats, draw: Resamples) -> dict[str, Interval]:
    """The mean gap in reward by a property of the items, for groups of at least five items."""
    kinds = np.asarray(names, dtype=object)
    found = {str(name): np.flatnonzero(kinds == name) for name in dict.fromkeys(names)}
    return {name: draw.mean(gap[rows], rows) for name, rows in found.items() if len(rows) >= 5}


def _personas(both: Overlap, space: LabelSpace, draw: Resamples, Q: Floats) -> list[PersonaCompared]:
    """All personas, the closest to people first."""
    ratings = _panel_ratings(both, space)
    cost = (Q @ space.ground_cost)[ratings.item, ratings.label]
    same = Q[ratings.item, ratings.label]
    gap = space.rewards[ratings.label] - (Q @ space.rewards)[ratings.item]
    found = []
    for a, name in enumerate(ratings.annotator_ids):
        mine = np.flatnonzero(ratings.annotator == a)
        if not len(mine):
            continue
        rows = ratings.item[mine]
        found.append(
            PersonaCompared(
                annotator_id=name,
                items=len(np.unique(rows)),
                distance=draw.mean(cost[mine], rows),
                agreement=draw.mean(same[mine], rows),
                reward_gap=draw.mean(gap[mine], rows),
            )
        )
    return sorted(found, key=lambda one: one.distance.value or 0.0)


def _items(
    both: Overlap, space: LabelSpace, modes: Ints, distance: Floats, excess: Floats, gap: Floats
) -> list[ItemCompared]:
    """All items, those on which panel and people differ most (beyond what few votes explain) first."""
    names, theirs = space.names, both.people.argmax(axis=1)
    return [
        ItemCompared(
            item_id=both.item_ids[i],
            people=int(both.people[i].sum()),
            distance=float(distance[i]),
            excess=float(excess[i]),
            panel_label=names[modes[i]],
            people_label=names[theirs[i]],
            reward_gap=float(gap[i]),
        )
        for i in np.argsort(-excess, kind="stable").tolist()
    ]


def _notes(both: Overlap, n: Floats) -> list[str]:
    notes = []
    if not both.representative:
        ways = ", ".join(f"{count} as {purpose}" for purpose, count in both.purposes.items())
        notes.append(
            f"The items are no random sample ({ways}): the figures hold for such items, not for the whole run. "
            "For that, review items with --select random or stratified."
        )
    if both.blind is False:
        notes.append(
            "People saw the panel's answer before they gave theirs, which biases them towards it. --blind avoids that."
        )
    if len(both) < 30:
        notes.append(f"Only {len(both)} items: the intervals are rough.")
    if (few := int((n < 2).sum())) == len(n):
        notes.append("One person per item: how much people differ among themselves is unknown.")
    elif few:
        notes.append(f"{few} of {len(n)} items have only one person's answer.")
    if both.unjudged:
        notes.append(f"{both.unjudged} items that people judged have no label from the panel; they are left out.")
    return notes
