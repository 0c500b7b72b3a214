"""Dynamic batching: rows of several requests in one batch of the model.

A trainer may send its rollouts one by one (OpenRLHF does), and a batch of thirty-two takes little longer than a single
row. A batch starts when it is full, or when its oldest row has waited `max_wait`; rows accumulate while the model is
busy. The model runs in one thread; requests wait in the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_trainers.data.rows import Message
from dprm_trainers.reward.scorer import Predictions, Scorer
from dprm_trainers.serving.service_metrics import Metrics


@dataclass(eq=False)
class _Request:
    """The rows of one request: the results so far, and the future that completes with the last."""

    done: asyncio.Future[None]
    missing: int
    logits: dict[int, Floats] = field(default_factory=dict)
    cut: dict[int, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class _Row:
    request: _Request
    place: int
    prompt: list[Message]
    response: str
    arrived: float


class Batcher:
    """Batches for one scorer. `run` must be a task in the event loop in which `predict` is awaited."""

    def __init__(self, scorer: Scorer, metrics: Metrics, *, max_batch: int, max_wait: float) -> None:
        self._scorer, self._metrics = scorer, metrics
        self._max_batch, self._max_wait = max_batch, max_wait
        self._rows: deque[_Row] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reward-model")

    async def predict(self, prompts: Sequence[list[Message]], responses: Sequence[str]) -> Predictions:
        """The predictions for these rows (at least one). Raises what the scorer raises for any of them."""
        request = _Request(asyncio.get_running_loop().create_future(), len(responses))
        now = time.monotonic()
        for place, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            self._rows.append(_Row(request, place, prompt, response, now))
        self._metrics.waiting = len(self._rows)
        self._arrived.set()
        await request.done
        places = range(len(responses))
        return Predictions(np.stack([request.logits[i] for i in places]), np.array([request.cut[i] for i in places]))

    async def run(self) -> None:
        """Score batch after batch until cancelled."""
        while True:
            rows = await self._next_batch()
            if rows:
                await self._judge(rows)

    def close(self) -> None:
        """Shut the model thread down after its current batch."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _next_batch(self) -> list[_Row]:
        while not self._rows:
            self._arrived.clear()
            await self._arrived.wait()
        until = self._rows[0].arrived + self._max_wait
        while len(self._rows) < self._max_batch and (left := until - time.monotonic()) > 0:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left)
        taken = [self._rows.popleft() for _ in range(min(self._max_batch, len(self._rows)))]
        self._metrics.waiting = len(self._rows)
        return [row for row in taken if not row.request.done.done()]  # the request may have failed meanwhile

    async def _judge(self, rows: list[_Row]) -> None:
        """Score all rows at once; if that fails, each request alone, so that one bad request fails only itself."""
        try:
            found = await self._seen(rows)
        except Exception as error:
            requests = {id(row.request): row.request for row in rows}
            if len(requests) == 1:
                _fail(rows[0].request, error)
                return
            for request in requests.values():
                await self._judge([row for row in rows if row.request is request])
            return
        for i, row in enumerate(rows):
            _add(row, found.logits[i], bool(found.cut[i]))

    async def _seen(self, rows: list[_Row]) -> Predictions:
        began = time.monotonic()
        prompts, responses = [row.prompt for row in rows], [row.response for row in rows]
        self._metrics.batches += 1
        try:
            found = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._scorer.predict, prompts, responses
            )
        finally:
            self._metrics.model_seconds += time.monotonic() - began
        self._metrics.rows += len(rows)
        self._metrics.cut_rows += int(found.cut.sum())
        return found


def _add(row: _Row, logits: Floats, cut: bool) -> None:
    request = row.request
    request.logits[row.place], request.cut[row.place] = logits, cut
    request.missing -= 1
    if not request.missing and not request.done.done():
        request.done.set_result(None)


def _fail(request: _Request, error: Exception) -> None:
    if not request.done.done():
        request.done.set_exception(error)
