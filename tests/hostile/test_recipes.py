"""A stranger's recipe sends no secret of this environment to an address that is not its owner's, unless the user agrees."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import dprm_data
from dprm_data.core.errors import InputError
from dprm_data.recipe import trust
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.locate_ledger import locate
from dprm_data.runs.run import Run
from tests.helpers import dprm, environ, write_recipe
from tests.servers.llm import LLMServer

SECRET = "wJalrXUtnFEMI-a-secret-of-the-reader"
KEYS = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AWS_SECRET_ACCESS_KEY", "MY_KEY", "HF_TOKEN"), SECRET)
EVIL = "https://evil.example/v1"


@pytest.fixture(autouse=True)
def nothing_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(trust.HOSTS, raising=False)


def recipe(folder: Path, provider: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    content = {"name": "openai", "model": "gpt-4o-mini"} | (provider or {})
    return Recipe.load(write_recipe(folder, provider=content, **changes))


def asked(folder: Path, provider: dict[str, Any], environment: dict[str, str] = KEYS) -> list[str]:
    return [each.entry for each in trust.pending(recipe(folder, provider), environ=environment)]


@pytest.mark.parametrize(
    ("provider", "entry"),
    [
        ({"base_url": EVIL}, "OPENAI_API_KEY https://evil.example"),
        ({"base_url": EVIL, "api_key_env": "AWS_SECRET_ACCESS_KEY"}, "AWS_SECRET_ACCESS_KEY https://evil.example"),
        ({"base_url": EVIL, "api_key_env": "MY_KEY"}, "MY_KEY https://evil.example"),
        ({"api_key_env": "AWS_SECRET_ACCESS_KEY"}, "AWS_SECRET_ACCESS_KEY https://api.openai.com"),
        ({"api_key_env": "ANTHROPIC_API_KEY"}, "ANTHROPIC_API_KEY https://api.openai.com"),
        ({"name": "anthropic", "base_url": "https://evil.example"}, "ANTHROPIC_API_KEY https://evil.example"),
        ({"base_url": "http://api.openai.com/v1"}, "OPENAI_API_KEY http://api.openai.com"),
        ({"base_url": "http://192.168.1.7:8000/v1"}, "OPENAI_API_KEY http://192.168.1.7:8000"),
        ({"base_url": "https://api.openai.com.evil.example/v1"}, "OPENAI_API_KEY https://api.openai.com.evil.example"),
        ({"base_url": "https://notapi.openai.com.x/v1"}, "OPENAI_API_KEY https://notapi.openai.com.x"),
        ({"base_url": "https://127.0.0.1.evil.example/v1"}, "OPENAI_API_KEY https://127.0.0.1.evil.example"),
        ({"base_url": "https://localhost.evil.example/v1"}, "OPENAI_API_KEY https://localhost.evil.example"),
        ({"base_url": "https://EVIL.example:8443/v1"}, "OPENAI_API_KEY https://evil.example:8443"),
        ({"base_url": "https://mine.openai.azure.com/v1"}, "OPENAI_API_KEY https://mine.openai.azure.com"),
        (
            {"endpoints": [{"base_url": "http://127.0.0.1:1/v1"}, {"base_url": EVIL}]},
            "OPENAI_API_KEY https://evil.example",
        ),
        (
            {"endpoints": [{}, {"api_key_env": "AWS_SECRET_ACCESS_KEY"}]},
            "AWS_SECRET_ACCESS_KEY https://api.openai.com",
        ),
    ],
)
def test_a_key_that_would_go_elsewhere_is_asked_about(provider: dict[str, Any], entry: str, tmp_path: Path) -> None:
    assert asked(tmp_path, provider) == [entry]


@pytest.mark.parametrize(
    ("provider", "environment"),
    [
        ({}, KEYS),
        ({"name": "anthropic", "model": "claude-sonnet-4-5"}, KEYS),
        ({"api_key_env": "MY_KEY"}, KEYS),
        ({"base_url": "https://api.openai.com/v1"}, KEYS),
        ({"base_url": "https://eu.api.openai.com/v1", "api_key_env": "MY_KEY"}, KEYS),
        ({"base_url": "http://localhost:8000/v1"}, KEYS),
        ({"base_url": "http://127.0.0.1:8000/v1", "api_key_env": "MY_KEY"}, KEYS),
        ({"base_url": "http://[::1]:8000/v1"}, KEYS),
        ({"base_url": "http://0.0.0.0:8000/v1"}, KEYS),
        ({"base_url": "http://vllm.lan:8000/v1"}, {}),  # nothing to send
        (
            {"base_url": "https://openrouter.ai/api/v1", "api_key_env": "OPENROUTER_API_KEY"},
            {"OPENROUTER_API_KEY": SECRET},
        ),
        (
            {"base_url": "https://mine.openai.azure.com/v1", "api_key_env": "AZURE_OPENAI_API_KEY"},
            {"AZURE_OPENAI_API_KEY": SECRET},
        ),
        ({}, KEYS | {"OPENAI_BASE_URL": EVIL}),  # the user's own environment
        ({"base_url": EVIL}, KEYS | {trust.HOSTS: "other.example, evil.example"}),
        ({"base_url": "https://evil.example:8443"}, KEYS | {trust.HOSTS: "evil.example"}),
    ],
)
def test_honest_recipes_are_not_asked_about(
    provider: dict[str, Any], environment: dict[str, str], tmp_path: Path
) -> None:
    assert asked(tmp_path, provider, environment) == []


def test_a_recipe_made_in_python_is_its_own_business(tmp_path: Path) -> None:
    content = {"provider": {"name": "openai", "model": "m", "base_url": EVIL}}
    assert trust.pending(Recipe.of(content), environ=KEYS) == []
    loaded = recipe(tmp_path, {"base_url": EVIL})
    assert len(trust.pending(Recipe.of(loaded), environ=KEYS)) == 1


def test_consent_is_remembered(tmp_path: Path) -> None:
    evil = recipe(tmp_path, {"base_url": EVIL})
    (sending,) = trust.pending(evil, environ=KEYS)
    trust.remember(sending)
    environment = KEYS | {"XDG_CONFIG_HOME": os.environ["XDG_CONFIG_HOME"]}
    assert trust.pending(evil, environ=environment) == []
    other = recipe(tmp_path, {"base_url": EVIL, "api_key_env": "AWS_SECRET_ACCESS_KEY"})
    assert len(trust.pending(other, environ=environment)) == 1


# -- ledgers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ledger", "entry"),
    [
        ("postgresql://u@evil.example/db", "PGPASSWORD postgresql://evil.example"),
        ("postgresql://u:${AWS_SECRET_ACCESS_KEY}@evil.example/db", "AWS_SECRET_ACCESS_KEY postgresql://evil.example"),
        ("postgresql://u@127.0.0.1/db?host=evil.example", "PGPASSWORD postgresql://evil.example"),
        ("postgresql://u@localhost/db?hostaddr=192.0.2.1", "PGPASSWORD postgresql://192.0.2.1"),
        ("postgresql://u@127.0.0.1:1,evil.example:2/db", "PGPASSWORD postgresql://evil.example"),
        ("postgresql:///db?service=evil", "PGPASSWORD postgresql://evil"),
    ],
)
def test_a_ledger_elsewhere_is_asked_about_before_it_is_connected_to(
    ledger: str, entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg")
    for name, value in (KEYS | {"PGPASSWORD": SECRET}).items():
        monkeypatch.setenv(name, value)
    hostile = recipe(tmp_path, ledger=ledger)
    assert [each.entry for each in trust.pending(hostile, calls=False)] == [entry]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text((tmp_path / "recipe.yaml").read_text())
    doors: list[Callable[[], object]] = [
        lambda: dprm_data.plan(tmp_path / "recipe.yaml"),
        lambda: dprm_data.run(tmp_path / "recipe.yaml"),
        lambda: Run.open(tmp_path / "run"),
        lambda: locate(str(tmp_path / "run")),
        lambda: locate(str(tmp_path / "recipe.yaml")),
    ]
    for door in doors:
        with pytest.raises(InputError, match="would send the value of the environment variable"):
            door()


@pytest.mark.parametrize(
    ("ledger", "environment"),
    [
        ("postgresql://u@evil.example/db", {}),  # no secret, or one that libpq sends to its own host only
        ("postgresql://u@127.0.0.1/db", {"PGPASSWORD": SECRET}),
        ("postgresql:///db?host=/var/run/postgresql", {"PGPASSWORD": SECRET}),
        ("postgresql:///db", {"PGPASSWORD": SECRET}),
        ("postgresql://u@db.lan/db", {"PGPASSWORD": SECRET, "PGHOST": "db.lan"}),
        ("postgresql://u@db.lan/db", {"PGPASSWORD": SECRET, trust.HOSTS: "db.lan"}),
        ("calls.sqlite", {"PGPASSWORD": SECRET}),
    ],
)
def test_honest_ledgers_are_not_asked_about(ledger: str, environment: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    assert trust.pending(recipe(tmp_path, ledger=ledger), calls=False, environ=environment) == []


def test_what_ray_would_install_is_asked_about(tmp_path: Path) -> None:
    hostile = recipe(
        tmp_path,
        engine="ray",
        ledger="postgresql://u@127.0.0.1/db",
        ray={"address": "evil.example:6379", "runtime_env": {"pip": ["evil"]}},
    )
    sentences = [each.sentence for each in trust.pending(hostile, environ={})]
    assert len(sentences) == 2
    assert "the Ray cluster at evil.example:6379" in sentences[0]
    assert '{"pip": ["evil"]}' in sentences[1]


# -- whole commands ---------------------------------------------------------------------------------------------------


class Thief:
    """A server on loopback that keeps what it is sent. `url` names it by a host that is not known to be loopback."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        thief = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                thief.headers.append(dict(self.headers))
                self.send_error(500)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def thief() -> Iterator[Thief]:
    found = Thief()
    yield found
    found.server.shutdown()


