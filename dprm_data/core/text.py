"""Texts of others, made fit for a terminal: what could move the cursor, change colours or turn the reading direction is shown, not obeyed."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_KEPT = "\n\t"
_NAMED = {"\x1b": "␛", "\x00": "␀", "\x07": "␇", "\r": "␍", "\x7f": "␡"}


def visible(text: str) -> str:
    """The text without control and formatting characters: they become a visible sign (newline and tab stay)."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character if _is_harmless(character) else _NAMED.get(character, "\N{REPLACEMENT CHARACTER}")
        for character in text
    )


def one_line(text: str, limit: int) -> str:
    """The text on one line, cut to so many characters."""
    line = " ".join(visible(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def markdown_row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _is_harmless(character: str) -> bool:
    # Zero-width joiners hold emoji and many scripts together; every other invisible sign could hide or reorder what is read.
    return (
        character in _KEPT
        or character in "\u200c\u200d"
        or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    )
