"""The example notebook, executed headless by a real kernel, and what users do in one beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from tests.helpers import ROOT

NOTEBOOK = ROOT / "examples" / "notebook" / "responses.ipynb"

# `interrupted` does what "Interrupt the kernel" does, once the fifth call is under way.
MORE = {
    "sync": 'from dprm_data import run\nrun(recipe, source=rows, output="sync", provider=ask)',
    "interrupted": """
import asyncio, itertools, os, signal, threading, time
from dprm_data import DprmError, open_run, run
def interrupted():
    asked, count = [], itertools.count(1)
    def slow(request):
        asked.append(request)
        if next(count) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        return "good"
    return asked, FunctionProvider(slow, family="slow")
many = [{"prompt": f"{i}?", "response": "Yes."} for i in range(20)]
few = recipe | {"panel": "small", "limits": {"concurrency": 3}}
asked, provider = interrupted()
try:
    run(few, source=many, output="cut", provider=provider, progress=False)
except DprmError as error:
    print(type(error).__name__)
calls = len(asked)
time.sleep(0.3)
print(calls == len(asked) == open_run("cut").annotations.num_rows, calls < 20, threading.active_count() < 50)
""",
    "cancelled": """
asked, provider = interrupted()
try:
    await arun(few, source=many, output="cut2", provider=provider, progress=False)
except asyncio.CancelledError:
    print("cancelled")
calls = len(asked)
await asyncio.sleep(0.3)
print(calls == len(asked) == open_run("cut2").annotations.num_rows, calls < 20)
""",
    "wrong": 'run({"panel": "smal"}, source=rows, provider=ask, progress=False)',
}


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Any]]:
    """The notebook's code cells and those of `MORE`, executed in an empty folder."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells += [new_code_cell(code.strip()) for code in MORE.values()]
    notebook.cells[-1].metadata["tags"] = ["raises-exception"]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
            patch.setenv(name, str(folder / name))  # nobody's own kernels and start files
        patch.setenv("PYTHONPATH", str(ROOT))
        work = folder / "work"
        work.mkdir()
        NotebookClient(
            notebook, timeout=30, startup_timeout=30, kernel_name="python3", resources={"metadata": {"path": str(work)}}
        ).execute()
    yield [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: Any, form: str) -> list[str]:
    return [output.data[form] for output in cell.outputs if form in output.get("data", {})]


def printed(cell: Any) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def test_what_is_in_the_repository_has_no_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not [cell for cell in notebook.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]


def test_a_plan_and_a_result_show_themselves(cells: list[Any]) -> None:
    _, plan, run, table, rated = cells[:5]
    assert "calls to make" in shown(plan, "text/html")[-1] and "calls to make" in shown(plan, "text/plain")[-1]
    assert "4 of 4 items with votes" in shown(run, "text/html")[-1] and "Paris." in shown(run, "text/html")[-1]
    assert "expected_reward" in shown(table, "text/html")[-1]
    assert "simulated" in shown(rated, "text/html")[-1] and shown(rated, "text/plain")[-1].startswith("Preference")


@pytest.mark.parametrize("at", [2, 5], ids=["arun", "run"])
def test_progress_is_one_output_that_ends_with_the_counters(cells: list[Any], at: int) -> None:
    """Not a line per update, and nothing on stderr."""
    progress, result = shown(cells[at], "text/plain")
    assert "4/4 items" in progress and "60 calls" in progress and "annotating" not in progress
    assert result.startswith("RunResult(")
    assert not printed(cells[at])
    assert "<script" not in shown(cells[at], "text/html")[0]


def test_interrupting_the_kernel_ends_a_run(cells: list[Any]) -> None:
    """Also one in a thread of its own: nothing goes on behind the cell."""
    assert printed(cells[6]) == "Interrupted\nTrue True True\n"
    assert printed(cells[7]) == "cancelled\nTrue True\n"


def test_a_mistake_is_words_and_not_a_traceback(cells: list[Any]) -> None:
    [error] = cells[8].outputs
    assert error.ename == "PanelError" and "'smal'" in error.evalue
    assert len(error.traceback) == 1 and error.traceback[0].startswith("PanelError: ") and "smal" in error.traceback[0]
