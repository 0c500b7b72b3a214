"""A measurement model of the panel: a calibration curve from people's distributions to the panel's, and how many people its votes are worth.

A panel of personas is not a random sample of people. Errors that its members share (a model's view of an item, a bias, a preference for the middle of the scale) do not average
out, however many members there are. So on every scale of the label space: if people's distribution of an item is the component g (a beta with mean mu and concentration s;
`components`, `beta`), the panel's is assumed to be another beta, given by the calibration curve

        logit mu' = a + b logit mu              bias and slope
        log s'    = c + d log s                 dispersion: too narrow, too wide

cut into levels with the panel's own level weights and lapses, P'_g. Its votes x_i count with a power t_i below 1, because their errors are shared:

    log p(x_i | g) = t_i sum_k x_ik log P'_gk,       t_i = m_i / N_i,      1 / m_i = 1 / m + max(1 / N_i - 1 / N, 0)

N_i is the number of the panel's votes on the item, N its median: an item with fewer votes carries less information. People's answers n_i count as they are. Learning maximises their
probability given the panel's votes,

    sum_i [log sum_g w_g p(x_i | g) p(n_i | g)  -  log sum_g w_g p(x_i | g)]  -  penalties,

under the prior w learned from people alone. (a, b, c, d) have normal penalties around the identity (0, 1, 0, 1), and log m has one around the default of `shared_error`, so that few
answers change little. About ten parameters are learned from I items (five here, about as many in people's prior), so the intervals' variances are multiplied by 1 + 10 / I.
A useless panel gets b, d and m near 0: people alone remain. A panel as good as people stays as it is. The estimate of m is the harmonic mean under the profile of the objective, since
intervals need the mean of the variance, 1 / m. Its interval is where the profile is within 1.35 of its maximum (half the 90 % quantile of chi-squared, one degree of freedom).

*Equivalent votes.* All later steps work on votes. So the panel's votes are replaced by people's votes v_i >= 0 whose log-likelihood is nearest to theirs where the item may be,

    v_i = argmin sum_g R_ig (log p(x_i | g) - v_i . log P_g - constant)^2,        R_i the item's posterior over the components

With the identity as the calibration curve, these are the panel's own votes times t. The sum of v_i is the panel's worth on the item, in people.

Source: power priors (Ibrahim & Chen 2000) for t; measurement models (Carroll et al., Measurement Error in Nonlinear Models, 2006); the prequential likelihood is that of `stated`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError
from dprm_data.labels.space import LabelSpace
from dprm_data.preference import beta as discretised
from dprm_data.preference.axes import chain, nodes
from dprm_data.preference.prior import BetaPart, Prior
from dprm_data.preference.shared_error import people_worth

LITERAL = np.array([0.0, 1.0, 0.0, 1.0])
PENALTY_SD = np.array([1.0, 0.5, 1.0, 0.5])  # of a, b, c, d around the identity
WORTH_SD = 1.0  # of log m around its default
DROP = 1.3528  # half the 90 % quantile of chi-squared with one degree of freedom
MOST_ITEMS = 1000  # with people's answers, from which the model is learned
LEARNED = 10.0
WORTHS = 9  # points of the profile of m
SWEEPS = 60  # of coordinate descent
_CHUNK = 2048


def has_scales(space: LabelSpace) -> bool:
    """Whether the labels have an order, which an instrument needs."""
    try:
        chain(space)
    except InputError:
        return False
    return True


@dataclass(frozen=True)
class Instrument:
    """A learned measurement model. bends (B, 4): the calibration curve (a, b, c, d) of every node of the chain, parents first; power, with power_low and power_high (90 %): m; votes: N, the
    panel's votes on its median item; items, answers: how many answers by people, on how many items, it was learned from. panel: the prior with the panel's level weights and lapses."""

    bends: Floats
    power: float
    power_low: float
    power_high: float
    votes: float
    items: int
    answers: int
    panel: Prior

    def powers(self, totals: Floats) -> Floats:
        """t_i of items on which the panel has this many votes (N,)."""
        return _powers(self.power, self.votes, totals)

    def prior(self, people: Prior) -> Prior:
        """The prior learned from people's answers alone, with variances widened for the uncertainty of the model."""
        wider = 1.0 + LEARNED / max(self.items, 1)
        return replace(people, parts=tuple(replace(part, dispersion=wider * part.dispersion) for part in people.parts))

    def read(self, panel: Floats, people: Floats, prior: Prior, space: LabelSpace) -> Floats:
        """People's votes (N, K) that are equivalent to the panel's (N, K), on items with these answers by people (N, K)."""
        powers = self.powers(panel.sum(axis=1))[:, None]
        scales = zip(nodes(chain(space)), prior.parts, self.panel.parts, self.bends, strict=True)
        found = np.zeros_like(panel)
        for node, part, own, bend in scales:
            said = _said(node.votes(powers * panel), node.votes(people), _scale(part), bend, _scale(own))
            for level, (branch, child) in enumerate(zip(node.branches, node.children, strict=True)):
                if child is None:
                    found[:, branch[0]] = said[:, level]
                else:  # shares for now: its own node says how it is divided
                    found[:, list(branch)] = said[:, level, None] / len(branch)
        return found

    def predict(self, panel: Floats, people: Floats, prior: Prior, space: LabelSpace) -> Floats:
        """The next person's label (N, K) on items with these votes of the panel's and these answers by people, both (N, K)."""
        powers = self.powers(panel.sum(axis=1))[:, None]
        found = np.ones_like(panel)
        for node, part, own, bend in zip(nodes(chain(space)), prior.parts, self.panel.parts, self.bends, strict=True):
            components, seen = _scale(part).components(), np.log(_bent(_scale(part), bend, _scale(own)))
            scores = node.votes(powers * panel) @ seen.T + node.votes(people) @ components.log_means.T
            R = np.exp(scores + components.log_weights - (scores + components.log_weights).max(axis=1, keepdims=True))
            p = R @ components.means / R.sum(axis=1, keepdims=True)
            for level, branch in enumerate(node.branches):
                found[:, list(branch)] *= p[:, level, None]
        return found

    def to_dict(self) -> dict[str, Any]:
        return asdict(replace(self, panel=None)) | {"bends": self.bends.tolist(), "panel": self.panel.to_dict()}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Instrument:
        bends, panel = np.array(content["bends"], dtype=np.float64), Prior.from_dict(content["panel"])
        return cls(**content | {"bends": bends, "panel": panel})


