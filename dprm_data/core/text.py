"""Make foreign texts safe to display: characters that move the cursor, change colours or reverse the reading direction become visible."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_KEPT = "\n\t"
_NAMED = {"\x1b": "␛", "\x00": "␀", "\x07": "␇", "\r": "␍", "\x7f": "␡"}


def visible(text: str) -> str:
    """Replace control and formatting characters by visible symbols; newlines and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character if _is_harmless(character) else _NAMED.get(character, "\N{REPLACEMENT CHARACTER}")
        for character in text
    )


def cut(text: str, limit: int) -> str:
    """Cut the text to at most `limit` characters; an ellipsis marks the cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def one_line(text: str, limit: int) -> str:
    """Put the text on one line of at most `limit` characters, and make control characters visible."""
    return cut(" ".join(visible(text).split()), limit)


def markdown_row(cells: Sequence[str]) -> str:
    """Format a row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _is_harmless(character: str) -> bool:
    # Emoji and many scripts need zero-width joiners; any other invisible character could hide or reorder text.
    return (
        character in _KEPT
        or character in "\u200c\u200d"
        or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    )
