"""Which estimator turns few votes into the population's distribution best? Real votes: fit on n raters of every item, score on others.

    python benchmarks/estimators.py                 # all sets, writes the tables of docs/statistics.md and docs/img/: about ten minutes
    python benchmarks/estimators.py --quick         # one split of each, prints only

The raters of every item are split in two halves at random; n of the first half are fitted on, the second half is what is scored against. Scores are
means over items, of several splits each; standard errors are over items, of the paired differences.
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

from dprm_data.ingest.vote_tables import read_votes  # noqa: E402
from dprm_data.ingest.votes import Votes  # noqa: E402
from dprm_data.labels.geometry import wasserstein_in_steps  # noqa: E402
from dprm_data.labels.space import LabelSpace  # noqa: E402
from dprm_data.preference import beta as discretised  # noqa: E402
from dprm_data.preference.drift_detection import drift  # noqa: E402
from dprm_data.preference.fitting import fit  # noqa: E402
from dprm_data.preference.model_selection import (  # noqa: E402
    held_out_scores,
    learn_prior,
)
from dprm_data.preference.posterior import evaluate  # noqa: E402
from dprm_data.preference.sampling import predictive_means  # noqa: E402
from dprm_data.preference.scores import hold_out, log_likelihood, ranked_probability_score  # noqa: E402
from dprm_data.preference.smoothing import smooth  # noqa: E402
from dprm_data.preference.updater import update  # noqa: E402
from dprm_data.recipe.fit_config import SmoothingConfig  # noqa: E402

DATA = next(
    (p / "shared" / "data" for p in ROOT.parents if (p / "shared" / "data").is_dir()), ROOT.parent / "shared" / "data"
)
LEVELS = {"faceratings": 7, "convabuse": 5, "chaosnli": 3, "polis": 3}
SIZES = (2, 5, 10, 20, 50)
FEWEST_ITEMS = 50  # a setting with fewer items is left out
RAW = SmoothingConfig(kind="none")

Estimate = Callable[[np.ndarray, LabelSpace], np.ndarray]


# -- estimators ---------------------------------------------------------------------------------------------------------


def raw(votes: np.ndarray, space: LabelSpace) -> np.ndarray:
    return votes / votes.sum(axis=1, keepdims=True)


def jeffreys(votes: np.ndarray, space: LabelSpace) -> np.ndarray:
    return raw(votes + 0.5, space)


def likeliest_beta(votes: np.ndarray, space: LabelSpace) -> np.ndarray:
    """The discretised beta of maximum likelihood, for every item alone (the best point of a fine grid)."""
    mu, s = (
        g.ravel() for g in np.meshgrid(discretised.mean_grid(97), discretised.concentration_grid(25), indexing="ij")
    )
    cells = discretised.cells(mu, s, space.K)
    return cells[(votes @ np.log(cells).T).argmax(axis=1)]


def learned(family: str, plain: bool = False, order: list[int] | None = None) -> Estimate:
    def estimate(votes: np.ndarray, space: LabelSpace) -> np.ndarray:
        columns = np.arange(space.K) if order is None else np.array(order)
        prior, _ = learn_prior(votes[:, columns], space, family, plain=plain)
        return evaluate(prior, space, votes[:, columns], np.eye(space.K)).mean[:, np.argsort(columns)]

    return estimate


def marginal(votes: np.ndarray, space: LabelSpace) -> np.ndarray:
    """One distribution for all items."""
    total = votes.sum(axis=0) + 0.5
    return np.tile(total / total.sum(), (len(votes), 1))


ESTIMATORS: dict[str, Estimate] = {
    "raw": raw,
    "Jeffreys": jeffreys,
    "ML beta": likeliest_beta,
    "dirichlet": learned("dirichlet"),
    "mixture": learned("mixture"),
    "plain beta": learned("beta", plain=True),
    "**beta**": learned("beta"),
    "beta-dirichlet": learned("beta-dirichlet"),
}
DEFAULT = "**beta**"


# -- data and scores ----------------------------------------------------------------------------------------------------


def load(name: str) -> tuple[np.ndarray, LabelSpace]:
    space = LabelSpace.ordinal(LEVELS[name])
    return read_votes(DATA / f"{name}.parquet", space).counts, space


def scores(p: np.ndarray, held: np.ndarray) -> np.ndarray:
    """RPS x 10^4, log-likelihood per vote, and W1 in levels: (3, N)."""
    w1 = wasserstein_in_steps(p, held / held.sum(axis=1, keepdims=True))
    return np.stack([1e4 * ranked_probability_score(p, held), log_likelihood(p, held), w1])


def settings(sizes: tuple[int, ...] = SIZES) -> list[tuple[str, int]]:
    out = []
    for name in LEVELS:
        counts, _ = load(name)
        total = counts.sum(axis=1)
        out += [(name, n) for n in sizes if (np.ceil(total / 2) >= n).sum() >= FEWEST_ITEMS]
    return out


def collect(
    name: str, n: int, estimators: dict[str, Estimate], splits: int, items: int | None = None, fewest: int | None = None
) -> dict[str, np.ndarray]:
    """Scores (3, items), each item's mean over the splits in which it was. fewest: an item has from so many to n votes."""
    counts, space = load(name)
    sums = {key: np.zeros((3, len(counts))) for key in estimators}
    seen = np.zeros(len(counts))
    for seed in range(splits):
        rng = np.random.default_rng(seed)
        rows, train, held = hold_out(counts, n, rng)
        if items is not None:
            chosen = np.sort(rng.permutation(len(rows))[:items])
            rows, train, held = rows[chosen], train[chosen], held[chosen]
        if fewest is not None:
            sizes = rng.integers(fewest, n + 1, len(train))
            train = np.array(
                [rng.multivariate_hypergeometric(v.astype(np.int64), m) for v, m in zip(train, sizes, strict=True)],
                dtype=float,
            )
        seen[rows] += 1
        for key, estimate in estimators.items():
            sums[key][:, rows] += scores(estimate(train, space), held)
    return {key: total[:, seen > 0] / seen[seen > 0] for key, total in sums.items()}


