"""The engine beside plainer ways to make the same calls, in one go against our own server on the loopback address.

    python -m benchmarks.engine                       2,000 calls, 64 at once, 50 ms each, three rounds
    python -m benchmarks.engine --rounds 5 --json

Every way is a process of its own that starts, imports, sends the same 2,000 bodies, keeps the answers on disk and ends; what the operating
system says about it (wall time, CPU seconds, peak memory) is what is printed, as the median of the rounds. The rounds take turns, so
that a busy machine is busy for all.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PERSONAS = 20

_READ = """
import asyncio, json, sys
url, folder, at_once = sys.argv[1], sys.argv[2], int(sys.argv[3])
bodies = [json.loads(line) for line in open(folder + "/bodies.jsonl")]
out = open(folder + "/answers.jsonl", "w")
"""

AIOHTTP = (
    _READ
    + """
import aiohttp

async def main():
    places = asyncio.Semaphore(at_once)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        async def one(body):
            async with places, session.post(url + "/v1/chat/completions", json=body) as response:
                answer = await response.json()
            out.write(json.dumps(answer) + "\\n")
        await asyncio.gather(*map(one, bodies))

asyncio.run(main())
"""
)

SDK = (
    _READ
    + """
import openai

async def main():
    places = asyncio.Semaphore(at_once)
    async with openai.AsyncOpenAI(api_key="none", base_url=url + "/v1", max_retries=0, CLIENT) as client:
        async def one(body):
            async with places:
                answer = await client.chat.completions.create(**body)
            out.write(answer.model_dump_json() + "\\n")
        await asyncio.gather(*map(one, bodies))

