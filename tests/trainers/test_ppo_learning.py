"""What PPO learns, where the best that can be learned is known: an optimum, a tilted reference, or nothing at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dprm_trainers.core.errors import TrainingError
from dprm_trainers.ppo.alignment import Alignment, rate_factor
from tests.trainers import ppo_tiny
from tests.trainers.ppo_tiny import PROMPTS, alignment, by_text, config, run, share_of

LONGEST = 6
WITH_OUTPUT = [
    "lm_head",
    "o_proj",
    "down_proj",
]  # with a fixed output layer of 32 columns, not every distribution over 64 tokens can be had
VARIED = by_text(lambda text: len(text) % 7)  # a reward that already the first responses differ in


def weights(found: Alignment) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in found.actor.named_parameters()}


# -- a known optimum ------------------------------------------------------------------------------------------------------


def known_optimum(folder: Path, **changes: Any) -> list[dict[str, float]]:
    """The reward is the share of six tokens that are `good`; a policy with random weights begins at 1/64, the best is 1."""
    given: dict[str, Any] = {"batch_size": 64, "steps": 40, "learning_rate": 6e-3, "entropy_coefficient": 0.01}
    return run(alignment(config(folder, **(given | changes)), share_of("good", LONGEST)))


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_the_best_reward_is_found(tmp_path: Path, seed: int) -> None:
    history = known_optimum(tmp_path, seed=seed)
    assert history[0]["reward"] < 0.1
    assert np.mean([step["reward"] for step in history[-5:]]) >= 0.95


@pytest.mark.parametrize(
    "changes",
    [
        {"lora": 8, "lora_targets": WITH_OUTPUT, "learning_rate": 1e-2},
        {"quantiles": 8},
        {"critic": "own"},
        {"whiten_rewards": True},
        {"precision": "bf16", "checkpointing": True},
    ],
    ids=["lora", "quantiles", "own critic", "whitened rewards", "bf16 and checkpointing"],
)
@pytest.mark.slow
def test_the_best_reward_is_found_also_with(tmp_path: Path, changes: dict[str, Any]) -> None:
    history = known_optimum(tmp_path, **changes)
    assert np.mean([step["reward"] for step in history[-5:]]) >= 0.95


@pytest.mark.slow
def test_by_default_a_response_that_was_cut_off_is_worth_no_more_than_the_worst(tmp_path: Path) -> None:
    """The reward model likes long texts, of which it sees only the beginning: the policy learns to end all the same."""
    changes: dict[str, Any] = {"batch_size": 32, "update_epochs": 4, "steps": 45, "scheduler": "cosine"}
    reward = by_text(lambda text: len(text.split()) / LONGEST)
    ended = {}
    for penalty in (None, 0.0):
        history = run(alignment(config(tmp_path, missing_end_penalty=penalty, **changes), reward))
        ended[penalty] = history[-1]["ended"]
        assert history[0]["ended"] < 0.3
    assert ended[None] > 0.9
    assert ended[0.0] < 0.1


@pytest.mark.slow
def test_a_response_learns_to_end_where_that_is_paid_for(tmp_path: Path) -> None:
    settings = config(tmp_path, batch_size=32, update_epochs=4, steps=45, scheduler="cosine", missing_end_penalty=1.0)
    history = run(alignment(settings, by_text(lambda text: 0.0)))
    assert history[0]["ended"] < 0.3
    assert history[-1]["ended"] > 0.95
    assert history[-1]["reward"] == 0  # the penalty is not the reward model's


@pytest.mark.slow
def test_a_large_coefficient_keeps_the_policy_at_the_reference(tmp_path: Path) -> None:
    """What is left is the noise of steps that have no direction: a hundredth of where the same steps go without the penalty (35 nats)."""
    history = known_optimum(tmp_path, kl_coefficient=20.0, learning_rate=1e-3)
    assert max(step["kl"] for step in history) < 0.6
    assert abs(np.mean([step["kl"] for step in history[-5:]])) < 0.35
    assert np.mean([step["reward"] for step in history[-5:]]) < 0.1


# -- the optimum of the regularised problem -------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"lora": 8, "lora_targets": WITH_OUTPUT}], ids=["all weights", "lora"])
@pytest.mark.slow
def test_a_bandit_goes_to_the_reference_tilted_by_the_reward(tmp_path: Path, changes: dict[str, Any]) -> None:
    """One prompt, responses of one token: the best policy is pi_ref exp(r / beta), normalised. Every token of the vocabulary is an arm."""
    beta, pay = 0.5, {"good": 1.0, "fine": 0.5, "kind": 0.5, "bad": -1.0, "awful": -1.0, "rude": -1.0}
    shape = {"max_new_tokens": 1, "batch_size": 256, "steps": 40, "scheduler": "linear", "learning_rate": 5e-3}
    settings = config(tmp_path, kl_coefficient=beta, **(shape | changes))
    found = alignment(settings, by_text(lambda text: pay.get(text, 0.0)), PROMPTS[:1])
    reference = arms(found)
    reward = torch.tensor(
        [pay.get(found.tokenizer.decode([token], skip_special_tokens=True), 0.0) for token in range(64)]
    )
    optimum = (reference.log() + reward / beta).softmax(0)
    began = total_variation(reference, optimum)
    run(found)
    assert began > 0.15
    assert total_variation(arms(found), optimum) < 0.05


def arms(found: Alignment) -> torch.Tensor:
    """The policy's probabilities of the first token after the first prompt: (V,)."""
    with torch.no_grad():
        logits = found.actor.model(input_ids=torch.tensor([found.questions.ids[0]])).logits[0, -1]
    return torch.as_tensor(logits.softmax(-1))


