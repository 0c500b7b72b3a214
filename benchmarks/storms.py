"""The engine beside two plain clients where a server refuses calls: how long each takes, how often it is refused, and what it loses.

    python -m benchmarks.storms                  all storms, about five minutes
    python -m benchmarks.storms --only strays    one of them
    python -m benchmarks.storms --json

Every client is a process of its own that sends the same bodies over a socket; a server of our own counts. Times are from the first request
to the last answer, as the server saw them, so start-up does not count. The plain clients retry until they are answered: the OpenAI SDK with
its own retries under a semaphore, and aiohttp under a semaphore with exponential backoff (both wait as long as `Retry-After` says).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.engine import ENGINE, PERSONAS, ROOT
from benchmarks.storm_server import Storm

PLAIN = """
import asyncio, json, random, sys
url, folder, at_once = sys.argv[1], sys.argv[2], int(sys.argv[3])
bodies = [json.loads(line) for line in open(folder + "/bodies.jsonl")]
places = asyncio.Semaphore(at_once)
"""

SDK = (
    PLAIN
    + """
import openai

async def main():
    async with openai.AsyncOpenAI(api_key="none", base_url=url + "/v1", max_retries=30) as client:
        async def one(body):
            async with places:
                await client.chat.completions.create(**body)
        await asyncio.gather(*map(one, bodies))

asyncio.run(main())
"""
)

AIOHTTP = (
    PLAIN
    + """
import aiohttp

async def main():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        async def one(body):
            async with places:
                for attempt in range(30):
                    async with session.post(url + "/v1/chat/completions", json=body) as response:
                        if response.status == 200:
                            return await response.json()
                        asked = float(response.headers.get("Retry-After", 0))
                    await asyncio.sleep(asked or min(8, 0.5 * 2**attempt) * random.uniform(0.5, 1))
        await asyncio.gather(*map(one, bodies))

asyncio.run(main())
"""
)
OURS = "dprm"
CLIENTS = (OURS, "openai SDK", "aiohttp")


@dataclass(frozen=True)
class Case:
    """A server and a run against it. at_once: calls that each client wants in flight."""

    words: str
    calls: int
    at_once: int
    storm: Storm = field(default_factory=Storm)


CASES = {
    "strays": Case("512 in flight, 2 s, 1 % stray 529s", 5000, 512, Storm(latency=2.0, chances={529: 0.01})),
    "early": Case("64 in flight, 0.5 s, the fifth call meets a 429, then none", 1200, 64, Storm(latency=0.5, early=5)),
    "full": Case("1,000 wanted, the server holds 500, 2 s", 4000, 1000, Storm(latency=2.0, holds=500)),
    "mixed": Case(
        "64 in flight, 0.25 s, 5 % 429 and 5 % 500", 2400, 64, Storm(latency=0.25, chances={429: 0.05, 500: 0.05})
    ),
    "windows": Case(
        "64 in flight, 0.1 s, 50 requests in every 2 s", 500, 64, Storm(latency=0.1, per_window=50, window=2.0)
    ),
}


def prepare(folder: Path, url: str, calls: int, at_once: int) -> None:
    """The recipe, its items stored already, and the very bodies that it sends, for the others."""
    from benchmarks import engine

    engine.prepare(folder, url, calls, at_once)
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["limits"]["attempts"] = 20  # as patient as the others
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))


def run(case: Case, clients: Sequence[str], seconds: float) -> dict[str, dict[str, Any]]:
    """What the server counted, by client. seconds: after which a client is stopped."""
    found = {}
    for name in clients:
        with tempfile.TemporaryDirectory() as temporary, _Server(case.storm) as server:
            folder = Path(temporary)
            # In a process of its own: it changes the working directory.
            sizes = [temporary, server.url, str(case.calls), str(case.at_once)]
            subprocess.run([sys.executable, "-m", "benchmarks.storms", "--prepare", *sizes], cwd=ROOT, check=True)
            plain = {"openai SDK": SDK, "aiohttp": AIOHTTP}.get(name)
            arguments = (
                [plain, server.url, temporary, str(case.at_once)] if plain else [ENGINE, str(folder / "recipe.yaml")]
            )
            environment = {key: value for key, value in os.environ.items() if not key.startswith("OPENAI")}
            environment["PYTHONPATH"] = str(ROOT)
            command = [sys.executable, "-c", *arguments]
            with (folder / "output.txt").open("w") as output:
                process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, env=environment)
                try:
                    process.wait(seconds)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            found[name] = server.stats() | {"code": process.returncode}
            found[name]["lost"] = case.calls // PERSONAS * PERSONAS - found[name]["answered"]
            if not found[name]["answered"]:
                raise SystemExit(f"{name} got no answer: {(folder / 'output.txt').read_text()[-300:]}")
    return found


class _Server:
    """The storm as a process."""

    def __init__(self, storm: Storm) -> None:
        self._storm = storm

    def __enter__(self) -> _Server:
        command = [sys.executable, "-m", "benchmarks.storm_server", self._storm.dumped()]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.url = self._process.stdout.readline().strip()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/_stats") as response:
            return dict(json.load(response))


def table(found: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """The comparison as a Markdown table."""
    lines = ["| | client | s | over the best | refused (429, 529) | lost |", "|---|---|---:|---:|---:|---:|"]
    for case, clients in found.items():
        best = min(
            (each["seconds"] for name, each in clients.items() if name != OURS and not each["lost"]), default=math.nan
        )
        for name, each in clients.items():
            words = CASES[case].words if name == OURS else ""
            refused = each["statuses"].get("429", 0) + each["statuses"].get("529", 0)
            lines.append(
                f"| {words} | {name} | {each['seconds']:.1f} | {each['seconds'] / best:.2f} | {refused:,} | {each['lost']:,} |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=CASES, action="append", help="this storm")
    parser.add_argument("--client", choices=CLIENTS, action="append", help="this client")
    parser.add_argument("--seconds", type=float, default=120.0, help="after which a client is stopped")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--prepare", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.prepare:
        folder, url, calls, at_once = given.prepare
        prepare(Path(folder), url, int(calls), int(at_once))
        return
    found = {name: run(CASES[name], given.client or CLIENTS, given.seconds) for name in given.only or CASES}
    print(json.dumps(found) if given.json else "\n".join(table(found)))


if __name__ == "__main__":
    main()
