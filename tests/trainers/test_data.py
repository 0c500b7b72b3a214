"""Data as users have it: a run folder and a dataset on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dprm_data.ingest.splits import split_items
from dprm_data.runs.run import Run
from dprm_trainers.data.rows import load_data
from tests.helpers import dprm, write_recipe, write_rows
from tests.servers.llm import LLMServer
from tests.trainers import tiny


class _Split:
    """As much of a `datasets.Dataset` as is read."""

    def __init__(self, content: list[dict[str, Any]]) -> None:
        self._content = content

    def with_format(self, kind: str) -> _Split:
        assert kind == "arrow"
        return self

    def __getitem__(self, part: slice) -> Any:
        import pyarrow as pa

        return pa.Table.from_pylist(self._content)

    def __iter__(self) -> Any:
        return iter(self._content)


def test_a_published_dataset_brings_its_splits_and_its_label_space(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    content = tiny.rows(40)
    space = tiny.SPACE.model_dump_json()

    def load(repo: str, config: str, split: str | None = None) -> Any:
        if config == "run":
            return _Split([{"name": "label_space.json", "content": space}])
        return {"train": _Split(content[:30]), "test": _Split(content[30:])}

    monkeypatch.setattr(datasets, "load_dataset", load)
    data = load_data("owner/name")
    assert data.space.names == tiny.SPACE.names
    assert len(data.splits["test"]) == 10
    assert len(data.splits["train"]) + len(data.splits["validation"]) == 30
    assert len(data.splits["validation"]) >= 2


def test_a_run_folder_is_split_as_it_would_be_published(tmp_path: Path) -> None:
    write_rows(
        tmp_path / "pairs.jsonl",
        [{"prompt": f"what is {word}", "response": "good " * (i % 3 + 1)} for i, word in enumerate(tiny.WORDS)],
    )
    with LLMServer() as server:
        write_recipe(tmp_path, server.url)
        done = dprm("run", "recipe.yaml", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    data = load_data(tmp_path / "run")
    job = Run.open(tmp_path / "run")
    expected = split_items(job.folder.needs("items"), job.recipe.publish).counts
    assert len(data.splits["test"]) == expected["test"]
    assert len(data.splits["train"]) + len(data.splits["validation"]) == expected["train"]
    assert data.space.names == job.space.names
    assert np.allclose(data.splits["train"].target.sum(axis=1), 1)
