"""Do answers on chosen items (`dprm review push --select gain`) lower the error more than answers on random items? `python benchmarks/answer_gain.py --write` puts the tables into docs/more-answers.md.

*Simulated*: the world of benchmarks/instrument.py, 300 items with a known truth. *Real*: people of ../shared/data answer, beside a panel of other raters (faces, as in instrument.py) or a simulated one
(ConvAbuse: 600 items; one rater of each item may be asked, the others are held out). Each draw starts with no answers or with some on random items, spends the same number on random and on chosen items, calibrates, and
scores the expected reward of all items.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import document  # noqa: E402
from benchmarks.calibration import read_labels, twist  # noqa: E402
from benchmarks.instrument import CUTS, DATA, POOL, SPACE, TAU, counted, named  # noqa: E402
from dprm_data.ingest.vote_tables import read_ratings  # noqa: E402
from dprm_data.labels.space import LabelSpace  # noqa: E402
from dprm_data.preference.fitting import fit  # noqa: E402
from dprm_data.preference.model_selection import learn_prior  # noqa: E402
from dprm_data.review.panel_knowledge import known_of  # noqa: E402
from dprm_data.review.read_panel import Reading  # noqa: E402

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ITEMS, MOST = 300, 3


@dataclass(frozen=True)
class World:
    """The truth (N,) of the expected reward, the panel's votes (N, K), and the answers that people would give, one after the other, (N, n): the same ones, however an item is chosen."""

    truth: Floats
    panel: Floats
    answers: Ints
    space: LabelSpace


def simulated(seed: int, *, shared: float = 0.6, contested: float | None = None, votes: tuple[int, ...] = ()) -> World:
    """contested: a share of the items that people disagree about; of the others everybody likes nearly all. votes: how many votes the panel gave on an item, one of these."""
    rng, personas = np.random.default_rng(seed), 15
    at, own = rng.normal(0.0, 1.0, ITEMS), np.exp(rng.normal(0.0, 0.25, ITEMS))
    if contested is not None:
        hard = rng.random(ITEMS) < contested
        at, own = np.where(hard, 0.8 * at, 2.2 + 0.3 * at), np.where(hard, 0.9, 0.6)
    edges = np.r_[-np.inf, CUTS, np.inf]
    p = np.diff(ndtr((edges - at[:, None]) / np.sqrt(own**2 + TAU**2)[:, None]), axis=1)
    seen = 0.4 + 0.8 * (at + rng.normal(0.0, shared, ITEMS))
    severity = rng.normal(0.0, 0.3, personas)
    labels = np.digitize(seen[:, None] + severity + 0.7 * own[:, None] * rng.normal(size=(ITEMS, personas)), CUTS)
    if votes:
        labels[np.arange(personas) >= rng.choice(votes, ITEMS)[:, None]] = -1
    taste = rng.normal(0.0, TAU, POOL)[rng.integers(POOL, size=(ITEMS, MOST))]
    answers = np.digitize(at[:, None] + taste + own[:, None] * rng.normal(size=(ITEMS, MOST)), CUTS)
    return World(p @ SPACE.rewards, counted(labels), answers, SPACE)


