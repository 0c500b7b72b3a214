"""Panel and people side by side, where the truth is known."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dprm_data.core.errors import ReviewError
from dprm_data.labels.geometry import wasserstein
from dprm_data.labels.space import LabelSpace
from dprm_data.publish.report.page import report
from dprm_data.review.compare import compare, expected_distance, says_the_others_mode
from dprm_data.runs.run import Run
from tests.helpers import answer, dprm
from tests.review.helpers import NOBODY, answers_from, make_run, random_labels

EMPIRICAL = {"fit": {"family": "empirical", "smoothing": {"kind": "none"}}}


def test_by_hand(tmp_path: Path) -> None:
    """Two items, two personas, two people: every figure can be counted."""
    run = make_run(tmp_path / "run", np.array([[0, 0], [1, 2], [3, 3]]), space=5, **EMPIRICAL)
    answers_from(run, np.array([[0, 1], [3, 3], [NOBODY, NOBODY]]))
    found = compare(run, resamples=100)
    assert (found.items, found.people, found.answers) == (2, 2, 4)
    # Item 1: panel at 1, people half at 1, half at 2: W1 0.5. Item 2: panel half 2, half 3, people at 4: 1.5.
    assert found.distance.value == pytest.approx(1.0)
    assert found.reward_gap.value == pytest.approx((-0.5 - 1.5) / 2)
    assert found.mode_accuracy.value == pytest.approx((0.5 + 0.0) / 2)
    assert found.panel_says.value == pytest.approx((0.5 + 0.0) / 2)
    assert found.people_say.value == pytest.approx((0.0 + 1.0) / 2)
    assert found.confusion[0] == pytest.approx([0.5, 0.5, 0, 0, 0])
    assert found.confusion[1] == pytest.approx([0, 0, 0, 1, 0])
    assert found.confusion[2:] == [None, None, None]
    assert [gap.value for gap in found.share_gaps] == pytest.approx([0.25, 0.0, 0.25, -0.5, 0.0], abs=1e-6)
    # Persona p0 says 1 and 2: half a step and two steps from a person; p1 says 1 and 3.
    assert [(one.annotator_id, one.distance.value) for one in found.personas] == [("p1", 0.75), ("p0", 1.25)]
    assert [one.reward_gap.value for one in found.personas] == pytest.approx([-0.75, -1.25])
    assert found.compared[0].item_id == pq.read_table(run.folder.table("items"))["item_id"][1].as_py()
    assert any("no random sample" in note for note in found.notes)


def test_others_mode_against_brute_force() -> None:
    rng = np.random.default_rng(0)
    counts = rng.multinomial(4, [0.4, 0.3, 0.2, 0.1], size=30).astype(float)
    for row, found in zip(counts, says_the_others_mode(counts), strict=True):
        votes = list(itertools.chain.from_iterable([k] * int(n) for k, n in enumerate(row)))
        chances = []
        for i, vote in enumerate(votes):
            others = np.bincount(votes[:i] + votes[i + 1 :], minlength=4)
            top = np.flatnonzero(others == others.max())
            chances.append((vote in top) / len(top))
        assert found == pytest.approx(np.mean(chances))
    assert np.isnan(says_the_others_mode(np.array([[1.0, 0.0]]))[0])


@pytest.mark.parametrize("cost", ["rewards", "axes"])
def test_the_floor_is_what_few_votes_explain(cost: str) -> None:
    """Against all possible votes of three people, weighed by their probability."""
    space = LabelSpace.model_validate(LabelSpace.load("hh6").model_dump() | {"cost": cost})
    P = np.random.default_rng(0).dirichlet(np.ones(6), size=1)
    exact = np.zeros(1)
    for votes in itertools.product(range(6), repeat=3):
        shares = np.bincount(votes, minlength=6)[None, :] / 3.0
        exact += P[:, votes].prod(axis=1) * wasserstein(P, shares, space.ground_cost)
    assert expected_distance(P, np.full(1, 3.0), space) == pytest.approx(exact, rel=0.12)


@pytest.mark.slow
def test_a_panel_that_is_people_has_no_excess_and_one_that_is_not_has(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    truth = rng.dirichlet(np.full(5, 0.6), size=200)
    drawn = (truth.cumsum(axis=1)[:, None, :] > rng.random((200, 44, 1))).argmax(axis=2)
    run = make_run(tmp_path / "run", drawn[:, :40], space=5)
    answers_from(run, drawn[:, 40:])
    found = compare(run, resamples=200)
    assert abs(found.excess.value or 1) < 0.1  # 40 votes are not quite the population
    assert not found.reward_gap.excludes_zero()
    kind = make_run(tmp_path / "kind", np.minimum(drawn[:, :40] + 1, 4), space=5)
    answers_from(kind, drawn[:, 40:])
    wrong = compare(kind, resamples=200)
    assert (wrong.excess.low or 0) > 0.2
    assert (wrong.reward_gap.low or 0) > 0.3
    assert wrong.alpha["reward"]["between"].value < found.alpha["reward"]["between"].value  # type: ignore[operator]


def test_representative_choices_are_weighed_and_said(tmp_path: Path) -> None:
    from dprm_data.review.csv_exchange import export

    run = make_run(tmp_path / "run", random_labels(200, 4, 6))
    export(run, tmp_path / "x.jsonl", purpose="stratified", count=40, blind=True)
    answers_from(run, random_labels(200, 2, 6, seed=1))
    assert not compare(run, resamples=50).representative  # other items were answered too
    chosen = {line.split('"')[3] for line in (tmp_path / "x.jsonl").read_text().splitlines()}
    ids = pq.read_table(run.folder.table("items"))["item_id"].to_pylist()
    people = random_labels(200, 2, 6, seed=1)
    people[[item not in chosen for item in ids]] = NOBODY
    answers_from(run, people)
    found = compare(run, resamples=50)
    assert found.representative
    assert found.items == 40
    assert not any("purpose" in note or "saw the panel" in note for note in found.notes)


def test_nothing_to_compare(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", random_labels(5, 2, 6))
    with pytest.raises(ReviewError, match="no submitted answers"):
        compare(run)
    labels = random_labels(5, 2, 6)
    labels[0] = NOBODY
    run = make_run(tmp_path / "half", labels)
    people = np.full((5, 1), NOBODY)
    people[0] = 1
    answers_from(run, people)
    with pytest.raises(ReviewError, match="no item in common"):
        compare(run)


def test_the_command(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", random_labels(40, 12, 6))
    answers_from(run, random_labels(40, 3, 6, seed=5))
    found = answer(dprm("review", "compare", "run", "--json", cwd=tmp_path))
    assert len(found["compared"]) == 40
    kept = run.folder.read_manifest()["review"]
    assert kept["distance"] == found["distance"]
    assert "compared" not in kept
    page = report(Run.open(run.folder.path))
    assert "Panel and people" in page
    assert f"{found['answers']} answers by {found['people']} people" in page
    text = dprm("review", "compare", "run", cwd=tmp_path)
    assert text.returncode == 0, text.stderr
    assert "Wasserstein-1" in text.stdout
    assert "Krippendorff" in text.stdout