def learn_instrument(votes: Floats, people: Floats, prior: Prior, panel: Prior, space: LabelSpace) -> Instrument:
    """Learn the model from the panel's votes (N, K) and people's label counts (N, K); items without both are left out.

    prior: of people's distributions; panel: of the panel's own; both of the family `beta`.
    """
    totals = votes.sum(axis=1)
    both = np.flatnonzero((people.sum(axis=1) > 0) & (totals > 0))
    typical = float(np.median(totals[totals > 0])) if (totals > 0).any() else 1.0
    items, answers = len(both), int(people[both].sum())
    if len(both) > MOST_ITEMS:
        both = np.random.default_rng(0).choice(both, MOST_ITEMS, replace=False)
    scales = [
        _Learner(node.votes(votes[both]), node.votes(people[both]), _scale(part), _scale(own))
        for node, part, own in zip(nodes(chain(space)), prior.parts, panel.parts, strict=True)
    ]
    centre = float(people_worth(typical))
    tried = np.geomspace(0.05 * centre, max(4.0 * typical, 20.0 * centre), WORTHS)

    def at(m: float) -> tuple[float, Floats]:
        powers = _powers(m, typical, totals[both])
        found = [scale.learn(powers) for scale in scales]
        penalty = 0.5 * (np.log(m / centre) / WORTH_SD) ** 2
        return sum(value for value, _ in found) - penalty, np.stack([bend for _, bend in found])

    power, low, high = _profiled(tried, np.array([at(m)[0] for m in tried]))
    _, bends = at(power)
    return Instrument(bends, power, low, high, typical, items, answers, panel)


