"""Conversations with calls of tools: asked about, published as they came, loaded, pulled, trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Self

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dprm_data.core.errors import DprmError, PublishError
from dprm_data.ingest.items import load_items
from dprm_data.publish.configs import SCHEMAS, schema_of
from dprm_data.publish.publication import prepared
from dprm_data.publish.pulled_rows import read_rows
from dprm_data.runs.origins import metadata_columns
from dprm_data.runs.run import Run
from dprm_trainers.data.rows import load_data
from tests.helpers import dprm, write_recipe, write_rows
from tests.publish.conftest import hub_environment
from tests.servers.hub import Hub
from tests.servers.llm import LLMServer

CITIES = ["Paris", "Rome", "Oslo", "Bonn", "Kyiv", "Bern"]


def prompt(city: str, number: int) -> list[dict[str, Any]]:
    arguments: Any = {"city": city, "days": number} if number % 2 else json.dumps({"city": city})
    call = {"id": f"call_{number}", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    return [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": f"How warm is it in {city}?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"call_{number}", "content": f"{number} °C"},
    ]


def rows() -> list[dict[str, Any]]:
    return [
        {
            "prompt": prompt(city, number),
            "chosen": [{"role": "assistant", "content": f"Good: {number} °C.", "reasoning_content": "Easy."}],
            "rejected": [{"role": "assistant", "content": f"Bad answer {number}"}],
        }
        for number, city in enumerate(CITIES)
    ]


class RecordingServer(LLMServer):
    """Keeps the bodies that it is sent."""

    def __enter__(self) -> Self:
        self.bodies: list[dict[str, Any]] = []
        return super().__enter__()

    def answer(self, flavour: str, raw: bytes, key: str, fault: str | None, *, limited: bool = True) -> Any:
        self.bodies.append(json.loads(raw))
        return super().answer(flavour, raw, key, fault, limited=limited)


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run about agents, and all that the model was sent."""
    folder = tmp_path_factory.mktemp("agents")
    image = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
    unseen = {"prompt": [{"role": "user", "content": [image]}], "chosen": "a", "rejected": "b"}
    write_rows(folder / "pairs.jsonl", [*rows(), unseen])
    with RecordingServer() as server:
        write_recipe(folder, server.url, budget={"max_cost": 5})
        done = dprm("run", "recipe.yaml", cwd=folder)
        sent = "\n".join(message["content"] for body in server.bodies for message in body["messages"])
    assert done.returncode == 0, done.stderr
    assert "pairs.jsonl:7: prompt[0].content[0] is an image" in done.stdout + done.stderr
    return folder / "run", sent


def test_the_model_reads_calls_and_results_and_no_reasoning(agents: tuple[Path, str]) -> None:
    _, sent = agents
    assert '[assistant] [calls get_weather({"city": "Paris"})]' in sent
    assert '[assistant] [calls get_weather({"city": "Rome", "days": 1})]' in sent
    assert "[tool get_weather] 0 °C" in sent
    assert "[system] Be brief." in sent
    assert "Easy." not in sent
    assert "cat.png" not in sent


def loaded(folder: Path, config: str, cache: Path) -> list[dict[str, Any]]:
    from datasets import concatenate_datasets, load_dataset

    found = load_dataset(str(folder), config, cache_dir=str(cache))
    return list(concatenate_datasets(list(found.values())))


def test_messages_are_published_as_they_came(agents: tuple[Path, str], tmp_path: Path) -> None:
    with prepared(Run.open(agents[0]), "acme/agents") as publication:
        files = shutil.copytree(publication.files["README.md"].local.parent, tmp_path / "agents")
    came = {row["prompt"][1]["content"]: row for row in rows()}
    pairs = loaded(Path(files), "preferences", tmp_path / "cache")
    assert len(pairs) == len(CITIES)
    for pair in pairs:
        row = came[pair["prompt"][1]["content"]]
        assert pair["prompt"] == row["prompt"]
        assert sorted(map(str, (pair["chosen"], pair["rejected"]))) == sorted(
            map(str, (row["chosen"], row["rejected"]))
        )
    items = loaded(Path(files), "default", tmp_path / "cache")
    assert {item["prompt"][1]["content"] for item in items} == set(came)
    assert all(item["prompt"] == came[item["prompt"][1]["content"]]["prompt"] for item in items)


