"""`dprm models list`: which providers and models there are, and what a model was found to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dprm_data.core.registry import PROVIDERS
from dprm_data.engine.prices import prices_for
from dprm_data.providers.request import Usage
from dprm_data.recipe.provider_config import ProviderConfig
from tests.helpers import answer, dprm, write_recipe
from tests.servers.llm import LLMServer

KEY = "sk-test-abcdefghijklmnopqrstuvwxyz-0123456789"


def test_all_providers_are_listed_and_no_key_is_shown(tmp_path: Path) -> None:
    done = dprm("models", "--json", cwd=tmp_path, OPENAI_API_KEY=KEY)
    entries = {entry["name"]: entry for entry in answer(done)["providers"]}
    assert list(entries) == PROVIDERS.names()
    assert entries["openai"]["key_variable"] == "OPENAI_API_KEY"
    assert (entries["openai"]["has_key"], entries["mistral"]["has_key"]) == (True, False)
    assert (entries["vllm"]["key_variable"], entries["vllm"]["has_key"], entries["vllm"]["free"]) == (None, None, True)
    assert entries["openai"]["address"] == "https://api.openai.com/v1"
    shown = dprm("models", cwd=tmp_path, OPENAI_API_KEY=KEY)
    assert KEY not in done.stdout + shown.stdout
    assert all(name in shown.stdout for name in PROVIDERS.names())
    line = next(line for line in shown.stdout.splitlines() if line.startswith("openai "))
    assert "OPENAI_API_KEY" in line and " set " in line and "not set" not in line


@pytest.mark.parametrize("name", ["openai", "anthropic", "bedrock", "vertex", "gemini", "groq"])
def test_prices_are_those_that_runs_are_billed_by(tmp_path: Path, name: str) -> None:
    entries = answer(dprm("models", name, "--json", cwd=tmp_path))["models"]
    assert len(entries) > 5
    for entry in entries[::7]:
        prices = prices_for(ProviderConfig(name=name, model=entry["name"]))
        assert prices.cost(Usage(1000, 0)) == pytest.approx(entry["input"] / 1000), entry["name"]
        assert prices.cost(Usage(1, 1000)) == pytest.approx(entry["output"] / 1000, rel=0.05, abs=1e-4), entry["name"]


def test_a_model_s_line(tmp_path: Path) -> None:
    [entry] = answer(dprm("models", "openai", "--search", "gpt-6-LUNA", "--json", cwd=tmp_path))["models"]
    assert (entry["name"], entry["reasons"]) == ("gpt-6-luna", True)
    assert entry["efforts"][0] == "none" and entry["efforts"][-1] == "max"
    [haiku] = answer(dprm("models", "anthropic", "claude-haiku-5-5", "--json", cwd=tmp_path))["models"]
    assert haiku["logprobs"] is False
    shown = dprm("models", "openai", "--search", "gpt-6-luna", cwd=tmp_path).stdout
    assert "none … max" in shown and "$0." in shown
    names = [each["name"] for each in answer(dprm("models", "gemini", "--json", cwd=tmp_path))["models"]]
    assert names and not [name for name in names if "claude" in name or "image" in name or name == "gemini-2.0-flash"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["opnai"], "did you mean 'openai'"),
        (["openai", "--search", "nothing of the kind"], "no model with 'nothing of the kind'"),
        (["vllm"], "vLLM has no list of models"),
        (["--check"], "needs a recipe, or a provider"),
        (["openai", "--check"], "provider.model: missing"),
        (["nowhere.yaml", "--check"], "nowhere.yaml"),
        (["openai", "gpt-6-luna", "--check"], "no key for openai: the environment variable OPENAI_API_KEY is not set"),
    ],
)
def test_what_cannot_be_shown_is_a_sentence(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = dprm("models", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and "Traceback" not in done.stderr


# -- asking ---------------------------------------------------------------------------------------------------------------


def check(double: LLMServer, tmp_path: Path, *more: str, **script: Any) -> dict[str, Any]:
    double.script(script)
    variables = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{double.url}/v1"}
    done = dprm("models", "openai", "gpt-6-luna", "--check", "--json", *more, cwd=tmp_path, **variables)
    return answer(done) | {"found": {each["what"]: each for each in answer(done)["findings"]}}


def test_a_model_that_can_do_everything(double: LLMServer, tmp_path: Path) -> None:
    checked = check(double, tmp_path)
    assert [each["works"] for each in checked["findings"]] == [True] * 5
    assert not any(each["change"] for each in checked["findings"])
    assert checked["requests"] == double.tally.requests == 4
    assert checked["cost"] == pytest.approx(sum(each["cost"] or 0 for each in checked["findings"]))
    assert 0 < checked["cost"] < 0.001
    assert all(each["seconds"] < 5 for each in checked["findings"] if each["seconds"] is not None)
    shown = dprm(
        "models",
        "openai",
        "gpt-6-luna",
        "--check",
        cwd=tmp_path,
        OPENAI_API_KEY=KEY,
        OPENAI_BASE_URL=f"{double.url}/v1",
    )
    assert "structured: json_schema  works" in shown.stdout and "4 requests" in shown.stdout


def test_a_server_without_json_schemas(double: LLMServer, tmp_path: Path) -> None:
    double.says = lambda body: '{"label": "helpful"}'
    checked = check(double, tmp_path, refuses=["response_format"])
    assert checked["found"]["structured: json_schema"]["works"] is False
    assert checked["found"]["structured: json_schema"]["change"] == "provider.structured: none"
    assert checked["found"]["structured: none"]["works"] is True
    assert checked["requests"] == 6


def test_a_server_that_refuses_a_seed(double: LLMServer, tmp_path: Path) -> None:
    checked = check(double, tmp_path, refuses=["seed"])
    assert checked["found"]["temperature and seed"]["works"] is False
    assert "seed is left out" in checked["found"]["temperature and seed"]["said"]


def test_a_server_without_log_probabilities_temperature_and_usage(double: LLMServer, tmp_path: Path) -> None:
    found = check(double, tmp_path, refuses=["logprobs", "temperature"], usage="missing")["found"]
    assert found["log-probabilities"]["works"] is False
    assert found["log-probabilities"]["change"] == "elicitation: choice, not logprobs"
    assert found["token counts"]["works"] is False
    assert found["answers"]["cost"] is None


def test_a_model_that_says_nothing_of_the_kind(double: LLMServer, tmp_path: Path) -> None:
    double.says = lambda body: "I would rather not say."
    found = check(double, tmp_path)["found"]
    assert found["answers"]["works"] is True
    assert [each["works"] for name, each in found.items() if name.startswith("structured")] == [False]


def test_what_the_api_does_not_have_is_not_asked(double: LLMServer, tmp_path: Path) -> None:
    variables = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": double.url}
    done = answer(dprm("models", "anthropic", "claude-haiku-5-5", "--check", "--json", cwd=tmp_path, **variables))
    works = {each["what"]: each["works"] for each in done["findings"]}
    assert works["log-probabilities"] is works["temperature and seed"] is None
    assert done["requests"] == double.tally.requests == 2


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("401", "OpenAI's API rejects the key in OPENAI_API_KEY"),
        ("402", "the account cannot pay"),
        ("404", "has no model 'gpt-6-luna-mini'; did you mean 'gpt-6-luna'?"),
        ("429", "accepts no requests now"),
        ("500", "failed"),
        ("drop", "cannot be reached"),
    ],
)
def test_what_no_request_survives_is_a_sentence(double: LLMServer, tmp_path: Path, fault: str, said: str) -> None:
    double.script({"queue": [fault]})
    variables = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{double.url}/v1"}
    done = dprm("models", "openai", "gpt-6-luna-mini", "--check", cwd=tmp_path, **variables)
    assert done.returncode in (1, 2) and done.stdout == ""
    assert said in done.stderr and "Traceback" not in done.stderr
    assert KEY not in done.stderr
    assert double.tally.requests == 1


def test_an_expensive_model_is_asked_about_first(double: LLMServer, tmp_path: Path) -> None:
    variables = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{double.url}/v1"}
    done = dprm("models", "openai", "o1-pro", "--check", cwd=tmp_path, **variables)
    assert done.returncode == 2
    assert "could cost $15." in done.stderr and "--max-cost" in done.stderr
    assert double.tally.requests == 0
    assert answer(dprm("models", "openai", "o1-pro", "--check", "--max-cost", 20, "--json", cwd=tmp_path, **variables))


def test_a_recipe_is_checked_with_its_settings_and_its_consent(double: LLMServer, tmp_path: Path) -> None:
    bodies: list[dict[str, Any]] = []
    double.says = lambda body: bodies.append(body)
    provider = {"name": "openai", "model": "ours", "base_url": f"{double.url}/v1", "extra": {"metadata": {"a": "b"}}}
    recipe = write_recipe(tmp_path, provider=provider)
    done = answer(dprm("models", recipe, "--check", "--json", cwd=tmp_path))
    assert (done["cost"], done["requests"]) == (None, 4)
    assert all(body["metadata"] == {"a": "b"} and body["model"] == "ours" for body in bodies)
    abroad = write_recipe(tmp_path, provider=provider | {"base_url": "https://models.example/v1"})
    refused = dprm(
        "models", abroad, "--check", cwd=tmp_path, OPENAI_API_KEY=KEY, XDG_CONFIG_HOME=str(tmp_path / "config")
    )
    assert refused.returncode == 2
    assert "would send the value of the environment variable OPENAI_API_KEY to https://models.example" in refused.stderr
    assert json.dumps(refused.stderr).count("Traceback") == 0
