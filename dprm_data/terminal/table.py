"""Tables on the terminal: without rules, numbers aligned to the right."""

from __future__ import annotations

from collections.abc import Collection

from rich.table import Table

_PADDING = (0, 2, 0, 0)


def table(*columns: str, left: Collection[str] = ()) -> Table:
    """A table with these headings; the first column and those named in `left` are aligned to the left, the others to the right."""
    made = Table(box=None, header_style="bold", padding=_PADDING)
    for i, name in enumerate(columns):
        made.add_column(name, justify="left" if i == 0 or name in left else "right")
    return made


def facts() -> Table:
    """A table without headings, for rows of a name and its value."""
    return Table(box=None, show_header=False, padding=_PADDING)
