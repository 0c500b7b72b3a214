"""Dynamic batching: rows of several requests in one batch of the model.

A trainer may send its rollouts one by one (OpenRLHF does), and a batch of thirty-two takes little longer than a single
row. A batch starts when it is full, or when its oldest row has waited `max_wait`; rows accumulate while the model is
busy. The model runs in one thread; requests wait in the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.data.rows import Message
from dprm_trainers.reward.scorer import Predictions, Scorer
from dprm_trainers.serving.service_metrics import Metrics


class Crowded(TrainingError):
    """Too many responses are waiting for a batch."""


@dataclass(eq=False)
class _Request:
    """The rows of one request: how many are in batches already, the results so far, and the future that completes with
    the last."""

    prompts: Sequence[list[Message]]
    responses: Sequence[str]
    done: asyncio.Future[None]
    arrived: float
    taken: int = 0
    logits: dict[int, Floats] = field(default_factory=dict)
    cut: dict[int, bool] = field(default_factory=dict)

    @property
    def waiting(self) -> int:
        return len(self.responses) - self.taken


@dataclass(frozen=True)
class _Row:
    request: _Request
    place: int


class Batcher:
    """Batches for one scorer. `run` must be a task in the event loop in which `predict` is awaited."""

    def __init__(
        self, scorer: Scorer, metrics: Metrics, *, max_batch: int, max_wait: float, max_queue: int = 131_072
    ) -> None:
        self._scorer, self._metrics = scorer, metrics
        self._max_batch, self._max_wait, self._max_queue = max_batch, max_wait, max_queue
        self._queue: dict[_Request, None] = {}  # in the order of arrival; any request can leave at once
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reward-model")

    async def predict(self, prompts: Sequence[list[Message]], responses: Sequence[str]) -> Predictions:
        """The predictions for these rows (at least one). If it is cancelled, rows not yet in a batch are dropped.

        Raises `Crowded`, and what the scorer raises for any of the rows.
        """
        if self._queue and self._metrics.waiting + len(responses) > self._max_queue:
            raise Crowded(
                f"{self._metrics.waiting} responses are waiting for a batch; the limit is {self._max_queue}",
                hint="Retry, or raise --max-queue.",
            )
        request = _Request(prompts, responses, asyncio.get_running_loop().create_future(), time.monotonic())
        self._queue[request] = None
        self._metrics.waiting += len(responses)
        self._arrived.set()
        try:
            await request.done
        finally:
            self._drop(request)
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
        while not self._queue:
            self._arrived.clear()
            await self._arrived.wait()
        until = next(iter(self._queue)).arrived + self._max_wait
        while self._metrics.waiting < self._max_batch and (left := until - time.monotonic()) > 0:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left)
        rows: list[_Row] = []
        while self._queue and len(rows) < self._max_batch:
            request = next(iter(self._queue))
            count = min(self._max_batch - len(rows), request.waiting)
            rows += [_Row(request, place) for place in range(request.taken, request.taken + count)]
            request.taken += count
            self._metrics.waiting -= count
            if not request.waiting:
                del self._queue[request]
        return rows

    def _drop(self, request: _Request) -> None:
        """Take the rows of a request that failed, or whose caller is gone, out of the queue."""
        if request in self._queue:
            del self._queue[request]
            self._metrics.waiting -= request.waiting

    def _fail(self, request: _Request, error: Exception) -> None:
        self._drop(request)
        if not request.done.done():
            request.done.set_exception(error)

    async def _judge(self, rows: list[_Row]) -> None:
        """Score all rows at once; if that fails, each request alone, so that one bad request fails only itself."""
        try:
            found = await self._seen(rows)
        except Exception as error:
            requests = {id(row.request): row.request for row in rows}
            if len(requests) == 1:
                self._fail(rows[0].request, error)
                return
            for request in requests.values():
                await self._judge([row for row in rows if row.request is request])
            return
        for i, row in enumerate(rows):
            _add(row, found.logits[i], bool(found.cut[i]))

    async def _seen(self, rows: list[_Row]) -> Predictions:
        began = time.monotonic()
        prompts = [row.request.prompts[row.place] for row in rows]
        responses = [row.request.responses[row.place] for row in rows]
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
    if len(request.logits) == len(request.responses) and not request.done.done():
        request.done.set_result(None)
