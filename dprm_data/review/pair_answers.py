"""People's answers about pairs, as comparisons of the run: the fit joins them with everything else.

They are in the ledger of answers under the key of the pair (`shown_pairs`), and so change and are withdrawn as answers about items do.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.tables import COMPARISONS, conformed, write_parquet
from dprm_data.review.human_annotations import latest_submitted
from dprm_data.review.shown_pairs import ShownPair
from dprm_data.runs.comparison_table import people_file, write_comparisons
from dprm_data.runs.folder import RunFolder


def compared_answers(folder: RunFolder) -> pa.Table:
    """Each person's latest submitted answer about each pair in each order, as comparisons (`tables.COMPARISONS`)."""
    given = latest_submitted(folder, pairs=True).to_pylist()
    if not given:
        return COMPARISONS.empty_table()
    items = pq.read_table(folder.needs("items"), columns=["item_id", "group_id"])
    group = dict(zip(items["item_id"].to_pylist(), items["group_id"].to_pylist(), strict=True))
    rows = [_comparison(answer, pair, group) for answer in given if (pair := ShownPair.of(answer["item_id"]))]
    return pa.Table.from_pylist([row for row in rows if row["group_id"] is not None], schema=COMPARISONS)


def _comparison(answer: dict[str, Any], pair: ShownPair, group: dict[str, str]) -> dict[str, Any]:
    at = pair.space.names.index(answer["label"])
    same = ("annotator_id", "annotator_kind", "weight", "replicate", "status", "rationale", "cost", "created_at")
    return {name: answer[name] for name in same} | {
        "group_id": group.get(pair.first) if pair.second in group else None,
        "first_item_id": pair.first,
        "second_item_id": pair.second,
        "preference": int(pair.space.rewards[at]),
        "steps": pair.steps,
        "ordered": True,
    }


def merge_comparisons(folder: RunFolder) -> int:
    """Rewrite the run's comparisons with people's current answers. Returns the number of rows."""
    path, given = folder.table("comparisons"), people_file(folder)
    if not path.is_file():
        return write_comparisons(folder, None, compared_answers(folder))
    table = conformed(pq.read_table(folder.needs("comparisons")), COMPARISONS)
    by_people = pc.equal(table["annotator_kind"], "human")
    if not given.is_file() and "pulled" in folder.read_manifest():
        write_parquet(given, COMPARISONS, [table.filter(by_people)])  # those that came with the dataset
    models = table.filter(pc.invert(by_people))
    return write_comparisons(folder, [models] if models.num_rows else None, compared_answers(folder))
