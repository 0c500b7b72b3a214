"""Checks of CSV files that people and their tools write: quotes, row lengths, encodings, NUL bytes.

A fast reader takes a forgotten closing quote for a long cell, and the rows after it are lost in silence. `looks_whole` settles in one vectorised
pass that nothing of that kind can be; only a file that does not pass is read again row by row, which finds every fault by row and column.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from dprm_data.ingest.faults import Faults
from dprm_data.ingest.sources import FIELD_LIMIT

_CHUNK = 1 << 20  # bytes: what is read stays in the cache
_QUOTE = ord('"')
_UTF8 = "Save it as UTF-8 (in a spreadsheet: CSV UTF-8)."
_ESCAPED = re.compile("[\udc80-\udcff]")  # bytes that are not UTF-8, as `surrogateescape` decodes them
_MARKS = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def looks_whole(opened: IO[bytes], delimiter: str) -> bool:
    """Whether there is no NUL byte, and every quote opens or closes a cell or is doubled within one (RFC 4180). False may be a false alarm."""
    may_adjoin = np.zeros(256, dtype=bool)
    may_adjoin[list(f'"{delimiter}\r\n'.encode())] = True
    quotes, before = 0, b"\n"
    chunk = opened.read(_CHUNK).removeprefix(b"\xef\xbb\xbf")
    while chunk:
        following = opened.read(_CHUNK)
        if b"\0" in chunk:
            return False
        if b'"' in chunk:
            data = np.frombuffer(before + chunk + (following[:1] or b"\n"), np.uint8)
            at = np.flatnonzero(data[1:-1] == _QUOTE) + 1
            opening, closing = at[quotes % 2 :: 2], at[1 - quotes % 2 :: 2]
            if not (may_adjoin[data[opening - 1]].all() and may_adjoin[data[closing + 1]].all()):
                return False
            quotes += len(at)
        before, chunk = chunk[-1:], following
    return quotes % 2 == 0


def other_encoding(file: Path) -> str | None:
    """The encoding that the file's first bytes name, if it is not UTF-8."""
    with file.open("rb") as opened:
        begin = opened.read(4)
    return next((name for mark, name in _MARKS.items() if begin.startswith(mark)), None)


def checked_rows(
    file: Path, delimiter: str, faults: Faults, *, spreadsheet: bool = False, content: bytes | None = None
) -> Iterator[tuple[int, list[str]]]:
    """The header and then every row with its number, with as many cells as the header has. Faulty rows are added to `faults` and left out.

    The header has the number 0 and rows without any cell do not count; as in a `spreadsheet`, it has the number 1 and they do, but are left out.
    content: that of the file in UTF-8, if it is in another encoding. What damages more than its row sets `faults.torn`.
    """
    name = other_encoding(file) if content is None else None
    if name:
        faults.torn = True
        faults.add(file, 0, f"the file is {name}", _UTF8)
        return
    csv.field_size_limit(FIELD_LIMIT)
    header: list[str] | None = None
    number = int(spreadsheet)
    with file.open("rb") if content is None else io.BytesIO(content) as opened:
        text = io.TextIOWrapper(opened, encoding="utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                unclosed = "end of data" in str(error)
                reason = "a quote opened here is never closed" if unclosed else f"a quote is misplaced ({error})"
                faults.torn = True
                faults.add(file, number, reason, "Close the quote; a quote within a quoted cell is doubled.")
                return
            if row is None:
                return
            if row and header is None:
                header = row
                _check_header(file, header, faults)
                yield number, header
            elif header is not None and (any(row) or (row and not spreadsheet)):
                checked = _checked(file, number, row, header, faults)
                if checked is not None:
                    yield number, checked
            number += bool(row) or spreadsheet


def _check_header(file: Path, header: list[str], faults: Faults) -> None:
    for name in sorted({name for name in header if name and header.count(name) > 1}):
        faults.torn = True
        faults.add(file, 0, f"the header names the column {name!r} twice", "Rename or remove one of the columns.")
    for name in header:
        if reason := _unreadable(name):
            faults.torn = True
            faults.add(file, 0, f"the header is not readable: {reason}", _UTF8)
            return


def _checked(file: Path, number: int, row: list[str], header: list[str], faults: Faults) -> list[str] | None:
    width = len(header)
    if len(row) < width or any(row[width:]):
        faults.add(file, number, f"has {len(row)} cells, but the header has {width}")
        return None
    whole = True
    for name, cell in zip(header, row, strict=False):
        if reason := _unreadable(cell):
            faults.add(file, number, reason, _UTF8, column=name)
            whole = False
    return row[:width] if whole else None


def _unreadable(cell: str) -> str | None:
    if "\0" in cell:
        return "found a NUL byte"
    return "not valid UTF-8" if not cell.isascii() and _ESCAPED.search(cell) else None
