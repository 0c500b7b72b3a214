"""A large run, made without a model: any number of items, judged by the finished run's panel at random."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core import tables
from dprm_data.ingest.items import Item, ids_of, store_items
from dprm_data.pipeline import stages
from dprm_data.runs.run import Run

WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "that",
    "it",
    "was",
    "for",
    "on",
    "are",
    "with",
    "as",
    "at",
    "be",
    "this",
    "have",
    "from",
    "or",
    "had",
    "by",
    "but",
    "not",
    "what",
    "all",
    "were",
    "when",
    "we",
    "there",
]


def large_run(finished: Path, folder: Path, items: int, *, words: int = 150, seed: int = 0) -> Run:
    """A fitted run in `folder`, with the recipe and panel of a finished one. Every item's answer has so many words."""
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("*.lock", ".lock"))
    rng = np.random.default_rng(seed)
    run = Run.open(folder)
    store_items(_items(items, words), run.folder.table("items"))
    ids = pq.read_table(run.folder.table("items"), columns=["item_id"])["item_id"].to_pylist()
    people = [persona.id for persona in run.panel.personas]
    rows = len(ids) * len(people)
    mood = np.repeat(rng.beta(1, 1, len(ids)), len(people)) * run.space.K + rng.normal(0, 1.2, rows)
    labels = np.clip(mood.astype(np.int64), 0, run.space.K - 1)
    given = {
        "item_id": pa.array(np.repeat(np.array(ids), len(people))),
        "annotator_id": pa.array(people * len(ids)),
        "label": pa.array(run.space.names).take(pa.array(labels)),
        "created_at": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * rows, tables.ANNOTATIONS.field("created_at").type),
        "weight": pa.array(np.ones(rows)),
        "replicate": pa.array(np.zeros(rows, np.int32)),
        "cost": pa.array(np.full(rows, 1e-4)),
    }
    same = {"annotator_kind": "persona", "elicitation": "choice", "status": "ok", "model": "a model"}
    columns = [
        given[field.name]
        if field.name in given
        else pa.array([same[field.name]] * rows)
        if field.name in same
        else pa.nulls(rows, field.type)
        for field in tables.ANNOTATIONS
    ]
    pq.write_table(pa.table(columns, schema=tables.ANNOTATIONS), run.folder.table("annotations"))
    stages.fit(run)
    return run


def _items(count: int, words: int) -> Iterator[Item]:
    for i in range(count):
        prompt = ({"role": "user", "content": f"Question {i // 2}: {_text(i // 2, 30)}"},)
        completion = ({"role": "assistant", "content": f"Answer {i}: {_text(i, words)}"},)
        item_id, group_id = ids_of(prompt, completion)  # type: ignore[arg-type]
        yield Item(item_id, prompt, completion, group_id, None, f"made:{i}", {"topic": "abcde"[i % 5]})  # type: ignore[arg-type]


def _text(seed: int, words: int) -> str:
    return " ".join(WORDS[(seed * 7 + k * k) % len(WORDS)] for k in range(words))
