"""Variance components: how much of the spread of ratings comes from items, personas, models, what they do together, and noise.

*The model.* A rating y is the reward of an annotation's label (its expected reward, where the annotation is a distribution). With crossed random effects of
item i, persona p and model m, replicate r,

    y_ipmr = mu + a_i + b_p + c_m + (ab)_ip + (ac)_im + (bc)_pm + (abc)_ipm + e_ipmr

every effect has mean 0, is uncorrelated with the others, and has a variance of its own, sigma2_T for a set T of factors.

*The estimator.* Two ratings that share exactly the factors S have every effect of T ⊆ S in common and all others apart, so that

    gamma_S = E ½ (y - y')²  =  sum over T not ⊆ S of sigma2_T  +  sigma2_e

The mean of ½ (y - y')² over all pairs that share exactly S estimates gamma_S without bias, however unbalanced the data are: a mean of terms that each have the
right expectation (Koch 1968, symmetric differences). The components follow by inclusion and exclusion, in closed form: sigma2_I = gamma_∅ - gamma_I,
sigma2_IP = gamma_I + gamma_P - gamma_IP - gamma_∅, ..., and sigma2_e = gamma_IPM. In a balanced design these are the classical estimates of the analysis of
variance (expected mean squares). Nothing is assumed about the shape of the effects.

*What cannot be told apart.* Not every design has pairs of every kind: with one replicate no two ratings share all factors; where each item × persona meets one
model, none share item and persona only. Let E be the kinds of pairs that there are. gamma_∅ - gamma_S is a sum of sigma2_T over T ⊆ S, and T ⊆ S exactly if T's
closure (the smallest member of E that contains T) is. So the sums of sigma2_T over all T of one closure can be estimated, from the smallest to the
largest, and no others; a T without a closure stays in the residual. A component says what it includes. A factor with one level has no component.

*The sums* are in `pair_sums.py`: pairs are not enumerated, and memory does not grow with the number of ratings.

*Intervals* are percentile bootstraps over items (responses to one prompt are drawn together). A pair within an item has the item's weight, a pair of two items the
product of theirs; an item drawn twice is never compared with itself. Percentiles of few items are too close together, and are expanded by what a t interval is wider
than a normal one (Hesterberg 2015). The intervals say what would vary with other items like these, and they take personas and models as given: the components of
persona and model are those of *this* panel and *these* models (finite-population components in the sense of Gelman 2005), not of all that might have been chosen.
An estimate below 0 is reported as 0; shares are of the sum of what remains.

Sources: Koch, Some further remarks concerning "A general approach to the estimation of variance components", Technometrics 10 (1968); Searle, Casella & McCulloch,
Variance Components (1992), ch. 5; Hesterberg, What teachers should know about the bootstrap, American Statistician 69 (2015);
Gelman, Analysis of variance: why it is more important than ever, Annals of Statistics 33 (2005).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.labels.statistics import Interval, Resamples, ratio
from dprm_data.preference.pair_sums import FACTORS, Kind, PairSums

_FEWEST_PAIRS = 10  # of a kind, for a figure about it
RESAMPLES = 500


# -- components ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Component:
    """One part of the spread. name: what it is; includes: what the design cannot tell from it; variance in units of reward², and share of the whole.

    estimate: the variance as it was estimated; below 0 by chance, where the variance is given as 0.
    """

    name: str
    includes: tuple[str, ...]
    variance: Interval
    share: Interval
    estimate: float


@dataclass(frozen=True)
class Effect:
    """What a factor does to ratings, all of its components that the design shows together: ratings that differ in it against ratings that share it too.

    variance is not cut off at 0, so that its interval can hold 0, which is what noise alone would give; share: of the spread. within_items: whether ratings of
    one item are compared; else only what the factor does to all items alike is seen (there were no replicates).
    """

    factor: str
    variance: Interval
    share: Interval
    within_items: bool

    @property
    def beyond_noise(self) -> bool:
        """Whether the factor moves ratings more than noise would: the variance's interval lies above 0."""
        return self.variance.low is not None and self.variance.low > 0


