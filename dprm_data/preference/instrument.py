"""The panel as an instrument: how to read it, and how many people its reading is worth.

A panel of personas is not a crowd. What its members share (a model's idea of an item, a bias, a habit of the middle of the scale) does not average out, however many of
them there are. So its fitted distribution q_i of item i is taken for *one reading*, which may be bent and is worth m people:

    at every scale of the label space, with (mu, s) mean and concentration of the beta nearest to the reading (`axes`, `beta`),
        logit mu' = a + b logit mu              bias and stretch
        log s'    = c + d log s                 too narrow, too wide
    q'_i = the cells of Beta(mu', s') under people's level weights
    votes of the item = people's answers n_i + m_i q'_i,       1 / m_i = 1 / m + max(1 / N_i - 1 / N, 0)

N_i are the panel's votes on the item, N their median: an item on which fewer were asked is worth less. The reading is a prior like any other: distributions, intervals,
updates follow from the votes. Its evidence is in people, because m is what makes people's answers most probable after the reading,

    sum_i [log p(n_i + m_i q'_i) - log p(m_i q'_i)]  -  penalties,

p the marginal likelihood under the prior learned from people. (a, b, c, d) have normal penalties around the literal (0, 1, 0, 1) and log m one around the default below, so that few
answers change little. A useless panel gets m near 0: people alone remain. A panel as good as people gets its own N. The interval of m is where the profile of the
objective is within 1.35 of its maximum (half the 90 % quantile of chi-squared, one degree of freedom). m itself is 1 over the mean of 1 / m under the profile, as it is a variance
that is uncertain, and its mean that intervals need.

*Where no person has answered* nothing tells what a panel shares with itself and not with people. Then its distributions stay as they are and their variances are widened by the
shared error at its default: r times the variance of one person's answer, so that N votes are worth N / (1 + r N) people, never more than 1 / r.
r = 0.39: nine models were worth two people (arXiv 2605.29800: 9 / (1 + 9 r) = 2), and personas of one model, who explain under a tenth of the variance of people's annotations
(arXiv 2402.10811), can hardly be worth more. It is an assumption, and is called one.

Source: power priors (Ibrahim & Chen 2000) for the reading's weight; regression calibration (Carroll et al., Measurement Error in Nonlinear Models, 2006); the prequential
likelihood is that of `stated`, where the reading is not bent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.labels.space import LabelSpace
from dprm_data.preference import beta as discretised
from dprm_data.preference.axes import Node, chain, nodes
from dprm_data.preference.components import Components
from dprm_data.preference.prior import BetaPart, Prior

LITERAL = np.array([0.0, 1.0, 0.0, 1.0])
PENALTY_SD = np.array([1.0, 0.5, 1.0, 0.5])  # of a, b, c, d around the literal
WORTH_SD = 1.0  # of log m around its default
SHARED, SHARED_LOW, SHARED_HIGH = 0.39, 0.2, 0.75  # r, in variances of one person's answer, and the range it is stated with
DROP = 1.3528  # half the 90 % quantile of chi-squared with one degree of freedom
MOST_ITEMS = 1000  # with people's answers, from which the reading is learned
WORTHS = 9  # points of the profile of m


def people_worth(votes: float | Floats, shared: float = SHARED) -> Floats:
    """How many people N votes of one panel are worth, whose shared error is `shared` variances of one person's answer: N / (1 + r N)."""
    n = np.asarray(votes, dtype=np.float64)
    return np.asarray(n / (1.0 + shared * n))


@dataclass(frozen=True)
class Instrument:
    """A learned reading. bends (B, 4): a, b, c, d of every node of the chain, parents first; worth, with worth_low and worth_high (90 %): m, in people;
    votes: N, the panel's votes on its median item; items, answers: how many people's answers on how many items it was learned from."""

    bends: Floats
    worth: float
    worth_low: float
    worth_high: float
    votes: float
    items: int
    answers: int

    def worths(self, totals: Floats) -> Floats:
        """m_i of items on which the panel has this many votes (N,)."""
        seen = np.maximum(totals, 1e-9)
        fewer = np.maximum(1.0 / seen - 1.0 / max(self.votes, 1e-9), 0.0)
        return np.where(totals > 0, 1.0 / (1.0 / max(self.worth, 1e-9) + fewer), 0.0)

    def read(self, reading: Floats, totals: Floats, prior: Prior, space: LabelSpace) -> Floats:
        """The votes (N, K) that the panel's distributions (N, K) on so many votes (N,) stand for."""
        root = chain(space)
        bent = np.ones_like(reading)
        for node, part, bend in zip(nodes(root), prior.parts, self.bends, strict=True):
            cells = _bent(*_shape(node.votes(reading)), bend, part)
            for level, branch in enumerate(node.branches):
                bent[:, list(branch)] *= cells[:, level, None]
        return np.asarray(self.worths(totals)[:, None] * bent / bent.sum(axis=1, keepdims=True))


