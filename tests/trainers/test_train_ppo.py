"""The whole training of a policy, from the command line to a model that stock transformers load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from dprm_data.core.errors import DprmError
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.data.rows import load_data
from dprm_trainers.ppo.ppo_config import PPOConfig
from dprm_trainers.ppo.ppo_trainer import Aligned, train_ppo
from dprm_trainers.ppo.prompt_sets import Prompts
from dprm_trainers.reward.holdout import HeldOut, by_policies
from dprm_trainers.reward.reward_model import RewardModel
from dprm_trainers.reward.reward_trainer import train_reward
from tests.helpers import answer, dprm, environ, write_rows
from tests.trainers import tiny
from tests.trainers.ppo_tiny import PROMPTS, base_model, by_text, config

VARIED = by_text(lambda text: len(text) % 7)
QUESTIONS = Prompts(PROMPTS, [str(i) for i in range(len(PROMPTS))], "tests")


def train(settings: PPOConfig, reward: Any = VARIED, said: list[str] | None = None) -> Aligned:
    return train_ppo(settings, (said if said is not None else []).append, prompts=QUESTIONS, reward=reward)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(folder).state_dict())


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


# -- from the command line ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained one of six labels."""
    folder = tmp_path_factory.mktemp("reward")
    return train_reward(tiny.settings(folder, epochs=1)).output


def test_the_command_aligns_and_says_what_came_of_it(tmp_path: Path, reward_model: Path) -> None:
    """The policy has another tokenizer, template and end token than the reward model."""
    base_model(tmp_path / "base")
    template = "<s> {% for m in messages %}{{ m['content'] + ' ' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}"
    tiny.policy_tokenizer(template).save_pretrained(tmp_path / "base")
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"what is {word}"} for word in tiny.WORDS])
    settings = {"policy": "base", "batch_size": 8, "max_new_tokens": 6, "precision": "fp32", "steps": 99}
    (tmp_path / "ppo.yaml").write_text(yaml.safe_dump(settings))
    arguments = ["train", "ppo", "--config", "ppo.yaml", "--prompts", "prompts.jsonl", "-m", reward_model]
    done = dprm(
        *arguments, "--steps", 3, "--set", "samples=2", "-o", "policy", "--json", cwd=tmp_path, CUDA_VISIBLE_DEVICES=""
    )
    said = answer(done)
    assert said["figures"]["steps"] == 3
    assert "3 steps of 8 responses each" in done.stderr
    log = lines(tmp_path / "policy" / "log.jsonl")
    assert [line["step"] for line in log] == [1, 2, 3]
    assert len(log[0]["distribution"]) == 6
    assert sum(log[0]["distribution"]) == pytest.approx(1, abs=1e-4)
    wanted = {
        "reward", "reward_std", "population_std", "return", "kl", "entropy", "clip_fraction", "explained_variance", "length",
        "ended", "policy_loss", "value_loss", "grad_norm", "kl_coefficient", "learning_rate", "step_kl", "ratio_error",
        "optimizer_steps", "seconds", "tokens",
    }  # fmt: skip
    assert wanted <= set(log[0])
    samples = lines(tmp_path / "policy" / "samples.jsonl")
    assert [row["step"] for row in samples] == [1, 1, 3, 3]
    texts = [[{"role": "assistant", "content": row["response"]}] for row in samples]
    judged = RewardModel.load(str(reward_model)).judge(
        [[{"role": "user", "content": row["prompt"]}] for row in samples], texts
    )
    assert [row["reward"] for row in samples] == pytest.approx(judged.reward.tolist(), abs=1e-5)
    facts = json.loads((tmp_path / "policy" / "dprm_ppo.json").read_text())
    assert facts["prompts"]["source"] == "prompts.jsonl"
    assert (tmp_path / "policy" / "README.md").read_text().startswith("---")
    policy = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "policy")
    ids = tokenizer.apply_chat_template(PROMPTS[0], add_generation_prompt=True, return_dict=True, return_tensors="pt")
    assert policy.generate(**ids, max_new_tokens=3).shape[1] <= ids["input_ids"].shape[1] + 3


