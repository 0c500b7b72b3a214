"""Providers by name: each sends its key to its own address, and nothing that its server refuses."""

from __future__ import annotations

from typing import Any

import pytest

from dprm_data.core.errors import InputError
from dprm_data.core.registry import PROVIDERS
from dprm_data.engine.prices import prices_for
from dprm_data.providers.construction import make_provider
from dprm_data.providers.openai import OpenAIProvider
from dprm_data.providers.presets import OwnServer, Preset
from dprm_data.providers.request import Answer
from dprm_data.recipe.provider_config import ProviderConfig
from tests.providers.helpers import CHOICE, ask, request
from tests.servers.llm import LLMServer

# Top-level fields of OpenAI's chat completions that the provider answers with an error, by its own reference.
REFUSED = {
    "openrouter": (),
    "gemini": ("seed", "logprobs", "top_logprobs", "prompt_cache_key"),
    "mistral": ("seed", "logprobs", "max_completion_tokens", "prompt_cache_key"),
    "groq": ("logprobs", "top_logprobs", "prompt_cache_key"),
    "deepseek": ("seed", "max_completion_tokens", "prompt_cache_key"),
    "together": ("top_logprobs", "max_completion_tokens", "prompt_cache_key"),
    "fireworks": ("max_completion_tokens", "prompt_cache_key"),
    "xai": ("max_tokens", "prompt_cache_key"),
    "azure": ("max_tokens",),
    "ollama": ("max_completion_tokens", "prompt_cache_key"),
    "lmstudio": ("logprobs", "max_completion_tokens", "prompt_cache_key"),
    "vllm": ("prompt_cache_key",),
    "sglang": ("prompt_cache_key",),
    "llamacpp": ("prompt_cache_key",),
}


def kind(name: str) -> type[Preset]:
    found: type[Preset] = PROVIDERS.get(name)
    return found


def test_every_preset_is_tested() -> None:
    presets = {name for name in PROVIDERS.names() if isinstance(kind(name), type) and issubclass(kind(name), Preset)}
    assert presets == REFUSED.keys()


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_is_sent_that_the_server_refuses(double: LLMServer, name: str) -> None:
    bodies: list[dict[str, Any]] = []
    double.says = lambda body: bodies.append(body)
    double.script({"refuses": REFUSED[name]})
    asked = request("hello", schema=CHOICE, temperature=0.5, top_p=0.9, seed=7, hint="a" * 64)
    environ = {kind(name).key_variable: "k" * 20} if kind(name).key_variable else {}
    [answer] = ask(name, double.url, asked, environ=environ)  # type: ignore[arg-type]
    assert isinstance(answer, Answer), answer
    [body] = bodies
    assert 100 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert (body["temperature"], body["top_p"]) == (0.5, 0.9)


def test_a_seed_goes_under_the_name_that_the_server_has_for_it(double: LLMServer) -> None:
    bodies: list[dict[str, Any]] = []
    double.says = lambda body: bodies.append(body)
    ask("mistral", double.url, request(seed=7), environ={"MISTRAL_API_KEY": "k" * 20})
    assert bodies[0]["random_seed"] == 7


def test_structured_output_is_the_strictest_that_the_server_has(double: LLMServer) -> None:
    bodies: list[dict[str, Any]] = []
    double.says = lambda body: bodies.append(body)
    for structured in ("json_schema", "none"):
        ask(
            "deepseek",
            double.url,
            request(schema=CHOICE),
            environ={"DEEPSEEK_API_KEY": "k" * 20},
            structured=structured,
        )
    assert bodies[0]["response_format"] == {"type": "json_object"}
    assert "response_format" not in bodies[1]


@pytest.mark.parametrize(
    "name", [name for name in REFUSED if not issubclass(kind(name), OwnServer) and name != "azure"]
)
def test_a_service_needs_the_key_of_its_own_variable(name: str) -> None:
    recipe = ProviderConfig(name=name, model="m")
    with pytest.raises(InputError, match=f"{kind(name).key_variable} is not set"):
        make_provider(recipe, {"OPENAI_API_KEY": "k" * 20, "OPENAI_BASE_URL": "http://127.0.0.1:9"})
    made = make_provider(recipe, {kind(name).key_variable or "": "k" * 20})
    assert isinstance(made, OpenAIProvider)
    assert made.address == kind(name).default_url


@pytest.mark.parametrize("name", [name for name in REFUSED if issubclass(kind(name), OwnServer)])
def test_a_server_of_ones_own_needs_no_key_and_no_price(name: str) -> None:
    recipe = ProviderConfig(name=name, model="m")
    assert make_provider(recipe, {}).family == name
    assert "free" in prices_for(recipe).source


def test_a_server_of_ones_own_can_have_a_price() -> None:
    recipe = ProviderConfig(name="vllm", model="m", price={"input": 1, "output": 2})
    assert prices_for(recipe).source == "the recipe's own price"


def test_azure_needs_the_address_of_the_resource() -> None:
    with pytest.raises(InputError, match=r"provider\.base_url: missing"):
        make_provider(ProviderConfig(name="azure", model="m"), {"AZURE_OPENAI_API_KEY": "k" * 20})


def test_prices_are_those_of_the_seller() -> None:
    by_name = prices_for(ProviderConfig(name="openrouter", model="qwen/qwen3-32b"))
    by_address = prices_for(
        ProviderConfig(name="openai", model="qwen/qwen3-32b", base_url="https://openrouter.ai/api/v1")
    )
    assert by_name.source == by_address.source
    assert "OpenRouter's list price" in by_name.source
    azure = ProviderConfig(name="azure", model="gpt-4o-mini", base_url="https://mine.openai.azure.com/openai/v1")
    assert "Microsoft Azure's list price of gpt-4o-mini" in prices_for(azure).source
    unknown = ProviderConfig(name="openai", model="gpt-4o-mini", base_url="http://localhost:8000/v1")
    assert "charges other prices" in prices_for(unknown).source
