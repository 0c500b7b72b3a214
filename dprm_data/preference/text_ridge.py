"""Out-of-fold predictions from texts by ridge regression: every item's comes from a regression on others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.extras import extra

FOLDS = 5
PENALTIES = np.geomspace(0.1, 100.0, 7)  # of features of unit length


@dataclass(frozen=True)
class OutOfFold:
    """Predictions (n, d) of the n items learned from, their correlation with the targets (d,), and the regressions: coefficients (FOLDS, d, features), intercepts (FOLDS, d)."""

    predicted: Floats
    correlation: Floats
    coefficients: Floats
    intercepts: Floats

    def predict(self, features: Any, fold: Ints) -> Floats:
        """The predictions (m, d) of other items, of each by the regression without its fold (m,)."""
        found = np.empty((len(fold), self.predicted.shape[1]))
        for each in range(len(self.coefficients)):
            rows = np.flatnonzero(fold == each)
            found[rows] = features[rows] @ self.coefficients[each].T + self.intercepts[each]
        return found


def folds(keys: Ints) -> Ints:
    """The fold of every item (N,): items with the same key are in one. keys: hashes, so that the choice is random, always the same, and does not depend on the order of the items."""
    _, number = np.unique(keys, return_inverse=True)
    return np.asarray(number % FOLDS)


def out_of_fold(features: Any, targets: Floats, fold: Ints) -> OutOfFold:
    """Predict the targets (n, d) from the features (n, p), sparse or dense. The penalty of each target is the one with the least error out of fold."""
    with extra("text", what="text in a fit"):
        from sklearn.linear_model import Ridge

    n, d = targets.shape
    sparse = hasattr(features, "tocsr")
    best = np.full(d, np.inf)
    predicted, coefficients, intercepts = (
        np.empty((n, d)),
        np.zeros((FOLDS, d, features.shape[1]), np.float32),
        np.zeros((FOLDS, d)),
    )
    for penalty in PENALTIES:
        found, models = np.empty((n, d)), []
        for each in range(FOLDS):
            held = fold == each
            model = Ridge(penalty, solver="sparse_cg" if sparse else "cholesky", tol=1e-3, max_iter=100)
            model.fit(features[~held], targets[~held].astype(np.float32 if sparse else np.float64))
            models.append(model)
            if held.any():
                found[held] = model.predict(features[held]).reshape(-1, d)
        error = ((found - targets) ** 2).sum(axis=0)
        for j in np.flatnonzero(error < best):
            best[j], predicted[:, j] = error[j], found[:, j]
            for each, model in enumerate(models):
                coefficients[each, j] = np.reshape(model.coef_, (d, -1))[j]
                intercepts[each, j] = np.reshape(model.intercept_, d)[j]
    return OutOfFold(predicted, correlations(predicted, targets), coefficients, intercepts)


def correlations(a: Floats, b: Floats) -> Floats:
    """The correlation of every column of a with that of b; 0 where one is constant."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    scale = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return np.divide((a * b).sum(axis=0), scale, out=np.zeros_like(scale), where=scale > 1e-12)
