"""Keys and passwords stay out: of recipes, of what is printed, and of everything that is published."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from dprm_data.core.errors import DprmError, PublishError, RecipeError
from dprm_data.core.key_shapes import find_key, is_key
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.core.secret_scan import Secrets, check_text
from dprm_data.publish.publication import prepared
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.run import Run
from tests.helpers import dprm, write_recipe
from tests.publish.conftest import finished, run_folder  # noqa: F401

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
def test_a_secret_in_the_providers_settings_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"would be kept with the recipe.*environment") as refused:
        Recipe.of(provider(**changes))
    for secret in (SECRET, *KEYS):
        assert secret not in str(refused.value)


@pytest.mark.slow
def test_a_refused_secret_is_not_printed(tmp_path: Path) -> None:
    write_recipe(tmp_path, **provider(base_url=f"https://user:{SECRET}@llm.example/v1"))
    done = dprm("plan", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "would be kept with the recipe" in done.stderr
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


# -- what is published ----------------------------------------------------------------------------------------------------

VALUE = 'pq"RS\\tu/42 ü&<'  # every escape changes it


def with_text(folder: Path, text: str, row: int = 30) -> None:
    """One answer of the finished run says something else, in both tables that have it."""
    for name in ("items", "distributions"):
        path = folder / f"tables/{name}.parquet"
        table = pq.read_table(path)
        completions = table["completion"].to_pylist()
        completions[row][0]["content"] = f"before {text} after"
        field = table.schema.field("completion")
        table = table.set_column(table.schema.names.index("completion"), field, pa.array(completions, field.type))
        pq.write_table(table, path)


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if any(part in name for part in ("KEY", "TOKEN", "SECRET", "PASS")):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(
    "variable",
    ["AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "MISTRAL_API_KEY", "MY_TOKEN", "STRIPE_SECRET", "DB_PASSWORD", "SMTP_PASS", "APIKEY", "HF_TOKEN"],
)  # fmt: skip
@pytest.mark.parametrize("form", ["raw", "json", "url"])
def test_a_secret_of_the_environment_is_not_published(
    run_folder: Path,  # noqa: F811
    clean_environment: pytest.MonkeyPatch,
    variable: str,
    form: str,
) -> None:
    clean_environment.setenv(variable, VALUE)
    forms = {"raw": VALUE, "json": json.dumps({"key": VALUE}), "url": quote(VALUE, safe="")}
    with_text(run_folder, forms[form])
    place = (
        rf"data/default/\w+-00000-of-00001\.parquet, row \d+, field completion\[0\]\.content, .* variable {variable}"
    )
    with pytest.raises(PublishError, match=place) as refused, prepared(Run.open(run_folder), "acme/prefs"):
        pass
    assert "pq" not in str(refused.value).replace("parquet", "")


def test_a_password_in_an_address_of_the_environment_is_not_published(
    run_folder: Path,  # noqa: F811
    clean_environment: pytest.MonkeyPatch,
) -> None:
    clean_environment.setenv("DATABASE_URL", f"postgresql://me:{SECRET}@host/db")
    with_text(run_folder, SECRET)
    with pytest.raises(PublishError, match="variable DATABASE_URL"), prepared(Run.open(run_folder), "acme/prefs"):
        pass


@pytest.mark.parametrize("key", KEYS)
def test_anybodys_key_is_not_published(run_folder: Path, clean_environment: pytest.MonkeyPatch, key: str) -> None:  # noqa: F811
    with_text(run_folder, key)
    with (
        pytest.raises(PublishError, match=r"row \d+, field .* looks like") as refused,
        prepared(Run.open(run_folder), "acme/prefs"),
    ):
        pass
    assert key not in str(refused.value)
    assert "--allow-key-shapes" in str(refused.value)
    with prepared(Run.open(run_folder), "acme/prefs", allow_key_shapes=True):
        pass


def test_a_key_in_the_card_or_the_commit_message_is_not_published(
    run_folder: Path,  # noqa: F811
    clean_environment: pytest.MonkeyPatch,
) -> None:
    run = Run.open(run_folder).with_publish({"sources": [f"made with {KEYS[0]}"]})
    with pytest.raises(PublishError, match=r"(README\.md, line \d+|run/.*), would hold"), prepared(run, "acme/prefs"):
        pass
    secrets = Secrets.of_environment({"MY_KEY": VALUE})
    with pytest.raises(
        PublishError, match="the commit message would hold the value of the environment variable MY_KEY"
    ):
        check_text(f"with {VALUE}", "the commit message", secrets)


def test_short_values_and_words_are_no_secrets(run_folder: Path, clean_environment: pytest.MonkeyPatch) -> None:  # noqa: F811
    for name, value in {
        "A_KEY": "answer",
        "B_TOKEN": "Question",
        "PGPASSWORD": "postgres",
        "C_KEY": "good",
        "PWD": str(run_folder),
        "D_KEY": "/home/me/key.pem",
        "GIT_AUTHOR_NAME": "Good answer 3",
        "KEYBOARD": "sk-fading-circle-wrapper",
        "AWS_REGION": "eu-central-1",
    }.items():
        clean_environment.setenv(name, value)
    with_text(run_folder, "postgres in eu-central-1, sk-fading-circle-wrapper, /home/me/key.pem, Question")
    with prepared(Run.open(run_folder), "acme/prefs"):
        pass


def test_many_secrets_are_searched_for_in_linear_time() -> None:
    environ = {f"S{i}_KEY": f"{i:03d}-{'x9Y' * 18}-{i}" for i in range(200)}
    secrets = Secrets.of_environment(environ)
    texts = pa.array(["some words of a text that is no secret " * 20] * 2_000)
    start = time.perf_counter()
    for pattern in secrets.patterns:
        assert not pc.any(pc.match_substring_regex(texts, pattern)).as_py()
    assert time.perf_counter() - start < 5


@pytest.mark.slow
def test_secrets_of_an_old_run_folder_are_not_shown(run_folder: Path, tmp_path: Path) -> None:  # noqa: F811
    """Written by a version that still took them."""
    recipe = run_folder / "recipe.yaml"
    extra = f"extra: {{headers: {{X-Api-Key: {SECRET}}}}}\n  base_url: https://user:{SECRET}@llm.example/v1 #"
    recipe.write_text(recipe.read_text().replace("base_url: http://", extra, 1))
    assert recipe.read_text().count(SECRET) == 2
    for command in (("report", run_folder), ("fit", run_folder), ("plan", recipe)):
        done = dprm(*command, cwd=tmp_path)
        assert SECRET not in done.stdout + done.stderr, command
    with prepared(Run.open(run_folder), "acme/prefs") as publication:
        for path, file in publication.files.items():
            texts = str(pq.read_table(file.local).to_pylist()) if path.endswith(".parquet") else file.local.read_text()
            assert SECRET not in texts, path
    for shown in ("README.md", "report.html", "manifest.json"):
        assert SECRET not in (run_folder / shown).read_text()
