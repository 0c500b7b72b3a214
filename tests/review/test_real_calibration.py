"""Calibration on real people: half of them are the people, a few of the others the panel."""

from __future__ import annotations

import pytest

from benchmarks.calibration import read_labels, trial
from benchmarks.instrument import faces, methods, scored
from dprm_data.labels.space import LabelSpace
from dprm_data.recipe.fit_config import FitConfig
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


@pytest.mark.parametrize("kind", ["narrow", "twisted"])
def test_an_instrument_of_real_raters_comes_closer_than_people_or_panel_alone(kind: str) -> None:
    """On faces that nobody judged, to everybody else; and its intervals hold."""
    labels, K = read_labels(FACES)
    space = LabelSpace.ordinal(K)
    truth, panel, people = faces(labels, K, kind, seed=1)
    far = {name: scored(one, truth, space, slice(40, None)) for name, one in methods(panel, people, space).items()}
    assert far["calibrate"][2] < 0.8 * min(far["panel, as votes"][2], far["people alone"][2])
    assert far["calibrate"][1] >= 0.85