def faces(seed: int, labels: Ints, levels: int, kind: str) -> World:
    """12 raters of one half are the panel, 40 of the other half may answer; the truth is the rest of that half."""
    rng, space = np.random.default_rng(seed), LabelSpace.ordinal(levels)
    raters = rng.permutation(labels.shape[1])
    half = len(raters) // 2
    panel = labels[:, raters[half : half + 12]]
    panel = twist(panel, levels, rng) if kind == "twisted" else panel
    if kind == "narrow":
        panel = np.rint(levels // 2 + 0.5 * (panel - levels // 2)).astype(np.int64)
    truth = counted(labels[:, raters[POOL:half]], levels)
    truth /= truth.sum(axis=1, keepdims=True)
    people = rng.integers(POOL, size=(len(labels), MOST))
    answers = np.take_along_axis(labels, raters[people], axis=1)
    return World(truth @ space.rewards, counted(panel, levels), answers, space)


def convabuse(seed: int, path: Path) -> World:
    """600 items; the panel sees people's distribution (fitted to all votes) with a shift and an error that its 10 members share."""
    rng, space = np.random.default_rng(seed), LabelSpace.ordinal(5)
    ratings = read_ratings(path, space)
    number = np.bincount(ratings.item, minlength=len(ratings.item_ids))
    chosen = rng.choice(np.flatnonzero(number > 1), 600, replace=False)
    p = fit(ratings.votes(), space).posterior[chosen]
    order = rng.permutation(len(ratings))
    order = order[np.argsort(ratings.item[order], kind="stable")]
    first = order[np.searchsorted(ratings.item[order], chosen)]
    counts, answer = ratings.votes().counts[chosen], ratings.label[first]
    held = counts - np.eye(5)[answer]
    cdf = np.clip(np.cumsum(p, axis=1), 1e-4, 1.0 - 1e-4)[:, :4]
    logit = np.log(cdf / (1.0 - cdf)) + rng.normal(0.5, 1.0, (600, 1))  # towards lower levels
    panel = rng.multinomial(10, np.diff(1.0 / (1.0 + np.exp(-logit)), axis=1, prepend=0.0, append=1.0))
    return World(held @ space.rewards / held.sum(axis=1), panel.astype(float), answer[:, None], space)


def trial(make: World, seed: int, before: int, spent: int, each: tuple[int, ...]) -> dict[str, tuple[float, float]]:
    """The error now and after `spent` answers by method, (measured, expected). before: answers so far, on random items."""
    rng = np.random.default_rng([seed, before, spent])
    order, N = rng.permutation(len(make.panel)), len(make.panel)
    own = learn_prior(make.panel, make.space, "beta")[0]

    def answered(people: Floats, rows: Ints, number: int) -> Floats:
        people = people.copy()
        for turn in range(number):
            people[rows, make.answers[rows, turn]] += 1.0
        return people

    def error(people: Floats) -> float:
        if people.any():
            found = Reading.learn(make.panel, own, people, make.space).fit(make.panel, named(people), make.space)
        else:
            found = fit(named(make.panel), make.space)
        return float(np.sqrt(((found.posterior @ make.space.rewards - make.truth) ** 2).mean()))

    people = answered(np.zeros_like(make.panel), order[:before], 1)
    known = known_of(make.panel, own, people, make.space, learned=before > 0)
    free = ~people.any(axis=1)
    found = {"now": (error(people), float(np.sqrt(known.errors().mean())))}
    for number in each:
        chosen = known.chosen(spent // number, number, free)
        for name, rows in (("random", order[before : before + spent // number]), ("gain", chosen)):
            later = np.zeros(N, dtype=np.int64)
            later[rows] = number
            expected = float(np.sqrt(known.after(later).errors().mean()))
            found[f"{name}, {number} each"] = error(answered(people, rows, number)), expected
    return found


def row(
    name: str, make: Callable[[int], World], before: int, spent: int, seeds: int, each: tuple[int, ...]
) -> list[str]:
    found = [trial(make(seed), seed, before, spent, each) for seed in range(seeds)]
    mean = {key: np.array([one[key] for one in found]) for key in found[0]}
    cells = [name, str(before), str(spent)] + [f"{mean[key][:, 0].mean():.3f}" for key in mean]
    random, gain, now = (mean[key][:, 0] for key in ("random, 1 each", "gain, 1 each", "now"))
    gap = random - gain
    error = gap.std(ddof=1) / np.sqrt(seeds)
    mark = "" if abs(gap.mean()) <= error else " ▲" if gap.mean() > 0 else " ▼"
    drop = now.mean() - random.mean()
    cells.append(f"{gap.mean() / random.mean():.0%} ({error / random.mean():.0%}){mark}")
    cells.append(f"{(now.mean() - gain.mean()) / drop:.1f} ×" if drop > 2 * error else "–")
    cells.append(" / ".join(f"{mean[key][:, 1].mean():.3f}" for key in ("now", "random, 1 each", "gain, 1 each")))
    line = "| " + " | ".join(cells) + " |"
    print(line, flush=True)
    return [line]


def heading(each: tuple[int, ...]) -> list[str]:
    methods = [f"{name}, {number} each" for number in each for name in ("random", "gain")]
    names = ["", "answers so far", "more", "now", *methods]
    names += ["less error (s.e.), 1 each", "drop, against random", "expected: now / random / gain, 1 each"]
    return ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]


def simulations(seeds: int) -> list[str]:
    each = (3, 1)
    lines = heading(each)
    worlds: dict[str, dict[str, object]] = {
        "equal items": {},
        "no votes on a third": {"votes": (0, 15, 15)},
        "20 % contested": {"contested": 0.2, "shared": 1.0},
    }
    for name, facts in worlds.items():
        for before, spent in ((0, 100), (100, 100)):
            lines += row(name, lambda seed, f=facts: simulated(seed, **f), before, spent, seeds, each)  # type: ignore[misc]
    return lines


def real(seeds: int, data: Path) -> list[str]:
    each = (1,)
    lines = heading(each)
    labels, levels = read_labels(data / "faceratings.parquet")
    for kind in ("as they are", "narrow", "twisted"):
        for before, spent in ((0, 30), (25, 25)):
            lines += row(
                f"faces, {kind}", lambda seed, k=kind: faces(seed, labels, levels, k), before, spent, 3 * seeds, each
            )
    for before, spent in ((0, 100), (100, 100)):
        lines += row("ConvAbuse", lambda seed: convabuse(seed, data / "convabuse.parquet"), before, spent, seeds, each)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/more-answers.md")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of the real sets")
    parser.add_argument("--only", choices=("gain", "gain real"), nargs="+")
    args = parser.parse_args()
    sections = {"gain": lambda: simulations(args.seeds), "gain real": lambda: real(args.seeds, args.data)}
    for name, compute in sections.items():
        if args.only is None or name in args.only:
            lines = compute()
            if args.write:
                document.write({name: lines}, ROOT / "docs" / "more-answers.md")


if __name__ == "__main__":
    main()
