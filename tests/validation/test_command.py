"""The command: its price first, its findings in words and as JSON, and a user's mistakes as sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dprm_data.ingest.named_sets.collection import named_sets
from tests.helpers import answer, dprm, write_recipe
from tests.servers.llm import LLMServer
from tests.validation.crowds import write_crowd


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, double: LLMServer) -> Path:
    monkeypatch.chdir(tmp_path)
    write_crowd(tmp_path / "people.csv", items=24, raters=6, each=4)
    write_recipe(tmp_path, double.url, labels=5, panel="small")
    return tmp_path


def test_from_the_command_to_the_page(place: Path, double: LLMServer) -> None:
    found = dprm(
        "validate", "recipe.yaml", "--against", "people.csv", "--items", "20", "--output", "out", "--yes", cwd=place
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "20 items of people.csv, 80 answers by 6 people; 3 ways of asking" in found.stderr
    for line in ("May it replace people?", "Worth", "Skill", "half of the people", "out/validation.html"):
        assert line in found.stdout
    asked = double.tally.requests
    again = answer(
        dprm(
            "validate",
            "recipe.yaml",
            "--against",
            "people.csv",
            "--items",
            "20",
            "--output",
            "out",
            "--json",
            cwd=place,
        )
    )
    assert double.tally.requests == asked
    assert again == {
        "folder": "out",
        **{k: v for k, v in json.loads(Path("out/scores.json").read_text()).items() if k in again},
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--against", "nobody"), "no set of people's votes is called 'nobody'"),
        (("--against", "missing.csv"), "missing.csv"),
        (("--against", "people.csv", "--data", "."), "belong to a named set"),
        (("--against", "people.csv", "--column", "prompt"), "must be ours=yours"),
        (("--against", "people.csv", "--panels", "unknown"), "no panel 'unknown'"),
        (("--against", "people.csv", "--attribute", "age"), "no column 'age'"),
        (("--against", "chaosnli"), "not on the Hugging Face Hub"),
    ],
)
def test_a_mistake_is_a_sentence(place: Path, arguments: tuple[str, ...], says: str) -> None:
    found = dprm("validate", "recipe.yaml", *arguments, cwd=place)
    assert found.returncode == 2, found.stdout + found.stderr
    assert says in (found.stdout + found.stderr) and "Traceback" not in (found.stdout + found.stderr)


def test_with_data_a_name_is_a_sets_and_not_a_folders(place: Path) -> None:
    Path("chaosnli").mkdir()
    found = dprm("validate", "recipe.yaml", "--against", "chaosnli", "--data", "chaosnli", cwd=place)
    assert found.returncode == 2 and "chaosNLI_snli.jsonl" in found.stderr


def test_the_named_sets_are_listed(tmp_path: Path) -> None:
    found = dprm("validate", "--sets", cwd=tmp_path)
    assert found.returncode == 0
    assert all(name in (found.stdout + found.stderr) for name in named_sets())
