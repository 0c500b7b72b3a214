"""The status of a run on many actors: what was asked is summed over everyone, what is done is counted once, and one word stops all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dprm_data.core.errors import BudgetReached, Interrupted
from dprm_data.engine.counters import Counters
from dprm_data.pipeline.ray.status import RunStatus
from dprm_data.providers.request import Usage


def counters(calls: int, items: int) -> Counters:
    """An actor's: one call per annotation, two annotations per item, a dollar a call."""
    return Counters(
        calls=calls,
        cost=float(calls),
        usage=Usage(10 * calls, calls),
        retries=Counter(timeout=calls),
        items=items,
        annotations=2 * items,
        statuses=Counter(ok=2 * items),
        in_flight=1,
        window=8,
    )


def test_a_batch_that_is_taken_over_is_done_once_and_all_its_calls_count() -> None:
    status = RunStatus()
    assert status.begin("one", "batch")
    assert status.report("one", "batch", counters(calls=7, items=3))
    assert status.begin("two", "batch")  # the first has died
    status.report("one", "batch", counters(calls=99, items=99))  # or was only taken for dead: it has no say any more
    status.report("two", "batch", counters(calls=2, items=4))
    seen = status.snapshot()
    assert (seen.counters.calls, seen.counters.items, seen.counters.statuses) == (9, 4, {"ok": 8})
    assert (seen.counters.in_flight, seen.counters.window, seen.working) == (1, 8, 1)
    status.end("two", "batch", counters(calls=5, items=6), complete=True)
    seen = status.snapshot()
    assert (seen.counters.calls, seen.counters.cost, seen.counters.items, seen.working) == (12, 12.0, 6, 0)
    assert seen.counters.usage == Usage(120, 12)
    assert seen.counters.retries == {"timeout": 12}


def test_a_batch_that_ray_hands_out_once_more_is_not_counted_again() -> None:
    status = RunStatus()
    for calls in (5, 0):
        status.begin("one", "batch")
        status.end("one", "batch", counters(calls=calls, items=6), complete=True)
    status.begin("two", "batch")
    status.report("two", "batch", counters(calls=0, items=6))
    assert (status.snapshot().counters.calls, status.snapshot().counters.items) == (5, 6)


def test_after_a_word_to_stop_nothing_is_begun_and_the_first_error_is_the_reason() -> None:
    status = RunStatus()
    status.begin("one", "batch")
    assert not status.snapshot().stopped
    status.fail(BudgetReached("all spent"))
    status.fail(Interrupted("by hand"))
    assert not status.begin("two", "another")
    assert not status.report("one", "batch", counters(1, 0))
    seen = status.snapshot()
    assert seen.stopped and isinstance(seen.error, BudgetReached) and seen.working == 1
    status.end("one", "batch", counters(3, 1), complete=False)
    seen = status.snapshot()
    assert (seen.working, seen.counters.calls, seen.counters.items) == (0, 3, 1)


def test_a_stop_by_hand_is_no_error() -> None:
    status = RunStatus()
    status.stop()
    assert status.snapshot().stopped and status.snapshot().error is None and not status.begin("one", "batch")


def test_a_batch_of_which_everybody_dies_ends_the_run() -> None:
    status = RunStatus()
    begun = 0
    while status.begin(f"actor {begun}", "poison"):
        begun += 1
        status.begin("another", f"batch {begun}")
        status.end("another", f"batch {begun}", Counters(), complete=True)
        assert begun <= 10, "it goes on for ever"
    assert begun == 10
    assert "begins with poison" in str(status.snapshot().error)


def test_what_several_say_is_said_once() -> None:
    status = RunStatus()
    for text in ("a key is dead", "a key is dead", "a server is out"):
        status.say(text)
    assert status.snapshot().messages == ("a key is dead", "a server is out")
    status.say("a key is dead")
    assert status.snapshot().messages == ()


def test_who_comes_and_goes() -> None:
    status = RunStatus()
    for actor in ("one", "two"):
        status.join(actor)
    status.leave("one")
    status.leave("one")
    assert (status.snapshot().joined, status.snapshot().present) == (2, 1)


@dataclass
class Batch:
    """What is true of a batch of six items: which of them are done, and who is at it."""

    done: int = 0
    actor: str | None = None
    counters: Counters = field(default_factory=Counters)


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["work", "die", "finish"])), max_size=60))
def test_whatever_dies_every_call_counts_and_no_item_counts_twice(events: list[tuple[int, str]]) -> None:
    """An oracle that knows the truth: it is told of every call when it is made and of every item when it is done."""
    status, batches = RunStatus(), [Batch() for _ in range(3)]
    calls = actors = 0

    def begin(number: int, batch: Batch) -> None:
        nonlocal actors
        actors += 1
        batch.actor, batch.counters = f"actor {actors}", Counters(items=batch.done)  # what is done, the ledger knows
        assert status.begin(batch.actor, str(number))
        status.report(batch.actor, str(number), snapshot(batch.counters))

    for number, event in events:
        batch = batches[number]
        if batch.actor is None:
            begin(number, batch)
        assert batch.actor
        if event == "work" and batch.done < 6:
            calls, batch.done = calls + 1, batch.done + 1
            batch.counters.calls += 1
            batch.counters.items += 1
            status.report(batch.actor, str(number), snapshot(batch.counters))
        elif event == "die":
            begin(number, batch)
        elif event == "finish":
            status.end(batch.actor, str(number), snapshot(batch.counters), complete=batch.done == 6)
            if batch.done < 6:  # only a run that stops leaves a batch unfinished
                return
            batch.actor = None
        seen = status.snapshot().counters
        assert seen.calls == calls
        assert seen.items == sum(each.done for each in batches)


def snapshot(counters: Counters) -> Any:
    """As it arrives where it is sent."""
    return Counters(calls=counters.calls, items=counters.items)