asyncio.run(main())
"""
)

PLAIN = {
    "plain aiohttp": AIOHTTP,
    "openai SDK": SDK.replace(", CLIENT", ""),
    "openai SDK, aiohttp transport": SDK.replace("CLIENT", "http_client=openai.DefaultAioHttpClient()"),
}
ENGINE = """
import sys
from dprm_data.pipeline import stages
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.run import Run
stages.annotate(Run(Recipe.load(sys.argv[1])))
"""
OURS, COMMAND, REPLAY = "our engine (stages.annotate)", "dprm run --no-fit (with tables)", "dprm run --no-fit, again"
RUN, RERUN = "dprm run (tables, fit, card)", "dprm run, again"


@dataclass(frozen=True)
class Figures:
    """What one process took: seconds, CPU seconds, MiB at its peak, seconds until the first request (None where there was none)."""

    wall: float
    cpu: float
    memory: float
    first: float | None


def measured(command: list[str], cwd: Path, log: Path) -> Figures:
    """Run a process to its end."""
    log.write_bytes(b"")
    begun, begun_at = time.monotonic(), time.time()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI")}
    with (cwd / "output.txt").open("w") as output:
        process = subprocess.Popen(command, cwd=cwd, stdout=output, stderr=subprocess.STDOUT, env=environment)
        _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed:\n{(cwd / 'output.txt').read_text()[-2000:]}")
    arrivals = [line["at"] - line["seconds"] for line in map(json.loads, log.read_text().splitlines())]
    first = min(arrivals) - begun_at if arrivals else None
    return Figures(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, first)


def prepare(folder: Path, url: str, calls: int, at_once: int) -> None:
    """The recipe, its items stored already, and the very bodies that it sends, for the others."""
    rows = [
        {
            "prompt": f"Question {i}: how does one do this well?",
            "response": f"Answer {i}: one step after the other. " * 12,
        }
        for i in range(calls // PERSONAS)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "name": "bench",
        "source": {"path": "rows.jsonl"},
        "panel": {"use": "demographic", "sample": PERSONAS},
        "provider": {"name": "openai", "model": "gpt-4o-mini", "base_url": f"{url}/v1"},
        "limits": {"concurrency": at_once},
        "output": "run",
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    os.chdir(folder)
    from dprm_data.ingest.items import load_items
    from dprm_data.pipeline import stages
    from dprm_data.providers.openai import OpenAIProvider
    from dprm_data.recipe.recipe import Recipe
    from dprm_data.runs.run import Run

    job = Run(Recipe.load(path))
    stages.ingest(job)
    provider = OpenAIProvider(api_key=None, base_url=f"{url}/v1")
    with (folder / "bodies.jsonl").open("w") as file:
        for item in load_items(job.folder.table("items")):
            for task in job.work.tasks(item):
                step: Any = task.next(())
                file.write(json.dumps(provider.body(step.request)) + "\n")


def forget(folder: Path) -> None:
    """Delete the ledger, so that everything is asked anew."""
    for name in ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"):
        (folder / "run" / name).unlink(missing_ok=True)


def one_round(folder: Path, url: str, recipe: Path, at_once: int, log: Path, server: Any) -> dict[str, Figures]:
    found = {}
    for name, script in PLAIN.items():
        server.reset()
        command = [sys.executable, "-c", script, url, str(folder), str(at_once)]
        found[name] = measured(command, folder, log)
        check(server, folder, name)
    dprm = str(Path(sys.executable).parent / "dprm")
    run = [dprm, "run", str(recipe), "--quiet"]
    annotate = [*run, "--no-fit"]
    ways = ((OURS, [sys.executable, "-c", ENGINE, str(recipe)], None), (COMMAND, annotate, REPLAY), (RUN, run, RERUN))
    for name, command, again in ways:
        forget(folder)
        server.reset()
        found[name] = measured(command, folder, log)
        check(server, folder, name)
        if again:
            server.reset()
            found[again] = measured(command, folder, log)
            if server.stats()["requests"]:
                raise SystemExit(f"{again}: asked again")
    return found


def check(server: Any, folder: Path, name: str) -> None:
    stats = server.stats()
    wanted = sum(1 for _ in (folder / "bodies.jsonl").open())
    if not stats["answered"] == stats["answered_distinct"] == wanted:
        raise SystemExit(f"{name}: {stats['answered']} answers instead of {wanted}")


def replay_seconds(folder: Path, recipe: Path) -> float:
    """Seconds of the engine's own replay of all that the ledger holds, imports and the start of the process apart."""
    script = f"""
import time
from dprm_data.engine.replay import replay
from dprm_data.ingest.items import load_items
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.run import Run
job = Run(Recipe.load({str(recipe)!r}))
job.work
begun = time.perf_counter()
with job.ledger(readonly=True) as ledger:
    found = sum(state.outcome is not None for _, states in replay(job.work, ledger, load_items(job.folder.table("items"))) for state in states)
print(time.perf_counter() - begun, found)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--prepare", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.prepare:
        prepare(Path(given.prepare[0]), given.prepare[1], given.calls, given.at_once)
        return
    from tests.servers.llm import LLMProcess

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        log = folder / "log.jsonl"
        with LLMProcess("--latency", str(given.latency), "--log", str(log)) as server:
            # In a process of its own: a child's peak memory begins at its parent's.
            preparing = ["-m", "benchmarks.engine", "--prepare", str(folder), server.url]
            sizes = ["--calls", str(given.calls), "--at-once", str(given.at_once)]
            subprocess.run([sys.executable, *preparing, *sizes], cwd=ROOT, check=True)
            recipe = folder / "recipe.yaml"
            rounds = [one_round(folder, server.url, recipe, given.at_once, log, server) for _ in range(given.rounds)]
        replays = statistics.median(replay_seconds(folder, recipe) for _ in range(given.rounds))
    medians = {
        name: {
            field: statistics.median(getattr(each[name], field) for each in rounds)
            for field in ("wall", "cpu", "memory", *(["first"] if rounds[0][name].first is not None else []))
        }
        for name in rounds[0]
    }
    if given.json:
        print(json.dumps({"medians": medians, "replay_seconds": replays, **vars(given)}))
        return
    report(medians, replays, given)


def report(medians: dict[str, dict[str, float]], replays: float, given: argparse.Namespace) -> None:
    print(
        f"{given.calls:,} calls, {given.at_once} at once, {given.latency * 1000:g} ms each; medians of {given.rounds} rounds\n"
    )
    print(f"{'':32} {'wall s':>7} {'CPU s':>7} {'MiB':>6} {'first request s':>16}")
    for name, line in medians.items():
        first = f"{line['first']:.2f}" if "first" in line else "none"
        print(f"{name:32} {line['wall']:7.2f} {line['cpu']:7.2f} {line['memory']:6.0f} {first:>16}")
    ours, sdk, aio = (medians[name] for name in (OURS, "openai SDK", "plain aiohttp"))
    print(f"\nour CPU over the plain SDK's       {ours['cpu'] / sdk['cpu']:.2f}   (to beat: 0.50)")
    print(f"dprm run's CPU over the plain SDK's {medians[RUN]['cpu'] / sdk['cpu']:.2f}  (to beat: 0.50)")
    print(f"CPU s of annotating again          {medians[REPLAY]['cpu']:.2f}   (to beat: 1.20)")
    print(f"MiB at the peak of dprm run        {medians[RUN]['memory']:.0f}    (to beat: 150)")
    print(f"our wall over plain aiohttp's      {ours['wall'] / aio['wall']:.2f}   (to beat: 1.30)")
    print(f"replay of all answers, s           {replays:.2f}   (to beat: 0.30)")


if __name__ == "__main__":
    main()