def total_variation(p: torch.Tensor, q: torch.Tensor) -> float:
    return float((p - q).abs().sum() / 2)


# -- what must not move ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"lora": 2}, {"train_layers": 1}], ids=["all", "lora", "last layer"])
def test_no_learning_rate_no_change_and_the_ratio_is_one(tmp_path: Path, changes: dict[str, Any]) -> None:
    settings = config(tmp_path, learning_rate=0.0, value_learning_rate=0.0, entropy_coefficient=0.1, **changes)
    found = alignment(settings, share_of("good", LONGEST))
    before = weights(found)
    history = run(found)
    assert all(torch.equal(before[name], weight) for name, weight in weights(found).items())
    for step in history:
        assert step["ratio_error"] < 1e-6
        assert step["clip_fraction"] == 0
        assert step["kl"] == pytest.approx(0, abs=1e-6)


def test_the_ratio_is_one_on_the_first_minibatch_only(tmp_path: Path) -> None:
    history = run(alignment(config(tmp_path), VARIED))
    assert all(step["ratio_error"] < 1e-6 for step in history)
    assert all(step["step_kl"] > 1e-6 for step in history)


def test_weights_that_are_not_trained_stay(tmp_path: Path) -> None:
    found = alignment(config(tmp_path, train_layers=1), share_of("good", LONGEST))
    before = weights(found)
    run(found)
    moved = {name for name, weight in weights(found).items() if not torch.equal(before[name], weight)}
    assert moved == set(found.actor.trained())


def test_an_update_stops_where_it_has_gone_too_far(tmp_path: Path) -> None:
    whole = run(alignment(config(tmp_path, learning_rate=2e-2), VARIED))
    stopped = run(alignment(config(tmp_path, learning_rate=2e-2, stop_kl=1e-4), VARIED))
    assert {step["optimizer_steps"] for step in whole} == {4.0}
    assert {step["optimizer_steps"] for step in stopped} == {1.0}


def test_parts_of_a_minibatch_have_the_gradient_of_the_whole(tmp_path: Path) -> None:
    reward = share_of("good", LONGEST)
    whole, parts = alignment(config(tmp_path), reward), alignment(config(tmp_path, micro_batch=1), reward)
    assert run(whole)[-1]["policy_loss"] == pytest.approx(run(parts)[-1]["policy_loss"], rel=1e-3)
    for name, weight in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], weight, atol=1e-4, rtol=0)


