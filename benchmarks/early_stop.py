"""What early stop saves: real people's votes, replayed as if each rater were a persona.

    python -m benchmarks.early_stop faceratings.parquet

Every item is asked of `--most` raters, drawn at random and in random order, the way `early_stop` in a recipe asks: a pilot in full, the others
in rounds until the posterior keeps the bound. The truth of an item is the mean reward of all its *other* raters. Beside it stands the plain
way at the same number of votes for every item, with the same prior: how many votes per item that needs for the same error says what is
saved. `error` is the root mean square error of the fitted expected reward, in units of reward.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from dprm_data.core.arrays import Floats
from dprm_data.engine.early_stopping import EarlyStopping
from dprm_data.ingest.votes import Votes
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.fitting import fit
from dprm_data.preference.model_selection import learn_prior
from dprm_data.recipe.recipe import EarlyStopConfig


def sequences(path: Path, most: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    """Each item's labels in random order: those that may be asked, and those kept apart for the truth."""
    table = pq.read_table(path, columns=["item_id", "label", "K"])
    codes = table["item_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    labels = table["label"].to_numpy().astype(int)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    bounds = np.flatnonzero(np.diff(codes[order])) + 1
    asked, kept = [], []
    for labels_of_item in np.split(labels[order], bounds):
        cut = min(most, len(labels_of_item) // 2)
        asked.append(labels_of_item[:cut])
        kept.append(labels_of_item[cut:])
    shuffled = generator.permutation(len(asked))
    return [asked[i] for i in shuffled], [kept[i] for i in shuffled], int(table["K"][0].as_py())


def counts(labels: np.ndarray, K: int) -> Floats:
    return np.bincount(labels, minlength=K).astype(np.float64)


def stopped(asked: list[np.ndarray], config: EarlyStopConfig, space: LabelSpace) -> list[int]:
    """How many votes each item gets."""
    rounds = EarlyStopping(config, space)
    taken = []
    for labels in asked:
        if not rounds.ready:
            rounds.learn(counts(labels, space.K))
            taken.append(len(labels))
            continue
        n = min(config.first, len(labels))
        while n < len(labels) and not rounds.narrow(counts(labels[:n], space.K)):
            n = min(n + config.step, len(labels))
        if n == len(labels):
            rounds.learn(counts(labels, space.K))
        taken.append(n)
    return taken


def error(asked: list[np.ndarray], taken: list[int], truth: Floats, space: LabelSpace, pilot: int) -> float:
    """Of the items after the pilot, all fitted together as `dprm ratings fit` does."""
    votes = np.array([counts(labels[:n], space.K) for labels, n in zip(asked, taken, strict=True)])
    prior, _ = learn_prior(votes, space, "beta")
    fitted = fit(Votes(tuple(map(str, range(len(votes)))), votes), space, prior=prior)
    expected = fitted.posterior @ space.rewards
    return float(np.sqrt(np.mean((expected[pilot:] - truth[pilot:]) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("votes", type=Path)
    parser.add_argument("--most", type=int, default=60, help="raters per item that may be asked")
    parser.add_argument("--pilot", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--bounds", type=float, nargs="+", default=[0.5, 0.4, 0.3, 0.25, 0.2])
    given = parser.parse_args()
    print(f"{'bound':>6} {'votes/item':>11} {'error':>7} {'same for all':>13} {'saved':>6}")
    for bound in given.bounds:
        lines = np.array([line(given, bound, seed) for seed in range(given.seeds)])
        votes, wrong, plain = lines.mean(axis=0)
        print(f"{bound:6.2f} {votes:11.1f} {wrong:7.3f} {plain:13.1f} {1 - votes / plain:6.0%}", flush=True)


def line(given: argparse.Namespace, bound: float, seed: int) -> tuple[float, float, float]:
    """Votes per item with this bound, the error, and the votes per item that give the same error where every item gets as many."""
    asked, kept, K = sequences(given.votes, given.most, seed)
    space = LabelSpace.load(K)
    truth = np.array([space.rewards[labels].mean() for labels in kept])
    taken = stopped(asked, EarlyStopConfig(within=bound, pilot=given.pilot), space)
    wrong = error(asked, taken, truth, space, given.pilot)
    sizes = np.arange(4, given.most + 1, 4)
    pilot = [len(labels) for labels in asked[: given.pilot]]
    rest = asked[given.pilot :]
    errors = [error(asked, pilot + [min(n, len(labels)) for labels in rest], truth, space, given.pilot) for n in sizes]
    # Errors fall with the votes: read the curve backwards.
    falling = np.minimum.accumulate(errors)
    plain = float(np.interp(-wrong, -falling, sizes))
    return float(np.mean(taken[given.pilot :])), wrong, plain


if __name__ == "__main__":
    main()