@dataclass(frozen=True)
class Likeness:
    """Pairs of ratings of one item, by what else they share. alpha: their agreement beyond chance, 1 - gamma / gamma_∅ (1: equal; 0: as ratings of different items)."""

    shares: tuple[str, ...]
    pairs: int
    alpha: Interval
    same_label: Interval
    is_replicate: bool  # they share everything: one annotator was asked again

    @property
    def said(self) -> str:
        """Where the two votes come from, in words."""
        others = [factor for factor in self.shares if factor != "item"]
        if self.is_replicate:
            return "asked again"
        return f"the same {' and '.join(others)}" if others else "anybody"


@dataclass(frozen=True)
class VarianceComponents:
    """The components of a panel's ratings; see the module. total: the variance of two ratings that share nothing; None where there are none.

    noise: the replicates' own component, None where none were asked. effects: of persona and model. notes: what could not be estimated, in sentences.
    """

    ratings: int
    items: int
    personas: int
    models: int
    total: float | None
    components: tuple[Component, ...]
    effects: tuple[Effect, ...]
    likeness: tuple[Likeness, ...]
    level: float
    notes: tuple[str, ...]

    @property
    def noise(self) -> Component | None:
        last = self.components[-1] if self.components else None
        return last if last and last.name == NOISE else None

    def effect(self, factor: str) -> Effect | None:
        return next((effect for effect in self.effects if effect.factor == factor), None)


NOISE, RESIDUAL = "replicate noise", "residual"


