"""The pairs of responses that models are asked to compare: a table like that of the items, and their answers as comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core.errors import InputError
from dprm_data.core.tables import COMPARISONS, ITEMS, damage
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


def comparison_batches(
    annotations: Iterable[pa.RecordBatch], pairs: Path, asked: Elicitation
) -> Iterator[pa.RecordBatch]:
    """Annotations of pairs as comparisons (`tables.COMPARISONS`)."""
    table = pq.read_table(pairs, columns=["item_id", "group_id", "metadata"])
    about = {
        id_: (group, orjson.loads(metadata))
        for id_, group, metadata in zip(*(column.to_pylist() for column in table.columns), strict=True)
    }
    steps = {name: int(reward) for name, reward in zip(asked.space.names, asked.space.rewards, strict=True)}
    for batch in annotations:
        yield pa.RecordBatch.from_pylist(
            [_row(row, *about[row["item_id"]], steps) for row in batch.to_pylist()], schema=COMPARISONS
        )


def _row(row: dict[str, Any], group: str, pair: dict[str, Any], steps: dict[str, int]) -> dict[str, Any]:
    return {name: row[name] for name in _ALIKE} | {
        "group_id": group,
        "first_item_id": pair["first"],
        "second_item_id": pair["second"],
        "preference": steps.get(row["label"]),
        "steps": len(steps),
        "ordered": True,
    }
