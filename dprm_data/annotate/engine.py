"""The engine: asks what is not yet answered, and nothing else.

    items ─▶ those not done ─▶ courses (replayed from the ledger) ─▶ agenda ─▶ workers ─▶ sender ─▶ provider
                                                                                 │
                     done ◀─ outcome ◀─ course.take(reply) ◀─ ledger (on disk) ◀─┘

A reply counts only when it is on disk. A fixed number of workers take the agenda's courses one by one, so that neither tasks nor memory
grow with the number of items. What is wrong with one call becomes that call's failure; what is wrong with the provider ends the run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence

from dprm_data.annotate.agenda import Agenda, Opened, OpenItem
from dprm_data.annotate.call import Call
from dprm_data.annotate.costs import Budget, Prices
from dprm_data.annotate.ledger import Ledger
from dprm_data.annotate.replay import Course, advance, chunks, courses_of, row_id
from dprm_data.annotate.rounds import Rounds
from dprm_data.annotate.sending import Sender
from dprm_data.annotate.stopping import Stop, Stopped
from dprm_data.annotate.tally import Tally
from dprm_data.annotate.work import Work
from dprm_data.errors import ProviderUnusable
from dprm_data.items import Item
from dprm_data.providers.base import Provider
from dprm_data.recipe import LimitsConfig

_LOOK_UP = 500  # items looked up in the ledger at a time
_OPEN = 64  # annotations rendered at a time: few, or the calls in flight would wait for it
_SAY_AFTER = 3.0  # seconds without an answer, while attempts fail, before the live view says so


class Engine:
    """Runs the work of one recipe against one provider, once.

    retry_failed: ask again what ended without a label.
    """

    def __init__(
        self,
        *,
        provider: Provider,
        ledger: Ledger,
        prices: Prices,
        budget: Budget,
        limits: LimitsConfig,
        tally: Tally | None = None,
        retry_failed: bool = False,
        rounds: Rounds | None = None,
    ) -> None:
        self._rounds = rounds or Rounds()
        self.tally = tally or Tally()
        self._ledger = ledger
        self._limits = limits
        self._retry_failed = retry_failed
        self._stop = Stop()
        self._sender = Sender(
            provider=provider,
            ledger=ledger,
            prices=prices,
            budget=budget,
            limits=limits,
            tally=self.tally,
            stop=self._stop,
        )
        self._news = asyncio.Event()  # for workers without work: a course is through, or the run ends

    async def run(self, work: Work, items: Iterable[Item]) -> None:
        """Ask all that is missing. Returns when everything has an outcome; raises what stopped the run before that (a `DprmError`).

        In either case all calls in flight have ended and all replies are on disk.
        """
        watch = asyncio.create_task(self._watch())
        try:
            calibration = _calibration(work, self._ledger)
            await self._work_off(Agenda(calibration, closed=lambda item: None))
            self.tally.only_calls()
            await self._work_off(self._agenda(work, items))
        finally:
            watch.cancel()
            await self._ledger.flush()
        if self._stop.reason:
            raise self._stop.reason

    def stop(self, reason: BaseException) -> None:
        """Send nothing more; what is in flight is finished and kept. The run then raises the reason."""
        self._stop.because(reason)
        self._news.set()

    # -- items --------------------------------------------------------------------------------------------------------

    def _agenda(self, work: Work, items: Iterable[Item]) -> Agenda:
        plan = work.plan_key()

        def closed(item: OpenItem) -> None:
            self._rounds.closed(item.settled, in_full=not item.waiting)
            self._close(plan, item.item)

        def round_size(item: OpenItem) -> int | None:
            return self._rounds.size(settled=item.settled, waiting=len(item.waiting))

        return Agenda(self._opened(work, plan, items), closed=closed, round_size=round_size)

    def _opened(self, work: Work, plan: bytes, items: Iterable[Item]) -> Iterator[Opened | None]:
        """The items that miss something, with their courses; None now and then where there is none for long, so that others may breathe."""
        at_a_time = max(1, _OPEN // max(1, work.annotations_per_item))
        for some in chunks(items, _LOOK_UP):
            done = set() if self._retry_failed else self._ledger.find_done(plan, [row_id(item) for item in some])
            self.tally.skipped(len(done), work.annotations_per_item)
            for few in chunks((item for item in some if row_id(item) not in done), at_a_time):
                for item, courses in zip(few, courses_of(work, self._ledger, few), strict=True):
                    settled, missing = self._divided(courses)
                    for course in settled:
                        if course.outcome:
                            self.tally.ended(course.outcome, replayed=True)
                    if missing:
                        if self._retry_failed:
                            self._ledger.note_undone(plan, row_id(item))
                        yield item, settled, self._rounds.ordered(item, missing)
                    else:
                        self._rounds.closed(settled, in_full=True)
                        self._close(plan, item)
                yield None
            yield None

    def _divided(self, courses: Sequence[Course]) -> tuple[list[Course], list[Course]]:
        """Courses that need no call, and those that do; failed ones begin anew where that is wanted."""
        settled: list[Course] = []
        missing: list[Course] = []
        keys: set[bytes] = set()
        for course in courses:
            if course.outcome and (course.outcome.status == "ok" or not self._retry_failed):
                settled.append(course)
                continue
            course = course.anew() if course.outcome else course
            missing.append(course)
            if call := course.waits_for:
                course.is_repeat = call.key in keys
                keys.add(call.key)
        return settled, missing

    def _close(self, plan: bytes, item: Item) -> None:
        """Nothing is missing for this item any more."""
        self.tally.items += 1
        self._ledger.note_done(plan, row_id(item))

    # -- workers ------------------------------------------------------------------------------------------------------

    async def _work_off(self, agenda: Agenda) -> None:
        # A few more workers than calls may be in flight: while some wait for the disk, the wire is not idle.
        count = self._limits.concurrency + self._limits.concurrency // 4 + 1
        workers = [asyncio.create_task(self._worker(agenda)) for _ in range(count)]
        await asyncio.gather(*workers)

    async def _worker(self, agenda: Agenda) -> None:
        try:
            while not self._stop and not agenda.finished:
                found = agenda.next()
                if found:
                    item, course = found
                    await self._pursue(course)
                    agenda.through(item, course)
                    self._news.set()
                elif agenda.exhausted:
                    self._news.clear()
                    await self._news.wait()
                else:
                    await asyncio.sleep(0)
        except Stopped:
            pass
        except Exception as error:
            self.stop(error)
        finally:
            self._news.set()

    async def _pursue(self, course: Course) -> None:
        """Bring a course to its outcome."""
        missing = not course.is_repeat  # courses come from the ledger: the call they wait for is not there
        while isinstance(course.step, Call):
            self.tally.reasks += len(course.replies) >= len(course.task.questions)
            course.take(await self._sender.reply(course.step, missing=missing))
            missing = course.begun_anew
        self.tally.ended(course.step, replayed=False)

    # -- patience -----------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Say when nothing comes, and give up when that has lasted, or is going to last, as long as the recipe allows."""
        while True:
            await asyncio.sleep(0.25)
            since, cooling = self._sender.failing_since, self._sender.limiter.cooling
            silent = time.monotonic() - since if since else 0.0
            self.tally.cooling = cooling
            self.tally.waiting = self._silence(silent, cooling) if max(silent, cooling) > _SAY_AFTER else ""
            if max(silent, cooling) > self._limits.give_up_after:
                self.stop(
                    ProviderUnusable(
                        self._silence(silent, cooling),
                        hint="What was answered is kept; run again to go on. limits: give_up_after says how long to wait.",
                    )
                )

    def _silence(self, silent: float, cooling: float) -> str:
        parts = [f"no answer for {silent:.0f} s ({self.tally.last_failure})"] if silent else []
        parts += [f"the provider asks to wait: next try in {cooling:.0f} s"] if cooling >= 1 else []
        return "; ".join(parts)


def _calibration(work: Work, ledger: Ledger) -> Iterator[Opened]:
    courses = advance(work.calibration_tasks(), ledger)
    missing = [course for course in courses if not course.outcome]
    if missing:
        yield missing[0].task.prefix.item, [course for course in courses if course.outcome], missing
