"""Calibration on real people: half of them are the people, a few of the others the panel."""

from __future__ import annotations

import pytest

from benchmarks.calibration import read_labels, trial
from dprm_data.recipe.recipe import FitConfig
from tests.helpers import ROOT

FACES = ROOT.parent / "shared" / "data" / "faceratings.parquet"
pytestmark = pytest.mark.skipif(
    not FACES.is_file(), reason="needs ../shared/data/faceratings.parquet, which is not part of the project"
)


SETTINGS = {"personas": 12, "people": 100, "per_item": 10, "config": FitConfig()}


@pytest.mark.parametrize("seed", range(2))
def test_a_twisted_panel_comes_closer_to_people(seed: int) -> None:
    labels, K = read_labels(FACES)
    found = trial(labels, K, twisted=True, seed=seed, **SETTINGS)
    assert found.applied
    assert found.read < found.given
    assert found.read_truth < 0.75 * found.given_truth  # by the people whose answers it never saw


def test_a_panel_of_people_is_not_harmed() -> None:
    labels, K = read_labels(FACES)
    for seed in range(2):
        found = trial(labels, K, twisted=False, seed=seed, **SETTINGS)
        assert not found.applied or found.read_truth < found.given_truth
