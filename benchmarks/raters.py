"""The gain of rater effects in the model, and the false alarm rate of figures over items. Real votes and simulations.

    python benchmarks/raters.py                 # all tables of docs/statistics.md about raters: about half an hour on two cores
    python benchmarks/raters.py --quick         # one split of each, prints only
    python benchmarks/raters.py --only raters   # one table

Fits use n random votes per item and are scored against all others. Scores are means over items, each item's mean over the splits; standard errors are
over items, of the paired differences. ChaosNLI's rater ids are placeholders: assigned at random, they are a control.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from document import write  # noqa: E402

from dprm_data.ingest.ratings import Ratings  # noqa: E402
from dprm_data.ingest.vote_tables import read_ratings  # noqa: E402
from dprm_data.labels.space import LabelSpace  # noqa: E402
from dprm_data.preference.beta import cells  # noqa: E402
from dprm_data.preference.fitting import Fit, fit  # noqa: E402
from dprm_data.preference.mean_shift import mean_shift  # noqa: E402
from dprm_data.preference.rater_units import difference  # noqa: E402
from dprm_data.preference.scores import LEAST, ranked_probability_score  # noqa: E402
from dprm_data.recipe.fit_config import SmoothingConfig  # noqa: E402

DATA = next(
    (p / "shared" / "data" for p in ROOT.parents if (p / "shared" / "data").is_dir()), ROOT.parent / "shared" / "data"
)
LEVELS = {"faceratings": 7, "convabuse": 5, "polis": 3, "chaosnli": 3}
SIZES = {"faceratings": (2, 5, 10, 20, 50), "convabuse": (1, 2), "polis": (2, 5, 10, 20, 50), "chaosnli": (2, 5, 10)}
RAW = SmoothingConfig(kind="none")
MOST_SCORED = 2_000  # held-out votes for the predictions of single raters


def load(name: str) -> tuple[Ratings, LabelSpace]:
    space = LabelSpace.ordinal(LEVELS[name])
    found = read_ratings(DATA / f"{name}.parquet", space)
    return (dealt(found, np.random.default_rng(99)) if name == "chaosnli" else found), space


def dealt(ratings: Ratings, rng: np.random.Generator) -> Ratings:
    """Every item's ratings, assigned at random to its raters."""
    from dataclasses import replace

    order = np.argsort(ratings.item, kind="stable")
    again = np.lexsort((rng.random(len(ratings)), ratings.item))
    who = np.empty_like(ratings.annotator)
    who[order] = ratings.annotator[again]
    return replace(ratings, annotator=who)


def shuffled(ratings: Ratings, rng: np.random.Generator) -> Ratings:
    """The same votes, each with the id of another, from any item."""
    from dataclasses import replace

    return replace(ratings, annotator=rng.permutation(ratings.annotator))


def split(ratings: Ratings, n: int, rng: np.random.Generator) -> tuple[Ratings, Ratings]:
    """n votes of every item that has more, and the others."""
    from dataclasses import replace

    number = np.bincount(ratings.item, minlength=len(ratings.item_ids))
    order = np.lexsort((rng.random(len(ratings)), ratings.item))
    place = np.empty(len(ratings), dtype=np.int64)
    place[order] = np.arange(len(ratings)) - np.repeat(np.cumsum(number) - number, number)
    kept = np.flatnonzero(number > n)
    new = np.full(len(number), -1)
    new[kept] = np.arange(len(kept))
    on = replace(ratings, item_ids=[ratings.item_ids[i] for i in kept], item=new[ratings.item])
    return on.take(np.flatnonzero((on.item >= 0) & (place < n))), on.take(np.flatnonzero((on.item >= 0) & (place >= n)))


def own_gain(with_raters: Fit, crowd: Fit, held: Ratings, rng: np.random.Generator) -> float:
    """The gain in nats per held-out vote of a known rater, over the population's prediction."""
    assert with_raters.raters is not None
    seen = with_raters.raters.votes[held.annotator] > 0
    rows = np.flatnonzero(seen)
    rows = rows[rng.permutation(len(rows))[:MOST_SCORED]]
    own = with_raters.raters.probability(held.item[rows], held.annotator[rows], held.label[rows])
    all_ = crowd.posterior[held.item[rows], held.label[rows]]
    return float((np.log(np.maximum(own, LEAST)) - np.log(np.maximum(all_, LEAST))).mean())


