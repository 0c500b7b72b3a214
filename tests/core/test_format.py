"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from dprm_data.core.format import count, day, duration, money, number, percent, size


def test_what_is_missing_is_a_dash() -> None:
    for write in (count, number, percent):
        assert write(None) == write(math.nan) == "–"
    assert money(None) == money(math.nan) == "cost not known"
    assert day(math.inf) == "–"


def test_numbers() -> None:
    assert count(1234567) == "1,234,567"
    assert number(-0.0001) == "0.000" and number(1.5, 1, sign=True) == "+1.5"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0%"), (0.001, "0.1%"), (0.25, "25%"), (0.999, "99.9%"), (1.0, "100%"), (-0.25, "-25%")],
)
def test_almost_nothing_is_not_nothing(share: float, text: str) -> None:
    assert percent(share) == text


def test_signed_percent() -> None:
    assert percent(0.125, 1, sign=True) == "+12.5%"


def test_money_has_the_digits_that_count() -> None:
    assert [money(dollars) for dollars in (0, 0.00042, 0.1359, 1, 1234.5)] == [
        "$0.00", "$0.0004", "$0.1359", "$1.00", "$1,234.50",
    ]  # fmt: skip


def test_durations_and_sizes_change_their_units() -> None:
    assert [duration(seconds) for seconds in (7.14, 200, 7500)] == ["7.1 s", "3 min 20 s", "2 h 5 min"]
    assert [size(length) for length in (0, 999, 15_732, 999_600, 999_960, 2.5e9, 3e15)] == [
        "0 B", "999 B", "15.7 kB", "999.6 kB", "1.0 MB", "2.5 GB", "3,000.0 TB",
    ]  # fmt: skip