# -- what is saved --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_adapter_is_merged_or_saved_alone(tmp_path: Path) -> None:
    from peft import PeftModel

    changes: dict[str, Any] = {"lora": 2, "learning_rate": 1e-2, "samples_every": 0}
    train(config(tmp_path, output=str(tmp_path / "merged"), **changes))
    train(config(tmp_path, output=str(tmp_path / "adapter"), save="adapter", **changes))
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    adapted = PeftModel.from_pretrained(base, tmp_path / "adapter")
    ids = torch.tensor([[5, 9, 11]])
    with torch.no_grad():
        with adapted.disable_adapter():
            was = adapted(ids).logits
        torch.testing.assert_close(merged(ids).logits, adapted(ids).logits, atol=1e-4, rtol=0)
        assert (merged(ids).logits - was).abs().max() > 1e-3
    with pytest.raises(TrainingError, match="holds a model already"):
        train(config(tmp_path, output=str(tmp_path / "adapter"), save="adapter", **changes))
    train(
        config(tmp_path, output=str(tmp_path / "adapter"), overwrite=True, **changes)
    )  # nothing is left of the adapter
    assert not (tmp_path / "adapter" / "adapter_config.json").exists()
    assert weights(tmp_path / "adapter").keys() == weights(tmp_path / "merged").keys()


def test_a_policys_own_dropout_is_off_in_training_and_on_in_its_config(tmp_path: Path) -> None:
    base_model(tmp_path / "base")
    file = tmp_path / "base" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"attention_dropout": 0.3}))
    train(config(tmp_path, steps=1))
    assert json.loads((tmp_path / "policy" / "config.json").read_text())["attention_dropout"] == 0.3
    log = lines(tmp_path / "policy" / "log.jsonl")
    assert log[0]["ratio_error"] < 1e-6


def test_pushing_leaves_checkpoints_and_texts_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[dict[str, Any]] = []

    class Api:
        def __init__(self, **options: Any) -> None: ...

        def create_repo(self, repo: str, **options: Any) -> None:
            asked.append({"repo_id": repo, **options})

        def upload_folder(self, **options: Any) -> None:
            assert "owner/name" in (Path(options["folder_path"]) / "README.md").read_text()
            asked.append(options)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(DprmError, match="no token"):
        train(config(tmp_path, push_to_hub="owner/name", steps=1))
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    train(config(tmp_path, push_to_hub="owner/name", steps=1))
    assert [call["repo_id"] for call in asked] == ["owner/name", "owner/name"]
    assert asked[0]["private"]
    assert asked[1]["ignore_patterns"] == ["checkpoints/**", "samples.jsonl", "progress.html"]


# -- resumption -----------------------------------------------------------------------------------------------------------


class Broken(Exception):
    pass


def breaking_after(calls: int) -> Any:
    """The reward, until the machine is switched off."""
    count = iter(range(1000))

    def reward(prompts: Any, responses: Any) -> Any:
        if next(count) == calls:
            raise Broken
        return VARIED(prompts, responses)

    return reward


@pytest.mark.parametrize(
    "changes", [{}, {"lora": 2, "quantiles": 4, "critic": "own"}], ids=["plain", "lora, own critic"]
)
def test_a_training_that_was_broken_off_goes_on_to_the_same_weights(tmp_path: Path, changes: dict[str, Any]) -> None:
    common: dict[str, Any] = {"steps": 5, "save_every": 2, "kl_coefficient": 0.1, "kl_target": 1.0, "kl_horizon": 50.0}
    whole = train(config(tmp_path, output=str(tmp_path / "whole"), **common, **changes))
    parts = config(tmp_path, output=str(tmp_path / "parts"), **common, **changes)
    with pytest.raises(Broken):
        train(parts, breaking_after(3))
    assert len(lines(tmp_path / "parts" / "log.jsonl")) == 3
    assert 'data-over="yes"' in (tmp_path / "parts" / "progress.html").read_text()
    with pytest.raises(TrainingError, match="interrupted training"):
        train(parts)
    said: list[str] = []
    resumed = train(parts.model_copy(update={"resume": True}), said=said)
    assert "resuming from step 2" in said
    a, b = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(a[name], b[name]) for name in a)
    costs = {"seconds", "tokens_per_second", "memory_mb"}
    same = {name: value for name, value in whole.figures.items() if name not in costs}
    assert {name: value for name, value in resumed.figures.items() if name not in costs} == same
    logs = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in lines(tmp_path / name / "log.jsonl")]
        for name in ("whole", "parts")
    ]
    assert logs[0] == logs[1]
    kept = sorted(place.name for place in (tmp_path / "parts" / "checkpoints").iterdir())
    assert kept == ["step-00000002", "step-00000004"]


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    train(config(tmp_path, steps=2, save_every=1))
    with pytest.raises(TrainingError, match=r"from another training: clip: 0\.2 \(now 0\.3\)"):
        train(config(tmp_path, steps=2, save_every=1, clip=0.3, resume=True))
    file = tmp_path / "policy" / "checkpoints" / "step-00000002" / "state.pt"
    torch.save({"step": 2}, file)  # whole, but not a checkpoint: tests/hostile/test_checkpoints.py has those cut off
    with pytest.raises(TrainingError, match="cannot be read as a checkpoint"):
        train(config(tmp_path, steps=2, save_every=1, resume=True))
    assert train(config(tmp_path, steps=1, save_every=1, overwrite=True)).figures["steps"] == 1


