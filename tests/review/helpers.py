"""Runs for tests of the review: made of tables, as a pulled dataset is, so that every vote is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dprm_data.core.tables import ANNOTATIONS, PERSONAS, write_parquet
from dprm_data.ingest.items import Item, ids_of, store_items
from dprm_data.labels.space import LabelSpace
from dprm_data.panel.personas import panel_table
from dprm_data.pipeline import stages
from dprm_data.recipe.recipe import Recipe
from dprm_data.review.human_annotations import SUBMITTED, Answer, merge, store
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.run import Run

NOBODY = -1  # a persona without a label for an item
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def items(count: int) -> list[Item]:
    made = []
    for i in range(count):
        prompt: Any = ({"role": "user", "content": f"Question {i // 2}: what is {i // 2} plus one?"},)
        completion: Any = ({"role": "assistant", "content": f"Answer {i}: <b>{i}</b> & *more*"},)
        item_id, group_id = ids_of(prompt, completion)
        made.append(Item(item_id, prompt, completion, group_id, None, f"pairs.jsonl:{i + 1}", {}))
    return made


def make_run(folder: Path, labels: NDArray[Any], *, space: str | int = "hh6", **recipe: Any) -> Run:
    """A fitted run: `labels` (items, personas) say which label each persona gave, NOBODY for a refusal."""
    N, A = labels.shape
    found = LabelSpace.load(space)
    personas = [{"id": f"p{a}", "name": f"Persona {a}", "description": f"You are number {a}."} for a in range(A)]
    content = {
        "name": "review-test",
        "labels": space,
        "panel": {"use": {"name": "test", "personas": personas}},
        "provider": {"name": "openai", "model": "gpt-4o-mini"},
        "source": {"path": "pairs.jsonl"},
    }
    run = Run(Recipe.of(content | recipe), RunFolder(folder))
    run.freeze()
    store_items(iter(items(N)), run.folder.table("items"))
    write_parquet(
        run.folder.table("annotations"),
        ANNOTATIONS,
        [annotation_table(labels, found.names, [one.item_id for one in items(N)])],
    )
    write_parquet(run.folder.table("personas"), PERSONAS, [panel_table(run.panel)])
    run.folder.update_manifest(pulled={"repo": "made/by-a-test"})
    run = Run.open(folder)
    stages.fit(run)
    return run


def annotation_table(labels: NDArray[Any], names: Sequence[str], item_ids: Sequence[str]) -> pa.Table:
    rows = []
    for i, item_id in enumerate(item_ids):
        for a, label in enumerate(labels[i].tolist()):
            rows.append(
                dict.fromkeys(ANNOTATIONS.names)
                | {
                    "item_id": item_id,
                    "annotator_id": f"p{a}",
                    "annotator_kind": "persona",
                    "elicitation": "choice",
                    "label": None if label == NOBODY else names[label],
                    "weight": 1.0,
                    "replicate": 0,
                    "status": "refused" if label == NOBODY else "ok",
                    "reason": "I cannot say." if label == NOBODY else None,
                    "model": "gpt-4o-mini-2024-07-18",
                    "rationale": None if label == NOBODY else "Because | of *this*\n<script>alert(1)</script>",
                    "cost": 0.001,
                    "created_at": AT,
                }
            )
    return pa.Table.from_pylist(rows, schema=ANNOTATIONS)


def random_labels(N: int, A: int, K: int, seed: int = 0) -> NDArray[Any]:
    """Personas that agree more or less: every item has a favourite."""
    rng = np.random.default_rng(seed)
    favourite = rng.integers(K, size=(N, 1))
    keeps = rng.random((N, A)) < rng.uniform(0.2, 1.0, size=(N, 1))
    return np.where(keeps, favourite, rng.integers(K, size=(N, A)))


def answers_from(run: Run, people: NDArray[Any], *, origin: str = "file:people.csv", first: int = 0) -> None:
    """Bring in `people` (items, persons): which label each person gave, NOBODY for none."""
    names, made = run.space.names, items(len(people))
    store(
        run.folder,
        origin,
        [
            Answer(made[i].item_id, f"person-{first + p:012d}", names[label], SUBMITTED, None, AT)
            for i, row in enumerate(people.tolist())
            for p, label in enumerate(row)
            if label != NOBODY
        ],
    )
    merge(run.folder)
