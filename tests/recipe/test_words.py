"""Messages in the words of who reads them: YAML's own jargon, labels as a list, one item that outweighs all, a folder that is no policy."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from dprm_data.core.errors import RecipeError
from dprm_data.core.failure_reasons import advice_on_failed, grouped
from dprm_data.recipe.recipe import Recipe
from tests.helpers import answer, dprm, write_recipe, write_rows
from tests.servers.llm import LLMServer


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("source:\n\tpath: a\n", "spaces only"),
        ("source:\n  path: a: b\n", "in quotes"),
        ("labels: [a, b\npanel: x\n", "not closed"),
        ("source:\n  path: a\n split: x\n", "indentation differs"),
        ("name: yes\n", "YAML reads yes, no, on and off as true and false"),
        ("labels: [no, yes]\n", "['no', 'yes']"),
        ("labels: yes\n", "YAML reads yes"),
        ("labels: [1, 2]\n", "give K alone"),
        ("labels: [one]\n", "2 to 1000 names"),
        ("replicates: many\n", "must be a whole number (found 'many')"),
        ("rationale: maybe\n", "must be true or false"),
        ("source: file.csv\n", "must be keys with values"),
    ],
)
def test_what_is_wrong_with_a_recipe(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as raised:
        Recipe.load(path)
    message = str(raised.value)
    assert said in message
    assert not any(
        word in message for word in ("token", "mapping values", "flow", "block", "valid string", "dictionary")
    )


def test_labels_as_a_list_of_names(double: LLMServer, tmp_path: Path) -> None:
    write_recipe(tmp_path, double.url, labels=["bad", "fair", "good"])
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "labels, from the worst to the best, with their rewards: bad 0, fair 1, good 2" in done.stderr
    assert answer(dprm("show", "run", "--json", cwd=tmp_path))["summary"]["rewards"] == [0, 1, 2]
    assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0  # the folder's own recipe reads the same
    assert dprm("ratings", "fit", "run", "--family", "dirichlet", cwd=tmp_path).returncode == 0
    assert double.tally.requests == 16


def test_one_giant_item_is_said_by_plan(tmp_path: Path) -> None:
    rows = [{"prompt": f"Question {i}?", "response": "Yes."} for i in range(50)]
    write_rows(tmp_path / "pairs.jsonl", rows)
    write_recipe(tmp_path)
    assert "far longer" not in dprm("plan", "recipe.yaml", cwd=tmp_path).stderr
    write_rows(tmp_path / "pairs.jsonl", [*rows, {"prompt": "Sum up.", "response": "word " * 72_000}])
    done = dprm("plan", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 item is far longer than the others" in done.stderr
    assert "360.0 kB" in done.stderr and "pairs.jsonl:51" in done.stderr


def test_a_folder_that_is_no_policy(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for policy, said in (("empty", "holds no model"), ("./nowhere", "no such folder"), ("/no/where", "no such folder")):
        done = dprm("eval", "policy", "--policy", policy, "--prompts", "also-nowhere.jsonl", cwd=tmp_path)
        assert done.returncode == 2 and said in done.stderr


def test_reasons_that_differ_in_numbers_are_one() -> None:
    long = {f"400 rejected: prompt is too long: {n} tokens > 200000 maximum (req_0{n}Q)": 1 for n in range(7)}
    assert grouped(long | {"refused": 3}, 5) == {
        "400 rejected: prompt is too long: … tokens > 200000 maximum (…)": 7,
        "refused": 3,
    }
    assert "--retry-failed" not in advice_on_failed(long)
    assert "for the others" in advice_on_failed(long | {"refused": 3})
    assert advice_on_failed({"refused": 3}) == "run again with --retry-failed to ask for these again"


def test_how_the_command_is_called(tmp_path: Path) -> None:
    import subprocess
    import sys

    from tests.helpers import environ

    for options in (["--version"], ["--help"]):
        said = [
            subprocess.run([sys.executable, "-m", name, *options], env=environ(), capture_output=True, text=True)
            for name in ("dprm_data", "dprm_data.cli")
        ]
        assert [each.returncode for each in said] == [0, 0]
    assert dprm("--version", cwd=tmp_path).stdout.startswith("dprm-data ")


def test_the_card_names_only_configs_that_exist(double: LLMServer, tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", [{"prompt": "A?", "response": "b."}, {"prompt": "C?", "response": "d."}])
    write_recipe(tmp_path, double.url)
    assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
    assert pq.read_metadata(tmp_path / "run/tables/preferences.parquet").num_rows == 0
    card = (tmp_path / "run/README.md").read_text()
    assert '"preferences", split' not in card and "| `preferences` |" not in card and "config `run`" not in card
    assert '"default", split="train"' in card


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "small"), [("SmolLM2-135M-Instruct", True), ("/models/mine.gguf", False), ("org/repo:Q4_K_M", False)]
)
def test_only_the_bundled_model_is_called_very_small(
    double: LLMServer, tmp_path: Path, model: str, small: bool
) -> None:
    """A run's folder says which model it was; whoever shows it need not have the model's file."""
    write_recipe(tmp_path, double.url)
    assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
    kept = tmp_path / "run" / "recipe.yaml"
    kept.write_text(yaml.safe_dump(yaml.safe_load(kept.read_text()) | {"provider": {"name": "local", "model": model}}))
    for command in (("show", "run"), ("report", "run", "--out", "page.html")):
        done = dprm(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    page = (tmp_path / "page.html").read_text()
    shown = dprm("show", "run", cwd=tmp_path).stdout
    assert ("bundled model is very small" in " ".join(shown.split()), "very small" in page) == (small, small)
