"""The families that come with this package. docs/statistics.md derives them and says when to use which."""

from __future__ import annotations

from dataclasses import replace

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.dirichlet import learn_dirichlet, learn_empirical, learn_mixture
from dprm_data.preference.em import Sample, learn_beta, learn_kappa
from dprm_data.preference.family import Family, family, family_of
from dprm_data.preference.model_selection import held_out_scores
from dprm_data.preference.prior import BetaPart, Part


@family("empirical")
class Empirical(Family):
    """Raw frequencies: nothing is learned across the items. For comparison."""

    def learn(self, votes: Floats, *, plain: bool = False) -> Part:
        return learn_empirical(votes)

    def prior_part(self, votes: Floats, *, plain: bool = False) -> Part:
        return self.learn(votes)


@family("dirichlet")
class Dirichlet(Family):
    """One Dirichlet over the labels, without an order. For comparison."""

    candidate = True

    def learn(self, votes: Floats, *, plain: bool = False) -> Part:
        return learn_dirichlet(votes)


@family("beta")
class Beta(Family):
    """A beta on every scale, cut into levels, with a prior that is learned across the items."""

    ordered = True
    candidate = True

    def learn(self, votes: Floats, *, plain: bool = False) -> Part:
        part = _beta(votes, plain)
        return replace(part, kappa=learn_kappa(votes, part).kappa)


@family("beta-dirichlet")
class BetaDirichlet(Family):
    """The same, from which every item may depart as far as its votes say."""

    ordered = True
    candidate = True

    def learn(self, votes: Floats, *, plain: bool = False) -> Part:
        return learn_kappa(votes, _beta(votes, plain))


@family("mixture")
class Mixture(Family):
    """A mixture of Dirichlets over the labels, without an order."""

    candidate = True

    def learn(self, votes: Floats, *, plain: bool = False) -> Part:
        return learn_mixture(votes)


@family("auto")
class Auto(Family):
    """The candidate that best predicts the votes of items it has not seen."""

    def select(self, votes: Floats, space: LabelSpace) -> tuple[Family, list[str]]:
        if Sample.of(votes).single:
            name = "beta" if _has_order(space) else "dirichlet"
            return family_of(name), [
                f"family auto: {name}, without a comparison: families differ in how they predict an item's vote from its earlier ones, and hardly any item has two"
            ]
        scores = held_out_scores(votes, space)
        best = max(scores, key=lambda name: scores[name])
        listed = ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
        return family_of(best), [f"family auto: {best} (log-likelihood per vote of items held out: {listed})"]


def _has_order(space: LabelSpace) -> bool:
    try:
        return bool(family_of("beta").tree(space))
    except InputError:
        return False


def _beta(votes: Floats, plain: bool) -> BetaPart:
    return learn_beta(votes, level_weights=not plain, lapses=not plain)
