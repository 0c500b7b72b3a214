"""A rerun with nothing new writes no table again; whatever could change one does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.helpers import ROOT, answer, environ, write_recipe
from tests.processes import dprm
from tests.servers.llm import LLMServer

# The command of another copy of the program, wherever this one is installed.
COPY = """
import sys
from importlib.machinery import PathFinder
sys.meta_path.insert(0, PathFinder)
sys.path.insert(0, sys.argv.pop(1))
import dprm_data.cli
assert dprm_data.__file__.startswith(sys.path[0])
dprm_data.cli.main()
"""
TABLES = ("annotations", "personas", "distributions", "preferences")


def stamps(folder: Path) -> dict[str, int]:
    """When each table of the run was written."""
    return {name: (folder / "run" / "tables" / f"{name}.parquet").stat().st_mtime_ns for name in TABLES}


@pytest.fixture
def ran(tmp_path: Path, double: LLMServer) -> Path:
    """A folder with a recipe that was run."""
    recipe = write_recipe(tmp_path, double.url, labels=3)
    answer(dprm("run", recipe, "--json", cwd=tmp_path))
    return tmp_path


def test_nothing_new_writes_nothing(ran: Path) -> None:
    before = stamps(ran)
    again = answer(dprm("run", ran / "recipe.yaml", "--json", cwd=ran))
    assert again["summary"]["annotations"] == 16
    assert dprm("run", "--no-fit", ran / "recipe.yaml", cwd=ran).returncode == 0
    assert stamps(ran) == before
    assert dprm("ratings", "fit", ran / "run", cwd=ran).returncode == 0  # who asks for it gets it
    assert stamps(ran) != before


def recipe_changed(folder: Path, **changes: object) -> None:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


def table_edited(folder: Path) -> None:
    path = folder / "run" / "tables" / "annotations.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)


def table_gone(folder: Path) -> None:
    (folder / "run" / "tables" / "preferences.parquet").unlink()


def people_answered(folder: Path) -> None:
    item = pq.read_table(folder / "run" / "tables" / "items.parquet")["item_id"][0].as_py()
    (folder / "people.csv").write_text(f"item_id,annotator,label\n{item},ann,3\n")
    told = dprm("review", "import", folder / "run", folder / "people.csv", cwd=folder)
    assert told.returncode == 0, told


def more_items(folder: Path) -> None:
    with (folder / "pairs.jsonl").open("a") as file:
        file.write('{"prompt": "another", "response": "one"}\n')


CHANGES: dict[str, Callable[[Path], None]] = {
    "another fit": lambda folder: recipe_changed(folder, fit={"family": "dirichlet"}),
    "another replicate": lambda folder: recipe_changed(folder, replicates=2),
    "an edited table": table_edited,
    "a table that is gone": table_gone,
    "people's answers": people_answered,
    "more items": more_items,
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_a_table_writes_it(ran: Path, change: str) -> None:
    before = stamps(ran)
    CHANGES[change](ran)
    answer(dprm("run", ran / "recipe.yaml", "--json", cwd=ran))
    after = stamps(ran)
    assert after["annotations"] != before["annotations"] and after["preferences"] != before["preferences"]
    # As if it had been run like that from the start.
    fresh = answer(dprm("ratings", "fit", ran / "run", "--json", cwd=ran))
    again = answer(dprm("run", ran / "recipe.yaml", "--json", cwd=ran))
    assert again["summary"] == fresh["summary"]


def test_failures_that_are_retried(tmp_path: Path, double: LLMServer) -> None:
    recipe = write_recipe(tmp_path, double.url, labels=3, limits={"attempts": 1})
    double.script({"queue": ["400"] * 3})
    first = answer(dprm("run", recipe, "--json", cwd=tmp_path))["summary"]["statuses"]
    assert first == {"ok": 13, "rejected": 3}
    assert answer(dprm("run", recipe, "--json", cwd=tmp_path))["summary"]["statuses"] == first
    retried = answer(dprm("run", recipe, "--retry-failed", "--json", cwd=tmp_path))
    assert retried["summary"]["statuses"] == {"ok": 16}


@pytest.mark.slow
def test_another_version_of_this_program_reads_all_answers_again(ran: Path) -> None:
    before = stamps(ran)
    for name in ("dprm_data", "prompts", "personas", "label_spaces", "hub_cards"):
        shutil.copytree(ROOT / name, ran / "copy" / name, ignore=shutil.ignore_patterns("__pycache__"))

    def rerun() -> None:
        command = [sys.executable, "-c", COPY, str(ran / "copy"), "run", "recipe.yaml", "--quiet"]
        subprocess.run(command, cwd=ran, env=environ(), check=True, capture_output=True)

    rerun()
    assert stamps(ran) == before, "the same program elsewhere"
    with (ran / "copy" / "dprm_data" / "elicit" / "parsing.py").open("a") as file:
        file.write("\n# changed\n")
    rerun()
    assert stamps(ran) != before
