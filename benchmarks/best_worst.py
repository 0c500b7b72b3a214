"""What does it save to ask for the best and the worst of four, instead of asking about pairs? Simulated people, asked the same number of questions.

    python benchmarks/best_worst.py [--seeds 3] [--write]

Responses to a prompt have utilities N(0, 1). A person's own differ from them by N(0, differ²), and each answer adds noise (Gumbel's, so that a pair is answered by Bradley and Terry's model): the best is the largest of these, the
worst the smallest. Sets are those that the recipe draws; as many pairs are drawn at random, each person's apart, in an order of its own.

The fit of either is compared with the truth: pairs of responses the right way round; how often, by published probability; whether the share of people who would prefer the first lies in its 90 % interval.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import document  # noqa: E402
from dprm_data.core.arrays import Floats, Ints  # noqa: E402
from dprm_data.ingest.item_sets import ORDERS, drawn_sets, in_order  # noqa: E402
from dprm_data.preference.comparisons import Comparisons, fit_comparisons  # noqa: E402

PROMPTS = 150
CASES = ((4, 4), (6, 4), (8, 12))  # responses to a prompt, people
DIFFER = (0.0, 1.0)
PROBABILITIES = (0.5, 0.7, 0.9, 1.0)
TIMES = (1, 2, 3)  # as many answers about pairs


@dataclass(frozen=True)
class PeopleWhoCompare:
    """differ: standard deviation of what a person prefers; order: the advantage of each place over the next one."""

    prompts: int
    size: int
    people: int
    differ: float = 0.0
    order: float = 0.0
    seed: int = 0

    @property
    def utility(self) -> Floats:
        """What people prefer on average, (prompts, size)."""
        return np.random.default_rng(self.seed).normal(0, 1, (self.prompts, self.size))

    @property
    def own(self) -> Floats:
        """What each prefers, (prompts, people, size)."""
        draw = np.random.default_rng(self.seed + 1_000_000)
        return self.utility[:, None] + draw.normal(0, self.differ, (self.prompts, self.people, self.size))


Asked = Callable[[PeopleWhoCompare], tuple[Comparisons, Floats]]


def of_sets(people: PeopleWhoCompare) -> tuple[Comparisons, Floats]:
    """Everybody says which response of each set is the best and which the worst. Returns the comparisons and the true utilities."""
    rng, own, rows = np.random.default_rng(people.seed + 1), people.own, []
    sets, answers = drawn_sets(people.size, "all"), 0
    for prompt in range(people.prompts):
        for person in range(people.people):
            for number, members in enumerate(sets):
                shown = in_order(members, (person + prompt + number) % ORDERS)
                seen = own[prompt, person, shown] + rng.gumbel(size=len(shown)) - people.order * np.arange(len(shown))
                best, worst = int(seen.argmax()), int(seen.argmin())
                for a, b in combinations(range(len(shown)), 2):
                    if {a, b} & {best, worst}:
                        rows.append((prompt, shown[a], shown[b], person, 1 if a == best or b == worst else -1, answers))
                answers += 1
    return _comparisons(np.array(rows), people), people.utility


def of_pairs(people: PeopleWhoCompare, times: int = 1) -> tuple[Comparisons, Floats]:
    """Everybody compares so many times as many pairs, drawn at random, as there are sets."""
    rng, own, rows = np.random.default_rng(people.seed + 2), people.own, []
    pairs, asked = list(combinations(range(people.size), 2)), times * len(drawn_sets(people.size, "all"))
    for prompt in range(people.prompts):
        for person in range(people.people):
            drawn = np.concatenate([rng.permutation(len(pairs)) for _ in range(-(-asked // len(pairs)))])[:asked]
            for pair in drawn:
                a, b = pairs[pair] if rng.random() < 0.5 else pairs[pair][::-1]
                ahead = own[prompt, person, a] - own[prompt, person, b] + people.order + rng.logistic()
                rows.append((prompt, a, b, person, 1 if ahead > 0 else -1, len(rows)))
    return _comparisons(np.array(rows), people), people.utility


def _comparisons(rows: Ints, people: PeopleWhoCompare) -> Comparisons:
    prompt, a, b, person, answer, reply = rows.T
    return Comparisons(
        group=np.repeat(np.arange(people.prompts), people.size),
        first=prompt * people.size + a,
        second=prompt * people.size + b,
        annotator=person,
        answer=answer,
        steps=np.full(len(rows), 2),
        weight=np.ones(len(rows)),
        kind=np.zeros(people.people, dtype=np.int64),
        ordered=np.ones(people.people, dtype=bool),
        reply=reply,
    )


@dataclass(frozen=True)
class Figures:
    """Of P pairs. answers: how many were given; said (P,): the probability of the side that is preferred; right (P,): whether it is better; share, true_share (P,): of people who prefer it; inside (P,): whether that lies in
    the interval. A response that nobody was asked about has no probability: that counts as half right."""

    answers: int
    said: Floats
    right: Floats
    share: Floats
    true_share: Floats
    inside: Floats


def figures(asked: Asked, people: PeopleWhoCompare) -> Figures:
    """The fit of what people said when they were asked so, against what is true."""
    data, utility = asked(people)
    found = fit_comparisons(data)
    pairs = np.concatenate(
        [people.size * g + np.array([*combinations(range(people.size), 2)]) for g in range(people.prompts)]
    )
    difference = utility.ravel()[pairs[:, 0]] - utility.ravel()[pairs[:, 1]]
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    others = difference[:, None] + np.sqrt(2) * people.differ * nodes
    true = (weights / (1 + np.exp(-others))).sum(axis=1) / weights.sum()
    probability, (share, low, high, _) = found.probability(pairs), found.shares(pairs)
    up, known = probability >= 0.5, np.isfinite(probability)
    return Figures(
        answers=len(np.unique(data.replies)),
        said=np.where(up, probability, 1 - probability),
        right=np.where(known, np.where(up, difference > 0, difference < 0), 0.5),
        share=np.where(up, share, 1 - share),
        true_share=np.where(up, true, 1 - true),
        inside=np.where(known, (low <= true) & (true <= high), np.nan),
    )


def table(seeds: int) -> list[str]:
    ways: dict[str, Asked] = {"best and worst": of_sets}
    for times in TIMES:
        ways["as many pairs" if times == 1 else f"{times} times as many pairs"] = lambda people, times=times: of_pairs(
            people, times
        )
    lines = [
        "| responses | people | differ | asked | answers a prompt | right | "
        + " | ".join(f"{a:g} to {b:g}" for a, b in pairwise(PROBABILITIES))
        + " | share | in the interval |",
        "|---|---|---|---|---|---|" + "---|" * (len(PROBABILITIES) + 1),
    ]
    for size, number in CASES:
        for differ in DIFFER:
            for name, asked in ways.items():
                found = [
                    figures(asked, PeopleWhoCompare(PROMPTS, size, number, differ=differ, seed=seed))
                    for seed in range(seeds)
                ]
                said, right, share, true, inside = (
                    np.concatenate([getattr(each, part) for each in found])
                    for part in ("said", "right", "share", "true_share", "inside")
                )
                bins = [(said >= low) & (said <= high) for low, high in pairwise(PROBABILITIES)]
                cells = [f"{said[h].mean():.2f}: {right[h].mean():.2f}" if h.sum() >= 100 else "" for h in bins]
                lines.append(
                    f"| {size} | {number} | {differ:g} | {name} | {found[0].answers / PROMPTS:g} | {right.mean():.3f} | "
                    + " | ".join(cells)
                    + f" | {np.nanmean(share - true):+.3f} | {np.nanmean(inside):.2f} |"
                )
                print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the table into docs/comparisons-model.md")
    given = parser.parse_args()
    lines = table(given.seeds)
    if given.write:
        document.write({"best and worst by what was asked": lines}, ROOT / "docs" / "comparisons-model.md")


if __name__ == "__main__":
    main()
