"""`elicitation: auto`, the default: what was begun goes on as it was, and a service is asked to choose."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dprm_data.core.errors import RecipeError
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.run import Run
from tests.helpers import answer, dprm, write_recipe
from tests.servers.llm import LLMServer

KEY = {"OPENAI_API_KEY": "sk-test"}


def frozen(folder: Path) -> dict[str, object]:
    content: dict[str, object] = yaml.safe_load((folder / "recipe.yaml").read_text())
    return content


def test_a_service_is_asked_to_choose_and_the_plan_says_so(double: LLMServer, tmp_path: Path) -> None:
    write_recipe(tmp_path, double.url)
    planned = dprm("plan", "recipe.yaml", cwd=tmp_path, **KEY)
    assert "elicitation: choice, because it is the default for OpenAI's API" in planned.stderr
    done = answer(dprm("run", "recipe.yaml", "--json", cwd=tmp_path, **KEY))
    assert done["annotate"]["calls"] == 16
    assert frozen(tmp_path / "run")["elicitation"] == "choice"


def test_a_folder_of_an_earlier_version_goes_on(double: LLMServer, tmp_path: Path) -> None:
    """It says nothing where it asked by choice. Nothing is paid again, and it is read as what it is."""
    write_recipe(tmp_path, double.url, elicitation="choice")
    answer(dprm("run", "recipe.yaml", "--json", cwd=tmp_path, **KEY))
    old = frozen(tmp_path / "run")
    del old["elicitation"]
    (tmp_path / "run/recipe.yaml").write_text(yaml.safe_dump(old))
    assert RunFolder(tmp_path / "run").recipe().elicitation == "choice"
    write_recipe(tmp_path, double.url)
    assert answer(dprm("run", "recipe.yaml", "--json", cwd=tmp_path, **KEY))["annotate"]["calls"] == 0


def test_what_a_folder_was_begun_with_is_kept(tmp_path: Path) -> None:
    """The local model is not even loaded for it."""
    begun = Run(Recipe.load(write_recipe(tmp_path, provider={"name": "local"}, elicitation="choice", output=str(tmp_path / "run"))))  # fmt: skip
    begun.freeze()
    again = Run(Recipe.load(write_recipe(tmp_path, provider={"name": "local"}, output=str(tmp_path / "run"))))
    assert again.recipe.elicitation == "auto"
    again.settle_elicitation()
    assert (again.recipe.elicitation, again.why_elicitation) == ("choice", "")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"rationale": True}, "rationale: true"),
        ({"replicates": 3}, "replicates: 3"),
        ({"early_stop": {"within": 0.5}}, "early_stop"),
        ({"prompt": "choice"}, "a prompt of its own"),
    ],
)
def test_what_only_choice_can_do_is_asked_by_choice(tmp_path: Path, change: dict[str, object], why: str) -> None:
    run = Run(Recipe.load(write_recipe(tmp_path, provider={"name": "local"}, output=str(tmp_path / "run"), **change)))
    run.settle_elicitation()
    assert run.recipe.elicitation == "choice" and why in run.why_elicitation


def test_a_ledger_with_answers_goes_on(double: LLMServer, tmp_path: Path) -> None:
    ledger = str(tmp_path / "calls.sqlite")
    write_recipe(tmp_path, double.url, ledger=ledger)
    answer(dprm("run", "recipe.yaml", "--json", cwd=tmp_path, **KEY))
    run = Run(Recipe.load(write_recipe(tmp_path, provider={"name": "local"}, ledger=ledger, output=str(tmp_path / "other"))))  # fmt: skip
    run.settle_elicitation()
    assert run.recipe.elicitation == "choice" and "calls.sqlite" in run.why_elicitation


def test_unknown_names_are_still_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="choise"):
        Recipe.load(write_recipe(tmp_path, elicitation="choise"))
