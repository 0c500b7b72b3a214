"""An asker: what Ray Data hands batches of items to. It is a worker with an event loop and a connection to the ledger of its own.

What goes wrong is written on the notice board and not raised: an exception would make Ray kill the other askers in the middle of their
calls.
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
from dprm_data.engine.direct import Engine
from dprm_data.engine.event_loop import BackgroundLoop
from dprm_data.ingest.items import Item, items_of
from dprm_data.runs.worker import Worker

if TYPE_CHECKING:
    from dprm_data.pipeline.ray.job_spec import JobSpec

_EVERY = 0.5  # seconds between two reports
_IDLE = 1.0  # seconds without a batch after which an asker leaves the other workers


class _StopRequested(Exception):
    """The run ends, and why is somebody else's news."""


class AnnotatorActor:
    """Asks about one batch of items after the other.

    job_spec: the run; board: the handle of the actor that holds the `RunStatus`.
    """

    def __init__(self, job_spec: JobSpec, board: Any) -> None:
        self._name = uuid.uuid4().hex
        self._parcel = job_spec
        self._board = board
        self._loop = BackgroundLoop()
        self._worker: Worker | None = None
        self._begun = 0  # batches, and the start
        self._door = asyncio.Lock()
        self._leaving: asyncio.Task[None] | None = None
        self._ready = False
        try:
            self._run = job_spec.open()
            self._ledger = self._run.ledger()
            self._loop.run(self._start())
            self._ready = True
        except Exception as error:
            self._fail(_told_where(error) if job_spec.recipe.ray.address else error)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Ask all that is missing about the items in this part of the items table; returns how many there are."""
        items = list(items_of(batch))
        try:
            if items and self._ready:
                self._loop.run(self._ask(items))
        except _StopRequested:
            pass
        except Exception as error:
            self._fail(error)
        return pa.table({"items": [len(items)]})

    async def _ask(self, items: list[Item]) -> None:
        batch = items[0].item_id
        if not await self._board.begin.remote(self._name, batch):
            return
        through = False
        engine = (await self._at_work()).engine()
        reporting = asyncio.create_task(self._report(batch, engine))
        try:
            await engine.run(self._run.work, items)
            through = True
        finally:
            reporting.cancel()
            self._leave_when_idle()
            await self._board.end.remote(self._name, batch, _counts(engine), through=through)

    async def _report(self, batch: str, engine: Engine) -> None:
        going_on = True
        while going_on:
            await asyncio.sleep(_EVERY)
            try:
                going_on = await self._board.report.remote(self._name, batch, _counts(engine))
            except Exception:  # the board is gone, and with it whoever started the run
                going_on = False
        engine.stop(_StopRequested())

    # -- among the other workers ----------------------------------------------------------------------------------------

    async def _start(self) -> None:
        """Come to the others at once, though there is no batch yet: what cannot work is to be said before anything is asked."""
        await self._at_work()
        self._leave_when_idle()

    async def _at_work(self) -> Worker:
        """This asker as one of the run's workers."""
        async with self._door:
            self._begun += 1
            if self._worker is None:
                worker = Worker(
                    self._run,
                    self._ledger,
                    max_cost=self._parcel.max_cost,
                    retry_failed=self._parcel.retry_failed,
                    began=self._parcel.began,
                    say=lambda text: self._board.say.remote(text),
                )
                self._worker = await worker.__aenter__()
                self._board.come.remote(self._name)
            return self._worker

    def _leave_when_idle(self) -> None:
        """Nobody tells an actor that there are no more batches; the others are not to wait until its lease and its dollars expire."""
        self._leaving = asyncio.create_task(self._leave(self._begun))

    async def _leave(self, begun: int) -> None:
        await asyncio.sleep(_IDLE)
        async with self._door:
            if self._worker and self._begun == begun:
                worker, self._worker = self._worker, None
                await worker.__aexit__(None, None, None)
                self._board.go.remote(self._name)

    # -- news -----------------------------------------------------------------------------------------------------------

    def _fail(self, error: Exception) -> None:
        import ray

        ray.get(self._board.fail.remote(_sendable(error)))


def _counts(engine: Engine) -> Counters:
    """The counters as it travels: without the provider's own parts."""
    return replace(engine.counters, endpoints=())


def _told_where(error: Exception) -> Exception:
    """The same error, for somebody who sits at another machine."""
    if isinstance(error, DprmError):
        error.message = f"on the node {socket.gethostname()}: {error.message}"
    return error


def _sendable(error: Exception) -> Exception:
    """The error in a form that travels; what is no `DprmError` is a bug, and says where it happened."""
    if not isinstance(error, DprmError):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error
