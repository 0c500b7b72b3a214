"""Batch mode, simulated: batches are handed over so many at a time, each is done after a while, and what failed goes into the next round."""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass

from benchmarks.simulation import Latency, fixed
from benchmarks.virtual_time import virtual_run

AN_HOUR = fixed(3600.0)


@dataclass(frozen=True)
class Batches:
    """A run in batch mode. at_once: batches that the provider works on at a time; failed: the chance that a row must be asked again;
    walk: seconds for the look through all items before every round."""

    calls: int
    size: int = 50_000
    at_once: int = 10
    latency: Latency = AN_HOUR
    failed: float = 0.0
    walk: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class BatchOutcome:
    seconds: float
    requests: int
    batches: int
    rounds: int


def simulate_batches(model: Batches) -> BatchOutcome:
    """Round after round, until no row has failed."""
    return virtual_run(_batches(model), model.seed)


async def _batches(model: Batches) -> BatchOutcome:
    dice, places = random.Random(model.seed), asyncio.Semaphore(model.at_once)
    begun, left, requests, batches, rounds = asyncio.get_running_loop().time(), model.calls, 0, 0, 0

    async def one() -> None:
        async with places:
            await asyncio.sleep(model.latency(dice))

    while left:
        rounds += 1
        await asyncio.sleep(model.walk)
        handed_over = math.ceil(left / model.size)
        await asyncio.gather(*(one() for _ in range(handed_over)))
        requests, batches = requests + left, batches + handed_over
        left = _binomial(dice, left, model.failed)
    return BatchOutcome(asyncio.get_running_loop().time() - begun, requests, batches, rounds)


def _binomial(dice: random.Random, many: int, chance: float) -> int:
    """How many of so many fail; by the normal approximation where they are many."""
    if many * chance * (1 - chance) > 1000:
        return max(0, round(dice.gauss(many * chance, math.sqrt(many * chance * (1 - chance)))))
    return sum(dice.random() < chance for _ in range(many)) if chance else 0
