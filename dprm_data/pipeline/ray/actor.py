"""The actor that annotates batches of items from Ray Data: a worker with its own event loop and ledger connection.

Errors go to the run's status and are not raised: an exception would make Ray kill the other actors in the middle of their calls.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import traceback
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dprm_data.core.errors import DprmError
from dprm_data.engine.counters import Counters
from dprm_data.engine.event_loop import BackgroundLoop, Stoppable
from dprm_data.ingest.items import Item, items_of
from dprm_data.runs.worker import Worker

if TYPE_CHECKING:
    from dprm_data.pipeline.ray.job_spec import JobSpec

_EVERY = 0.5  # seconds between two reports
_IDLE = 1.0  # seconds without a batch after which an actor leaves the other workers


class _StopRequested(Exception):
    """The run ends for a reason reported elsewhere."""


class AnnotatorActor:
    """Annotates one batch of items after another.

    job_spec: the run; status: the handle of the actor with the `RunStatus`.
    """

    def __init__(self, job_spec: JobSpec, status: Any) -> None:
        self._name = uuid.uuid4().hex
        self._job = job_spec
        self._status = status
        self._loop = BackgroundLoop()
        self._worker: Worker | None = None
        self._begun = 0  # batches, and the start-up
        self._lock = asyncio.Lock()
        self._leaving: asyncio.Task[None] | None = None
        self._ready = False
        try:
            self._run = job_spec.open()
            self._ledger = self._run.ledger()
            self._loop.run(self._start())
            self._ready = True
        except Exception as error:
            self._fail(_with_node(error) if job_spec.recipe.ray.address else error)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Make the missing calls for the items in this part of the items table. Returns the number of items."""
        items = list(items_of(batch))
        try:
            if items and self._ready:
                self._loop.run(self._annotate(items))
        except _StopRequested:
            pass
        except Exception as error:
            self._fail(error)
        return pa.table({"items": [len(items)]})

    async def _annotate(self, items: list[Item]) -> None:
        batch = items[0].item_id
        if not await self._status.begin.remote(self._name, batch):
            return
        complete = False
        engine = (await self._joined()).engine()
        reporting = asyncio.create_task(self._report(batch, engine))
        try:
            await engine.run(self._run.work, items)
            complete = True
        finally:
            reporting.cancel()
            self._leave_when_idle()
            await self._status.end.remote(self._name, batch, _counts(engine), complete=complete)

    async def _report(self, batch: str, engine: Stoppable) -> None:
        running = True
        while running:
            await asyncio.sleep(_EVERY)
            try:
                running = await self._status.report.remote(self._name, batch, _counts(engine))
            except Exception:  # the status actor is gone, and with it the process that started the run
                running = False
        engine.stop(_StopRequested())

    # -- among the other workers ----------------------------------------------------------------------------------------

    async def _start(self) -> None:
        """Join the other workers before the first batch, so that errors of set-up appear before any call."""
        await self._joined()
        self._leave_when_idle()

    async def _joined(self) -> Worker:
        """The worker, joined to the others if it is not yet."""
        async with self._lock:
            self._begun += 1
            if self._worker is None:
                worker = Worker(
                    self._run,
                    self._ledger,
                    max_cost=self._job.max_cost,
                    retry_failed=self._job.retry_failed,
                    began=self._job.began,
                    say=lambda text: self._status.say.remote(text),
                )
                self._worker = await worker.__aenter__()
                self._status.join.remote(self._name)
            return self._worker

    def _leave_when_idle(self) -> None:
        """Leave the other workers after a while without a batch, so that they need not wait for leases and reserved dollars to expire.

        Ray does not notify an actor of the last batch.
        """
        self._leaving = asyncio.create_task(self._leave(self._begun))

    async def _leave(self, begun: int) -> None:
        await asyncio.sleep(_IDLE)
        async with self._lock:
            if self._worker and self._begun == begun:
                worker, self._worker = self._worker, None
                await worker.__aexit__(None, None, None)
                self._status.leave.remote(self._name)

    # -- reports --------------------------------------------------------------------------------------------------------

    def _fail(self, error: Exception) -> None:
        import ray

        ray.get(self._status.fail.remote(_sendable(error)))


def _counts(engine: Stoppable) -> Counters:
    """The counters to send: the sum over models alone, and without the endpoints, which belong to the providers."""
    return replace(engine.counters, endpoints=(), models={})


def _with_node(error: Exception) -> Exception:
    """The error with this node's name in its message."""
    if isinstance(error, DprmError):
        error.message = f"on the node {socket.gethostname()}: {error.message}"
    return error


def _sendable(error: Exception) -> Exception:
    """The error in a form that can be pickled; one that is not a `DprmError` is a bug, and keeps its traceback."""
    if not isinstance(error, DprmError):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error
