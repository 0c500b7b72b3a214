"""Responses made in batches, by several workers, from Python; and what becomes of the models that generate in consent and publication."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

import dprm_data
from dprm_data.core.errors import InputError
from dprm_data.core.scrub import public_recipe
from dprm_data.publish.pulled import standalone_recipe
from dprm_data.recipe.recipe import Recipe
from dprm_data.recipe.trust import pending
from tests.helpers import answer, dprm, write_recipe, write_rows
from tests.processes import zygote
from tests.servers.llm import LLMProcess, LLMServer
from tests.servers.postgres import PASSWORD, Database

PROMPTS = [{"prompt": f"What is so special about the number {i}?"} for i in range(5)]
PER_PROMPT, PERSONAS = 2, 4


def writer(url: str, **settings: Any) -> dict[str, Any]:
    """With a seed, each sample is a request of its own, which the server can tell from the others."""
    return {"name": "openai", "model": "gpt-4o-mini", "base_url": f"{url}/v1", "seed": 1} | settings


def recipe(folder: Path, url: str, **changes: Any) -> Path:
    write_rows(folder / "prompts.jsonl", PROMPTS)
    generate = {"models": [writer(url)], "per_prompt": PER_PROMPT} | changes.pop("generate", {})
    return write_recipe(folder, url, source={"path": "prompts.jsonl"}, generate=generate, **changes)


def test_batches_make_responses_and_then_ratings_at_half_the_price(double: LLMServer, tmp_path: Path) -> None:
    path = recipe(tmp_path, double.url, mode="batch", limits={"poll_every": 0.05})
    made = answer(dprm("generate", path, "--json", cwd=tmp_path))
    assert made["responses"]["status"] == {"ok": 10} and double.tally.requests == len(double.tally.bodies) == 10
    done = answer(dprm("run", path, "--json", cwd=tmp_path))
    assert done["summary"]["items"] == 10 and double.tally.requests == 10 * (1 + PERSONAS)
    direct = recipe(tmp_path, double.url, output="direct")
    at_once = answer(dprm("generate", direct, "--json", cwd=tmp_path))
    assert made["responses"]["cost"] == pytest.approx(at_once["responses"]["cost"] / 2)


def test_other_responses_are_not_asked_for_while_ratings_are_at_the_provider(double: LLMServer, tmp_path: Path) -> None:
    path = recipe(tmp_path, double.url, mode="batch", limits={"poll_every": 0.05})
    assert dprm("generate", path, cwd=tmp_path).returncode == 0
    with sqlite3.connect(tmp_path / "run/ledger.sqlite") as ledger:
        ledger.execute("INSERT INTO batches (run, tag, rows, reserved, created_at) VALUES ('test', 'x', 1, 0.0, 0.0)")
    recipe(tmp_path, double.url, mode="batch", limits={"poll_every": 0.05}, generate={"per_prompt": 3})
    refused = dprm("generate", path, cwd=tmp_path)
    assert refused.returncode == 2 and "batches of ratings are at the provider" in refused.stderr, refused.stderr


@pytest.mark.slow
def test_three_workers_on_one_ledger_send_every_call_once(tmp_path: Path, postgres: Database) -> None:
    with LLMProcess("--latency", "0.02") as server:
        limits = {"concurrency": 2, "lease": 1}
        path = recipe(tmp_path, server.url, ledger=postgres.url, limits=limits, generate={"per_prompt": 4})
        pids = [zygote().start("run", path, cwd=tmp_path, PGPASSWORD=PASSWORD) for _ in range(3)]
        ended = [zygote().end(pid) for pid in pids]
        assert [each.returncode for each in ended] == [0] * 3, [each.stderr for each in ended]
        stats = server.stats()
    assert stats["requests"] == stats["distinct"] == len(PROMPTS) * 4 * (1 + PERSONAS)
    assert pq.read_metadata(tmp_path / "run/tables/responses.parquet").num_rows == len(PROMPTS) * 4


def test_from_python(double: LLMServer, tmp_path: Path) -> None:
    content = yaml.safe_load(recipe(tmp_path, double.url).read_text()) | {"output": str(tmp_path / "out")}
    del content["source"]
    planned = dprm_data.plan(content, source=iter(PROMPTS), progress=False)
    assert planned.stages["responses"].calls_needed == 10 and planned.calls_needed == 10 * (1 + PERSONAS)
    found = dprm_data.run(content, source=iter(PROMPTS), progress=False)
    assert found.counters is not None and double.tally.requests == planned.calls_needed
    assert pq.read_table(tmp_path / "out/tables/items.parquet")["generator"].unique().to_pylist() == ["gpt-4o-mini"]
    exported = tmp_path / "flat.parquet"
    assert dprm("export", tmp_path / "out", "-o", exported, cwd=tmp_path).returncode == 0
    assert pq.read_table(exported)["generator"].unique().to_pylist() == ["gpt-4o-mini"]


def test_a_pilot_needs_the_responses_first(double: LLMServer, tmp_path: Path) -> None:
    path = recipe(tmp_path, double.url)
    refused = dprm("try", path, cwd=tmp_path)
    assert refused.returncode == 2 and "Make them first: dprm generate" in refused.stderr
    assert dprm("generate", path, cwd=tmp_path).returncode == 0
    assert dprm("try", path, "--items", "2", cwd=tmp_path).returncode == 0


def test_a_generators_key_needs_consent_and_its_places_are_not_published(tmp_path: Path) -> None:
    private = writer("https://elsewhere.example", api_key_env="MY_KEY")
    path = recipe(tmp_path, "http://127.0.0.1:9", generate={"models": [private]})
    asked = pending(Recipe.load(path), environ={"MY_KEY": "something long enough"})
    assert [(each.what, each.host) for each in asked] == [("MY_KEY", "elsewhere.example")]
    local = yaml.safe_load(path.read_text())
    local["generate"]["models"] = [writer("http://127.0.0.1:8000", api_key_env="MY_KEY")]
    assert "127.0.0.1" not in yaml.safe_dump(public_recipe(local))
    pulled = standalone_recipe(yaml.safe_dump(public_recipe(local)), {})
    assert "MY_KEY" not in pulled and "generate" in pulled


def test_a_key_in_a_generator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"generate\.models\[?\.?0"):
        Recipe.load(recipe(tmp_path, "https://u:secretsecret@host.example"))
