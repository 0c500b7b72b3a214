"""From a recipe to a provider: keys, addresses, and settings that cannot work."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dprm_data.core.errors import InputError
from dprm_data.providers.construction import make_provider
from dprm_data.providers.provider import provider_class
from dprm_data.providers.request import CallFailed
from dprm_data.providers.token_estimates import output_tokens_cap
from dprm_data.recipe.provider_config import ProviderConfig
from dprm_data.recipe.recipe import Recipe
from tests.providers.helpers import BOTH, KEY, ask, request
from tests.servers.llm import LLMServer


def provider_config(**settings: Any) -> ProviderConfig:
    return Recipe.of({"provider": {"name": "openai", "model": "m"} | settings}).provider


def refusal(environ: dict[str, str] | None = None, **settings: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        make_provider(provider_config(**settings), environ or {})
    return caught.value


@pytest.mark.parametrize(("name", "variable"), [("openai", "OPENAI_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY")])
def test_a_missing_key_names_the_variable(name: str, variable: str) -> None:
    error = refusal(name=name)
    assert variable in error.message
    assert error.hint is not None and "export" in error.hint and "local" in error.hint


@pytest.mark.parametrize("name", BOTH)
def test_a_variable_of_the_users_choice(double: LLMServer, name: str) -> None:
    double.script({"key": KEY})
    [answer] = ask(name, double.url, request(), environ={"MY_KEY": f"{KEY}\n"}, api_key_env="MY_KEY")
    assert not isinstance(answer, CallFailed)
    assert "MY_KEY" in refusal(name=name, base_url=double.url, api_key_env="MY_KEY").message  # asked for, so needed


@pytest.mark.parametrize("name", BOTH)
def test_a_server_of_ones_own_needs_no_key(double: LLMServer, name: str) -> None:
    [answer] = ask(name, double.url, request(), environ={})
    assert not isinstance(answer, CallFailed)


@pytest.mark.parametrize(("name", "variable"), [("openai", "OPENAI_BASE_URL"), ("anthropic", "ANTHROPIC_BASE_URL")])
def test_the_sdks_own_variable_for_the_address_works(double: LLMServer, name: str, variable: str) -> None:
    [answer] = ask(name, double.url, request(), environ={variable: f"{double.url}/v1"}, base_url=None)
    assert not isinstance(answer, CallFailed)


@pytest.mark.parametrize("leaked", [KEY, "sk_live_123", "gsk-abc", "AKIA/abc+def", "hf_abcdefgh", "A" * 80])
def test_a_key_in_the_recipe_is_refused_and_not_repeated(leaked: str) -> None:
    error = refusal(api_key_env=leaked)
    assert leaked not in str(error) and leaked not in str(error.__cause__)
    assert "not the name of an environment variable" in error.message


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "XAI_API_KEY", "HF_TOKEN", "KEY_2", "my_key"])
def test_names_of_variables_are_not_mistaken_for_keys(name: str) -> None:
    assert provider_config(api_key_env=name).api_key_env == name


def test_a_key_that_cannot_be_one() -> None:
    error = refusal({"OPENAI_API_KEY": "two words"})
    assert "OPENAI_API_KEY" in error.message and "two words" not in str(error)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "http://", "not a url", "http://[::1"])
def test_an_address_that_is_none(url: str) -> None:
    assert "base_url" in refusal(base_url=url).message


@pytest.mark.parametrize(("name", "value"), [("temperature", 0.5), ("top_p", 0.9), ("seed", 1)])
def test_settings_that_anthropic_does_not_have(name: str, value: float) -> None:
    message = refusal({"ANTHROPIC_API_KEY": KEY}, name="anthropic", **{name: value}).message
    assert f"provider.{name}: Anthropic's API has no {name}" in message


@pytest.mark.parametrize("name", ["stream", "n", "messages"])
def test_extras_that_would_break_the_bookkeeping(name: str) -> None:
    assert f"provider.extra.{name}: cannot be set" in refusal({"OPENAI_API_KEY": KEY}, extra={name: 2}).message


def test_options_are_those_that_the_provider_has() -> None:
    message = refusal({"OPENAI_API_KEY": KEY}, options={"region": "eu"}).message
    assert "provider.options.region: OpenAI's API has no such option (has: api)" in message


@pytest.mark.parametrize("settings", [{"base_url": "http://localhost/v1"}, {"api_key_env": "MY_KEY"}])
def test_the_local_model_takes_no_address_and_no_key(settings: dict[str, str]) -> None:
    assert next(iter(settings)) in refusal(name="local", **settings).message


def test_a_local_model_that_is_not_there(tmp_path: Path) -> None:
    assert "there is no model file" in refusal(name="local", model=str(tmp_path / "no.gguf")).message
    with pytest.raises(InputError):
        provider_class("local").model_name("gpt-4")


def test_names_of_models(tmp_path: Path) -> None:
    assert provider_class("openai").model_name("gpt-x") == "gpt-x"
    assert provider_class("local").model_name("") == "SmolLM2-135M-Instruct"
    names = []
    for content in (b"one", b"two"):
        file = tmp_path / "mine.gguf"
        file.write_bytes(content)
        names.append(provider_class("local").model_name(str(file)))
    assert names[0] != names[1]  # another model under an old name is another model
    assert all(name.startswith("mine@") for name in names)


@pytest.mark.parametrize(
    ("params", "cap"),
    [
        ({"max_tokens": 100}, 100),
        ({"max_tokens": 100, "extra": {"max_completion_tokens": 5000}}, 5000),
        ({"max_tokens": 100, "extra": {"max_tokens": 50}}, 50),
        ({}, None),
    ],
)
def test_the_most_that_an_answer_can_be_billed(params: dict[str, Any], cap: int | None) -> None:
    assert output_tokens_cap(params) == cap


def test_recipes_and_providers_that_are_not_asked_import_no_sdk() -> None:
    code = """
import asyncio, sys
from dprm_data.providers.construction import make_provider
from dprm_data.recipe.recipe import Recipe
for name in ("openai", "anthropic", "local"):
    recipe = Recipe.of({"provider": {"name": name, "model": "" if name == "local" else "m"}})
    if name != "local":
        asyncio.run(make_provider(recipe.provider, {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}).aclose())
print(*(m for m in ('openai', 'anthropic', 'aiohttp', 'httpx2', 'xllamacpp') if m in sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", BOTH)
def test_a_provider_that_was_never_asked_closes(name: str) -> None:
    environ = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY}
    asyncio.run(make_provider(provider_config(name=name), environ).aclose())
