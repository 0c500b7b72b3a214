"""The trial: a few items, and every answer as it came beside what was read from it.

A trial is a run of its own in the folder `try` inside the run's, as a pilot is, but asks exactly what the run will ask. Its calls are in the run's
ledger: the run does not pay for them again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.parquet as pq

from dprm_data.core.errors import ProviderUnusable
from dprm_data.elicit.elicitation import Outcome
from dprm_data.engine.plan import Plan
from dprm_data.engine.replay import TaskState, replay
from dprm_data.engine.unusable import Unusable
from dprm_data.ingest.items import Item, load_items
from dprm_data.pipeline import stages
from dprm_data.pipeline.announcement import announce
from dprm_data.pipeline.pilot import Projection, check_can_ask, derived, projected, spending_limit, store_sample
from dprm_data.runs.run import Run

FOLDER = "try"


@dataclass(frozen=True)
class RawAnswer:
    """What one annotator answered about an item. texts: every answer as it came, with those that were asked for again; label, probs (by label):
    what was read from it; reason: why nothing was; cost: dollars."""

    annotator_id: str
    model_id: str
    replicate: int
    texts: tuple[str, ...]
    status: str
    label: str | None
    probs: dict[str, float] | None
    reason: str
    cost: float | None


@dataclass(frozen=True)
class TriedItem:
    """An item with its last turns, and its answers."""

    item_id: str
    prompt: str
    response: str
    answers: tuple[RawAnswer, ...]


@dataclass(frozen=True)
class Trial:
    """What a trial found. annotations: those that were begun; ok: with a label; cost: dollars of the finished ones; projection: of the whole run, None where nothing was answered; advice: what to change where
    answers gave no label, the most frequent cause first; stopped: what ended it early, in words."""

    folder: str
    items: tuple[TriedItem, ...]
    annotations: int
    ok: int
    cost: float | None
    projection: Projection | None
    advice: tuple[str, ...]
    stopped: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def prepare_trial(run: Run, *, items: int = 5, seed: int = 0) -> tuple[Run, Plan]:
    """The trial of a run whose items are stored (`stages.prepare`), and what it will cost. Makes no call. Raises `InputError` for a run without a model, or one that was pulled."""
    check_can_ask(run, "a trial", FOLDER)
    trial = derived(run, FOLDER)
    store_sample(run, trial, items, seed)
    announce(run)
    return trial, stages.estimate(trial)


def run_trial(run: Run, trial: Run, *, max_cost: float | None = None, retry_failed: bool = False) -> Trial:
    """Ask what is missing of the trial, and show what came. A provider that cannot be used ends it early (`Trial.stopped`).

    Raises what else `stages.annotate` raises. All answers are kept.
    """
    stopped = None
    with trial.at_work():
        try:
            stages.annotate(trial, max_cost=spending_limit(run, max_cost), retry_failed=retry_failed)
        except ProviderUnusable as error:
            stopped = str(error)
        stages.collect(trial)
        return _found(run, trial, stopped)


def _found(run: Run, trial: Run, stopped: str | None) -> Trial:
    table = pq.read_table(trial.folder.needs("annotations"))
    read = {_place(row): row for row in table.to_pylist()}
    items, unread = [], []
    with trial.ledger(readonly=True) as ledger:
        for item, states in replay(trial.work, ledger, load_items(trial.folder.needs("items"))):
            asked = [state for state in states if state.replies]
            items.append(_tried(item, [(state, read.get(_place(_names(state)))) for state in asked], run.space.names))
            unread += [state for state in asked if not (isinstance(state.step, Outcome) and state.step.status == "ok")]
    costs = [row["cost"] for row in read.values()]
    return Trial(
        folder=str(trial.folder),
        items=tuple(items),
        annotations=sum(len(item.answers) for item in items),
        ok=sum(row["status"] == "ok" for row in read.values()),
        cost=None if None in costs else sum(costs),
        projection=projected(run, trial, table) if table.num_rows else None,
        advice=_advice(unread),
        stopped=stopped,
    )


def _names(state: TaskState) -> dict[str, Any]:
    task = state.task
    asked = task.elicitation
    return {
        "item_id": task.prefix.item.item_id,
        "annotator_id": task.annotator.id,
        "elicitation": asked.name,
        "model_id": asked.model_id,
        "replicate": task.replicate,
    }


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    """Which annotation a row is."""
    return tuple(row[name] for name in ("item_id", "annotator_id", "elicitation", "model_id", "replicate"))


def _tried(item: Item, asked: list[tuple[TaskState, dict[str, Any] | None]], labels: list[str]) -> TriedItem:
    answers = []
    for state, row in asked:
        probs = row and row["probs"]
        answers.append(
            RawAnswer(
                annotator_id=state.task.annotator.id,
                model_id=state.task.elicitation.model_id,
                replicate=state.task.replicate,
                texts=tuple(reply.text for reply in state.replies if reply.status == "answered"),
                status=row["status"] if row else "unfinished",
                label=row["label"] if row else None,
                probs=dict(zip(labels, probs, strict=True)) if probs else None,
                reason=(row and row["reason"]) or "",
                cost=row["cost"] if row else None,
            )
        )
    prompt = item.prompt[-1]["content"] if item.prompt else ""
    return TriedItem(item.item_id, prompt, item.completion[-1]["content"], tuple(answers))


def _advice(unread: list[TaskState]) -> tuple[str, ...]:
    counted: dict[str, int] = {}
    for state in unread:
        said = Unusable.last_of(state).advice
        counted[said] = counted.get(said, 0) + 1
    return tuple(sorted(counted, key=lambda said: -counted[said]))
