"""One fit of people's and personas' comparisons and ratings: a utility of every response, from which every pair of a prompt has its probability and its share.

The responses to a prompt have utilities u ~ N(0, τ² I), of which only differences matter. Whoever is shown a first and b second answers by the difference

    d = u_a - u_b + δ_annotator,  δ_annotator ~ N(δ_kind, ω²)

on a scale of steps with ties (`comparison_scale`). δ is the order effect: the advantage of what is shown first, in log odds; it is estimated, and left out of what is published. Answers of one
annotator about one prompt go together (`comparison_units`), because people differ in what they prefer: so the posterior of u is about the population, however often somebody answers, while the
steps' probabilities are about people.

A response's ratings are a measurement of its utility: expected reward = c_prompt + b u + error. The error has the variance of what the ratings alone say (the posterior without its prior, which
would otherwise count twice), and s² beside it, because ratings and comparisons may ask for different things. So a prompt's uncompared pairs are known by its compared ones and by ratings.

τ² and how answers go together are learned from products of answers (`comparison_spread`); the steps, δ, ω², b and s² by EM. Each prompt's posterior is approximated by a normal distribution: the
one under which the mean of the score is 0 and the mean of the information is its precision (a Gaussian variational approximation). Means over a posterior are taken at its mean plus and minus a
standard deviation. From more than 3,000 prompts, that many are drawn to learn from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats, Ints
from dprm_data.preference.comparison_scale import Scale
from dprm_data.preference.comparison_spread import CORRELATION, SPREAD, spread_and_correlation
from dprm_data.preference.comparison_units import Batch, batches, noise_of
from dprm_data.preference.order_effect import OrderEffects
from dprm_data.preference.reward_scale import RewardScale

_PROMPTS = 3_000  # to learn from
_ROUNDS, _LAST_ROUNDS, _CLOSE = 300, 30, 1e-3
_LARGEST_STEP = 2.0  # of a difference of utilities, in one round
_STEPS = np.arange(-3.0, 4.0)
_NODES = 9  # of the quadrature over a pair's posterior


@dataclass(frozen=True)
class Comparisons:
    """C comparisons of N items by A annotators.

    group (N,): of the items; first, second (C,): items, as they were shown; annotator (C,); answer (C,): -m … m, more than 0 if the first is better; steps (C,): 2m+1, or 2m where there is no 0;
    weight (C,); kind (A,): of the annotators, the order effect is learned for each; ordered (A,): whether the order in which they were shown is known.
    chosen (C,): whether the pair was chosen for the answers to others, None if none was. Such pairs differ less than any two responses, so how much responses differ is not learned from them.
    probs (C, 7): of the steps -3 … 3, where an answer gives each a probability (and `answer` is the most probable one); None if each is one step.
    reply (C,): the answer that a comparison follows from, None if each has one of its own. The best and the worst of a set are one answer, and several comparisons.
    """

    group: Ints
    first: Ints
    second: Ints
    annotator: Ints
    answer: Ints
    steps: Ints
    weight: Floats
    kind: Ints
    ordered: NDArray[np.bool_]
    chosen: NDArray[np.bool_] | None = None
    reply: Ints | None = None
    probs: Floats | None = None

    @cached_property
    def replies(self) -> Ints:
        """The answer that each comparison follows from, (C,)."""
        return np.arange(len(self)) if self.reply is None else self.reply

    @cached_property
    def step(self) -> Floats:
        """The mean step of every answer, (C,)."""
        return self.answer.astype(np.float64) if self.probs is None else np.asarray(self.probs @ _STEPS)

    @cached_property
    def step_variance(self) -> Floats:
        """Of the steps of one answer, (C,); 0 where it is one step."""
        return np.zeros(len(self)) if self.probs is None else np.asarray(self.probs @ _STEPS**2) - self.step**2

    def sizes(self, rows: Ints, most: int) -> Floats:
        """The probabilities of |k| = 0 … most in these answers (M,), (M, most+1)."""
        if self.probs is None:
            return np.eye(most + 1)[np.abs(self.answer[rows])]
        both = self.probs[rows] + self.probs[rows][:, ::-1]
        both[:, 3] /= 2
        return np.asarray(both[:, 3 : 3 + most + 1])

    @cached_property
    def noise(self) -> Floats:
        """λ of each comparison (`comparison_units`), (C,)."""
        return noise_of(self.replies)

    @cached_property
    def answers_by(self) -> Ints:
        """The number of answers of every annotator, (A,)."""
        _, rows = np.unique(self.replies, return_index=True)
        return np.bincount(self.annotator[rows], minlength=len(self.kind))

    def __len__(self) -> int:
        return len(self.first)

    def take(self, rows: Ints) -> Comparisons:
        """These of the comparisons."""
        names = ("first", "second", "annotator", "answer", "steps", "weight", "chosen", "reply", "probs")
        given = {name: getattr(self, name) for name in names}
        return replace(self, **{name: each[rows] for name, each in given.items() if each is not None})


@dataclass(frozen=True)
class Learned:
    """What is shared by all prompts. spread: τ²; scales: by their number of steps; correlation: ρ; order: the order effects; reward: how ratings measure utilities, None without ratings;
    own: φ, of answers that give each step a probability."""

    spread: float
    scales: dict[int, Scale]
    correlation: float
    order: OrderEffects
    reward: RewardScale | None = None
    own: float = 1.0

    def numbers(self) -> Floats:
        """All of it as numbers whose changes can be compared."""
        found = [np.log(self.spread), self.correlation, self.own, *self.order.mean]
        for scale in self.scales.values():
            found += [scale.slope, *scale.theta[np.isfinite(scale.theta)]]
        return np.array(found + (self.reward.numbers() if self.reward else []))


@dataclass
class _Posterior:
    """Of one batch. mean (G, n), covariance (G, n, n): of the utilities."""

    batch: Batch
    mean: Floats
    covariance: Floats

    @classmethod
    def prior(cls, batch: Batch, spread: float) -> _Posterior:
        prompts, size = batch.items.shape
        return cls(batch, np.zeros((prompts, size)), np.tile(spread * np.eye(size), (prompts, 1, 1)))


@dataclass(frozen=True)
class UtilityFit:
    """The utilities of N items. mean (N,): NaN where an item has none; learned: what all prompts share; posteriors: by size of prompt; place (3, N): batch, prompt and place of each item, -1 where
    it has none; scale: in which shares are counted."""

    mean: Floats
    learned: Learned
    scale: Scale
    posteriors: tuple[_Posterior, ...]
    place: Ints
    level: float = 0.9

    def has(self, pairs: Ints) -> NDArray[np.bool_]:
        """Which of the pairs (P, 2) have a joint posterior, (P,)."""
        return np.asarray((self.place[0][pairs] >= 0).all(axis=1))

    def differences(self, pairs: Ints) -> tuple[Floats, Floats]:
        """Posterior mean and standard deviation of first minus second of pairs (P, 2) of one prompt each, (P,) each. Without an order effect; NaN where there is none."""
        first, second = pairs.T
        variance = np.full(len(pairs), np.nan)
        for number, posterior in enumerate(self.posteriors):
            here = np.flatnonzero(self.place[0][first] == number)
            g, a, b = self.place[1][first[here]], self.place[2][first[here]], self.place[2][second[here]]
            c = posterior.covariance
            variance[here] = c[g, a, a] + c[g, b, b] - 2 * c[g, a, b]
        return self.mean[first] - self.mean[second], np.sqrt(np.maximum(variance, 0.0))

    def probability(self, pairs: Ints) -> Floats:
        """That the utility of the first of a pair (P, 2) is above that of the second, (P,)."""
        from scipy.special import ndtr

        difference, error = self.differences(pairs)
        return np.asarray(ndtr(difference / np.maximum(error, 1e-12)))

    def errors(self) -> Floats:
        """Posterior standard deviation of every item's utility less the mean of its prompt's, (N,): only differences matter. NaN where there is none."""
        found = np.full(len(self.mean), np.nan)
        for each in self.posteriors:
            c = each.covariance
            variance = np.diagonal(c, axis1=1, axis2=2) - 2 * c.mean(axis=2) + c.mean(axis=(1, 2))[:, None]
            found[each.batch.items] = np.sqrt(np.maximum(variance, 0.0))
        return found

    def interval(self, mean: Floats, error: Floats) -> tuple[Floats, Floats]:
        """The ends of the interval of a normal posterior, at the fit's level."""
        from scipy.special import ndtri

        half = float(ndtri(0.5 + 0.5 * self.level)) * error
        return mean - half, mean + half

    def shares(self, pairs: Ints) -> tuple[Floats, Floats, Floats, Floats]:
        """Of pairs (P, 2): the share of people who prefer the first, its interval, and the share without a preference, (P,) each: means over the posterior."""
        difference, error = self.differences(pairs)
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        share, tie = (
            sum(w * part for w, part in zip(weights / weights.sum(), parts, strict=True))
            for parts in zip(*(self.scale.preferred(difference + node * error) for node in nodes), strict=True)
        )
        low, high = (self.scale.preferred(end)[0] for end in self.interval(difference, error))
        return share, np.minimum(low, share), np.maximum(high, share), tie


