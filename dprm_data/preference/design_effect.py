"""Weights as an effective number of votes: weighted votes carry less information than the same number of votes of equal weight.

The mean of R votes with weights u has the variance of (sum u)^2 / sum u^2 votes of equal weight: R over Kish's design effect. So on every item the personas' weights are
scaled to that sum. Their proportions stay, and the fit expects the right amount of noise. Equal weights become 1.

Source: Kish, Survey Sampling (1965), section 11.7.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dprm_data.ingest.votes import item_codes, weights_of, with_weights


def by_design(annotations: pa.Table) -> pa.Table:
    """The annotations (`tables.ANNOTATIONS`), with the weights of personas' labels summing to the effective number of votes on every item."""
    weights = weights_of(annotations)
    panel = pc.and_(pc.equal(annotations["annotator_kind"], "persona"), pc.equal(annotations["status"], "ok"))
    rows = np.flatnonzero(pc.fill_null(panel, False).to_numpy(zero_copy_only=False) & (weights > 0))
    if (weights[rows] == 1.0).all():
        return annotations
    _, item = item_codes(annotations["item_id"].take(pa.array(rows)), None)
    scale = np.bincount(item, weights[rows]) / np.bincount(item, weights[rows] ** 2)
    weights[rows] *= scale[item]
    return with_weights(annotations, weights)
