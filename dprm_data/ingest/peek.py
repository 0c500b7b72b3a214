"""A look at a file of data before there is a recipe: its columns, how they are read, and its first row."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dprm_data.core.errors import SourceError
from dprm_data.ingest.columns import detect
from dprm_data.ingest.sources import PEEK, file_rows


def peek(path: Path, *, prompts: bool = False) -> tuple[list[str], str, dict[str, Any]]:
    """The columns of the first file's first rows, how they are read ("" where no shape fits), and the first row that can be read.
    prompts: they need no responses.

    Raises `SourceError` for what is no file of data, or has no row.
    """
    for name, rows in file_rows(path):
        head = [row for _, row in itertools.islice(rows, PEEK) if isinstance(row, Mapping)]
        if not head:
            continue
        columns = list(dict.fromkeys(column for row in head for column in row))
        try:
            shape = detect(columns, {}, None, name, prompts=prompts).description
        except SourceError:
            shape = ""
        return columns, shape, dict(head[0])
    raise SourceError(f"{path} has no row that can be read", hint="Give a file with at least one row.")
