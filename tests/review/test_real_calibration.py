"""Calibration on real people: half of them are the people, a few of the others the panel."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.calibration import read_labels, trial
from dprm_data.recipe import FitConfig
from tests.helpers import ROOT

FACES = ROOT.parent / "shared" / "data" / "faceratings.parquet"
pytestmark = pytest.mark.skipif(
    not FACES.is_file(), reason="needs ../shared/data/faceratings.parquet, which is not part of the project"
)


@pytest.mark.parametrize("seed", range(2))
def test_a_twisted_panel_comes_closer_to_people(seed: int) -> None:
    labels, K = read_labels(FACES)
    found = trial(labels, K, personas=12, people=5, twisted=True, seed=seed, config=FitConfig())
    assert found.applied
    assert found.low > 0
    assert found.read_truth < 0.8 * found.given_truth  # by the people whose answers it never saw


def test_a_panel_of_people_is_not_harmed() -> None:
    labels, K = read_labels(FACES)
    harm = []
    for seed in range(2):
        found = trial(labels, K, personas=12, people=5, twisted=False, seed=seed, config=FitConfig())
        after = found.read_truth if found.applied else found.given_truth
        harm.append(after - found.given_truth)
    assert np.mean(harm) < 0.01
