"""Workers: 1, 2 and 4 processes on one PostgreSQL ledger beside the one process on a file, in one run, and what a call costs the database.

    python -m benchmarks.workers                     both settings below, three rounds that take turns
    python -m benchmarks.workers --rounds 1 --calls 1000
    python -m benchmarks.workers --url postgresql://user@host/empty     an empty database of yours instead of a temporary server here

Two settings, because two things can bind:

    waiting     32 calls at once per process, half a second each: the provider's latency binds, as with a real one. Do the workers add up?
    processor   64 at once, 20 ms each: the processors bind. What do leases, and the database, cost beside the file?

Calls per second are counted at the provider's double, a process of its own, from its first request to its last; starting the processes is
not in it. Double, database and workers share this machine's processors: on two of them four workers cannot be four times as fast once the
processors bind. The database's figures are differences of its own statistics (pg_stat_database): transactions, about as many as round
trips, and rows written.
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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.engine import ENGINE, PERSONAS, ROOT, forget
from dprm_data.core.ledger_address import LedgerAddress

SETTINGS = {"waiting": (0.5, 32), "processor": (0.02, 64)}  # seconds per call, calls at once per process
WAYS = {"file": 1, "postgres 1": 1, "postgres 2": 2, "postgres 4": 4}
_COUNTED = "xact_commit + xact_rollback, tup_inserted + tup_updated + tup_deleted"


@dataclass(frozen=True)
class Figures:
    """Of one way in one round: calls a second at the double; CPU seconds of all workers per 1,000 calls; the database's transactions and
    written rows per call (0 for the file)."""

    rate: float
    cpu: float
    transactions: float
    rows: float


def one_way(folder: Path, recipe: Path, workers: int, server: Any, url: str | None, calls: int) -> Figures:
    """Ask everything anew by so many processes."""
    empty(folder, url)
    server.reset()
    before = counted(url)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ENGINE, str(recipe)], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        for _ in range(workers)
    ]
    cpu = 0.0
    for process in processes:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"a worker failed ({process.returncode})")
        cpu += used.ru_utime + used.ru_stime
    stats = server.stats(details=True)
    if not stats["requests"] == stats["distinct"] == calls:
        raise SystemExit(f"{stats['requests']} requests, {stats['distinct']} distinct, instead of {calls}")
    after = counted(url, settle=True)
    arrivals = stats["arrivals"]
    transactions, rows = ((new - old) / calls for new, old in zip(after, before, strict=True))
    return Figures(calls / (arrivals[-1] - arrivals[0]), 1000 * cpu / calls, transactions, rows)


def empty(folder: Path, url: str | None) -> None:
    """No ledger is there."""
    forget(folder)
    if url:
        from dprm_data.ledger.postgres_pool import connect

        with connect(LedgerAddress.parse(url)) as db:
            db.execute("DROP SCHEMA IF EXISTS dprm CASCADE")


def counted(url: str | None, *, settle: bool = False) -> tuple[int, int]:
    """The database's own counts of transactions and written rows; a server tells them with up to a second's delay."""
    if not url:
        return 0, 0
    from dprm_data.ledger.postgres_pool import connect

    if settle:
        time.sleep(1.5)
    with connect(LedgerAddress.parse(url)) as db:
        row = db.execute(f"SELECT {_COUNTED} FROM pg_stat_database WHERE datname = current_database()").fetchone()
    assert row
    return int(row[0]), int(row[1])


@contextmanager
def database(url: str | None) -> Iterator[str]:
    """The given one, or a temporary one."""
    if url:
        from dprm_data.ledger.factory import exists

        if exists(LedgerAddress.parse(url)):
            raise SystemExit("there is a ledger in that database; give an empty one")
        yield url
        return
    from tests.servers.postgres import PASSWORD, PostgresServer

    os.environ["PGPASSWORD"] = PASSWORD
    with PostgresServer() as server, server.database() as made:
        yield made.url


def recipes(folder: Path, at_once: int, url: str) -> dict[bool, Path]:
    """The prepared recipe on a file, and the same on the database."""
    content = yaml.safe_load((folder / "recipe.yaml").read_text())
    content["limits"] = {"concurrency": at_once}
    made = {}
    for shared in (False, True):
        made[shared] = folder / ("postgres.yaml" if shared else "file.yaml")
        made[shared].write_text(yaml.safe_dump(content | ({"ledger": url} if shared else {})))
    return made


def measured(given: argparse.Namespace) -> dict[str, dict[str, Figures]]:
    """Medians of the rounds, by setting and way."""
    from tests.servers.llm import LLMProcess

    found: dict[str, dict[str, Figures]] = {}
    with tempfile.TemporaryDirectory() as temporary, database(given.url) as url, LLMProcess() as server:
        folder = Path(temporary)
        preparing = ["-m", "benchmarks.engine", "--prepare", str(folder), server.url, "--calls", str(given.calls)]
        subprocess.run([sys.executable, *preparing], cwd=ROOT, check=True)
        for setting, (latency, at_once) in SETTINGS.items():
            server.script(latency=latency)
            made = recipes(folder, at_once, url)
            rounds = []
            for _ in range(given.rounds):
                rounds.append(
                    {
                        way: one_way(
                            folder, made[way != "file"], workers, server, url if way != "file" else None, given.calls
                        )
                        for way, workers in WAYS.items()
                    }
                )
            found[setting] = {way: _median([each[way] for each in rounds]) for way in WAYS}
    return found


def _median(figures: list[Figures]) -> Figures:
    names = asdict(figures[0])
    return Figures(**{name: statistics.median(getattr(each, name) for each in figures) for name in names})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=4000, help=f"a multiple of {PERSONAS}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--url", help="an empty database; its schema dprm is dropped before every measurement")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measured(given)
    if given.json:
        settings = {name: {way: asdict(each) for way, each in ways.items()} for name, ways in found.items()}
        print(json.dumps({"settings": settings, "processors": os.cpu_count(), **vars(given)}))
        return
    print(f"{given.calls:,} calls, medians of {given.rounds} rounds, {os.cpu_count()} processors for all")
    for setting, ways in found.items():
        latency, at_once = SETTINGS[setting]
        print(f"\n{setting}: {at_once} at once per process, {latency * 1000:g} ms each")
        print(
            f"{'':12} {'calls/s':>8} {'ratio':>6} {'CPU ms/call':>12} {'transactions/call':>18} {'rows written/call':>18}"
        )
        for way, each in ways.items():
            ratio = each.rate / ways["file"].rate
            print(
                f"{way:12} {each.rate:8.0f} {ratio:6.2f} {each.cpu:12.2f} {each.transactions:18.3f} {each.rows:18.2f}"
            )


if __name__ == "__main__":
    main()
