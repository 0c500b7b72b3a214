"""Soft labels: a distribution as an annotator's answer, and how many votes it is worth.

A vote is one draw from an item's distribution p; its variance is p (1 - p). A soft label x (K probabilities, as from the log-probabilities of a choice) also has mean p
over annotators, but varies less: x_ir = p_i + e_ir. The mean of R soft labels has the variance Var(e) / R; the mean of w R votes has the variance p (1 - p) / (w R). They are
equal for

    w = sum_k p_k (1 - p_k) / sum_k Var(e_k)

Counted as w votes, soft labels have the noise that the fit expects of votes, so that it does not mistake differences between items for noise. With x̄_i the
mean of an item's labels, s2_i the unbiased variance about it and h_i = sum u^2 / (sum u)^2 (1 / R for equal weights u),

    E [x̄ (1 - x̄) + h s2] = p (1 - p)             as  E x̄^2 = p^2 + h Var(e)
    w = sum_ik d_i [x̄_ik (1 - x̄_ik) + h_i s2_ik] / sum_ik d_i s2_ik,      d_i = 1 / h_i - 1 degrees of freedom

a ratio of sums over all items, for each model. Certain (one-hot) labels give exactly 1: they are votes. In between the estimate is continuous.

*If no item has two labels* (and as one more degree of freedom if few have) half of the labels' variance over items is assumed to be noise:
with V = sum_k Var(x_k) and g = sum_k E x_k (1 - x_k), both over all labels, w = (g + V/2) / (V/2). That lies between the bounds that the data give: no noise, and only noise.

Source: method of moments, as for an intraclass correlation (Fisher 1925; Searle, Casella & McCulloch, Variance Components, 1992, ch. 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.format import number
from dprm_data.ingest.votes import item_codes, model_of, shares_of, vote_rows, weights_of, with_weights
from dprm_data.labels.space import LabelSpace

MOST = 100.0  # votes: real items follow no parametric form more closely than so many votes could show (see `em.KAPPA_MEDIAN`)
CERTAIN = 1.0 - 1e-9  # a label with this probability is a vote


@dataclass(frozen=True)
class SoftWorth:
    """How many votes one soft label is worth. votes: w; labels: the number of labels; repeated: items with two or more, from which w is learned; model: who gave
    them, "" for people."""

    votes: float
    labels: int
    repeated: int
    model: str = ""

    @property
    def sentence(self) -> str:
        """ "A soft label of M is worth 28 votes (learned from 40 items)." """
        origin = (
            f"learned from {self.repeated:,} items"
            if self.repeated
            else "assumed: no item has two labels, so half of their variance counts as noise"
        )
        of = f" of {self.model}" if self.model else ""
        return f"A soft label{of} is worth {number(self.votes)} votes ({origin})."


def soft_worth(item: Ints, shares: Floats, weight: Floats | None = None, model: str = "") -> SoftWorth:
    """The worth of the soft labels `shares` (R, K), rows that sum to 1, on the items `item` (R,), with weights (R,)."""
    if not len(item):
        return SoftWorth(1.0, 0, 0, model)
    u = np.ones(len(item)) if weight is None else np.asarray(weight, dtype=np.float64)
    _, place = np.unique(item, return_inverse=True)
    total = np.maximum(np.bincount(place, u), 1e-300)
    h = np.bincount(place, u**2) / total**2
    mean = np.stack([np.bincount(place, u * column) for column in shares.T], axis=1) / total[:, None]
    away = np.bincount(place, u * ((shares - mean[place]) ** 2).sum(axis=1)) / total
    several = np.flatnonzero((h > 0) & (h < 1.0 - 1e-9))
    within = away[several] / (1.0 - h[several])
    spread = (mean[several] * (1.0 - mean[several])).sum(axis=1) + h[several] * within
    freedom = 1.0 / h[several] - 1.0
    vague = float((shares * (1.0 - shares)).sum(axis=1).mean())
    noise = 0.5 * float(shares.var(axis=0).sum())
    top, bottom = vague + noise + freedom @ spread, noise + freedom @ within
    return SoftWorth(float(np.clip(top / max(bottom, top / MOST, 1e-300), 1.0, MOST)), len(item), len(several), model)


def at_their_worth(annotations: pa.Table, space: LabelSpace) -> tuple[pa.Table, list[SoftWorth]]:
    """The annotations (`tables.ANNOTATIONS`) with the weight of every soft label multiplied by its worth, and the worth for each model."""
    if not annotations.num_rows or annotations["probs"].null_count == annotations.num_rows:
        return annotations, []
    numbered = annotations.append_column("row", pa.array(np.arange(annotations.num_rows)))
    kept = vote_rows(numbered.filter(pc.is_valid(numbered["probs"])))
    shares = shares_of(kept, space)
    soft = pa.array(shares.max(axis=1, initial=0.0) < CERTAIN)
    kept, shares = kept.filter(soft), shares[np.asarray(soft)]
    if not kept.num_rows:
        return annotations, []
    weights = weights_of(annotations)
    rows = kept["row"].to_numpy()
    _, item = item_codes(kept["item_id"], None)
    models, which = item_codes(model_of(kept), None)
    found = []
    for at, model in enumerate(models):
        mine = np.flatnonzero(which == at)
        worth = soft_worth(item[mine], shares[mine], weights[rows[mine]], model)
        weights[rows[mine]] *= worth.votes
        found.append(worth)
    return with_weights(annotations, weights), found
