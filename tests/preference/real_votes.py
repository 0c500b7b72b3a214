"""The real multi-rater sets that lie beside a checkout of the project, where they do; nothing of them is part of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dprm_data.labels import Floats, LabelSpace
from dprm_data.preference import read_votes

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
LEVELS = {"faceratings": 7, "convabuse": 5, "chaosnli": 3, "polis": 3}


def path(name: str) -> Path:
    found = DATA / f"{name}.parquet"
    if not found.is_file():
        pytest.skip(f"real votes are not here: {found} does not exist")
    return found


def counts(name: str) -> tuple[Floats, LabelSpace]:
    space = LabelSpace.ordinal(LEVELS[name])
    return read_votes(path(name), space).counts, space


def split(whole: Floats, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """n votes of every item to fit on, and a random half of its votes, without these, to score on; items with too few are left out."""
    total = whole.sum(axis=1)
    kept = whole[(np.ceil(total / 2) >= n) & (total >= 2)].astype(np.int64)
    train, held = np.zeros(kept.shape), np.zeros(kept.shape)
    for i, votes in enumerate(kept):
        order = rng.permutation(np.repeat(np.arange(kept.shape[1]), votes))
        train[i] = np.bincount(order[:n], minlength=kept.shape[1])
        held[i] = np.bincount(order[(len(order) + 1) // 2 :], minlength=kept.shape[1])
    return train, held


def ranked_probability_score(p: Floats, held: Floats) -> Floats:
    """Mean squared difference of the distribution functions at the K - 1 cuts, per item."""
    share = held / held.sum(axis=1, keepdims=True)
    return np.asarray(((np.cumsum(p, axis=1) - np.cumsum(share, axis=1))[:, :-1] ** 2).mean(axis=1))


def log_likelihood(p: Floats, held: Floats) -> Floats:
    """Mean log-probability of the held-out votes, per item; probabilities below 0.001 count as that."""
    return np.asarray((held * np.log(np.maximum(p, 1e-3))).sum(axis=1) / held.sum(axis=1))
