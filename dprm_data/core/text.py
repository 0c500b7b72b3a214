"""Texts from elsewhere, made safe to show.

`visible` replaces what a terminal would obey or hide: control characters, bidi overrides and isolates, invisible characters. What the world's scripts and emoji need
stays: joiners after a letter or an emoji, a zero-width space between words of scripts without spaces, one variation selector, the tags of a flag.
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

_NAMED = {"\x1b": "␛", "\x00": "␀", "\x07": "␇", "\r": "␍", "\x7f": "␡"}
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")  # letters and marks without a shape
_VISIBLE_FORMATS = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)  # signs of numbers and verses
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff]"
)  # Thai, Lao, Tibetan, Burmese, Khmer
_SELECTOR = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f")  # of a part of a country


def visible(text: str) -> str:
    """Replace each character that a terminal would obey or hide by a visible one; newlines and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    flags = {at for flag in _FLAG.finditer(text) for at in range(*flag.span())} if "\U000e007f" in text else ()
    shown, before = [], ""
    for at, character in enumerate(text):
        harmless = at in flags or _is_harmless(character, before)
        shown.append(character if harmless else _NAMED.get(character, "\N{REPLACEMENT CHARACTER}"))
        before = character
    return "".join(shown)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """'; did you mean ...?' where one of the names is close to this one, or empty."""
    guess = near_match(name, names)
    return f"; did you mean {guess!r}?" if guess else ""


def near_match(name: str, names: Iterable[str]) -> str | None:
    """The name that is meant, if one begins with this or is close to it."""
    known = list(names)
    beginning = [each for each in known if len(name) > 2 and each.startswith(name)]
    return next(iter(difflib.get_close_matches(name, beginning or known, n=1)), None)


def json_line(content: Any) -> str:
    """The content as one line of JSON that can be shown: characters that `visible` would replace are escaped, so that a parser gets them back."""
    text = json.dumps(content, ensure_ascii=False, default=str)
    shown = visible(text)
    if shown == text:
        return text
    return "".join(
        json.dumps(original)[1:-1] if original != replaced else original
        for original, replaced in zip(text, shown, strict=True)
    )


def cut(text: str, limit: int) -> str:
    """Cut the text to at most `limit` characters; an ellipsis marks the cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def one_line(text: str, limit: int) -> str:
    """Put the text on one line of at most `limit` characters, with what `visible` replaces."""
    return cut(" ".join(visible(text).split()), limit)


def markdown_row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _is_harmless(character: str, before: str) -> bool:
    """Whether a terminal shows this character, after the one before it, and does nothing else."""
    if character.isprintable() and not _SELECTOR.match(character):
        return character not in _UNSEEN
    match character:
        case "\n" | "\t":
            return True
        case "\u200c" | "\u200d":
            return _joins(before)
        case "\u200b":
            return bool(_WITHOUT_SPACES.match(before))
        case _ if _SELECTOR.match(character):
            return bool(before) and not before.isspace() and not _SELECTOR.match(before)
    return character in _VISIBLE_FORMATS or unicodedata.category(character) == "Zs"


def _joins(character: str) -> bool:
    """Whether a joiner makes sense after this character: an emoji (with its selector), or a letter or mark of a script that has joiners."""
    if not character or character.isascii():
        return False
    kind = unicodedata.category(character)
    return kind in ("So", "Sk", "Mn", "Mc") or (kind in ("Lo", "Lm") and character not in _UNSEEN)


def kind_of(value: object) -> str:
    """What a value of JSON is, for a message: a number, an object, null."""
    if isinstance(value, float) and value != value:
        return "NaN"
    words = {"NoneType": "null", "dict": "an object", "list": "a list", "int": "a number", "float": "a number"}
    return words.get(type(value).__name__, type(value).__name__)
