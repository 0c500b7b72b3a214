"""How fast rows become stored items, and in how much memory.

    python benchmarks/items.py [ROWS] [--shape response|pair|messages] [--format jsonl|csv|parquet]

Writes a source of ROWS made-up rows (default 1,000,000) to a temporary folder, stores it in a fresh process, and prints rows per second,
the peak memory of that process, and how fast the stored items are read again.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

FILLER = "with some words in between that make it as long as a short question usually is "


def made_up(rows: int, shape: str) -> Iterator[dict[str, Any]]:
    for i in range(rows):
        prompt, good, bad = f"Question {i // 2}, {FILLER}?", f"Answer {i}, {FILLER * 2}.", f"No {i}, {FILLER * 2}."
        if shape == "response":
            yield {"prompt": prompt, "response": good, "topic": "made up", "n": i}
        elif shape == "pair":
            yield {"prompt": prompt, "chosen": good, "rejected": bad}
        else:
            yield {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": good}]}


def write_source(path: Path, rows: int, shape: str) -> None:
    if path.suffix == ".jsonl":
        with path.open("wb") as file:
            file.writelines(orjson.dumps(row) + b"\n" for row in made_up(rows, shape))
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(next(made_up(1, shape))))
            writer.writeheader()
            writer.writerows(made_up(rows, shape))
    else:
        made = made_up(rows, shape)
        first = pa.Table.from_pylist(list(itertools.islice(made, 50_000)))
        with pq.ParquetWriter(
            path, first.schema
        ) as writer:  # piece by piece: a child's peak memory begins at its parent's
            writer.write_table(first)
            while piece := list(itertools.islice(made, 50_000)):
                writer.write_table(pa.Table.from_pylist(piece))


def measure(source: Path, out: Path) -> None:
    from dprm_data.ingest.items import load_items, store_items
    from dprm_data.ingest.sources import read_items
    from dprm_data.recipe.recipe import SourceConfig

    before = _peak_mb()
    begin, cpu = time.perf_counter(), time.process_time()
    report = store_items(read_items(SourceConfig(path=str(source)), base=source.parent), out)
    stored, cpu = time.perf_counter() - begin, time.process_time() - cpu
    print(f"stored {report.items:,} items of {report.rows:,} rows in {stored:.1f} s ({cpu:.1f} s of CPU)")
    print(f"{report.rows / stored:,.0f} rows/s ({report.rows / cpu:,.0f} rows per CPU second)")
    print(f"peak memory {_peak_mb():,.0f} MB ({before:,.0f} MB after the imports)")
    begin = time.perf_counter()
    count = sum(1 for _ in load_items(out))
    read = time.perf_counter() - begin
    print(f"read {count:,} items again in {read:.1f} s; peak memory {_peak_mb():,.0f} MB")


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("rows", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--shape", choices=["response", "pair", "messages"], default="response")
    parser.add_argument("--format", choices=["jsonl", "csv", "parquet"], default="jsonl")
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)  # given: measure in this process
    arguments = parser.parse_args()
    if arguments.source:
        measure(arguments.source, arguments.source.parent / "items.parquet")
        return
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / f"source.{arguments.format}"
        write_source(source, arguments.rows, arguments.shape)
        subprocess.run([sys.executable, __file__, "--source", str(source)], check=True)


if __name__ == "__main__":
    main()
