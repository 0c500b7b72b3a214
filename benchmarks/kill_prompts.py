"""From a file of prompts to published pairs, killed at random moments all the way: is any call paid for twice?

    python benchmarks/kill_prompts.py                                  the double of a provider answers: about three minutes
    python benchmarks/kill_prompts.py --bundled --kills 6              the bundled model, on one core
    python benchmarks/kill_prompts.py --model FILE.gguf --kills 6      any model

One recipe, one budget: `generate` and then ratings, or comparisons of all pairs. A proxy counts what is served; it waits for the model's answer, and counts it, also if whoever asked is dead.
`dprm run` is ended by SIGKILL after random numbers of calls (--seed) and a random part of another one, half of the --kills in each stage, and started again; after the last it is left alone.

    served      calls answered by the model
    ledger      calls in the ledger in the end
    twice       served calls that had been served before, by their whole request (each sample has a seed of its own)
    in flight   calls that were sent at the kills and were not in the ledger; `open`: of these, those that the model was still answering
    pairs       rows of the published preferences

It fails if the ledger lacks a served request, if more is paid twice than was in flight, or if another run in the end asks anything.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow.parquet as pq
import yaml
from aiohttp import web

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

TOPICS = (
    "a good night's sleep",
    "the tides",
    "sourdough bread",
    "learning a language",
    "compound interest",
    "old bridges",
)
ASKED = (
    *("Explain {} to a child.", "What do most people get wrong about {}?", "Give me a tip about {}."),
    *("Why does {} matter?", "What is the best thing about {}?"),
)
PRINCIPLES = ["Answer in one helpful sentence.", "Answer in one sentence that is true.", "Answer in five words."]
VARIANTS: dict[str, dict[str, Any]] = {"ratings": {"elicitation": "choice"}, "compare": {"elicitation": "compare"}}
COLUMNS = (
    "model",
    "then",
    "prompts",
    "kills: generating",
    "judging",
    "served",
    "ledger",
    "twice",
    "in flight",
    "open",
    "pairs",
)


class Proxy:
    """Passes requests on to a server, and counts them."""

    def __init__(self, upstream: str, token: str) -> None:
        self._upstream, self._headers = upstream, {"Authorization": f"Bearer {token}"}
        self.arrived = self.open = 0
        self.served: Counter[str] = Counter()  # by hash of the request
        self.seconds = 0.0  # of the last answer

    async def handle(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        self.arrived, self.open, began = self.arrived + 1, self.open + 1, time.monotonic()
        try:
            headers = self._headers | {"Content-Type": "application/json"}
            async with self._session.post(self._upstream + request.path, data=body, headers=headers) as answer:
                said = await answer.read()
            if answer.status == 200:
                self.served[hashlib.sha256(body).hexdigest()] += 1
            self.seconds = time.monotonic() - began
            return web.Response(status=answer.status, body=said, content_type="application/json")
        finally:
            self.open -= 1

    async def start(self) -> str:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(None))
        self._runner = web.ServerRunner(web.Server(self.handle))  # a handler goes on when its client is gone
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()


@contextmanager
def counted(upstream: str, token: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy in a thread of this process, and its address."""
    proxy, loop = Proxy(upstream, token), asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    try:
        yield proxy, asyncio.run_coroutine_threadsafe(proxy.start(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(proxy.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)


@contextmanager
def answering(given: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Address, key and name of what answers: the double, or a model in llama.cpp's server, as a process of its own."""
    if not given.model and not given.bundled:
        from tests.servers.llm import LLMProcess

        with LLMProcess("--latency", "0.05") as double:
            yield double.url, "none", "double"
        return
    with subprocess.Popen(
        [sys.executable, __file__, "--serve", given.model], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        url, token, name = server.stdout.readline().split()
        try:
            yield url, token, name
        finally:
            server.kill()


def serve(model: str) -> None:
    from dprm_data.providers.local import LocalProvider

    server = LocalProvider(model, servers=1, threads=1, slots=1)
    print(server.base_url.removesuffix("/v1"), server.token, server.model, flush=True)
    signal.pause()


@dataclass
class Run:
    """One recipe, run and killed. lost: calls in flight, of each kill; open: of those, how many the model was answering."""

    folder: Path
    proxy: Proxy
    generating: int = 0
    judging: int = 0
    lost: list[int] = field(default_factory=list)
    open: list[int] = field(default_factory=list)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "dprm_data", *arguments]
        with (self.folder / "output.txt").open("a") as output:
            return subprocess.Popen(command, cwd=self.folder, stdout=output, stderr=output, text=True)

    def in_ledger(self) -> int:
        """Calls in the ledger; 0 before there is one."""
        path = self.folder / "run" / "ledger.sqlite"
        if not path.is_file():
            return 0
        with sqlite3.connect(path) as ledger:
            try:
                return int(ledger.execute("SELECT COUNT(*) FROM calls").fetchone()[0])
            except sqlite3.OperationalError:  # killed before there was a table
                return 0

    def live(self, calls: int, part: float) -> bool:
        """One life, ended after so many different calls in all and a part of another one. Returns whether the run came to its end."""
        process = self.start("run", "recipe.yaml", "--quiet")
        while len(self.proxy.served) < calls and process.poll() is None:
            time.sleep(0.002)
        time.sleep(part * self.proxy.seconds)
        if process.poll() is None:
            self.open.append(self.proxy.open)
            process.kill()
            process.wait()
            self.lost.append(self.proxy.arrived - self.in_ledger() - sum(self.lost))
            generated = (self.folder / "run" / "tables" / "items.parquet").is_file()
            self.judging, self.generating = self.judging + generated, self.generating + (not generated)
            while self.proxy.open:  # served to nobody
                time.sleep(0.002)
            return False
        if process.returncode:
            raise SystemExit((self.folder / "output.txt").read_text()[-3000:])
        return True


def write(folder: Path, url: str, name: str, given: argparse.Namespace, variant: str) -> None:
    """The prompts, and the recipe."""
    prompts = [asked.format(topic) for topic in TOPICS for asked in ASKED][: given.prompts]
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    asked = {
        "name": "openai",
        "model": name,
        "base_url": f"{url}/v1",
        "price": {"input": 0.1, "output": 0.4},
        "timeout": 600,
    }
    recipe = {
        "source": {"path": "prompts.jsonl"},
        "generate": {
            "models": [asked | {"seed": 1}],
            "per_prompt": given.per_prompt,
            "principles": PRINCIPLES,
            "max_tokens": given.max_tokens,
        },
        "panel": {"use": "small", "sample": given.personas},
        "labels": "ordinal5",
        "provider": asked | {"temperature": 0},
        "limits": {"concurrency": given.concurrency, "give_up_unusable": 0},
        "budget": {"max_cost": given.max_cost},
        "output": "run",
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe | VARIANTS[variant]))


def _lives(moments: random.Random, responses: int, judgements: int, *, kills: int) -> list[int]:
    """After how many different calls to kill, half of the times in each stage. The last fifth is left out: the plan takes all responses for usable."""
    first, second = range(1, responses), range(responses + 1, responses + 4 * judgements // 5)
    return sorted(moments.sample(first, kills - kills // 2)) + sorted(moments.sample(second, kills // 2))


def measured(given: argparse.Namespace, variant: str) -> dict[str, Any]:
    """One recipe from its prompts to its pairs. Raises `SystemExit` if anything is lost or paid twice."""
    moments = random.Random(f"{given.seed} {variant}")
    with (
        answering(given) as (upstream, token, name),
        counted(upstream, token) as (proxy, url),
        tempfile.TemporaryDirectory() as folder,
    ):
        run = Run(Path(folder), proxy)
        write(run.folder, url, name, given, variant)
        planned = subprocess.run(
            [sys.executable, "-m", "dprm_data", "plan", "recipe.yaml", "--json"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        stages = [each["calls_needed"] for each in json.loads(planned.stdout)["stages"].values()]
        lives, ended = _lives(moments, *stages, kills=given.kills), False
        while not ended and lives:
            ended = run.live(lives.pop(0), moments.random())
        ended = ended or run.live(sys.maxsize, 0.0)
        served, arrived, pairs = proxy.served, proxy.arrived, run.folder / "run" / "tables" / "preferences.parquet"
        found = {
            "model": Path(name).stem,
            "then": variant,
            "prompts": given.prompts,
            "kills: generating": run.generating,
            "judging": run.judging,
            "served": served.total(),
            "ledger": run.in_ledger(),
            "twice": served.total() - len(served),
            "in flight": sum(run.lost),
            "open": sum(run.open),
            "pairs": pq.read_metadata(pairs).num_rows,
        }
        run.live(sys.maxsize, 0.0)
        again = proxy.arrived - arrived
    in_flight = given.concurrency + given.concurrency // 4 + 1  # at most: sent, or answered and not yet written down
    if (
        found["ledger"] != len(served)
        or found["twice"] > found["in flight"]
        or max(run.lost, default=0) > in_flight
        or again
    ):
        raise SystemExit(
            f"{found}, {run.lost} in flight of at most {in_flight}, {len(served)} distinct, {again} asked in the end"
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="", metavar="FILE.gguf", help="a model to answer, in llama.cpp's server")
    parser.add_argument("--bundled", action="store_true", help="the bundled model answers")
    parser.add_argument("--only", choices=VARIANTS, help="ratings or comparisons only")
    parser.add_argument("--prompts", type=int, default=30)
    parser.add_argument("--per-prompt", type=int, default=4)
    parser.add_argument("--personas", type=int, default=2)
    parser.add_argument("--max-tokens", type=int, default=200, help="of a response")
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--max-cost", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        serve(given.serve)
        return
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for variant in [given.only] if given.only else VARIANTS:
        began, found = time.monotonic(), measured(given, variant)
        print(
            f"| {' | '.join(f'{found[name]:,}' if isinstance(found[name], int) else found[name] for name in COLUMNS)} |",
            flush=True,
        )
        print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
