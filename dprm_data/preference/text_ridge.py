"""Out-of-fold predictions from texts by ridge regression: every item's comes from a regression on others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dprm_data.core.arrays import Floats, Ints

FOLDS = 5
PENALTIES = np.geomspace(100.0, 0.1, 7)  # of features of unit length
TUNED = 3_000


@dataclass(frozen=True)
class OutOfFold:
    """Predictions (n, d) of the n items learned from, their correlation with the targets (d,), and the regressions, each without the items of one fold."""

    predicted: Floats
    correlation: Floats
    models: list[Any]

    def predict(self, features: Any, fold: Ints) -> Floats:
        """The predictions (m, d) of other items, of each by the regression without its fold (m,)."""
        return _predicted(self.models, features, fold)


def folds(keys: Ints) -> Ints:
    """The fold of every item (N,): items with the same key are in one. keys: hashes, so that the choice is random, always the same, and does not depend on the order of the items."""
    _, number = np.unique(keys, return_inverse=True)
    return np.asarray(number % FOLDS)


def out_of_fold(features: Any, targets: Floats, fold: Ints) -> OutOfFold:
    """Predict the targets (n, d) from the features (n, p), sparse or dense.

    The penalty of each target is the one with the least error out of fold, tried from the largest on until errors grow; on the first TUNED items, because it is a ratio of variances, the
    same for any number of items.
    """
    d = targets.shape[1]
    tuned, at, best = slice(0, TUNED), np.full(d, PENALTIES[0]), np.full(d, np.inf)
    for penalty in PENALTIES:
        found = _predicted(
            _regressions(features[tuned], targets[tuned], fold[tuned], np.full(d, penalty)),
            features[tuned],
            fold[tuned],
        )
        error = ((found - targets[tuned]) ** 2).sum(axis=0)
        if (error > best).all():
            break
        at, best = np.where(error < best, penalty, at), np.minimum(error, best)
    models = _regressions(features, targets, fold, at)
    found = _predicted(models, features, fold)
    return OutOfFold(found, correlations(found, targets), models)


def _regressions(features: Any, targets: Floats, fold: Ints, penalty: Floats) -> list[Any]:
    """A regression for every fold, on the items of the others."""
    from sklearn.linear_model import Ridge
    from threadpoolctl import threadpool_limits

    sparse = hasattr(features, "tocsr")
    solver: dict[str, Any] = {"solver": "sparse_cg", "tol": 1e-3, "max_iter": 100} if sparse else {"solver": "cholesky"}
    models = []
    with threadpool_limits(1):  # the same result on any machine, and no threads that wait for each other
        for each in range(FOLDS):
            others = fold != each
            models.append(Ridge(penalty, **solver).fit(features[others], targets[others].astype(features.dtype)))
    return models


def _predicted(models: list[Any], features: Any, fold: Ints) -> Floats:
    found = np.empty((len(fold), len(np.ravel(models[0].intercept_))))
    for each, model in enumerate(models):
        rows = np.flatnonzero(fold == each)
        if len(rows):
            found[rows] = model.predict(features[rows]).reshape(len(rows), -1)
    return found


def correlations(a: Floats, b: Floats) -> Floats:
    """The correlation of every column of a with that of b; 0 where one is constant."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    scale = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return np.asarray(np.divide((a * b).sum(axis=0), scale, out=np.zeros_like(scale), where=scale > 1e-12))
