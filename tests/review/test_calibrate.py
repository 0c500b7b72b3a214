"""A calibration is applied where it helps on items it has not seen, and nowhere else."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from rich.console import Console

from dprm_data.core.errors import ReviewError
from dprm_data.ingest.votes import Votes
from dprm_data.labels.geometry import wasserstein
from dprm_data.labels.space import LabelSpace
from dprm_data.pipeline import stages
from dprm_data.preference.fitting import fit
from dprm_data.preference.prior import Prior
from dprm_data.review.calibrate import Calibration, calibrate, worth_of_a_person
from dprm_data.review.cross_validation import answer_scores
from dprm_data.runs.run import Run
from dprm_data.terminal.calibration_view import calibration_view
from tests.helpers import answer, dprm
from tests.review.helpers import NOBODY, answers_from, make_run, random_labels

K = 5
UNORDERED = {  # no axes, and rewards that tie
    "name": "n",
    "labels": [{"name": f"l{i}", "reward": reward} for i, reward in enumerate((0.0, 0.0, 1.0, 2.0, 3.0))],
}


def draw(truth: NDArray[Any], count: int, rng: np.random.Generator) -> NDArray[Any]:
    return (truth.cumsum(axis=1)[:, None, :] > rng.random((len(truth), count, 1))).argmax(axis=2)


def world(seed: int, N: int = 240) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """True distributions (N, K), an honest panel's labels (N, 8), and people's (N, 4) for the first 80 items."""
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet(np.full(K, 0.7), size=N)
    people = draw(truth, 4, rng)
    people[80:] = NOBODY
    return truth, draw(truth, 8, rng), people


def twisted(labels: NDArray[Any], seed: int) -> NDArray[Any]:
    """Three personas one step too kind, one two steps, two that roll dice."""
    out = np.array(labels)
    out[:, :3] = np.minimum(labels[:, :3] + 1, K - 1)
    out[:, 3] = np.minimum(labels[:, 3] + 2, K - 1)
    out[:, 4:6] = np.random.default_rng(seed).integers(K, size=(len(labels), 2))
    return out


def calibrated(folder: Path, panel: NDArray[Any], people: NDArray[Any], space: Any = K) -> tuple[Run, Calibration]:
    # Compared with a fit that does not know the raters: knowing them mends half of the twist by itself.
    run = make_run(folder, panel, space=space, fit={"raters": "off"})
    answers_from(run, people)
    found = calibrate(run, resamples=300)
    stages.fit(run)
    return run, found


def distances(run: Run, truth: NDArray[Any]) -> dict[str, float]:
    """Mean distance to the truth of the items that nobody reviewed, with the calibration and without."""

    def of(table: str) -> float:
        rows = pq.read_table(run.folder.path / "tables" / f"{table}.parquet")
        fitted = np.array(rows["label_distribution"].to_pylist())
        return float(wasserstein(fitted[80:], truth[80:], run.space.ground_cost).mean())

    return {table: of(table) for table in ("distributions", "uncalibrated")}


def test_a_twisted_panel_is_read_better_everywhere(tmp_path: Path) -> None:
    truth, panel, people = world(0)
    run, found = calibrated(tmp_path / "run", twisted(panel, 1), people)
    assert found.applied
    assert found.distance_read < found.distance_given
    far = distances(run, truth)
    assert far["distributions"] < 0.92 * far["uncalibrated"]
    screen = Console(record=True, width=160, file=io.StringIO())
    screen.print(calibration_view(found, run))
    shown = screen.export_text()
    assert "8 personas of gpt-4o-mini-2024-07-18 are worth" in shown
    assert "Only 4 people have answered" in shown
    manifest = run.folder.read_manifest()
    assert manifest["fit"]["calibrated"] is True
    assert manifest["fit"]["human_weight"] == 1.0
    rows = pq.read_table(run.folder.table("distributions"))
    evidence = rows["evidence"].to_numpy()
    worth = found.worth or {}
    assert worth["low"] < worth["people"] < worth["high"]
    assert np.median(evidence[80:]) == pytest.approx(
        worth["people"], rel=0.01
    )  # of a panel that people have not judged: what it is worth
    assert (evidence[:80] > 4.0).all()  # each person's answer is one
    reward = truth @ run.space.rewards
    inside = (rows["reward_low"].to_numpy() <= reward) & (reward <= rows["reward_high"].to_numpy())
    assert 0.82 <= inside[80:].mean() <= 0.99
    again = fit(
        Votes(rows["item_id"].to_pylist(), np.array(rows["votes"].to_pylist())),
        run.space,
        prior=Prior.from_dict(manifest["prior"]),
    )  # what is published is votes and a prior, as ever
    np.testing.assert_allclose(again.distribution, np.array(rows["label_distribution"].to_pylist()), atol=1e-5)


@pytest.mark.slow
def test_an_honest_panel_is_not_harmed(tmp_path: Path) -> None:
    truth, panel, people = world(0)
    run, _ = calibrated(tmp_path / "run", panel, people)
    far = distances(run, truth)
    assert far["distributions"] <= 1.06 * far["uncalibrated"]


@pytest.mark.slow
def test_labels_without_an_order_have_an_annotator_model(tmp_path: Path) -> None:
    """A space whose rewards tie and that has no axes: the panel is corrected label by label, if that helps."""
    _, panel, people = world(0)
    run = make_run(tmp_path / "run", twisted(panel, 1), space=UNORDERED, fit={"family": "mixture"})
    answers_from(run, people)
    found = calibrate(run, resamples=300)
    assert found.worth is None
    shares = np.array(list(found.weights.values()))
    np.testing.assert_allclose(shares.sum(axis=0), 1.0)
    assert (shares > 0).all()
    stages.fit(run)
    assert run.folder.read_manifest()["fit"]["calibrated"] is found.applied


@pytest.mark.slow
def test_what_a_panel_is_assumed_to_be_worth_is_the_same_whatever_a_person_counts(tmp_path: Path) -> None:
    truth, panel, _ = world(0, 60)
    run = make_run(tmp_path / "run", panel, space=UNORDERED, fit={"family": "mixture"})
    answers_from(run, draw(truth, 4, np.random.default_rng(3)))
    stages.fit(run)
    assumed = run.folder.read_manifest()["panel_worth"]
    found = calibrate(run, resamples=100).as_dict()
    run.folder.update_manifest(calibration=found | {"applied": True, "human_weight": 16.0})
    stages.fit(run)
    assert run.folder.read_manifest()["panel_worth"] == assumed


@pytest.mark.slow
def test_discarding_it_gives_the_fit_back(tmp_path: Path) -> None:
    _, panel, people = world(0)
    run = make_run(tmp_path / "run", twisted(panel, 1), space=K)
    answers_from(run, people)
    stages.fit(run)
    plain = run.folder.table("distributions").read_bytes()
    found = answer(dprm("review", "calibrate", "run", "--json", cwd=tmp_path))
    assert found["applied"]
    assert run.folder.table("distributions").read_bytes() != plain
    again = answer(dprm("ratings", "fit", "run", "--json", "-q", cwd=tmp_path))  # `dprm ratings fit` keeps to it
    assert again
    assert run.folder.read_manifest()["fit"]["calibrated"] is True
    assert answer(dprm("review", "calibrate", "run", "--discard", "--json", cwd=tmp_path)) == {"discarded": True}
    assert run.folder.table("distributions").read_bytes() == plain
    assert not (run.folder.path / "tables" / "uncalibrated.parquet").exists()


def test_too_little_to_learn_from(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", random_labels(30, 3, 6))
    people = np.full((30, 1), NOBODY)
    people[:10] = 2
    answers_from(run, people)
    with pytest.raises(ReviewError, match="people have judged 10 of the panel"):
        calibrate(run)
    answers_from(run, random_labels(30, 2, 6))
    with pytest.raises(ReviewError, match="2 people have answered"):
        calibrate(run)


def test_a_person_is_worth_more_than_a_panel_of_dice() -> None:
    rng = np.random.default_rng(0)
    space = LabelSpace.ordinal(K)
    truth = rng.dirichlet(np.full(K, 0.7), size=300)
    people = rng.multinomial(6, truth).astype(float)
    ids = [str(i) for i in range(300)]
    worth = {}
    for name, panel in (
        ("dice", rng.multinomial(12, np.full(K, 1 / K), size=300)),
        ("people", rng.multinomial(12, truth)),
    ):
        fitted = fit(Votes(ids, panel.astype(float)), space, family="dirichlet")
        prior = fit(Votes(ids, people), space, family="dirichlet")
        worth[name] = worth_of_a_person(panel.astype(float), people, prior, space)
        assert len(fitted) == 300
    assert worth["dice"] >= 4
    assert worth["people"] <= 2
    single = np.eye(K)[rng.integers(K, size=300)]
    assert worth_of_a_person(people, single, prior, space, 3.0) == 3.0  # one answer per item says nothing about it


def test_the_score_is_proper() -> None:
    """Nothing has a better expected score than the truth."""
    rng = np.random.default_rng(1)
    for space in (LabelSpace.load("hh6"), LabelSpace.ordinal(K)):
        truth = rng.dirichlet(np.ones(space.K))
        others = rng.dirichlet(np.ones(space.K), size=500)
        best = answer_scores(truth[None], space)[0] @ truth
        assert (answer_scores(others, space) @ truth >= best - 1e-12).all()


@pytest.mark.slow
def test_a_calibration_of_an_older_version_stays_in_force(tmp_path: Path) -> None:
    """Its manifest has an annotator model of labels with an order, and the weight of a person's vote."""
    _, panel, people = world(0)
    run = make_run(tmp_path / "run", panel, space=K)
    answers_from(run, people)
    up = np.roll(np.eye(K), 1, axis=1).tolist()
    old = {
        "applied": True,
        "human_weight": 4.0,
        "reading": {"labels": run.space.names, "ratio": {}, "shared": up, "own": {}},
    }
    run.folder.update_manifest(calibration=old)
    stages.fit(run)
    votes = np.array(pq.read_table(run.folder.table("distributions"))["votes"].to_pylist())
    said = np.stack([(panel == k).sum(axis=1) for k in range(K)], axis=1)
    np.testing.assert_allclose(votes[80:], np.roll(said, 1, axis=1)[80:], atol=1e-4)
    np.testing.assert_allclose(votes[:80].sum(axis=1), 8 + 4 * 4, atol=1e-4)
