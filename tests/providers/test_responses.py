"""OpenAI's Responses API: what is sent, what is read, and models that answer only there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dprm_data.core.errors import InputError
from dprm_data.engine.prices import prices_for
from dprm_data.providers.construction import make_batch_provider, make_provider
from dprm_data.providers.request import Answer, Usage
from dprm_data.providers.responses import as_chat
from tests.helpers import answer as answer_of
from tests.helpers import dprm, write_recipe
from tests.providers.helpers import CHOICE, ENVIRON, LABELS, answered, ask, config, failed, request
from tests.servers.llm import LLMServer

THERE: dict[str, Any] = {"options": {"api": "responses"}}


@pytest.fixture
def seen(double: LLMServer) -> list[dict[str, Any]]:
    """The bodies that the double answered."""
    bodies: list[dict[str, Any]] = []
    double.says = lambda body: bodies.append(body)
    return bodies


def test_everything_asked_for_is_sent_and_nothing_else(double: LLMServer, seen: list[dict[str, Any]]) -> None:
    wanted = request(
        "hello",
        system="be fair",
        hint="item",
        schema=CHOICE,
        temperature=0.5,
        top_p=0.9,
        seed=7,
        extra={"reasoning_effort": "low", "service_tier": "flex", "prompt_cache_key": "auto"},
    )
    answered("openai", double.url, wanted, **THERE)
    assert seen == [
        {
            "model": "test-model",
            "input": [{"role": "system", "content": "be fair"}, {"role": "user", "content": "hello"}],
            "store": False,
            "max_output_tokens": 100,
            "temperature": 0.5,
            "top_p": 0.9,
            "reasoning": {"effort": "low"},
            "text": {"format": {"type": "json_schema", "name": "answer", "schema": CHOICE, "strict": True}},
            "prompt_cache_key": "item",
            "service_tier": "flex",
        }
    ]


def test_an_answer(double: LLMServer) -> None:
    double.answers.append(json.dumps({"label": LABELS[0]}))
    answer = answered("openai", double.url, request("x" * 8000, schema=CHOICE), **THERE)
    assert json.loads(answer.text) == {"label": LABELS[0]}
    assert (answer.finish, answer.model) == ("stop", "test-model")
    assert answer.usage == Usage(input_tokens=2000, output_tokens=-(-len(answer.text) // 4))
    assert "x-ratelimit-remaining-requests" in answer.headers
    again = answered("openai", double.url, request("x" * 8000, schema=CHOICE), **THERE)
    assert again.usage.cached_tokens > 1900


@pytest.mark.parametrize(
    ("fault", "finish"), [("length", "length"), ("refusal", "refusal"), ("filter", "content_filter")]
)
def test_answers_that_are_none_say_so(double: LLMServer, fault: str, finish: str) -> None:
    answer = answered("openai", double.url, request(f"[[fault:{fault}]]", schema=CHOICE), **THERE)
    assert answer.finish == finish
    assert answer.usage.input_tokens > 0


def test_log_probabilities(double: LLMServer, seen: list[dict[str, Any]]) -> None:
    answer = answered("openai", double.url, request(max_tokens=1, top_logprobs=5), **THERE)
    assert answer.top_logprobs is not None and len(answer.top_logprobs) == 5
    assert seen[0]["include"] == ["message.output_text.logprobs"]
    assert (seen[0]["top_logprobs"], seen[0]["max_output_tokens"]) == (5, 16)  # it takes no less
    assert "logprobs" not in seen[0]


def test_a_model_that_answers_only_there_is_asked_there(double: LLMServer) -> None:
    double.script({"only_responses": True})
    results = ask("openai", double.url, request("one", schema=CHOICE), request("two", schema=CHOICE))
    assert all(isinstance(result, Answer) for result in results), results
    assert double.tally.requests == 3  # one of them was refused


def test_a_model_that_is_not_there_is_not_looked_for_elsewhere(double: LLMServer) -> None:
    failure = failed("openai", double.url, request("[[fault:404]]"))
    assert (failure.kind, double.tally.requests) == ("not_found", 1)


@pytest.mark.parametrize("fault", ["401", "429", "500", "drop", "broken"])
def test_failures_are_those_of_every_server(double: LLMServer, fault: str) -> None:
    here = failed("openai", double.url, request(f"[[fault:{fault}]]"))
    there = failed("openai", double.url, request(f"[[fault:{fault}]]"), **THERE)
    assert (there.kind, there.status, there.retry_after) == (here.kind, here.status, here.retry_after)


@pytest.mark.parametrize("output", [None, [], [{"type": "reasoning"}], [1], [{"type": "message", "content": "words"}]])
def test_a_reply_without_a_message_is_no_answer(output: object) -> None:
    assert as_chat({"status": "completed", "output": output})["choices"] == []


def test_settings_that_cannot_work() -> None:
    with pytest.raises(InputError, match=r"options\.api: 'chats' is not an API of OpenAI"):
        make_provider(config("openai", "http://127.0.0.1:9", options={"api": "chats"}), ENVIRON)
    with pytest.raises(InputError, match="has no batches here"):
        make_batch_provider(config("openai", "http://127.0.0.1:9", **THERE), ENVIRON)


def test_the_price_is_the_model_s() -> None:
    assert "gpt-5.4-pro" in prices_for(config("openai", "https://api.openai.com", model="gpt-5.4-pro", **THERE)).source


def test_a_run_and_its_keys(tmp_path: Path, double: LLMServer) -> None:
    """Whichever way a call travels, its key is the same."""
    double.script({"only_responses": True})
    recipe = write_recipe(tmp_path, double.url)
    assert answer_of(dprm("run", recipe, "--json", cwd=tmp_path))["annotate"]["statuses"] == {"ok": 16}
    provider = {"name": "openai", "model": "gpt-4o-mini", "base_url": f"{double.url}/v1", **THERE}
    again = write_recipe(tmp_path, double.url, provider=provider)
    assert answer_of(dprm("run", again, "--json", cwd=tmp_path))["annotate"]["calls"] == 0


def test_a_reply_that_failed_at_the_server_is_a_failure(double: LLMServer) -> None:
    """It comes with status 200."""
    assert failed("openai", double.url, request("[[fault:error_200]]"), **THERE).kind == "rate_limit"
