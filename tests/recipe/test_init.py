"""`dprm init`: a recipe from a file of data, which runs as it is."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from tests.helpers import dprm, write_rows
from tests.servers.llm import LLMServer

ROWS = [
    {"id": 7, "question": "Is it: a?\n- no # really\n", "answer": "Yes\u2028indeed, {{ this }}"},
    {"id": 8, "question": "And b?", "answer": "No."},
]


def written(folder: Path, kind: str) -> Path:
    path = folder / f"my data: all{kind}"
    if kind == ".jsonl":
        write_rows(path, ROWS)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, ["id", "question", "answer"])
            table.writeheader()
            table.writerows(ROWS)
    return path


@pytest.mark.parametrize("kind", [".jsonl", ".csv"])
def test_it_runs_as_it_is(double: LLMServer, tmp_path: Path, kind: str) -> None:
    data = written(tmp_path, kind)
    made = dprm("init", data.name, "--model", "gpt-4o-mini", "--panel", "small", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "export OPENAI_API_KEY" in made.stdout
    text = (tmp_path / "recipe.yaml").read_text()
    assert "# columns found: id, question, answer" in text
    assert "prompt and response (question as prompt, answer as response), ids: id, metadata: id" in text
    assert r"#   question: \"Is it: a?\n- no # really\n\"".replace('\\"', '"') in text
    recipe = yaml.safe_load(text)
    assert recipe["source"] == {"path": data.name} and recipe["panel"] == "small"
    assert recipe["provider"] == {"name": "openai", "model": "gpt-4o-mini"}
    done = dprm("run", "recipe.yaml", cwd=tmp_path, OPENAI_BASE_URL=f"{double.url}/v1", OPENAI_API_KEY="any")
    assert done.returncode == 0, done.stderr
    assert "2 items, 8 annotations" in done.stdout


@pytest.mark.slow
def test_with_the_bundled_model(local_llm: object, tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", [{"prompt": "Is water wet?", "response": "Yes."}])
    made = dprm("init", "pairs.jsonl", "--provider", "local", "--panel", "small", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["provider"] == {"name": "local"}
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 items, 4 annotations" in done.stdout


def test_the_recipe_in_another_folder_finds_the_data(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "recipes").mkdir()
    write_rows(tmp_path / "data/pairs.jsonl", ROWS)
    assert dprm("init", "data/pairs.jsonl", "-o", "recipes/a.yaml", cwd=tmp_path).returncode == 0
    assert yaml.safe_load((tmp_path / "recipes/a.yaml").read_text())["source"]["path"] == "../data/pairs.jsonl"
    planned = dprm("plan", "recipes/a.yaml", "--json", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["items"] == 2


def test_columns_that_say_nothing(tmp_path: Path) -> None:
    write_rows(tmp_path / "odd.jsonl", [{"left": "a", "right": "b"}])
    made = dprm("init", "odd.jsonl", cwd=tmp_path)
    assert made.returncode == 0 and "Its columns are left, right" in made.stdout
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["source"] == {"path": "odd.jsonl"}


def test_mistakes(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", ROWS)
    (tmp_path / "empty.jsonl").write_text("")
    for arguments, said in (
        (["nowhere.csv"], "there is no file"),
        (["empty.jsonl"], "no row"),
        (["pairs.jsonl", "--panel", "papr"], "paper"),
        (["pairs.jsonl", "--provider", "opnai"], "openai"),
        (["pairs.jsonl", "--provider", "openrouter"], "--model"),
        (["a.yaml", "-o", "b.yaml"], "one recipe"),
    ):
        done = dprm("init", *arguments, cwd=tmp_path)
        assert done.returncode == 2, arguments
        assert said in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.yaml"))
    made = dprm("init", "pairs.jsonl", "--model", "gpt-4o-minni", cwd=tmp_path)
    assert made.returncode == 0 and "did you mean 'gpt-4o-mini'" in made.stdout


@pytest.mark.slow
def test_places_that_cannot_be_written(double: LLMServer, tmp_path: Path) -> None:
    """A user's mistake, also for whoever may write anywhere."""
    from tests.helpers import write_recipe

    write_recipe(tmp_path, double.url)
    assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
    for arguments in (
        ["init", "/proc/nowhere/recipe.yaml"],
        ["init", "pairs.jsonl/recipe.yaml"],
        ["report", "run", "--output", "/proc/report.html"],
        ["report", "run", "--output", "pairs.jsonl/report.html"],
        ["ledger", "export", "run", "--output", "/proc/calls.jsonl"],
        ["ledger", "export", "run", "--output", "/proc/calls.parquet"],
        ["ledger", "export", "run", "--output", "pairs.jsonl/calls.parquet"],
    ):
        done = dprm(*arguments, cwd=tmp_path)
        assert done.returncode == 1, arguments
        assert f"dprm: cannot write {arguments[-1]}" in done.stderr and "Traceback" not in done.stderr
        assert ".tmp" not in done.stderr
    (tmp_path / "pages").mkdir()
    assert dprm("report", "run", "--output", "pages", cwd=tmp_path).returncode == 0
    assert (tmp_path / "pages/report.html").is_file()


