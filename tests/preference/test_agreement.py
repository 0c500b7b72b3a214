from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError, VotesError
from dprm_data.ingest.ratings import Ratings
from dprm_data.ingest.vote_tables import read_ratings
from dprm_data.ingest.votes import Votes
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.agreement import (
    agreement_summary,
    annotators,
    krippendorff_alpha,
    polarisation,
    position_bias,
)
from tests.preference import real_votes

FOUR = LabelSpace.ordinal(4)
# Krippendorff (2011), "Computing Krippendorff's alpha-reliability", example C: 4 observers, 12 units.
EXAMPLE = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def ratings(rows: list[list[int | None]], K: int, replicate: list[int] | None = None) -> Ratings:
    cells = [(item, who, label) for who, row in enumerate(rows) for item, label in enumerate(row) if label is not None]
    item, who, label = (np.array(column, dtype=np.int64) for column in zip(*cells, strict=True))
    rounds = np.zeros(len(item), dtype=np.int64) if replicate is None else np.array(replicate)
    names = [f"r{i}" for i in range(len(rows))], [f"i{i}" for i in range(len(rows[0]))]
    return Ratings(names[1], names[0], K, item, who, label, np.ones(len(item)), rounds)


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorffs_own_example(level: str, alpha: float) -> None:
    rows = [[None if x is None else x - 1 for x in row] for row in EXAMPLE]
    votes = ratings(rows, 5).votes()
    assert krippendorff_alpha(votes, LabelSpace.ordinal(5), level) == pytest.approx(alpha, abs=6e-4)  # type: ignore[arg-type]


def test_alpha_where_there_is_nothing_to_measure() -> None:
    assert krippendorff_alpha(Votes(["a"], np.array([[1.0, 0, 0, 0]])), FOUR) is None
    assert krippendorff_alpha(Votes(["a"], np.array([[5.0, 0, 0, 0]])), FOUR) == 1.0
    tied = LabelSpace.load("hh6")  # two labels of one reward
    assert krippendorff_alpha(Votes(["a"], np.array([[0, 0, 2.0, 2, 0, 0]])), tied, "interval") == 1.0


def test_polarisation_from_agreement_to_two_camps() -> None:
    p = np.array([[1.0, 0, 0, 0], [0.5, 0, 0, 0.5], [0.25] * 4])
    np.testing.assert_allclose(polarisation(p, FOUR), [0.0, 1.0, 1.25 / 2.25])


def simulated(people: int, items: int, shift: Floats, noise: Floats, seed: int = 0) -> Ratings:
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1, items)
    x = truth[None, :] + shift[:, None] + noise[:, None] * rng.normal(0, 1, (people, items))
    labels = np.clip(np.digitize(x, [-0.8, 0.0, 0.8]), 0, 3)
    return ratings(labels.tolist(), 4)


def test_strict_and_lenient_careful_and_careless_annotators_are_told_apart() -> None:
    found = annotators(
        simulated(6, 500, np.array([-1, 0, 0, 0, 0, 1.0]), np.array([0.3, 0.3, 0.3, 0.3, 5.0, 0.3])), FOUR
    )
    assert found.severity.argmin() == 0 and found.severity.argmax() == 5
    assert found.severity[0] < -10 * found.severity_error[0]
    assert found.informativeness.argmin() == 4
    assert found.informativeness[1] > 0.7
    table = found.to_table()
    assert table.num_rows == 6


def test_severity_is_the_difference_from_the_others() -> None:
    found = annotators(ratings([[0, 1, 3], [1, 1, 2], [2, 1, None]], 4), FOUR)
    np.testing.assert_allclose(found.severity[0], np.mean([0 - 1.5, 1 - 1, 3 - 2]))
    np.testing.assert_allclose(found.severity[2], np.mean([2 - 0.5, 1 - 1]))
    np.testing.assert_allclose(found.severity_error[0], stats.sem([0 - 1.5, 1 - 1, 3 - 2]))
    assert found.agreement[0, 1] == pytest.approx(1 / 3)
    assert found.agreement[0, 2] == pytest.approx(1 / 2)
    assert np.isnan(found.repeat_agreement).all()


def test_effective_number_counts_different_annotators() -> None:
    rng = np.random.default_rng(0)
    opinions = rng.integers(0, 4, (3, 400))
    nine_of_three = annotators(ratings(np.repeat(opinions, 3, axis=0).tolist(), 4), FOUR)
    assert nine_of_three.effective_number == pytest.approx(3.0, abs=0.1)
    assert annotators(ratings(opinions.tolist(), 4), FOUR).effective_number == pytest.approx(3.0, abs=0.1)
    assert annotators(ratings(np.repeat(opinions[:1], 5, axis=0).tolist(), 4), FOUR).effective_number == pytest.approx(
        1.0
    )


def test_repetitions_are_measured_and_are_not_others() -> None:
    item = np.array([0, 0, 0, 1, 1, 0, 1])
    who = np.array([0, 0, 0, 0, 0, 1, 1])
    label = np.array([2, 2, 1, 3, 3, 0, 3])
    found = annotators(
        Ratings(["a", "b"], ["x", "y"], 4, item, who, label, np.ones(7), np.array([0, 1, 2, 0, 1, 0, 0])), FOUR
    )
    # x: of 3 pairs on item a one is equal, the pair on item b is
    assert found.repeat_agreement[0] == pytest.approx(2 / 4)
    assert np.isnan(found.repeat_agreement[1])
    assert found.severity[0] == pytest.approx(np.mean([2, 2, 1, 0, 0]))


def test_nobody_and_no_names() -> None:
    empty = np.zeros(0, dtype=np.int64)
    assert annotators(Ratings([], [], 4, empty, empty, empty, np.zeros(0), empty), FOUR).effective_number == 0.0
    one = np.zeros(1, dtype=np.int64)
    with pytest.raises(VotesError, match="annotator_id"):
        annotators(Ratings(["a"], [], 4, one, empty, one, np.ones(1), one), FOUR)


def test_position_bias_is_pearsons_test() -> None:
    rng = np.random.default_rng(0)
    fair = position_bias(rng.integers(0, 4, 2_000), 4)
    assert fair.p_value > 0.001
    biased = position_bias(rng.choice(4, 500, p=[0.4, 0.2, 0.2, 0.2]), 4)
    theirs = stats.chisquare(biased.shares * 500)
    assert biased.chi_squared == pytest.approx(theirs.statistic)
    assert biased.p_value == pytest.approx(theirs.pvalue)
    assert biased.p_value < 1e-6
    with pytest.raises(InputError, match="positions"):
        position_bias(np.array([4]), 4)


@pytest.mark.parametrize("name", ["convabuse", "polis"])
def test_real_panels(name: str) -> None:
    space = LabelSpace.ordinal(real_votes.LEVELS[name])
    found = agreement_summary(read_ratings(real_votes.path(name), space), space)
    assert 0 < found["alpha_nominal"] < found["alpha_ordinal"] < 1
    assert 1 < found["effective_annotators"] <= found["annotators"]
