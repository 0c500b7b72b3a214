"""Is the joint fit of comparisons and ratings as sure as it says? Real people's ratings, turned into comparisons, against raters who were not fitted.

    python benchmarks/comparisons.py FOLDER [--seeds 3] [--write]

FOLDER holds faceratings.parquet and polis.parquet (item_id, rater_id, label, K). 300 prompts of four items each are drawn. In each, a few people of one half of the raters compare all pairs (whoever rated
one item higher prefers it, equal ratings are a tie, which of the two is first is drawn), and others of that half rate: two ratings an item. The other half says what is true.

    probability   by bins of the published probability: how often the other half's mean rating agrees
    share         the error of the share of the other half who prefer the first, by fifths of it, the tie, and how often the share lies in its 90 % interval (300 people or more)
"""

from __future__ import annotations

import argparse
import sys
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import document  # noqa: E402
from benchmarks.preferences import ENOUGH, PROBABILITIES, Votes  # noqa: E402
from dprm_data.core.arrays import Floats, Ints  # noqa: E402
from dprm_data.ingest.votes import Votes as Counts  # noqa: E402
from dprm_data.labels.space import LabelSpace  # noqa: E402
from dprm_data.preference.comparisons import Comparisons, fit_comparisons  # noqa: E402
from dprm_data.preference.coupling import TYPICAL  # noqa: E402
from dprm_data.preference.fitting import fit  # noqa: E402
from dprm_data.preference.pair_shares import Side, pair_shares  # noqa: E402
from dprm_data.preference.pairs import probabilities  # noqa: E402

PROMPTS, SIZE, RATINGS = 300, 4, 2
PEOPLE = (2, 6)  # who compare, of each prompt
PAIRS = np.array(list(combinations(range(SIZE), 2)))
FIGURES = ("probability", "share", "low", "high", "tie", "agrees", "real", "real_tie", "both")


def compared(votes: Votes, people: int, seed: int) -> dict[str, dict[str, Floats]]:
    """The figures of all pairs, by what was fitted: ratings, comparisons, both."""
    rng = np.random.default_rng(seed)
    label = np.full((int(votes.rater.max()) + 1, int(votes.item.max()) + 1), -1)
    label[votes.rater, votes.item] = votes.label
    half = rng.random(len(label)) < 0.5
    fitted, held = label[half], label[~half]
    prompts = _prompts(fitted, people, rng)
    space, counts = LabelSpace.ordinal(votes.K), np.zeros((PROMPTS * SIZE, votes.K))
    rows = []
    for g, items in enumerate(prompts):
        given = fitted[:, items]
        who = rng.permutation(np.flatnonzero((given >= 0).all(axis=1)))[:people]
        for person in who:
            for a, b in PAIRS:
                a, b = (a, b) if rng.random() < 0.5 else (b, a)
                rows.append((g * SIZE + a, g * SIZE + b, person, np.sign(given[person, a] - given[person, b])))
        for place in range(SIZE):
            others = np.setdiff1d(np.flatnonzero(given[:, place] >= 0), who)
            np.add.at(counts[g * SIZE + place], given[rng.permutation(others)[:RATINGS], place], 1.0)
    data = _comparisons(np.array(rows))
    rated = fit(Counts([str(i) for i in range(len(counts))], counts), space)
    reward, error = rated.expected_reward, rated.reward_error
    pairs = (np.arange(PROMPTS)[:, None, None] * SIZE + PAIRS).reshape(-1, 2)
    truth = _truth(held, prompts)
    sides = (Side(rated.distribution[each], error[each]) for each in pairs.T)
    alone = pair_shares(*sides, space.rewards, TYPICAL)
    found = {"ratings": (probabilities(reward, error**2, pairs), alone.share, alone.low, alone.high, alone.tie)}
    for name, joint in (("comparisons", fit_comparisons(data)), ("both", fit_comparisons(data, reward, error))):
        found[name] = (joint.probability(pairs), *joint.shares(pairs))
    return {name: dict(zip(FIGURES, (*figures, *truth), strict=True)) for name, figures in found.items()}


