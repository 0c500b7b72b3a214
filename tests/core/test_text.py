"""Hostile texts on the terminal."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from dprm_data.core.text import one_line, visible


def test_what_could_be_obeyed_is_shown() -> None:
    assert visible("\x1b[31mred\x1b[0m \x07 \u202egnirts \u2066x\u2069 \x00") == "␛[31mred␛[0m ␇ �gnirts �x� ␀"
    assert visible("line\n\ttab, ümlaut, 漢字, 👩‍👩‍👧") == "line\n\ttab, ümlaut, 漢字, 👩‍👩‍👧"


@given(st.text())
def test_nothing_that_moves_the_cursor_is_left(text: str) -> None:
    shown = visible(text)
    assert len(shown) == len(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Zl", "Zp") and c not in "\n\t"]
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")


@given(st.text(), st.integers(2, 30))
def test_one_line_is_one_line_of_at_most_so_much(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert "\n" not in line
