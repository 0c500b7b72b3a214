"""What the engine's tests share: small works, items, providers that are plain functions, and `dprm` processes forked from a warm one."""

from __future__ import annotations

import asyncio
import atexit
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.elicit.template import load_prompt
from dprm_data.elicit.work import Work, make_work
from dprm_data.engine.budget import Budget
from dprm_data.engine.counters import Counters
from dprm_data.engine.direct import Engine
from dprm_data.engine.prices import Prices
from dprm_data.ingest.items import Item, ids_of
from dprm_data.labels.space import LabelSpace
from dprm_data.ledger.ledger import Ledger
from dprm_data.panel.panel_sources import load_panel
from dprm_data.providers.function_provider import FunctionProvider
from dprm_data.providers.provider import Provider
from dprm_data.providers.request import Answer, Request, Usage
from dprm_data.recipe.recipe import LimitsConfig, Recipe
from tests.helpers import ROOT, environ

FREE = Prices(lambda usage: 0.0, "free")
# A dollar per token in and out: sums are easy to follow.
DOLLAR = Prices(lambda usage: float(usage.input_tokens + usage.output_tokens), "a dollar a token")


def work(personas: int = 5, **recipe: Any) -> Work:
    """The paper's panel, cut to so many personas, on three levels."""
    panel = load_panel("paper")
    content = {"provider": {"name": "openai", "model": "gpt-4o-mini"}, "labels": 3, "elicitation": "choice"} | recipe
    parsed = Recipe.of(content)
    return make_work(
        parsed,
        LabelSpace.load(3),
        panel.model_copy(update={"personas": panel.personas[:personas]}),
        load_prompt(parsed.elicitation),
        None,
    )


def items(count: int, text: str = "response") -> list[Item]:
    made = []
    for number in range(count):
        prompt = ({"role": "user", "content": f"question {number}"},)
        completion = ({"role": "assistant", "content": f"{text} {number}"},)
        item_id, group_id = ids_of(prompt, completion)  # type: ignore[arg-type]
        made.append(Item(item_id, prompt, completion, group_id, None, f"made:{number}", {}))  # type: ignore[arg-type]
    return made


def label(text: str = "2", *, usage: Usage = Usage(10, 2), headers: dict[str, str] | None = None) -> Answer:  # noqa: B008
    """An answer that chooses a label."""
    return Answer(json.dumps({"label": text}), "stop", usage, "gpt-4o-mini", headers=headers or {})


class RecordingProvider(FunctionProvider):
    """Keeps what it is asked."""

    def __init__(self, function: Callable[[Request], Awaitable[Answer]]) -> None:
        super().__init__(function)
        self.requests: list[Request] = []
        self.in_flight = self.most_in_flight = 0

    async def complete(self, request: Request) -> Answer:
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await super().complete(request)
        finally:
            self.in_flight -= 1


def annotate(
    folder: Path,
    provider: Provider,
    asked: Work,
    rows: list[Item],
    *,
    prices: Prices = FREE,
    budget: Budget | None = None,
    retry_failed: bool = False,
    **limits: Any,
) -> Counters:
    """Run the engine once on a ledger in the folder. Raises what stopped it."""

    async def go() -> Counters:
        with Ledger(LedgerAddress.parse(folder / "ledger.sqlite"), run="test", price_table=prices.source) as ledger:
            engine = Engine(
                provider=provider,
                ledger=ledger,
                prices=prices,
                budget=budget or Budget(None),
                limits=LimitsConfig(**limits),
                retry_failed=retry_failed,
            )
            async with asyncio.timeout(60):  # only against hanging
                await engine.run(asked, rows)
            return engine.counters

    return asyncio.run(go())


# -- processes --------------------------------------------------------------------------------------------------------

_ZYGOTE = """
import json, os, signal, sys
import dprm_data.cli, dprm_data.pipeline.stages, dprm_data.terminal.progress, dprm_data.terminal.summary_view, dprm_data.runs.summary, dprm_data.pipeline.fit_stage, dprm_data.ingest.sources
import dprm_data.engine.annotations, dprm_data.engine.batch, dprm_data.preference.fitting, pyarrow.parquet, pandas, uvloop, genai_prices
import aiohttp, anthropic, dprm_data.providers.batch_openai, dprm_data.providers.batch_anthropic, dprm_data.providers.http, dprm_data.review.human_annotations, rich.live
import dprm_data.engine.shared.postgres_coordinator, psycopg, psycopg_pool
import genai_prices.data, genai_prices.decompose, pyarrow.dataset, dprm_data.providers.openai, dprm_data.elicit.choice, dprm_data.preference.families, dprm_data.ledger.sqlite, dprm_data.engine.plan
import functools, typer.main
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
        for name, number in (("out", 1), ("errors", 2)):
            os.dup2(os.open(given[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdin = open(os.devnull)
        os.chdir(given["cwd"])
        os.environ.update(given["environment"])
        sys.argv = ["dprm", *given["arguments"]]
        try:
            dprm_data.cli.main()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 70
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)
    print(pid, flush=True)
os._exit(0)  # the libraries' own ends take seconds
"""


class Zygote:
    """Starts real `dprm` processes in hundredths of a second: each is forked from one that has imported everything already."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", _ZYGOTE]
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
            "environment": environment,
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
def zygote() -> Zygote:
    """The one of this process of tests."""
    made = Zygote()
    atexit.register(made.close)
    return made


def dprm(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    zygote().start(*arguments, cwd=cwd, **environment)
    return zygote().end()
