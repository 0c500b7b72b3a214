"""Few items, all of one mind: the fit must not be surer than so little allows."""

from __future__ import annotations

import numpy as np
import pytest

from dprm_data.ingest.votes import Votes
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.fitting import fit
from dprm_data.recipe.fit_config import SmoothingConfig


@pytest.mark.parametrize("K", [2, 3, 5])
@pytest.mark.parametrize("items", [1, 2, 4])
def test_one_unanimous_vote_an_item_is_no_certainty(K: int, items: int) -> None:
    counts = np.zeros((items, K))
    counts[:, -1] = 1.0
    space = LabelSpace.ordinal(K)
    fitted = fit(Votes([str(i) for i in range(items)], counts), space, smoothing=SmoothingConfig(kind="none"))
    assert 1 / K < fitted.distribution[0, -1] < 0.9
    assert np.argmax(fitted.distribution[0]) == K - 1
    assert fitted.reward_high[0] - fitted.reward_low[0] > 0.5 * (K - 1)


def test_more_unanimous_votes_are_more_certain() -> None:
    shares = []
    for votes in (1, 3, 10, 100):
        counts = np.zeros((3, 4))
        counts[:, 0] = votes
        shares.append(fit(Votes(["a", "b", "c"], counts), LabelSpace.ordinal(4)).posterior[0, 0])
    assert shares == sorted(shares)
    assert shares[-1] > 0.95
