"""A run on Ray Data: its items are a dataset, streamed to a pool of actors that ask.

    items.parquet ─▶ batches ─▶ askers (each: event loop, provider, engine) ⇄ ledger in PostgreSQL
                                   ▲ stop │ tallies, errors
                               notice board ⇄ this process: live view, Ctrl-C, the run's end

Ray hands every batch of items to an asker at least once: where an asker dies, its batch is given to another. What was paid for is in the
ledger, and is not paid for again; what the dead one had in flight waits until its leases have run out. So nothing need be kept here.
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

_EVERY = 0.25  # seconds between two looks at the board
_NO_ASKER = 60.0  # seconds without any asker before the live view says what it is waiting for
_GOODBYE = 3.0  # seconds at most that those who asked are given to leave
_ROUNDS = 50  # a batch takes so many times as long as a call, so that the few calls which end it do not count
_SHARES = 4  # batches per asker at least, so that all end at about the same time
_MOST_ITEMS = 10_000  # in one batch


class RayEngine:
    """Asks all that a run misses, by actors of the Ray cluster that `ray` (the module) is connected to. counters: the sum over them all."""

    def __init__(self, ray: Any, run: Run, job_spec: JobSpec, counters: Counters) -> None:
        self.counters = counters
        self._ray = ray
        self._run = run
        self._parcel = job_spec
        self._reason: BaseException | None = None
        self._over = threading.Event()  # nothing is begun any more, and nobody is at work
        self._board = ray.remote(RunStatus).options(num_cpus=0, scheduling_strategy=_beside_us(ray)).remote()

    async def run(self) -> None:
        """Returns when everything has an outcome; raises what stopped the run before that."""
        handed_out = self._hand_out()
        try:
            while not handed_out.done() and not self._over.is_set():
                await asyncio.wait([handed_out], timeout=_EVERY)
                self._note(await self._board.look.remote())
            await self._parted()
            if self._reason:
                raise self._reason
            await handed_out
        except self._ray.exceptions.RayError as error:
            raise _given_up(error) from error
        finally:
            self._over.set()

    def stop(self, reason: BaseException) -> None:
        """Send nothing more; what is in flight is finished and kept. The run then raises the reason."""
        self._reason = self._reason or reason
        self._board.stop.remote()

    def _note(self, sight: StatusSnapshot) -> None:
        self.counters.mirror(sight.counters)
        for text in sight.said:
            self._run.progress.say(text)
        if sight.error:
            self._reason = self._reason or sight.error
        elif not sight.come and self.counters.seconds > _NO_ASKER:
            self.counters.waiting = "waiting for Ray to start actors: has the cluster enough free processors?"
        if sight.stopped and not sight.working:
            self._over.set()

    async def _parted(self) -> None:
        """Give those who asked a moment to leave the others, so that nobody waits for their leases and their share of the budget."""
        for _ in range(round(_GOODBYE / _EVERY)):
            sight: StatusSnapshot = await self._board.look.remote()
            if not sight.present:
                return
            await asyncio.sleep(_EVERY)

    # -- the dataset --------------------------------------------------------------------------------------------------

    def _hand_out(self) -> asyncio.Future[None]:
        """Let the dataset flow in a thread of its own (Ray Data blocks). The future is done when all items are through."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        done.add_done_callback(lambda future: future.cancelled() or future.exception())  # nobody may want to know

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
            with suppress(RuntimeError):  # the loop is closed: the run was left at once
                loop.call_soon_threadsafe(settle, failed)

        threading.Thread(target=flow, daemon=True, name="dprm-ray-data").start()
        return done

    def _dataset(self) -> Any:
        data, config = self._ray.data, self._run.recipe.ray
        items = self._run.folder.needs("items").absolute()
        fewest, most = config.fewest_and_most
        size = config.batch_size or batch_size(self._run, most)
        # Read on this node, so that no other need see the file; it takes no processor worth counting.
        here = {"ray.io/node-id": self._ray.get_runtime_context().get_node_id()}
        return (
            data.read_parquet(str(items), num_cpus=0, label_selector=here)
            .repartition(target_num_rows_per_block=size)
            .map_batches(
                AnnotatorActor,
                fn_constructor_kwargs={"job_spec": self._parcel, "board": self._board},
                batch_size=size,
                batch_format="pyarrow",
                compute=data.ActorPoolStrategy(min_size=fewest, max_size=most),
                num_cpus=config.cpus,
            )
        )


def batch_size(run: Run, actors: int) -> int:
    """How many items an asker takes at a time: long enough that the end of a batch, where few calls are left to be in flight, does not count;
    short enough that everybody gets several."""
    items = int(pq.read_metadata(run.folder.needs("items")).num_rows)
    long_enough = math.ceil(_ROUNDS * run.recipe.calls_at_once / run.work.annotations_per_item)
    fair = math.ceil(items / (actors * _SHARES))
    return max(1, min(long_enough, fair, _MOST_ITEMS))


def _beside_us(ray: Any) -> Any:
    """On the node of this process: the board lives and dies with the run."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node_id=ray.get_runtime_context().get_node_id(), soft=False)


def _given_up(error: BaseException) -> DprmError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return DprmError(
        f"Ray gave the run up: {lines[-1] if lines else type(error).__name__}",
        hint="What was answered is kept; run again to go on. Do all nodes have dprm-data with its extras ray and postgres? "
        "Ray's own logs (/tmp/ray/session_latest/logs on every node) say more.",
    )
