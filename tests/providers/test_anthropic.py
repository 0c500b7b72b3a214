"""Anthropic's wire format, by the real SDK over a socket: what is sent, and what is read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from dprm_data.core.conversation import Message
from dprm_data.providers.anthropic import AnthropicProvider
from dprm_data.providers.capabilities import capabilities_of
from dprm_data.providers.request import Answer, Request, Usage
from tests.providers.helpers import CHOICE, LABELS, answered, ask, failed, request
from tests.servers.llm import LLMServer

CACHED = {"type": "ephemeral"}


@pytest.fixture
def seen(double: LLMServer) -> list[dict[str, Any]]:
    """The bodies that the double was sent."""
    bodies: list[dict[str, Any]] = []
    double.says = lambda body: bodies.append(body)
    return bodies


def test_an_answer(double: LLMServer) -> None:
    answer = answered("anthropic", double.url, request("hello", schema=CHOICE))
    assert json.loads(answer.text)["label"] in LABELS
    assert (answer.finish, answer.model, answer.top_logprobs) == ("stop", "test-model", None)
    assert answer.usage == Usage(input_tokens=2, output_tokens=-(-len(answer.text) // 4))
    assert answer.headers["anthropic-ratelimit-requests-remaining"] == "9999"


def test_everything_asked_for_is_sent_and_nothing_else(double: LLMServer, seen: list[dict[str, Any]]) -> None:
    wanted = request(
        "the item. the persona",
        system="be fair",
        shared=9,
        hint="item",
        schema=CHOICE,
        extra={"metadata": {"user_id": "u"}},
    )
    ask("anthropic", double.url, wanted, request("hi"))
    assert seen == [
        {
            "model": "test-model",
            "max_tokens": 100,
            "system": [{"type": "text", "text": "be fair", "cache_control": CACHED}],
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "the item.", "cache_control": CACHED},
                        {"type": "text", "text": " the persona"},
                    ],
                }
            ],
            "output_config": {"format": {"type": "json_schema", "schema": CHOICE}},
            "metadata": {"user_id": "u"},
        },
        {"model": "test-model", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]},
    ]


def test_the_shared_part_is_found_before_a_reminder(double: LLMServer, seen: list[dict[str, Any]]) -> None:
    turns: tuple[Message, ...] = (
        {"role": "user", "content": "a long item. the persona"},
        {"role": "assistant", "content": "hm"},
        {"role": "user", "content": "JSON!"},
    )
    ask("anthropic", double.url, Request("test-model", turns, {"max_tokens": 9}, shared_chars=12))
    assert seen[0]["messages"][0]["content"][0] == {"type": "text", "text": "a long item.", "cache_control": CACHED}
    assert seen[0]["messages"][2]["content"] == "JSON!"


def test_blocks_of_nothing_are_not_sent(double: LLMServer, seen: list[dict[str, Any]]) -> None:
    ask("anthropic", double.url, request("item \n", shared=4), request("item", shared=4), request("item", shared=40))
    assert [body["messages"][0]["content"] for body in seen] == ["item \n", "item", "item"]


def test_schema_keywords_that_the_api_refuses_are_left_out(double: LLMServer, seen: list[dict[str, Any]]) -> None:
    number = {"type": "number", "minimum": 0, "maximum": 100}
    schema = {
        "type": "object",
        "properties": {"minimum": number, "many": {"type": "array", "items": number, "minItems": 3}},
        "required": ["minimum"],
    }
    ask("anthropic", double.url, request(schema=schema))
    assert seen[0]["output_config"]["format"]["schema"] == {
        "type": "object",
        "properties": {"minimum": {"type": "number"}, "many": {"type": "array", "items": {"type": "number"}}},
        "required": ["minimum"],
    }


def test_extra_output_config_stands_beside_the_schema(double: LLMServer, seen: list[dict[str, Any]]) -> None:
    ask("anthropic", double.url, request(schema=CHOICE, extra={"output_config": {"effort": "low"}}))
    assert set(seen[0]["output_config"]) == {"format", "effort"}


@pytest.mark.parametrize("structured", ["json_object", "none"])
def test_without_enforcement_the_schema_is_not_sent(
    double: LLMServer, seen: list[dict[str, Any]], structured: str
) -> None:
    ask("anthropic", double.url, request(schema=CHOICE), structured=structured)
    assert "output_config" not in seen[0]


def test_input_counts_what_the_cache_gave_and_took(double: LLMServer) -> None:
    prefix = "x" * 8000
    results = ask("anthropic", double.url, *(request(prefix + who, shared=8000) for who in ("one", "two")))
    usages = [result.usage for result in results if isinstance(result, Answer)]
    assert [(u.input_tokens, u.cached_tokens, u.cache_write_tokens) for u in usages] == [
        (2001, 0, 2000),
        (2001, 2000, 0),
    ]


@pytest.mark.parametrize(("fault", "finish"), [("length", "length"), ("refusal", "refusal")])
def test_answers_that_are_none_say_so(double: LLMServer, fault: str, finish: str) -> None:
    answer = answered("anthropic", double.url, request(f"[[fault:{fault}]]", schema=CHOICE))
    assert answer.finish == finish
    assert answer.usage.input_tokens > 0


def test_an_empty_reply_says_what_it_cost(double: LLMServer) -> None:
    assert failed("anthropic", double.url, request("[[fault:empty]]")).usage.input_tokens == 7


@pytest.mark.parametrize("name", ["temperature", "top_p", "seed", "top_logprobs"])
def test_what_the_api_does_not_have_is_not_sent(double: LLMServer, name: str) -> None:
    failure = failed("anthropic", double.url, request(**{name: 1}))
    assert failure.kind == "rejected"
    assert name in failure.message
    assert double.tally.requests == 0


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_the_address_may_or_may_not_name_the_version(double: LLMServer, suffix: str) -> None:
    [answer] = ask("anthropic", double.url, request(), base_url=f"{double.url}{suffix}")
    assert isinstance(answer, Answer)


def test_the_body_of_a_model_that_reasons(double: LLMServer, seen: list[dict[str, Any]]) -> None:
    """The effort and the answer's form share a field; `extra` has the last word."""
    adaptive = replace(request(schema=CHOICE), capabilities=capabilities_of("anthropic", "claude-opus-5-5"))
    off = replace(request(schema=CHOICE), capabilities=capabilities_of("anthropic", "claude-haiku-5-5"))
    own = replace(adaptive, params=adaptive.params | {"extra": {"output_config": {"effort": "max"}}})
    ask("anthropic", double.url, adaptive, off, own)
    assert seen[0]["output_config"].keys() == {"effort", "format"} and seen[0]["output_config"]["effort"] == "low"
    assert seen[0]["max_tokens"] == 100 + 4000 and "thinking" not in seen[0]
    assert seen[1]["thinking"] == {"type": "disabled"} and seen[1]["max_tokens"] == 100
    assert seen[2]["output_config"] == {"effort": "max", "format": seen[0]["output_config"]["format"]}


def test_thoughts_are_counted_and_no_part_of_the_answer(double: LLMServer) -> None:
    double.script({"thoughts": "blocks", "thought_tokens": 50})
    answer = answered("anthropic", double.url, request(schema=CHOICE))
    assert json.loads(answer.text)["label"] in LABELS
    assert answer.usage.reasoning_tokens == 50 < answer.usage.output_tokens
    provider = AnthropicProvider(api_key=None)
    blocks = [{"type": "thinking", "thinking": "h" * 90}, {"type": "text", "text": "x" * 10}]
    uncounted = {"content": blocks, "usage": {"input_tokens": 3, "output_tokens": 100}}
    assert provider.read(uncounted, {}, request()).usage.reasoning_tokens == 90


def test_an_effort_that_is_refused_is_left_out_and_the_form_stays(double: LLMServer) -> None:
    double.objects = lambda data: (
        "This model does not support the effort parameter." if "effort" in data.get("output_config", {}) else None
    )
    asked = replace(request(schema=CHOICE), capabilities=capabilities_of("anthropic", "claude-opus-5-5"))
    [answer] = ask("anthropic", double.url, asked)
    assert isinstance(answer, Answer) and json.loads(answer.text)["label"] in LABELS
