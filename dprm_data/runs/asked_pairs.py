"""The pairs (or sets) of responses that models are asked to compare: a table like that of the items, and their answers as comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core.errors import InputError
from dprm_data.core.tables import COMPARISONS, ITEMS, damage
from dprm_data.elicit.comparing import Comparing
from dprm_data.elicit.elicitation import Elicitation
from dprm_data.runs.folder import RunFolder

_ALIKE = [  # columns of annotations and comparisons
    *("annotator_id", "annotator_kind", "weight", "replicate", "status", "reason", "model", "model_id"),
    *("prompt_version", "rationale", "call_key", "cost", "estimated_calls", "reasoning_tokens", "created_at"),
]


def pairs_path(folder: RunFolder) -> Path:
    return folder.path / "tables" / "pairs.parquet"


def pairs_file(folder: RunFolder) -> Path:
    """The table of pairs. Raises `InputError` if it is not there, or damaged."""
    path = pairs_path(folder)
    fault = damage(path, ITEMS) if path.is_file() else "it is not there"
    if fault:
        raise InputError(f"{path}: {fault}", hint="dprm run writes it again, from the items: nothing is paid twice.")
    return path


def comparing(asked: type[Elicitation]) -> type[Comparing]:
    """The elicitation of a run that compares."""
    assert issubclass(asked, Comparing)
    return asked


def comparison_batches(
    annotations: Iterable[pa.RecordBatch], pairs: Path, asked: Elicitation
) -> Iterator[pa.RecordBatch]:
    """Annotations of pairs or sets as comparisons (`tables.COMPARISONS`)."""
    table = pq.read_table(pairs, columns=["item_id", "group_id", "metadata"])
    about = {
        id_: (group, orjson.loads(metadata))
        for id_, group, metadata in zip(*(column.to_pylist() for column in table.columns), strict=True)
    }
    for batch in annotations:
        rows = (
            row for each in batch.to_pylist() for row in _rows(each, *about[each["item_id"]], cast("Comparing", asked))
        )
        yield pa.RecordBatch.from_pylist(list(rows), schema=COMPARISONS)


def _rows(row: dict[str, Any], group: str, shown: dict[str, Any], asked: Comparing) -> Iterator[dict[str, Any]]:
    """The comparisons that follow from one annotation. What it cost is with the first."""
    given = {name: row[name] for name in _ALIKE} | {"group_id": group, "steps": asked.steps, "ordered": True}
    for place, (first, second, preference) in enumerate(asked.comparisons(shown, row["label"])):
        yield given | {
            "first_item_id": first,
            "second_item_id": second,
            "preference": preference,
            "step_probs": row["probs"],
            "set_id": row["item_id"] if asked.several else None,
            "place": place if asked.several else None,
        }
        given |= {"cost": given["cost"] and 0.0, "estimated_calls": 0, "reasoning_tokens": 0}
