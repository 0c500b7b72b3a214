"""Recipes with several models: what is taken, and what is refused and how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dprm_data import FunctionProvider, run
from dprm_data.core.errors import RecipeError
from dprm_data.recipe.recipe import Recipe
from dprm_data.recipe.trust import pending
from tests.recipe.test_recipe import refused

TWO = "source: {path: a.jsonl}\nmodels:\n- {name: openai, model: a}\n- {name: anthropic, model: b}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TWO + "provider: {name: local}\n", "FILE:5: provider: models says which models are asked; give it or provider"),
        ("models: []\n", "FILE:1: models: list should have at least 1 item"),
        ("models:\n- {name: openai}\n", "FILE:2: models[0].model: missing; name the model that plays the personas"),
        (
            "models:\n- {name: openai, model: a}\n- {name: openai, model: a, timeout: 5}\n",
            "FILE:3: models[1].id: models[0] is 'a', too; give each an id of its own",
        ),
        (
            "models:\n- {name: openai, model: a}\n- {name: openai, model: a, id: b, base_url: 'http://h/v1', weight: 2}\n",
            "FILE:3: models[1]: makes the same calls as models[0]; for several servers of one model, give it endpoints",
        ),
        ("models:\n- {name: openai, model: a, id: 'a b'}\n", "FILE:2: models[0].id: string should match pattern"),
        ("models:\n- {name: openai, model: a, weight: 0}\n", "FILE:2: models[0].weight: input should be greater than 0"),
        (
            "models:\n- name: openai\n  model: a\n  limits: {concurency: 3}\n",
            "FILE:4: models[0].limits.concurency: unknown key; did you mean 'concurrency'? (allowed: concurrency, rpm, tpm, attempts)",
        ),
        (TWO + "design: square\n", "FILE:5: design: input should be 'crossed' or 'balanced' (found 'square')"),
        (
            "provider: {name: local}\ndesign: balanced\n",
            "FILE:2: design: says which of several models answer as which personas; give models",
        ),
        (
            "elicitation: logprobs\n" + TWO,
            "FILE:5: models[1]: b: Anthropic's API gives no log-probabilities, which elicitation: logprobs reads; use choice",
        ),
        (
            TWO + "early_stop: {within: 0.3}\n",
            "FILE:5: early_stop: looks at all votes of an item, and several models answer at their own pace; leave it out",
        ),
        (TWO + "mode: batch\n", "FILE:5: mode: a run's batches belong to one model; with several models, leave mode: batch out"),
        (
            TWO + "engine: ray\nledger: postgresql://h/d\n",
            "FILE:5: engine: an actor of a cluster ends with the first model that is down; with several models, start several workers",
        ),
        ("source: {path: a}\nmodels:\n- {nme: openai}\n", "FILE:3: models[0].nme: unknown key; did you mean 'name'?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    found = refused(tmp_path, text)
    assert said in found
    assert "FILE: provider: missing" not in found


def test_an_entry_is_named_by_its_model() -> None:
    models = [
        {"name": "openai", "model": "org/m:8b"},
        {"name": "local", "model": "/home/me/models/small.gguf"},
        {"name": "openai", "model": "org/m:8b", "id": "warm", "temperature": 1.0},
        {"name": "local"},
    ]
    assert [entry.id for entry in Recipe.of({"models": models}).entries] == ["org/m:8b", "small.gguf", "warm", "local"]
    [only] = Recipe.of({"provider": {"name": "openai", "model": "m", "temperature": 0.5}}).entries
    assert (only.id, only.weight, only.temperature) == ("m", 1.0, 0.5)


def test_limits_are_the_recipe_s_where_a_model_sets_none() -> None:
    recipe = Recipe.of(
        {
            "models": [
                {"name": "openai", "model": "a", "limits": {"concurrency": 2, "rpm": 10}},
                {"name": "openai", "model": "b"},
                {
                    "name": "openai",
                    "model": "c",
                    "limits": {"attempts": 9},
                    "endpoints": [{"base_url": f"http://h{i}/v1", "concurrency": 5} for i in range(2)],
                },
            ],
            "limits": {"attempts": 3, "rpm": 100},
        }
    )
    found = [recipe.limits_of(entry) for entry in recipe.entries]
    assert [(each.concurrency, each.rpm, each.attempts) for each in found] == [(2, 10, 3), (32, 100, 3), (10, 100, 9)]
    assert recipe.calls_at_once == 44


def test_consent_is_asked_for_every_model_s_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "models:\n"
        "- {name: openai, model: a}\n"
        "- {name: openai, model: b, base_url: 'https://evil.example/v1'}\n"
        "- {name: anthropic, model: c, endpoints: [{base_url: 'https://worse.example', api_key_env: GITHUB_TOKEN}]}\n"
    )
    found = pending(Recipe.load(path), environ={"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "GITHUB_TOKEN": "k"})
    assert [each.entry for each in found] == [
        "OPENAI_API_KEY https://evil.example",
        "GITHUB_TOKEN https://worse.example",
    ]


def test_a_provider_object_is_one_model(tmp_path: Path) -> None:
    async def answer(request: Any) -> Any:
        raise AssertionError

    models = [{"name": "openai", "model": name} for name in "ab"]
    with pytest.raises(RecipeError, match="models: a provider object takes the place of one model; give provider"):
        run({"models": models}, source=[], output=tmp_path / "run", provider=FunctionProvider(answer))
