"""Invented people of two genders who rate responses: tables of votes, runs, and trainings with heads of groups."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core.tables import DISTRIBUTIONS
from dprm_data.ingest.vote_tables import read_votes
from dprm_data.labels.space import LabelSpace
from tests.trainers import tiny

SPACE = LabelSpace.load(5)
PEOPLE = {f"person {i}": ("female", "male")[i % 2] for i in range(20)}


def votes(items: int = 160, each: int = 8, apart: float = 1.5, seed: int = 0) -> list[dict[str, Any]]:
    """Good responses are liked by all. Women like what ends in red, men what ends in blue: by `apart` levels from 1 to 5."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(items):
        good, colour = rng.choice(["good", "bad"]), rng.choice(["red", "blue"])
        for who in rng.choice(sorted(PEOPLE), each, replace=False):
            likes = (colour == "red") == (PEOPLE[who] == "female")
            level = 3 + (0.7 if good == "good" else -0.7) + (apart if likes else -apart) / 2
            label = int(np.clip(np.rint(rng.normal(level, 0.7)), 1, 5))
            prompt = f"what is {tiny.WORDS[i % len(tiny.WORDS)]} {tiny.WORDS[i // len(tiny.WORDS)]}"
            rows.append(
                {
                    "item_id": f"item-{i}",
                    "prompt": prompt,
                    "response": f"{good} {good} {colour} {colour} {colour}",
                    "rater": who,
                    "label": label,
                }
                | {"gender": PEOPLE[who]}
            )
    return rows


def write_votes(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_distributions(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Everyone's shares of the labels, with the texts: what a user joins from a fit and the items."""
    found = read_votes(pa.Table.from_pylist(rows), SPACE, base=1)
    texts = {row["item_id"]: row for row in rows}
    content = [
        {
            "item_id": item,
            "group_id": texts[item]["prompt"],
            "prompt": [{"role": "user", "content": texts[item]["prompt"]}],
            "completion": [{"role": "assistant", "content": texts[item]["response"]}],
            "label_distribution": ((count + 0.1) / (count + 0.1).sum()).tolist(),
            "evidence": float(count.sum()),
            "votes": count.tolist(),
        }
        for item, count in zip(found.item_ids, found.counts, strict=True)
    ]
    schema = pa.schema([DISTRIBUTIONS.field(name) for name in DISTRIBUTIONS.names if name in content[0]])
    pq.write_table(pa.Table.from_pylist(content, schema=schema), path)
    return path


def write_all(folder: Path, **kind: Any) -> dict[str, Any]:
    """Table, distributions and base model in a folder; the settings that name them."""
    rows = votes(**kind)
    tiny.base_model(folder / "base")
    return {
        "data": str(write_distributions(folder / "data.parquet", rows)),
        "votes": {"path": str(write_votes(folder / "votes.csv", rows)), "base": 1},
        "model": str(folder / "base"),
        "labels": 5,
    }
