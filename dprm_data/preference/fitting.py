"""`fit`: from votes to preference distributions, with what is known about each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError, VotesError
from dprm_data.core.tables import DISTRIBUTIONS, FROM_ITEMS
from dprm_data.ingest.item_texts import ItemTexts, read_item_texts
from dprm_data.ingest.ratings import Ratings
from dprm_data.ingest.vote_tables import read_rated_votes
from dprm_data.ingest.votes import Votes, check_space
from dprm_data.labels.geometry import reward_steps
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.components import distinct
from dprm_data.preference.intervals import expected_wasserstein, interval
from dprm_data.preference.model_selection import learn_prior
from dprm_data.preference.posterior import evaluate
from dprm_data.preference.prior import BetaPart, Prior
from dprm_data.preference.rater_effects import Raters, Use, learn_raters
from dprm_data.preference.rater_units import RaterUnits, mean_figure, rater_units
from dprm_data.preference.shared_error import SharedError
from dprm_data.preference.smoothing import smooth
from dprm_data.preference.soft_labels import soft_worth
from dprm_data.preference.stated import estimate_strength, pseudo_votes
from dprm_data.preference.text_effects import Texts, evaluate_read, learn_texts
from dprm_data.preference.text_reading import TextReading
from dprm_data.recipe.fit_config import SmoothingConfig

if TYPE_CHECKING:
    from dprm_data.core.plots import Plot
    from dprm_data.preference.groups import Group

TABLE_COLUMNS = tuple(name for name in DISTRIBUTIONS.names if name not in FROM_ITEMS)


@dataclass(frozen=True)
class Fit:
    """Fitted distributions of N items on K labels, a row each.

    `votes` are all votes that were counted, including pseudo-votes of stated distributions; `evidence` (N,) is how many independent people they are worth: their sum, or
    less for a panel (`shared_error`); 0 if an item had no votes, so that its distribution is the prior's. `posterior` (N, K) is the posterior mean, `distribution` the same after
    label smoothing, to train on; expected reward, its spread over the population, entropy (nats) and disagreement (the chance that two random people
    choose differently) are those of `distribution`. `reward_low`, `reward_high`: central credible interval of the population's expected
    reward at `level`; `reward_error` (N,) its posterior standard deviation. `probability_std` (N, K): posterior standard deviations of the probabilities. `expected_distance` (N,): expected
    Wasserstein-1 distance, in units of reward, between `posterior` and the truth. `alpha`, `beta` (N, B): a beta per node of the axes, or per
    label in the categorical families. `divided` (N,): posterior probability of a U-shaped population. `log_evidence` (N,): log p(votes | prior).
    `raters`: the rater effects, if they are in the model; `raters_said`: a sentence that says whether they are, and why (empty if not requested);
    `units`: the raters behind figures over all items, None if it is not known who gave the votes. `shared`: the shared error of a panel's votes, None if all votes
    are those of independent people. `texts`: what the items' texts say, if they are in the model, and `text_said` a sentence on whether they are (empty if not requested). `plot` draws items, or groups.
    """

    votes: Votes
    family: str
    distribution: Floats
    posterior: Floats
    alpha: Floats
    beta: Floats
    evidence: Floats
    expected_reward: Floats
    reward_std: Floats
    reward_low: Floats
    reward_high: Floats
    reward_error: Floats
    entropy: Floats
    disagreement: Floats
    probability_std: Floats
    expected_distance: Floats
    divided: Floats
    log_evidence: Floats
    prior: Prior
    level: float
    stated_strength: float
    space: LabelSpace
    notes: tuple[str, ...] = field(default=())
    raters: Raters | None = None
    raters_said: str = ""
    units: RaterUnits | None = None
    shared: SharedError | None = None
    texts: Texts | None = None
    text_said: str = ""

    def __len__(self) -> int:
        return len(self.votes)

    def probability_interval(self, level: float | None = None) -> tuple[Floats, Floats]:
        """Central credible intervals of every probability: (lower, upper), each (N, K)."""
        return interval(self.posterior, self.probability_std**2, self.level if level is None else level)

    def reward_interval(
        self, space: LabelSpace, *, level: float | None = None, raters: Floats | float | None = None
    ) -> tuple[Floats, Floats]:
        """Central interval of the population's expected reward, or of the mean reward that the next `raters` people give (a number, or one per
        item): (lower, upper), each (N,). For one or two raters, whose mean has few values, `predictive_interval` is better."""
        rewards = space.rewards
        mean = self.posterior @ rewards
        variance = self.reward_error**2
        if raters is not None:
            variance = variance + np.maximum(self.posterior @ rewards**2 - mean**2 - variance, 0.0) / raters
        return interval(
            mean, variance, self.level if level is None else level, float(rewards.min()), float(rewards.max())
        )

    def mean_reward_interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean expected reward over these items, with the rater as the unit (`rater_units.py`).

        If it is not known who voted, every vote counts as a different person's.
        """
        mean = float(self.expected_reward.mean())
        error = float(np.sqrt((self.reward_error**2).sum())) / len(self)
        if self.units is not None:
            error = mean_figure(mean, self.units).wide_error
        return mean - 1.96 * error, mean + 1.96 * error

    def plot(self, *, items: int = 12, groups: Sequence[Group] = ()) -> Plot:
        """A picture: distributions as bars that diverge from the middle label, beside expected rewards with their intervals.

        Of at most `items` items with votes, spread evenly from the best to the worst; or of the groups that `by_group` returned.
        """
        from dprm_data.preference.fit_plot import plot_groups, plot_items, spread_out

        if groups:
            return plot_groups(groups, self.space)
        voted = np.flatnonzero(self.evidence > 0)
        rows = voted[spread_out(self.expected_reward[voted], items)]
        title = f"{len(rows):,} of {len(self):,} items, from the best to the worst"
        rewards = self.expected_reward, self.reward_low, self.reward_high
        return plot_items(rows, self.votes.item_ids, self.distribution, rewards, self.level, self.space, title)

    def to_table(self) -> pa.Table:
        """`item_id` and the columns of `dprm_data.core.tables.DISTRIBUTIONS` but the texts."""
        schema = pa.schema([DISTRIBUTIONS.field(name) for name in TABLE_COLUMNS], metadata=DISTRIBUTIONS.metadata)
        columns: dict[str, pa.Array] = {
            "item_id": pa.array(self.votes.item_ids, pa.string()),
            "label_distribution": _lists(self.distribution),
            "votes": _lists(self.votes.counts),
            "alpha": _lists(self.alpha),
            "beta": _lists(self.beta),
        }
        for name in TABLE_COLUMNS:
            if name not in columns:
                columns[name] = pa.array(getattr(self, name).astype(np.float32))
        return pa.table([columns[name] for name in TABLE_COLUMNS], schema=schema)

    def summary(self) -> dict[str, Any]:
        """Figures of the whole fit, for a report or a manifest."""
        return {
            "family": self.family,
            "items": len(self),
            "votes": float(self.votes.totals.sum()),
            "evidence": float(self.evidence.sum()),
            "items_without_votes": int((self.evidence == 0).sum()),
            "stated_strength": self.stated_strength,
            "mean_expected_reward": float(self.expected_reward.mean()) if len(self) else None,
            "mean_reward_interval": list(self.mean_reward_interval()) if len(self) else None,
            "rater_units": self.units.to_dict() if self.units else None,
            "mean_entropy": float(self.entropy.mean()) if len(self) else None,
            "mean_disagreement": float(self.disagreement.mean()) if len(self) else None,
            "mean_interval_width": float((self.reward_high - self.reward_low).mean()) if len(self) else None,
            "mean_expected_distance": float(self.expected_distance.mean()) if len(self) else None,
            "divided_items": int((self.divided > 0.5).sum()),
            "raters": self.raters.summary() if self.raters else None,
            "raters_said": self.raters_said,
            "text": self.texts.summary() if self.texts else None,
            "text_said": self.text_said,
            "notes": list(self.notes),
        }