def fit_comparisons(
    data: Comparisons, reward: Floats | None = None, error: Floats | None = None, level: float = 0.9
) -> UtilityFit:
    """Fit the comparisons, with the ratings of the same items if there are any.

    reward, error (N,): posterior mean and standard deviation of every item's expected reward by its ratings; NaN for an item without. Raises `ValueError` without comparisons.
    """
    if not len(data):
        raise ValueError("there are no comparisons")
    scale = RewardScale.of(reward, error) if reward is not None and error is not None else None
    learned = Learned(
        spread=SPREAD,
        scales={int(n): Scale.of(int(n)) for n in _by_frequency(data.steps)},
        correlation=CORRELATION,
        order=OrderEffects.none(data.kind, data.ordered),
        reward=scale,
    )
    prompts = np.unique(data.group[data.first])
    chosen = np.random.default_rng(0).permutation(prompts)[:_PROMPTS]
    sample = data if len(chosen) == len(prompts) else data.take(np.flatnonzero(np.isin(data.group[data.first], chosen)))
    rated = np.zeros(len(data.group), dtype=bool) if reward is None else np.isfinite(reward)
    learned, posteriors = _iterated(sample, learned, rated, _ROUNDS)
    if sample is not data:
        learned, posteriors = _iterated(data, learned, rated, _LAST_ROUNDS, only_order=True)
    return _fitted(data, learned, posteriors, level)


