"""`dprm` as a process of its own, forked from one that has imported everything already: in hundredths of a second instead of a second."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

# Not huggingface_hub and what imports it: that reads its variables when it is imported.
_COMMANDS = """
import dprm_data.cli, dprm_data.pipeline.stages, dprm_data.terminal.progress, dprm_data.terminal.summary_view, dprm_data.runs.summary, dprm_data.pipeline.fit_stage, dprm_data.ingest.sources
import dprm_data.engine.annotations, dprm_data.engine.batch, dprm_data.preference.fitting, pyarrow.parquet, pandas, uvloop, genai_prices
import aiohttp, anthropic, dprm_data.providers.batch_openai, dprm_data.providers.batch_anthropic, dprm_data.providers.http, dprm_data.review.human_annotations, rich.live
import scipy.optimize, scipy.stats
import genai_prices.data, genai_prices.decompose, pyarrow.dataset, dprm_data.providers.openai, dprm_data.elicit.choice, dprm_data.preference.families, dprm_data.ledger.sqlite, dprm_data.engine.plan
import dprm_data.publish.cards, dprm_data.publish.report.page, scipy.cluster.hierarchy, pyarrow.acero
dprm_data.publish.cards._environment().get_template("dataset.md.jinja")  # compiled: a tenth of a small run
try:
    import dprm_data.engine.shared.postgres_coordinator, psycopg, psycopg_pool
except ImportError:
    pass
"""
_TRAINING = """
import torch, transformers, dprm_data.cli
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
"""
_SERVE = """
import atexit, functools, json, os, sys, typer.main
typer.main.get_command = functools.cache(typer.main.get_command)  # the tree of commands: most of the time of a small command
typer.main.get_command(dprm_data.cli.app)
print("ready", flush=True)
for line in sys.stdin:
    given = json.loads(line)
    if "await" in given:
        print(os.waitstatus_to_exitcode(os.waitpid(given["await"], 0)[1]), flush=True)
        continue
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for name, number in (("out", 1), ("errors", 2)):
            os.dup2(os.open(given[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.chdir(given["cwd"])
        os.environ.clear()
        os.environ.update(given["environment"])
        sys.argv = ["dprm", *given["arguments"]]
        try:
            dprm_data.cli.main()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else error.code is not None
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 70
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)
    print(pid, flush=True)
os._exit(0)  # the libraries' own ends take seconds
"""


def environ(**more: str) -> dict[str, str]:
    """The environment without anybody's keys."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "ANTHROPIC", "HF_"))}
    return kept | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "120"} | more


class Zygote:
    """Starts real `dprm` processes. imports: what they all find imported."""

    def __init__(self, imports: str) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", imports + _SERVE]
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=environ())
        self._files = Path(tempfile.mkdtemp())
        self._running: dict[int, dict[str, Any]] = {}
        self._started = self._last = 0
        assert self._read() == "ready"

    def start(self, *arguments: object, cwd: Path, **environment: str) -> int:
        """Start `dprm` with these arguments; returns its pid. Its `end` must be awaited."""
        self._started += 1
        out, errors = (self._files / f"{name}-{self._started}" for name in ("out", "errors"))
        given = {
            "arguments": [str(argument) for argument in arguments],
            "cwd": str(cwd),
            "out": str(out),
            "errors": str(errors),
            "environment": environ(**environment),
        }
        self._last = int(self._ask(given))
        self._running[self._last] = given
        return self._last

    def end(self, pid: int | None = None) -> subprocess.CompletedProcess[str]:
        """How this process (the one that was started last) ended; its code is negative where a signal ended it."""
        pid = pid or self._last
        code = int(self._ask({"await": pid}))
        given = self._running.pop(pid)
        files = [Path(given[name]) for name in ("out", "errors")]
        said = [file.read_text(errors="replace") for file in files]
        for file in files:
            file.unlink()
        return subprocess.CompletedProcess(given["arguments"], code, *said)

    def errors(self, pid: int | None = None) -> str:
        """What this process (the one that was started last) has said on stderr so far."""
        file = Path(self._running[pid or self._last]["errors"])
        return file.read_text(errors="replace") if file.exists() else ""

    def _ask(self, given: dict[str, Any]) -> str:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(given) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the process that forks the others has ended"
        return line.strip()

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)
        shutil.rmtree(self._files, ignore_errors=True)


@cache
def zygote(imports: str = _COMMANDS) -> Zygote:
    """The one of this process of tests."""
    made = Zygote(imports)
    atexit.register(made.close)
    return made


def dprm(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end. Where its environment speaks to the interpreter, in an interpreter of its own."""
    usual = environ()
    changed = [name for name, value in environment.items() if value != usual.get(name)]
    if any(name.startswith(("PYTHON", "LC_", "LANG")) for name in changed):
        command = [sys.executable, "-m", "dprm_data.cli", *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, env=environ(**environment), capture_output=True, text=True, timeout=120)
    # What trains has the Hub's client imported, which then reads no variable any more.
    trains = arguments[0] in ("train", "eval") and not any(name.startswith("HF_") for name in environment)
    started = zygote(_TRAINING) if trains else zygote()
    started.start(*arguments, cwd=cwd, **environment)
    return started.end()
