"""Elicitations: the requests they make, the order of the categories, re-asks, calibration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from dprm_data.core.registry import ELICITATIONS
from dprm_data.elicit.elicitation import Elicitation, Outcome, Question, Task
from dprm_data.ingest.items import Item, ids_of
from dprm_data.labels.space import LabelSpace
from dprm_data.ledger.call import Call, Reply
from dprm_data.panel.panel_sources import load_panel
from dprm_data.panel.personas import Persona
from dprm_data.providers.request import Usage

HH6 = LabelSpace.load("hh6")
PANEL = load_panel("paper").personas


def item(said: str = "Paris.") -> Item:
    prompt, completion = (
        ({"role": "user", "content": "The capital of France?"},),
        ({"role": "assistant", "content": said},),
    )
    item_id, group_id = ids_of(prompt, completion)  # type: ignore[arg-type]
    return Item(item_id, prompt, completion, group_id, None, "test:1", {})  # type: ignore[arg-type]


def elicitation(name: str = "choice", **changes: Any) -> Elicitation:
    cls: type[Elicitation] = ELICITATIONS.get(name)
    return cls(**{"space": HH6, "template": cls.default_template(), "family": "openai", "model": "m"} | changes)


def first_call(asked: Elicitation, persona: Persona = PANEL[0], said: str = "Paris.", replicate: int = 0) -> Call:
    call = asked.task(asked.open(item(said)), persona, replicate).next(())
    assert isinstance(call, Call)
    return call


def answered(text: str, **more: Any) -> Reply:
    return Reply("answered", text=text, **more)


# -- what is sent -----------------------------------------------------------------------------------------------------


def test_all_annotators_of_an_item_share_a_prefix_byte_for_byte() -> None:
    requests = [first_call(elicitation(), persona).request for persona in PANEL]
    shared = {
        (request.messages[0]["content"], request.messages[-1]["content"][: request.shared_chars])
        for request in requests
    }
    assert len(shared) == 1
    assert "Paris." in shared.pop()[1]
    assert len({request.messages[-1]["content"] for request in requests}) == len(PANEL)
    assert len({request.cache_hint for request in requests}) == 1
    for request, persona in zip(requests, PANEL, strict=True):
        assert persona.description in request.messages[-1]["content"][request.shared_chars :]


def test_the_schema_is_the_same_whatever_the_order_shown() -> None:
    """Providers compile schemas, and cache what was compiled."""
    schemas = {str(first_call(elicitation(), persona).request.params["schema"]) for persona in PANEL}
    assert len(schemas) == 1


def test_the_categories_stand_at_every_place_about_equally_often() -> None:
    asked = elicitation()
    orders = [
        asked.task(asked.open(item(str(n))), persona, 0).questions[0].order for n in range(40) for persona in PANEL
    ]
    for place in range(HH6.K):
        seen = Counter(order[place] for order in orders)
        assert set(seen) == set(range(HH6.K))
        assert max(seen.values()) < 1.6 * len(orders) / HH6.K


def test_the_order_shown_is_the_order_drawn_and_the_answer_is_mapped_back() -> None:
    asked = elicitation()
    task = asked.task(asked.open(item()), PANEL[3], 0)
    call = task.next(())
    assert isinstance(call, Call)
    options = call.request.messages[-1]["content"].split("Answer with one of: ")[1]
    positions = [options.index(f'"{HH6.labels[i].said}"') for i in task.questions[0].order]
    assert positions == sorted(positions)
    for i, label in enumerate(HH6.labels):
        outcome = task.next([answered(f'{{"label": "{label.said}"}}')])
        assert isinstance(outcome, Outcome)
        assert outcome.label == i


@pytest.mark.parametrize(
    "change",
    [{"model": "n"}, {"family": "anthropic"}, {"params": {"temperature": 0.1}}, {"max_tokens": 9}, {"rationale": True}],
)
def test_what_is_sent_makes_the_key(change: dict[str, Any]) -> None:
    assert first_call(elicitation()).key == first_call(elicitation()).key
    assert first_call(elicitation()).key != first_call(elicitation(**change)).key


def test_persona_item_and_replicate_make_the_key() -> None:
    keys = [
        first_call(elicitation(), persona, said, replicate).key
        for persona in PANEL
        for said in ("a", "b")
        for replicate in (0, 1)
    ]
    assert len(set(keys)) == len(keys)


# -- what comes back --------------------------------------------------------------------------------------------------


def test_an_unreadable_answer_is_asked_again_with_what_was_wrong() -> None:
    task = elicitation(max_reasks=2).task(elicitation().open(item()), PANEL[0], 0)
    again = task.next([answered('{"label": "lovely"}')])
    assert isinstance(again, Call)
    assert [message["role"] for message in again.request.messages] == ["system", "user", "assistant", "user"]
    assert again.request.messages[-2]["content"] == '{"label": "lovely"}'
    assert "'lovely' is none of the categories" in again.request.messages[-1]["content"]
    outcome = task.next([answered('{"label": "lovely"}'), answered('{"label": "helpful_harmless"}')])
    assert isinstance(outcome, Outcome)
    assert (outcome.status, outcome.label) == ("ok", 0)


@pytest.mark.parametrize("max_reasks", [0, 1, 3])
def test_it_is_asked_again_at_most_so_often(max_reasks: int) -> None:
    asked = elicitation(max_reasks=max_reasks)
    task, replies = asked.task(asked.open(item()), PANEL[0], 0), []
    keys = set()
    while isinstance(step := task.next(replies), Call):
        keys.add(step.key)
        replies.append(answered("no"))
    assert len(replies) == len(keys) == 1 + max_reasks
    assert (step.status, step.label) == ("unparsable", None)
    assert "no JSON object" in step.reason


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (Reply("rejected", reason="400: too long"), "rejected"),
        (Reply("exhausted", reason="500"), "exhausted"),
        (answered("I cannot.", finish="refusal"), "refusal"),
        (answered("", finish="content_filter"), "content_filter"),
        (answered('{"label": "helpful_harmless"}', finish="length"), "ok"),
    ],
)
def test_how_a_task_can_end(reply: Reply, status: str) -> None:
    asked = elicitation()
    outcome = asked.task(asked.open(item()), PANEL[0], 0).next([reply])
    assert isinstance(outcome, Outcome)
    assert outcome.status == status
    assert (outcome.label is None) == (status != "ok")


def limits(replies: Sequence[Reply], **settings: Any) -> tuple[list[int], Outcome]:
    """The limits of output with which a task is asked for that gets these replies, the last one for ever."""
    asked = elicitation(**settings)
    task = asked.task(asked.open(item()), PANEL[0], 0)
    given: list[Reply] = []
    seen = []
    while isinstance(step := task.next(given), Call):
        seen.append(step.request.params["max_tokens"])
        given.append(replies[min(len(given), len(replies) - 1)])
    return seen, step


THOUGHT_ONLY = answered("", finish="length", usage=Usage(100, 80))


def test_thoughts_that_used_up_the_limit_get_more_room_up_to_a_cap() -> None:
    seen, end = limits([THOUGHT_ONLY])
    assert seen == [80, 1024, 4096, 16_384] and end.status == "truncated"
    long = answered("", finish="length", usage=Usage(100, 4080, reasoning_tokens=4080))
    assert limits([long])[0] == [80, 16_320], "what was used up counts, whatever room there was beside the limit"


def test_an_answer_without_thoughts_gets_more_room_once() -> None:
    cut = answered('{"label": "hel', finish="length", usage=Usage(100, 4))
    seen, end = limits([cut])
    assert seen == [80, 1024] and end.status == "truncated" and "cut off after 4 tokens" in end.reason


def test_a_limit_that_the_recipe_gives_is_raised_for_thoughts_alone() -> None:
    cut = answered('{"label": "hel', finish="length", usage=Usage(100, 4))
    assert limits([cut], max_tokens=50)[0] == [50]
    assert limits([THOUGHT_ONLY], max_tokens=50)[0] == [50, 1024, 4096, 16_384]


def test_more_room_is_no_reask() -> None:
    """The messages stay the same; an answer that cannot be read is asked again with the larger limit, and in its turn."""
    asked = elicitation(max_reasks=1)
    task = asked.task(asked.open(item()), PANEL[0], 0)
    first = task.next([])
    roomier = task.next([THOUGHT_ONLY])
    again = task.next([THOUGHT_ONLY, answered("<think>{no}</think> lovely")])
    assert isinstance(first, Call) and isinstance(roomier, Call) and isinstance(again, Call)
    assert roomier.request.messages == first.request.messages and roomier.key != first.key
    assert again.request.params["max_tokens"] == 1024
    assert [turn["content"] for turn in again.request.messages[-2:-1]] == ["lovely"], "thoughts are not sent back"
    assert isinstance(task.next([THOUGHT_ONLY, answered("lovely"), answered("lovely")]), Outcome)


def test_answers_behind_thoughts_that_an_older_version_could_not_read_are_read() -> None:
    asked = elicitation()
    outcome = asked.task(asked.open(item()), PANEL[0], 0).next(
        [answered('<think>Is it {good}? {"label": "no"}</think>\n{"label": "helpful_harmless"}'), answered("no")]
    )
    assert isinstance(outcome, Outcome) and outcome.label == 0


# -- logprobs ---------------------------------------------------------------------------------------------------------


def words(**logprobs: float) -> Reply:
    return answered("x", top_logprobs=tuple((f" {word}", value) for word, value in logprobs.items()), usage=Usage(1, 1))


def logprobs_task(asked: Elicitation) -> Task:
    return asked.task(asked.open(item()), PANEL[0], 0)


def test_logprobs_asks_one_question_per_axis_and_multiplies() -> None:
    asked = elicitation("logprobs")
    task = logprobs_task(asked)
    assert [question.axis for question in task.questions] == [0, 1]
    calls = [task.next(()), task.next([words(harmful=-1.0, harmless=-1.0)])]
    assert all(isinstance(call, Call) and call.request.params["top_logprobs"] >= 20 for call in calls)
    assert all(call.request.messages[-1]["role"] == "assistant" for call in calls if isinstance(call, Call))
    harmless, helpful = np.log([0.25, 0.75]), np.log([0.2, 0.3, 0.5])
    replies = [
        words(harmful=harmless[0], harmless=harmless[1]),
        words(unhelpful=helpful[0], neutral=helpful[1], helpful=helpful[2]),
    ]
    outcome = task.next(replies)
    assert isinstance(outcome, Outcome)
    probs = asked.label_probs(task, outcome, {})
    assert probs == pytest.approx([0.375, 0.225, 0.15, 0.125, 0.075, 0.05])
    assert probs.sum() == pytest.approx(1)


def test_calibration_takes_away_what_the_question_says_of_nothing() -> None:
    """Where the answer is what it is for content-free items, calibrated probabilities are even."""
    asked = elicitation("logprobs")
    tasks = asked.calibration_tasks()
    assert {task.annotator.id for task in tasks} == {"neutral"}
    assert {task.questions[0] for task in tasks} >= {Question(order, 0) for order in ((0, 1), (1, 0))}
    outcomes = []
    for task in tasks:
        reply = (
            words(harmful=-0.1, harmless=-2.4)
            if task.questions[0].axis == 0
            else words(unhelpful=-0.2, neutral=-2.0, helpful=-3.0)
        )
        outcome = task.next([reply])
        assert isinstance(outcome, Outcome)
        outcomes.append((task, outcome))
    prior = asked.calibrate(outcomes)
    task = logprobs_task(asked)
    outcome = task.next([words(harmful=-0.1, harmless=-2.4), words(unhelpful=-0.2, neutral=-2.0, helpful=-3.0)])
    assert isinstance(outcome, Outcome)
    assert asked.label_probs(task, outcome, prior) == pytest.approx(np.full(6, 1 / 6))


def test_every_order_that_a_task_can_draw_is_calibrated() -> None:
    asked = elicitation("logprobs", space=LabelSpace.load("ordinal5"))
    calibrated = {task.questions[0] for task in asked.calibration_tasks()}
    drawn = {question for n in range(50) for question in asked.task(asked.open(item(str(n))), PANEL[0], 0).questions}
    assert drawn <= calibrated


def test_a_space_without_axes_is_asked_in_one_question() -> None:
    space = LabelSpace.load(
        {"name": "colours", "labels": [{"name": name, "reward": i} for i, name in enumerate(("red", "green", "blue"))]}
    )
    asked = elicitation("logprobs", space=space)
    task = logprobs_task(asked)
    outcome = task.next([words(red=np.log(0.5), green=np.log(0.3), blue=np.log(0.2))])
    assert isinstance(outcome, Outcome)
    assert asked.label_probs(task, outcome, {}) == pytest.approx([0.5, 0.3, 0.2])


def test_no_word_among_the_tokens_is_no_label() -> None:
    task = logprobs_task(elicitation("logprobs"))
    outcome = task.next([words(the=-0.1), words(a=-0.1)])
    assert isinstance(outcome, Outcome)
    assert outcome.status == "unparsable"
    assert "none of the words harmful, harmless" in outcome.reason