def _prompts(label: Ints, people: int, rng: np.random.Generator) -> list[Ints]:
    """Sets of items that enough people rated together."""
    found: list[Ints] = []
    while len(found) < PROMPTS:
        items = rng.choice(label.shape[1], SIZE, replace=False)
        if (label[:, items] >= 0).all(axis=1).sum() >= people:
            found.append(items)
    return found


def _comparisons(rows: Ints) -> Comparisons:
    first, second, person, answer = rows.astype(np.int64).T
    people, annotator = np.unique(person, return_inverse=True)
    return Comparisons(
        group=np.repeat(np.arange(PROMPTS), SIZE),
        first=first,
        second=second,
        annotator=annotator,
        answer=answer,
        steps=np.full(len(rows), 3),
        weight=np.ones(len(rows)),
        kind=np.zeros(len(people), dtype=np.int64),
        ordered=np.ones(len(people), dtype=bool),
    )


def _truth(held: Ints, prompts: list[Ints]) -> tuple[Floats, ...]:
    """Of all pairs: whether the held-out mean rating is higher, the share who prefer the first, ties, and of how many people."""
    rows = []
    for items in prompts:
        for a, b in PAIRS:
            one, other = held[:, items[a]], held[:, items[b]]
            both = (one >= 0) & (other >= 0)
            means = [side[side >= 0].mean() for side in (one, other)]
            agrees = float(means[0] > means[1]) + 0.5 * (means[0] == means[1])
            rows.append((agrees, (one > other)[both].mean(), (one == other)[both].mean(), both.sum()))
    return tuple(np.array(rows, dtype=np.float64).T)


def tables(found: dict[tuple[str, int], dict[str, dict[str, Floats]]]) -> dict[str, list[str]]:
    sure = [
        "| set | people | fitted | right | " + " | ".join(f"{a:g} to {b:g}" for a, b in pairwise(PROBABILITIES)) + " |"
    ]
    sure.append("|---|---|---|---|" + "---|" * (len(PROBABILITIES) - 1))
    shared = [
        "| set | people | fitted | "
        + " | ".join(f"{d / 5:g} to {d / 5 + 0.2:g}" for d in range(5))
        + " | tie | in the interval |"
    ]
    shared.append("|---|---|---|" + "---|" * 7)
    for (name, people), by in found.items():
        for fitted, pair in by.items():
            up = pair["probability"] >= 0.5
            p, right = (
                np.where(up, pair["probability"], 1 - pair["probability"]),
                np.where(up, pair["agrees"], 1 - pair["agrees"]),
            )
            cells = []
            for low, high in pairwise(PROBABILITIES):
                here = (p >= low) & (p <= high)
                cells.append(f"{p[here].mean():.2f}: {right[here].mean():.2f}" if here.sum() >= 100 else "")
            sure.append(f"| {name} | {people} | {fitted} | {right.mean():.3f} | " + " | ".join(cells) + " |")
            many = pair["both"] >= min(ENOUGH, np.median(pair["both"]))
            share, real = pair["share"], pair["real"]
            fifths = [many & (np.minimum((share * 5).astype(int), 4) == d) for d in range(5)]
            cells = [f"{(share[here] - real[here]).mean():+.3f}" if here.sum() >= 100 else "" for here in fifths]
            inside = ((pair["low"] <= real) & (real <= pair["high"]))[many].mean()
            tie = f"{pair['tie'].mean():.2f}: {pair['real_tie'].mean():.2f}"
            shared.append(f"| {name} | {people} | {fitted} | " + " | ".join(cells) + f" | {tie} | {inside:.2f} |")
    return {"probability by what was fitted": sure, "share by what was fitted": shared}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/comparisons-model.md")
    given = parser.parse_args()
    found: dict[tuple[str, int], dict[str, dict[str, Floats]]] = {}
    for name in ("faceratings", "polis"):
        votes = Votes.load(given.folder / f"{name}.parquet")
        for people in PEOPLE:
            runs = [compared(votes, people, seed) for seed in range(given.seeds)]
            found[name, people] = {
                fitted: {figure: np.concatenate([run[fitted][figure] for run in runs]) for figure in FIGURES}
                for fitted in runs[0]
            }
    sections = tables(found)
    for title, lines in sections.items():
        print(title, *lines, sep="\n", end="\n\n")
    if given.write:
        document.write(sections, ROOT / "docs" / "comparisons-model.md")


if __name__ == "__main__":
    main()