def learn_instrument(
    reading: Floats, totals: Floats, people: Floats, prior: Prior, space: LabelSpace, *, default: float | None = None
) -> Instrument:
    """Learn how to read the panel's distributions (N, K), from `totals` (N,) votes, by people's label counts (N, K); items without either are left out.

    prior: of people's distributions, of a family with scales. default: where the penalty on m is centred, else `people_worth` of the median item.
    """
    both = np.flatnonzero((people.sum(axis=1) > 0) & (totals > 0))
    typical = float(np.median(totals[totals > 0])) if (totals > 0).any() else 0.0
    items, answers = len(both), int(people[both].sum())
    centre = float(people_worth(typical)) if default is None else default
    if len(both) > MOST_ITEMS:
        both = np.random.default_rng(0).choice(both, MOST_ITEMS, replace=False)
    seen = Instrument(LITERAL[None], centre, 0.0, 0.0, typical, items, answers)
    profile = [_Scale(node, part, reading[both], people[both]) for node, part in _scales(space, prior)]
    tried = centre * np.geomspace(0.05, max(4.0 * typical / max(centre, 1e-9), 20.0), WORTHS)

    def at(m: float) -> tuple[float, Floats]:
        worths = _at(seen, m).worths(totals[both])
        found = [scale.learn(worths) for scale in profile]
        penalty = 0.5 * (np.log(m / centre) / WORTH_SD) ** 2
        return sum(value for value, _ in found) - penalty, np.stack([bend for _, bend in found])

    scores = np.array([at(m)[0] for m in tried])
    worth, low, high = _profiled(tried, scores)
    _, bends = at(worth)
    return Instrument(bends, worth, low, high, typical, items, answers)


def _at(seen: Instrument, worth: float) -> Instrument:
    return Instrument(seen.bends, worth, worth, worth, seen.votes, seen.items, seen.answers)


def _scales(space: LabelSpace, prior: Prior) -> Iterator[tuple[Node, BetaPart]]:
    for node, part in zip(nodes(chain(space)), prior.parts, strict=True):
        assert isinstance(part, BetaPart)
        yield node, part


class _Scale:
    """One node: the panel's reading of the items on it, and people's answers there."""

    def __init__(self, node: Node, part: BetaPart, reading: Floats, people: Floats) -> None:
        self.part, self.components = part, part.components()
        there = node.votes(reading)
        self.mass = there.sum(axis=1)  # the share of the item that comes to this node
        self.shape = _shape(there)
        self.people = node.votes(people)
        self.answered = self.components.log_likelihood(self.people)
        self.bend = LITERAL.copy()

    def learn(self, worths: Floats) -> tuple[float, Floats]:
        """The best bend at these worths, started from the last one, and the objective there."""
        from scipy.optimize import minimize

        found = minimize(lambda bend: -self.objective(bend, worths), self.bend, method="L-BFGS-B", options={"maxiter": 25})
        self.bend = found.x
        return -float(found.fun), np.asarray(found.x)

    def objective(self, bend: Floats, worths: Floats) -> float:
        cells = _bent(*self.shape, bend, self.part)
        scores = ((worths * self.mass)[:, None] * cells) @ self.components.log_means.T + self.components.log_weights
        gain = _log_sum(scores + self.answered) - _log_sum(scores)
        return float(gain.sum() - 0.5 * (((bend - LITERAL) / PENALTY_SD) ** 2).sum())


def _shape(levels: Floats) -> tuple[Floats, Floats]:
    """logit mu and log s of the beta with the mean and variance of these levels (N, L), rows need not sum to 1."""
    L = levels.shape[1]
    p = levels / np.maximum(levels.sum(axis=1, keepdims=True), 1e-300)
    middle = (np.arange(L) + 0.5) / L
    mean = p @ middle
    variance = p @ middle**2 - mean**2 + 1.0 / (12.0 * L**2)
    alpha, beta = discretised.from_moments(mean, variance)
    return np.log(alpha / beta), np.log(np.clip(alpha + beta, discretised.SMALLEST, discretised.LARGEST))


def _bent(logit: Floats, log_s: Floats, bend: Floats, part: object) -> Floats:
    """The cells (N, L) of the bent betas, with people's level weights and lapses."""
    assert isinstance(part, BetaPart)
    a, b, c, d = bend
    mu = 1.0 / (1.0 + np.exp(-np.clip(a + b * logit, -6.0, 6.0)))
    s = np.exp(np.clip(c + d * log_s, np.log(discretised.SMALLEST), np.log(discretised.LARGEST)))
    cells = discretised.cells(mu, s, len(part.level_weights))
    return discretised.weighted(cells, part.level_weights, part.lapse)


def _log_sum(scores: Floats) -> Floats:
    top = scores.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(scores - top).sum(axis=1)) + top[:, 0])


def _profiled(worths: Floats, scores: Floats) -> tuple[float, float, float]:
    """From the objective at some worths: 1 over the mean of 1 / m, and the ends of the interval of m."""
    from scipy.interpolate import PchipInterpolator

    fine = np.linspace(np.log(worths[0]), np.log(worths[-1]), 400)
    curve = PchipInterpolator(np.log(worths), scores)(fine)
    likely = np.exp(curve - curve.max())
    inside = np.exp(fine[curve >= curve.max() - DROP])
    return float(likely.sum() / (likely @ np.exp(-fine))), float(inside[0]), float(inside[-1])
