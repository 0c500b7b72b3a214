"""How many judgements does it save to ask where preferences are expected to change most? Real raters, replayed as annotators.

    python benchmarks/next_judgement.py FOLDER [--seeds 3] [--write]

FOLDER holds faceratings.parquet (item_id, rater_id, label, K). 240 prompts of four faces, or 120 of eight, are drawn; half of the raters answer, the other half says what is true. Each judgement is a
real one: a rating by a rater of that half who was not asked about the face yet, or a comparison of two faces by one who was not asked about the pair yet (whoever rated one higher prefers it, equal ratings are a tie, which of
the two is first is drawn). In "ideal ratings" the faces' values and the ratings are drawn from normal distributions that the choice knows. Everything begins with one judgement of each item (ratings), or a chain through each prompt (comparisons). Then rounds follow, each a fifth more judgements than there are: the fit, with its prior
learned anew, says what is next.

    active       where the preferences are expected to change most (`preference/next_judgement.py`)
    round robin  every item, or pair, as often as any other
    random       any item, or pair

tau       Kendall's, of the order of a prompt's responses to that of the other half's means
accuracy  how many of the other half, of those with a preference, have the one that was found; mean of all pairs
over      by how much tau is higher, with its standard error over seeds (of which all policies have the same prompts and halves)
needs     how many judgements active needs for the tau that the other has, as a part of the other's
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import document  # noqa: E402
from benchmarks.preferences import PROBABILITIES, Votes  # noqa: E402
from dprm_data.core.arrays import Floats, Ints  # noqa: E402
from dprm_data.ingest.votes import Votes as Counts  # noqa: E402
from dprm_data.labels.space import LabelSpace  # noqa: E402
from dprm_data.preference.comparisons import Comparisons, fit_comparisons  # noqa: E402
from dprm_data.preference.fitting import fit  # noqa: E402
from dprm_data.preference.next_judgement import compared, next_judgements, rated  # noqa: E402

ITEMS = 960
GROWTH = 1.2  # of the judgements, in one round
LINES = (2, 4, 8, 16)  # judgements per item, in the table
POLICIES = ("active", "round robin", "random")
HEAD = "| judgements | responses | per response | tau: active | round robin | random | accuracy: active | round robin | random | over round robin | needs | over random | needs |"


@dataclass
class World:
    """Prompts of `size` faces. label (R, N): by the raters who answer, -1 for none; truth (N,): the other half's mean; share (P,): those of it who
    prefer the first of each pair, of those with a preference."""

    size: int
    label: Ints
    truth: Floats
    share: Floats
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
        wins = np.array([[_wins(label[~half], a, b) for b in range(label.shape[1])] for a in range(label.shape[1])])
        a, b = faces[_pairs(size)].T
        return cls(size, label[half][:, faces], held[faces], wins[a, b] / (wins[a, b] + wins[b, a]), votes.K, rng)

    @property
    def groups(self) -> Ints:
        return np.repeat(np.arange(ITEMS // self.size), self.size)

    @property
    def pairs(self) -> Ints:
        return _pairs(self.size)

    def scored(self, found: Floats) -> tuple[float, float]:
        """Tau and accuracy of what was found of every item, (N,)."""
        a, b = self.pairs.T
        said = np.sign(found[a] - found[b])
        right = 0.5 + said * (self.share - 0.5)
        return float((said * np.sign(self.truth[a] - self.truth[b])).mean()), float(right.mean())


def _pairs(size: int) -> Ints:
    """Every pair of a prompt, (P, 2)."""
    inner = np.array(list(combinations(range(size), 2)))
    return np.asarray((np.arange(ITEMS // size)[:, None, None] * size + inner).reshape(-1, 2))


def _wins(label: Ints, a: int, b: int) -> int:
    both = (label[:, a] >= 0) & (label[:, b] >= 0)
    return int((label[both, a] > label[both, b]).sum())


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
class Normal:
    """Ratings in a world that is as the formulas say: normal, with known variances, those of the faces. What choosing can save at best."""

    world: World

    def __post_init__(self) -> None:
        rng, label = self.world.rng, self.world.label
        given = [label[label[:, i] >= 0, i] for i in range(ITEMS)]
        self.noise, self.spread = float(np.mean([np.var(each) for each in given])), float(np.var(self.world.truth))
        self.world.truth = rng.normal(size=ITEMS) * np.sqrt(self.spread)
        a, b = self.world.pairs.T
        self.world.share = np.where(self.world.truth[a] > self.world.truth[b], 1.0, 0.0)
        self.number, self.sum = np.zeros(ITEMS), np.zeros(ITEMS)
        self.kinds = np.arange(ITEMS)[:, None]
        self.ask(self.kinds)

    def ask(self, rows: Ints) -> None:
        more = np.bincount(rows[:, 0], minlength=ITEMS)
        self.number += more
        self.sum += more * self.world.truth + self.world.rng.normal(size=ITEMS) * np.sqrt(self.noise * more)

    def fitted(self) -> tuple[Floats, Callable[[int], Ints]]:
        variance = 1.0 / (1.0 / self.spread + self.number / self.noise)
        mean, noise = variance * self.sum / self.noise, np.full(ITEMS, self.noise)
        return mean, lambda count: next_judgements(rated(self.world.groups, mean, variance, noise), count)


@dataclass
class Compared:
    """Replayed comparisons: judgements are about two items."""

    world: World
    chosen: bool = False  # whether pairs are chosen for earlier answers

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
        later = np.arange(n) >= ITEMS - ITEMS // self.world.size
        kind, ordered = np.zeros(len(people), dtype=np.int64), np.ones(len(people), dtype=bool)
        steps, ones = np.full(n, 3), np.ones(n)
        found = fit_comparisons(
            Comparisons(
                self.world.groups,
                first,
                second,
                annotator,
                answer,
                steps,
                ones,
                kind,
                ordered,
                later if self.chosen else None,
            )
        )
        self.probability = found.probability(self.world.pairs)
        return found.mean, lambda count: next_judgements(compared(found), count)

    def right(self) -> Floats:
        """Of every pair as it would be published: its probability, and whether the other half's mean agrees, (2, P)."""
        a, b = self.world.pairs.T
        first = self.world.truth[a] > self.world.truth[b]
        up = self.probability >= 0.5
        return np.stack([np.where(up, self.probability, 1 - self.probability), first == up])