def _by_frequency(steps: Ints) -> Ints:
    """The numbers of steps that occur, the most frequent first: it sets the unit of utilities."""
    found, counts = np.unique(steps, return_counts=True)
    return np.asarray(found[np.argsort(-counts, kind="stable")])


def _iterated(
    data: Comparisons, learned: Learned, rated: NDArray[np.bool_], rounds: int, *, only_order: bool = False
) -> tuple[Learned, list[_Posterior]]:
    """Rounds of EM until nothing changes. rated (N,): items that are in it beside those compared; only_order: what all prompts share is known, but for annotators who were not in the sample."""
    laid_out = batches(
        data.group, data.first, data.second, data.annotator, data.weight, data.replies, data.step_variance > 0, rated
    )
    posteriors = [_Posterior.prior(batch, learned.spread) for batch in laid_out]
    for _ in range(rounds):
        before = learned
        moved = max(_step(data, learned, posterior) for posterior in posteriors)
        learned = _relearned(data, learned, posteriors, only_order=only_order)
        if max(moved, float(np.abs(learned.numbers() - before.numbers()).max())) < _CLOSE:
            break
    for posterior in posteriors:
        _step(data, learned, posterior)
    return learned, posteriors


def _answers(
    data: Comparisons, learned: Learned, rows: Ints, difference: Floats, error: Floats
) -> tuple[Floats, Floats]:
    """Standardised residual and information about the difference of these answers, (M,) each: means over differences with this mean and standard deviation."""
    residual, information = np.zeros(len(rows)), np.zeros(len(rows))
    shown = difference + learned.order.of_annotator[data.annotator[rows]]
    for steps, scale in learned.scales.items():
        here = np.flatnonzero(data.steps[rows] == steps)
        mean, variance = scale.moments(shown[here], error[here])
        residual[here] = (data.step[rows[here]] / (2 * scale.most) - mean) / np.sqrt(variance)
        information[here] = scale.slope**2 * variance
    return residual, information


