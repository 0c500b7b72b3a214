"""A reading of every item's text as one more noisy annotator: a normal measurement of the component that the item is.

A regression on texts (`text_ridge`) predicts something about an item from other items' votes: its mean level, and perhaps how much its votes differ. Such a reading t_i
(standardised) is a measurement of the item's component g, a beta with mean level m_g and standard deviation s_g,

    t_i | g  ~  N(mu_g, v_g),        mu_g = a + b m_g + c m_g^2 + d s_g,        log v_g = e + f m_g + h s_g

m and s standardised over the grid. The noise depends on the component because readings of items on which all agree are much alike, and those of the few others are not: with one
noise for all, the latter would be trusted too much. A reading changes an item's prior weights, and nothing else. With p(n_i | g) the probability of its votes,

    w_ig = p(g | t_i) = w_g N(t_i; mu_g, v_g) / sum_h w_h N(t_i; mu_h, v_h),        R_ig ~ w_ig p(n_i | g)

so that text and votes (and raters, whose messages take the place of p(n_i | g)) are counted once each. The prior w stays as it was learned from votes. (a ... h) are learned by EM with
the items' posteriors R: mu by regression of the readings on the components with weights R / v, log v by Fisher scoring on the squared residuals; slopes have weak normal penalties. A reading
that has nothing to do with the votes gets slopes near 0, and says nothing. A second reading is given as what the first does not predict of it, and added in the same way.

Source: EM with a hidden component (Dempster, Laird & Rubin 1977); variance functions: Davidian & Carroll 1987.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dprm_data.core.arrays import Floats, Ints
from dprm_data.preference.components import Components, Posterior

MEAN_PRECISION, NOISE_PRECISION = 2.0, 10.0  # of slopes, in items of noise 1
SMALLEST, LARGEST = np.log(0.02), np.log(4.0)  # log v: readings have variance 1
STEPS = 20


@dataclass(frozen=True)
class TextReading:
    """The readings of N items on one scale, and what they mean. values (N, d): t, NaN where an item has none; mean, noise (d, G): mu and v of every component."""

    values: Floats
    mean: Floats
    noise: Floats

    def take(self, items: Ints) -> TextReading:
        """The readings of these items."""
        return replace(self, values=self.values[items])

    def log_weights(self, items: slice | Ints, log_weights: Floats) -> Floats:
        """log p(g | t_i), shape (n, G), of some items, from log p(g), (G,) or (n, G)."""
        t = self.values[items]
        found = np.zeros((len(t), self.mean.shape[1])) + log_weights
        for values, mean, noise in zip(t.T, self.mean, self.noise, strict=True):
            said = np.stack([-0.5 / noise, mean / noise, -0.5 * (mean**2 / noise + np.log(noise))])
            known = np.isfinite(values)[:, None]
            values = np.where(known, values[:, None], 0.0)
            found += np.hstack([values**2, values, np.ones_like(values)]) * known @ said
        found -= found.max(axis=1, keepdims=True)
        return np.asarray(found - np.log(np.exp(found).sum(axis=1, keepdims=True)))


@dataclass(frozen=True)
class ReadingJudge:
    """The posterior of some items' votes where their texts have been read."""

    components: Components
    reading: TextReading
    items: slice | Ints

    def posterior(self, votes: Floats) -> Posterior:
        scores = self.components.log_likelihood(votes)
        scores += self.reading.log_weights(self.items, self.components.log_weights)
        return Posterior.of(self.components, votes, scores)


def judge_of(components: Components, reading: TextReading | None, items: slice | Ints) -> Components | ReadingJudge:
    """What gives the posterior of these items' votes, with their texts or, where these have not been read, without."""
    return components if reading is None else ReadingJudge(components, reading, items)


def learn_reading(log_likelihood: Floats, log_weights: Floats, values: Floats, components: Components) -> TextReading:
    """The meaning of a reading with values (n,), NaN where an item has none.

    log_likelihood (n, G): log p(n_i | g); log_weights, (G,) or (n, G): log p(g), with the readings before this one.
    """
    known = np.isfinite(values)
    t, before = values[known], (log_likelihood + log_weights)[known]
    mean_of, noise_of = _functionals(components)
    noise_slopes = np.zeros(noise_of.shape[1])
    mean, noise = np.zeros(len(mean_of)), np.ones(len(mean_of))
    held = [
        np.diag([1e-6] + [precision] * (F.shape[1] - 1))
        for F, precision in ((mean_of, MEAN_PRECISION), (noise_of, NOISE_PRECISION))
    ]
    for _ in range(STEPS):
        R = before + TextReading(t[:, None], mean[None], noise[None]).log_weights(slice(None), np.zeros(len(mean)))
        R -= R.max(axis=1, keepdims=True)
        np.exp(R, out=R)
        R /= R.sum(axis=1, keepdims=True)
        items, first, second = R.sum(axis=0), t @ R, t**2 @ R
        weighed = mean_of.T / noise
        mean = mean_of @ np.linalg.solve(weighed @ (mean_of * items[:, None]) + held[0], weighed @ first)
        mean = np.clip(mean, t.min(), t.max())
        square = second - 2.0 * mean * first + mean**2 * items
        information = 0.5 * noise_of.T @ (noise_of * items[:, None]) + held[1]
        for _ in range(3):
            score = 0.5 * noise_of.T @ (square / noise - items) - held[1] @ noise_slopes
            noise_slopes = noise_slopes + np.linalg.solve(information, score)
            noise = np.exp(np.clip(noise_of @ noise_slopes, SMALLEST, LARGEST))
    return TextReading(values[:, None], mean[None], noise[None])


def joined(first: TextReading, second: TextReading) -> TextReading:
    """Both readings of the same items."""
    values = np.hstack([first.values, second.values])
    return TextReading(values, np.vstack([first.mean, second.mean]), np.vstack([first.noise, second.noise]))


def _functionals(components: Components) -> tuple[Floats, Floats]:
    """Of every component, what the mean and what the noise of a reading depend on: (G, 4) and (G, 3)."""
    P, levels = components.means, np.arange(components.means.shape[1])
    mean = P @ levels
    spread = np.sqrt(np.maximum(P @ levels**2 - mean**2, 0.0))
    one, m, s = np.ones(len(P)), _standardised(mean), _standardised(spread)
    return np.stack([one, m, m**2, s], axis=1), np.stack([one, m, s], axis=1)


def _standardised(column: Floats) -> Floats:
    return np.asarray((column - column.mean()) / max(float(column.std()), 1e-12))
