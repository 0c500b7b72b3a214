"""What more answers by people would buy: the expected error of all items' expected rewards, and the items on which an answer lowers it most.

With t_i an item's expected reward, V_i its posterior variance given the parameters theta of the measurement model (the calibration curve and the panel's worth; `preference.instrument`),
and J_i its derivative with respect to theta, the expected squared error over N items is

    E = mean_i (V_i + J_i S J_i'),        S the covariance of theta

An answer lowers it in two ways. It tells about its own item: with V_i1 the mean of the variances after each possible answer, an answer has the precision h_i = 1 / V_i1 - 1 / V_i, and

    V_i(n) = V_i / (1 + n h_i V_i),       J_i(n) = J_i V_i(n) / V_i           after n answers (exact for normal distributions)

And it tells about the panel, hence about all items: with p_i the distribution of the next answer and D_i its derivative with respect to theta, its Fisher information is

    I_i = D_i' diag(1 / p_i) D_i,         J_i = r' D_i,         S(after) = (S^-1 + sum I_i)^-1

The n-th answer on an item counts as (V_i(n - 1) / V_i)^2 of the first, since answers on an item share its own deviation. Items are chosen greedily, for the drop of E per answer.

Source: Fisher information and greedy choice are those of Bayesian experimental design (Chaloner & Verdinelli, Bayesian Experimental Design: A Review, 1995).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats, Ints
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.instrument import LEARNED, PENALTY_SD, WORTH_SD, Instrument
from dprm_data.preference.posterior import evaluate
from dprm_data.preference.prior import Prior

STEP = 0.05  # of finite differences
CHUNK = 4096


@dataclass(frozen=True)
class Knowledge:
    """What is known of N items: `reward` (N,), `variance` (N,) V, `precision` (N,) h of an answer, `slope` (N, P) J, `information` (N, P, P) of a first answer about the P
    parameters of the measurement model, and their `covariance` (P, P) S."""

    reward: Floats
    variance: Floats
    precision: Floats
    slope: Floats
    information: Floats
    covariance: Floats

    def __len__(self) -> int:
        return len(self.variance)

    @classmethod
    def of(cls, instrument: Instrument, prior: Prior, panel: Floats, people: Floats, space: LabelSpace) -> Knowledge:
        """From the measurement model, the prior of people's distributions, the panel's votes and people's answers (N, K)."""
        prior = _unwidened(prior, instrument)
        reward, variance, precision = _items(instrument, prior, panel, people, space)
        slope, information = _parameters(instrument, prior, panel, people, space)
        answered = np.flatnonzero(people.any(axis=1))
        known = _inverse_prior(instrument)
        if len(answered):
            nobody = np.zeros_like(panel[answered])
            before = _items(instrument, prior, panel[answered], nobody, space)
            _, first = _parameters(instrument, prior, panel[answered], nobody, space)
            number = people[answered].sum(axis=1)
            known = known + np.einsum("n,npq->pq", _repeats(before[1] * before[2], number), first)
        return cls(reward, variance, precision, slope, information, np.asarray(np.linalg.inv(known), dtype=np.float64))

    def after(self, answers: Ints) -> Knowledge:
        """What would be known on average after so many more answers on each item (N,)."""
        left = 1.0 / (1.0 + answers * self.precision * self.variance)
        known = np.linalg.inv(self.covariance)
        known = known + np.einsum("n,npq->pq", _repeats(self.precision * self.variance, answers), self.information)
        return replace(
            self,
            variance=self.variance * left,
            slope=self.slope * left[:, None],
            information=self.information * (left**2)[:, None, None],
            covariance=np.linalg.inv(known),
        )

    def errors(self) -> Floats:
        """The expected squared error of every item's expected reward (N,)."""
        return np.asarray(self.variance + np.einsum("np,pq,nq->n", self.slope, self.covariance, self.slope))

    def of_mean(self, rows: Ints) -> float:
        """The variance of the mean over these items."""
        slope = self.slope[rows].mean(axis=0)
        return float(self.variance[rows].sum() / len(rows) ** 2 + slope @ self.covariance @ slope)

    def chosen(self, items: int, each: int, free: NDArray[np.bool_]) -> Ints:
        """The rows of the items (at most `items`, among those that are `free`) on which `each` answers lower the expected error most, the best first."""
        left = 1.0 / (1.0 + each * self.precision * self.variance)
        weight = _repeats(self.precision * self.variance, np.full(len(self), each))
        information = (weight[:, None, None] * self.information).reshape(len(self), -1)
        open_, slope, S = free.astype(bool), self.slope.copy(), self.covariance
        order: list[int] = []
        for _ in range(min(items, int(open_.sum()))):
            own = self.variance * (1.0 - left) + ((slope @ S) * slope).sum(axis=1) * (1.0 - left**2)
            taught = information @ (S @ (slope.T @ slope) @ S).ravel()
            best = int(np.argmax(np.where(open_, own + taught, -np.inf)))
            order.append(best)
            open_[best] = False
            slope[best] *= left[best]
            S = np.linalg.inv(np.linalg.inv(S) + information[best].reshape(S.shape))
        return np.array(order, dtype=np.int64)


