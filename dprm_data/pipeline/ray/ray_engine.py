"""A run on Ray Data: its items are a dataset, streamed to a pool of annotating actors.

    items.parquet ─▶ batches ─▶ actors (each: event loop, provider, engine) ⇄ ledger in PostgreSQL
                                   ▲ stop │ counters, errors
                                run status ⇄ this process: live view, Ctrl-C, the run's end

Ray gives every batch to an actor at least once: if an actor dies, another gets its batch. Paid answers are in the ledger and are not paid
again; calls that were in flight wait until the dead actor's leases expire. So this process keeps no state.
"""

from __future__ import annotations

import asyncio
import math
import threading
from contextlib import suppress
from typing import Any

import pyarrow.parquet as pq

from dprm_data.core.errors import DprmError
from dprm_data.engine.counters import Counters
from dprm_data.pipeline.ray.actor import AnnotatorActor
from dprm_data.pipeline.ray.job_spec import JobSpec
from dprm_data.pipeline.ray.status import RunStatus, StatusSnapshot
from dprm_data.runs.run import Run

_EVERY = 0.25  # seconds between two looks at the status
_NO_ACTOR = 60.0  # seconds without any actor before the live view says what the run waits for
_GOODBYE = 3.0  # seconds at most that the actors get to leave
_ROUNDS = 50  # calls in sequence that a batch takes, so that its last, few calls hardly matter
_SHARES = 4  # batches per actor at least, so that all end at about the same time
_MOST_ITEMS = 10_000  # in one batch


class RayEngine:
    """Makes a run's missing calls on the actors of a Ray cluster, to which the module `ray` is connected. counters: the sum over all actors."""

    def __init__(self, ray: Any, run: Run, job_spec: JobSpec, counters: Counters) -> None:
        self.counters = counters
        self._ray = ray
        self._run = run
        self._job = job_spec
        self._reason: BaseException | None = None
        self._over = threading.Event()  # no batch begins any more, and no actor works
        self._status = ray.remote(RunStatus).options(num_cpus=0, scheduling_strategy=_on_this_node(ray)).remote()

    async def run(self) -> None:
        """Returns when everything has an outcome; raises what stopped the run before that."""
        flow = self._start_flow()
        try:
            while not flow.done() and not self._over.is_set():
                await asyncio.wait([flow], timeout=_EVERY)
                self._apply(await self._status.snapshot.remote())
            await self._wait_for_actors()
            if self._reason:
                raise self._reason
            await flow
        except self._ray.exceptions.RayError as error:
            raise _given_up(error) from error
        finally:
            self._over.set()

    def stop(self, reason: BaseException) -> None:
        """Send nothing more; what is in flight is finished and kept. The run then raises the reason."""
        self._reason = self._reason or reason
        self._status.stop.remote()

    def _apply(self, seen: StatusSnapshot) -> None:
        self.counters.mirror(seen.counters)
        for text in seen.messages:
            self._run.progress.say(text)
        if seen.error:
            self._reason = self._reason or seen.error
        elif not seen.joined and self.counters.seconds > _NO_ACTOR:
            self.counters.waiting = "waiting for Ray to start actors: has the cluster enough free processors?"
        if seen.stopped and not seen.working:
            self._over.set()

    async def _wait_for_actors(self) -> None:
        """Give the actors a moment to leave, so that no other worker waits for their leases and their share of the budget."""
        for _ in range(round(_GOODBYE / _EVERY)):
            seen: StatusSnapshot = await self._status.snapshot.remote()
            if not seen.present:
                return
            await asyncio.sleep(_EVERY)

    # -- the dataset --------------------------------------------------------------------------------------------------

    def _start_flow(self) -> asyncio.Future[None]:
        """Consume the dataset in a thread, as Ray Data blocks. The future is done when all items are."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        done.add_done_callback(lambda future: future.cancelled() or future.exception())  # mark it as retrieved

        def settle(error: BaseException | None) -> None:
            if not done.done():
                done.set_exception(error) if error else done.set_result(None)

        def flow() -> None:
            failed: BaseException | None = None
            try:
                for _ in self._dataset().iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                    if self._over.is_set():
                        break
            except BaseException as error:
                failed = error
            with suppress(RuntimeError):  # the loop is closed: the run was aborted
                loop.call_soon_threadsafe(settle, failed)

        threading.Thread(target=flow, daemon=True, name="dprm-ray-data").start()
        return done

    def _dataset(self) -> Any:
        data, config = self._ray.data, self._run.recipe.ray
        items = self._run.asked_items.absolute()
        fewest, most = config.fewest_and_most
        size = config.batch_size or batch_size(self._run, most)
        # Read on this node, so that no other needs the file; that takes hardly any processor time.
        here = {"ray.io/node-id": self._ray.get_runtime_context().get_node_id()}
        return (
            data.read_parquet(str(items), num_cpus=0, label_selector=here)
            .repartition(target_num_rows_per_block=size)
            .map_batches(
                AnnotatorActor,
                fn_constructor_kwargs={"job_spec": self._job, "status": self._status},
                batch_size=size,
                batch_format="pyarrow",
                compute=data.ActorPoolStrategy(min_size=fewest, max_size=most),
                num_cpus=config.cpus,
            )
        )


def batch_size(run: Run, actors: int) -> int:
    """Items per batch: large enough that its end, with few calls in flight, hardly matters; small enough that each actor gets several."""
    items = int(pq.read_metadata(run.asked_items).num_rows)
    long_enough = math.ceil(_ROUNDS * run.recipe.calls_at_once / run.work.annotations_per_item)
    fair = math.ceil(items / (actors * _SHARES))
    return max(1, min(long_enough, fair, _MOST_ITEMS))


def _on_this_node(ray: Any) -> Any:
    """Schedule on the node of this process: the status lives as long as the run."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node_id=ray.get_runtime_context().get_node_id(), soft=False)


def _given_up(error: BaseException) -> DprmError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return DprmError(
        f"Ray gave up the run: {lines[-1] if lines else type(error).__name__}",
        hint="All answers are kept; run again to resume. Do all nodes have dprm-data with its extras ray and postgres? "
        "Ray's own logs (/tmp/ray/session_latest/logs on every node) say more.",
    )
