"""What a table of votes says about its raters: a column of age, country, …"""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc

from dprm_data.core.errors import VotesError
from dprm_data.ingest.faults import Faults
from dprm_data.ingest.table_files import Cells
from dprm_data.ingest.vote_columns import as_text
from dprm_data.ingest.vote_fields import column_of
from dprm_data.ingest.vote_tables import VoteSettings, mapping_of, open_votes


def rater_attribute(votes: Any, name: str, settings: VoteSettings) -> dict[str, Any]:
    """The first value of a column for every rater of a table of votes. votes, settings: as for `read_votes`.

    Raises `VotesError` if there is no such column, or none of raters.
    """
    table = open_votes(votes, settings)
    if settings.get("rater_columns"):
        raise VotesError(
            f"{table.source}: with a column per rater, no column says anything about the raters",
            hint="Groups need a row per vote, or per rater.",
        )
    rater = mapping_of(settings).get("annotator_id") or column_of("annotator_id", table.names, {})
    by_row = rater is None and bool(settings.get("item_columns"))  # as `read_votes` names them
    wanted = [name] if by_row else list(dict.fromkeys([rater or "annotator_id", name]))
    lacking = next((column for column in wanted if column not in table.names), None)
    if lacking:
        raise VotesError(f"{table.source}: no column {lacking!r}", hint=f"Columns: {', '.join(table.names)}.")
    skipped = Faults(VotesError) if settings.get("bad_rows") == "skip" else None
    read, rows = table.read(wanted, Cells(text=wanted[:-1]), skipped)
    values = read[name].to_pylist()
    if by_row:
        numbers = range(read.num_rows) if rows is None else rows.tolist()
        people = [f"row {number + 1}" for number in numbers]
    else:
        people = pc.fill_null(as_text(read[wanted[0]], wanted[0], table.source), "").to_pylist()
    found: dict[str, Any] = {}
    for who, value in zip(people, values, strict=True):
        if value is not None and value == value:  # not NaN
            found.setdefault(who, value)
    return found
