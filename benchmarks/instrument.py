"""What a panel's votes, soft labels and a few people's answers are worth, measured against a known truth: `python benchmarks/instrument.py --write` puts the tables into docs.

*Simulated*: items have a latent position and spread; people differ in severity; the panel's view of a position has a shift, a slope, and an error that its personas share. The truth is the
distribution of all people. *Real*: half of the raters of ../shared/data/faceratings.parquet are the people, a few of whom answer; a few of the other half are the panel, as they are, narrow or twisted.
Everything is scored on items that no person reviewed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import document  # noqa: E402
from benchmarks.calibration import read_labels, twist  # noqa: E402
from dprm_data.ingest.votes import Votes  # noqa: E402
from dprm_data.labels.geometry import wasserstein  # noqa: E402
from dprm_data.labels.space import LabelSpace  # noqa: E402
from dprm_data.preference.fitting import Fit, fit  # noqa: E402
from dprm_data.preference.model_selection import learn_prior  # noqa: E402
from dprm_data.preference.shared_error import SHARED, SharedError  # noqa: E402
from dprm_data.preference.soft_labels import soft_worth  # noqa: E402
from dprm_data.review.powered import powered_difference, powered_mean  # noqa: E402
from dprm_data.review.read_panel import Reading  # noqa: E402

Floats = NDArray[np.float64]
DOCS = ROOT / "docs"
DATA = ROOT.parent / "shared" / "data"
K, ITEMS, POOL, TAU = 5, 300, 40, 0.5
CUTS = np.array([-1.2, -0.4, 0.4, 1.2])
SPACE = LabelSpace.ordinal(K)
# shift, slope, s.d. of the shared error, the personas' spread relative to people's
KINDS = {
    "useless": (0.4, 0.0, 1.0, 0.7),
    "unbiased": (0.0, 1.0, 0.0, 1.0),
    "narrow": (0.4, 0.6, 0.4, 0.4),
    "wide": (0.0, 1.6, 0.6, 1.6),
    "shifted": (0.8, 0.8, 0.3, 0.7),
}


def counted(labels: NDArray[np.int64], levels: int = K) -> Floats:
    return np.stack([(labels == k).sum(axis=1) for k in range(levels)], axis=1).astype(float)


def named(counts: Floats) -> Votes:
    return Votes([str(i) for i in range(len(counts))], counts)


def world(
    seed: int, personas: int, kind: tuple[float, float, float, float], reviewed: int, each: int = 3
) -> tuple[Floats, Floats, Floats]:
    """True distributions, the panel's votes, people's votes: (ITEMS, K) each. The first `reviewed` items have answers of people from a pool."""
    shift, stretch, error, spread = kind
    rng = np.random.default_rng(seed)
    at, own = rng.normal(0.0, 1.0, ITEMS), np.exp(rng.normal(0.0, 0.25, ITEMS))
    edges = np.r_[-np.inf, CUTS, np.inf]
    truth = np.diff(ndtr((edges - at[:, None]) / np.sqrt(own**2 + TAU**2)[:, None]), axis=1)
    seen = shift + stretch * (at + rng.normal(0.0, error, ITEMS))
    severity = rng.normal(0.0, 0.3, personas)
    panel = np.digitize(seen[:, None] + severity + spread * own[:, None] * rng.normal(size=(ITEMS, personas)), CUTS)
    taste = rng.normal(0.0, TAU, POOL)
    who = np.stack([rng.choice(POOL, each, replace=False) for _ in range(ITEMS)])
    people = np.digitize(at[:, None] + taste[who] + own[:, None] * rng.normal(size=who.shape), CUTS)
    people[reviewed:] = -1
    return truth, counted(panel), counted(people)


def methods(panel: Floats, people: Floats, space: LabelSpace) -> dict[str, Fit]:
    """The compared fits: the panel's votes as if they were people's, the same with the assumed shared error, people's votes alone, both as they are, and the calibration."""
    reading = Reading.learn(panel, learn_prior(panel, space, "beta")[0], people, space)
    return {
        "panel, as votes": fit(named(panel), space),
        "panel, assumed": fit(named(panel), space, shared=SharedError(SHARED, np.zeros(len(panel)))),
        "people alone": fit(named(people), space),
        "both, as votes": fit(named(panel + people), space),
        "calibrate": reading.fit(panel, named(people), space),
    }


