"""Memory that the tokens of a training take in each process: lists of Python integers, and the table that is shared.

    python -m benchmarks.token_memory [rows]

Ids are drawn by Zipf's law from a vocabulary of 128,000, whose first 256 are the bytes; rows have 20 to 600.
"""

from __future__ import annotations

import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dprm_trainers.data.token_table import TokenTable


def main() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(20, 600, int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
    drawn = [np.minimum(256 + rng.zipf(1.2, length), 128_000).tolist() for length in lengths]
    # Tokenizers make a new integer for each token (only those up to 256 are shared by Python itself).
    as_lists = [[int(str(token)) for token in row] for row in drawn]
    tokens = int(lengths.sum())
    with tempfile.TemporaryDirectory() as folder:
        TokenTable.of(as_lists).save(Path(folder), {})
        for name, make in (
            ("lists of Python integers", lambda: [[int(str(token)) for token in row] for row in drawn]),
            ("a table in memory", lambda: TokenTable.of(as_lists)),
            ("a table mapped from a file", lambda: TokenTable.open(Path(folder))),
        ):
            print(f"{name}: {_bytes(make) / tokens:.2f} bytes a token, of {tokens:,}")


def _bytes(make: Callable[[], Any]) -> int:
    tracemalloc.start()
    kept = make()
    found = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return found


if __name__ == "__main__":
    main()
