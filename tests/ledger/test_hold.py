"""The hold: what it covers, and that it never promises more than the budget or keeps what nobody owes."""

from __future__ import annotations

from dprm_data.ledger.hold import Hold


def commit(hold: Hold, recording: float) -> None:
    """A transaction that records so many dollars."""
    hold.written(recording, hold.next(recording))


def test_what_is_recorded_and_held_stays_within_the_budget() -> None:
    hold = Hold()
    hold.limit = 100.0
    hold.draw(90.0)
    commit(hold, 0.0)
    for _ in range(10):
        commit(hold, 1.0)
        assert hold.covers
        assert hold.recorded + hold.on_disk <= 100.0


def test_amounts_that_were_given_back_leave_nothing_open() -> None:
    hold = Hold()
    for amount in (0.1, 0.2, 0.3, -0.3, -0.2, -0.1):
        hold.draw(amount)
    assert hold.drawn > 0.0, "rounding leaves a rest"
    assert hold.open == 0.0
