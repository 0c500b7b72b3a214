"""Soft labels count as many votes as they are worth, by simulation with known truth and by a calculation of another kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dprm_data.core.arrays import Floats
from dprm_data.core.tables import ANNOTATIONS
from dprm_data.ingest.votes import Votes
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.fitting import fit
from dprm_data.preference.soft_labels import at_their_worth, soft_worth

FIVE = LabelSpace.ordinal(5)


def panel(items: int, personas: int, concentration: float, seed: int = 0) -> tuple[Floats, Floats]:
    """True distributions (items, 5), and every persona's soft label of them, Dirichlet about the truth: (items, personas, 5)."""
    rng = np.random.default_rng(seed)
    at = rng.normal(0.0, 0.7, items)[:, None] - np.linspace(-2.0, 2.0, 5)
    truth = np.exp(-0.5 * at**2)
    truth /= truth.sum(axis=1, keepdims=True)
    return truth, np.stack([rng.dirichlet(concentration * p, personas) for p in truth])


def flat(labels: Floats) -> tuple[Any, Floats]:
    return np.repeat(np.arange(len(labels)), labels.shape[1]), labels.reshape(-1, labels.shape[2])


@pytest.mark.parametrize("concentration", [4.0, 30.0])
@pytest.mark.parametrize("personas", [2, 4, 15])
def test_a_soft_label_is_worth_what_its_variance_says(concentration: float, personas: int) -> None:
    """Var(x) of a Dirichlet is p (1 - p) / (c + 1): as of c + 1 votes."""
    _, labels = panel(300, personas, concentration)
    assert soft_worth(*flat(labels)).votes == pytest.approx(concentration + 1, rel=0.1)


def test_the_worth_is_that_of_as_many_votes_by_their_error() -> None:
    """Another way to it: the mean of R soft labels is as far from the truth as the mean of w R votes."""
    rng = np.random.default_rng(1)
    truth, labels = panel(2000, 4, 9.0)
    w = soft_worth(*flat(labels)).votes
    votes = np.array([rng.multinomial(round(4 * w), p) for p in truth]) / round(4 * w)
    errors = [((x - truth) ** 2).sum(axis=1).mean() for x in (labels.mean(axis=1), votes)]
    assert errors[0] == pytest.approx(errors[1], rel=0.08)


def test_votes_are_worth_a_vote_however_few() -> None:
    for items, each in ((1, 2), (3, 1), (200, 4)):
        labels = np.eye(5)[np.random.default_rng(0).integers(5, size=(items, each))]
        assert soft_worth(*flat(labels)).votes == pytest.approx(1.0)


def test_weights_of_annotators() -> None:
    """Weights keep their ratio, and a doubled weight is no second annotator."""
    _, labels = panel(300, 6, 10.0)
    item, shares = flat(labels)
    u = np.tile([3.0, 1.0, 1.0, 1.0, 0.5, 0.5], 300)
    assert soft_worth(item, shares, 7.0 * u).votes == pytest.approx(soft_worth(item, shares, u).votes)
    assert soft_worth(item, shares, u).votes == pytest.approx(11.0, rel=0.12)


@pytest.mark.slow
@pytest.mark.parametrize("personas", [4, 15])
@pytest.mark.parametrize("concentration", [5.0, 30.0])
def test_the_fit_keeps_the_spread_of_the_items(personas: int, concentration: float) -> None:
    truth, labels = panel(300, personas, concentration, seed=3)
    item, shares = flat(labels)
    worth = soft_worth(item, shares).votes
    ids = [str(i) for i in range(300)]
    found = fit(Votes(ids, worth * labels.sum(axis=1)), FIVE)
    rewards = truth @ FIVE.rewards
    spread = found.expected_reward.std() / rewards.std()
    assert 0.9 <= spread <= 1.1
    plain = fit(Votes(ids, labels.sum(axis=1)), FIVE)
    error, before = (np.sqrt(((one.expected_reward - rewards) ** 2).mean()) for one in (found, plain))
    assert error < 0.8 * before
    inside = ((found.reward_low <= rewards) & (rewards <= found.reward_high)).mean()
    assert 0.84 <= inside <= 0.97


def rows(said: Floats, **more: Any) -> pa.Table:
    items, personas, _ = said.shape
    content = [
        dict.fromkeys(ANNOTATIONS.names)
        | {"item_id": f"i{i}", "annotator_id": f"p{a}", "annotator_kind": "persona", "elicitation": "logprobs"}
        | {"label": FIVE.names[int(said[i, a].argmax())], "probs": said[i, a].tolist(), "status": "ok"}
        | {"weight": 1.0, "model_id": "m"}
        | more
        for i in range(items)
        for a in range(personas)
    ]
    return pa.Table.from_pylist(content, schema=ANNOTATIONS)


def test_in_a_table_each_model_has_its_own_worth_and_hard_labels_keep_theirs() -> None:
    sharp, vague = panel(100, 4, 30.0)[1], panel(100, 4, 4.0)[1]
    hard = rows(np.eye(5)[np.random.default_rng(0).integers(5, size=(100, 2))], model_id="h")
    person = rows(np.eye(5)[np.zeros((100, 1), dtype=int)], annotator_kind="human", model_id=None, probs=None)
    failed = rows(vague[:, :1], status="refused", model_id="m4")
    table = pa.concat_tables([rows(sharp, model_id="m30"), hard, rows(vague, model_id="m4"), person, failed])
    weighed, worths = at_their_worth(table, FIVE)
    worth = {one.model: one.votes for one in worths}
    assert worth.keys() == {"m30", "m4"}
    assert worth["m30"] == pytest.approx(31, rel=0.15)
    assert worth["m4"] == pytest.approx(5, rel=0.15)
    expected = [worth["m30"]] * 400 + [1.0] * 200 + [worth["m4"]] * 400 + [1.0] * 200
    np.testing.assert_allclose(weighed["weight"].to_numpy(), expected)
    assert weighed.drop_columns(["weight"]).equals(table.drop_columns(["weight"]))
    assert "A soft label of m30 is worth" in worths[0].sentence
    assert at_their_worth(hard, FIVE) == (hard, [])


def test_one_label_an_item_is_taken_for_half_noise_and_says_so() -> None:
    """Nothing tells how much of the spread over items is noise: between 1 and 100 votes, and never none or all of it."""
    truth, labels = panel(400, 1, 20.0)
    found = soft_worth(*flat(labels))
    assert found.repeated == 0
    assert "assumed" in found.sentence
    stated = fit(
        Votes([str(i) for i in range(400)], np.zeros((400, 5))), FIVE, stated=labels[:, 0], stated_strength="auto"
    )
    assert stated.stated_strength == pytest.approx(found.votes)
    assert stated.expected_reward.std() > 0.6 * (truth @ FIVE.rewards).std()
