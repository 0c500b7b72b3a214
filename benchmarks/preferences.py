"""Are preferences as probable as they say, and shared by as many people as they say? Against raters who were not fitted.

    python benchmarks/preferences.py FOLDER [--seeds 5] [--write]

FOLDER holds faceratings.parquet, polis.parquet and convabuse.parquet (item_id, rater_id, label, K). Half of the raters are fitted, n of their ratings per item; the other half says what is true.
Pairs of items are drawn at random and stand for two responses to one prompt. Of these sets only the face ratings have all raters rate all items.

    probability   by bins of the published probability: how often the other half's mean rating agrees
    share, tie    by tenths of the published share: the share of the other half (of those who rated both) who prefer the first
    interval      how often the other half's share lies in the 90 % interval, where at least 300 of them rated both
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import document  # noqa: E402
from dprm_data.core.arrays import Floats, Ints  # noqa: E402
from dprm_data.ingest.ratings import Ratings  # noqa: E402
from dprm_data.labels.space import LabelSpace  # noqa: E402
from dprm_data.preference.coupling import TYPICAL, learn_coupling  # noqa: E402
from dprm_data.preference.fitting import fit  # noqa: E402
from dprm_data.preference.pair_shares import Coupling, Side, pair_shares  # noqa: E402
from dprm_data.preference.pairs import probabilities  # noqa: E402

SETTINGS = {"faceratings": (2, 5, 15), "polis": (5, 20), "convabuse": (2,)}
PAIRS = 4_000
ENOUGH = 300  # people who rated both
PROBABILITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


@dataclass(frozen=True)
class Votes:
    """All ratings of a set (V,)."""

    item: Ints
    rater: Ints
    label: Ints
    K: int

    @classmethod
    def load(cls, file: Path) -> Votes:
        table = pq.read_table(file, columns=["item_id", "rater_id", "label", "K"])
        item, rater = (
            np.unique(table[name].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)[1]
            for name in ("item_id", "rater_id")
        )
        return cls(item, rater, table["label"].to_numpy().astype(np.int64), int(table["K"][0].as_py()))

    def take(self, rows: Ints) -> Votes:
        return Votes(self.item[rows], self.rater[rows], self.label[rows], self.K)

    def ratings(self) -> Ratings:
        names = [[str(i) for i in range(int(column.max()) + 1)] for column in (self.item, self.rater)]
        ones, zeros = np.ones(len(self.item)), np.zeros(len(self.item), dtype=np.int64)
        return Ratings(names[0], names[1], self.K, self.item, self.rater, self.label, ones, zeros)


@dataclass(frozen=True)
class Judged:
    """Pairs with what was published of them and what the other raters say, (P,) each. agrees: NaN where no two of them say something; wins, ties: of `both` people who rated both."""

    probability: Floats
    share: Floats
    low: Floats
    high: Floats
    tie: Floats
    agrees: Floats
    wins: Floats
    ties: Floats
    both: Floats


def judged(votes: Votes, n: int, seed: int) -> tuple[Judged, Coupling]:
    """Pairs of one split of the raters."""
    rng = np.random.default_rng(seed)
    half = rng.random(int(votes.rater.max()) + 1) < 0.5
    fitted, other = _first(votes.take(np.flatnonzero(half[votes.rater])), n, rng), np.flatnonzero(~half[votes.rater])
    space, ratings = LabelSpace.ordinal(votes.K), fitted.ratings()
    found = fit(ratings.votes(), space)
    coupling = learn_coupling(ratings, found.distribution, found.reward_error, space) or TYPICAL
    with_votes = np.flatnonzero(ratings.votes().totals > 0)
    held = votes.take(other)
    first, second, wins, ties, both = _pairs(held, with_votes, rng)
    swap = found.expected_reward[first] < found.expected_reward[second]
    wins = np.where(swap, both - wins - ties, wins)
    first, second = np.where(swap, second, first), np.where(swap, first, second)
    shares = pair_shares(
        *(Side(found.distribution[rows], found.reward_error[rows]) for rows in (first, second)), space.rewards, coupling
    )
    number = np.bincount(held.item, minlength=len(found))
    mean = np.bincount(held.item, held.label, len(found)) / np.maximum(number, 1)
    agrees = (mean[first] > mean[second]) + 0.5 * (mean[first] == mean[second])
    probability = probabilities(found.expected_reward, found.reward_error**2, np.stack([first, second], axis=1))
    known = (number[first] > 1) & (number[second] > 1)
    return Judged(
        probability,
        shares.share,
        shares.low,
        shares.high,
        shares.tie,
        np.where(known, agrees, np.nan),
        wins,
        ties,
        both,
    ), coupling


def _first(votes: Votes, n: int, rng: np.random.Generator) -> Votes:
    """At most n ratings per item, at random."""
    order = np.lexsort((rng.random(len(votes.item)), votes.item))
    _, start, size = np.unique(votes.item[order], return_index=True, return_counts=True)
    return votes.take(order[np.arange(len(order)) - np.repeat(start, size) < n])


def _pairs(held: Votes, items: Ints, rng: np.random.Generator) -> tuple[Ints, Ints, Floats, Floats, Floats]:
    """Random pairs of these items, and of the people who rated both: how many prefer the first, how many have no preference, and their number."""
    people = int(held.rater.max()) + 1
    label = np.full((people, int(max(held.item.max(), items.max())) + 1), -1, dtype=np.int8)
    label[held.rater, held.item] = held.label
    first, second = rng.choice(items, (2, PAIRS if people > 100 else 20 * PAIRS))
    first, second = first[first != second], second[first != second]
    wins, ties, both = (np.zeros(len(first)) for _ in range(3))
    for start in range(0, len(first), 500):
        rows = slice(start, start + 500)
        one, other = label[:, first[rows]], label[:, second[rows]]
        together = (one >= 0) & (other >= 0)
        both[rows] = together.sum(axis=0)
        wins[rows], ties[rows] = (together & (one > other)).sum(axis=0), (together & (one == other)).sum(axis=0)
    return first, second, wins, ties, both


def _joined(parts: list[Judged]) -> Judged:
    return Judged(*(np.concatenate([getattr(part, name) for part in parts]) for name in Judged.__dataclass_fields__))


def tables(found: dict[tuple[str, int], tuple[Judged, list[Coupling]]], seeds: int) -> dict[str, list[str]]:
    sure = ["| set | n | " + " | ".join(f"{a:g} to {b:g}" for a, b in pairwise(PROBABILITIES)) + " |"]
    sure.append("|---|---|" + "---|" * (len(PROBABILITIES) - 1))
    shared = ["| set | n | r | v | " + " | ".join(f"0.{d}" for d in range(10)) + " | tie | in the interval |"]
    shared.append("|---|---|---|---|" + "---|" * 12)
    for (name, n), (pairs, couplings) in found.items():
        cells = []
        for low, high in pairwise(PROBABILITIES):
            rows = (pairs.probability >= low) & (pairs.probability <= high) & ~np.isnan(pairs.agrees)
            enough = rows.sum() >= 500 * seeds // 5
            cells.append(f"{pairs.probability[rows].mean():.2f}: {pairs.agrees[rows].mean():.2f}" if enough else "")
        sure.append(f"| {name} | {n} | " + " | ".join(cells) + " |")
        cells = []
        tenth = np.minimum((pairs.share * 10).astype(int), 9)
        for d in range(10):
            rows = (tenth == d) & (pairs.both > 0)
            both = pairs.both[rows]
            enough = rows.sum() >= 500 * seeds // 5
            cells.append(f"{(pairs.share[rows] @ both - pairs.wins[rows].sum()) / both.sum():+.3f}" if enough else "")
        both = pairs.both
        tie = f"{pairs.tie @ both / both.sum():.2f}: {pairs.ties.sum() / both.sum():.2f}"
        many = both >= ENOUGH
        real = pairs.wins[many] / both[many]
        held = f"{((pairs.low[many] <= real) & (real <= pairs.high[many])).mean():.2f}" if many.any() else ""
        r, v = (np.mean([getattr(c, each) for c in couplings]) for each in ("correlation", "indifference"))
        shared.append(f"| {name} | {n} | {r:.2f} | {v:.2f} | " + " | ".join(cells) + f" | {tie} | {held} |")
    return {"probability of pairs": sure, "share of pairs": shared}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/preferences-measured.md")
    given = parser.parse_args()
    found = {}
    for name, sizes in SETTINGS.items():
        votes = Votes.load(given.folder / f"{name}.parquet")
        for n in sizes:
            parts = [judged(votes, n, seed) for seed in range(given.seeds)]
            found[name, n] = _joined([pairs for pairs, _ in parts]), [coupling for _, coupling in parts]
    sections = tables(found, given.seeds)
    for title, lines in sections.items():
        print(title, *lines, sep="\n", end="\n\n")
    if given.write:
        document.write(sections, ROOT / "docs" / "preferences-measured.md")


if __name__ == "__main__":
    main()