def test_a_run_without_a_terminal_is_refused_and_sends_nothing(thief: Thief, tmp_path: Path) -> None:
    """The thief is the proxy, so that whatever is sent to any host arrives there."""
    write_recipe(tmp_path, provider={"name": "openai", "model": "gpt-4o-mini", "base_url": "http://evil.example/v1"})
    proxy = {"HTTP_PROXY": f"http://127.0.0.1:{thief.server.server_port}"}
    environment = {"OPENAI_API_KEY": SECRET, "XDG_CONFIG_HOME": str(tmp_path / "config"), **proxy}
    planned = dprm("plan", "recipe.yaml", cwd=tmp_path, **environment)
    assert planned.returncode == 0, planned.stderr
    sentence = (
        "would send the value of the environment variable OPENAI_API_KEY to http://evil.example, without encryption"
    )
    assert sentence in planned.stderr
    done = dprm("run", "recipe.yaml", "--quiet", cwd=tmp_path, **environment)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "dprm trust recipe.yaml" in done.stderr
    assert thief.headers == []
    allowed = dprm("trust", "recipe.yaml", "--yes", cwd=tmp_path, **environment)
    assert allowed.returncode == 0, allowed.stderr
    assert sentence in allowed.stdout
    assert "nothing to allow" in dprm("trust", "recipe.yaml", cwd=tmp_path, **environment).stdout
    assert sentence not in dprm("plan", "recipe.yaml", cwd=tmp_path, **environment).stderr