def test_the_coefficient_follows_the_divergence(tmp_path: Path) -> None:
    settings = config(tmp_path, kl_coefficient=0.1, kl_target=50.0, kl_horizon=100.0, learning_rate=0.0)
    history = run(alignment(settings, share_of("good", LONGEST)))
    wanted = [
        0.1 * (1 - 0.2 * 8 / 100) ** step for step in range(3)
    ]  # far below the target: a fifth, 8 responses of 100
    assert [step["kl_coefficient"] for step in history] == pytest.approx(wanted)


def test_the_mean_distribution_is_the_one_that_was_rewarded(tmp_path: Path) -> None:
    found = alignment(config(tmp_path), share_of("good", LONGEST))
    result = found.step(0)
    assert result.distribution is not None
    assert sum(result.distribution) == pytest.approx(1)
    share = [1 / (1 + np.exp(-float(str(row["reward"])))) for row in result.samples]
    assert result.distribution[0] == pytest.approx(np.mean(share), abs=1e-6)  # the table shows all eight
    assert result.figures["reward"] == pytest.approx(np.mean([float(str(row["reward"])) for row in result.samples]))


@pytest.mark.parametrize(
    ("scheduler", "wanted"),
    [("constant", [0.5, 1, 1, 1, 1]), ("linear", [0.5, 1, 1, 2 / 3, 1 / 3]), ("cosine", [0.5, 1, 1, 0.75, 0.25])],
)
def test_the_schedule(tmp_path: Path, scheduler: str, wanted: list[float]) -> None:
    settings = config(tmp_path, scheduler=scheduler, warmup=0.4)
    assert [rate_factor(settings, step, 5) for step in range(5)] == pytest.approx(wanted)


# -- what cannot be learned from ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_stops_the_training(tmp_path: Path, wrong: float) -> None:
    calls = iter(range(1000))
    found = alignment(config(tmp_path), by_text(lambda text: wrong if next(calls) == 11 else 0.5))
    found.step(0)
    before = weights(found)
    with pytest.raises(TrainingError, match=r"step 2: 1 of 8 rewards are not finite; the first is (nan|inf)"):
        found.step(1)
    assert all(torch.equal(before[name], weight) for name, weight in weights(found).items())


def test_rewards_of_another_number_are_refused(tmp_path: Path) -> None:
    short = ppo_tiny.Scores(np.zeros(3), None, np.zeros(3))
    with pytest.raises(TrainingError, match=r"8 responses, but rewards of the shape \(3,\)"):
        alignment(config(tmp_path), lambda prompts, responses: short).step(0)


@pytest.mark.parametrize(
    ("broken", "value", "message"),
    [
        ("model.lm_head.weight", torch.nan, "the policy's log-probabilities are not finite"),
        ("head.weight", 1e30, "the critic's values are not finite"),
    ],
)
def test_models_that_give_no_numbers_stop_the_training(tmp_path: Path, broken: str, value: float, message: str) -> None:
    found = alignment(config(tmp_path), share_of("good", LONGEST))
    with torch.no_grad():
        found.actor.get_parameter(broken).fill_(value)
    with pytest.raises(TrainingError, match=message):
        found.step(0)


def test_a_gradient_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    found = alignment(config(tmp_path, value_coefficient=1e39), VARIED)
    before = weights(found)
    with pytest.raises(TrainingError, match="step 1: the gradient is not finite"):
        found.step(0)
    started = weights(found).pop("head.bias")  # the critic's beginning is no step of the optimizer
    assert started.abs().sum() > 0
    assert all(torch.equal(before[name], weight) for name, weight in weights(found).items() if name != "head.bias")


def test_the_critic_begins_at_the_mean_reward(tmp_path: Path) -> None:
    found = alignment(config(tmp_path, learning_rate=0.0, value_learning_rate=0.0, quantiles=4), VARIED)
    result = found.step(0)
    assert weights(found)["head.bias"].tolist() == pytest.approx([result.figures["reward"]] * 4)
    found.step(1)
    assert weights(found)["head.bias"].tolist() == pytest.approx([result.figures["reward"]] * 4)
