"""Faults: everything that is wrong with a table, reported at once, so that its owner corrects it once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dprm_data.core.arrays import Ints
from dprm_data.core.errors import InputError

SHOWN = 20


@dataclass(frozen=True)
class Places:
    """Where the rows of a table stood before some were left out, or before several columns of labels became one.

    rows (R,): their numbers, from 0; `columns[cells[r]]` is the column in which row r's label stood.
    """

    rows: Ints
    cells: Ints | None = None
    columns: Sequence[str] = ()

    def take(self, kept: Ints) -> Places:
        """The places of these rows only."""
        return Places(self.rows[kept], None if self.cells is None else self.cells[kept], self.columns)

    def of(self, row: int, column: str) -> tuple[int, str]:
        """The number and column of a cell of labels in this row, as they were."""
        return int(self.rows[row]), column if self.cells is None else self.columns[int(self.cells[row])]


class Faults:
    """Collects faults by file and row. `error` is what they are raised as; `places`: where a table's rows stood in the file.

    rows: the rows of the table that have faults. torn: whether a fault damages more than its row.
    """

    def __init__(self, error: type[InputError] = InputError, places: Places | None = None) -> None:
        self.count = 0
        self.rows: list[Ints] = []
        self.torn = False
        self._error = error
        self._places = places
        self._files: list[Path | str] = []
        self._found: list[tuple[int, int, str, str | None]] = []  # place of the file, row, text, hint

    def add(self, file: Path | str, row: int, text: str, hint: str | None = None, *, column: str | None = None) -> None:
        """A fault in a row (0: of the whole file), or in one cell of it."""
        if file not in self._files:
            self._files.append(file)
        where = f"{file}: row {row}" if row else str(file)
        where += f", column {column!r}" if column is not None else ""
        self._found.append((self._files.index(file), row, f"{where}: {text}", hint))
        self.count += 1

    def add_rows(
        self,
        file: Path | str,
        rows: Ints,
        column: str,
        describe: Callable[[int], tuple[str, str | None]],
        *,
        of_label: bool = False,
    ) -> None:
        """The same kind of fault in these rows (numbered from 0), of which there may be millions: the first are described.

        of_label: the faulty cell is the label itself; of a column that holds for several labels of a row, a fault counts once.
        """
        self.rows.append(rows)
        if self._places is not None and not of_label:
            rows = rows[np.sort(np.unique(self._places.rows[rows], return_index=True)[1])]
        for row in rows[:SHOWN].tolist():
            number, where = (row, column) if self._places is None else self._places.of(row, column)
            self.add(file, number + 1, *describe(row), column=where if of_label else column)
        self.count += max(0, len(rows) - SHOWN)

    def first(self, shown: int) -> list[str]:
        """The texts of the first faults, in the order of files and rows."""
        return [text for _, _, text, _ in sorted(self._found, key=lambda fault: fault[:2])[:shown]]

    def by_row(self) -> list[tuple[int, str]]:
        """The row and the text of each fault that was added individually, in the order of rows."""
        return [(row, text) for _, row, text, _ in sorted(self._found, key=lambda fault: fault[:2])]

    def raise_any(self, hint: str | None = None) -> None:
        """Raise what was found, in the order of files and rows; do nothing if nothing was. hint: what else may be done."""
        if not self.count:
            return
        found = sorted(self._found, key=lambda fault: fault[:2])[:SHOWN]
        hints = [*(of_fault for *_, of_fault in found), hint]
        hint = " ".join(dict.fromkeys(each for each in hints if each)) or None
        if self.count == 1:
            raise self._error(found[0][2], hint=hint)
        shown = f" (the first {len(found)} are shown)" if self.count > len(found) else ""
        lines = "".join(f"\n  {text}" for _, _, text, _ in found)
        raise self._error(f"{self.count:,} faults, nothing was read{shown}:{lines}", hint=hint)


def rows_where(mask: np.ndarray) -> Ints:
    """The numbers of the rows where the mask holds."""
    return np.flatnonzero(mask).astype(np.int64)
