"""Policies compared: figures against their definitions, and the command from the outside with a reward model and with a run as judges."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from dprm_data.cli import app
from dprm_data.labels.space import LabelSpace
from dprm_trainers.core.errors import TrainingDataError, TrainingError
from dprm_trainers.data.rows import load_data
from dprm_trainers.evaluation.comparison_tables import markdown
from dprm_trainers.evaluation.judges import Verdict, judged_by
from dprm_trainers.evaluation.policy_comparison import distinct, evaluate_policies, people_of
from dprm_trainers.evaluation.policy_responses import BLANK, Response, read_responses, write_responses
from dprm_trainers.evaluation.policy_samples import SamplingSettings, sample_policies
from dprm_trainers.ppo.prompt_sets import Prompts
from dprm_trainers.reward.reward_trainer import train_reward
from tests.helpers import answer, dprm, write_recipe, write_rows
from tests.servers.llm import LLMServer
from tests.trainers import tiny

SPACE = LabelSpace.load("hh6")
ASKED = Prompts([[{"role": "user", "content": f"what is {word}"}] for word in tiny.WORDS[:6]], list("abcdef"), "here")
SHORT = SamplingSettings(max_new_tokens=6)


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A random policy, and the same with a strong liking for one word."""
    folder = tmp_path_factory.mktemp("policies")
    tiny.base_model(folder / "base")
    shutil.copytree(folder / "base", folder / "fond")
    model = AutoModelForCausalLM.from_pretrained(folder / "fond")
    tokenizer = AutoTokenizer.from_pretrained(folder / "fond")
    with torch.no_grad():
        output = model.get_output_embeddings().weight
        output[tokenizer.convert_tokens_to_ids("good")] *= 40
    model.save_pretrained(folder / "fond")
    return {"base": str(folder / "base"), "fond": str(folder / "fond")}


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small reward model."""
    folder = tmp_path_factory.mktemp("judge")
    return str(train_reward(tiny.settings(folder, epochs=1)).output)


def test_asked_is_what_the_judge_and_the_policies_held_out(
    policies: dict[str, str], judge: str, tmp_path: Path
) -> None:
    data = Path(judge).parent / "data.parquet"
    trained = shutil.copytree(policies["base"], tmp_path / "trained")
    record = {
        "settings": {"reward_model": ["elsewhere"]},
        "prompts": {"held_out": [{"test": 0.5, "validation": 0.1, "seed": 0}]},
    }
    (trained / "dprm_ppo.json").write_text(json.dumps(record))
    for models, shares in (([policies["base"]], (0.2,)), ([policies["base"], str(trained)], (0.2, 0.5))):
        out = tmp_path / f"out-{len(models)}"
        flags = [part for model in models for part in ("--policy", model)]
        more = ("--prompts", str(data), "--judge", judge, "--output", str(out), "--max-new-tokens", "2", "-q")
        done = CliRunner().invoke(app, ["eval", "policy", *flags, *more])
        assert done.exit_code == 0, done.output
        splits = [load_data(data, labels="hh6", test=share).splits["test"].prompts for share in shares]
        expected = set.intersection(*({prompt[0]["content"] for prompt in prompts} for prompts in splits))
        assert {row.prompt[0]["content"] for row in read_responses(out)} == expected


# -- sampling -------------------------------------------------------------------------------------------------------------


def test_responses_do_not_depend_on_the_batch_and_are_kept(policies: dict[str, str], tmp_path: Path) -> None:
    one = sample_policies(policies, ASKED, tmp_path / "one", SHORT, batch_size=1)
    said: list[str] = []
    many = sample_policies(policies, ASKED, tmp_path / "many", SHORT, batch_size=5)
    assert one == many == read_responses(tmp_path / "many")
    assert [row.policy for row in one] == ["base"] * 6 + ["fond"] * 6
    assert one[:6] != [Response(**{**vars(row), "policy": "base"}) for row in one[6:]]
    again = sample_policies(policies, ASKED, tmp_path / "many", SHORT, say=said.append)
    assert again == many
    assert said == ["base: 6 responses exist already", "fond: 6 responses exist already"]
    with pytest.raises(TrainingDataError, match="other settings"):
        sample_policies(policies, ASKED, tmp_path / "many", SamplingSettings(max_new_tokens=7))


def test_a_policy_that_was_trained_anew_is_asked_anew(policies: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(policies["base"], tmp_path / "p")
    first = sample_policies({"p": str(tmp_path / "p")}, ASKED, tmp_path / "out", SHORT)
    shutil.rmtree(tmp_path / "p")
    shutil.copytree(policies["fond"], tmp_path / "p")
    assert sample_policies({"p": str(tmp_path / "p")}, ASKED, tmp_path / "out", SHORT) != first


def test_temperature_zero_is_the_greedy_decoding_of_transformers(policies: dict[str, str], tmp_path: Path) -> None:
    how = SamplingSettings(max_new_tokens=8, temperature=0)
    found = sample_policies({"base": policies["base"]}, ASKED, tmp_path, how)
    model = AutoModelForCausalLM.from_pretrained(policies["base"])
    tokenizer = AutoTokenizer.from_pretrained(policies["base"])
    for row in found:
        ids = tokenizer.apply_chat_template(
            row.prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        out = model.generate(**ids, max_new_tokens=8, do_sample=False)
        assert row.text == tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    with pytest.raises(TrainingError, match="samples of the policy itself"):
        sample_policies(policies, ASKED, tmp_path / "kl", how, reference=policies["base"])
    with pytest.raises(TrainingError, match="would be the same"):
        SamplingSettings(temperature=0, responses=2)


def test_the_divergence_is_that_of_whole_responses(policies: dict[str, str], tmp_path: Path) -> None:
    """Against the definition: responses of two tokens, every one of them enumerated."""
    prompt = ASKED.messages[0]
    models = [AutoModelForCausalLM.from_pretrained(policies[name]).eval() for name in ("fond", "base")]
    tokenizer = AutoTokenizer.from_pretrained(policies["base"])
    ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True)[
        "input_ids"
    ]
    vocabulary = models[0].config.vocab_size
    with torch.no_grad():
        first, other = (model(ids).logits[0, -1].log_softmax(-1).double() for model in models)
        longer = torch.cat([ids.repeat(vocabulary, 1), torch.arange(vocabulary)[:, None]], 1)
        second, other_second = (model(longer).logits[:, -1].log_softmax(-1).double() for model in models)
    going_on = torch.ones(vocabulary).double()
    going_on[tokenizer.eos_token_id] = 0  # a response that ended has no second token
    later = (second.exp() * (second - other_second)).sum(1) * going_on
    exact = float((first.exp() * (first - other + later)).sum())

    many = SamplingSettings(max_new_tokens=2, responses=400)
    asked = Prompts([prompt], ["a"], "here")
    found = sample_policies(policies, asked, tmp_path, many, reference=policies["base"], batch_size=200)
    measured = {name: np.array([row.kl for row in found if row.policy == name], dtype=float) for name in policies}
    assert np.abs(measured["base"]).max() < 1e-6
    assert exact > 0.05
    error = measured["fond"].std() / 20
    assert abs(measured["fond"].mean() - exact) < 4 * error + 1e-4


# -- figures --------------------------------------------------------------------------------------------------------------


def responses(texts: dict[str, list[str]]) -> list[Response]:
    return [
        Response(policy, f"p{i}", 0, [{"role": "user", "content": f"ask {i}"}], text, len(text.split()), True)
        for policy, said in texts.items()
        for i, text in enumerate(said)
    ]


def verdict(reward: Any, distribution: Any = None) -> Verdict:
    labels = tuple(SPACE.names) if distribution is not None else ()
    return Verdict("judge", "reward model", "mean", np.array(reward, float), distribution, labels, SPACE.rewards)


def test_the_comparison_by_hand() -> None:
    rows = responses({"old": ["a b", "a", "c", ""], "new": ["x y x y", "a", "d", "e"]})
    found = evaluate_policies(rows, [verdict([0, 1, 2, 3, 1, 1, 1.5, 5])])
    duel = found.judged[0].duels[0]
    assert (duel.first, duel.second) == ("new", "old")
    assert (duel.win, duel.tie, duel.lose, duel.net.value) == (0.5, 0.25, 0.25, 0.25)
    assert duel.difference.value == pytest.approx((1 + 0 - 0.5 + 2) / 4)
    assert found.judged[0].reward["old"].value == 1.5
    assert found.style["old"]["empty"].value == 0.25
    assert found.style["new"]["distinct-1"].value == 5 / 7
    assert found.style["new"]["distinct-2"].value == 2 / 3
    assert found.style["new"]["tokens"].value == 7 / 4
    assert "new against old | 50 / 25 / 25 %" in markdown(found)


def test_a_tie_is_a_small_difference_where_rewards_have_a_range() -> None:
    space = np.tile(np.full(6, 1 / 6), (4, 1))
    rows = responses({"old": ["a", "b"], "new": ["c", "d"]})
    for tie, expected in ((0.0, (1.0, 0.0)), (0.05, (0.5, 0.5))):  # the range of hh6 is 4: a margin of 0.2
        duel = evaluate_policies(rows, [verdict([0, 0, 0.1, 0.3], space)], tie=tie).judged[0].duels[0]
        assert (duel.win, duel.tie) == expected


@given(st.integers(0, 10_000))
def test_two_random_people_against_every_pair_of_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.ones(6), 3), rng.dirichlet(np.ones(6), 3)
    won = tied = 0.0
    for n, i, j in itertools.product(range(3), range(6), range(6)):
        won += p[n, i] * q[n, j] * (SPACE.rewards[i] > SPACE.rewards[j]) / 3
        tied += p[n, i] * q[n, j] * (SPACE.rewards[i] == SPACE.rewards[j]) / 3
    assert people_of(p, q, SPACE.rewards) == pytest.approx((won, tied, 1 - won - tied))


def test_rows_that_one_policy_lacks_are_left_out_and_told() -> None:
    rows = [row for row in responses({"old": ["a", "b", "c"], "new": ["d", "e", "f"]}) if row.text != "e"]
    found = evaluate_policies(rows, [verdict([1, 5, 1, 2, 2])])
    assert found.judged[0].reward["old"].value == 1
    assert "1 rows were left out" in found.notes[0]
    with pytest.raises(TrainingDataError, match="no prompt in common"):
        evaluate_policies([rows[0], rows[-1]], [])


def test_differences_have_intervals_of_pairs_not_of_policies() -> None:
    """Prompts differ wildly, the policies by little, always: the paired interval must be narrow."""
    rng = np.random.default_rng(0)
    old = rng.normal(0, 3, 50)
    rows = responses({"old": ["a"] * 50, "new": ["b"] * 50})
    judged = evaluate_policies(rows, [verdict([*old, *(old + 0.1)])]).judged[0]
    assert judged.duels[0].difference.low == pytest.approx(0.1)
    assert judged.reward["old"].high - judged.reward["old"].low > 1


@given(st.lists(st.text("ab ", max_size=8), max_size=5))
def test_distinct_n_is_a_share(texts: list[str]) -> None:
    for n in (1, 2):
        found = distinct(texts, n)
        grams = [
            tuple(words[i : i + n]) for words in map(str.split, texts) for i in range(len(words)) if len(words) >= i + n
        ]
        assert found is None if not grams else found == len(set(grams)) / len(grams)


# -- the command ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_with_a_reward_model_and_then_with_a_panel_as_judges(
    policies: dict[str, str], judge: str, tmp_path: Path
) -> None:
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": prompt} for prompt in ASKED.messages])
    shutil.copytree(policies["fond"], tmp_path / "fond")
    (tmp_path / "fond" / "dprm_ppo.json").write_text(
        json.dumps({"settings": {"reward_model": [os.path.relpath(judge, tmp_path)]}})
    )
    done = dprm(
        "evaluate-policy", "-p", f"before={policies['base']}", "-p", "fond", "--prompts", "prompts.jsonl",
        "--split", "all", "--judge", judge, "--reference", policies["base"], "--max-new-tokens", 5,
        "--responses", 2, "--output", "eval", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "12 responses per policy to 6 prompts" in done.stdout
    assert f"trained for the judge {judge}, whose rewards are no evidence for them: fond" in done.stdout
    written = json.loads((tmp_path / "eval" / "evaluation.json").read_text())
    rows = read_responses(tmp_path / "eval")
    direct = judged_by(judge, rows)
    assert written["judged"][0]["reward"]["fond"]["value"] == pytest.approx(direct.reward[12:].mean())
    assert direct.distribution is not None
    for k, label in enumerate(SPACE.names):
        assert written["judged"][0]["shares"]["before"][label]["value"] == pytest.approx(
            direct.distribution[:12, k].mean()
        )
    assert written["style"]["before"]["kl"]["value"] == pytest.approx(0, abs=1e-5)
    assert written["style"]["fond"]["kl"]["value"] > 0
    assert (tmp_path / "eval" / "evaluation.svg").read_text().startswith("<svg")

    with pytest.raises(TrainingDataError, match="neither a run folder"):
        judged_by(str(tmp_path / "eval"), rows)
    with LLMServer() as server:
        write_recipe(tmp_path, server.url, source={"path": "eval/responses.jsonl"})
        ran = dprm("run", "recipe.yaml", "--quiet", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    found = answer(dprm("eval", "policy", "--output", "eval", "--judge", "run", "--json", cwd=tmp_path))
    by_run = judged_by(str(tmp_path / "run"), rows)
    assert found["judged"][0]["kind"] == "run"
    assert found["judged"][0]["reward"]["before"]["value"] == pytest.approx(by_run.reward[:12].mean())
    drawn = answer(
        dprm("eval", "policy", "--output", "eval", "--judge", judge, "--gold", "run", "--json", cwd=tmp_path)
    )
    assert drawn["gold_simulated"] == 1
    assert drawn["best_of_n"][0]["points"][0]["gold"]["value"] == pytest.approx(by_run.reward[:12].mean())


def test_a_run_must_have_judged_every_response_an_empty_one_too(tmp_path: Path) -> None:
    transcript = "Human: go on\n\nAssistant: no"  # what a source would take apart
    rows = responses({"old": ["a", ""], "new": [transcript, "b"]})
    write_responses(tmp_path, {"all": rows}, {})
    assert read_responses(tmp_path) == rows
    with LLMServer() as server:
        write_recipe(tmp_path, server.url, source={"path": "responses.jsonl"})
        ran = dprm("run", "recipe.yaml", "--quiet", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    found = judged_by(str(tmp_path / "run"), rows)
    assert found.distribution is not None and np.allclose(found.distribution.sum(1), 1)
    assert found.notes == (f"1 empty responses were judged as “{BLANK}”",)
    with pytest.raises(TrainingDataError, match="has judged only 4 of 5 responses"):
        judged_by(str(tmp_path / "run"), [*rows, *responses({"third": ["never judged"]})])


def test_a_policy_that_cannot_be_loaded_is_named(policies: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(TrainingError, match="cannot load the policy"):
        sample_policies({"none": str(tmp_path / "none")}, ASKED, tmp_path / "out", SHORT)
    (tmp_path / "none" / "adapter_config.json").write_text("{}")
    with pytest.raises(TrainingError, match="holds only an adapter"):
        sample_policies({"none": str(tmp_path / "none")}, ASKED, tmp_path / "out", SHORT)
    with pytest.raises(TrainingDataError, match=r"6 of 6 prompts are longer than 4 tokens"):
        sample_policies({"base": policies["base"]}, ASKED, tmp_path / "out", SamplingSettings(max_new_tokens=60))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--policy", "a", "--policy", "b/a"], "two policies are called a"),
        (["--policy", "a"], "needs --prompts"),
        ([], "holds no responses.jsonl"),
        (["--policy", "=x"], "give a folder"),
        (["--tie", "2"], "--tie"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = dprm("eval", "policy", *arguments, "--output", "eval", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