def _step(data: Comparisons, learned: Learned, posterior: _Posterior) -> float:
    """One step of Fisher's scoring in all prompts of a batch. Returns the largest change."""
    batch, mean = posterior.batch, posterior.mean
    error = np.sqrt(batch.variances(posterior.covariance))
    residual, information = _answers(data, learned, batch.answers, batch.differences(mean), error)
    score, found = batch.evidence(residual, information, learned.correlation, learned.own)
    if learned.reward:
        gain, more = learned.reward.evidence(batch.items, mean)
        score, found = score + gain, found + more
    precision = found + np.eye(mean.shape[1]) / learned.spread
    step = np.linalg.solve(precision, (score - mean / learned.spread)[..., None])[..., 0]
    step *= np.minimum(1.0, _LARGEST_STEP / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-12))
    posterior.mean = mean + step
    posterior.covariance = np.asarray(np.linalg.inv(precision), dtype=np.float64)
    return float(np.abs(step).max())


def _relearned(data: Comparisons, learned: Learned, posteriors: list[_Posterior], *, only_order: bool) -> Learned:
    """What all prompts share, given their posteriors."""
    difference, error = np.zeros(len(data)), np.zeros(len(data))
    for each in posteriors:
        difference[each.batch.answers] = each.batch.differences(each.mean)
        error[each.batch.answers] = np.sqrt(each.batch.variances(each.covariance))
    order = _order(data, learned, difference, error)
    if only_order:
        return replace(learned, order=order.with_mean(learned.order))
    own = learned.order.of_annotator[data.annotator]
    shown, shift = difference + own, own.mean()
    scales = {}
    for number, (steps, scale) in enumerate(learned.scales.items()):
        here = np.flatnonzero(data.steps == steps)
        scales[steps] = scale.learned(
            *(shown[here], error[here], data.step[here], data.sizes(here, scale.most), data.weight[here]),
            with_slope=number > 0,
        )
    unit = next(iter(scales.values()))
    spread, correlation, varies = spread_and_correlation(
        [each.batch for each in posteriors],
        _centred(data, learned),
        data.step_variance / (2 * unit.most) ** 2,
        unit,
        float(shift),
    )
    reward = learned.reward
    if reward:
        parts = [(each.batch.items, each.mean, each.covariance) for each in posteriors]
        reward = reward.learned(parts, learned.spread)
    return Learned(spread, scales, correlation, order, reward, varies)


def _centred(data: Comparisons, learned: Learned) -> Floats:
    """Answers on the most frequent scale, less what is answered about equal responses, (C,); NaN on the others, and where the pair was chosen."""
    steps, scale = next(iter(learned.scales.items()))
    mean, _ = scale.moments(learned.order.of_annotator[data.annotator], np.zeros(len(data)))
    used = data.steps == steps if data.chosen is None else (data.steps == steps) & ~data.chosen
    return np.where(used, data.step / (2 * scale.most) - mean, np.nan)


def _order(data: Comparisons, learned: Learned, difference: Floats, error: Floats) -> OrderEffects:
    """The order effects after one more step."""
    residual, information = _answers(data, learned, np.arange(len(data)), difference, error)
    who, size, weight = data.annotator, len(data.kind), data.weight / data.noise
    score = np.bincount(who, weight * residual * np.sqrt(information), minlength=size).astype(np.float64)
    curve = np.bincount(who, weight * information, minlength=size).astype(np.float64)
    return learned.order.learned(score, curve, data.answers_by)


def _fitted(data: Comparisons, learned: Learned, posteriors: list[_Posterior], level: float) -> UtilityFit:
    mean, place = np.full(len(data.group), np.nan), np.full((3, len(data.group)), -1)
    for number, each in enumerate(posteriors):
        items, (prompts, size) = each.batch.items, each.batch.items.shape
        mean[items] = each.mean
        place[0][items] = number
        place[1][items] = np.arange(prompts)[:, None]
        place[2][items] = np.arange(size)
    return UtilityFit(mean, learned, next(iter(learned.scales.values())), tuple(posteriors), place, level)
