"""Conversations of agents, from a file with ids to published pairs, and back to the file's rows by these ids: every row finds its own, messages as they came."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import write_recipe, write_rows
from tests.processes import dprm
from tests.publish.conftest import hub_environment
from tests.servers.hub import Hub
from tests.servers.llm import LLMServer

CITIES = ["Paris", "Rome", "Oslo", "Bonn", "Kyiv", "Bern", "Lima", "Cairo"]
Row = dict[str, Any]


def conversation(city: str, number: int) -> list[Row]:
    """A question that a tool has answered: as OpenAI's API has it (arguments as text, ids of calls, parts of text), or as TRL has it (arguments as an object, the
    tool's name)."""
    asked = f"How warm is it in {city}?"
    if number % 2:
        function: Row = {"name": "get_weather", "arguments": {"city": city, "days": number}}
        return [
            {"role": "user", "content": asked},
            {"role": "assistant", "tool_calls": [{"type": "function", "function": function}]},
            {"role": "tool", "name": "get_weather", "content": f"{number} °C"},
        ]
    function = {"name": "get_weather", "arguments": json.dumps({"city": city})}
    return [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": asked}, {"type": "text", "text": " Today?"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": f"c{number}", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": f"c{number}", "content": f"{number} °C"},
    ]  # fmt: skip


def source() -> list[Row]:
    rows: list[Row] = []
    for number, city in enumerate(CITIES):
        good = {"role": "assistant", "content": f"Good answer: {number} °C in {city}.", "reasoning_content": "Easy."}
        again: Row = {"type": "function", "function": {"name": "give_up", "arguments": "{}"}}
        bad = [
            {"role": "assistant", "content": None, "tool_calls": [again]},
            {"role": "tool", "name": "give_up", "content": ""},
        ]
        bad.append({"role": "assistant", "content": f"Bad answer for {city}."})
        row = {"ticket": 7000 + number, "prompt": conversation(city, number), "chosen": [good], "rejected": bad}
        rows.append(row | {"team": "north" if number % 2 else "south", "score": number / 2})
    return rows  # fmt: skip


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the repository, as the Hub has them."""
    folder = tmp_path_factory.mktemp("agents")
    write_rows(folder / "pairs.jsonl", source())
    with LLMServer() as server, Hub() as hub:
        write_recipe(folder, server.url, source={"path": "pairs.jsonl", "id": "ticket"}, budget={"max_cost": 5})
        for command in (("run", "recipe.yaml"), ("publish", "run", "--repo", "acme/agents", "--license", "mit")):
            done = dprm(*command, "--quiet", cwd=folder, **hub_environment(hub, folder / "hf"))
            assert done.returncode == 0, done.stderr
        pulled = dprm("pull", "acme/agents", "pulled", cwd=folder, **hub_environment(hub, folder / "hf"))
        assert pulled.returncode == 0, pulled.stderr
        for name, content in hub.repos["acme/agents"].files.items():
            (folder / "hub" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "hub" / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def configs(published: Path) -> dict[str, list[Row]]:
    from datasets import concatenate_datasets, load_dataset

    return {
        config: list(
            concatenate_datasets(list(load_dataset(str(published / "hub"), config, cache_dir=str(published / "c")).values()))
        )
        for config in ("default", "preferences", "annotations")
    }  # fmt: skip


BY_ID = {str(row["ticket"]): row for row in source()}


def as_published(conversation: list[Row]) -> list[Row]:
    """As it came, but for a content of text parts alone, which is one text (docs/messages.md)."""
    return [
        turn | {"content": "".join(part["text"] for part in turn["content"])} if isinstance(turn.get("content"), list) else turn
        for turn in conversation
    ]  # fmt: skip


def test_every_item_finds_its_row(configs: dict[str, list[Row]]) -> None:
    items = configs["default"]
    assert sorted(item["source_id"] for item in items) == sorted([*BY_ID, *BY_ID])
    for item in items:
        row = BY_ID[item["source_id"]]
        assert item["prompt"] == as_published(row["prompt"])
        assert item["completion"] == row[item["role"]]
        assert item["metadata"]["team"] == row["team"]
        assert item["metadata"]["score"] == row["score"]
        assert item["source"] == f"pairs.jsonl:{row['ticket'] - 6999}"


def test_every_pair_finds_its_row(configs: dict[str, list[Row]]) -> None:
    pairs = configs["preferences"]
    assert sorted(pair["chosen_source_id"] for pair in pairs) == sorted(BY_ID)
    for pair in pairs:
        row = BY_ID[pair["chosen_source_id"]]
        assert pair["rejected_source_id"] == pair["chosen_source_id"]
        assert pair["prompt"] == as_published(row["prompt"])
        sides = [row["chosen"], row["rejected"]]
        assert (pair["chosen"], pair["rejected"]) in [tuple(sides), tuple(reversed(sides))]


def test_every_annotation_finds_its_row(configs: dict[str, list[Row]]) -> None:
    annotations = configs["annotations"]
    of_item = {item["item_id"]: item for item in configs["default"]}
    assert len(annotations) == len(of_item) * 4
    for annotation in annotations:
        item = of_item[annotation["item_id"]]
        assert (annotation["source_id"], annotation["source"]) == (item["source_id"], item["source"])


def test_a_pulled_run_is_joined_the_same(published: Path) -> None:
    done = dprm("export", "pulled", "--to", "jsonl", "--what", "annotations", "--out", "votes.jsonl", cwd=published)
    assert done.returncode == 0, done.stderr
    votes = [json.loads(line) for line in (published / "votes.jsonl").read_text().splitlines()]
    assert {vote["source_id"] for vote in votes} == set(BY_ID)
    done = dprm("fit", "pulled", cwd=published)
    assert done.returncode == 0, done.stderr
