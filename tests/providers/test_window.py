"""The window, whatever happens: one call may always be in flight, and never more than the recipe says."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from dprm_data.providers.window import Window


@settings(max_examples=200, deadline=None)
@given(
    ceiling=st.integers(1, 64), refused=st.lists(st.floats(0, 1), min_size=1, max_size=6), seed=st.integers(0, 2**32)
)
def test_it_never_closes(ceiling: int, refused: list[float], seed: int) -> None:
    """A window below one call would hold up a run for ever. refused: the share of refusals, which changes from time to time."""
    chance, window, sent = random.Random(seed), Window(ceiling), list[float]()
    for now in range(100 * len(refused)):
        if len(sent) + 1 <= window.size and chance.random() < 0.5:
            sent.append(now)
            window.entered(len(sent))
        elif sent:
            began = sent.pop(chance.randrange(len(sent)))
            if chance.random() < refused[now // 100]:
                window.refused(began, len(sent), now)
            else:
                window.answered()
        assert 1 <= window.size <= ceiling
