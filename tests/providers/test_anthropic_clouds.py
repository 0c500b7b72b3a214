"""Claude at Bedrock and Vertex: where requests go, who signs them, and settings that cannot work.

Without boto3 or google-auth, stand-ins for their few functions take their place, except in the test of AWS's own signature.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from dprm_data.core.errors import InputError
from dprm_data.engine.prices import prices_for
from dprm_data.providers.construction import make_provider
from dprm_data.providers.request import Answer, CallFailed, Request
from dprm_data.recipe.provider_config import ProviderConfig
from dprm_data.recipe.recipe import Recipe
from dprm_data.recipe.trust import pending
from tests.helpers import answer as answer_of
from tests.helpers import dprm, write_recipe
from tests.hostile.test_servers import reply, server
from tests.providers.helpers import CHOICE, LABELS, request
from tests.servers.llm import LLMServer

MODELS = {"bedrock": "global.anthropic.claude-haiku-5-5", "vertex": "claude-haiku-5-5"}
PATHS = {
    "bedrock": "/model/global.anthropic.claude-haiku-5-5/invoke",
    "vertex": "/projects/our-project/locations/global/publishers/anthropic/models/claude-haiku-5-5:rawPredict",
}
TOKEN = "bedrock-api-key-ABCDEFGHIJKLMNOP"
GOOGLE = """
class Credentials:
    expired, token = False, None
    def refresh(self, request):
        self.token = "ya29.a-token-of-ours"
def default(scopes):
    return Credentials(), None