def _items(
    instrument: Instrument, prior: Prior, panel: Floats, people: Floats, space: LabelSpace
) -> tuple[Floats, Floats, Floats]:
    """Every item's expected reward, its variance, and the precision of one answer."""
    votes = people + instrument.read(panel, people, prior, space)
    values = np.column_stack([np.eye(space.K), space.rewards])
    now = evaluate(prior, space, votes, values)
    p, variance = now.mean[:, : space.K], np.maximum(now.variance[:, -1], 1e-12)
    later = np.zeros(len(votes))
    for label in range(space.K):
        more = votes.copy()
        more[:, label] += 1.0
        later += p[:, label] * evaluate(prior, space, more, space.rewards[:, None]).variance[:, 0]
    return now.mean[:, -1], variance, np.maximum(1.0 / np.maximum(later, 1e-12) - 1.0 / variance, 0.0)


def _parameters(
    instrument: Instrument, prior: Prior, panel: Floats, people: Floats, space: LabelSpace
) -> tuple[Floats, Floats]:
    """J (N, P) and the Fisher information of an answer (N, P, P)."""
    p = np.maximum(instrument.predict(panel, people, prior, space), 1e-9)
    moves = _moves(instrument)
    D = np.empty((*p.shape, len(moves)))
    for at, move in enumerate(moves):
        up, down = (moved.predict(panel, people, prior, space) for moved in (move(STEP), move(-STEP)))
        D[:, :, at] = (up - down) / (2.0 * STEP)
    return np.einsum("k,nkp->np", space.rewards, D), np.einsum("nkp,nkq->npq", D / p[:, :, None], D)


def _moves(instrument: Instrument) -> list[Callable[[float], Instrument]]:
    """The instrument with one of its parameters moved: those of the calibration curves, and the logarithm of its worth."""

    def bent(node: int, which: int) -> Callable[[float], Instrument]:
        def move(by: float) -> Instrument:
            bends = instrument.bends.copy()
            bends[node, which] += by
            return replace(instrument, bends=bends)

        return move

    found = [bent(node, which) for node in range(len(instrument.bends)) for which in range(instrument.bends.shape[1])]
    return [*found, lambda by: replace(instrument, power=instrument.power * float(np.exp(by)))]


def _inverse_prior(instrument: Instrument) -> Floats:
    """The precision of the parameters before any answer: the penalties of `learn_instrument`."""
    return np.diag(1.0 / np.array([*np.tile(PENALTY_SD, len(instrument.bends)), WORTH_SD]) ** 2)


def _unwidened(prior: Prior, instrument: Instrument) -> Prior:
    """The prior without the factor that stands for the parameters' uncertainty, which is explicit here."""
    wider = 1.0 + LEARNED / instrument.items if instrument.items else 1.0
    return replace(prior, parts=tuple(replace(part, dispersion=part.dispersion / wider) for part in prior.parts))


def _repeats(told: Floats, answers: Ints | Floats) -> Floats:
    """As how many first answers so many answers on an item count: sum over n of 1 / (1 + n h V)^2. told (N,): h V."""
    total = np.zeros(len(told))
    for n in range(int(answers.max(initial=0))):
        total += np.where(n < answers, 1.0 / (1.0 + n * told) ** 2, 0.0)
    return total