def test_an_error_of_the_plan_hides_no_sending(tmp_path: Path) -> None:
    write_recipe(
        tmp_path, provider={"name": "openai", "model": "unheard-of", "base_url": "http://evil.example/v1"}, budget={}
    )
    planned = dprm("plan", "recipe.yaml", cwd=tmp_path, OPENAI_API_KEY=SECRET, XDG_CONFIG_HOME=str(tmp_path / "config"))
    assert planned.returncode == 2
    assert "no price is known" in planned.stderr
    assert "environment variable OPENAI_API_KEY to http://evil.example" in planned.stderr


@pytest.mark.parametrize(("answer", "code"), [("n\n", 2), ("y\n", 1)])
def test_on_a_terminal_it_is_asked_once(answer: str, code: int, tmp_path: Path) -> None:
    """Code 1: it went on, and nobody answers at the address, which no name server knows."""
    provider = {"name": "openai", "model": "gpt-4o-mini", "base_url": "http://evil.invalid/v1"}
    write_recipe(tmp_path, provider=provider, limits={"attempts": 1, "give_up_after": 0.2})
    environment = environ(OPENAI_API_KEY=SECRET, XDG_CONFIG_HOME=str(tmp_path / "config"))
    shown, returncode = on_a_terminal(["run", "recipe.yaml", "--quiet"], answer, tmp_path, environment)
    assert shown.count("Allow it, now and later?") == 1
    assert returncode == code, shown
    entries = (tmp_path / "config" / "dprm" / "trusted") if code == 1 else None
    if entries:
        assert entries.read_text() == "OPENAI_API_KEY http://evil.invalid\n"
        again, _ = on_a_terminal(["run", "recipe.yaml", "--quiet"], "", tmp_path, environment)
        assert "Allow it" not in again


def on_a_terminal(arguments: list[str], answer: str, folder: Path, environment: dict[str, str]) -> tuple[str, int]:
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "dprm_data.cli", *arguments]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    os.write(controller, answer.encode())
    shown, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([controller], [], [], 0.2)[0]:
            try:
                shown += os.read(controller, 65536)
            except OSError:  # the other side is closed
                break
        elif process.poll() is not None:
            break
    os.close(controller)
    return shown.decode(), process.wait(10)


def test_a_double_on_loopback_is_called_unasked(double: LLMServer, tmp_path: Path) -> None:
    write_recipe(tmp_path, double.url)
    done = dprm("run", "recipe.yaml", "--quiet", cwd=tmp_path, OPENAI_API_KEY=SECRET)
    assert done.returncode == 0, done.stderr
    assert "Allow" not in done.stderr
