"""Annotations: the table of who gave which item which label, read from the ledger. Makes no call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from dprm_data.core import tables
from dprm_data.elicit.elicitation import Outcome
from dprm_data.elicit.work import Work
from dprm_data.engine.replay import TaskState, advance, replay
from dprm_data.ingest.items import Item
from dprm_data.ledger.ledger import Ledger

_ROWS = 20_000  # in one batch


def annotation_batches(work: Work, ledger: Ledger, items: Iterable[Item]) -> Iterator[pa.RecordBatch]:
    """The annotations of all items in the items' order, as batches of `tables.ANNOTATIONS`.

    Tasks without an outcome, not even one so far, have no row. Labels are calibrated here if the elicitation is calibrated.
    """
    calibrations = _calibrations(work, ledger)
    rows: list[dict[str, Any]] = []
    for _, states in replay(work, ledger, items):
        rows += [_row(state, outcome, calibrations) for state in states if (outcome := state.so_far)]
        if len(rows) >= _ROWS:
            yield pa.RecordBatch.from_pylist(rows, schema=tables.ANNOTATIONS)
            rows = []
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schema=tables.ANNOTATIONS)


def _calibrations(work: Work, ledger: Ledger) -> dict[str, Any]:
    """What calibrates each model's answers, by the model's id."""
    states = advance(work.calibration_tasks(), ledger)
    outcomes = [(state.task, state.outcome) for state in states if state.outcome]
    return {
        juror.id: juror.elicitation.calibrate([each for each in outcomes if each[0].elicitation.model_id == juror.id])
        for juror in work.asked
    }


def _row(state: TaskState, outcome: Outcome, calibrations: Mapping[str, Any]) -> dict[str, Any]:
    task = state.task
    probs = task.elicitation.label_probs(task, outcome, calibrations[task.elicitation.model_id])
    label = int(probs.argmax()) if probs is not None else outcome.label
    last = state.replies[-1]
    costs = [
        reply.cost for reply in state.replies if reply.status == "answered"
    ]  # attempts that failed are not the annotation's
    return {
        "item_id": task.prefix.item.item_id,
        "annotator_id": task.annotator.id,
        "annotator_kind": "persona",
        "elicitation": task.elicitation.name,
        "label": None if label is None else task.elicitation.space.names[label],
        "probs": None if probs is None else probs.tolist(),
        "weight": task.annotator.weight,
        "replicate": task.replicate,
        "status": outcome.status,
        "reason": outcome.reason or None,
        "model": last.model or task.elicitation.model,
        "model_id": task.elicitation.model_id,
        "prompt_version": task.elicitation.template.version,
        "rationale": outcome.rationale or None,
        "call_key": state.calls[-1].key.hex(),
        "cost": None if None in costs else sum(cost for cost in costs if cost is not None),
        "estimated_calls": sum(reply.usage.estimated for reply in state.replies),
        "reasoning_tokens": sum(reply.usage.reasoning_tokens for reply in state.replies),
        "created_at": datetime.fromtimestamp(last.created_at, UTC),
    }
