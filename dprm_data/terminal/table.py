"""Tables on the terminal: without rules, numbers aligned to the right."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from dprm_data.core.text import visible

_PADDING = (0, 2, 0, 0)


class TextTable(Table):
    """A table whose cells are texts, made visible before their width is measured."""

    def add_row(self, *cells: RenderableType | None, **settings: Any) -> None:
        super().add_row(*map(_shown, cells), **settings)


def _shown(cell: RenderableType | None) -> RenderableType | None:
    if isinstance(cell, Text):
        cell.plain = visible(cell.plain)
    return Text(visible(cell)) if isinstance(cell, str) else cell


def table(*columns: str, left: Collection[str] = ()) -> TextTable:
    """A table with these headings; the first column and those named in `left` are aligned to the left, the others to the right."""
    made = TextTable(box=None, header_style="bold", padding=_PADDING)
    for i, name in enumerate(columns):
        made.add_column(Text(visible(name)), justify="left" if i == 0 or name in left else "right")
    return made


def facts() -> TextTable:
    """A table without headings, for rows of a name and its value."""
    return TextTable(box=None, show_header=False, padding=_PADDING)
