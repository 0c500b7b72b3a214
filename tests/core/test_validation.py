"""What a person reads when a recipe is wrong: where, what was found, what is allowed."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from dprm_data.core.validation import describe
from dprm_data.recipe.recipe import Recipe

GOOD: dict[str, Any] = {"source": {"path": "a.jsonl"}, "provider": {"name": "local"}}


def findings(**changes: Any) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate({**GOOD, **changes})
    return describe(caught.value, "recipe.yaml", Recipe).splitlines()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"replicate": 2},
            "recipe.yaml: replicate: unknown key; did you mean 'replicates'? (allowed: name, source, annotators, ratings, comparisons, labels,",
        ),
        ({"zzz": 2}, "recipe.yaml: zzz: unknown key (allowed: name, source"),
        (
            {"source": {"path": "a", "spilt": "x"}},
            "recipe.yaml: source.spilt: unknown key; did you mean 'split'? (allowed: path,",
        ),
        ({"source": {}}, "recipe.yaml: source: give either path (a file or folder) or dataset (a Hugging Face id)"),
        ({"source": {"path": "a", "dataset": "b/c"}}, "recipe.yaml: source: give either path"),
        ({"source": {"path": "a", "limit": 0}}, "recipe.yaml: source.limit: input should be greater than 0 (found 0)"),
        ({"source": {"path": "a", "columns": {"promt": "x"}}}, "recipe.yaml: source.columns.promt"),
        (
            {"elicitation": "guess"},
            "recipe.yaml: elicitation: there is no elicitation 'guess' (installed: choice, compare, logprobs, distribution",
        ),
        ({"replicates": "many"}, "recipe.yaml: replicates: must be a whole number"),
        ({"provider": {"name": "local", "timeout": float("nan")}}, "recipe.yaml: provider.timeout: "),
        (
            {"provider": {"name": "openai"}},
            "recipe.yaml: provider.model: missing; name the model that plays the personas",
        ),
        ({"provider": {}}, "recipe.yaml: provider.name: missing, and there is no default"),
        ({"panel": {"use": "paper", "smaple": 3}}, "recipe.yaml: panel.smaple: unknown key; did you mean 'sample'?"),
        (
            {"fit": {"smoothing": {"kind": "some"}}},
            "recipe.yaml: fit.smoothing.kind: there is no smoothing 'some' (installed: targeted,",
        ),
        ({"name": "a/b"}, "recipe.yaml: name: string should match pattern"),
    ],
)
def test_each_finding_is_one_sentence(changes: dict[str, Any], says: str) -> None:
    [line] = findings(**changes)
    assert line.startswith(says)


def test_all_findings_are_told_at_once() -> None:
    lines = findings(replicates=0, max_reasks=99, elicitation="x")
    assert [line.split(": ")[1] for line in lines] == ["elicitation", "replicates", "max_reasks"]


def test_a_long_value_is_shortened() -> None:
    [line] = findings(elicitation="x" * 500)
    assert len(line) < 200
    assert "x…' (installed: " in line


def test_a_key_written_into_a_recipe_is_not_echoed() -> None:
    [line] = findings(provider={"name": "openai", "model": "m", "api_key": "sk-secret"})
    assert "sk-secret" not in line
    assert "did you mean 'api_key_env'?" in line


def test_a_line_stands_beside_the_file_where_it_is_known() -> None:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate({**GOOD, "replicates": 0})
    said = describe(caught.value, "recipe.yaml", Recipe, lambda location: 7 if location == ("replicates",) else None)
    assert said.startswith("recipe.yaml:7: replicates: ")