def curve(judged: Rated | Compared | Normal, policy: str) -> Floats:
    """Judgements per item, tau and accuracy, (rounds, 3): after every round of `active`, else at the lines."""
    rng, size = judged.world.rng, judged.world.size
    made = ITEMS - ITEMS // size if isinstance(judged, Compared) else ITEMS
    if isinstance(judged, Compared):
        judged.chosen = policy == "active"
    order, at, rows = rng.permutation(len(judged.kinds)), 0, []
    for line in LINES:
        while made < line * ITEMS:
            count = min(int(made * (GROWTH - 1)) + 1, line * ITEMS - made)
            if policy == "active":
                found, choose = judged.fitted()
                rows.append((made / ITEMS, *judged.world.scored(found)))
                chosen = choose(count)
            elif policy == "random":
                chosen = judged.kinds[rng.integers(0, len(judged.kinds), count)]
            else:
                chosen = judged.kinds[order[np.arange(at, at + count) % len(order)]]
            judged.ask(chosen)
            made, at = made + len(chosen), at + len(chosen)
        rows.append((line, *judged.world.scored(judged.fitted()[0])))
    return np.array(rows)


def saved(active: Floats, other: Floats) -> Floats:
    """How many judgements active needs for what the other has at each line, as a part of them, (lines,)."""
    at = np.searchsorted(other[:, 0], LINES)
    return np.interp(other[at, 1], np.maximum.accumulate(active[:, 1]), active[:, 0]) / other[at, 0]


def lines_of(way: str, size: int, curves: dict[str, list[Floats]]) -> list[str]:
    """The table's rows."""
    rows = []
    for number, line in enumerate(LINES):
        cells = [way, str(size), str(line)]
        found = {name: np.array([each[each[:, 0] == line][-1, 1:] for each in curves[name]]) for name in POLICIES}
        for figure in (0, 1):
            cells += [f"{found[name][:, figure].mean():.3f}" for name in POLICIES]
        for name in POLICIES[1:]:
            gain = found["active"][:, 0] - found[name][:, 0]
            cells.append(f"{gain.mean():+.3f} ± {_error(gain):.3f}")
            parts = np.array([saved(*both)[number] for both in zip(curves["active"], curves[name], strict=True)])
            cells.append(f"{parts.mean():.2f} ± {_error(parts):.2f}")
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def published(size: int, policy: str, pairs: Floats) -> str:
    """The row of the probabilities of these pairs, (2, P)."""
    cells = [str(size), policy]
    for low, high in pairwise(PROBABILITIES):
        here = (pairs[0] >= low) & (pairs[0] <= high)
        cells.append(f"{pairs[0][here].mean():.2f}: {pairs[1][here].mean():.2f}" if here.sum() >= 100 else "")
    return "| " + " | ".join(cells) + " |"


def _error(values: Floats) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3, help="two or more")
    parser.add_argument("--write", action="store_true", help="put the table into docs/preferences-measured.md")
    given = parser.parse_args()
    votes = Votes.load(given.folder / "faceratings.parquet")
    table = [HEAD, "|---|---|---|" + "---|" * 10]
    sure = ["| responses | asked | " + " | ".join(f"{a:g} to {b:g}" for a, b in pairwise(PROBABILITIES)) + " |"]
    sure.append("|---|---|" + "---|" * (len(PROBABILITIES) - 1))
    for way, name, size in (
        (Rated, "ratings", 4),
        (Rated, "ratings", 8),
        (Compared, "comparisons", 4),
        (Compared, "comparisons", 8),
        (Normal, "ideal ratings", 4),
        (Normal, "ideal ratings", 8),
    ):
        curves = {}
        for policy in POLICIES:
            judged = [way(World.drawn(votes, size, seed)) for seed in range(given.seeds)]
            curves[policy] = [curve(each, policy) for each in judged]
            if way is Compared:
                sure.append(published(size, policy, np.concatenate([each.right() for each in judged], axis=1)))
        table += lines_of(name, size, curves)
        print(*table[-len(LINES) :], f"{time.process_time():.0f} s", sep="\n", flush=True)
    print(*sure, sep="\n")
    if given.write:
        document.write(
            {"which judgement next": table, "probability of chosen pairs": sure},
            ROOT / "docs" / "preferences-measured.md",
        )


if __name__ == "__main__":
    main()
