"""Makes the notebooks' recorded answers and their outputs. Run it in this folder, in the environment of the tests.

    python make.py record first-labels      a model answers on port 8000 while the notebook runs; its ledger becomes recorded/first-labels.sqlite
    python make.py execute                  execute all notebooks and store their outputs (or those that are named)

Two notebooks record the bundled model. `several-models` records a program, `play` below: it pretends to be three models, and no language model is asked.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import sqlite3
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import orjson
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
PORT = 8000
WORDS = {"terrible", "bad", "okay", "good", "excellent"}  # the labels of examples/quickstart
NOTEBOOKS = [
    "first-labels",
    "several-models",
    "prompts-to-pairs",
    "peoples-ratings",
    "review-and-validation",
    "reward-model-to-ppo",
]
RECORDED = ["first-labels", "several-models", "prompts-to-pairs"]


def executed(name: str, folder: Path = HERE, *, without: str | None = None) -> Any:
    """The notebook after a run from top to bottom in this folder; cells with the tag `without` are left out."""
    notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    if without:
        notebook.cells = [cell for cell in notebook.cells if without not in cell.metadata.get("tags", [])]
    shutil.rmtree(folder / "runs" / name, ignore_errors=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where the command dprm is
    NotebookClient(
        notebook,
        timeout=1800,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    ).execute(env=os.environ | {"PATH": path})
    return notebook


# -- outputs ----------------------------------------------------------------------------------------------------------


def execute(name: str) -> None:
    """Execute a notebook and store its outputs, without what differs from run to run: progress, times, ids of cells."""
    notebook = executed(name)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"{name}-{number}"
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [kept(output) for output in cell.outputs if is_result(output)]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, HERE / f"{name}.ipynb")


def is_result(output: Any) -> bool:
    """Whether this is what a cell ends with or prints, and not its progress or what goes to stderr."""
    return output.output_type == "execute_result" or (output.output_type == "stream" and output.name == "stdout")


def kept(output: Any) -> Any:
    """An output without numbers of cells, and text without colours."""
    if output.output_type == "execute_result":
        output.execution_count = None
    else:
        output.text = re.sub(r"\x1b\[[0-9;]*m", "", output.text)
    return output


# -- recordings -------------------------------------------------------------------------------------------------------


def record(name: str) -> None:
    """Run the notebook against a server on port 8000, and keep the ledger."""
    source = pretended if name == "several-models" else bundled_model
    with source():
        executed(name, without="recorded")
    [ledger] = (HERE / "runs" / name).rglob("ledger.sqlite")
    kept_at = HERE / "recorded" / f"{name}.sqlite"
    kept_at.unlink(missing_ok=True)
    with sqlite3.connect(ledger) as old:
        old.execute("VACUUM INTO ?", (str(kept_at),))
    shorten(kept_at)
    print(f"{kept_at}: {kept_at.stat().st_size:,} bytes")


def shorten(ledger: Path) -> None:
    """Of the thousand most likely words of each answer, keep the labels and the first few: a notebook's file should be small."""
    from dprm_data.ledger.checksum import checksum_of
    from dprm_data.ledger.store import CALL, CallRow

    with sqlite3.connect(ledger, isolation_level=None) as store:
        for number, *columns in store.execute(f"SELECT id, {', '.join(CALL)} FROM calls").fetchall():
            row = CallRow(*columns)
            if row.logprobs is None:
                continue
            likely = orjson.loads(zlib.decompress(row.logprobs))
            few = [pair for i, pair in enumerate(likely) if i < 20 or pair[0].strip().casefold() in WORDS]
            row = row._replace(logprobs=zlib.compress(orjson.dumps(few), 9))
            store.execute(
                "UPDATE calls SET logprobs = ?, checksum = ? WHERE id = ?", (row.logprobs, checksum_of(row), number)
            )
        store.execute("VACUUM")


@contextmanager
def bundled_model() -> Iterator[None]:
    """The bundled model behind llama.cpp's own server, as any OpenAI-compatible server has it."""
    import xllamacpp

    from dprm_data.providers.model_file import MODEL, model_file

    settings = xllamacpp.CommonParams()
    settings.model.path = str(model_file())
    settings.model_alias = {MODEL}
    settings.hostnames, settings.port = ["127.0.0.1"], PORT
    settings.n_ctx, settings.n_parallel, settings.verbosity = 4096, 1, -1
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(settings)
    yield
    del server


@contextmanager
def pretended() -> Iterator[None]:
    """Three models that do not exist."""
    sys.path.insert(0, str(HERE.parents[1]))
    from tests.servers.llm import LLMServer

    with LLMServer(port=PORT) as server:
        server.says = play
        yield


def play(body: dict[str, Any]) -> str:
    """What one of three invented models answers: from how good the response is, the model's own severity, and chance."""
    asked = json.dumps(body["messages"])
    quality = next((stars for words, stars in QUALITY.items() if words in asked), 3)
    chance = random.Random(hashlib.sha256((body["model"] + asked).encode()).digest())
    if body["model"] == "pretend-erratic":
        level = chance.randint(1, 5)
    else:
        severity = {"pretend-strict": -0.8, "pretend-lenient": 0.6}[body["model"]]
        level = min(5, max(1, round(quality + severity + chance.gauss(0, 0.7))))
    return json.dumps({"label": str(level)})


QUALITY = {
    "Soak it in cold water": 5,
    "Throw the shirt away": 1,
    "Restart the router": 4,
    "Shout at it": 1,
    "Walk for ten minutes": 4,
    "Drink more coffee": 2,
    "Tell her this week": 4,
    "Just stop coming": 2,
}


if __name__ == "__main__":
    job, *names = sys.argv[1:]
    for each in names or (RECORDED if job == "record" else NOTEBOOKS):
        {"record": record, "execute": execute}[job](each)
