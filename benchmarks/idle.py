"""What idle coroutines cost: processor time of a run with 2,000 calls in flight, most of which wait for the first call of their item.

python -m benchmarks.idle            3,000 calls about 200 items, answered after half a second to five
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dprm_data import FunctionProvider  # noqa: E402
from dprm_data.providers.request import Answer, Request  # noqa: E402
from tests.engine.helpers import annotate, items, label, work  # noqa: E402


async def answer(request: Request) -> Answer:
    await asyncio.sleep(random.uniform(0.5, 5.5))  # so that every call ends by itself
    return label()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--personas", type=int, default=15)
    parser.add_argument("--concurrency", type=int, default=2000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        asked, rows = work(given.personas), items(given.items)
        counters = annotate(Path(folder), FunctionProvider(answer), asked, rows, concurrency=given.concurrency)
        print(f"{counters.calls:,} calls, {time.process_time() - begun:.1f} CPU s")


if __name__ == "__main__":
    main()
