"""A run on Ray beside one process, on the same kind of ledger (PostgreSQL), in one go against our own server on the loopback address.

    make .venv-ray/.ready
    .venv-ray/bin/python -m benchmarks.ray_run                   20,000 calls, 50 ms each, 2 actors, 64 calls at once each
    .venv-ray/bin/python -m benchmarks.ray_run --kills 4         then once more, with actors killed in the middle
    .venv-ray/bin/python -m benchmarks.ray_run --json

Every run is a `dprm run --no-fit` of its own, on a database of its own. Calls are counted at the server, transactions by PostgreSQL.
What "wall" holds is the whole command, Ray's start and end included; what "asking" holds is the time between the first and the last request.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.helpers import environ  # noqa: E402
from tests.servers.llm import LLMProcess  # noqa: E402
from tests.servers.postgres import Database, PostgresServer  # noqa: E402

PERSONAS = 20


@dataclass(frozen=True)
class Figures:
    """What one run took (seconds), what the server and the database counted."""

    wall: float
    asking: float
    requests: int
    duplicates: int
    transactions: int
    rows: int

    @property
    def rate(self) -> float:
        """Calls per second while it asked."""
        return self.rows / self.asking


def write_rows(folder: Path, calls: int) -> None:
    rows = (
        {
            "prompt": f"Question {i}: how does one do this well?",
            "response": f"Answer {i}: one step after the other. " * 12,
        }
        for i in range(calls // PERSONAS)
    )
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_recipe(folder: Path, name: str, url: str, database: Database, at_once: int, **more: Any) -> Path:
    content = {
        "name": name,
        "source": {"path": "rows.jsonl"},
        "panel": {"use": "demographic", "sample": PERSONAS},
        "provider": {"name": "openai", "model": "gpt-4o-mini", "base_url": f"{url}/v1"},
        "limits": {"concurrency": at_once},
        "ledger": database.url,
        "output": name,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content | more))
    return path


def run(recipe: Path, database: Database, server: LLMProcess, log: Path, *, kills: int = 0, calls: int = 0) -> Figures:
    """One `dprm run --no-fit` to its end; `kills` of its actors are killed on the way."""
    server.reset()
    log.write_bytes(b"")
    begun = time.monotonic()
    command = [sys.executable, "-m", "dprm_data.cli", "run", str(recipe), "--no-fit", "--quiet"]
    with tempfile.TemporaryDirectory(prefix="ray-") as ray_folder, (recipe.parent / "output.txt").open("w+") as output:
        environment = environ(**database.environment, RAY_TMPDIR=ray_folder)
        process = subprocess.Popen(command, cwd=recipe.parent, env=environment, stdout=output, stderr=subprocess.STDOUT)
        for number in range(kills):
            while process.poll() is None and server.stats()["requests"] < calls * (number + 1) // (kills + 1):
                time.sleep(0.05)
            kill_one(ray_folder)
        if process.wait():
            output.seek(0)
            raise SystemExit(f"{recipe.name} failed:\n{output.read()[-3000:]}")
    wall = time.monotonic() - begun
    stats = server.stats()
    ended = [line["at"] for line in map(json.loads, log.read_text().splitlines())]
    rows = database.execute("SELECT COUNT(*), COUNT(DISTINCT key) FROM dprm.calls")[0]
    transactions = database.execute(
        "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    )
    return Figures(
        wall=wall,
        asking=max(ended) - min(ended),
        requests=stats["requests"],
        duplicates=stats["requests"] - stats["distinct"],
        transactions=int(transactions[0][0]),
        rows=rows[1],
    )


def kill_one(ray_folder: str) -> None:
    """SIGKILL to the first process that asks."""
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            ours = f"RAY_TMPDIR={ray_folder}".encode() in (folder / "environ").read_bytes()
            if ours and (folder / "cmdline").read_bytes().startswith(b"ray::MapWorker(MapBatches(AnnotatorActor)"):
                os.kill(int(folder.name), signal.SIGKILL)
                return


@contextlib.contextmanager
def surroundings(latency: float) -> Iterator[tuple[Path, LLMProcess, Path, PostgresServer]]:
    with tempfile.TemporaryDirectory() as temporary, PostgresServer() as databases:
        folder = Path(temporary)
        log = folder / "log.jsonl"
        with LLMProcess("--latency", str(latency), "--log", str(log)) as server:
            yield folder, server, log, databases


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--at-once", type=int, default=64, help="per process or actor")
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--kills", type=int, default=0, help="kill so many actors in a third run")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found: dict[str, Figures] = {}
    with surroundings(given.latency) as (folder, server, log, databases):
        write_rows(folder, given.calls)
        on_ray = {"engine": "ray", "ray": {"actors": given.actors}}
        plans: list[tuple[str, dict[str, Any], int]] = [
            ("one process", {}, 0),
            (f"Ray, {given.actors} actors", on_ray, 0),
        ]
        if given.kills:
            plans.append((f"Ray, {given.kills} actors killed", on_ray, given.kills))
        for number, (name, more, kills) in enumerate(plans):
            with databases.database() as database:
                recipe = write_recipe(folder, f"bench{number}", server.url, database, given.at_once, **more)
                found[name] = run(recipe, database, server, log, kills=kills, calls=given.calls)
    if given.json:
        print(json.dumps({"runs": {name: asdict(figures) for name, figures in found.items()}, **vars(given)}))
    else:
        report(found, given)


def report(found: dict[str, Figures], given: argparse.Namespace) -> None:
    print(
        f"{given.calls:,} calls, {given.at_once} at once per process, {given.latency * 1000:g} ms each, on {os.cpu_count()} processors\n"
    )
    print(
        f"{'':28} {'wall s':>7} {'asking s':>9} {'calls/s':>8} {'requests':>9} {'sent twice':>11} {'rows':>7} {'transactions per call':>22}"
    )
    for name, each in found.items():
        print(
            f"{name:28} {each.wall:7.1f} {each.asking:9.1f} {each.rate:8.0f} {each.requests:9,} {each.duplicates:11,} {each.rows:7,} "
            f"{each.transactions / each.rows:22.3f}"
        )
    alone, spread = list(found.values())[:2]
    print(f"\ncalls per second on Ray over one process's    {spread.rate / alone.rate:.2f}")
    print(f"wall on Ray over one process's                {spread.wall / alone.wall:.2f}")


if __name__ == "__main__":
    main()