def fit(
    votes: Votes | Ratings | Any,
    space: LabelSpace,
    *,
    family: str = "beta",
    raters: Use = "auto",
    ratings: Ratings | None = None,
    prior: Prior | None = None,
    stated: Floats | None = None,
    stated_strength: float | Literal["auto"] = 2.0,
    smoothing: SmoothingConfig | None = None,
    interval: float = 0.9,
    shared: SharedError | None = None,
    text: str = "off",
    texts: ItemTexts | None = None,
) -> Fit:
    """Preference distributions of all items from their votes, or from a table of votes (a path, a data frame, …), which `read_votes` reads.

    `raters`: whether the model holds who voted: where it helps (`auto`), always (`on`, which needs annotators that come back), never (`off`).
    It is known of a table and of `Ratings`, and of `votes` from `ratings`: those of them, on the same items, of which it is known. With a given `prior` it is never used.
    `family` says which prior is learned across the items (see `docs/statistics.md`); a given `prior` is used unchanged, with its family.
    `stated` (N, K) are distributions that were stated directly (the LLM's prior; rows of zeros where there is none): each counts as
    `stated_strength` votes, or with "auto" as many as predict the votes best (as a soft label is worth, where there are no votes). `smoothing` defaults to targeted smoothing;
    `interval` is the level of the credible intervals. `shared`: what the votes of a panel share, where they are not those of independent people.
    `text`: whether the model holds what the items' texts say (`auto` or `tfidf`: words and characters; `column:NAME`: embeddings that a column has; `encoder:MODEL`; or `off`), where it helps to
    predict the votes; `texts`: those of a fit of `Votes` or `Ratings`, in their order (a table of votes has its own). With a given `prior` they are never used.

    Raises `VotesError` for votes that are not on this space, `InputError` for settings that cannot be used.
    """
    if isinstance(votes, Ratings):
        ratings, votes = votes, votes.votes()
    elif not isinstance(votes, Votes):
        table = votes
        votes, ratings = read_rated_votes(table, space)
        if text != "off" and texts is None:
            texts = read_item_texts(table, votes.item_ids, text)
    check_space(votes, space)
    if not len(votes):
        raise VotesError("there are no items to fit")
    if not 0.0 < interval < 1.0:
        raise InputError(f"interval: {interval} is not a probability between 0 and 1")
    notes: list[str] = []
    pseudo = None if stated is None else pseudo_votes(stated, votes, 1.0)
    if stated_strength != "auto" and not (np.isfinite(stated_strength) and stated_strength >= 0):
        raise InputError(f"stated_strength: {stated_strength} (allowed: auto, or a finite number that is not negative)")
    source = votes.counts
    if pseudo is not None and not votes.counts.any():
        # Stated distributions are not votes: the prior is learned from them only if there are no votes at all.
        source = pseudo
        if stated_strength == "auto":  # no vote tells how well they predict
            told = np.flatnonzero(pseudo.any(axis=1))
            stated_strength = soft_worth(told, pseudo[told]).votes
            source = stated_strength * pseudo
    given = prior is not None
    if prior is None:
        prior, chosen = learn_prior(source, space, family)
        notes += chosen
    elif prior.assumed:
        notes.append(
            "the given prior was learned from items with one vote each: how much items differ is assumed in it"
        )
    read, text_said = learn_texts(texts, "off" if given else text, votes.counts, space, prior)
    notes += [text_said] if read else []
    readings = read.readings if read else None
    found, said = _raters(None if given else ratings, votes, space, prior, "auto" if given else raters, readings)
    units = None if ratings is None else rater_units(ratings, space)
    strength = 0.0
    if pseudo is not None:
        strength = (
            estimate_strength(prior, space, votes.counts, pseudo)
            if stated_strength == "auto"
            else float(stated_strength)
        )
        votes = Votes(votes.item_ids, votes.counts + strength * pseudo, votes.base)
        found = found and found.counting(votes.counts)
    if len(votes) and (empty := int((votes.totals == 0).sum())):
        notes.append(
            f"{empty} of {len(votes)} items have no votes: their distribution is the prior's, their evidence 0"
        )
    notes += _beyond_the_beta(votes, prior)
    return _build(
        votes,
        space,
        prior,
        smoothing or SmoothingConfig(),
        interval,
        strength,
        tuple(notes),
        shared,
        found,
        said,
        units,
        read,
        text_said,
    )


