"""From votes to a `Prior`, by family."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.axes import nodes
from dprm_data.preference.dirichlet import learn_dirichlet, learn_empirical, learn_mixture
from dprm_data.preference.em import learn_beta, learn_dispersion, learn_kappa
from dprm_data.preference.posterior import evaluate
from dprm_data.preference.prior import BetaPart, Family, Part, Prior, tree_of

FamilyChoice = Literal["empirical", "dirichlet", "beta", "beta-dirichlet", "mixture", "auto"]
CANDIDATES: tuple[Family, ...] = ("beta", "beta-dirichlet", "mixture", "dirichlet")
ENOUGH = 20_000  # items that a prior is learned from; more change nothing that could be seen


def learn_prior(
    counts: Floats, space: LabelSpace, family: FamilyChoice, *, plain: bool = False
) -> tuple[Prior, list[str]]:
    """The prior of a family from the votes (N, K) of all items, and what there is to say about it.

    Of more than 20,000 items with votes a random 20,000 (always the same ones) are used. `auto` takes the family that predicts the
    votes of items it has not seen best (see `held_out_scores`), and says so. `plain`: a beta without level weights and lapses.
    """
    voted = counts[counts.sum(axis=1) > 0]
    if len(voted) > ENOUGH:
        voted = voted[np.random.default_rng(0).choice(len(voted), ENOUGH, replace=False)]
    if family != "auto":
        return _learn(voted, space, family, plain), []
    scores = held_out_scores(voted, space)
    best = max(scores, key=lambda name: scores[name])
    told = ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
    note = f"family auto: {best} (log-likelihood per vote of items held out: {told})"
    return _learn(voted, space, best, plain), [note]


def held_out_scores(counts: Floats, space: LabelSpace, folds: int = 2) -> dict[Family, float]:
    """The log-likelihood, per vote, of items held out under the prior that each family learns from the others.

    It is that of an item's votes one after the other, each predicted from those before it: all sizes of evidence count. The multinomial
    coefficient, the same for all families, is left out. Families that the space has no order for are left out.
    """
    fold = np.random.default_rng(1).permutation(len(counts)) % folds
    nothing = np.zeros((space.K, 0))
    scores: dict[Family, float] = {}
    for family in CANDIDATES:
        try:
            priors = [_learn(counts[fold != f], space, family, False) for f in range(folds)]
        except InputError:
            continue
        evidence = sum(
            float(evaluate(prior, space, counts[fold == f], nothing).log_evidence.sum())
            for f, prior in enumerate(priors)
        )
        scores[family] = evidence / max(float(counts.sum()), 1.0)
    return scores


def _learn(voted: Floats, space: LabelSpace, family: Family, plain: bool) -> Prior:
    parts = tuple(_part(node.votes(voted), family, plain) for node in nodes(tree_of(family, space)))
    learned_from = {"items": float(len(voted)), "votes": float(voted.sum())}
    return Prior(family, space.name, tuple(space.names), parts, learned_from)


def _part(votes: Floats, family: Family, plain: bool) -> Part:
    """The prior of one node. Raw frequencies have nothing that was learned."""
    part = _learned(votes, family, plain)
    if family == "empirical":
        return part
    part = replace(part, items=float((votes.sum(axis=1) > 0).sum()))
    return replace(part, dispersion=learn_dispersion(votes, part.components(), ordered=isinstance(part, BetaPart)))


def _learned(votes: Floats, family: Family, plain: bool) -> Part:
    if family == "empirical":
        return learn_empirical(votes)
    if family == "dirichlet":
        return learn_dirichlet(votes)
    if family == "mixture":
        return learn_mixture(votes)
    part = learn_beta(votes, level_weights=not plain, lapses=not plain)
    loose = learn_kappa(votes, part)
    return loose if family == "beta-dirichlet" else replace(part, kappa=loose.kappa)