def test_from_prompts(double: LLMServer, tmp_path: Path) -> None:
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"What happened in {1900 + i}?"} for i in range(3)])
    made = dprm("init", "prompts.jsonl", "--from", "prompts", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    text = (tmp_path / "recipe.yaml").read_text()
    recipe = yaml.safe_load(text)
    assert {model["name"] for model in recipe["generate"]["models"]} == {"openai", "anthropic", "gemini", "mistral"}
    assert len(recipe["generate"]["principles"]) == recipe["generate"]["per_prompt"] == 4
    assert "export ANTHROPIC_API_KEY" in made.stdout and "Next: dprm plan recipe.yaml" in made.stdout
    double.says = lambda data: (
        None if "response_format" in data else f"{hash(str(data['messages']))} {len(double.tally.bodies)}"
    )
    only = ["--model", "gpt-4o-mini", "--panel", "small", "--overwrite"]
    assert dprm("init", "prompts.jsonl", "--from", "prompts", *only, cwd=tmp_path).returncode == 0
    assert len([line for line in (tmp_path / "recipe.yaml").read_text().splitlines() if line[:1] not in "# "]) < 10
    done = dprm("run", "recipe.yaml", cwd=tmp_path, OPENAI_BASE_URL=f"{double.url}/v1", OPENAI_API_KEY="any")
    assert done.returncode == 0, done.stderr
    assert "preference pairs" in done.stdout


@pytest.mark.slow
def test_from_prompts_with_the_bundled_model(local_llm: object, tmp_path: Path) -> None:
    asked = ("Say hello.", "What is 1+1? Answer with a number.", "Name a colour in one word.")  # it is brief to these
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": prompt} for prompt in asked])
    made = dprm("init", "prompts.jsonl", "--from", "prompts", "--provider", "local", "--panel", "small", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    text = (tmp_path / "recipe.yaml").read_text().replace("per_prompt: 4", "per_prompt: 2\n  max_tokens: 64")
    (tmp_path / "recipe.yaml").write_text(text + "labels: 3\n")
    done = dprm("run", "recipe.yaml", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["summary"]["pairs"] > 0
    before = (tmp_path / "runs/prompts/ledger.sqlite").stat().st_size
    assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
    assert (tmp_path / "runs/prompts/ledger.sqlite").stat().st_size == before


def test_from_ratings(tmp_path: Path) -> None:
    rows = [
        f"p{i // 2},r{i % 2},{who},{1 + (i + k) % 5}" for i in range(8) for k, who in enumerate(("ann", "bo", "cy"))
    ]
    (tmp_path / "ratings.csv").write_text("prompt,response,rater,label\n" + "\n".join(rows) + "\n")
    made = dprm("init", "ratings.csv", "--from", "ratings", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "columns found: prompt, response, rater, label" in (tmp_path / "recipe.yaml").read_text()
    assert "Next: dprm run recipe.yaml" in made.stdout
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "24 labels by 3 people" in done.stdout