# -- several processes ----------------------------------------------------------------------------------------------------


# The module's command; then a training in which the processes shuffle different halves into several minibatches, whose weights each one tells.
SCRIPT = """
import contextlib, hashlib, json, sys

import torch

from dprm_trainers.ppo.ppo_config import PPOConfig
from dprm_trainers.train_ppo import main
from tests.trainers.ppo_tiny import alignment, by_text, run

torch.set_num_threads(1)
shuffled = PPOConfig(**json.loads(sys.argv.pop()))
with contextlib.suppress(SystemExit):
    main()
found = alignment(shuffled, by_text(lambda text: len(text) % 7))
run(found)
weights = b"".join(weight.detach().numpy().tobytes() for weight in found.actor.parameters())
sys.stdout.write(json.dumps({"digest": hashlib.sha256(weights).hexdigest()}) + "\\n")
"""


@pytest.mark.slow
def test_two_processes_are_one_with_the_same_batch(tmp_path: Path, reward_model: Path) -> None:
    """One minibatch an epoch, since two processes shuffle each its own half of a batch. Parts of it are accumulated."""
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"what is {word}"} for word in tiny.WORDS])
    one = config(
        tmp_path, output=str(tmp_path / "one"), prompts=str(tmp_path / "prompts.jsonl"), reward_model=str(reward_model),
        minibatches=1, micro_batch=3, whiten_rewards=True, kl_coefficient=0.1, kl_target=2.0,
    )  # fmt: skip
    assert train_ppo(one).figures["processes"] == 1
    two = one.model_copy(update={"output": str(tmp_path / "two"), "batch_size": 4})
    (tmp_path / "two.json").write_text(two.model_dump_json())  # JSON is YAML
    (tmp_path / "two.py").write_text(SCRIPT)
    port = 20000 + (os.getpid() + 7) % 20000
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port),
            str(tmp_path / "two.py"), "--config", str(tmp_path / "two.json"), config(tmp_path).model_dump_json(),
        ],
        env=environ(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES=""), capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    digests = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(digests) == 2
    assert digests[0] == digests[1]
    assert json.loads((tmp_path / "two" / "dprm_ppo.json").read_text())["figures"]["processes"] == 2
    a, b = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=2e-4, rtol=0)
    logs = [lines(tmp_path / name / "log.jsonl") for name in ("one", "two")]
    same = (
        "reward", "reward_std", "population_std", "return", "kl", "entropy", "length", "ended", "explained_variance",
        "policy_loss", "value_loss", "step_kl", "grad_norm", "kl_coefficient", "tokens",
    )  # fmt: skip
    for mine, theirs in zip(*logs, strict=True):
        for name in same:
            assert theirs[name] == pytest.approx(mine[name], rel=2e-3, abs=1e-4), name
        assert theirs["distribution"] == pytest.approx(mine["distribution"], abs=1e-5)


# -- bad input ------------------------------------------------------------------------------------------------------------


def test_prompts_that_the_reward_model_held_out_are_not_trained_on(tmp_path: Path, reward_model: Path) -> None:
    data = reward_model.parent / "data.parquet"
    train_ppo(config(tmp_path, prompts=str(data), reward_model=str(reward_model), steps=1))
    recorded = json.loads((tmp_path / "policy" / "dprm_ppo.json").read_text())["prompts"]
    kept = load_data(data, labels="hh6", test=0.2, validation=0.2).splits["train"].prompts
    assert recorded["count"] == len({prompt[0]["content"] for prompt in kept})
    assert recorded["held_out"] == [{"test": 0.2, "validation": 0.2, "seed": 0}]
    assert by_policies([str(tmp_path / "policy")]) == (HeldOut(0.2, 0.2, 0),)


