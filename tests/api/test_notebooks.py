"""The six example notebooks, executed from top to bottom by real kernels in a copy of their folder: no key, no server, and what they show is what is stored with them."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.helpers import ROOT, environ

FOLDER = ROOT / "examples" / "notebook"
MAKE = importlib.util.spec_from_file_location("make_notebooks", FOLDER / "make.py")
assert MAKE is not None and MAKE.loader is not None
make = importlib.util.module_from_spec(MAKE)
MAKE.loader.exec_module(make)

NUMBER = re.compile(r"[-+−]?\d+(?:[.,]\d+)*")
LONG = ("review-and-validation", "reward-model-to-ppo")
TRAINED = "reward-model-to-ppo"  # its figures depend on the machine in more than the last digits


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def said(cell: Any) -> str:
    """What a cell shows as text: what it prints, its value, and the texts of its pictures."""
    parts = []
    for output in filter(make.is_result, cell.outputs):
        output = make.kept(output)
        data = output.get("data", {"text/plain": output.get("text", "")})
        parts += [data["text/plain"], *re.findall(r">([^<>]+)</text>", data.get("image/svg+xml", ""))]
    return "\n".join(parts)


def assert_same(now: str, stored: str, *, numbers: bool) -> None:
    """The same words, and nearly the same numbers: they may differ in the last digits from machine to machine."""
    assert NUMBER.sub("#", now).split() == NUMBER.sub("#", stored).split()
    if not numbers:
        return
    for one, other in zip(NUMBER.findall(now), NUMBER.findall(stored), strict=True):
        found, known = (float(text.replace(",", "").replace("−", "-")) for text in (one, other))
        assert found == pytest.approx(known, rel=0.05, abs=0.06 if "." in other else 2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the examples, in an environment without keys and without anybody's Jupyter."""
    for name in set(make.os.environ) - set(environ()):
        monkeypatch.delenv(name)
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("runs"))
    return tmp_path / "examples" / "notebook"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in make.NOTEBOOKS]
)
@pytest.mark.timeout(1800)
def test_it_runs_and_shows_what_is_stored(name: str, folder: Path) -> None:
    stored = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    executed = make.executed(name, folder)
    assert [cell.source for cell in code(executed)] == [cell.source for cell in code(stored)]
    for now, then in zip(code(executed), code(stored), strict=True):
        assert bool(said(now)) == bool(said(then)), now.source
        if name != TRAINED:
            # A command splits people by pseudonyms, which are drawn anew in every run: of what it prints, only the words are compared.
            assert_same(said(now), said(then), numbers=not now.source.startswith("%%bash"))


@pytest.mark.parametrize("name", make.NOTEBOOKS)
def test_it_is_short_small_and_says_whose_the_answers_are(name: str) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert len(code(notebook)) <= 12
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 120_000
    first = notebook.cells[0].source
    assert "made up" in first or "invented" in first or "not people's" in first or "machine's" in first
    assert "**Next**" in notebook.cells[-1].source
    texts = " ".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for link in re.findall(r"\]\(([^)#]+)", texts):
        assert (FOLDER / link).exists(), link
    assert any("image/svg+xml" in output.get("data", {}) for cell in code(notebook) for output in cell.outputs)


def test_recordings_are_small() -> None:
    assert all(file.stat().st_size < 100_000 for file in (FOLDER / "recorded").iterdir())
