"""OpenAI's wire format, by the real SDK over a socket: what is sent, and what is read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from dprm_data.providers.capabilities import capabilities_of
from dprm_data.providers.openai import OpenAIProvider
from dprm_data.providers.request import Answer, Usage
from dprm_data.providers.token_estimates import worst_case
from tests.providers.helpers import CHOICE, KEY, LABELS, answered, ask, failed, request
from tests.servers.llm import LLMServer


@pytest.fixture
def seen(double: LLMServer) -> list[dict[str, Any]]:
    """The bodies that the double was sent."""
    bodies: list[dict[str, Any]] = []
    double.says = lambda body: bodies.append(body)
    return bodies


def provider_at(url: str, structured: str = "json_schema") -> OpenAIProvider:
    return OpenAIProvider(api_key=KEY, base_url=url, structured=structured)


def test_an_answer(double: LLMServer) -> None:
    answer = answered("openai", double.url, request("hello", schema=CHOICE))
    assert json.loads(answer.text)["label"] in LABELS
    assert (answer.finish, answer.model, answer.top_logprobs) == ("stop", "test-model", None)
    assert answer.usage == Usage(input_tokens=2, output_tokens=-(-len(answer.text) // 4))
    assert answer.headers["x-ratelimit-remaining-requests"] == "9999"


def test_the_same_question_gets_the_same_answer_and_others_get_others(double: LLMServer) -> None:
    texts = [answered("openai", double.url, request(f"hello {i % 10}", schema=CHOICE)).text for i in range(20)]
    assert texts[:10] == texts[10:]
    assert len(set(texts)) > 1


def test_everything_asked_for_is_sent_and_nothing_else(double: LLMServer, seen: list[dict[str, Any]]) -> None:
    wanted = request(
        "hi",
        system="be brief",
        temperature=0.0,
        top_p=0.9,
        seed=7,
        schema=CHOICE,
        max_tokens=5,
        hint="item",
        extra={"min_p": 0.1},
    )
    ask("openai", double.url, wanted, request("hi"))
    assert seen == [
        {
            "model": "test-model",
            "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
            "temperature": 0.0,
            "top_p": 0.9,
            "seed": 7,
            "max_tokens": 5,
            "min_p": 0.1,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": CHOICE, "strict": True},
            },
        },
        {"model": "test-model", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100},
    ]


@pytest.mark.parametrize(("structured", "sent"), [("json_object", {"type": "json_object"}), ("none", None)])
def test_servers_that_cannot_follow_a_schema(
    double: LLMServer, seen: list[dict[str, Any]], structured: str, sent: object
) -> None:
    ask("openai", double.url, request(schema=CHOICE), structured=structured)
    assert seen[0].get("response_format") == sent


@pytest.mark.parametrize(
    ("url", "limit", "cache_key", "top_logprobs"),
    [
        ("https://api.openai.com/v1", "max_completion_tokens", True, 20),
        ("https://eu.api.openai.com/v1", "max_completion_tokens", True, 20),
        ("https://me.openai.azure.com/openai/v1", "max_completion_tokens", False, 1000),
        ("http://localhost:8000/v1", "max_tokens", False, 1000),
        ("https://api.openai.com.evil.example/v1", "max_tokens", False, 1000),
    ],
)
def test_what_depends_on_the_address(url: str, limit: str, cache_key: bool, top_logprobs: int) -> None:
    body = provider_at(url).body(request(hint="item", max_tokens=9, top_logprobs=1000))
    assert body[limit] == 9
    assert ("prompt_cache_key" in body) is cache_key
    assert (body["logprobs"], body["top_logprobs"]) == (True, top_logprobs)


def test_extra_wins() -> None:
    provider = provider_at("https://api.openai.com/v1")
    body = provider.body(
        request(hint="item", top_logprobs=1000, extra={"top_logprobs": 5, "max_tokens": 3, "prompt_cache_key": "mine"})
    )
    assert (body["top_logprobs"], body["max_tokens"], body["prompt_cache_key"]) == (5, 3, "mine")
    assert "max_completion_tokens" not in body


def test_the_cache_key_goes_elsewhere_on_request() -> None:
    body = provider_at("http://localhost:8000/v1").body(request(hint="item", extra={"prompt_cache_key": "auto"}))
    assert body["prompt_cache_key"] == "item"
    assert "prompt_cache_key" not in provider_at("http://localhost:8000/v1").body(
        request(extra={"prompt_cache_key": "auto"})
    )


def test_log_probabilities_of_the_first_token(double: LLMServer) -> None:
    answer = answered("openai", double.url, request(top_logprobs=50, max_tokens=1))
    assert answer.top_logprobs is not None and len(answer.top_logprobs) == 50
    values = [logprob for _, logprob in answer.top_logprobs]
    assert values == sorted(values, reverse=True)
    assert answer.text == answer.top_logprobs[0][0]


def test_a_server_without_log_probabilities_is_found_out(double: LLMServer) -> None:
    failure = failed("openai", double.url, request("[[fault:no_logprobs]]", top_logprobs=50))
    assert failure.kind == "rejected"
    assert "no log-probabilities" in failure.message
    assert failure.usage.input_tokens > 0  # it was paid for


def test_cached_tokens_are_part_of_the_input(double: LLMServer) -> None:
    prefix = "x" * 8000
    first, second = ask("openai", double.url, request(prefix + "one"), request(prefix + "two"))
    assert isinstance(first, Answer) and isinstance(second, Answer)
    assert (first.usage.input_tokens, first.usage.cached_tokens) == (2001, 0)
    assert second.usage.input_tokens == 2001
    assert 1024 <= second.usage.cached_tokens <= 2000


@pytest.mark.parametrize(
    ("fault", "finish"), [("length", "length"), ("refusal", "refusal"), ("filter", "content_filter")]
)
def test_answers_that_are_none_say_so(double: LLMServer, fault: str, finish: str) -> None:
    answer = answered("openai", double.url, request(f"[[fault:{fault}]]", schema=CHOICE))
    assert answer.finish == finish
    assert answer.usage.input_tokens > 0
    if fault == "refusal":
        assert "can't help" in answer.text


def test_an_unparsable_answer_is_an_answer(double: LLMServer) -> None:
    assert answered("openai", double.url, request("[[fault:unparsable]]", schema=CHOICE)).text.startswith("As I see it")


def test_an_empty_reply_says_what_it_cost(double: LLMServer) -> None:
    assert failed("openai", double.url, request("[[fault:empty]]")).usage.input_tokens == 7


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}}]}, "ab"),
        ({"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}, ""),
        ({"choices": [{"message": {"content": "In my opinion, yes"}}]}, " yes"),
        ({"choices": [{"message": {"content": " yes"}}], "usage": None, "model": None}, " yes"),
    ],
)
def test_shapes_that_other_servers_answer_in(reply: dict[str, Any], expected: str) -> None:
    answer = provider_at("http://localhost/v1").read(reply, {}, request(prefill="In my opinion,"))
    assert (answer.text, answer.finish, answer.model) == (expected, "stop", "test-model")


def test_a_gateway_that_breaks_off() -> None:
    from dprm_data.providers.request import CallFailed

    reply = {
        "choices": [{"message": {"content": "hal"}, "finish_reason": "error", "error": {"message": "lost"}}],
        "usage": {"prompt_tokens": 3},
    }
    with pytest.raises(CallFailed) as caught:
        provider_at("http://localhost/v1").read(reply, {}, request())
    assert (caught.value.kind, caught.value.usage.input_tokens) == ("server", 3)


def test_a_query_in_the_address_stays_behind_the_path(double: LLMServer) -> None:
    """Older Azure addresses end in ?api-version=..."""
    [answer] = ask("openai", double.url, request(), base_url=f"{double.url}/v1?api-version=2024-10-21")
    assert isinstance(answer, Answer)


# -- thoughts ---------------------------------------------------------------------------------------------------------

ANSWERED = '{"label": "neutral"}'


def usage_of(usage: object, content: object = ANSWERED, **fields: object) -> Usage:
    """How a reply's tokens are read."""
    message = {"role": "assistant", "content": content} | fields
    data = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
    return OpenAIProvider(api_key=None).read(data, {}, request()).usage


