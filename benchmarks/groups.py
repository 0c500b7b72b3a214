"""Is a group's own distribution better than everyone's for the group's own held-out votes? `python benchmarks/groups.py --write` puts the table into docs/statistics.md.

n random votes per item are fitted; every group's distribution (`by_group`) is scored against the group's other votes, and so are everyone's distribution (groups ignored) and the group's raw shares.
Groups: an attribute of the raters; raters who were alike on the other half of the items (severity, or opinion on Polis: two clusters); and a random division, in which nothing differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from document import write  # noqa: E402
from raters import DATA, load, split  # noqa: E402

from dprm_data.ingest.ratings import Ratings  # noqa: E402
from dprm_data.preference.groups import by_group  # noqa: E402
from dprm_data.preference.model_selection import learn_prior  # noqa: E402
from dprm_data.preference.posterior import evaluate  # noqa: E402
from dprm_data.preference.scores import ranked_probability_score  # noqa: E402

Membership = dict[str, str]
SPLITS = 10


def of_items(ratings: Ratings, items: np.ndarray) -> Ratings:
    """The ratings of these items, which are numbered anew."""
    new = np.full(len(ratings.item_ids), -1)
    new[items] = np.arange(len(items))
    on = replace(ratings, item_ids=[ratings.item_ids[i] for i in items], item=new[ratings.item])
    return on.take(np.flatnonzero(on.item >= 0))


def attribute(name: str, ratings: Ratings) -> Membership:
    """The raters of the faces by sex, or by age below and above the median."""
    table = pq.read_table(DATA / "faceratings.parquet", columns=["rater_id", "rater_sex", "rater_age"]).to_pylist()
    people = {str(row["rater_id"]): row for row in table}
    if name == "sex":
        return {who: row["rater_sex"] for who, row in people.items() if row["rater_sex"] in ("female", "male")}
    ages = {who: float(row["rater_age"]) for who, row in people.items() if row["rater_age"] is not None}
    ages = {who: age for who, age in ages.items() if np.isfinite(age)}
    middle = float(np.median(list(ages.values())))
    return {who: "older" if age > middle else "younger" for who, age in ages.items()}


def by_severity(ratings: Ratings) -> Membership:
    """Raters above and below the median of their mean deviation from the items' means."""
    totals = np.bincount(ratings.item, minlength=len(ratings.item_ids))
    mean = np.bincount(ratings.item, ratings.label, len(totals)) / np.maximum(totals, 1)
    gap = ratings.label - mean[ratings.item]
    A = len(ratings.annotator_ids)
    number = np.bincount(ratings.annotator, minlength=A)
    own = np.bincount(ratings.annotator, gap, A) / np.maximum(number, 1)
    seen = np.flatnonzero(number > 0)
    middle = np.median(own[seen])
    return {ratings.annotator_ids[a]: "lenient" if own[a] > middle else "strict" for a in seen}


def by_opinion(ratings: Ratings, rng: np.random.Generator) -> Membership:
    """Two clusters of raters by the sign of the first principal component of their deviations from the items' means."""
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import svds

    totals = np.bincount(ratings.item, minlength=len(ratings.item_ids))
    mean = np.bincount(ratings.item, ratings.label, len(totals)) / np.maximum(totals, 1)
    A = len(ratings.annotator_ids)
    gap = csr_array((ratings.label - mean[ratings.item], (ratings.annotator, ratings.item)), shape=(A, len(totals)))
    first = svds(gap, k=1, rng=rng)[0][:, 0]
    seen = np.flatnonzero(np.bincount(ratings.annotator, minlength=A) > 3)
    middle = np.median(first[seen])
    return {ratings.annotator_ids[a]: "one" if first[a] > middle else "other" for a in seen}


def random(ratings: Ratings, rng: np.random.Generator) -> Membership:
    return {
        name: "ab"[int(side)]
        for name, side in zip(ratings.annotator_ids, rng.integers(2, size=len(ratings.annotator_ids)), strict=True)
    }


