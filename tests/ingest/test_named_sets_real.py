"""Real votes of two named sets, written in their published forms: what is read is what was written. Needs ../shared/data; skipped without it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dprm_data.ingest.named_sets.collection import load_named
from tests.helpers import ROOT
from tests.ingest.set_samples import write_csv, write_lines

DATA = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")


@needs_data
def test_convabuse(tmp_path: Path) -> None:
    rows = pq.read_table(DATA / "convabuse.parquet").to_pylist()  # label: 0 (very strongly abusive) … 4 (not abusive)
    names = ("prev_agent", "prev_user", "agent")
    published = []
    for row in rows:
        said = dict.fromkeys(names, "_")
        turns = re.split(r"(?:^|\n)(?:AGENT|USER): ", row["context"])[1:]
        said.update(zip(names[len(names) - len(turns) :], turns, strict=True))
        marks = {f"is_abuse.{degree}": int(degree == row["label"] - 3) for degree in (1, 0, -1, -2, -3)}
        user = row["response"].removeprefix("USER: ")
        published.append({"annotator_id": row["rater_id"], **said, "user": user, **marks})
    write_csv(tmp_path / "ConvAbuseEMNLPfull.csv", published)
    loaded = load_named("convabuse", tmp_path)
    names_of = loaded.labels.names
    written = Counter((row["response"], row["rater_id"], names_of[row["label"]]) for row in rows)
    found = loaded.votes.select(["response", "rater_id", "label"]).to_pylist()
    assert Counter(tuple(row.values()) for row in found) == written and not loaded.notes


@needs_data
def test_chaosnli(tmp_path: Path) -> None:
    rows = pq.read_table(DATA / "chaosnli.parquet").to_pylist()  # label: contradiction, neutral, entailment
    counts = Counter((row["item_id"], row["label"]) for row in rows)
    items = {row["item_id"]: row for row in rows}
    for subset in ("snli", "mnli_m"):
        published = [
            {
                "uid": item,
                "label_count": [counts[item, label] for label in (2, 1, 0)],
                "example": {"premise": row["context"], "hypothesis": row["response"]},
            }
            for item, row in items.items()
            if row["subset"] == subset
        ]
        write_lines(tmp_path / f"chaosNLI_{subset}.jsonl", published)
    loaded = load_named("chaosnli", tmp_path)
    found = loaded.votes.to_pylist()
    assert {(row["item_id"], loaded.labels.names.index(row["label"])): row["weight"] for row in found} == dict(counts)