@pytest.mark.parametrize(
    ("usage", "output", "thoughts"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 50, "completion_tokens_details": {"reasoning_tokens": 40}, "total_tokens": 59}, 50, 40),
        ({"prompt_tokens": 9, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 40}, "total_tokens": 59}, 50, 40),  # xAI
        ({"prompt_tokens": 9, "completion_tokens": 10, "total_tokens": 59}, 50, 40),  # Gemini
        ({"prompt_tokens": 9, "completion_tokens": 0, "completion_tokens_details": {"reasoning_tokens": 40}, "total_tokens": 49}, 40, 40),
        ({"prompt_tokens": 9, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 40}}, 50, 40),
        ({"prompt_tokens": 9, "completion_tokens": 10, "completion_tokens_details": None, "total_tokens": 19}, 10, 0),
        ({"prompt_tokens": 9, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": "many"}, "total_tokens": 3}, 10, 0),
    ],
)  # fmt: skip
def test_thoughts_are_output_and_counted_once(usage: dict[str, object], output: int, thoughts: int) -> None:
    found = usage_of(usage)
    assert (found.output_tokens, found.reasoning_tokens, found.estimated) == (output, thoughts, False)


THOUGHTS = "h" * 3 * len(ANSWERED)


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        (ANSWERED, {"reasoning_content": THOUGHTS}),
        (ANSWERED, {"reasoning": THOUGHTS}),
        (
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHTS}]},
                {"type": "text", "text": ANSWERED},
            ],
            {},
        ),
        (f"<think>{THOUGHTS}</think>{ANSWERED}", {}),
    ],
)
def test_thoughts_that_are_shown_and_not_counted_are_estimated(content: object, fields: dict[str, object]) -> None:
    counted = usage_of({"prompt_tokens": 9, "completion_tokens": 100}, content, **fields)
    assert counted.output_tokens == 100 and 70 <= counted.reasoning_tokens <= 85 and not counted.estimated
    unsaid = usage_of(None, content, **fields)
    assert unsaid.estimated and unsaid.output_tokens > unsaid.reasoning_tokens >= len(ANSWERED) // 2


def test_the_body_of_a_model_that_reasons() -> None:
    provider = OpenAIProvider(api_key=None)
    able = capabilities_of("openai", "o4-mini")
    asked = replace(request(temperature=0.5, top_p=0.9, seed=1), capabilities=able)
    body = provider.body(asked)
    assert body["max_completion_tokens"] == 100 + able.thought_room == worst_case(asked).output_tokens
    assert body["reasoning_effort"] == "low" and body["seed"] == 1
    assert "temperature" not in body and "top_p" not in body
    own = replace(asked, params=asked.params | {"extra": {"reasoning_effort": "high", "max_completion_tokens": 7}})
    body = provider.body(own)
    assert (body["reasoning_effort"], body["max_completion_tokens"]) == ("high", 7) and worst_case(
        own
    ).output_tokens == 7
    first_token = replace(asked, params=asked.params | {"max_tokens": 1, "top_logprobs": 5})
    assert provider.body(first_token)["max_completion_tokens"] == 1, "the first token is the answer"