def test_a_run_of_texts_is_published_as_roles_and_texts(finished: Path, tmp_path: Path) -> None:
    run = Run.open(finished)
    metadata = metadata_columns(run.folder).struct_type
    with prepared(run, "acme/prefs") as publication:
        for path, file in publication.files.items():
            config = path.split("/")[1] if path.startswith("data/") else ""
            if config in SCHEMAS:
                assert pq.read_schema(file.local).equals(schema_of(config, metadata, whole=False))  # type: ignore[arg-type]


def test_pulled_it_is_the_run_that_it_was(agents: tuple[Path, str], tmp_path: Path) -> None:
    run = Path(shutil.copytree(agents[0], tmp_path / "run", ignore=shutil.ignore_patterns("*.lock", ".lock")))
    with Hub() as hub:
        environment = hub_environment(hub, tmp_path / "hf")
        for arguments in (
            ("publish", "run", "--repo", "acme/agents", "--license", "mit"),
            ("pull", "acme/agents", "back"),
        ):
            done = dprm(*arguments, cwd=tmp_path, **environment)
            assert done.returncode == 0, done.stderr
    for name in ("items", "distributions", "preferences"):
        before, after = (pq.read_table(folder / "tables" / f"{name}.parquet") for folder in (run, tmp_path / "back"))
        assert before.schema.names == after.schema.names
        for column in before.schema.names:
            if column.endswith("_original") or column in ("prompt", "completion", "chosen", "rejected", "item_id"):
                assert sorted(map(str, after[column].to_pylist())) == sorted(map(str, before[column].to_pylist()))
    assert next(load_items(tmp_path / "back/tables/items.parquet")).prompt[2]["original"]["tool_calls"]


def test_a_reward_model_trains_on_what_is_published(agents: tuple[Path, str], tmp_path: Path) -> None:
    of_run = load_data(agents[0])
    with prepared(Run.open(agents[0]), "acme/agents") as publication:
        data = publication.files["README.md"].local.parent / "data/default"
        of_files = load_data(data, labels="hh6")
    prompts = [
        sorted(json.dumps(p) for rows in found.splits.values() for p in rows.prompts) for found in (of_run, of_files)
    ]
    assert prompts[0] == prompts[1]
    assert any('[calls get_weather({\\"city\\": \\"Paris\\"})]' in text for text in prompts[0])


def test_a_secret_in_a_call_is_found(agents: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHER_API_KEY", "get_weather(secret)7319")
    run = Path(shutil.copytree(agents[0], tmp_path / "run", ignore=shutil.ignore_patterns("*.lock", ".lock")))
    path = run / "tables/items.parquet"
    table = pq.read_table(path)
    changed = [
        text and text.replace('"id":"call_0"', '"id":"get_weather(secret)7319"')
        for text in table["prompt_original"].to_pylist()
    ]
    at = table.column_names.index("prompt_original")
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(changed, pa.string())), path)
    with pytest.raises(DprmError, match="WEATHER_API_KEY"), prepared(Run.open(run), "acme/agents"):
        pass


@pytest.mark.parametrize(
    "message",
    [
        "{",
        "null",
        "7",
        '{"role": "robot", "content": "x"}',
        '{"role": "assistant", "content": null, "tool_calls": 7}',
        '{"a":' * 5000 + "1" + "}" * 5000,
    ],
)
def test_a_published_message_that_is_none_is_refused(agents: tuple[Path, str], message: str, tmp_path: Path) -> None:
    with prepared(Run.open(agents[0]), "acme/agents") as publication:
        name = next(path for path in publication.files if path.startswith("data/preferences"))
        table = pq.read_table(publication.files[name].local)
    forged = pa.array([[message]] * table.num_rows, pa.list_(pa.string()))
    pq.write_table(table.set_column(table.column_names.index("chosen"), "chosen", forged), tmp_path / "forged.parquet")
    with pytest.raises(PublishError):
        list(read_rows(tmp_path / "forged.parquet", name, "preferences", Run.open(agents[0]).space))


def test_originals_are_json(agents: tuple[Path, str]) -> None:
    table = pq.read_table(agents[0] / "tables/preferences.parquet")
    kept = orjson.loads(table["prompt_original"][0].as_py())
    assert [original and original["role"] for original in kept] == ["developer", None, "assistant", "tool"]
