"""Does a calibration help, and does it do no harm? On real people's ratings.

    python benchmarks/calibration.py ../shared/data/faceratings.parquet

The file is a long table (item_id, rater_id, label 0 ... K - 1) in which every rater rated every item. Half of the raters are the people; from the other half a
few are drawn to be the personas of a panel, each with one vote per item. A *twisted* panel is made of them: of every four, one rates two steps higher, one a step
higher, one rolls dice, one is left. What is compared is Wasserstein-1 in steps of the scale, on items that the reading has not seen,
to all other raters of the people's half: those whose answers the reading never saw.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dprm_data.labels.geometry import wasserstein
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Resamples
from dprm_data.recipe.fit_config import FitConfig
from dprm_data.review.annotator_model import PanelAnswers
from dprm_data.review.cross_validation import People, cross_validate

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Outcome:
    """Mean held-out W1 as given and as read, to the answers at hand and to everybody else; whether the reading would be applied."""

    given: float
    read: float
    low: float
    high: float
    applied: bool
    given_truth: float
    read_truth: float


def read_labels(path: Path) -> tuple[Labels, int]:
    """All labels (items, raters), and K."""
    table = pq.read_table(path, columns=["item_id", "rater_id", "label", "K"])
    items, item = np.unique(np.array(table["item_id"].to_pylist()), return_inverse=True)
    raters, rater = np.unique(np.array(table["rater_id"].to_pylist()), return_inverse=True)
    labels = np.full((len(items), len(raters)), -1, dtype=np.int64)
    labels[item, rater] = table["label"].to_numpy()
    if (labels < 0).any():
        raise SystemExit(f"{path}: not every rater rated every item")
    return labels, int(table["K"][0].as_py())


def twist(labels: Labels, K: int, rng: np.random.Generator) -> Labels:
    """A distorted, biased panel of the same raters."""
    out = labels.copy()
    out[:, 0::4] = np.minimum(labels[:, 0::4] + 2, K - 1)
    out[:, 1::4] = np.minimum(labels[:, 1::4] + 1, K - 1)
    out[:, 2::4] = rng.integers(K, size=out[:, 2::4].shape)
    return out


def trial(
    labels: Labels,
    K: int,
    *,
    personas: int,
    people: int,
    per_item: int | None,
    twisted: bool,
    seed: int,
    config: FitConfig,
) -> Outcome:
    """One draw of a panel and of people. per_item: how many of the people judge each item; all if not given."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(labels.shape[1])
    half = len(order) // 2
    ours, others, rest = order[:people], order[people:half], order[half:]
    panel = labels[:, rest[:personas]]
    panel = twist(panel, K, rng) if twisted else panel
    N = len(labels)
    ids = [str(i) for i in range(N)]
    said = PanelAnswers(
        N,
        [f"p{a}" for a in range(personas)],
        np.repeat(np.arange(N), personas),
        np.tile(np.arange(personas), N),
        np.eye(K)[panel.ravel()],
        np.ones(N * personas),
    )
    space = LabelSpace.ordinal(K)
    everything = labels[:, ours]
    asked = np.argsort(rng.random((N, people)), axis=1)[:, : per_item or people]
    answers = People(
        item=np.repeat(np.arange(N), asked.shape[1]),
        person=asked.ravel(),
        label=np.take_along_axis(everything, asked, axis=1).ravel(),
        items=N,
        persons=people,
        K=K,
    )
    found = cross_validate(said, np.arange(N), answers, ids, space, config, ids, seed=seed)
    draw = Resamples.of(ids, np.ones(N), resamples=2000, level=0.9, seed=seed)
    gain = draw.mean(found.given - found.read)
    score = draw.with_people(answers.item, answers.person, seed=seed).mean(found.score_gain)
    truth = _counts(labels[:, others], K)
    truth /= truth.sum(axis=1, keepdims=True)
    return Outcome(
        given=float(found.given.mean()),
        read=float(found.read.mean()),
        low=gain.low or 0.0,
        high=gain.high or 0.0,
        applied=not found.literal and (gain.low or 0.0) > 0 and (score.low or 0.0) > 0,
        given_truth=float(wasserstein(found.given_fit, truth, space.ground_cost).mean()),
        read_truth=float(wasserstein(found.read_fit, truth, space.ground_cost).mean()),
    )


def _counts(labels: Labels, K: int) -> NDArray[Any]:
    return np.stack([(labels == k).sum(axis=1) for k in range(K)], axis=1).astype(float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--personas", type=int, default=12)
    args = parser.parse_args()
    labels, K = read_labels(args.file)
    print(
        f"{args.file.name}: {labels.shape[0]} items, {labels.shape[1]} raters, K = {K}; {args.personas} personas, {args.trials} draws of each"
    )
    print(
        "\n| panel | people | answers per item | W1 as given | W1 as read | applied | W1 after `calibrate` | harmed |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for twisted in (True, False):
        for people, per_item in ((5, None), (20, None), (100, None), (40, 5), (200, 5)):
            settings = {"personas": args.personas, "people": people, "per_item": per_item, "twisted": twisted}
            runs = [trial(labels, K, seed=seed, config=FitConfig(), **settings) for seed in range(args.trials)]  # type: ignore[arg-type]
            given, read = (np.mean([getattr(run, name) for run in runs]) for name in ("given_truth", "read_truth"))
            after = [run.read_truth if run.applied else run.given_truth for run in runs]
            harmed = sum(end > run.given_truth for end, run in zip(after, runs, strict=True))
            print(
                f"| {'twisted' if twisted else 'as it is'} | {people} | {per_item or people} | {given:.3f} | {read:.3f} | {sum(run.applied for run in runs)} of {len(runs)} "
                f"| {np.mean(after):.3f} | {harmed} of {len(runs)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
