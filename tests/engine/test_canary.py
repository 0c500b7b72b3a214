"""The canary: a run whose first answers give no label stops before it has paid for more, and says what to change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dprm_data.core.errors import ProviderUnusable
from dprm_data.engine.canary import handful
from dprm_data.providers.function_provider import FunctionProvider
from dprm_data.providers.request import Answer, Request, Usage
from tests.engine.helpers import RecordingProvider, annotate, items, label, work
from tests.helpers import answer, write_recipe, write_rows
from tests.processes import dprm
from tests.servers.llm import LLMServer


def says(text: str, finish: Any = "stop", **more: Any) -> Callable[[Request], Any]:
    return lambda request: asyncio.sleep(0.001, Answer(text, finish, Usage(10, 2), "m", **more))


THOUGHTS = "Let me think about what \x1b[31mthis\x1b[0m person would say"


@pytest.mark.parametrize(
    ("text", "finish", "said", "hint"),
    [
        ("", "length", "nothing (cut off, 2 output tokens)", "max_tokens"),
        (THOUGHTS, "length", "cut off", "max_tokens"),
        ("I would rather not commit myself.", "stop", "I would rather not commit myself.", "structured"),
        ('{"rating": 3}', "stop", '{"rating": 3}', "labels"),
        ("I can't help with that.", "refusal", "a refusal", "refuses"),
        ("", "content_filter", "content filter", "refuses"),
        ("", "stop", "nothing", "empty|without an answer"),
    ],
)
def test_a_run_that_gets_no_label_stops_and_says_why(
    tmp_path: Path, text: str, finish: str, said: str, hint: str
) -> None:
    provider = RecordingProvider(says(text, finish))
    with pytest.raises(ProviderUnusable) as raised:
        annotate(tmp_path, provider, work(5), items(100), concurrency=16)
    assert len(provider.requests) <= 20
    assert said in raised.value.message and "gpt-4o-mini" in raised.value.message
    assert "\x1b" not in str(raised.value)
    assert any(word in str(raised.value.hint) for word in hint.split("|"))
    assert "give_up_unusable: 0" in str(raised.value.hint)


def test_no_log_probabilities(tmp_path: Path) -> None:
    provider = RecordingProvider(says("1"))
    asked = work(5, elicitation="logprobs")
    with pytest.raises(ProviderUnusable, match="elicitation: choice"):
        annotate(tmp_path, provider, asked, items(100))
    assert len(provider.requests) <= 20


def test_half_a_per_cent_of_the_plan_at_most() -> None:
    assert all(handful(calls) / calls < 0.0045 for calls in (4_000, 6_000, 10_000, 10**6))
    assert handful(100) == 8 and handful(None) == handful(10**6) == 20


@pytest.mark.slow
def test_what_a_stopped_run_cost(tmp_path: Path, double: LLMServer) -> None:
    """4,000 calls of a model that is cut off in its thoughts: through the command, priced by the table."""
    write_rows(tmp_path / "pairs.jsonl", [{"prompt": f"q{i}", "response": f"a{i} " * 50} for i in range(1000)])
    recipe = write_recipe(tmp_path, double.url)
    planned = answer(dprm("plan", recipe, "--json", cwd=tmp_path))
    assert planned["calls_needed"] == 4000
    double.script({"chances": {"length": 1.0}})
    ended = dprm("run", recipe, cwd=tmp_path)
    assert ended.returncode == 1 and "cut off" in ended.stderr and "Traceback" not in ended.stderr
    paid = answer(dprm("plan", recipe, "--json", cwd=tmp_path))
    assert 0 < paid["spent"] < 0.005 * planned["cost"]
    assert double.tally.requests <= 20

    double.script({"chances": {}})
    again = answer(dprm("run", recipe, "--retry-failed", "--json", cwd=tmp_path))
    assert again["summary"]["statuses"] == {"ok": 4000}, "what was asked in vain is asked again"


def test_one_answer_among_the_first_is_enough(tmp_path: Path) -> None:
    """An honest run in which answers are often unreadable goes on, and everything that was asked is kept."""
    asked = 0

    async def complete(request: Request) -> Answer:
        nonlocal asked
        asked += 1
        return label("2" if asked % 4 == 0 else "?")

    counted = annotate(tmp_path, FunctionProvider(complete), work(5), items(20), concurrency=8)
    assert counted.annotations == 100


def test_an_answer_that_a_reask_mends_is_a_label(tmp_path: Path) -> None:
    """No first answer can be read, but every second one."""

    async def complete(request: Request) -> Answer:
        return label("2" if any(turn["role"] == "assistant" for turn in request.messages) else "?")

    counted = annotate(tmp_path, FunctionProvider(complete), work(5), items(20), concurrency=8)
    assert counted.statuses == {"ok": 100}


def test_the_others_wait_for_the_first_label_only(tmp_path: Path) -> None:
    """While nothing is known, few calls are made; from the first label on, as many as the limits allow."""
    first = asyncio.Event()
    held: list[int] = []

    async def complete(request: Request) -> Answer:
        if not first.is_set():
            held.append(1)
            await asyncio.sleep(0.05)
            first.set()
        await asyncio.sleep(0.02)
        return label()

    provider = RecordingProvider(complete)
    annotate(tmp_path, provider, work(5), items(40), concurrency=32)
    assert len(held) <= 7 and provider.most_in_flight > 14


def test_a_run_that_has_labels_goes_on_without_a_canary(tmp_path: Path) -> None:
    """The ledger holds labels, of items that are done or half done: all places are used at once."""
    provider = RecordingProvider(lambda request: asyncio.sleep(0.001, label()))
    annotate(tmp_path, provider, work(5), items(10))
    more = RecordingProvider(lambda request: asyncio.sleep(0.03, label()))
    annotate(tmp_path, more, work(5), items(60), concurrency=32)
    assert more.most_in_flight >= 8, "the limits' first window"
    half = RecordingProvider(lambda request: asyncio.sleep(0.03, label()))
    annotate(tmp_path, half, work(6), items(10), concurrency=32)
    assert half.most_in_flight >= 8


def test_the_prior_says_nothing_about_the_panel(tmp_path: Path, double: LLMServer) -> None:
    """Each way of asking is heard for itself: the stated distributions are fine here, and no persona answers."""
    write_rows(tmp_path / "pairs.jsonl", [{"prompt": f"q{i}", "response": "r"} for i in range(200)])
    recipe = write_recipe(tmp_path, double.url, prior={"strength": 3})
    double.says = lambda data: None if "number" in str(data.get("response_format")) else "no"
    ended = dprm("run", recipe, cwd=tmp_path)
    assert ended.returncode == 1 and "(choice) gives a label" in ended.stderr
    assert double.tally.requests < 40


def batch(folder: Path, url: str, **changes: Any) -> Path:
    write_rows(folder / "pairs.jsonl", [{"prompt": f"q{i}", "response": "r"} for i in range(300)])
    return write_recipe(folder, url, mode="batch", limits={"poll_every": 0.05}, **changes)


@pytest.mark.slow
def test_batches_are_not_submitted_before_a_direct_call_gave_a_label(tmp_path: Path, double: LLMServer) -> None:
    recipe = batch(tmp_path, double.url)
    double.script({"chances": {"unparsable": 1.0}})
    ended = dprm("run", recipe, cwd=tmp_path)
    assert ended.returncode == 1 and "gives a label" in ended.stderr
    assert double.tally.requests <= 20
    double.script({"chances": {}})
    done = answer(dprm("run", recipe, "--retry-failed", "--json", cwd=tmp_path))
    assert done["summary"]["statuses"] == {"ok": 1200}


def test_a_batch_with_a_prior_tries_both_ways_of_asking(tmp_path: Path, double: LLMServer) -> None:
    recipe = batch(tmp_path, double.url, prior={"strength": 2})
    double.says = lambda data: None if "number" in str(data.get("response_format")) else "no"
    ended = dprm("run", recipe, cwd=tmp_path)
    assert ended.returncode == 1 and "(choice) gives a label" in ended.stderr
    assert double.tally.requests < 40


# -- later --------------------------------------------------------------------------------------------------------------


def number_of(request: Request) -> int:
    return int(request.messages[-1]["content"].split("question ")[1].split()[0])


def refused_from(first: int) -> Callable[[Request], Any]:
    """Refuses the questions from this number on."""

    async def complete(request: Request) -> Answer:
        await asyncio.sleep(0.001)
        return Answer("no", "refusal", Usage(10, 2), "m") if number_of(request) >= first else label()

    return complete


def test_a_tail_of_refusals_stops_the_run_and_can_be_gone_through(tmp_path: Path) -> None:
    provider = RecordingProvider(refused_from(20))
    with pytest.raises(ProviderUnusable, match="none of the last 50 answers") as raised:
        annotate(tmp_path, provider, work(5), items(100), concurrency=4)
    assert "refuses" in str(raised.value.hint)
    assert 150 <= len(provider.requests) <= 160
    with pytest.raises(ProviderUnusable):
        annotate(tmp_path, provider, work(5), items(100), concurrency=4)
    counted = annotate(tmp_path, provider, work(5), items(100), concurrency=4, give_up_unusable=0)
    assert counted.annotations == 500
    assert len(provider.requests) == 500, "nothing is asked twice"


def test_one_item_that_everybody_refuses_does_not_stop_a_run(tmp_path: Path) -> None:
    async def complete(request: Request) -> Answer:
        await asyncio.sleep(0.001)
        return Answer("no", "refusal", Usage(10, 2), "m") if number_of(request) == 2 else label()

    asked = work(15, replicates=5)
    counted = annotate(tmp_path, FunctionProvider(complete), asked, items(4), concurrency=1)
    assert counted.statuses == {"ok": 225, "refusal": 75}


def test_a_run_that_may_not_give_up_asks_everything(tmp_path: Path) -> None:
    provider = RecordingProvider(says("no"))
    counted = annotate(tmp_path, provider, work(5), items(20), give_up_unusable=0)
    assert counted.statuses == {"unparsable": 100}