def _raters(
    ratings: Ratings | None,
    votes: Votes,
    space: LabelSpace,
    prior: Prior,
    use: Use,
    readings: Sequence[TextReading | None] | None,
) -> tuple[Raters | None, str]:
    if ratings is None:
        if use == "on":
            raise InputError("raters: on, but these votes do not say who gave them", hint="Give Ratings, or a table.")
        return None, ""
    if ratings.item_ids != votes.item_ids:
        raise InputError("the ratings and the votes are not on the same items")
    return learn_raters(ratings, votes.counts, space, prior, use, readings)


def _beyond_the_beta(votes: Votes, prior: Prior) -> list[str]:
    """Where items have so many votes that their own frequencies are nearer to the truth than any beta."""
    voted = votes.totals[votes.totals > 0]
    kappas = [
        part.kappa for part in prior.parts if isinstance(part, BetaPart) and part.exact and part.kappa is not None
    ]
    if not len(voted) or not kappas or np.median(voted) <= 0.5 * min(kappas):
        return []
    return [
        f"the median item has {np.median(voted):.0f} votes, and items keep to their betas only as closely as {min(kappas):.0f} votes "
        "would show: family beta-dirichlet follows the votes further"
    ]


def _build(
    votes: Votes,
    space: LabelSpace,
    prior: Prior,
    smoothing: SmoothingConfig,
    level: float,
    strength: float,
    notes: tuple[str, ...],
    shared: SharedError | None,
    raters: Raters | None,
    raters_said: str,
    units: RaterUnits | None,
    texts: Texts | None,
    text_said: str,
) -> Fit:
    K, rewards = space.K, space.rewards
    below, widths = reward_steps(space.rewards)
    values = np.hstack([np.eye(K), rewards[:, None], below])
    panel = np.zeros((len(votes), 0)) if shared is None else np.column_stack(shared.of(votes.totals))
    if raters is not None:
        rows, where, moments = votes.counts, np.arange(len(votes)), raters.evaluate(values)
    elif texts is not None:
        rows, where = votes.counts, np.arange(len(votes))
        moments = evaluate_read(prior, space, rows, values, texts.readings)
    else:
        # All that follows is a function of an item's votes alone: items with the same votes are computed once.
        rows, where = distinct(np.hstack([votes.counts, panel]))
        rows, panel = rows[:, :K], rows[:, K:]
        moments = evaluate(prior, space, rows, values)
    if shared is not None:
        spread = np.clip(moments.mean[:, :K], 0.0, None) @ values**2 - moments.mean**2
        moments = replace(moments, variance=moments.variance + panel[:, :1] * np.maximum(spread, 0.0))
    posterior = np.clip(moments.mean[:, :K], 0.0, None)
    posterior /= posterior.sum(axis=1, keepdims=True)
    distribution = smooth(posterior, space, smoothing)
    expected = distribution @ rewards
    low, high = interval(moments.mean[:, K], moments.variance[:, K], level, float(rewards.min()), float(rewards.max()))
    logs = np.log(distribution, out=np.zeros_like(distribution), where=distribution > 0)
    columns = {
        "distribution": distribution,
        "posterior": posterior,
        "alpha": moments.alpha,
        "beta": moments.beta,
        "evidence": rows.sum(axis=1) if shared is None else panel[:, 1],
        "expected_reward": expected,
        "reward_std": np.sqrt(np.maximum(distribution @ rewards**2 - expected**2, 0.0)),
        # Smoothing may carry the published expectation beyond the posterior's interval: it is never left outside.
        "reward_low": np.minimum(low, expected),
        "reward_high": np.maximum(high, expected),
        "reward_error": np.sqrt(moments.variance[:, K]),
        "entropy": -(distribution * logs).sum(axis=1),
        "disagreement": 1.0 - (distribution**2).sum(axis=1),
        "probability_std": np.sqrt(moments.variance[:, :K]),
        "expected_distance": expected_wasserstein(moments.mean[:, K + 1 :], moments.variance[:, K + 1 :], widths),
        "divided": moments.divided,
        "log_evidence": moments.log_evidence,
    }
    expanded = columns if len(rows) == len(votes) else {name: column[where] for name, column in columns.items()}
    return Fit(
        votes=votes,
        family=prior.family,
        prior=prior,
        level=level,
        stated_strength=strength,
        space=space,
        notes=notes,
        raters=raters,
        raters_said=raters_said,
        units=units,
        shared=shared,
        texts=texts,
        text_said=text_said,
        **expanded,
    )


def _lists(rows: Floats) -> pa.Array:
    """A matrix as an Arrow list column, without a Python object per row."""
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.astype(np.float32).ravel()))
