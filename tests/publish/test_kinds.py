"""All kinds of runs can be reported and published: stated distributions, long scales, a single annotator, nothing but failures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dprm_data import run
from dprm_data.pipeline import stages
from dprm_data.publish.publication import prepared
from dprm_data.publish.report.page import report
from dprm_data.runs.run import Run
from tests.helpers import PAIRS
from tests.servers.llm import LLMServer

KINDS: dict[str, dict[str, Any]] = {
    "stated distributions": {"elicitation": "distribution"},
    "a prior beside the votes": {"prior": {"strength": 3}},
    "twenty levels": {"labels": 20},
    "few personas where all is clear": {"panel": "paper", "early_stop": {"within": 0.5}},
    "one annotator": {"panel": "neutral"},
    "some personas for each item": {"panel": {"use": "paper", "sample": 3}},
    "raw frequencies": {"fit": {"family": "empirical", "smoothing": {"kind": "none"}}},
    "uniform smoothing": {"fit": {"family": "dirichlet", "smoothing": {"kind": "uniform", "epsilon": 0.1}}},
}


def recipe(double: LLMServer, folder: Path, **changes: Any) -> dict[str, Any]:
    provider = {"name": "openai", "model": "gpt-4o-mini", "base_url": f"{double.url}/v1"}
    return {"name": "kind", "panel": "small", "provider": provider, "output": str(folder)} | changes


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_reported_and_published(double: LLMServer, tmp_path: Path, kind: str) -> None:
    done = run(recipe(double, tmp_path / "run", **KINDS[kind]), source=PAIRS)
    page = report(Run.open(done.folder.path))
    assert "These labels are simulated." in page
    shown = page[page.index("<main") : page.index('<script type="application/json"')]
    assert not re.search(r"\bnan\b", shown, re.IGNORECASE)
    with prepared(Run.open(done.folder.path), "acme/kind") as publication:
        assert sum(publication.rows["default"].values()) == 4
        assert set(publication.rows) >= {"default", "annotations", "personas", "run"}
        card = publication.files["README.md"].local.read_text()
        assert "**not validated**" in card
        for path, file in publication.files.items():
            if path.startswith("data/annotations/"):
                assert {"label", "status"} <= set(pq.read_schema(file.local).names)


def test_a_run_without_a_single_label(double: LLMServer, tmp_path: Path) -> None:
    """Every answer is unreadable: nothing to agree on, no pair, and yet something to look at."""
    content = recipe(double, tmp_path / "run", max_reasks=0)
    folder = run(content, source=PAIRS).folder
    path = folder.table("annotations")
    table = pq.read_table(path)
    for name, value in (("status", "unparsable"), ("label", None), ("reason", "no category in it")):
        field = table.schema.field(name)
        column = pa.array([value] * table.num_rows, field.type)
        table = table.set_column(table.schema.names.index(name), field, column)
    pq.write_table(table, path)
    ledger_less = Run.open(folder.path)
    ledger_less.folder.update_manifest(pulled={"repo": "acme/kind"})
    ledger_less.folder.ledger_at(ledger_less.recipe).path.unlink()
    stages.fit(ledger_less)
    page = report(ledger_less)
    assert "no annotator chose a label" in page
    assert f"{table.num_rows} × no category in it" in page
    with prepared(ledger_less, "acme/kind") as publication:
        assert "preferences" not in publication.rows
        assert "no annotator chose a label" in publication.files["README.md"].local.read_text()
