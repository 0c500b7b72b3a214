"""The rater effects of a fit: whether they are in the model, each rater's severity, and predictions for one rater.

Every scale of the label space has its own model of raters (`rater_model.py`). It is used if annotators give several votes each and if it describes the votes better than
a model without raters: the log evidence of the same votes, computed in the same way with and without raters, must differ by more than two nats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import InputError
from dprm_data.ingest.ratings import Ratings
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.axes import Node, nodes
from dprm_data.preference.components import Components, Posterior
from dprm_data.preference.em import learn_beta
from dprm_data.preference.model_selection import learn_prior
from dprm_data.preference.posterior import Moments, NodeModel, evaluate_each, latent_of
from dprm_data.preference.prior import BetaPart, Prior
from dprm_data.preference.rated_scale import RatedScale
from dprm_data.preference.rater_learning import complete, few_of, item_posteriors, learn
from dprm_data.preference.rater_model import NO_SHIFT, SEVERITY, SHIFTS, STRETCHES, RaterModel
from dprm_data.preference.text_reading import TextReading, judge_of

Use = Literal["auto", "on", "off"]

FEWEST_VOTES = 200  # with fewer votes, rater effects cannot be estimated
RECURRING = 0.05  # of the votes, by annotators who gave more than one
MOST_VOTES = 300  # of an item: with more, rater effects average out
NATS = 2.0  # of log evidence that each addition to the model must gain: odds of 7 to 1


@dataclass(frozen=True)
class Raters:
    """A annotators in a fit of N items.

    `severity` (A,): how much more reward an annotator gives the average item than the population does, negative for strict annotators, with its posterior standard deviation
    `severity_error` (A,), which excludes the error of the population's own mean (all annotators share it). `votes` (A,): the number of votes. `spread`: for each scale, the standard
    deviation of severities in the population, in logits of the mean; `stretched`: scales on which annotators also differ in slope. `gain`: log evidence gained by rater effects, in nats per vote.
    """

    annotator_ids: list[str]
    votes: Ints
    severity: Floats
    severity_error: Floats
    spread: dict[str, float]
    stretched: tuple[str, ...]
    gain: float
    space: LabelSpace
    prior: Prior
    counts: Floats
    scales: tuple[RatedScale, ...]
    models: tuple[RaterModel | None, ...]

    def evaluate(self, values: Floats) -> Moments:
        """Posterior moments of the functionals p . v of the population, v the columns of `values` (K, M), for every item."""
        return evaluate_each(self.prior.tree(self.space), self._models(), self.counts, values)

    def counting(self, counts: Floats) -> Raters:
        """The same raters, with other total votes (N, K): votes beyond theirs count as votes of unknown people."""
        tree = nodes(self.prior.tree(self.space))
        scales = tuple(scale.counting(node.votes(counts)) for scale, node in zip(self.scales, tree, strict=True))
        return replace(self, counts=counts, scales=scales)

    def predict(self, items: Ints | Sequence[int], annotator_id: str | None = None) -> Floats:
        """The predicted distribution (n, K) of an annotator's label for these items (row numbers). Without an id: of a new annotator.

        Raises `InputError` for an annotator who gave no vote.
        """
        rows = np.asarray(items, dtype=np.int64)
        if annotator_id is None:
            return self.evaluate(np.eye(self.space.K)).mean[rows]
        if annotator_id not in self.annotator_ids:
            raise InputError(f"no annotator {annotator_id!r} in these votes", hint="Leave the id out for a new one.")
        return self._of_rater(self.annotator_ids.index(annotator_id), rows)

    def probability(self, items: Ints, raters: Ints, labels: Ints) -> Floats:
        """The probability (V,) that annotators (V,), given by number, give these labels (V,) to these items (V,)."""
        found = np.empty(len(items))
        order = np.argsort(raters, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(raters[order])) + 1):
            if len(rows):
                found[rows] = self._of_rater(int(raters[rows[0]]), items[rows])[np.arange(len(rows)), labels[rows]]
        return found

    def severity_interval(self, level: float = 0.9) -> tuple[Floats, Floats]:
        """Central intervals of the severities: (lower, upper), each (A,)."""
        from scipy.special import ndtri

        half = float(ndtri(0.5 * (1.0 + level))) * self.severity_error
        return self.severity - half, self.severity + half

    def to_table(self, level: float = 0.9) -> pa.Table:
        """A row per annotator: annotator_id, votes, severity, severity_error, severity_low, severity_high."""
        low, high = self.severity_interval(level)
        return pa.table(
            {
                "annotator_id": pa.array(self.annotator_ids, pa.string()),
                "votes": self.votes,
                "severity": self.severity,
                "severity_error": self.severity_error,
                "severity_low": low,
                "severity_high": high,
            }
        )

    def summary(self) -> dict[str, Any]:
        """Figures for a report or a manifest."""
        return {
            "annotators": len(self.annotator_ids),
            "nats_per_vote": self.gain,
            "spread": self.spread,
            "stretched": list(self.stretched),
            "severity_spread": float(self.severity.std()),
        }

    @property
    def said(self) -> str:
        """The rater effects in a sentence."""
        low, high = self.severity.min(), self.severity.max()
        return (
            f"raters are in the model: {len(self.annotator_ids):,} annotators, whose severities go from {low:+.2f} to {high:+.2f} in reward "
            f"(they gain {self.gain:.3f} nats of log evidence per vote)"
        )

    def _models(self) -> Callable[[int, int], list[NodeModel]]:
        """The models of all scales for a range of items."""
        plain = [(part.components(), latent_of(part)) for part in self.prior.parts]
        rated = [
            None if model is None else (model.components(), model.slopes(), model.latent()) for model in self.models
        ]

        def of(start: int, stop: int) -> list[NodeModel]:
            return [
                NodeModel(judge_of(crowd, scale.text, slice(start, stop)), latent)
                if model is None or ready is None
                else NodeModel(_Rated(scale, model, *ready[:2], start, stop), ready[2])
                for (crowd, latent), scale, model, ready in zip(plain, self.scales, self.models, rated, strict=True)
            ]

        return of

    def _of_rater(self, rater: int, rows: Ints) -> Floats:
        """By the chain rule, with the rater's own cells on each scale."""
        found = np.ones((len(rows), self.space.K))
        tree = nodes(self.prior.tree(self.space))
        for node, part, scale, model in zip(tree, self.prior.parts, self.scales, self.models, strict=True):
            if model is None:
                judge = judge_of(part.components(), scale.text, rows)
                p = judge.posterior(scale.votes()[rows]).moments(np.eye(node.levels))[0]
            else:
                own = np.einsum("b,lbg->gl", model.beliefs[rater], model.cells)
                p = np.concatenate([item_posteriors(scale, model, int(row), int(row) + 1)[0] @ own for row in rows])
            for level, branch in enumerate(node.branches):
                found[:, list(branch)] *= p[:, level, None]
        return np.asarray(found / found.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class _Rated:
    """The posterior of the items from `start` to before `stop`, from their votes and raters."""

    scale: RatedScale
    model: RaterModel
    components: Components
    slopes: Floats
    start: int
    stop: int

    def posterior(self, votes: Floats) -> Posterior:
        R, log_evidence = item_posteriors(self.scale, self.model, self.start, self.stop)
        shared = self.model.shared[self.start : self.stop]
        return _RaterPosterior(self.components, votes, R, np.ones((len(R), 1)), log_evidence, self.slopes, shared)


@dataclass(frozen=True)
class _RaterPosterior(Posterior):
    """Its variances include the raters' shared error."""

    slopes: Floats
    shared: Floats

    def moments(self, values: Floats) -> tuple[Floats, Floats]:
        mean, variance = super().moments(values)
        return mean, variance + self.expect(self.slopes @ values) ** 2 * self.shared[:, None]


def learn_raters(
    ratings: Ratings,
    counts: Floats,
    space: LabelSpace,
    prior: Prior,
    use: Use = "auto",
    texts: Sequence[TextReading | None] | None = None,
) -> tuple[Raters | None, str]:
    """The raters of these ratings if they are in the model (else None), and the reason in a sentence.

    counts (N, K): all votes of the items, also those that nobody is known to have given. prior: what was learned from them without raters;
    texts: what the items' texts say on each scale, if anything. A rating that is a distribution has no rater: it counts as votes by people nobody knows. Raises `InputError` if raters must be used (`on`) and cannot be.
    """
    if use == "off":
        return None, "raters are not in the model: switched off"
    ratings = ratings.labelled()
    reason = _against(ratings, counts, prior, use)
    if reason:
        if use == "on":
            raise InputError(f"raters: on, but {reason}", hint="Set raters to auto or off.")
        return None, f"raters are not in the model: {reason}"
    who, raters = _raters(ratings)
    tree = nodes(prior.tree(space))
    scales = [
        replace(RatedScale.of(ratings.item, who, ratings.label, ratings.weight, counts, len(raters), node), text=text)
        for node, text in zip(tree, texts or [None] * len(tree), strict=True)
    ]
    learned = [
        _learn(scale, part, use) for scale, part in zip(scales, prior.parts, strict=True) if isinstance(part, BetaPart)
    ]
    models = tuple(model for model, _ in learned)
    if not any(models):
        return None, "raters are not in the model: knowing who voted does not help to predict these votes"
    gain = sum(nats for _, nats in learned) / max(len(ratings), 1)
    severity, error = _severities(space, tree, prior, models, len(raters))
    return _result(
        raters,
        np.bincount(who, minlength=len(raters)),
        severity,
        error,
        gain,
        space,
        prior,
        counts,
        scales,
        models,
        tree,
    )


def severities(ratings: Ratings, space: LabelSpace) -> tuple[Raters | None, str]:
    """The raters of these ratings, with a prior learned from them, or the reason why there are none. A space without an order has no severities."""
    try:
        prior, _ = learn_prior(ratings.votes().counts, space, "beta")
    except InputError as error:
        return None, f"raters are not in the model: {error}"
    return learn_raters(ratings, ratings.votes().counts, space, prior)


def _result(
    raters: list[str],
    votes: Ints,
    severity: Floats,
    error: Floats,
    gain: float,
    space: LabelSpace,
    prior: Prior,
    counts: Floats,
    scales: Sequence[RatedScale],
    models: tuple[RaterModel | None, ...],
    tree: Sequence[Node],
) -> tuple[Raters, str]:
    used = [(node.name, model) for node, model in zip(tree, models, strict=True) if model is not None]
    found = Raters(
        annotator_ids=raters,
        votes=votes,
        severity=severity,
        severity_error=error,
        spread={name: model.spread for name, model in used},
        stretched=tuple(name for name, model in used if len(np.unique(model.stretches)) > 1),
        gain=gain,
        space=space,
        prior=prior,
        counts=counts,
        scales=tuple(scales),
        models=models,
    )
    return found, found.said


def _against(ratings: Ratings, counts: Floats, prior: Prior, use: Use) -> str:
    """Why raters cannot be in the model; nothing if they can."""
    if not ratings.annotator_ids or not len(ratings):
        return "the votes do not say who gave them"
    if not all(isinstance(part, BetaPart) and part.exact for part in prior.parts):
        return f"the family {prior.family} has no rater effects"
    who, names = _raters(ratings)
    each = np.bincount(who, minlength=len(names))
    if (each > 1).sum() < 2 or (use == "auto" and each[each > 1].sum() < RECURRING * len(ratings)):
        return "hardly any annotator gave more than one vote"
    if use == "auto" and len(ratings) < FEWEST_VOTES:
        return f"fewer than {FEWEST_VOTES} votes are too few to estimate rater effects"
    voted = counts.sum(axis=1)
    if use == "auto" and np.median(voted[voted > 0]) > MOST_VOTES:
        return f"with more than {MOST_VOTES} votes per item, rater effects average out"
    return ""


def _raters(ratings: Ratings) -> tuple[Ints, list[str]]:
    """Who voted: annotators; one played by several models counts once per model."""
    if ratings.model is None:
        return ratings.annotator, ratings.annotator_ids
    size = int(ratings.model.max(initial=0)) + 1
    codes, who = np.unique(ratings.annotator * size + ratings.model, return_inverse=True)
    return who, [f"{ratings.annotator_ids[code // size]}, model {code % size + 1}" for code in codes.tolist()]


def _learn(scale: RatedScale, part: BetaPart, use: Use) -> tuple[RaterModel | None, float]:
    """The model of a scale's raters (None if the model without raters does as well) and the log evidence that it gains, in nats."""
    if not len(scale):
        return None, 0.0
    few = few_of(scale, part)
    crowd = learn(few, part, NO_SHIFT).evidence
    best = learn(few, part, SHIFTS, SEVERITY)
    several = np.bincount(few.item, minlength=few.items)
    if np.median(several[several > 0]) <= 1:
        # How far items differ is assumed in the part. Raters may tell it: where items differ much, a rater's severity moves his labels less.
        wide = replace(
            learn_beta(few.votes(), free=True), kappa=part.kappa, items=part.items, dispersion=part.dispersion
        )
        told = learn(few, wide, SHIFTS, SEVERITY, free=True)
        if told.evidence > best.evidence + NATS:
            best, crowd = told, learn(few, wide, NO_SHIFT, free=True).evidence
    # One vote an item has no shape that could be stretched.
    elif best.evidence > crowd + NATS:
        stretched = learn(few, part, SHIFTS, STRETCHES)
        best = stretched if stretched.evidence > best.evidence + NATS else best
    nats = best.evidence - crowd
    if use != "on" and nats <= NATS:
        return None, 0.0
    return best if few is scale else complete(scale, best), nats * len(scale) / len(few)


def _severities(
    space: LabelSpace, tree: Sequence[Node], prior: Prior, models: Sequence[RaterModel | None], raters: int
) -> tuple[Floats, Floats]:
    """Every rater's expected reward minus the population's on the average item, and its standard deviation, in units of reward."""
    means = [
        part.components().weights @ part.components().means
        if model is None
        else np.einsum("b,lbg,g->l", model.population, model.cells, model.part.weights)
        for part, model in zip(prior.parts, models, strict=True)
    ]
    severity, variance = np.zeros(raters), np.zeros(raters)
    for at, (_node, model) in enumerate(zip(tree, models, strict=True)):
        if model is None:
            continue
        # What a level of this scale is worth, the other scales being as the population sees them, and how often this scale is reached.
        worth = _worth(space, tree, means, at)
        levels = np.einsum("lbg,g->bl", model.cells, model.part.weights)
        effect = (levels / levels.sum(axis=1, keepdims=True)) @ worth
        effect = effect - model.population @ effect
        mean = model.beliefs @ effect
        severity += mean
        variance += np.maximum(model.beliefs @ effect**2 - mean**2, 0.0)
    return severity, np.sqrt(variance)


def _worth(space: LabelSpace, tree: Sequence[Node], means: Sequence[Floats], at: int) -> Floats:
    """The expected reward of every level of a node times the chance that the node is reached, on the average item."""
    own = np.zeros(tree[at].levels)
    for level, branch in enumerate(tree[at].branches):
        for label in branch:
            chance = 1.0
            for number, (node, p) in enumerate(zip(tree, means, strict=True)):
                inside = next((i for i, labels in enumerate(node.branches) if label in labels), None)
                if number != at and inside is not None:
                    chance *= p[inside] / p.sum()
            own[level] += chance * space.rewards[label]
    return own