"""


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for google-auth: the folder that has it."""
    folder = tmp_path / "packages"
    (folder / "google/auth/transport").mkdir(parents=True)
    (folder / "google/auth/__init__.py").write_text(GOOGLE)
    (folder / "google/auth/transport/__init__.py").touch()
    (folder / "google/auth/transport/requests.py").write_text("class Request: ...\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "google"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(folder)
    return folder


def environ(url: str) -> dict[str, str]:
    return {
        "AWS_BEARER_TOKEN_BEDROCK": TOKEN,
        "AWS_REGION": "eu-central-1",
        "ANTHROPIC_BEDROCK_BASE_URL": url,
        "CLOUD_ML_REGION": "global",
        "ANTHROPIC_VERTEX_PROJECT_ID": "our-project",
        "ANTHROPIC_VERTEX_BASE_URL": url,
    }


def ask(name: str, variables: dict[str, str], *requests: Request, **settings: Any) -> list[Answer | CallFailed]:
    config = ProviderConfig(**{"name": name, "model": MODELS[name], "timeout": 5.0} | settings)

    async def run() -> list[Any]:
        provider = make_provider(config, variables)
        try:
            return await asyncio.gather(*map(provider.complete, requests), return_exceptions=True)
        finally:
            await provider.aclose()

    return asyncio.run(run())


def asked(name: str, **changes: Any) -> Request:
    made = request("a long item. the persona", system="be fair", shared=12, schema=CHOICE)
    return Request(changes.get("model", MODELS[name]), made.messages, made.params, shared_chars=made.shared_chars)


@pytest.mark.parametrize("name", MODELS)
def test_an_answer(google: Path, tmp_path: Path, name: str) -> None:
    bodies: list[dict[str, Any]] = []
    with LLMServer(log=str(tmp_path / "log")) as double:
        double.says = lambda body: bodies.append(body)
        [answer] = ask(name, environ(double.url), asked(name))
    assert isinstance(answer, Answer), answer
    assert json.loads(answer.text)["label"] in LABELS
    assert answer.usage.input_tokens > 0
    [body] = bodies
    assert body["model"] == MODELS[name]  # the double has it from the path
    assert body["output_config"]["format"]["schema"] == CHOICE
    assert body["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert [json.loads(line)["path"] for line in (tmp_path / "log").read_text().splitlines()] == [PATHS[name]]


@pytest.mark.parametrize("name", MODELS)
def test_cache_reads_and_writes_are_counted(double: LLMServer, google: Path, name: str) -> None:
    prefix = "x" * 8000
    made = [request(prefix + who, shared=8000) for who in ("one", "two")]
    requests = [Request(MODELS[name], each.messages, each.params, shared_chars=8000) for each in made]
    usages = [
        answer.usage
        for each in requests
        for answer in ask(name, environ(double.url), each)
        if isinstance(answer, Answer)
    ]
    assert [(u.cached_tokens, u.cache_write_tokens) for u in usages] == [(0, 2000), (2000, 0)]


@pytest.mark.parametrize("fault", ["429", "529", "500", "drop", "drop_body", "broken", "refusal"])
def test_failures_are_those_of_every_server(double: LLMServer, google: Path, fault: str) -> None:
    made = request(f"[[fault:{fault}]]")
    results = [ask(name, environ(double.url), Request(MODELS[name], made.messages, made.params))[0] for name in MODELS]
    kinds = [getattr(result, "kind", getattr(result, "finish", None)) for result in results]
    expected = {"429": "rate_limit", "529": "overloaded", "500": "server", "broken": "broken", "refusal": "refusal"}
    assert kinds == [expected.get(fault, "connection")] * 2


@pytest.mark.parametrize("name", MODELS)
def test_no_other_server_is_sent_what_proves_who_asks(google: Path, name: str) -> None:
    with server(reply(b"{}")) as (other, stolen), server(reply(b"", 307, Location=f"{other}/x")) as (url, _):
        [failure] = ask(name, environ(url), asked(name))
    assert stolen == []
    assert isinstance(failure, CallFailed) and failure.fatal


def test_a_reply_is_bounded(google: Path) -> None:
    with server(reply(b" " * (33 << 20))) as (url, _):
        [failure] = ask("vertex", environ(url), asked("vertex"))
    assert isinstance(failure, CallFailed)
    assert "MiB" in failure.message


@pytest.mark.skipif(find_spec("boto3") is None, reason="boto3 is not installed")
def test_requests_are_signed_as_aws_wants_it(double: LLMServer, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "session"}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    variables = environ(double.url) | {"AWS_BEARER_TOKEN_BEDROCK": ""}
    [answer] = ask("bedrock", variables, asked("bedrock"))
    assert isinstance(answer, Answer), answer


@pytest.mark.skipif(find_spec("boto3") is None, reason="boto3 is not installed")
def test_without_aws_credentials(double: LLMServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    # The SDK keeps a session, with its credentials, for each region.
    variables = environ(double.url) | {"AWS_BEARER_TOKEN_BEDROCK": "", "AWS_REGION": "eu-west-3"}
    [failure] = ask("bedrock", variables, asked("bedrock"))
    assert isinstance(failure, CallFailed)
    assert (failure.kind, failure.sent, double.tally.requests) == ("key", False, 0)
    assert "no credentials for AWS" in failure.message


def test_without_googles_credentials(double: LLMServer, google: Path) -> None:
    (google / "google/auth/__init__.py").write_text("def default(scopes): raise ValueError('log in first')\n")
    [failure] = ask("vertex", environ(double.url), asked("vertex"))
    assert isinstance(failure, CallFailed)
    assert (failure.kind, failure.message) == ("key", "no credentials for Google Cloud: log in first")


def test_a_model_that_is_not_there(double: LLMServer) -> None:
    [failure] = ask("bedrock", environ(double.url), asked("bedrock", model="unknown"))
    assert isinstance(failure, CallFailed)
    assert (failure.kind, failure.message) == ("not_found", "The provided model identifier is invalid.")


def refusal(name: str, variables: dict[str, str] | None = None, **settings: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        make_provider(Recipe.of({"provider": {"name": name, "model": "m"} | settings}).provider, variables or {})
    return caught.value


@pytest.mark.parametrize("name", MODELS)
def test_a_package_that_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dprm_data.providers.anthropic_clouds.find_spec", lambda module: None)
    error = refusal(name)
    assert "needs a package that is not installed" in error.message
    assert error.hint == f'Install it: pip install "anthropic[{name}]"'


def test_regions_and_projects_that_are_missing_or_lead_elsewhere(google: Path) -> None:
    token = {"AWS_BEARER_TOKEN_BEDROCK": TOKEN}
    assert "AWS_REGION" in str(refusal("bedrock", token))
    assert "CLOUD_ML_REGION" in str(refusal("vertex"))
    assert "ANTHROPIC_VERTEX_PROJECT_ID" in str(refusal("vertex", {"CLOUD_ML_REGION": "global"}))
    for region in ("x.evil.example/", "evil.example#", "EU", "a@b", "..", 7):
        assert "is not a valid region" in str(refusal("bedrock", token, options={"region": region}))
        assert "is not a valid region" in str(refusal("vertex", options={"region": region, "project": "p1"}))
    assert "is not a valid project" in str(refusal("vertex", options={"region": "global", "project": "a/../b"}))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": "https://evil.example"},
        {"api_key_env": "OPENAI_API_KEY"},
        {"endpoints": [{"base_url": "https://evil.example"}]},
        {"temperature": 1.0},
        {"options": {"profile": "other"}},
    ],
)
def test_settings_that_cannot_be_given(name: str, settings: dict[str, Any]) -> None:
    assert next(iter(settings)) in refusal(name, **settings).message


@pytest.mark.parametrize("name", MODELS)
def test_the_price_is_the_clouds(name: str) -> None:
    source = prices_for(ProviderConfig(name=name, model=MODELS[name])).source
    assert {"bedrock": "AWS Bedrock's", "vertex": "Google's"}[name] in source
    assert "claude-haiku-5-5" in source


def test_a_recipe_needs_no_consent(tmp_path: Path) -> None:
    """What is sent goes to the cloud whose credentials they are."""
    recipe = write_recipe(tmp_path, provider={"name": "bedrock", "model": "m", "options": {"region": "eu-central-1"}})
    assert (
        pending(Recipe.load(recipe), environ={"AWS_BEARER_TOKEN_BEDROCK": TOKEN, "XDG_CONFIG_HOME": str(tmp_path)})
        == []
    )


def test_a_run(tmp_path: Path, double: LLMServer) -> None:
    provider = {"name": "bedrock", "model": MODELS["bedrock"], "options": {"region": "eu-central-1"}}
    recipe = write_recipe(tmp_path, provider=provider)
    variables = {name: value for name, value in environ(double.url).items() if "BEDROCK" in name}
    done = answer_of(dprm("run", recipe, "--json", cwd=tmp_path, **variables))
    assert done["annotate"]["statuses"] == {"ok": 16}
    assert done["annotate"]["cost"] > 0
    assert not any(
        TOKEN in path.read_text(errors="replace") for path in (tmp_path / "run").rglob("*") if path.is_file()
    )
