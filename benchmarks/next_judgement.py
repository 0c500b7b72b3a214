"""How many judgements does it save to ask where preferences are expected to change most? Real raters, replayed as annotators.

    python benchmarks/next_judgement.py FOLDER [--seeds 3] [--write]

FOLDER holds faceratings.parquet (item_id, rater_id, label, K). 240 prompts of four faces, or 120 of eight, are drawn; half of the raters answer, the other half says what is true. Each judgement is a
real one: a rating by a rater of that half who was not asked about the face yet, or a comparison of two faces by one who was not asked about the pair yet (whoever rated one higher prefers it, equal ratings are a tie, which of
the two is first is drawn). Everything begins with one judgement of each item (ratings), or a chain through each prompt (comparisons). Then rounds follow, each a tenth more judgements than there are: the fit, with its prior
learned anew, says what is next.

    active       where the preferences are expected to change most (`preference/next_judgement.py`)
    round robin  every item, or pair, as often as any other
    random       any item, or pair

tau: Kendall's, of the order of a prompt's responses to that of the other half's means. accuracy: of the pairs, where the first is the better one more often than not. saved: how many judgements active needs for the tau that
the other has after as many as the line says.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import document  # noqa: E402
from benchmarks.preferences import Votes  # noqa: E402
from dprm_data.core.arrays import Floats, Ints  # noqa: E402
from dprm_data.ingest.votes import Votes as Counts  # noqa: E402
from dprm_data.labels.space import LabelSpace  # noqa: E402
from dprm_data.preference.comparisons import Comparisons, fit_comparisons  # noqa: E402
from dprm_data.preference.fitting import fit  # noqa: E402
from dprm_data.preference.next_judgement import compared, next_judgements, rated  # noqa: E402

ITEMS = 960
GROWTH = 1.1
MOST = 30.0  # judgements per item
LINES = (2, 4, 8, 16)  # judgements per item, in the table


@dataclass
class World:
    """Prompts of `size` faces. label (R, N): by the raters who answer, -1 for none; truth (N,): the other half's mean."""

    size: int
    label: Ints
    truth: Floats
    K: int
    rng: np.random.Generator

    @classmethod
    def drawn(cls, votes: Votes, size: int, seed: int) -> World:
        rng = np.random.default_rng(seed)
        label = np.full((int(votes.rater.max()) + 1, int(votes.item.max()) + 1), -1)
        label[votes.rater, votes.item] = votes.label
        half = rng.random(len(label)) < 0.5
        faces = np.concatenate([rng.choice(label.shape[1], size, replace=False) for _ in range(ITEMS // size)])
        held = np.ma.masked_less(label[~half], 0).mean(axis=0).filled(np.nan)
        return cls(size, label[half][:, faces], held[faces], votes.K, rng)

    @property
    def groups(self) -> Ints:
        return np.repeat(np.arange(ITEMS // self.size), self.size)

    @property
    def pairs(self) -> Ints:
        """Every pair of a prompt, (P, 2)."""
        inner = np.array(list(combinations(range(self.size), 2)))
        return np.asarray((np.arange(ITEMS // self.size)[:, None, None] * self.size + inner).reshape(-1, 2))

    def scored(self, found: Floats) -> tuple[float, float]:
        """Tau and accuracy of what was found of every item, (N,)."""
        a, b = self.pairs.T
        agree = np.sign(found[a] - found[b]) * np.sign(self.truth[a] - self.truth[b])
        return float(agree.mean()), float(0.5 + 0.5 * agree.mean())


@dataclass
class Rated:
    """Replayed ratings: judgements are about one item."""

    world: World
    counts: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros((ITEMS, self.world.K))
        rng, label = self.world.rng, self.world.label
        self._order = [
            rng.permutation(label[label[:, i] >= 0, i]) for i in range(ITEMS)
        ]  # raters in the order of asking
        self.kinds = np.arange(ITEMS)[:, None]
        self.ask(self.kinds)

    def ask(self, rows: Ints) -> None:
        for row in rows[:, 0]:
            at = int(self.counts[row].sum())
            self.counts[row, self._order[row][at % len(self._order[row])]] += 1.0

    def fitted(self) -> tuple[Floats, Callable[[int], Ints]]:
        space = LabelSpace.ordinal(self.world.K)
        found = fit(Counts([str(i) for i in range(ITEMS)], self.counts), space)
        mean, variance = found.expected_reward, found.reward_error**2
        noise = np.maximum(found.distribution @ space.rewards**2 - mean**2 - variance, 1e-6)
        return mean, lambda count: next_judgements(rated(self.world.groups, mean, variance, noise), count)


@dataclass
class Compared:
    """Replayed comparisons: judgements are about two items."""

    world: World

    def __post_init__(self) -> None:
        self._rows: list[tuple[int, int, int, int]] = []
        self._orders: dict[tuple[int, int], list[int]] = {}
        self.kinds = self.world.pairs
        items = np.arange(ITEMS)
        chain = items[items % self.world.size > 0]
        self.ask(np.stack([chain - 1, chain], axis=1))

    def ask(self, rows: Ints) -> None:
        rng, label = self.world.rng, self.world.label
        for a, b in rows:
            pair = (min(a, b), max(a, b))
            if not self._orders.get(pair):
                self._orders[pair] = list(rng.permutation(np.flatnonzero((label[:, a] >= 0) & (label[:, b] >= 0))))
            person = self._orders[pair].pop()
            first, second = pair if rng.random() < 0.5 else pair[::-1]
            self._rows.append((first, second, person, int(np.sign(label[person, first] - label[person, second]))))

    def fitted(self) -> tuple[Floats, Callable[[int], Ints]]:
        first, second, person, answer = np.array(self._rows, dtype=np.int64).T
        people, annotator = np.unique(person, return_inverse=True)
        n = len(first)
        kind, ordered = np.zeros(len(people), dtype=np.int64), np.ones(len(people), dtype=bool)
        steps, ones = np.full(n, 3), np.ones(n)
        found = fit_comparisons(
            Comparisons(self.world.groups, first, second, annotator, answer, steps, ones, kind, ordered)
        )
        return found.mean, lambda count: next_judgements(compared(found), count)


def curve(judged: Rated | Compared, policy: str, most: float) -> Floats:
    """Judgements per item, tau and accuracy after every round, (rounds, 3)."""
    rng, made = judged.world.rng, ITEMS if isinstance(judged, Rated) else ITEMS - ITEMS // judged.world.size
    order, rows = rng.permutation(len(judged.kinds)), []
    at = 0
    while True:
        found, choose = judged.fitted()
        rows.append((made / ITEMS, *judged.world.scored(found)))
        if made >= most * ITEMS:
            return np.array(rows)
        count = int(made * (GROWTH - 1)) + 1
        if policy == "active":
            chosen = choose(count)
        elif policy == "random":
            chosen = judged.kinds[rng.integers(0, len(judged.kinds), count)]
        else:
            chosen = judged.kinds[order[np.arange(at, at + count) % len(order)]]
            at += count
        judged.ask(chosen)
        made += len(chosen)


def needed(one: Floats, tau: float) -> float:
    """Judgements per item until the curve (rounds, 3) has this tau, between its rounds."""
    best = np.maximum.accumulate(one[:, 1])
    return float(np.interp(tau, best, one[:, 0], right=np.nan))


POLICIES = ("active", "round robin", "random")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--most", type=float, default=MOST)
    parser.add_argument("--only", default="")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/preferences.md")
    given = parser.parse_args()
    votes = Votes.load(given.folder / "faceratings.parquet")
    for way, size in ((Rated, 4), (Rated, 8), (Compared, 4), (Compared, 8)):
        if given.only and given.only not in f"{way.__name__}{size}":
            continue
        curves = {}
        for policy in POLICIES:
            began = time.process_time()
            curves[policy] = [curve(way(World.drawn(votes, size, s)), policy, given.most) for s in range(given.seeds)]
            print(way.__name__, size, policy, f"{time.process_time() - began:.0f} s")
        for n in LINES:
            if n > given.most:
                continue
            line = f"{n:3d}"
            tau = {p: np.array([np.interp(n, c[:, 0], c[:, 1]) for c in curves[p]]) for p in POLICIES}
            for p in POLICIES:
                line += f" | {p} {tau[p].mean():.3f} +- {tau[p].std(ddof=1) / len(tau[p]) ** 0.5:.3f}"
            for p in POLICIES[1:]:
                mean = lambda p: np.mean(np.array([np.column_stack([np.full(1, 0)])]))
                ratio = [needed(a, t) / n for a, t in zip(curves["active"], tau[p])]
                line += f" | vs {p} {np.mean(ratio):.2f}"
            print(line)


if __name__ == "__main__":
    main()
