"""From Python, as in the README: recipes as dicts, rows of every kind, inside a notebook's running loop."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest

from dprm_data import DprmError, Run, run
from dprm_data.runs.folder import RunFolder
from tests.helpers import PAIRS
from tests.servers.llm import LLMServer


def recipe(double: LLMServer) -> dict[str, Any]:
    return {"panel": "small", "provider": {"name": "openai", "model": "gpt-4o-mini", "base_url": f"{double.url}/v1"}}


@pytest.mark.parametrize("kind", ["list", "iterator", "dataset", "iterable dataset"])
def test_rows_in_place_of_a_source(double: LLMServer, tmp_path: Path, kind: str) -> None:
    rows: Any = PAIRS
    if kind == "iterator":
        rows = iter(PAIRS)
    elif kind != "list":
        from datasets import Dataset

        rows = Dataset.from_list(PAIRS)
        rows = rows if kind == "dataset" else rows.to_iterable_dataset()
    result = run(recipe(double), source=rows, output=tmp_path / "run")
    assert result.counters.calls == 16
    assert result.distributions.num_rows == 4
    assert "simulated" in (tmp_path / "run" / "README.md").read_text()
    assert Run.open(tmp_path / "run").space.K == 6


def test_inside_a_running_loop(double: LLMServer, tmp_path: Path) -> None:
    async def notebook() -> int:
        return run(recipe(double), source=PAIRS, output=tmp_path / "run").counters.calls

    assert asyncio.run(notebook()) == 16


def test_a_budget_in_place_of_the_recipes(double: LLMServer, tmp_path: Path) -> None:
    with pytest.raises(DprmError, match=r"the budget of \$1e-06 is reached"):
        run(recipe(double), source=PAIRS, output=tmp_path / "run", max_cost=1e-6)


def test_a_result_is_short_to_look_at(double: LLMServer, tmp_path: Path) -> None:
    shown = repr(run(recipe(double), source=PAIRS, output=tmp_path / "run"))
    assert len(shown) < 200
    assert "16 calls" in shown


def test_a_run_with_other_settings_is_another_run(double: LLMServer, tmp_path: Path) -> None:
    """`with_fit` and `with_publish` change nothing in the run they are asked; what it has loaded is not loaded again."""
    run(recipe(double), source=PAIRS, output=tmp_path / "run")
    first = Run.open(tmp_path / "run")
    before, space = first.recipe, first.space
    fitted, published = first.with_fit({"interval": 0.5}), first.with_publish({"license": "mit"})
    assert fitted.recipe.fit.interval == 0.5 and published.recipe.publish.license == "mit"
    assert first.recipe is before and published.recipe.fit == before.fit
    assert fitted.space is space and published.folder is first.folder


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (errno.ENOSPC, "Make room"),
        (errno.EDQUOT, "Make room"),
        (errno.EACCES, "writable"),
        (errno.EPERM, "writable"),
        (errno.EROFS, "writable"),
        (errno.EIO, "Fix that"),
    ],
)
def test_what_a_folder_cannot_keep_is_said_with_its_own_remedy(tmp_path: Path, code: int, hint: str) -> None:
    error = OSError(code, "as the system says", str(tmp_path / "file"))
    with pytest.raises(DprmError, match="as the system says") as raised, RunFolder(tmp_path).held():
        raise error
    hints = ("Make room", "writable", "Fix that")
    assert [each for each in hints if each in (raised.value.hint or "")] == [hint]


def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    with (
        pytest.raises(DprmError, match="No space left") as raised,
        RunFolder(tmp_path).held(),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")
    assert "Make room" in (raised.value.hint or "") and "writable" not in (raised.value.hint or "")
