from __future__ import annotations

import numpy as np

from dprm_data.ingest.votes import Votes
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.beta import cells
from dprm_data.preference.fitting import fit
from dprm_data.preference.posterior_checks import quality
from tests.preference import real_votes

SIX = LabelSpace.ordinal(6)


def named(counts: np.ndarray) -> Votes:
    return Votes([f"i{k}" for k in range(len(counts))], counts.astype(float))


def test_votes_from_betas_pass() -> None:
    rng = np.random.default_rng(0)
    p = cells(1 / (1 + np.exp(-rng.normal(0, 1, 200))), np.exp(rng.normal(1.5, 0.5, 200)), 6)
    report = quality(fit(named(np.array([rng.multinomial(40, row) for row in p])), SIX), SIX, draws=100)
    assert report.overall > 0.05
    assert (report.p_values < 0.01).mean() < 0.03
    assert report.to_dict()["items_checked"] == 200


def test_votes_that_no_beta_gives_are_found_and_said() -> None:
    rng = np.random.default_rng(0)
    shapes = [rng.permutation([0.4, 0.02, 0.3, 0.02, 0.24, 0.02]) for _ in range(60)]
    result = fit(named(np.array([rng.multinomial(300, p) for p in shapes])), SIX)
    report = quality(result, SIX, draws=100)
    assert report.overall < 0.02
    assert report.p_values.min() == report.overall == 1 / 101  # as small as 100 draws can tell, never 0
    assert (report.p_values < 0.01).mean() > 0.5
    assert "beta-dirichlet" in " ".join(report.notes)
    loose = quality(fit(result.votes, SIX, family="beta-dirichlet"), SIX, draws=100)
    assert loose.overall > 0.05


def test_unused_labels_and_divided_items_are_said() -> None:
    counts = np.tile([10.0, 1, 0, 0, 1, 10], (30, 1))
    report = quality(fit(named(counts), SIX), SIX, draws=50)
    assert report.unused_labels == ("3", "4")
    assert len(report.divided) == 30
    assert "divide" in " ".join(report.notes)
    none = quality(fit(named(counts * 0), SIX), SIX)
    assert np.isnan(none.overall) and len(none.rows) == 0


def test_real_faces_are_not_quite_betas() -> None:
    """With 2,513 raters an item a beta is told from the truth; beta-dirichlet is not."""
    counts, space = real_votes.counts("faceratings")
    exact, loose = (
        quality(fit(named(counts), space, family=family), space, draws=60) for family in ("beta", "beta-dirichlet")
    )
    assert exact.overall < 0.05
    assert loose.overall > 0.05
