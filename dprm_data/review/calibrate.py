"""Calibration: does another reading of the panel bring it closer to people, on items that the reading has not seen?

    for every fold of items                     (responses to one prompt stay together)
        on the other folds: choose among STRENGTHS by cross-validation inside them, learn the reading
        fit all items from the panel's votes as read, and as given
        on this fold: W1 from each fit to people's shares
    gain = W1 as given - W1 as read, item by item, every item by a reading that knows nothing of it

The reading is applied to all items if and only if the gain's interval lies above 0. Taking the panel at its word is one of the candidates, so a panel that needs
no reading is mostly given none, and the gain is then exactly 0.

The choice inside is by the energy score sum_k Q_k (C p)_k - p' C p / 2, C the ground cost: a proper score for costs of negative type (all costs on a
line or a grid are), where W1 to a few votes is not proper: it would favour the median of the few.

*What a person's vote is worth*, where a reading is applied. Of every item with two answers and more, half of the answers are added to the panel's votes (as read by readings that do not know
the item) with weight omega; the omega under which the fit predicts the other half best (log-likelihood, halves exchanged) becomes the weight of
people's votes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from dprm_data.errors import ReviewError
from dprm_data.labels import Floats, Ints, LabelSpace
from dprm_data.preference import Fit, Prior, Votes
from dprm_data.preference import fit as fit_votes
from dprm_data.recipe import FitConfig
from dprm_data.review.bootstrap import Interval, Resamples
from dprm_data.review.distance import wasserstein
from dprm_data.review.reading import Reading, Sayings, Strength, learn, sayings
from dprm_data.review.reviewed import reviewed

if TYPE_CHECKING:
    from dprm_data.run import Run

STRENGTHS = (
    Strength(),
    Strength(weights=100.0),
    Strength(shared=10.0),
    Strength(shared=100.0),
    Strength(weights=100.0, shared=10.0),
    Strength(weights=100.0, shared=10.0, own=10.0),
    Strength(weights=30.0, shared=10.0, own=50.0),
)
OMEGAS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
FOLDS, INNER_FOLDS = 5, 3
LEAST_ITEMS = 20
MOST_CHOOSING = 400


@dataclass(frozen=True)
class Calibration:
    """What was learned and what it gains. distance_given, distance_read: mean held-out W1; gain: their difference; score_gain: the same in the energy score;
    weights: the panel's on the simplex, before and after; reading: `Reading.to_dict`; human_weight: what a person's vote counts, None where nothing is applied.
    """

    applied: bool
    items: int
    people: int
    answers: int
    level: float
    strength: dict[str, float | None]
    distance_given: float
    distance_read: float
    gain: Interval
    score_gain: Interval
    human_weight: float | None
    weights: dict[str, tuple[float, float]]
    reading: dict[str, Any]
    written_at: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def calibrate(run: Run, *, level: float = 0.9, resamples: int = 2000, seed: int = 0) -> Calibration:
    """Learn how to read the run's panel from what people have submitted, and write it into the run's manifest. Makes no call.

    `dprm fit` then uses it if it gained anything. Raises ReviewError where there is too little to learn from.
    """
    both = reviewed(run)
    if len(both) < LEAST_ITEMS:
        raise ReviewError(
            f"people have judged {len(both)} items of the panel's; a calibration needs {LEAST_ITEMS} at least",
            hint="Have more items reviewed: a hundred is a good number.",
        )
    space = run.space
    item_ids = both.view.fit.votes.item_ids
    panel = sayings(both.view.annotations, space, item_ids)
    if not len(panel.item):
        raise ReviewError(
            "the panel has no votes to weigh: its personas were not asked one by one",
            hint="Calibration reads personas' votes (elicitation: choice or logprobs), not a distribution that a model states.",
        )
    found = cross_validate(panel, both.rows, both.people, both.groups, space, run.recipe.fit, item_ids, seed=seed)
    draw = Resamples.of(both.groups, both.stands_for, resamples=resamples, level=level, seed=seed)
    gain = draw.mean(found.given - found.read)
    applied = not found.literal and gain.low is not None and gain.low > 0
    weights = _weights(panel, found.reading)
    calibration = Calibration(
        applied=applied,
        items=len(both),
        people=both.persons,
        answers=int(both.people.sum()),
        level=level,
        strength=found.strength.as_dict(),
        distance_given=draw.mean(found.given).value or 0.0,
        distance_read=draw.mean(found.read).value or 0.0,
        gain=gain,
        score_gain=draw.mean(found.score_given - found.score_read),
        human_weight=_worth(found, both.people, run, seed) if applied else None,
        weights=weights,
        reading=found.reading.to_dict(space),
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    run.folder.update_manifest(calibration=calibration.as_dict())
    return calibration


def _worth(found: Validated, people: Floats, run: Run, seed: int) -> float:
    return worth_of_a_person(found.votes, people, found.fit, run.space, run.recipe.fit.human_weight, seed=seed)


@dataclass(frozen=True)
class Validated:
    """n reviewed items: held-out distributions (n, K), W1 and energy score (n,), as given and as read; the votes that out-of-fold readings give (n, K), the fit of the last reading,
    the reading from all items and its strength; `literal` if that takes the panel at its word."""

    given_fit: Floats
    read_fit: Floats
    given: Floats
    read: Floats
    score_given: Floats
    score_read: Floats
    votes: Floats
    fit: Fit
    reading: Reading
    strength: Strength

    @property
    def literal(self) -> bool:
        return self.strength == Strength()


def cross_validate(
    panel: Sayings,
    rows: Ints,
    people: Floats,
    groups: Sequence[str],
    space: LabelSpace,
    config: FitConfig,
    item_ids: list[str],
    *,
    seed: int = 0,
) -> Validated:
    """Held-out distances of the panel as given and as read. rows (n,): the reviewed items among all; people (n, K): their answers there."""
    K = space.K
    Q = people / people.sum(axis=1, keepdims=True)
    seen = panel.of_items(rows)
    literal = Reading.literal(panel.personas, K)
    as_given = _fitted(literal.read(panel), item_ids, space, config)
    given = as_given.distribution[rows]
    read, votes = given.copy(), literal.read(seen)
    fold = folds(groups, FOLDS, seed)
    for k in np.unique(fold):
        inside, outside = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        part = seen.of_items(inside)
        strength = choose(part, people[inside], [groups[int(i)] for i in inside], space, config, seed=seed + 1)
        if strength == Strength():
            continue
        heard = learn(part, people[inside], strength, K).read(panel)
        read[outside] = _fitted(heard, item_ids, space, config).distribution[rows[outside]]
        votes[outside] = heard[rows[outside]]
    strength = choose(seen, people, groups, space, config, seed=seed)
    reading = learn(seen, people, strength, K)
    return Validated(
        given_fit=given,
        read_fit=read,
        given=wasserstein(given, Q, space),
        read=wasserstein(read, Q, space),
        score_given=energy_score(given, Q, space),
        score_read=energy_score(read, Q, space),
        votes=votes,
        fit=_fitted(reading.read(panel), item_ids, space, config),
        reading=reading,
        strength=strength,
    )


def _fitted(
    votes: Floats, item_ids: list[str], space: LabelSpace, config: FitConfig, prior: Prior | None = None
) -> Fit:
    return fit_votes(Votes(item_ids, votes), space, family=config.family, smoothing=config.smoothing, prior=prior)


def choose(
    seen: Sayings, people: Floats, groups: Sequence[str], space: LabelSpace, config: FitConfig, *, seed: int = 0
) -> Strength:
    """The strength whose readings, fitted, predict held-out people best, by the energy score, in folds of these items (of 400 of them where they are more)."""
    if len(people) > MOST_CHOOSING:
        some = np.sort(np.random.default_rng(seed).choice(len(people), MOST_CHOOSING, replace=False))
        seen, people, groups = seen.of_items(some), people[some], [groups[int(i)] for i in some]
    fold = folds(groups, INNER_FOLDS, seed)
    Q = people / people.sum(axis=1, keepdims=True)
    ids = [str(i) for i in range(len(people))]
    total = np.zeros(len(STRENGTHS))
    priors: list[Prior | None] = [None] * len(STRENGTHS)  # learned once each: that is what takes time
    for k in np.unique(fold):
        inside, outside = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        part = seen.of_items(inside)
        for at, strength in enumerate(STRENGTHS):
            heard = learn(part, people[inside], strength, space.K).read(seen)
            fitted = _fitted(heard, ids, space, config, priors[at])
            priors[at] = fitted.prior
            total[at] += energy_score(fitted.distribution[outside], Q[outside], space).sum()
    return STRENGTHS[int(total.argmin())]


def energy_score(p: Floats, Q: Floats, space: LabelSpace) -> Floats:
    """The score of p (N, K) against people's shares Q (N, K) under the ground cost, shape (N,); less is better."""
    cost = space.ground_cost
    return np.asarray(((Q - 0.5 * p) @ cost * p).sum(axis=1))