def test_an_output_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text("")
    for output, message in (
        ("file", "cannot write in"),
        ("file/policy", "cannot write in"),
        ("run", "is a run folder"),
    ):
        with pytest.raises(TrainingError, match=message):
            train(config(tmp_path, steps=1, output=str(tmp_path / output)))


def test_a_policy_that_would_answer_by_chance_is_refused(tmp_path: Path, reward_model: Path) -> None:
    with pytest.raises(TrainingError, match="is a classifier"):
        train(config(tmp_path, steps=1, policy=str(reward_model)))
    whole = AutoModelForCausalLM.from_pretrained(tiny.base_model(tmp_path / "half"))
    lacking = {name: weight for name, weight in whole.state_dict().items() if "layers.1.mlp.up_proj" not in name}
    whole.save_pretrained(tmp_path / "half", state_dict=lacking)
    with pytest.raises(
        TrainingError, match=r"lacks weights of a causal language model: model\.layers\.1\.mlp\.up_proj"
    ):
        train(config(tmp_path, steps=1, policy=str(tmp_path / "half")))


def test_prompts_that_do_not_fit_are_an_error_or_as_the_settings_say(tmp_path: Path) -> None:
    long = Prompts(
        [*PROMPTS, [{"role": "user", "content": "red " * 100}]], [str(i) for i in range(9)], "questions.jsonl"
    )
    settings = config(tmp_path, steps=1)
    with pytest.raises(DprmError, match=r"questions\.jsonl"):
        train_ppo(settings, prompts=long, reward=VARIED)
    said: list[str] = []
    train_ppo(settings.model_copy(update={"overlong": "drop"}), said.append, prompts=long, reward=VARIED)
    assert said[0].startswith("8 prompts")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_new_tokens": 64}, "no room for a prompt in 64 tokens of context"),
        ({"max_prompt_length": 60}, "the model reads at most 64"),
        ({"policy": "/nowhere"}, "cannot load the policy /nowhere"),
        ({"train_layers": 9}, "the policy has 2 layers"),
        ({"lora": 2, "lora_targets": ["nonsense"]}, "lora_targets"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_work_is_said_before_training(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        train(config(tmp_path, **changes))
    assert not (tmp_path / "policy").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 6, "minibatches": 4}, "6 responses cannot be split into 4"),
        ({"min_new_tokens": 9}, "min_new_tokens is more than max_new_tokens"),
        ({"lora": 2, "train_layers": 1}, "leave lora out"),
        ({"save": "adapter"}, "needs lora"),
        ({"kl_target": 1.0}, "kl_target: a coefficient of 0 cannot adapt"),
        ({"reward_model": []}, "give at least one"),
        ({"klip": 1}, "did you mean 'clip'"),
        ({"kl_coefficient": -1}, "kl_coefficient"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_do_not_fit_together(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        config(tmp_path, **changes)


def test_responses_that_do_not_end_are_told(tmp_path: Path) -> None:
    said: list[str] = []
    aligned = train(config(tmp_path, steps=1, min_new_tokens=6), said=said)
    assert aligned.figures["ended_last"] == 0
    assert any("only 0% of the first responses end within 6 tokens" in note for note in aligned.notes)
    assert any("raise max_new_tokens" in line for line in said)


def test_policies_along_the_training_are_kept(tmp_path: Path) -> None:
    """As plain models, and without a change to the training."""
    changes: dict[str, Any] = {"lora": 2, "steps": 4, "learning_rate": 1e-2, "samples_every": 0}
    train(config(tmp_path, output=str(tmp_path / "plain"), **changes))
    train(config(tmp_path, policy_every=2, **changes))
    kept = [tmp_path / "policy" / "checkpoints" / f"policy-0000000{step}" for step in (2, 4)]
    a, b, last = (weights(folder) for folder in (*kept, tmp_path / "policy"))
    assert any(not torch.equal(a[name], b[name]) for name in a)
    assert all(torch.equal(b[name], last[name]) for name in b)
    plain = weights(tmp_path / "plain")
    assert all(torch.equal(plain[name], last[name]) for name in last)
