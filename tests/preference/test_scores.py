from __future__ import annotations

import numpy as np
import pytest

from dprm_data.preference.scores import hold_out, log_likelihood, ranked_probability_score

RNG = np.random.default_rng(0)


def test_halves_have_no_vote_in_common() -> None:
    counts = RNG.multinomial(11, np.full(4, 0.25), 200).astype(float)
    counts[0] = [1, 0, 0, 0]  # nobody left to hold out
    rows, train, held = hold_out(counts, 4, np.random.default_rng(1))
    assert 0 not in rows and len(rows) == 199
    assert (train.sum(axis=1) == 4).all() and (held.sum(axis=1) == 5).all()
    assert (train + held <= counts[rows]).all()
    np.testing.assert_allclose(train.mean(axis=0), 1.0, atol=0.2)
    assert (hold_out(2 * counts, 4, np.random.default_rng(1))[2].sum(axis=1)[1:] == 11).all()
    assert len(hold_out(counts, 50, np.random.default_rng(1))[0]) == 0


def test_scores_by_hand() -> None:
    p, held = np.array([[0.5, 0.3, 0.2]]), np.array([[1.0, 0, 1]])
    assert ranked_probability_score(p, held)[0] == pytest.approx((0.0**2 + 0.3**2) / 2)
    assert log_likelihood(p, held)[0] == pytest.approx((np.log(0.5) + np.log(0.2)) / 2)
    assert log_likelihood(np.array([[1.0, 0, 0]]), held)[0] == pytest.approx(np.log(1e-3) / 2)


@pytest.mark.parametrize("score", [ranked_probability_score, lambda p, held: -log_likelihood(p, held)])
def test_the_proper_scores_are_best_for_the_truth(score) -> None:  # type: ignore[no-untyped-def]
    truth = np.array([0.1, 0.2, 0.4, 0.3])
    held = RNG.multinomial(5, truth, 40_000).astype(float)
    at_truth = score(np.broadcast_to(truth, held.shape), held).mean()
    for other in ([0.0, 0.2, 0.5, 0.3], [0.25] * 4, [0.12, 0.22, 0.38, 0.28]):
        assert score(np.broadcast_to(np.array(other), held.shape), held).mean() > at_truth
