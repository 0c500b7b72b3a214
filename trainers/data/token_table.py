"""Token ids of many rows in one array of int32, which processes on one machine share.

A list of lists of Python integers takes 8 bytes a token for the pointer and up to 32 for the integer, in every process.
Here a token takes 4 bytes; kept in files that are mapped into memory, all processes read the same pages.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from dprm_data.core.tables import whole_file

Row = NDArray[np.int32]
TokenRows: TypeAlias = Sequence[Sequence[int] | Row]


class TokenTable(Sequence[Row]):
    """N rows of token ids. Row i is `ids[starts[i] : starts[i + 1]]`, a view."""

    def __init__(self, ids: Row, starts: NDArray[np.int64]) -> None:
        """ids: (T,) of all rows, one after the other. starts: (N + 1,)."""
        self.ids, self.starts = ids, starts

    @classmethod
    def of(cls, rows: Iterable[Sequence[int]]) -> TokenTable:
        """The table of rows, which are taken one at a time."""
        ids, starts = array("i"), array("q", [0])
        for row in rows:
            ids.extend(row)
            starts.append(len(ids))
        return cls(np.frombuffer(ids, np.int32) if ids else np.zeros(0, np.int32), np.frombuffer(starts, np.int64))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        i = range(len(self))[at]  # also of negative places; raises IndexError beyond the last
        return self.ids[self.starts[i] : self.starts[i + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per row, (N,)."""
        return np.diff(self.starts)

    def save(self, folder: Path, about: dict[str, Any]) -> None:
        """Write the table and what is to be known about it. `about.json` is written last: with it the table is whole."""
        for name, content in (("ids", self.ids), ("starts", self.starts)):
            with whole_file(folder / f"{name}.npy") as temporary, temporary.open("wb") as out:
                np.save(out, content)
        with whole_file(folder / "about.json") as temporary:
            temporary.write_text(json.dumps(about), encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> tuple[TokenTable, dict[str, Any]] | None:
        """A saved table, mapped into memory, and what is known about it; None if there is no whole one."""
        with contextlib.suppress(OSError, ValueError):
            about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
            ids, starts = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("ids", "starts"))
            return cls(ids, np.asarray(starts)), about
        return None


def fingerprint(*parts: Any) -> str:
    """A hash of what determines tokens: JSON values, long ones hashed as they are written."""
    digest = hashlib.sha256()
    for part in parts:
        for piece in json.JSONEncoder(sort_keys=True).iterencode(part):
            digest.update(piece.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:32]
