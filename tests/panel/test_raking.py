from __future__ import annotations

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dprm_data.core.errors import PanelError
from dprm_data.panel.raking import effective_size, rake
from tests.preference import real_votes

PEOPLE = {"sex": ["f", "f", "f", "m"], "age": ["young", "old", "old", "young"]}


def share(weights: np.ndarray, values: list[str], value: str) -> float:
    return float(weights[np.array(values) == value].sum() / weights.sum())


def test_margins_are_met() -> None:
    found = rake(PEOPLE, {"sex": {"f": 0.5, "m": 0.5}, "age": {"young": 0.6, "old": 0.4}})
    assert share(found.weights, PEOPLE["sex"], "f") == pytest.approx(0.5, abs=1e-6)
    assert share(found.weights, PEOPLE["age"], "young") == pytest.approx(0.6, abs=1e-6)
    assert found.weights.mean() == pytest.approx(1.0)
    assert found.effective_size == pytest.approx(effective_size(found.weights))
    assert found.design_effect == pytest.approx(4 / found.effective_size)
    assert found.to_dict()["people"] == 4


def test_one_margin_is_post_stratification() -> None:
    found = rake(PEOPLE, {"sex": {"f": 0.4, "m": 0.6}})
    np.testing.assert_allclose(found.weights, [4 * 0.4 / 3] * 3 + [4 * 0.6])


def test_a_panel_that_fits_keeps_equal_weights() -> None:
    found = rake(PEOPLE, {"sex": {"f": 0.75, "m": 0.25}})
    np.testing.assert_allclose(found.weights, 1.0)
    assert found.design_effect == pytest.approx(1.0)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), people=st.integers(60, 200))
def test_the_weights_are_the_nearest_in_relative_entropy(seed: int, people: int) -> None:
    """At the minimum of relative entropy under linear constraints log weights are sums of one term per margin's value."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 3, people), rng.integers(0, 2, people)
    cells = {(x, y) for x, y in zip(a, b, strict=True)}
    if len(cells) < 6:
        return
    targets = {
        "a": dict(enumerate(rng.dirichlet(np.full(3, 5.0)))),
        "b": dict(enumerate(rng.dirichlet(np.full(2, 5.0)))),
    }
    w = rake({"a": a.tolist(), "b": b.tolist()}, targets).weights  # type: ignore[arg-type]
    for x in range(3):
        assert w[a == x].sum() / w.sum() == pytest.approx(targets["a"][x], abs=1e-5)
    ratio = [np.log(w[(a == x) & (b == 1)][0] / w[(a == x) & (b == 0)][0]) for x in range(3)]
    np.testing.assert_allclose(ratio, ratio[0], atol=1e-4)


@pytest.mark.parametrize(
    ("margins", "message"),
    [
        ({"sex": {"f": 0.4, "m": 0.5, "x": 0.1}}, "'x' should be 10.0%, and nobody"),
        ({"sex": {"f": 1.0}}, "no target for 'm', which 1 of the people have"),
        ({"region": {"north": 1.0}}, "no attribute 'region'"),
        ({"sex": {"f": 0.9, "m": 0.9}}, "sum to 1.8"),
        ({"sex": {"f": 1.5, "m": -0.5}}, "non-negative"),
        ({}, "at least one margin"),
        (
            {"sex": {"f": 0.5, "m": 0.5}, "age,sex": {("young", "f"): 0.0, ("young", "m"): 0.1, ("old", "f"): 0.9}},
            "cannot all be met",
        ),
    ],
)
def test_margins_that_cannot_be_met_are_refused(margins: dict, message: str) -> None:
    with pytest.raises(PanelError, match=message):
        rake(PEOPLE, margins)


def test_bad_starting_weights_and_a_value_that_is_left_out() -> None:
    with pytest.raises(PanelError, match="starting weights"):
        rake(PEOPLE, {"sex": {"f": 0.5, "m": 0.5}}, start=np.array([1.0, -1.0, 1.0, 1.0]))
    with pytest.raises(PanelError, match="nobody in the panel"):
        rake(PEOPLE, {"sex": {"f": 0.5, "m": 0.5}}, start=np.array([1.0, 1.0, 1.0, 0.0]))
    np.testing.assert_allclose(rake(PEOPLE, {"sex": {"f": 1.0, "m": 0.0}}).weights, [4 / 3] * 3 + [0])


def profiles() -> dict[str, list[str]]:
    path = real_votes.path("rater_profiles")
    columns: dict[str, list[str]] = pq.read_table(path).to_pydict()
    return columns


def test_real_profiles_are_weighted_to_the_census() -> None:
    """Age and sex of the United States, from joint cells of the census, on real rater profiles."""
    people = profiles()
    band = {
        "18-24 years old": "18-30",
        "25-34 years old": "30-50",
        "35-44 years old": "30-50",
        "45-54 years old": "30-50",
    }
    targets: dict[str, dict[object, float]] = {"Age": {}, "Gender": {"Other": 0.0}, "Age,Gender": {}}
    with (real_votes.DATA / "us_census_age_sex_race.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            age, sex, part = (
                band.get(row["age_category"], "50+"),
                {"Male": "Man", "Female": "Woman"}[row["sex"]],
                float(row["share"]),
            )
            for name, value in (("Age", age), ("Gender", sex), ("Age,Gender", (age, sex))):
                targets[name][value] = targets[name].get(value, 0.0) + part
    found = rake(people, {name: targets[name] for name in ("Age", "Gender")})
    assert share(found.weights, people["Age"], "50+") == pytest.approx(targets["Age"]["50+"], abs=1e-6)
    assert share(found.weights, people["Gender"], "Woman") == pytest.approx(targets["Gender"]["Woman"], abs=1e-6)
    assert 1.0 < found.design_effect < 3.0
    joint = dict(targets["Age,Gender"]) | {(age, "Other"): 0.0 for age in ("18-30", "30-50", "50+")}
    cells = rake(people, {"Age,Gender": joint})
    assert cells.rounds == 1
    with pytest.raises(PanelError, match="Antarctica"):
        rake(people, {"Region": dict.fromkeys({*people["Region"], "Antarctica"}, 1 / 9)})
