"""What all personas of an item share is the same to the byte, comes first, and is marked for the providers' caches."""

from __future__ import annotations

import asyncio

import pytest

from dprm_data import FunctionProvider
from dprm_data.ingest.items import Item, ids_of
from dprm_data.ledger.call import Call
from dprm_data.panel.panel_sources import load_panel
from dprm_data.providers.construction import make_provider
from dprm_data.providers.request import Answer, Request
from dprm_data.recipe.provider_config import ProviderConfig
from tests.engine.helpers import RecordingProvider, annotate, items, label, work
from tests.servers.llm import LLMServer

NASTY = (
    "Quotes \"' and {{ braces }} {% raw %}, \u2028 lines, emoji 👩🏽\u200d🔬, RTL \u202eabc, and a very long tail "
    + "ü" * 3000
)


def nasty_item() -> Item:
    prompt = (
        {"role": "user", "content": NASTY},
        {"role": "assistant", "content": "hm"},
        {"role": "user", "content": "go on"},
    )
    completion = ({"role": "assistant", "content": NASTY[::-1]},)
    item_id, group_id = ids_of(prompt, completion)  # type: ignore[arg-type]
    return Item(item_id, prompt, completion, group_id, None, "here:1", {})  # type: ignore[arg-type]


@pytest.mark.parametrize("elicitation", ["choice", "logprobs", "distribution"])
@pytest.mark.parametrize("panel", ["paper", "small", "demographic"])
def test_the_prefix_is_the_same_to_the_byte(elicitation: str, panel: str) -> None:
    personas = load_panel(panel).personas
    asked = work(elicitation=elicitation)
    for item in (*items(2), nasty_item()):
        prefixes, tails, hints = set(), set(), set()
        opened = asked.elicitation.open(item)
        for persona in personas:
            for replicate in range(1 if elicitation == "logprobs" else 2):
                call = asked.elicitation.task(opened, persona, replicate).next(())
                assert isinstance(call, Call)
                *before, last = [m for m in call.request.messages if m["role"] != "assistant"]
                shared = last["content"][: call.request.shared_chars]
                prefixes.add(b"\0".join(m["content"].encode() for m in before) + shared.encode())
                tails.add(last["content"][call.request.shared_chars :])
                hints.add(call.request.cache_hint)
                assert item.completion[0]["content"][:2000] in shared
                assert persona.description not in shared
        assert len(prefixes) == len(hints) == 1
        assert len(tails) >= min(len(personas), 2)


def bodies(name: str) -> list[dict[str, object]]:
    """What is sent for two personas of one item."""
    config = ProviderConfig(name=name, model="m", base_url="http://127.0.0.1:9/v1", extra={})  # type: ignore[arg-type]
    asked = work(2)

    async def go() -> list[dict[str, object]]:
        provider = make_provider(config, {})
        calls = [task.next(()) for task in asked.tasks(nasty_item())]
        made = [provider.body(call.request) for call in calls if isinstance(call, Call)]  # type: ignore[attr-defined]
        await provider.aclose()
        return made

    return asyncio.run(go())


def test_anthropic_s_cache_control_ends_where_the_shared_part_ends() -> None:
    first, second = bodies("anthropic")
    assert first["system"] == second["system"]
    one, two = (body["messages"][-1]["content"] for body in (first, second))  # type: ignore[index]
    assert one[0] == two[0] and one[0]["cache_control"] == {"type": "ephemeral"}
    assert one[1] != two[1] and "cache_control" not in one[1]


def test_openai_s_prompt_cache_key_is_the_item(double: LLMServer) -> None:
    config = ProviderConfig(name="openai", model="m", extra={"prompt_cache_key": "auto"}, base_url=f"{double.url}/v1")
    asked = work(2, provider=config.model_dump())

    async def go() -> set[object]:
        provider = make_provider(config, {})
        calls = [task.next(()) for item in items(2) for task in asked.tasks(item)]
        keys = {provider.body(call.request)["prompt_cache_key"] for call in calls if isinstance(call, Call)}  # type: ignore[attr-defined]
        await provider.aclose()
        return keys

    assert asyncio.run(go()) == {item.item_id for item in items(2)}


def test_the_first_call_of_an_item_goes_ahead(tmp_path: object) -> None:
    """The others follow when it is answered; other items do not wait for it."""
    from pathlib import Path

    answered: set[str] = set()
    early: list[str] = []

    async def complete(request: Request) -> Answer:
        first = request.cache_hint not in begun
        begun.add(request.cache_hint)
        if not first and request.cache_hint not in answered:
            early.append(request.cache_hint)
        await asyncio.sleep(0.05)
        answered.add(request.cache_hint)
        return label()

    begun: set[str] = set()
    provider = RecordingProvider(complete)
    assert isinstance(tmp_path, Path)
    annotate(tmp_path, provider, work(6), items(10), concurrency=16)
    assert len(provider.requests) == 60 and not early
    assert provider.most_in_flight == 16


def test_the_cache_is_met_at_the_server(double: LLMServer, tmp_path: object) -> None:
    from pathlib import Path

    assert isinstance(tmp_path, Path)
    config = ProviderConfig(name="openai", model="gpt-4o-mini", base_url=f"{double.url}/v1")

    async def complete(request: Request) -> Answer:
        nonlocal provider
        provider = provider or make_provider(config, {})  # type: ignore[assignment]
        return await provider.complete(request)  # type: ignore[attr-defined, no-any-return]

    provider: object = None
    tally = annotate(tmp_path, FunctionProvider(complete), work(6), items(4, "long " * 2000), concurrency=8)
    # Five of six personas find nearly all of their input in the cache.
    assert tally.usage.cached_tokens > 0.75 * tally.usage.input_tokens
