"""How a CSV file is written: in which encoding, and by which delimiter."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
from collections.abc import Collection
from pathlib import Path
from typing import IO

from dprm_data.core.errors import VotesError
from dprm_data.ingest.csv_check import other_encoding

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SAMPLE = 1 << 16  # bytes in which the delimiter is looked for
_ROWS = 20
_CHUNK = 1 << 20


def as_utf8(path: Path) -> tuple[bytes, str] | None:
    """The content of a file in another encoding, in UTF-8, with that encoding's name; None if the file is UTF-8, or damaged.

    UTF-16 and UTF-32 begin with a mark. A file without one that is not UTF-8 is taken for Windows-1252, which older spreadsheets write: but not
    if some of its letters are valid UTF-8 (then it is UTF-8 with broken bytes), or if it has bytes that mean nothing in Windows-1252.
    """
    if name := other_encoding(path):
        try:
            return path.read_bytes().decode(name).encode(), name
        except UnicodeError as error:
            raise VotesError(
                f"{path}: not valid {name}: {error}", hint="The file may be cut off. Save it again, as UTF-8."
            ) from error
    if _is_utf8(path):
        return None
    content = path.read_bytes()
    text = content.decode("utf-8", "surrogateescape")
    if b"\0" in content or any(not letter.isascii() and not "\udc80" <= letter <= "\udcff" for letter in text):
        return None
    try:
        return content.decode("cp1252").encode(), "Windows-1252"
    except UnicodeDecodeError:
        return None


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with path.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                if decoder.getstate()[0] or not chunk.isascii():
                    decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def delimiter_of(opened: IO[bytes], default: str, known: Collection[str]) -> str:
    """The delimiter by which the header has several cells and the rows after it as many; `known` names in the header decide first."""
    sample = opened.read(_SAMPLE)
    text = sample.decode("utf-8-sig", "replace")
    best, found = (0, 0.0, 0, False), default
    for delimiter in DELIMITERS:
        try:
            rows = list(itertools.islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), _ROWS))
        except csv.Error:
            continue
        if len(sample) == _SAMPLE and len(rows) < _ROWS:
            rows.pop()  # it may be cut off
        if not rows or len(rows[0]) < 2:
            continue
        named = sum(cell.strip() in known for cell in rows[0])
        others = [row for row in rows[1:] if row]
        even = sum(len(row) == len(rows[0]) for row in others) / len(others) if others else 1.0
        score = (named, even, len(rows[0]), delimiter == default)
        if score > best:
            best, found = score, delimiter
    return found


def checked_delimiter(delimiter: str) -> str:
    """A delimiter as somebody typed it. Raises `VotesError` unless it is one character, or `tab`."""
    named = {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
    if len(named) != 1 or not named.isascii() or named in '"\r\n\0':
        raise VotesError(f"delimiter: {delimiter!r} is not valid", hint="Give one character, such as ';', or tab.")
    return named