def folds(groups: Sequence[str], count: int, seed: int) -> Ints:
    """A fold for every item; items of one group have the same."""
    names, group = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    return np.asarray((order % max(2, min(count, len(names))))[group], dtype=np.int64)


def worth_of_a_person(
    votes: Floats, people: Floats, fitted: Fit, space: LabelSpace, given: float = 1.0, *, seed: int = 0
) -> float:
    """How many of the panel's votes (n, K) one person's vote is worth, of OMEGAS; `given` unless another is better by more than a standard error.

    people (n, K): answers. Items with one answer say nothing about it.
    """
    several = people.sum(axis=1) >= 2
    if not several.any():
        return given
    rng = np.random.default_rng(seed)
    counts = people[several].astype(np.int64)
    half = np.stack([rng.multivariate_hypergeometric(row, int(row.sum()) // 2) for row in counts])
    ids = [str(i) for i in range(len(counts))]

    def predicted(omega: float) -> Floats:
        """The log-likelihood of each item's other half, the halves exchanged."""
        value = np.zeros(len(counts))
        for told, asked in ((half, counts - half), (counts - half, half)):
            both = fit_votes(Votes(ids, votes[several] + omega * told), space, prior=fitted.prior)
            value += (asked * np.log(np.maximum(both.posterior, 1e-9))).sum(axis=1)
        return value

    base = predicted(given)
    gains = [predicted(omega) - base for omega in OMEGAS]
    best = max(range(len(OMEGAS)), key=lambda at: gains[at].sum())
    error = float(gains[best].std(ddof=1)) * len(counts) ** 0.5 if len(counts) > 1 else np.inf
    return OMEGAS[best] if gains[best].sum() > error else given


def _weights(panel: Sayings, reading: Reading) -> dict[str, tuple[float, float]]:
    """The panel's shares of all weight, as given and as read."""
    given = np.bincount(panel.who, panel.weight, minlength=len(panel.personas))
    given = given / given.sum()
    after = given * reading.ratio
    after = after / after.sum()
    return {name: (float(given[a]), float(after[a])) for a, name in enumerate(panel.personas)}
