"""People's answers about pairs, as comparisons of the run: the fit joins them with everything else.

They are in the ledger of answers under the key of the pair (`shown_pairs`), and so change and are withdrawn as answers about items do.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.errors import ReviewError
from dprm_data.core.tables import COMPARISONS, conformed, write_parquet
from dprm_data.review.answer_ledger import ledger_file
from dprm_data.review.human_annotations import has_answers, latest_submitted
from dprm_data.review.shown_pairs import ShownPair
from dprm_data.runs.comparison_table import people_file, write_comparisons
from dprm_data.runs.folder import RunFolder


def compared_answers(folder: RunFolder) -> pa.Table:
    """Each person's latest submitted answer about each pair in each order, as comparisons (`tables.COMPARISONS`)."""
    given = latest_submitted(folder, pairs=True).to_pylist() if has_answers(folder) else []
    if not given:
        return COMPARISONS.empty_table()
    items = pq.read_table(folder.needs("items"), columns=["item_id", "group_id"])
    group = dict(zip(items["item_id"].to_pylist(), items["group_id"].to_pylist(), strict=True))
    rows = [_comparison(folder, answer, pair, group) for answer in given if (pair := ShownPair.of(answer["item_id"]))]
    return pa.Table.from_pylist([row for row in rows if row["group_id"] is not None], schema=COMPARISONS)


def _comparison(folder: RunFolder, answer: dict[str, Any], pair: ShownPair, group: dict[str, str]) -> dict[str, Any]:
    at = pair.space.find(answer["label"] or "")
    if at is None:
        raise ReviewError(
            f"{ledger_file(folder)}: an answer about the pair {pair.key} is {answer['label']!r}",
            hint=f"Allowed: {', '.join(pair.space.names)}. The file was edited: restore it from a copy, or remove that line.",
        )
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
    path, given, answers = folder.table("comparisons"), people_file(folder), compared_answers(folder)
    there = pq.read_table(folder.needs("comparisons")) if path.is_file() else COMPARISONS.empty_table()
    by_people = pc.equal(there["annotator_kind"], "human")
    if "pulled" in folder.read_manifest() and not given.is_file():
        if not answers.num_rows:
            return int(there.num_rows)
        came = conformed(there.filter(by_people), COMPARISONS)
        write_parquet(given, COMPARISONS, [came])  # before the first answers: those that came with the dataset
    models = conformed(there.filter(pc.invert(by_people)), COMPARISONS)
    return write_comparisons(folder, [models] if models.num_rows else None, answers)
