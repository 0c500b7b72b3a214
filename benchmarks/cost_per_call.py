"""What a call costs on our side: processor time, bytes on the wire, and what it costs to walk past it when it is done.

    python -m benchmarks.cost_per_call                    two runs, of 2,000 and of 10,000 calls, three rounds
    python -m benchmarks.cost_per_call --rounds 1 --json

Real runs against our own server on the loopback address. Costs per call are the difference between the larger run and the smaller one, over the
difference in calls, so that starting and importing are not in them. Bytes are counted by a relay between the two, in a run of their own; they
are TCP payload, without TLS.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.engine import ENGINE, PERSONAS, measured  # noqa: E402

SIZES = (2_000, 10_000)
AT_ONCE = 64
LATENCY = 0.05
_RELAYED = 400  # calls whose bytes are counted
_WALKED = 40_000  # items that are done, to be walked past

# Items that are done, without the calls that would make them so.
_DONE = """
import asyncio, json, sys
from dprm_data.pipeline import stages
from dprm_data.engine.replay import row_id
from dprm_data.ingest.items import load_items
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.run import Run
with open("rows.jsonl", "w") as file:
    for i in range(int(sys.argv[2])):
        file.write(json.dumps({"prompt": f"Question {i}: how?", "response": f"Answer {i}. " * 20}) + "\\n")
job = Run(Recipe.load(sys.argv[1]))
stages.ingest(job)

async def done(ledger):
    plan = job.work.plan_key()
    for item in load_items(job.folder.table("items")):
        ledger.note_done(plan, row_id(item))
    await ledger.flush()

with job.ledger() as ledger:
    asyncio.run(done(ledger))
"""


@dataclass(frozen=True)
class Costs:
    """Per call, but for what is said to be per item. Seconds are processor time; walked: of an item that is done; collected: of a call's
    annotation, from the ledger into the table. start: of a process, until it asks. memory: MiB at the peak of the larger run."""

    cpu: float
    start: float
    walked: float
    collected: float
    memory: float
    bytes_out: float
    bytes_in: float
    input_tokens: float
    output_tokens: float


class Relay:
    """Passes on what comes, and counts it. Use in a running loop."""

    def __init__(self, url: str) -> None:
        self._host, port = url.removeprefix("http://").split(":")
        self._port = int(port)
        self.out = self.back = 0

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
        await asyncio.gather(self._pass(reader, there_writer, True), self._pass(there_reader, writer, False))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, out: bool) -> None:
        while data := await reader.read(65536):
            if out:
                self.out += len(data)
            else:
                self.back += len(data)
            writer.write(data)
            await writer.drain()
        writer.close()


def prepared(folder: Path, url: str, calls: int) -> Path:
    """A recipe of so many calls in a folder of its own, its items stored already."""
    folder.mkdir()
    command = [
        "-m",
        "benchmarks.engine",
        "--prepare",
        str(folder),
        url,
        "--calls",
        str(calls),
        "--at-once",
        str(AT_ONCE),
    ]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    return folder / "recipe.yaml"


def walking(folder: Path, url: str, items: int, log: Path) -> float:
    """Processor time of a run that finds all of so many items done."""
    recipe = prepared(folder, url, PERSONAS)
    subprocess.run([sys.executable, "-c", _DONE, str(recipe), str(items)], cwd=folder, check=True)
    return measured([sys.executable, "-c", ENGINE, str(recipe)], folder, log).cpu


def one_round(folder: Path, url: str) -> Costs:
    """Every figure once."""
    log = folder / "log.jsonl"
    cpu: dict[str, list[float]] = {"ask": [], "walk": [], "collect": []}
    for calls in SIZES:
        place = folder / str(calls)
        recipe = prepared(place, url, calls)
        ask = [sys.executable, "-c", ENGINE, str(recipe)]
        whole = [str(Path(sys.executable).parent / "dprm"), "run", str(recipe), "--no-fit", "--quiet"]
        for what, command in (("ask", ask), ("walk", ask), ("collect", whole)):
            figures = measured(command, place, log)
            cpu[what].append(figures.cpu)
            if what == "ask":
                memory = figures.memory
    more = SIZES[1] - SIZES[0]
    each = {what: (large - small) / more for what, (small, large) in cpu.items()}
    bytes_out, bytes_in, input_tokens, output_tokens = asyncio.run(relayed(folder / "relayed", url))
    return Costs(
        cpu=each["ask"],
        start=cpu["ask"][0] - SIZES[0] * each["ask"],
        walked=(walking(folder / "many", url, _WALKED, log) - walking(folder / "few", url, 100, log)) / _WALKED,
        collected=each["collect"] - each["walk"],
        memory=memory,
        bytes_out=bytes_out,
        bytes_in=bytes_in,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )


async def relayed(folder: Path, url: str) -> tuple[float, float, float, float]:
    """Bytes out and in, and tokens in and out, per call."""
    relay = Relay(url)
    recipe = await asyncio.to_thread(prepared, folder, await relay.start(), _RELAYED)
    command = [str(Path(sys.executable).parent / "dprm"), "run", str(recipe), "--no-fit", "--json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI")}
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, env=environment, stdout=subprocess.PIPE)
    said, _ = await process.communicate()
    counted = json.loads(said)["annotate"]
    sums = (relay.out, relay.back, counted["input_tokens"], counted["output_tokens"])
    out, back, given, answered = (value / counted["calls"] for value in sums)
    return out, back, given, answered


def measure(rounds: int) -> Costs:
    """The median of so many rounds."""
    from tests.servers.llm import LLMProcess

    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log.jsonl"
            with LLMProcess("--latency", str(LATENCY), "--log", str(log)) as server:
                found.append(asdict(one_round(Path(folder), server.url)))
    return Costs(**{name: statistics.median(each[name] for each in found) for name in found[0]})


def table(costs: Costs) -> list[str]:
    """For docs/scale-measured.md."""
    return [
        "| per call | |",
        "|---|---:|",
        f"| processor time of a worker | {costs.cpu * 1e3:.2f} ms |",
        f"| … to collect its annotation afterwards | {costs.collected * 1e6:.0f} µs |",
        f"| … to walk past an item that is done, at every start | {costs.walked * 1e6:.1f} µs an item |",
        f"| sent, received | {costs.bytes_out:,.0f} and {costs.bytes_in:,.0f} bytes |",
        f"| tokens in, out (our server's count: four characters each) | {costs.input_tokens:.0f}, {costs.output_tokens:.0f} |",
        f"| a worker: start, memory at its peak | {costs.start:.1f} CPU s, {costs.memory:.0f} MiB |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    costs = measure(given.rounds)
    print(json.dumps(asdict(costs)) if given.json else "\n".join(table(costs)))


if __name__ == "__main__":
    main()
