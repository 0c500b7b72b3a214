"""Ledgers: what keeping and finding a call costs, in a file and in PostgreSQL, in one run.

    python -m benchmarks.ledgers                    200,000 calls each, 3 rounds that take turns
    python -m benchmarks.ledgers --calls 20000 --rounds 1
    python -m benchmarks.ledgers --url postgresql://user@host/empty      a server of your own instead of a temporary one on this machine

Through the door the engine uses: `record` returns when the commit is on disk, with so many calls waiting at a time. Then `find` in the
order of keys' hashes, 500 at a time as the engine asks, from a ledger that holds them all. Then a copy into an empty ledger of the other kind. Calls
are of usual size: an answer of 33 characters. The temporary server has PostgreSQL's defaults but for 64 MB of shared buffers, and runs on the
same processors; a server elsewhere adds its network's round trips.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dprm_data.core.ledger_address import LedgerAddress  # noqa: E402
from dprm_data.ledger.call import Reply  # noqa: E402
from dprm_data.ledger.copy import copy_ledger  # noqa: E402
from dprm_data.ledger.factory import opened  # noqa: E402
from dprm_data.ledger.ledger import Ledger  # noqa: E402
from dprm_data.providers.request import Usage  # noqa: E402

WAITING = (1, 64, 1024)  # calls that wait for the disk at a time
WRITERS = (1, 2, 4)  # processes on one PostgreSQL ledger
FIND = 500
REPLY = Reply(
    "answered", '{"label":"neutral and harmless"}', usage=Usage(560, 9), model="gpt-4o-mini", cost=9e-5, latency=0.6
)


def key(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "big")).digest()


async def record(ledger: Ledger, first: int, count: int, waiting: int) -> None:
    numbers = iter(range(first, first + count))

    async def one() -> None:
        for number in numbers:
            await ledger.record(key(number), REPLY)

    await asyncio.gather(*(one() for _ in range(waiting)))


def inserting(place: LedgerAddress, first: int, count: int, waiting: int) -> float:
    """Rows a second."""
    with Ledger(place, run="bench") as ledger:
        begun = time.perf_counter()
        asyncio.run(record(ledger, first, count, waiting))
        return count / (time.perf_counter() - begun)


def finding(place: LedgerAddress, count: int) -> float:
    """Rows a second."""
    keys = [key(number) for number in range(count)]
    with Ledger(place, readonly=True) as ledger:
        begun = time.perf_counter()
        found = sum(len(ledger.find(keys[start : start + FIND])) for start in range(0, count, FIND))
        seconds = time.perf_counter() - begun
    if found != count:
        raise SystemExit(f"{found} calls were found instead of {count}")
    return count / seconds


def writing_together(address: LedgerAddress, writers: int, count: int, waiting: int) -> float:
    """Rows a second of so many processes, from their common start to the end of the last."""
    each = count // writers
    command = [sys.executable, "-m", "benchmarks.ledgers", "--write", address.text]
    processes = [
        subprocess.Popen(
            [*command, str((writer + 1) * 10**9), str(each), str(waiting)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for writer in range(writers)
    ]
    for process in processes:
        assert process.stdout and process.stdin
        process.stdout.readline()
    begun = time.perf_counter()
    for process in processes:
        assert process.stdin
        process.stdin.close()
    if any(process.wait() for process in processes):
        raise SystemExit("a writer failed")
    return each * writers / (time.perf_counter() - begun)


def write(url: str, first: int, count: int, waiting: int) -> None:
    """One of those processes."""
    with Ledger(LedgerAddress.parse(url), run="bench") as ledger:
        print("ready", flush=True)
        sys.stdin.read()
        asyncio.run(record(ledger, first, count, waiting))


class Places:
    """Ledgers that do not exist yet."""

    def __init__(self, folder: Path, server: Any, url: str | None) -> None:
        self._folder, self._server, self._url, self._number = folder, server, url, 0

    @contextmanager
    def sqlite(self) -> Iterator[LedgerAddress]:
        self._number += 1
        path = self._folder / f"{self._number}.sqlite"
        yield LedgerAddress.parse(path)
        for file in self._folder.glob(f"{path.name}*"):
            file.unlink()

    @contextmanager
    def postgres(self) -> Iterator[LedgerAddress]:
        if self._url is None:
            with self._server.database() as database:
                yield database.address
            return
        address = LedgerAddress.parse(self._url)
        yield address
        from dprm_data.ledger.postgres_pool import connect

        with connect(address) as db:
            db.execute("DROP SCHEMA dprm CASCADE")


def one_round(places: Places, calls: int) -> dict[str, float]:
    """Every figure once."""
    figures: dict[str, float] = {}
    with places.sqlite() as file, places.postgres() as database:
        for kind, place in (("sqlite", file), ("postgres", database)):
            first = 0
            for waiting in WAITING:
                # One at a time is a commit a call: fewer of them are enough.
                count = max(calls // 100, 100) if waiting == 1 else calls // 2
                figures[f"{kind} insert {waiting}"] = inserting(place, first, count, waiting)
                first += count
            figures[f"{kind} find"] = finding(place, first)
            with opened(place) as store:
                figures[f"{kind} bytes"] = store.bytes_on_disk() / store.count("calls")
        with places.sqlite() as other:
            begun = time.perf_counter()
            copied = copy_ledger(database, other)
            figures["copy postgres to sqlite"] = copied.calls / (time.perf_counter() - begun)
    with places.sqlite() as file, places.postgres() as database:
        inserting(file, 0, calls, 1024)
        begun = time.perf_counter()
        copied = copy_ledger(file, database)
        figures["copy sqlite to postgres"] = copied.calls / (time.perf_counter() - begun)
    for writers in WRITERS:
        with places.postgres() as database:
            figures[f"{writers} writers"] = writing_together(database, writers, calls, 64)
    return figures


def table(figures: dict[str, float]) -> Iterator[str]:
    yield "| | SQLite | PostgreSQL | PostgreSQL / SQLite |"
    yield "|---|---|---|---|"
    rows = [(f"inserted, {waiting} waiting at a time (rows/s)", f"insert {waiting}") for waiting in WAITING]
    for words, name in (
        *rows,
        ("found, 500 at a time (rows/s)", "find"),
        ("on disk, with indexes (bytes/row)", "bytes"),
    ):
        ours, theirs = figures[f"sqlite {name}"], figures[f"postgres {name}"]
        yield f"| {words} | {ours:,.0f} | {theirs:,.0f} | {theirs / ours:.2f} |"
    into, out = figures["copy postgres to sqlite"], figures["copy sqlite to postgres"]
    yield f"| copied into it from the other (rows/s) | {into:,.0f} | {out:,.0f} | {out / into:.2f} |"
    for writers in WRITERS:
        rate = figures[f"{writers} writers"]
        yield f"| {writers} processes, 64 waiting in each (rows/s) | – | {rate:,.0f} | {rate / figures['1 writers']:.2f} × one |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--url", help="an empty database to use; its schema dprm is dropped after every measurement")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write:
        write(given.write[0], *map(int, given.write[1:]))
        return
    with tempfile.TemporaryDirectory() as folder, _server(given.url) as server:
        places = Places(Path(folder), server, given.url)
        rounds = [one_round(places, given.calls) for _ in range(given.rounds)]
    figures = {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}
    print(json.dumps(figures) if given.json else "\n".join(table(figures)))


@contextmanager
def _server(url: str | None) -> Iterator[Any]:
    if url:
        yield None
        return
    from tests.servers.postgres import PASSWORD, PostgresServer

    os.environ["PGPASSWORD"] = PASSWORD
    with PostgresServer() as server:
        yield server


if __name__ == "__main__":
    main()