def cases() -> Iterator[tuple[str, str, int]]:
    for n in (4, 10, 30):
        for kind in ("sex", "age", "severity", "random"):
            yield "faceratings", kind, n
    for n in (1, 2):
        for kind in ("severity", "random"):
            yield "convabuse", kind, n
    for n in (4, 10, 30):
        for kind in ("severity", "opinion", "random"):
            yield "polis", kind, n


def scored(name: str, kind: str, n: int, splits: int) -> str:
    whole, space = load(name)
    N = len(whole.item_ids)
    sums, seen = np.zeros((3, N)), np.zeros(N)
    significant = found = 0
    by_split = []
    for seed in range(splits):
        rng = np.random.default_rng([seed, n])
        on, place = whole, np.arange(N)
        if kind in ("severity", "opinion"):
            order = rng.permutation(N)
            place = np.sort(order[N // 2 :])
            other = of_items(whole, np.sort(order[: N // 2]))
            membership = by_severity(other) if kind == "severity" else by_opinion(other, rng)
            on = of_items(whole, place)
        else:
            membership = random(whole, rng) if kind == "random" else attribute(kind, whole)
        train, held = split(on, n, rng)
        where = {item: int(i) for item, i in zip(on.item_ids, place, strict=True)}
        rows = np.array([where[item] for item in train.item_ids])
        prior, _ = learn_prior(train.votes().counts, space, "beta")
        everyone = evaluate(prior, space, train.votes().counts, np.eye(space.K)).mean
        gaps = []
        for group in by_group(train, space, prior, membership):
            mine = np.array([membership.get(a) == group.name for a in held.annotator_ids])
            against = held.take(np.flatnonzero(mine[held.annotator])).votes().counts
            there = np.flatnonzero(against.sum(axis=1) > 0)
            own = np.array([membership.get(a) == group.name for a in train.annotator_ids])
            raw = train.take(np.flatnonzero(own[train.annotator])).votes().counts[there]
            raw = np.where(raw.sum(axis=1, keepdims=True) > 0, raw, everyone[there])
            raw = raw / raw.sum(axis=1, keepdims=True)
            for at, p in enumerate((raw, everyone[there], group.distribution[there])):
                scores = 1e4 * ranked_probability_score(p, against[there])
                sums[at, rows[there]] += scores
                gaps.append((0.0, -1.0, 1.0)[at] * scores.mean())
            seen[rows[there]] += 1
            significant += group.p_value < 0.05
            found += 1
        by_split.append(sum(gaps))
    there = seen > 0
    mean = sums[:, there] / seen[there]
    gap = mean[2] - mean[1]
    # Of items, or of splits if that is larger: a division of the raters is common to all items.
    error = max(np.std(one, ddof=1) / np.sqrt(len(one)) for one in (gap, np.array(by_split) / 2.0))
    mark = "" if abs(gap.mean()) <= error else " ▲" if gap.mean() < 0 else " ▼"
    line = [
        name,
        kind,
        n,
        *(f"{one.mean():.1f}" for one in mean),
        f"{gap.mean():+.2f} ({error:.2f}){mark}",
        f"{significant / found:.2f}",
    ]
    return "| " + " | ".join(map(str, line)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--splits", type=int, default=SPLITS)
    parser.add_argument("--write", action="store_true", help="put the table into docs/statistics.md")
    parser.add_argument("--sets", nargs="+", help="these sets only")
    args = parser.parse_args()
    lines = [
        "| set | groups | n | the group's raw shares | everyone's distribution | the group's | difference (s.e.) | significant |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, kind, n in cases():
        if args.sets is None or name in args.sets:
            lines.append(scored(name, kind, n, args.splits))
            print(lines[-1], flush=True)
    if args.write:
        write({"groups": lines})


if __name__ == "__main__":
    main()
