"""The people behind a run's ratings: which pseudonym is whose, and what their table says of them.

`tables/ratings.parquet` has their ratings as annotations, `tables/raters.parquet` the people. The second stays in the run folder: names and attributes of
people are never published.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core.errors import InputError
from dprm_data.runs.folder import RunFolder

RATERS = pa.schema(
    [
        pa.field("annotator_id", pa.string()),
        pa.field("rater", pa.string()),  # as the table of ratings names them
        pa.field("attributes", pa.string()),  # JSON
    ]
)


def ratings_file(folder: RunFolder) -> Path:
    return folder.path / "tables" / "ratings.parquet"


def raters_file(folder: RunFolder) -> Path:
    return folder.path / "tables" / "raters.parquet"


def raters(folder: RunFolder) -> list[dict[str, Any]]:
    """The raters of a run: annotator_id, rater, and attributes as a dict. None where no ratings were read. Raises `InputError`."""
    path = raters_file(folder)
    if not path.is_file():
        return []
    try:
        rows = pq.read_table(path, schema=RATERS).to_pylist()
        return [row | {"attributes": orjson.loads(row["attributes"])} for row in rows]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read: {error}", hint="Delete it, and dprm run writes it again from the table of ratings."
        ) from error


def annotator_named(folder: RunFolder, name: str) -> str:
    """The annotator's id in the run, from that id or from the name that the table of ratings has."""
    return next((row["annotator_id"] for row in raters(folder) if row["rater"] == name), name)