def score_cells(found: dict[str, np.ndarray]) -> str:
    """Each estimator's mean RPS and log-likelihood, as cells of a table."""
    return " | ".join(f"{scores[0].mean():.1f} | {scores[1].mean():.4f}" for scores in found.values())


# -- tables -------------------------------------------------------------------------------------------------------------


def comparison(quick: bool) -> list[str]:
    """The main table, and how often the default wins and loses by more than a standard error."""
    names = list(ESTIMATORS)
    tables = {
        0: ["RPS × 10⁴ (lower is better)"],
        1: ["log-likelihood per held-out vote (higher is better)"],
        2: ["Wasserstein-1 to the held-out votes, in levels (not a proper score)"],
    }
    wins = {(metric, name): [0, 0, 0] for metric in (0, 1) for name in names}
    for metric in tables:
        tables[metric] += ["", "| set | n | items | " + " | ".join(names) + " |", "|---|---|---|" + "---|" * len(names)]
    for name, n in settings():
        splits = 1 if quick else 30 if name == "faceratings" else 3
        found = collect(name, n, ESTIMATORS, splits)
        size = found["raw"].shape[1]
        for metric, lines in tables.items():
            cells = []
            for key in names:
                value = found[key][metric]
                difference = (value - found[DEFAULT][metric]) * (1 if metric != 1 else -1)
                error = difference.std(ddof=1) / np.sqrt(size)
                if metric < 2 and key != DEFAULT:
                    wins[metric, key][0 if difference.mean() > error else 1 if difference.mean() < -error else 2] += 1
                mark = (
                    "" if key == DEFAULT or abs(difference.mean()) <= error else " ▲" if difference.mean() > 0 else " ▼"
                )
                cells.append((f"{value.mean():.1f}" if metric == 0 else f"{value.mean():.4f}") + mark)
            lines.append(f"| {name} | {n} | {size} | " + " | ".join(cells) + " |")
        print("\n".join(lines[-1] for lines in tables.values()), flush=True)
    lines = [line for table in tables.values() for line in [*table, ""]]
    lines += [
        "Settings in which `beta` is better / worse than another by more than one standard error of the paired difference / level:",
        "",
    ]
    lines += ["| | " + " | ".join(key for key in names if key != DEFAULT) + " |", "|---|" + "---|" * (len(names) - 1)]
    for metric, label in ((0, "RPS"), (1, "log-likelihood")):
        cells = ["{} / {} / {}".format(*wins[metric, key]) for key in names if key != DEFAULT]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def few(quick: bool) -> list[str]:
    """One vote an item, and few items: the default against a Dirichlet and one distribution for all items."""
    rivals = {"marginal": marginal, "dirichlet": ESTIMATORS["dirichlet"], "beta": ESTIMATORS[DEFAULT]}
    lines = [
        "| set | items | votes an item | marginal | dirichlet | beta | beta − marginal (s.e.) | beta − dirichlet (s.e.) | beta: log-lik. − dirichlet's |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in LEVELS:
        most = 2 if name == "convabuse" else 3
        for fewest, n, items in ((1, 1, None), (1, 1, 30), (2, 2, 20), (2, 2, 30), (2, 2, 50), (1, most, 30)):
            splits = 2 if quick else 30 if items or name == "faceratings" else 4
            found = collect(name, n, rivals, splits, items, None if fewest == n else fewest)
            cells = [name, items or found["beta"].shape[1], n if fewest == n else f"{fewest} to {n}"]
            cells += [f"{scores[0].mean():.1f}" for scores in found.values()]
            for rival in ("marginal", "dirichlet"):
                gap = found["beta"][0] - found[rival][0]
                error = gap.std(ddof=1) / np.sqrt(len(gap))
                mark = " ▲" if gap.mean() < -2 * error else " ▼" if gap.mean() > 2 * error else ""
                cells.append(f"{gap.mean():+.1f} ({error:.1f}){mark}")
            cells.append(f"{(found['beta'][1] - found['dirichlet'][1]).mean():+.4f}")
            lines.append("| " + " | ".join(map(str, cells)) + " |")
            print(lines[-1], flush=True)
    return lines


def single_votes_updated(quick: bool) -> list[str]:
    """Fits of one vote an item and updates with nine more votes: RPS and how often 90 % intervals hold, with the prior learned again or kept."""
    lines = [
        "| set | one vote: held | one + nine votes: RPS | held | with the first prior kept: RPS | held |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("faceratings", "chaosnli", "polis"):
        counts, space = load(name)
        rows_of = []
        for seed in range(1 if quick else 20 if name == "faceratings" else 3):
            rng = np.random.default_rng(seed)
            rows, train, held = hold_out(counts, 10, rng)
            first = np.array([rng.multivariate_hypergeometric(v.astype(np.int64), 1) for v in train], dtype=float)
            ids, m = [str(i) for i in rows], held.sum(axis=1)
            truth = held @ space.rewards / m
            one = fit(Votes(ids, first), space, smoothing=RAW)
            updated = update(Votes(ids, first), Votes(ids, train - first), one.prior, space, smoothing=RAW)
            kept = fit(Votes(ids, train), space, prior=one.prior, smoothing=RAW)
            row = []
            for found in (one, updated, kept):
                low, high = found.reward_interval(space, raters=m)
                row += [scores(found.posterior, held)[0].mean(), ((low <= truth) & (truth <= high)).mean()]
            rows_of.append(row[1:])
        held_one, again, held_again, kept_rps, held_kept = np.mean(rows_of, axis=0)
        lines.append(f"| {name} | {held_one:.3f} | {again:.1f} | {held_again:.3f} | {kept_rps:.1f} | {held_kept:.3f} |")
        print(lines[-1], flush=True)
    return lines


def control(quick: bool) -> list[str]:
    """With the levels in another order the plain beta has to lose."""
    order = [3, 0, 5, 2, 6, 1, 4]
    estimators = {
        "plain beta": learned("beta", plain=True),
        "plain, shuffled": learned("beta", plain=True, order=order),
        "beta": learned("beta"),
        "beta, shuffled": learned("beta", order=order),
    }
    lines = [
        "| set | n | plain beta | plain, levels shuffled | worse by (s.e.) | beta | beta, levels shuffled |",
        "|---|---|---|---|---|---|---|",
    ]
    for n in SIZES:
        found = {key: value[0] for key, value in collect("faceratings", n, estimators, 2 if quick else 15).items()}
        worse = found["plain, shuffled"] - found["plain beta"]
        cells = [
            f"{found['plain beta'].mean():.1f}",
            f"{found['plain, shuffled'].mean():.1f}",
            f"{worse.mean():.1f} ({worse.std(ddof=1) / np.sqrt(len(worse)):.1f})",
        ]
        cells += [f"{found['beta'].mean():.1f}", f"{found['beta, shuffled'].mean():.1f}"]
        lines.append(f"| faceratings | {n} | " + " | ".join(cells) + " |")
    return lines


OTHERS = ("beta-dirichlet", "mixture", "dirichlet")


def coverage(quick: bool, levels: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95)) -> tuple[list[str], dict[str, np.ndarray]]:
    """How often the intervals hold the held-out raters' mean: of the default at several levels, of other families at 90 %."""
    shown = [f"{level:.0%}" for level in levels] + ["mean width of 90 %", *(f"90 % of {family}" for family in OTHERS)]
    lines = ["| set | n | held out | " + " | ".join(shown) + " |", "|---|---|---|" + "---|" * len(shown)]
    curves: dict[str, np.ndarray] = {}
    for name, n in settings((*SIZES, 200, 1000)):
        counts, space = load(name)
        hits, others, width, raters = [], [], [], []
        for seed in range(1 if quick else 40 if name == "faceratings" else 4):
            rng = np.random.default_rng(1000 + seed)
            rows, train, held = hold_out(counts, n, rng)
            votes = Votes([str(i) for i in rows], train)
            result = fit(votes, space, smoothing=RAW)
            m = held.sum(axis=1)
            truth = held @ space.rewards / m
            few = np.median(m) < 20
            if few:
                means = predictive_means(result.prior, space, train, m, 300, rng)
                rank = (means < truth - 1e-9).mean(axis=0)
                rank += rng.random(len(truth)) * ((np.abs(means - truth) < 1e-9).mean(axis=0) + 1 / 300)
                hits.append([np.abs(rank - 0.5) < level / 2 for level in levels])
            else:
                ends = [result.reward_interval(space, level=level, raters=m) for level in levels]
                hits.append([(low <= truth) & (truth <= high) for low, high in ends])
                if seed < 10:
                    ends = [fit(votes, space, family=f, smoothing=RAW).reward_interval(space, raters=m) for f in OTHERS]
                    others.append([(low <= truth) & (truth <= high) for low, high in ends])
            width.append((result.reward_high - result.reward_low).mean())
            raters.append(np.median(m))
        share = np.mean([np.mean(hit, axis=1) for hit in hits], axis=0)
        if n <= max(SIZES):
            curves[f"{name}, n = {n}"] = share
        beside = ["–"] * len(OTHERS)
        if others:
            beside = [f"{x:.3f}" for x in np.mean([np.mean(hit, axis=1) for hit in others], axis=0)]
        cells = [f"{x:.3f}" for x in share] + [f"{np.mean(width):.2f}", *beside]
        lines.append(f"| {name} | {n} | {np.median(raters):.0f} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return lines, curves


def distances(quick: bool) -> list[str]:
    """Is the expected Wasserstein-1 distance what it says? Only where the held-out half is nearly the truth."""
    lines = [
        "| set | n | expected | found | found / expected | rank correlation over items |",
        "|---|---|---|---|---|---|",
    ]
    counts, space = load("faceratings")
    for n in SIZES:
        expected, found = [], []
        for seed in range(2 if quick else 20):
            rows, train, held = hold_out(counts, n, np.random.default_rng(seed))
            result = fit(Votes([str(i) for i in rows], train), space, smoothing=RAW)
            expected.append(result.expected_distance)
            found.append(scores(result.distribution, held)[2])
        e, f = np.mean(expected, axis=0), np.mean(found, axis=0)
        ranks = np.corrcoef(e.argsort().argsort(), f.argsort().argsort())[0, 1]
        lines.append(
            f"| faceratings | {n} | {e.mean():.3f} | {f.mean():.3f} | {f.mean() / e.mean():.2f} | {ranks:.2f} |"
        )
    return lines


def smoothing(quick: bool) -> list[str]:
    """What label smoothing does to the scores, on top of raw frequencies and of the default."""
    kinds = ["none", "targeted", "uniform", "cost"]
    lines = [
        "| set | n | of | " + " | ".join(f"{kind} RPS | log-lik." for kind in kinds) + " |",
        "|---|---|---|" + "---|---|" * len(kinds),
    ]
    for name, n in (("faceratings", 5), ("convabuse", 2), ("chaosnli", 5), ("polis", 5)):
        for of, estimate in (("raw", raw), ("beta", ESTIMATORS[DEFAULT])):

            def smoothed(kind: str, estimate: Estimate = estimate) -> Estimate:
                return lambda votes, space: smooth(estimate(votes, space), space, SmoothingConfig(kind=kind))  # type: ignore[arg-type]

            found = collect(name, n, {kind: smoothed(kind) for kind in kinds}, 1 if quick else 3)
            lines.append(f"| {name} | {n} | {of} | {score_cells(found)} |")
    return lines


def drifts(quick: bool) -> list[str]:
    """False alarms where nothing moved, and what is found where something did."""
    lines = ["| votes | old + new | items | p ≤ 0.05 | p ≤ 0.01 | reported at rate 0.1 |", "|---|---|---|---|---|---|"]
    runs = 1 if quick else 5

    def line(
        label: str, size: str, pairs: list[tuple[np.ndarray, np.ndarray]], space: LabelSpace, note: str = ""
    ) -> None:
        p, moved, items = [], [], 0
        for old, new in pairs:
            ids = [str(i) for i in range(len(old))]
            prior, _ = learn_prior(old, space, "beta")
            report = drift(Votes(ids, old), Votes(ids, new), prior, space, simulations=199)
            p.append(report.p_value)
            moved.append(report.moved.sum())
            items = len(report.item_ids)
        q = np.concatenate(p)
        lines.append(
            f"| {label} | {size} | {items} | {(q <= 0.05).mean():.3f} | {(q <= 0.01).mean():.3f} | {np.mean(moved):.1f}{note} |"
        )
        print(lines[-1], flush=True)

    space = LabelSpace.ordinal(6)
    for n, m in ((5, 5), (10, 10), (50, 20)):
        pairs, moving = [], []
        for seed in range(runs):
            rng = np.random.default_rng(seed)
            mu = 1 / (1 + np.exp(-rng.normal(0, 1, 500)))
            s = np.exp(rng.normal(1.5, 0.5, 500))
            p = discretised.cells(mu, s, 6)
            q = p.copy()
            q[:50] = discretised.cells(1 / (1 + np.exp(-np.log(mu / (1 - mu))[:50] - 1.5)), s[:50], 6)
            old = np.array([rng.multinomial(n, x) for x in p], dtype=float)
            pairs.append((old, np.array([rng.multinomial(m, x) for x in p], dtype=float)))
            moving.append((old, np.array([rng.multinomial(m, x) for x in q], dtype=float)))
        line("simulated, nothing moved", f"{n} + {m}", pairs, space)
        line("simulated, 50 of 500 moved by 1.5 in logit μ", f"{n} + {m}", moving, space)
    for name, n in (("faceratings", 20), ("faceratings", 50), ("chaosnli", 20), ("polis", 20)):
        counts, space = load(name)
        pairs = []
        for seed in range(runs):
            rng = np.random.default_rng(seed)
            _, train, held = hold_out(counts, n, rng)
            new = np.array(
                [rng.multivariate_hypergeometric(h.astype(np.int64), min(n, int(h.sum()))) for h in held], dtype=float
            )
            pairs.append((train, new))
        line(f"{name}, two random halves", f"{n} + {n}", pairs, space)
    return lines


def automatic() -> list[str]:
    lines = ["| set | n | beta | beta-dirichlet | mixture | dirichlet | auto takes |", "|---|---|---|---|---|---|---|"]
    for name, n in [*settings((5, 50)), ("convabuse", 2)]:
        counts, space = load(name)
        _, train, _ = hold_out(counts, n, np.random.default_rng(0))
        found = held_out_scores(train, space)
        best = max(found, key=lambda key: found[key])
        lines.append(
            f"| {name} | {n} | "
            + " | ".join(f"{found[key]:.4f}" for key in ("beta", "beta-dirichlet", "mixture", "dirichlet"))
            + f" | {best} |"
        )
    return lines


# -- document and pictures ----------------------------------------------------------------------------------------------


def pictures(curves: dict[str, np.ndarray], levels: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95)) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update(
        {"svg.hashsalt": "dprm", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    import matplotlib.pyplot as plt

    folder = ROOT / "docs" / "img"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    space = LabelSpace.ordinal(6)
    mu = 1 / (1 + np.exp(-rng.normal(0.6, 1.0, 400)))
    p = discretised.cells(mu, np.exp(rng.normal(1.4, 0.5, 400)), 6)
    crowd = np.array([rng.multinomial(8, x) for x in p], dtype=float)
    examples = {
        "five votes": [0, 0, 1, 1, 3, 0],
        "twenty votes": [1, 1, 3, 5, 8, 2],
        "a divided item": [7, 2, 0, 1, 2, 8],
        "no votes": [0] * 6,
    }
    votes = np.vstack([crowd, np.array(list(examples.values()), dtype=float)])
    result = fit(Votes([str(i) for i in range(len(votes))], votes), space, smoothing=RAW)
    low, high = result.probability_interval()
    prior = result.posterior[-1]
    figure, axes = plt.subplots(1, 4, figsize=(11, 2.8), sharey=True)
    for axis, (title, given), i in zip(axes, examples.items(), range(len(crowd), len(votes)), strict=True):
        x, given = np.arange(1, 7), np.array(given)
        if given.sum():
            axis.bar(x, given / given.sum(), color="#cfd8dc", label="votes")
        axis.plot(x, prior, "o--", color="#90a4ae", ms=3, label="prior")
        spread = np.abs(np.stack([result.posterior[i] - low[i], high[i] - result.posterior[i]]))
        axis.errorbar(
            x, result.posterior[i], yerr=spread, fmt="o-", color="#00695c", ms=4, capsize=2, label="posterior, 90 %"
        )
        axis.set_title(title)
        axis.set_xticks(x)
        axis.set_xlabel(
            f"reward {result.expected_reward[i]:.2f} [{result.reward_low[i]:.2f}, {result.reward_high[i]:.2f}]"
        )
    axes[0].set_ylabel("probability")
    axes[0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(folder / "posterior.svg", metadata={"Date": None})
    figure, axis = plt.subplots(figsize=(4.6, 4.2))
    axis.plot([0.4, 1], [0.4, 1], color="#b0bec5")
    colours = {"faceratings": "#00695c", "convabuse": "#c62828", "chaosnli": "#1565c0", "polis": "#f9a825"}
    for name, share in curves.items():
        which = name.split(",")[0]
        axis.plot(
            levels,
            share,
            "o-",
            ms=3,
            lw=1,
            alpha=0.7,
            color=colours[which],
            label=which if name.endswith("n = 2") else None,
        )
    axis.set_xlabel("level of the interval")
    axis.set_ylabel("share of items whose held-out mean it holds")
    axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(folder / "calibration.svg", metadata={"Date": None})
    figure, axes = plt.subplots(1, 4, figsize=(11, 2.2), sharey=True)
    for axis, (m, s) in zip(axes, ((0.5, 0.6), (0.5, 2.0), (0.5, 8.0), (0.8, 1.2)), strict=True):
        axis.bar(np.arange(1, 7), discretised.cells(np.array([m]), np.array([s]), 6)[0], color="#80cbc4")
        axis.set_title(f"μ = {m}, s = {s}")
    axes[0].set_ylabel("probability")
    figure.tight_layout()
    figure.savefig(folder / "shapes.svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one split of everything, print and write nothing")
    parser.add_argument("--only", help="one section of the document (coverage also draws the pictures)")
    options = parser.parse_args()
    quick = options.quick
    missing = [name for name in LEVELS if not (DATA / f"{name}.parquet").is_file()]
    if missing:
        raise SystemExit(f"the real votes are not here: {', '.join(missing)} in {DATA}")
    makers: dict[str, Callable[[bool], list[str]]] = {
        "comparison": comparison,
        "few": few,
        "single votes updated": single_votes_updated,
        "control": control,
        "distances": distances,
        "smoothing": smoothing,
        "drift": drifts,
        "auto": lambda quick: automatic(),
    }
    sections: dict[str, list[str]] = {}
    if options.only in (None, "coverage"):
        sections["coverage"], curves = coverage(quick)
        if not quick:
            pictures(curves)
    for name, make in makers.items():
        if options.only in (None, name) or (options.only == "few" and name == "single votes updated"):
            sections[name] = make(quick)
    if quick:
        print("\n".join(line for name, lines in sections.items() for line in ["", f"== {name}", "", *lines]))
        return
    write(sections)


if __name__ == "__main__":
    main()
