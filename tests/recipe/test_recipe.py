"""Recipes: what is refused, and how it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from dprm_data.core.errors import RecipeError
from dprm_data.recipe.recipe import Recipe

GOOD = "source:\n  path: a.jsonl\nprovider:\n  name: openai\n  model: m\n"


def refused(tmp_path: Path, text: str) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        Recipe.load(path)
    return str(caught.value).replace(str(path), "FILE")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            GOOD + "panle: paper\n",
            "FILE:6: panle: unknown key; did you mean 'panel'? (allowed: name, source, annotators, ratings, comparisons, labels,",
        ),
        (
            GOOD + "limits:\n  concurrency: many\n",
            "FILE:7: limits.concurrency: must be a whole number (found 'many')",
        ),
        (GOOD + "limits:\n  rpn: 5\n", "FILE:7: limits.rpn: unknown key; did you mean 'rpm'?"),
        (GOOD + "replicates: 0\n", "FILE:6: replicates: input should be greater than 0 (found 0)"),
        (
            GOOD.replace("model: m", "model: gpt-5.2\n  effort: minimal"),
            "FILE:6: provider.effort: gpt-5.2 has no effort 'minimal' (has: none, low, medium, high, xhigh)",
        ),
        (
            GOOD.replace("model: m", "model: gpt-4o-mini\n  effort: low"),
            "FILE:6: provider.effort: gpt-4o-mini has no effort 'low' (has: none that can be set)",
        ),
        (
            GOOD.replace("model: m", "model: m\n  capabilities: {say: loudly, efforts: [low]}"),
            "provider.capabilities.say: no such way to say an effort: 'loudly' (there are: reasoning_effort,",
        ),
        (
            "elicitation: logprobs\n" + GOOD.replace("model: m", "model: o3"),
            "o3 gives no log-probabilities, which elicitation: logprobs reads; use choice",
        ),
        (
            GOOD + "elicitation: guess\n",
            "FILE:6: elicitation: there is no elicitation 'guess' (installed: choice, compare, logprobs, distribution",
        ),
        (
            GOOD + "elicitation: logprob\n",
            "FILE:6: elicitation: there is no elicitation 'logprob'; did you mean 'logprobs'?",
        ),
        (
            "provider: {name: local}\nelicitation: logprobs\nearly_stop: {within: 0.3}\n",
            "FILE:3: early_stop: elicitation: logprobs is calibrated when all calls are made, too late to stop",
        ),
        (GOOD + "fit:\n  smoothing:\n    epsilon: 2\n", "FILE:8: fit.smoothing.epsilon: input should be less than 1"),
        (
            GOOD + "fit:\n  smoothing:\n    epsilon: 0.6\n",
            "FILE:8: fit.smoothing.epsilon: targeted smoothing with 0.6 would leave the most likely label less than half, and "
            "another would overtake it (allowed: 0 to 0.5; kind: uniform and kind: cost take more)",
        ),
        (GOOD + "budget:\n  max_cost: -1\n", "FILE:7: budget.max_cost: input should be greater than or equal to 0"),
        (GOOD + "name: a/b\n", "FILE:6: name: "),
        (GOOD + "seed: 1\nseed: 2\n", "FILE:7: the key 'seed' is given twice; keep one"),
        ("source: {path: a}\n", "FILE: provider: missing, and there is no default"),
        ("source: {}\nprovider: {name: local}\n", "FILE:1: source: give either path (a file or folder) or dataset"),
        ("source: {path: a, dataset: b}\nprovider: {name: local}\n", "give either path"),
        (
            "provider: {name: openai}\n",
            "FILE:1: provider.model: missing; name the model that plays the personas",
        ),
        (
            "provider: {name: anthropic, model: m}\nelicitation: logprobs\n",
            "FILE:1: provider: Anthropic's API gives no log-probabilities, which elicitation: logprobs reads; use choice",
        ),
        (
            "provider: {name: local}\nelicitation: logprobs\nreplicates: 2\n",
            "FILE:3: replicates: elicitation: logprobs gets the same answer when it asks again; leave it at 1",
        ),
        (
            "provider: {name: local}\nelicitation: logprobs\nrationale: true\n",
            "FILE:3: rationale: elicitation: logprobs cannot say why; leave it out, or use choice",
        ),
        (
            "provider: {name: local}\nelicitation: distribution\nrationale: true\n",
            "FILE:3: rationale: elicitation: distribution cannot say why",
        ),
        (
            "provider: {name: local}\nmode: batch\n",
            "FILE:2: mode: the local model has no batches (and nothing there costs anything); leave mode: batch out",
        ),
        (
            "provider:\n  name: antropic\n  model: m\n",
            "FILE:2: provider.name: there is no provider 'antropic'; did you mean 'anthropic'? (installed: openai, anthropic, local",
        ),
        (
            "provider:\n  name: anthropic\n  model: m\n  temperature: 0.5\n",
            "FILE:4: provider.temperature: Anthropic's API has no temperature; leave it out, or use a provider that has it (openai, local)",
        ),
        (
            "provider:\n  name: local\n  endpoints: [{base_url: 'http://h'}]\n",
            "FILE:3: provider.endpoints: the local model runs in this process and takes no endpoints",
        ),
        ("a: [1, 2\n", "FILE: not valid YAML: line 2"),
        ("- a\n", "FILE: a recipe is a mapping of keys to values, found a list"),
        ("", "found nothing: the file is empty"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(tmp_path, text)


@pytest.mark.parametrize(
    "smoothing", [{"epsilon": 0.5}, *({"kind": kind, "epsilon": 0.6} for kind in ("uniform", "cost", "none"))]
)
def test_smoothing_that_keeps_the_order_is_taken(smoothing: dict[str, object]) -> None:
    recipe = Recipe.of({"provider": {"name": "local"}, "fit": {"smoothing": smoothing}})
    assert recipe.fit.smoothing.epsilon == smoothing["epsilon"]


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    assert len(refused(tmp_path, GOOD + "replicates: 0\nmax_reasks: 99\npanle: x\n").splitlines()) == 3


def test_a_key_in_a_recipe_is_not_echoed(tmp_path: Path) -> None:
    assert "sk-secret" not in refused(tmp_path, GOOD.replace("model: m", "model: m\n  api_key: sk-secret"))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cannot read .*nothing\.yaml: No such file"):
        Recipe.load(tmp_path / "nothing.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not UTF-8"):
        Recipe.load(tmp_path / "binary.yaml")


def test_a_recipe_as_a_dict() -> None:
    recipe = Recipe.of({"provider": {"name": "local"}, "panel": "small"})
    assert recipe.panel.use == "small"
    assert recipe.output_folder == Path("runs/run")
    with pytest.raises(RecipeError, match="recipe: provider: missing"):
        Recipe.of({})


def test_an_effort_of_an_unknown_model_is_taken_as_it_is() -> None:
    for provider in (
        {"name": "openai", "model": "acme-1", "effort": "hard"},
        {"name": "openai", "model": "acme-1", "effort": "two", "capabilities": {"efforts": ["one", "two"]}},
        {"name": "anthropic", "model": "claude-opus-5", "effort": "max"},
    ):
        assert Recipe.of({"provider": provider}).provider.effort == provider["effort"]
