"""From votes to a `Prior`, by family."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError
from dprm_data.core.registry import FAMILIES
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.axes import nodes
from dprm_data.preference.em import telling
from dprm_data.preference.family import Family, family_of
from dprm_data.preference.posterior import evaluate
from dprm_data.preference.prior import FEW_SEVERAL, Part, Prior

ENOUGH = 20_000  # items that a prior is learned from; more change nothing that could be seen


def learn_prior(counts: Floats, space: LabelSpace, family: str, *, plain: bool = False) -> tuple[Prior, list[str]]:
    """The prior of a family from the votes (N, K) of all items, and notes on how it was chosen.

    No item counts for more votes than the one at their 90 % quantile has, or for two if one in twenty has so many. Of more than 20,000 items with votes a random 20,000 (always the same ones) are used. `auto` takes the family that predicts the
    votes of items it has not seen best (see `held_out_scores`), and says so. `plain`: a beta without level weights and lapses.
    """
    voted = counts[counts.sum(axis=1) > 0]
    if len(voted) > ENOUGH:
        voted = voted[np.random.default_rng(0).choice(len(voted), ENOUGH, replace=False)]
    totals = voted.sum(axis=1, keepdims=True)
    if len(voted):
        # Level weights and lapses count votes: an item with very many would decide on them alone.
        most, second = np.quantile(totals, [0.9, 1.0 - FEW_SEVERAL], method="lower")
        voted = voted * np.minimum(1.0, max(most, min(second, 2.0)) / totals)
    selected, notes = family_of(family).select(voted, space)
    prior = _learn(voted, space, selected, plain)
    return prior, notes + _one_vote_each(prior)


def _one_vote_each(prior: Prior) -> list[str]:
    """A note if hardly any item has two votes: only such items show how much people differ."""
    if not prior.assumed:
        return []
    return [
        f"{prior.learned_from['several']:,.0f} of {prior.learned_from['items']:,.0f} items have more than one vote: the spread between items cannot be separated from the "
        "spread between people, so how much items differ is assumed (about a third of the variance) unless raters in the model tell. Get second votes on some items to estimate it"
    ]


def held_out_scores(counts: Floats, space: LabelSpace, folds: int = 2) -> dict[str, float]:
    """The log-likelihood, per vote, of items held out under the prior that each candidate family learns from the others.

    It is that of an item's votes one after the other, each predicted from those before it: all sizes of evidence count. The multinomial
    coefficient, the same for all families, is left out. Families that the space has no order for are left out.
    """
    fold = np.random.default_rng(1).permutation(len(counts)) % folds
    nothing = np.zeros((space.K, 0))
    scores: dict[str, float] = {}
    for family in (family for family in map(family_of, FAMILIES.names()) if family.candidate):
        try:
            priors = [_learn(counts[fold != f], space, family, False) for f in range(folds)]
        except InputError:
            continue
        evidence = sum(
            float(evaluate(prior, space, counts[fold == f], nothing).log_evidence.sum())
            for f, prior in enumerate(priors)
        )
        scores[family.name] = evidence / max(float(counts.sum()), 1.0)
    return scores


def _learn(voted: Floats, space: LabelSpace, family: Family, plain: bool) -> Prior:
    parts = tuple(
        _single_precision(family.prior_part(node.votes(voted), plain=plain)) for node in nodes(family.tree(space))
    )
    learned_from = {
        "items": float(len(voted)),
        "votes": float(voted.sum()),
        "several": float(telling(voted).sum()),
    }
    return Prior(family.name, space.name, tuple(space.names), parts, learned_from)


def _single_precision(part: Part) -> Part:
    """The part without the last digits, which depend on how many threads added it up: the same votes have the same prior on every machine."""
    short: dict[str, Any] = {}
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, np.ndarray) and value.dtype == np.float64:
            short[field.name] = value.astype(np.float32).astype(np.float64)
        elif isinstance(value, float):
            short[field.name] = float(np.float32(value))
    return replace(part, **short)