def raters(quick: bool) -> list[str]:
    lines = [
        "| set | n | items | votes a rater | beta | with raters | difference (s.e.) | in the model | single raters, nats a vote | ids shuffled: difference (s.e.) | in the model |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, sizes in SIZES.items():
        whole, space = load(name)
        for n in sizes:
            splits = 1 if quick else 5 if name == "faceratings" else 2
            N = len(whole.item_ids)
            sums = {key: np.zeros(N) for key in ("beta", "raters", "control")}
            seen, on, control_on, gains, each = np.zeros(N), [], [], [], []
            place = {item: i for i, item in enumerate(whole.item_ids)}
            for seed in range(splits):
                rng = np.random.default_rng([seed, n])
                train, held = split(whole, n, rng)
                rows = np.array([place[item] for item in train.item_ids])
                against = held.votes().counts
                crowd = fit(train.votes(), space, smoothing=RAW)
                rated, control = (fit(votes, space, smoothing=RAW) for votes in (train, shuffled(train, rng)))
                for key, found in (("beta", crowd), ("raters", rated), ("control", control)):
                    sums[key][rows] += 1e4 * ranked_probability_score(found.posterior, against)
                seen[rows] += 1
                on.append(rated.raters is not None)
                control_on.append(control.raters is not None)
                each.append(len(train) / len(np.unique(train.annotator)))
                if rated.raters:
                    gains.append(own_gain(rated, crowd, held, rng))
            there = seen > 0
            mean = {key: total[there] / seen[there] for key, total in sums.items()}
            cells_ = [
                name,
                n,
                there.sum(),
                f"{np.mean(each):.1f}",
                f"{mean['beta'].mean():.1f}",
                f"{mean['raters'].mean():.1f}",
            ]
            cells_ += [paired(mean["raters"] - mean["beta"]), f"{sum(on)} of {splits}"]
            cells_ += [
                f"{np.mean(gains):+.3f}" if gains else "–",
                paired(mean["control"] - mean["beta"]),
                f"{sum(control_on)} of {splits}",
            ]
            lines.append("| " + " | ".join(map(str, cells_)) + " |")
            print(lines[-1], flush=True)
    return lines


def paired(values: np.ndarray) -> str:
    error = values.std(ddof=1) / np.sqrt(len(values))
    mark = "" if abs(values.mean()) <= 2 * error else " ▲" if values.mean() < 0 else " ▼"
    return f"{values.mean():+.1f} ({error:.1f}){mark}"


def alarms(quick: bool) -> list[str]:
    """False alarms: raters split at random, and how often a difference is significant at 5 %, with the rater and with the item as the unit."""
    runs = 40 if quick else 300
    lines = ["| what | set | raters a side | rater as the unit | item as the unit |", "|---|---|---|---|---|"]
    for name, few in (("faceratings", 3), ("faceratings", 10), ("faceratings", 50), ("convabuse", 4), ("polis", 500)):
        whole, space = load(name)
        reward, R = space.rewards[whole.label], len(whole.annotator_ids)
        found: dict[str, list[tuple[bool, bool]]] = {"groups": [], "drift": []}
        for seed in range(runs):
            side = np.full(R, -1)
            side[np.random.default_rng(seed).permutation(R)[: 2 * few]] = np.arange(2 * few) % 2
            kind = side[whole.annotator]
            two = [np.bincount(whole.item[kind == k], minlength=len(whole.item_ids)) for k in (0, 1)]
            both = np.flatnonzero((kind >= 0) & ((two[0] > 0) & (two[1] > 0))[whole.item])
            here, y, later = whole.take(both), reward[both], kind[both].astype(float)
            gap = _gap(here.item, y, later)
            by_item = abs(gap.mean()) > 1.96 * gap.std(ddof=1) / np.sqrt(len(gap))
            found["groups"].append((difference(y, here.item, here.annotator, later).p_value < 0.05, by_item))
            old, new = (here.take(np.flatnonzero(later == k)) for k in (0.0, 1.0))
            counts = [side_.votes().counts for side_ in (old, new)]
            rows = np.flatnonzero((counts[0].sum(axis=1) > 0) & (counts[1].sum(axis=1) > 0))
            ids = [whole.item_ids[i] for i in rows]
            shift, error, _ = mean_shift(old, new, counts[0][rows], counts[1][rows], ids, space, None, None)
            found["drift"].append((abs(shift) > 1.96 * error, by_item))
        for what, hits in found.items():
            rater, item = np.mean(hits, axis=0)
            lines.append(f"| {what} | {name} | {few} | {rater:.3f} | {item:.3f} |")
            print(lines[-1], flush=True)
    return lines


def _gap(item: np.ndarray, y: np.ndarray, later: np.ndarray) -> np.ndarray:
    """For each item, the mean of the later votes minus the mean of the others."""
    means = [
        np.bincount(item[later == k], y[later == k], minlength=item.max() + 1)
        / np.maximum(np.bincount(item[later == k], minlength=item.max() + 1), 1)
        for k in (0, 1)
    ]
    there = np.bincount(item, minlength=item.max() + 1) > 0
    return (means[1] - means[0])[there]


def crossed(quick: bool) -> list[str]:
    """Simulated panels that judge everything: coverage of 90 % intervals for the population's expected reward."""
    lines = [
        "| raters, who all judge 200 items | severities' s.d. | beta: coverage | with raters: coverage | beta: RMSE | with raters: RMSE |",
        "|---|---|---|---|---|---|",
    ]
    space = LabelSpace.ordinal(5)
    for raters_, tau in ((3, 0.5), (5, 0.0), (5, 0.5), (5, 1.0), (20, 0.5)):
        held, errors = [], []
        for seed in range(4 if quick else 12):
            rng = np.random.default_rng([seed, raters_])
            logit, s = rng.normal(0.3, 1.2, 200), np.exp(rng.normal(1.6, 0.5, 200))
            severity = rng.normal(0, tau, raters_)
            item, who = (a.ravel() for a in np.meshgrid(np.arange(200), np.arange(raters_), indexing="ij"))
            p = np.cumsum(seen(logit[item] + severity[who], s[item]), axis=1)
            label = np.minimum((rng.random((len(p), 1)) > p).sum(axis=1), 4)
            zeros = np.zeros(len(item), dtype=np.int64)
            votes = Ratings(
                [str(i) for i in range(200)],
                [str(i) for i in range(raters_)],
                5,
                item,
                who,
                label,
                np.ones(len(item)),
                zeros,
            )
            points, weights = np.polynomial.hermite_e.hermegauss(15)
            truth = (
                sum(w * seen(logit + tau * x, s) for x, w in zip(points, weights / weights.sum(), strict=True))
                @ space.rewards
            )
            row = []
            for found in (fit(votes.votes(), space, smoothing=RAW), fit(votes, space, smoothing=RAW)):
                row += [
                    ((found.reward_low <= truth) & (truth <= found.reward_high)).mean(),
                    ((found.expected_reward - truth) ** 2).mean(),
                ]
            held.append(row[::2])
            errors.append(row[1::2])
        share, rmse = np.mean(held, axis=0), np.sqrt(np.mean(errors, axis=0))
        lines.append(f"| {raters_} | {tau} | {share[0]:.3f} | {share[1]:.3f} | {rmse[0]:.3f} | {rmse[1]:.3f} |")
        print(lines[-1], flush=True)
    return lines


def seen(logit: np.ndarray, s: np.ndarray) -> np.ndarray:
    return cells(1 / (1 + np.exp(-np.clip(logit, -12, 12))), s, 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one split of everything, print and write nothing")
    parser.add_argument("--only", help="one table")
    options = parser.parse_args()
    makers: dict[str, Callable[[bool], list[str]]] = {"raters": raters, "alarms": alarms, "crossed": crossed}
    if options.only in (None, "raters", "alarms") and not (DATA / "faceratings.parquet").is_file():
        raise SystemExit(f"the real votes are not here: {DATA}")
    sections = {name: make(options.quick) for name, make in makers.items() if options.only in (None, name)}
    if not options.quick:
        write(sections)


if __name__ == "__main__":
    main()
