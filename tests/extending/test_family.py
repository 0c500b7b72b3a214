"""A family of fits and a smoothing that somebody else's installed package adds."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from dprm_data import LabelSpace, Votes, fit, update
from dprm_data.core.errors import DprmError, InputError
from dprm_data.preference.posterior_checks import quality
from dprm_data.preference.prior import Prior
from dprm_data.recipe.fit_config import SmoothingConfig
from dprm_data.runs.published import read_published
from tests.extending.package import install
from tests.helpers import ROOT, dprm

JEFFREYS = '''
import numpy as np

from dprm_data.extend import Family, family, smoothing
from dprm_data.preference.prior import DirichletPart

@family("jeffreys")
class Jeffreys(Family):
    """Half a vote for every label, whatever the others' votes say."""

    def learn(self, votes, *, plain=False):
        return DirichletPart(np.full((1, votes.shape[1]), 0.5), np.ones(1))

    def prior_part(self, votes, *, plain=False):
        return self.learn(votes)

@smoothing("halfway")
def halfway(distribution, space, config):
    return 0.5 * distribution + 0.5 / space.K
'''
SPACE = LabelSpace.ordinal(3)
VOTES = Votes(("a", "b"), np.array([[3.0, 1.0, 0.0], [0.0, 0.0, 2.0]]))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return install("jeffreys", JEFFREYS, tmp_path, monkeypatch)


@pytest.mark.usefixtures("site")
def test_it_fits_and_its_prior_travels() -> None:
    fitted = fit(VOTES, SPACE, family="jeffreys", smoothing=SmoothingConfig(kind="none"))
    expected = (VOTES.counts + 0.5) / (VOTES.counts.sum(axis=1, keepdims=True) + 1.5)
    np.testing.assert_allclose(fitted.posterior, expected)
    prior = Prior.from_dict(fitted.prior.to_dict())
    assert prior.family == "jeffreys"
    more = update(VOTES, VOTES, prior, SPACE)
    np.testing.assert_allclose(more.posterior, (2 * VOTES.counts + 0.5) / (2 * VOTES.counts.sum(1)[:, None] + 1.5))
    assert not quality(fitted, SPACE).notes


@pytest.mark.usefixtures("site")
def test_its_smoothing_is_a_recipe_s_kind() -> None:
    sharp = fit(VOTES, SPACE, smoothing=SmoothingConfig(kind="none")).distribution
    smoothed = fit(VOTES, SPACE, smoothing=SmoothingConfig(kind="halfway")).distribution
    np.testing.assert_allclose(smoothed, 0.5 * sharp + 0.5 / 3)


def test_the_command_line_finds_it(site: Path, tmp_path: Path) -> None:
    csv = tmp_path / "votes.csv"
    csv.write_text("item_id,annotator_id,label\na,r1,0\na,r2,1\nb,r1,2\n")
    out = tmp_path / "fitted.parquet"
    path = os.pathsep.join([str(ROOT), str(site)])
    done = dprm(
        "ratings", "fit", csv, "--labels", "3", "--family", "jeffreys", "--output", out, cwd=tmp_path, PYTHONPATH=path
    )
    assert done.returncode == 0, done.stderr
    assert read_published(out).prior.family == "jeffreys"


def test_an_unknown_family_is_answered_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(DprmError, match="no family 'bata'; did you mean 'beta'"):
        fit(VOTES, SPACE, family="bata")
    with pytest.raises(InputError, match="not a prior"):
        Prior.from_dict({"format": 1, "family": "beta"})
