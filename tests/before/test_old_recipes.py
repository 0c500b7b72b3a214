"""Recipes of an earlier version mean what they meant, with every key that there was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dprm_data import Recipe
from dprm_data.runs.run import Run
from tests.before.make_recipes import PLANNED, READ, plan_command
from tests.before.saved import DATA, assert_holds, dprm_each, unpack

SET = {name: yaml.safe_load((DATA / f"recipes/{name}.yaml").read_text()) for name in PLANNED | READ}


@pytest.mark.parametrize("name", SET)
def test_it_says_what_it_said(name: str) -> None:
    """What is set, and what is not: the defaults. A run puts `choice` in the place of the default elicitation, `auto`."""
    run = Run(Recipe.load(DATA / f"recipes/{name}.yaml"))
    run.settle_elicitation()
    found = run.recipe.model_dump(mode="json")
    assert_holds(found, json.loads((DATA / f"recipes/{name}.said.json").read_text()))


@pytest.mark.parametrize("name", PLANNED)
def test_it_is_planned_as_it_was(tmp_path: Path, name: str) -> None:
    folder = unpack("recipes", tmp_path)
    [said] = dprm_each([plan_command(name)], cwd=folder)
    found, saved = json.loads(said), json.loads((folder / f"{name}.plan.json").read_text())
    for estimate in ("input_tokens", "cost"):  # newer versions count the characters of other scripts better
        assert found.pop(estimate) == pytest.approx(saved.pop(estimate), rel=0.005)
    assert_holds(found, saved)


def test_every_key_is_set_somewhere() -> None:
    """Otherwise there would be keys that nothing here is said about."""
    known = set().union(*(paths(json.loads((DATA / f"recipes/{name}.said.json").read_text())) for name in SET))
    written = set().union(*(paths(recipe) for recipe in SET.values()))
    assert {path for path in known if not any(f"{each}.".startswith(f"{path}.") for each in written)} == set()


def paths(value: Any, start: str = "") -> set[str]:
    """The keys of sections, dotted. What is free in form counts as one."""
    free = ("labels", "panel.use", "provider.extra", "ray.runtime_env", "source.columns")
    if not isinstance(value, dict) or start in free:
        return {start}
    return set().union(*(paths(each, f"{start}.{name}".strip(".")) for name, each in value.items()))
