"""What refusals teach: bodies as servers refuse them, in their own words, and what is sent instead."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dprm_data.providers.capabilities import capabilities_of
from dprm_data.providers.construction import make_provider
from dprm_data.providers.learning import Learned
from dprm_data.providers.request import Answer, CallFailed, Request
from tests.providers.helpers import CHOICE, ENVIRON, ask, config, request
from tests.servers.llm import LLMServer

BODY = {"model": "m", "messages": [], "temperature": 0.5, "top_p": 0.9, "seed": 3, "max_tokens": 4080}
MORE = {
    "response_format": {"type": "json_schema"},
    "top_logprobs": 1000,
    "reasoning_effort": "minimal",
    "chat_template_kwargs": {"enable_thinking": False},
    "prompt_cache_key": "k",
    "reasoning": {"effort": "none"},
    "thinking": {"type": "disabled"},
    "output_config": {"effort": "low", "format": {"type": "json_schema"}},
}
LEFT_OUT = None


@pytest.mark.parametrize(
    ("words", "param", "path", "instead"),
    [
        ("Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is supported.", "temperature", "temperature", LEFT_OUT),
        ("temperature: Extra inputs are not permitted", None, "temperature", LEFT_OUT),
        ("Unknown name \"seed\": Cannot find field.", None, "seed", LEFT_OUT),
        ('[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted"}]', None, "seed", LEFT_OUT),
        ("Model grok-4 does not support parameter reasoningEffort.", None, "reasoning_effort", LEFT_OUT),
        ("Unsupported value: 'minimal' is not supported with the 'gpt-5.1' model. Supported values are: 'none', 'low', 'medium', and 'high'.", "reasoning_effort", "reasoning_effort", "none"),
        ("Invalid reasoning_effort: minimal. Valid values are: high, low, medium", None, "reasoning_effort", "low"),
        ("chat_template_kwargs is not supported for this tokenizer", None, "chat_template_kwargs", LEFT_OUT),
        ("Unrecognized request argument supplied: prompt_cache_key", None, "prompt_cache_key", LEFT_OUT),
        ("Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.", "response_format", "response_format", {"type": "json_object"}),
        ("Requested sample logprobs of 1000, which is greater than max allowed: 20", None, "top_logprobs", 20),
        ("max_tokens is too large: 4080. This model supports at most 2048 completion tokens.", "max_tokens", "max_tokens", 2048),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 512]", None, "max_tokens", 512),
        ("thinking.type.disabled: not supported by this model; use adaptive", None, "thinking", LEFT_OUT),
        ("This model does not support the effort parameter.", None, "output_config.effort", LEFT_OUT),
    ],
)  # fmt: skip
def test_a_parameter_that_is_named_is_left_out_or_exchanged(
    words: str, param: str | None, path: str, instead: Any
) -> None:
    first, _, rest = path.partition(".")
    body = BODY | {first: (BODY | MORE)[first]}
    learned = Learned()
    said: list[str] = []
    learned.say = said.append
    assert learned.learn(CallFailed("rejected", words, status=400, param=param), body, request())
    sent = learned.applied(body)
    assert (sent.get(first, {}) if rest else sent).get(rest or first) == instead
    assert {name: value for name, value in sent.items() if name != first} == {
        name: value for name, value in body.items() if name != first
    }
    assert len(said) == 1 and words in said[0]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("messages: this model's maximum context length is 8192 tokens, max_tokens included", 400),
        ("temperature must be between 0 and 2", 400),
        ("Incorrect API key provided", 400),
        ("temperature is not supported", 413),
        ("Unprocessable", 422),
    ],
)
def test_other_refusals_teach_nothing(words: str, status: int) -> None:
    learned = Learned()
    assert not learned.learn(CallFailed("rejected", words, status=status), BODY, request())
    assert learned.applied(BODY) == BODY


def test_what_is_never_left_out() -> None:
    """The limit, which the budget relies on; log-probabilities, without which there is no answer; an effort that the recipe names."""
    for body, params, words in (
        ({"max_tokens": 80}, {}, "max_tokens is not supported"),
        ({"top_logprobs": 5, "logprobs": True}, {}, "logprobs are not supported"),
        ({"reasoning_effort": "high"}, {"effort": "high"}, "reasoning_effort is not supported"),
    ):
        learned = Learned()
        for _ in range(2):
            learned.learn(CallFailed("rejected", words, status=400), learned.applied(body), request(**params))
        assert len(learned.applied(body)) == len(body)


def test_max_tokens_is_renamed_once(double: LLMServer) -> None:
    double.script({"refuses": ("max_tokens",)})
    answers = ask("openai", double.url, request("a"), request("b"))
    assert all(isinstance(answer, Answer) for answer in answers)
    assert double.tally.requests == 3, "the second request is sent as it is taken"


def test_it_is_said_once_however_many_calls_are_refused(double: LLMServer) -> None:
    double.script({"refuses": ("seed", "response_format"), "latency": 0.05, "labels": ("yes",)})
    said: list[str] = []

    async def go() -> list[Answer]:
        provider = make_provider(config("openai", double.url), ENVIRON, say=said.append)
        asked = [provider.complete(request(f"q{i}", seed=i, schema=CHOICE)) for i in range(8)]
        answers = await asyncio.gather(*asked)
        await provider.aclose()
        return answers

    assert len(asyncio.run(go())) == 8
    assert [line.split(" (")[0] for line in said] == [
        "test-model: seed is left out from now on",
        "test-model: answers are asked for as json_object instead of json_schema from now on",
        "test-model: response_format is left out from now on",
    ]


def test_thoughts_get_less_room_where_the_context_is_small(double: LLMServer) -> None:
    limits: list[int] = []

    def objects(data: dict[str, Any]) -> str | None:
        limits.append(data["max_tokens"])
        small = "This model's maximum context length is 4096 tokens. However, you requested 8600 tokens."
        return small if limits[-1] > 3000 else None

    double.objects = objects
    asked = Request("m", ({"role": "user", "content": "x"},), {"max_tokens": 80}, capabilities=capabilities_of("vllm", "deepseek-r1"))  # fmt: skip
    [answer] = ask("openai", double.url, asked)
    assert isinstance(answer, Answer)
    assert limits == [8080, 4040, 2020]


def test_a_server_that_refuses_everything_is_asked_a_few_times(double: LLMServer) -> None:
    double.objects = lambda data: f"{sorted(data)[-1]} and {sorted(data)[0]} are not supported"
    [failed] = ask("openai", double.url, request("x", temperature=0.1, top_p=0.5, seed=1, schema=CHOICE))
    assert isinstance(failed, CallFailed) and failed.kind == "rejected"
    assert double.tally.requests <= 9
