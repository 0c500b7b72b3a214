"""Faults: everything that is wrong with a table, reported at once, so that its owner corrects it once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from dprm_data.core.arrays import Ints
from dprm_data.core.errors import InputError

SHOWN = 20


class Faults:
    """Collects faults by file and row. `error` is what they are raised as."""

    def __init__(self, error: type[InputError] = InputError) -> None:
        self.count = 0
        self._error = error
        self._files: list[Path] = []
        self._found: list[tuple[int, int, str, str | None]] = []  # place of the file, row, text, hint

    def add(self, file: Path, row: int, text: str, hint: str | None = None, *, column: str | None = None) -> None:
        """A fault in a row (0: of the whole file), or in one cell of it."""
        if file not in self._files:
            self._files.append(file)
        where = f"{file}: row {row}" if row else str(file)
        where += f", column {column!r}" if column is not None else ""
        self._found.append((self._files.index(file), row, f"{where}: {text}", hint))
        self.count += 1

    def add_rows(self, file: Path, rows: Ints, column: str, describe: Callable[[int], tuple[str, str | None]]) -> None:
        """The same kind of fault in these rows (numbered from 0), of which there may be millions: the first are described."""
        for row in rows[:SHOWN].tolist():
            self.add(file, row + 1, *describe(row), column=column)
        self.count += max(0, len(rows) - SHOWN)

    def raise_any(self) -> None:
        """Raise what was found, in the order of files and rows; do nothing if nothing was."""
        if not self.count:
            return
        found = sorted(self._found, key=lambda fault: fault[:2])[:SHOWN]
        hint = " ".join(dict.fromkeys(hint for *_, hint in found if hint)) or None
        if self.count == 1:
            raise self._error(found[0][2], hint=hint)
        shown = f" (the first {len(found)} are shown)" if self.count > len(found) else ""
        lines = "".join(f"\n  {text}" for _, _, text, _ in found)
        raise self._error(f"{self.count:,} faults, nothing was read{shown}:{lines}", hint=hint)


def rows_where(mask: np.ndarray) -> Ints:
    """The numbers of the rows where the mask holds."""
    return np.flatnonzero(mask).astype(np.int64)