class _Learner:
    """One scale: the panel's votes and people's answers (I, L) on it, and the priors of people's and the panel's betas."""

    def __init__(self, votes: Floats, people: Floats, part: BetaPart, own: BetaPart) -> None:
        self.votes, self.part, self.own = votes, part, own
        components = part.components()
        self.log_weights = components.log_weights
        self.answered = components.log_likelihood(people)
        self.bend = LITERAL.copy()

    def learn(self, powers: Floats) -> tuple[float, Floats]:
        """The best calibration curve at these powers, searched from the last one, and the objective there."""
        from scipy.optimize import minimize

        weighed = powers[:, None] * self.votes

        def loss(bend: Floats) -> float:
            return -self._objective(bend, weighed)

        found = minimize(loss, self.bend.tolist(), method="L-BFGS-B", tol=1e-6, options={"maxiter": 15})
        self.bend = np.asarray(found.x, dtype=np.float64)
        return -float(found.fun), self.bend

    def _objective(self, bend: Floats, weighed: Floats) -> float:
        scores = weighed @ np.log(_bent(self.part, bend, self.own)).T + self.log_weights
        gain = _log_sum(scores + self.answered) - _log_sum(scores)
        return float(gain.sum() - 0.5 * (((bend - LITERAL) / PENALTY_SD) ** 2).sum())


def _said(weighed: Floats, people: Floats, part: BetaPart, bend: Floats, own: BetaPart) -> Floats:
    """The equivalent votes (N, L) of the panel's votes, which are weighted by their powers (N, L)."""
    components = part.components()
    seen = np.log(_bent(part, bend, own))
    basis = components.log_means
    L = basis.shape[1]
    products = (basis[:, :, None] * basis[:, None, :]).reshape(len(basis), L * L)
    found = np.empty_like(weighed)
    for start in range(0, len(weighed), _CHUNK):
        x, n = weighed[start : start + _CHUNK], people[start : start + _CHUNK]
        likelihood = x @ seen.T
        R = likelihood + n @ basis.T + components.log_weights
        R = np.exp(R - R.max(axis=1, keepdims=True))
        R /= R.sum(axis=1, keepdims=True)
        mean, level = R @ basis, (R * likelihood).sum(axis=1, keepdims=True)
        A = (R @ products).reshape(-1, L, L) - mean[:, :, None] * mean[:, None, :]
        b = (R * likelihood) @ basis - level * mean
        found[start : start + _CHUNK] = _least_squares(A, b, x)
    return found


def _least_squares(A: Floats, b: Floats, start: Floats) -> Floats:
    """The v >= 0 (N, L) with the least v A v - 2 v b, near the start where A does not tell; by coordinate descent."""
    ridge = 1e-3 * np.einsum("nll->n", A)[:, None] / A.shape[1] + 1e-9
    diagonal = np.einsum("nll->nl", A) + ridge
    target, v = b + ridge * start, start.copy()
    for _ in range(SWEEPS):
        for k in range(v.shape[1]):
            rest = target[:, k] - np.einsum("nl,nl->n", A[:, k], v) + A[:, k, k] * v[:, k]
            v[:, k] = np.maximum(rest / diagonal[:, k], 0.0)
    return v


def _bent(part: BetaPart, bend: Floats, own: BetaPart) -> Floats:
    """P': the calibration curve applied to people's components (G, L)."""
    a, b, c, d = bend
    mu, s = part.grid()
    mu = 1.0 / (1.0 + np.exp(-np.clip(a + b * np.log(mu / (1.0 - mu)), -7.0, 7.0)))
    s = np.exp(np.clip(c + d * np.log(s), np.log(discretised.SMALLEST), np.log(discretised.LARGEST)))
    return discretised.weighted(discretised.cells(mu, s, len(own.level_weights)), own.level_weights, own.lapse)


def _powers(m: float, typical: float, totals: Floats) -> Floats:
    seen = np.maximum(totals, 1e-9)
    fewer = np.maximum(1.0 / seen - 1.0 / max(typical, 1e-9), 0.0)
    return np.where(totals > 0, 1.0 / ((1.0 / m + fewer) * seen), 0.0)


def _scale(part: object) -> BetaPart:
    assert isinstance(part, BetaPart)
    return part


def _log_sum(scores: Floats) -> Floats:
    top = scores.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(scores - top).sum(axis=1)) + top[:, 0])


def _profiled(worths: Floats, scores: Floats) -> tuple[float, float, float]:
    """From the objective at some values of m: the harmonic mean of m, and the ends of its interval."""
    from scipy.interpolate import PchipInterpolator

    fine = np.linspace(np.log(worths[0]), np.log(worths[-1]), 400)
    curve = PchipInterpolator(np.log(worths), scores)(fine)
    likely = np.exp(curve - curve.max())
    inside = np.exp(fine[curve >= curve.max() - DROP])
    return float(likely.sum() / (likely @ np.exp(-fine))), float(inside[0]), float(inside[-1])
