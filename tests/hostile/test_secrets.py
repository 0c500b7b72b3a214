"""Keys and passwords stay out: of recipes, of what is printed, and of everything that is published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dprm_data.core.errors import DprmError, RecipeError
from dprm_data.core.key_shapes import find_key, is_key
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.recipe.recipe import Recipe
from tests.helpers import dprm, write_recipe

SECRET = "topsecret-9876"
# Put together here, so that no tool takes this file for a leak.
KEYS = [
    "AKIA" + "IOSFODNN7Q2WZ4XB",
    "AIza" + "SyD3-fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5",
    "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "github_pat_" + "11ABCDEFG0aBcDeFgHiJkL_mNoPqRsTuVwXyZ0123456789",
    "sk-" + "proj-aB3dE5fG7hI9jK1lM3nO5pQ7",
    "sk-" + "ant-api03-aB3dE5fG7hI9jK1lM3nO5pQ7",
    "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ",
    "xoxb-" + "123456789012-abcdefABCDEF",
]
WORDS = ["OPENAI_API_KEY", "XAI_API_KEY", "HF_TOKEN", "MY_TEAMS_SECOND_KEY_2026", "sk", "AKIA_KEY"]


def provider(**changes: Any) -> dict[str, Any]:
    return {"provider": {"name": "openai", "model": "m", **changes}}


# -- a recipe -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS)
def test_a_key_in_place_of_its_variables_name_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(RecipeError, match="not the name of an environment variable") as refused:
        Recipe.of(provider(api_key_env=key))
    assert key not in str(refused.value)


@pytest.mark.parametrize("name", [word for word in WORDS if not word.startswith("sk-")])
def test_names_of_variables_are_no_keys(name: str) -> None:
    assert Recipe.of(provider(api_key_env=name)).provider.api_key_env == name


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": f"https://user:{SECRET}@llm.example/v1"},
        {"base_url": f"https://{SECRET}@llm.example/v1"},
        {"base_url": f"https://llm.example/v1?api_key={SECRET}"},
        {"base_url": f"https://llm.example/v1?subscription-key={SECRET}"},
        {"base_url": f"https://llm.example/{KEYS[4]}/v1"},
        {"endpoints": [{"base_url": "https://a.example/v1"}, {"base_url": f"https://u:{SECRET}@b.example/v1"}]},
        {"extra": {"api_key": SECRET}},
        {"extra": {"headers": {"Authorization": f"Bearer {SECRET}"}}},
        {"extra": {"extra_headers": {"X-Api-Key": SECRET}}},
        {"extra": {"metadata": [{"note": f"use {KEYS[0]}"}]}},
    ],
    ids=str,
)
def test_a_secret_in_the_providers_settings_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"would be kept with the recipe.*environment") as refused:
        Recipe.of(provider(**changes))
    for secret in (SECRET, *KEYS):
        assert secret not in str(refused.value)
    write_recipe(tmp_path, **provider(**changes))
    done = dprm("plan", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert SECRET not in done.stdout + done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": "https://me.openai.azure.com/openai/deployments/x?api-version=2024-10-21"},
        {"extra": {"prompt_cache_key": "auto", "stop_token_ids": [1, 2], "skip_special_tokens": True}},
        {"extra": {"safety_identifier": "a-long-name-without-any-key-in-it", "token_budget": 12}},
    ],
    ids=str,
)
def test_ordinary_settings_are_accepted(changes: dict[str, Any]) -> None:
    Recipe.of(provider(**changes))


@pytest.mark.parametrize(
    "address",
    [f"postgresql://u:{SECRET}@host/db", f"postgresql://h/db?password={SECRET}", f"host=db user=u password={SECRET}"],
)
def test_a_password_in_a_ledgers_address_is_refused(address: str) -> None:
    with pytest.raises(DprmError) as refused:
        LedgerAddress.parse(address)
    assert SECRET not in str(refused.value)


def test_texts_that_are_no_keys() -> None:
    for text in (
        "sk-folding-cube-wrapper",
        "xoxo-hugs-and-kisses",
        "sk-" + "x" * 40,
        "risk-averse-people-and-others",
        *WORDS,
    ):
        assert find_key(text) is None, text
        assert not is_key(text), text