def scored(found: Fit, truth: Floats, space: LabelSpace, rows: slice) -> tuple[float, float, float]:
    """Root mean squared error and coverage of the expected reward, and W1."""
    rewards, mean = (truth @ space.rewards)[rows], (found.posterior @ space.rewards)[rows]
    inside = (found.reward_low[rows] <= rewards) & (rewards <= found.reward_high[rows])
    far = wasserstein(found.posterior[rows], truth[rows], space.ground_cost)
    return float(np.sqrt(((mean - rewards) ** 2).mean())), float(inside.mean()), float(far.mean())


def table(
    rows: Iterator[tuple[str, Callable[[int], tuple[Floats, Floats, Floats, LabelSpace, int]]]], seeds: int
) -> list[str]:
    """Rows of methods: error and coverage on items that were not reviewed, mean over seeds; a method that beats `calibrate` by more than a standard error over seeds is marked."""
    lines: list[str] = []
    for name, make in rows:
        found: dict[str, list[tuple[float, float, float]]] = {}
        for seed in range(seeds):
            truth, panel, people, space, reviewed = make(seed)
            for method, one in methods(panel, people, space).items():
                found.setdefault(method, []).append(scored(one, truth, space, slice(reviewed, None)))
        if not lines:
            lines = ["| | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
        ours = np.array(found["calibrate"])[:, 0]
        cells = []
        for method, scores in found.items():
            error, held, far = np.array(scores).mean(axis=0)
            gap = ours - np.array(scores)[:, 0]
            mark = " ▼" if method != "calibrate" and gap.mean() > gap.std(ddof=1) / seeds**0.5 else ""
            cells.append(f"{error:.2f} / {held:.2f} / {far:.2f}{mark}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return lines


def simulated(seeds: int) -> list[str]:
    def rows() -> Iterator[tuple[str, Callable[[int], tuple[Floats, Floats, Floats, LabelSpace, int]]]]:
        for personas in (5, 15, 50):
            for error in (0.0, 0.6, 1.0):
                yield (
                    f"{personas} personas, shared error {error:g}",
                    lambda seed, n=personas, e=error: (*world(seed, n, (0.4, 0.8, e, 0.7), 100), SPACE, 100),
                )
        for kind, facts in KINDS.items():
            yield f"15 personas, {kind}", lambda seed, facts=facts: (*world(seed, 15, facts, 100), SPACE, 100)
        yield (
            "15 personas, shared error 0.6, 50 items reviewed",
            lambda seed: (*world(seed, 15, (0.4, 0.8, 0.6, 0.7), 50), SPACE, 50),
        )

    return table(rows(), seeds)


def faces(labels: NDArray[np.int64], levels: int, kind: str, seed: int) -> tuple[Floats, Floats, Floats]:
    """True distributions, a panel's votes, people's votes, of the first 40 items: (items, levels) each, from real raters."""
    rng = np.random.default_rng(seed)
    order, raters = rng.permutation(len(labels)), rng.permutation(labels.shape[1])
    half = len(raters) // 2
    panel = labels[:, raters[half : half + 12]]
    if kind == "twisted":
        panel = twist(panel, levels, rng)
    if kind == "narrow":
        panel = np.rint(levels // 2 + 0.5 * (panel - levels // 2)).astype(np.int64)
    people = np.stack([rng.choice(raters[:40], 5, replace=False) for _ in labels])
    answers = np.take_along_axis(labels, people, axis=1)[order]
    answers[40:] = -1
    truth = counted(labels[:, raters[40:half]], levels)
    truth /= truth.sum(axis=1, keepdims=True)
    return truth[order], counted(panel[order], levels), counted(answers, levels)


def real(seeds: int, data: Path) -> list[str]:
    labels, levels = read_labels(data / "faceratings.parquet")
    space = LabelSpace.ordinal(levels)
    rows = (
        (
            f"faces, 12 raters as a panel, {kind}",
            lambda seed, kind=kind: (*faces(labels, levels, kind, seed), space, 40),
        )
        for kind in ("as they are", "narrow", "twisted")
    )
    return table(rows, seeds)


def soft(seeds: int) -> list[str]:
    """Dirichlet soft labels around the truth: the spread of the items relative to the truth's, and the error."""
    lines = [
        "| personas | a label's concentration | worth found | spread, each as a vote | spread, at its worth | error, each as a vote | error, at its worth | coverage |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for personas in (2, 4, 15):
        for concentration in (5.0, 30.0):
            found = []
            for seed in range(seeds):
                truth, _, _ = world(seed, 1, KINDS["unbiased"], 1)
                rng = np.random.default_rng([seed, 1])
                labels = np.stack([rng.dirichlet(concentration * p, personas) for p in truth])
                w = soft_worth(np.repeat(np.arange(ITEMS), personas), labels.reshape(-1, K)).votes
                rewards = truth @ SPACE.rewards
                row = [w]
                for scale in (1.0, w):
                    one = fit(named(scale * labels.sum(axis=1)), SPACE)
                    error, held, _ = scored(one, truth, SPACE, slice(None))
                    row += [float(one.expected_reward.std() / rewards.std()), error, held]
                found.append(row)
            w, before, error_before, _, after, error, held = np.array(found).mean(axis=0)
            lines.append(
                f"| {personas} | {concentration:g} | {w:.1f} | {before:.2f} | {after:.2f} | {error_before:.2f} | {error:.2f} | {held:.2f} |"
            )
            print(lines[-1], flush=True)
    return lines


def powered(seeds: int) -> list[str]:
    """Means and differences from panel and people: coverage, and the worth of an answer."""
    lines = [
        "| | mean: coverage, people alone | coverage, both | worth of an answer | difference: coverage, people alone | coverage, both | panel alone within the half-width | worth of an answer |",
        "|---|---|---|---|---|---|---|---|",
    ]
    settings = {
        "120 items × 3 people": (120, 3, 1.0, TAU),
        "60 items × 3 people": (60, 3, 1.0, TAU),
        "a useless panel": (120, 3, 0.0, TAU),
        "people of equal severity": (120, 3, 1.0, 0.0),
    }
    for name, (reviewed, each, good, severity) in settings.items():
        found = []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            side = np.arange(800) % 2
            position = rng.normal(0.0, 1.0, 800) + 0.3 * side
            f = 0.7 + 0.8 * good * position + rng.normal(0.0, 0.4, 800) + 0.5 * side
            taste, rows = rng.normal(0.0, severity, POOL), rng.choice(800, reviewed, replace=False)
            item, person = np.repeat(rows, each), np.concatenate([rng.choice(POOL, each, replace=False) for _ in rows])
            answer = position[item] + taste[person] + rng.normal(0.0, 0.8, len(item))
            mean, gap = powered_mean(f, item, person, answer), powered_difference(f, side, item, person, answer)
            inside = [
                float((one.low or 0) <= true <= (one.high or 0))
                for one, true in (
                    (mean.people_alone, 0.15),
                    (mean.both, 0.15),
                    (gap.people_alone, 0.3),
                    (gap.both, 0.3),
                )
            ]
            width = (gap.both.high or 0) - (gap.both.low or 0)
            found.append([*inside, float(abs(gap.panel_alone - 0.3) < width / 2), mean.worth, gap.worth])
        alone, both, apart, together, panel, worth, worth_gap = np.array(found).mean(axis=0)
        lines.append(
            f"| {name} | {alone:.2f} | {both:.2f} | {worth:.1f} × | {apart:.2f} | {together:.2f} | {panel:.2f} | {worth_gap:.1f} × |"
        )
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument(
        "--write",
        action="store_true",
        help="put the tables into docs/statistics.md, docs/calibration.md and docs/more-answers.md",
    )
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of faceratings.parquet")
    parser.add_argument("--only", choices=("soft labels", "means", "instrument", "instrument faces"), nargs="+")
    args = parser.parse_args()
    sections = {
        "soft labels": ("statistics.md", lambda: soft(args.seeds)),
        "means": ("more-answers.md", lambda: powered(500)),
        "instrument": ("calibration.md", lambda: simulated(args.seeds)),
        "instrument faces": ("calibration.md", lambda: real(args.seeds, args.data)),
    }
    for name, (document_name, compute) in sections.items():
        if args.only is None or name in args.only:
            lines = compute()
            if args.write:
                document.write({name: lines}, DOCS / document_name)


if __name__ == "__main__":
    main()
