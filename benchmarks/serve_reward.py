"""Rows per second of `dprm serve`: read in batches, and read one by one.

    python -m benchmarks.serve_reward [--rows 512] [--callers 32] [--hidden 256] [--layers 4] [--words 64]

A Llama classifier with random weights on one thread (`--threads`), responses of random words. Callers post one row per request, as OpenRLHF does, each its next when it has its answer; then one caller posts all
rows in one request. Each is asked of two services that differ in `--max-batch` alone: 32, and 1. The ratio is of neighbouring runs on the same machine; the numbers themselves are that machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from tests.servers.rewards import RewardServer
from tests.trainers import tiny


async def posted(server: RewardServer, bodies: list[dict[str, Any]], callers: int) -> float:
    """Seconds until all bodies are answered, by so many callers."""
    waiting = iter(bodies)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3600)) as session:

        async def caller() -> None:
            for body in waiting:
                async with session.post(f"{server.url}/score", json=body) as answer:
                    answer.raise_for_status()
                    await answer.read()

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--words", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    draw = random.Random(0)
    texts = [" ".join(draw.choices(tiny.WORDS, k=arguments.words)) for _ in range(arguments.rows)]
    single = [{"prompts": ["what is red"], "responses": [text]} for text in texts]
    together = [{"prompts": ["what is red"] * len(texts), "responses": texts}]
    speed: dict[tuple[str, int], float] = {}
    with tempfile.TemporaryDirectory() as folder:
        model = tiny.reward_model(Path(folder) / "model", context=256, hidden=arguments.hidden, layers=arguments.layers)
        for batch in (1, arguments.batch):
            flags = ("--max-batch", batch, "--max-rows", len(texts), "--max-concurrency", 4 * arguments.callers)
            with RewardServer("-m", model, *flags, OMP_NUM_THREADS=str(arguments.threads)) as server:
                asyncio.run(posted(server, single[: arguments.callers], arguments.callers))  # warm
                speed["a row per request", batch] = len(texts) / asyncio.run(posted(server, single, arguments.callers))
                speed["all rows in one", batch] = len(texts) / asyncio.run(posted(server, together, 1))
    weights = 10 * arguments.layers * arguments.hidden**2 / 1e6
    print(
        f"{arguments.rows} rows of {arguments.words} words, {arguments.callers} callers, about {weights:.1f} M weights, {arguments.threads} thread(s)\n"
    )
    print(f"| | one by one, rows/s | in batches of {arguments.batch}, rows/s | ratio |\n|---|---:|---:|---:|")
    for how in dict.fromkeys(name for name, _ in speed):
        one, many = speed[how, 1], speed[how, arguments.batch]
        print(f"| {how} | {one:,.0f} | {many:,.0f} | {many / one:.2f} |")


if __name__ == "__main__":
    main()