def variance_components(
    sums: PairSums,
    *,
    items: int,
    label_measure: int | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> VarianceComponents:
    """The components of what was added to `sums`. items: their number. label_measure: the measure with the labels as indicators, for the share of equal labels."""
    drawn = resampled(len(sums.filled), level=level, resamples=resamples, seed=seed)
    weights = np.zeros((len(drawn.weights), sums.blocks))
    weights[:, sums.filled] = drawn.weights
    gamma, pairs = sums.semivariances(weights)
    size = (sums.ratings, items, sums.personas, sums.models)
    kinds = _closed({kind for kind in gamma if pairs[kind][0] >= _FEWEST_PAIRS}, pairs)
    if frozenset() not in kinds:
        return VarianceComponents(*size, None, (), (), (), level, ("there are too few ratings to compare",))
    estimates, included, left = _estimates(gamma, kinds, sums.factors)
    spread = np.sum([np.maximum(values, 0.0) for values in estimates.values()], axis=0)
    components = tuple(
        Component(
            name,
            included[name],
            drawn.interval(np.maximum(values, 0.0)),
            drawn.interval(ratio(np.maximum(values, 0.0), spread)),
            float(values[0]),
        )
        for name, values in estimates.items()
    )
    labels = None if label_measure is None else sums.semivariances(weights, label_measure)[0]
    return VarianceComponents(
        *size,
        float(gamma[frozenset()][0]),
        components,
        tuple(_effects(drawn, gamma, kinds, sums.factors, spread)),
        tuple(_likeness(drawn, gamma, labels, pairs, kinds, sums.factors)),
        level,
        tuple(_notes(components, left, sums)),
    )


def resampled(groups: int, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0) -> Resamples:
    """Resamples of so many groups, whose percentiles are expanded for their small number."""
    from scipy.special import ndtr, stdtrit

    if groups > 1:
        t = float(stdtrit(groups - 1, 0.5 * (1.0 + level)))
        level = 2.0 * float(ndtr(np.sqrt(groups / (groups - 1)) * t)) - 1.0
    return Resamples.of(np.arange(groups), resamples=resamples, level=level, seed=seed)


def _closed(kinds: set[Kind], pairs: dict[Kind, Floats]) -> list[Kind]:
    """The kinds, smallest first, without those that would leave two closures: of two whose intersection is missing, the one with fewer pairs."""
    while wrong := next(((a, b) for a, b in combinations(sorted(kinds, key=_rank), 2) if a & b not in kinds), None):
        kinds = kinds - {min(wrong, key=lambda kind: float(pairs[kind][0]))}
    return sorted(kinds, key=_rank)


def _rank(kind: Kind) -> tuple[int, ...]:
    return (len(kind), *sorted(FACTORS.index(factor) for factor in kind))


def _estimates(
    gamma: dict[Kind, Floats], kinds: list[Kind], factors: Sequence[str]
) -> tuple[dict[str, Floats], dict[str, tuple[str, ...]], list[str]]:
    """Estimates by name (noise or residual last), what each includes, and what is left in the residual."""
    total = gamma[frozenset()]
    effects = [frozenset(some) for n in range(1, len(factors) + 1) for some in combinations(factors, n)]
    by_closure: dict[Kind, list[str]] = {}
    left: list[str] = []
    for effect in effects:
        closure = next((kind for kind in kinds if effect <= kind), None)  # the smallest comes first
        if closure is None:
            left.append(said(effect))
        else:
            by_closure.setdefault(closure, []).append(said(effect))
    found: dict[Kind, Floats] = {}
    for kind in kinds:
        if kind:
            below = [values for smaller, values in found.items() if smaller < kind]
            found[kind] = total - gamma[kind] - np.sum(below, axis=0) if below else total - gamma[kind]
    estimates = {by_closure[kind][0]: values for kind, values in found.items() if kind in by_closure}
    included = {names[0]: tuple(names[1:]) for names in by_closure.values()}
    rest = total - np.sum(list(found.values()), axis=0) if found else total
    name = RESIDUAL if left else NOISE
    return estimates | {name: rest}, included | {name: tuple(left)}, left


def said(effect: Iterable[str]) -> str:
    """The name of an effect: item × persona."""
    return " × ".join(sorted(effect, key=FACTORS.index))


def _effects(
    drawn: Resamples, gamma: dict[Kind, Floats], kinds: list[Kind], factors: Sequence[str], spread: Floats
) -> Iterable[Effect]:
    """What persona and model do."""
    for factor in factors[1:]:
        # Pairs that differ in this factor alone, and share the item and as much else as there is.
        best = sorted((kind for kind in kinds if factor not in kind), key=lambda kind: ("item" not in kind, -len(kind)))
        apart = next((kind for kind in best if kind | {factor} in kinds), None)
        if apart is not None:
            values = gamma[apart] - gamma[apart | {factor}]
            share = drawn.interval(ratio(np.maximum(values, 0.0), spread))
            yield Effect(factor, drawn.interval(values), share, "item" in apart)


def _likeness(
    drawn: Resamples,
    gamma: dict[Kind, Floats],
    labels: dict[Kind, Floats] | None,
    pairs: dict[Kind, Floats],
    kinds: list[Kind],
    factors: Sequence[str],
) -> Iterable[Likeness]:
    total = gamma[frozenset()]
    for kind in sorted((kind for kind in kinds if "item" in kind), key=lambda kind: tuple(-r for r in _rank(kind))):
        alpha = drawn.interval(1.0 - ratio(gamma[kind], total))
        same = drawn.interval(1.0 - labels[kind]) if labels else Interval(None, None, None)
        shared = tuple(factor for factor in factors if factor in kind)
        yield Likeness(shared, round(float(pairs[kind][0])), alpha, same, len(shared) == len(factors))


def _notes(components: Sequence[Component], left: Sequence[str], sums: PairSums) -> Iterable[str]:
    if left:
        yield f"no annotation was asked for twice: the residual holds the noise and {' and '.join(left)}, which only replicates tell apart"
    for component in components:
        if component.includes and component.name != RESIDUAL:
            yield f"{component.name} cannot be told from {' and '.join(component.includes)} in this design, and includes it"
    below = [component.name for component in components if component.estimate < 0]
    if below:
        yield f"estimated below 0 (which happens by chance where the true share is near 0), shown as 0: {', '.join(below)}"
    if len(sums.filled) < 20:
        yield f"the intervals come from {len(sums.filled)} independent groups of items only, and are too narrow"
