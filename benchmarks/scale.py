"""Scale: a plan and a first call over a million items, memory that stays flat, and resuming a ledger of millions of calls.

    python -m benchmarks.scale                        1,000,000 items x 20 personas; a ledger of 5,000,000 calls
    python -m benchmarks.scale --items 200000 --done 40000

Everything is real but the old ledger's rows, which are made in place (random keys, usual sizes) instead of being asked one by one: 20 calls
for each of the first `--done` items, which are marked as done. Seconds until the first call are read from the server's own log.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PERSONAS = 20
DPRM = str(Path(sys.executable).parent / "dprm")
WATCHED = 20.0  # seconds of calls, to see whether memory grows

_FILL = """
PRAGMA synchronous = OFF;
PRAGMA cache_size = -400000;
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {calls})
INSERT INTO calls SELECT i, randomblob(32), 0, 'scale', 'answered', '{{"label":"neutral and harmless"}}', 'stop', NULL, 'gpt-4o-mini',
    560, 9, 0, 0, 9e-5, 0.6, 1760000000.0 + i, '', 'genai-prices' FROM n;
INSERT INTO totals VALUES ('scale', {calls} * 9e-5);
COMMIT;
"""


def write_rows(path: Path, count: int) -> None:
    with path.open("w") as file:
        for i in range(count):
            row = {
                "prompt": f"Question {i}: how does one do this well?",
                "response": f"Answer {i}: one step after the other.",
            }
            file.write(json.dumps(row) + "\n")


def write_recipe(folder: Path, url: str) -> Path:
    recipe = {
        "name": "scale",
        "source": {"path": "rows.jsonl"},
        "panel": {"use": "demographic", "sample": PERSONAS},
        "provider": {"name": "openai", "model": "gpt-4o-mini", "base_url": f"{url}/v1"},
        "budget": {"max_cost": 100_000},
        "limits": {"concurrency": 64},
        "output": "run",
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def timed(command: list[str], folder: Path) -> tuple[float, float, float, dict[str, Any]]:
    """Seconds, CPU seconds, MiB at the peak, and what the command said."""
    begun = time.monotonic()
    with (folder / "out.json").open("w") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed")
    said = json.loads((folder / "out.json").read_text())
    return time.monotonic() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, said


def first_call(recipe: Path, server: Any, log: Path) -> tuple[float, float, list[tuple[int, float]]]:
    """Start the run; seconds and CPU seconds until its first call, then (calls, MiB) while it goes on for a while."""
    log.write_bytes(b"")
    server.reset()
    begun = time.time()
    process = subprocess.Popen(
        [DPRM, "run", str(recipe), "--no-fit", "--quiet"], cwd=recipe.parent, stderr=subprocess.DEVNULL
    )
    while not log.stat().st_size:
        time.sleep(0.02)
        if process.poll() is not None:
            raise SystemExit("the run ended without a call")
    cpu = _cpu(process.pid)
    line = json.loads(log.read_text().splitlines()[0])
    first = line["at"] - line["seconds"] - begun
    seen: list[tuple[int, float]] = []
    until = time.monotonic() + WATCHED
    while time.monotonic() < until and process.poll() is None:
        seen.append((server.stats()["answered"], _memory(process.pid)))
        time.sleep(WATCHED / 8)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    process.wait(60)
    return first, cpu, seen


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def fill_ledger(folder: Path, recipe: Path, done: int) -> int:
    """A ledger as an earlier run would have left it; returns its size in bytes."""
    from itertools import islice

    from dprm_data.core.ledger_address import LedgerAddress
    from dprm_data.ingest.items import load_items
    from dprm_data.ledger.ledger import Ledger
    from dprm_data.recipe.recipe import Recipe
    from dprm_data.runs.run import Run

    os.chdir(folder)
    job = Run(Recipe.load(recipe))
    path = folder / "run" / "ledger.sqlite"
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink(missing_ok=True)
    Ledger(LedgerAddress.parse(path), run="scale").close()
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(_FILL.format(calls=done * PERSONAS))
    plan = job.work.plan_key()

    def rows() -> Iterator[tuple[bytes, bytes]]:
        for item in islice(load_items(job.folder.table("items")), done):
            yield plan, item.item_id.encode()

    db.execute("BEGIN")
    db.executemany("INSERT INTO done VALUES (?, ?)", rows())
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--done", type=int, default=250_000, help="items of the old ledger, 20 calls each")
    parser.add_argument("--fill", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fill:
        print(fill_ledger(Path(given.fill[0]), Path(given.fill[1]), given.done))
        return
    from tests.servers.llm import LLMProcess

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        log = folder / "log.jsonl"
        with LLMProcess("--latency", "0.05", "--log", str(log)) as server:
            recipe = write_recipe(folder, server.url)
            write_rows(folder / "rows.jsonl", given.items)
            plan = [DPRM, "plan", str(recipe), "--json"]
            seconds, cpu, memory, _ = timed(plan, folder)
            print(
                f"{given.items:,} rows read, stored and planned: {seconds:.1f} s, {cpu:.1f} s of CPU, {memory:.0f} MiB"
            )
            seconds, cpu, memory, said = timed(plan, folder)
            print(
                f"planned again ({said['annotations']:,} annotations): {seconds:.1f} s, {cpu:.1f} s of CPU, {memory:.0f} MiB"
            )
            show("first call of the run", *first_call(recipe, server, log))
            begun = time.monotonic()
            command = [
                sys.executable,
                "-m",
                "benchmarks.scale",
                "--fill",
                str(folder),
                str(recipe),
                "--done",
                str(given.done),
            ]
            size = int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
            filled = time.monotonic() - begun
            print(f"a ledger of {given.done * PERSONAS:,} calls: {size / 1e9:.2f} GB (made in {filled:.0f} s)")
            seconds, cpu, memory, _ = timed(plan, folder)
            print(f"planned with it: {seconds:.1f} s, {cpu:.1f} s of CPU, {memory:.0f} MiB")
            show("first call after resuming", *first_call(recipe, server, log))


def show(what: str, first: float, cpu: float, seen: list[tuple[int, float]]) -> None:
    print(f"{what}: after {first:.1f} s, {cpu:.1f} s of CPU")
    print("  memory: " + ", ".join(f"{memory:.0f} MiB at {calls:,} calls" for calls, memory in seen))


if __name__ == "__main__":
    main()
