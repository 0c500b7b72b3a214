"""Policy and rollouts against plain forward passes of single, unpadded texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from dprm_trainers.core.errors import TrainingError
from dprm_trainers.ppo.alignment import make_actor
from dprm_trainers.ppo.policy import ActorCritic, Reference, Sampling, end_tokens, freeze_all_but
from dprm_trainers.ppo.ppo_config import PPOConfig
from dprm_trainers.ppo.rollouts import (
    Rollouts,
    drawn,
    left_padded,
    places,
    prompts_at,
    sample,
    shuffled,
    truncated,
    uniforms_at,
)
from tests.trainers import ppo_tiny, tiny

ASKED = [[5, 9, 11, 7, 8], [6], [10, 12, 13]]
SAID = [[20, 21, 2], [22, 23, 24, 25, 26], [2]]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two policies: rotary positions, and learned absolute ones with dropout, whose logits are far from uniform."""
    folder = tmp_path_factory.mktemp("bases")
    tiny.base_model(folder / "llama")
    torch.manual_seed(1)
    shape = {"vocab_size": 64, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    GPT2LMHeadModel(GPT2Config(**shape, initializer_range=0.3, bos_token_id=None, eos_token_id=2)).save_pretrained(
        folder / "gpt2"
    )
    tiny.tokenizer().save_pretrained(folder / "gpt2")
    return folder


def settings(folder: Path, **changes: Any) -> PPOConfig:
    return ppo_tiny.config(folder.parent, policy=str(folder), **changes)


def actor_of(config: PPOConfig) -> ActorCritic:
    actor = make_actor(config, tiny.tokenizer()).eval()
    torch.nn.init.normal_(actor.head.weight)
    return actor


def given_rollouts(asked: list[list[int]], said: list[list[int]]) -> Rollouts:
    ids, attention = left_padded(asked, 0)
    longest = max(map(len, said))
    right = torch.tensor([row + [0] * (longest - len(row)) for row in said])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in said])
    ended = torch.tensor([row[-1] == 2 for row in said])
    return Rollouts(torch.cat([ids, right], 1), torch.cat([attention, mask], 1), longest, ended)


@pytest.mark.parametrize("base", ["llama", "gpt2"])
@pytest.mark.parametrize("critic", ["shared", "own"])
def test_a_response_is_judged_alike_alone_and_in_a_padded_batch(bases: Path, base: str, critic: str) -> None:
    actor = actor_of(settings(bases / base, critic=critic, quantiles=3))
    plain = AutoModelForCausalLM.from_pretrained(bases / base).eval()
    together = given_rollouts(ASKED, SAID)
    with torch.no_grad():
        batch = actor(together.ids, together.attention, together.length)
        for row, (asked, said) in enumerate(zip(ASKED, SAID, strict=True)):
            one = given_rollouts([asked], [said])
            alone = actor(one.ids, one.attention, one.length)
            for ours, wanted in zip(batch, alone, strict=True):
                torch.testing.assert_close(ours[row, : len(said)], wanted[0], atol=1e-5, rtol=0)
            logits = plain(torch.tensor([asked + said])).logits[0, len(asked) - 1 : -1].log_softmax(-1)
            torch.testing.assert_close(
                batch.logprobs[row, : len(said)], logits[range(len(said)), said], atol=1e-5, rtol=0
            )


@pytest.mark.parametrize("base", ["llama", "gpt2"])
def test_samples_are_those_of_a_loop_without_cache_and_padding(bases: Path, base: str) -> None:
    config = settings(bases / base, max_new_tokens=8, temperature=0.7, min_new_tokens=2)
    actor = actor_of(config)
    numbers = uniforms_at(range(40), 8, seed=3)
    asked = [ASKED[i % 3] for i in range(40)]
    found = sample(actor.model, asked, numbers, actor.sampling)
    plain = AutoModelForCausalLM.from_pretrained(bases / base).eval()
    for row in range(40):
        said: list[int] = []
        with torch.no_grad():
            while len(said) < 8 and 2 not in said:
                logits = plain(torch.tensor([asked[row] + said])).logits[0, -1] / 0.7
                if len(said) < 2:
                    logits[2] = -torch.inf
                cumulated = logits.double().softmax(0).cumsum(0)
                said.append(int((cumulated <= numbers[row, len(said)]).sum()))
        assert found.responses[row][found.mask[row] > 0].tolist() == said
        assert bool(found.ended[row]) == (said[-1] == 2)
    assert 0 < int(found.ended.sum()) < 40


def test_log_probabilities_are_of_the_distribution_that_is_sampled_from(bases: Path) -> None:
    """Tempered, and without the end token while it is forbidden: over all tokens, they sum to one."""
    actor = actor_of(settings(bases / "gpt2", temperature=0.5, min_new_tokens=1, max_new_tokens=2))
    whole = given_rollouts([[5, 9]] * 64, [[token, 2] for token in range(64)])
    with torch.no_grad():
        found = actor(whole.ids, whole.attention, whole.length)
    assert found.logprobs[:, 0].exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert found.logprobs[2, 0].exp() == 0
    assert torch.isfinite(found.entropy).all()
    assert (found.logprobs[:, 1].exp() > 0).all()


def test_drawing_by_inversion_gives_every_token_its_share() -> None:
    p = torch.tensor([0.1, 0.0, 0.65, 0.25])
    numbers = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    tokens = drawn(p.log().expand(2000, 4), numbers)
    np.testing.assert_allclose(np.bincount(tokens.numpy(), minlength=4) / 2000, p.numpy(), atol=1e-3)


def test_truncation_keeps_the_fewest_tokens() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.05, 0.15, 0.3, 0.5]]).log()
    kept = lambda found: torch.isfinite(found).tolist()  # noqa: E731
    assert kept(truncated(logits, 2, 1.0)) == [[True, True, False, False], [False, False, True, True]]
    assert kept(truncated(logits, 0, 0.7)) == [[True, True, False, False], [False, False, True, True]]
    assert kept(truncated(logits, 0, 0.1)) == [[True, False, False, False], [False, False, False, True]]
    assert truncated(logits, 0, 1.0) is logits


def test_every_pass_asks_every_prompt_once_and_processes_share_them() -> None:
    one = [prompts_at(places(step, 6), 9, seed=1) for step in range(3)]
    asked = [prompt for step in one for prompt in step]
    assert sorted(asked[:9]) == sorted(asked[9:]) == list(range(9))
    assert asked[:9] != asked[9:]
    for step in range(3):
        assert one[step] == [p for rank in (0, 1) for p in prompts_at(places(step, 3, rank, 2), 9, seed=1)]
        np.testing.assert_array_equal(
            uniforms_at(places(step, 6), 4, 1),
            np.concatenate([uniforms_at(places(step, 3, rank, 2), 4, 1) for rank in (0, 1)]),
        )
    assert sorted(shuffled(8, 0, 1, 0)) == list(range(8))
    assert shuffled(8, 0, 1, 0).tolist() != shuffled(8, 0, 1, 1).tolist()


def test_rows_are_taken_without_columns_of_padding() -> None:
    part = given_rollouts(ASKED, SAID).take(torch.tensor([1, 2]))
    assert (part.ids.tolist(), part.length) == ([[0, 0, 6, 22, 23, 24, 25, 26], [10, 12, 13, 2, 0, 0, 0, 0]], 5)
    short = given_rollouts(ASKED, SAID).take(torch.tensor([2]))
    assert (short.ids.tolist(), short.attention.tolist(), short.length) == ([[10, 12, 13, 2]], [[1, 1, 1, 1]], 1)
    assert short.ended.tolist() == [True]


@pytest.mark.parametrize("changes", [{}, {"lora": 2}, {"train_layers": 1}], ids=["all", "lora", "last layer"])
def test_the_reference_stays_what_the_policy_was(bases: Path, changes: dict[str, int]) -> None:
    actor = actor_of(settings(bases / "llama", **changes))
    reference = Reference(actor, adapters="lora" in changes)
    whole = given_rollouts(ASKED, SAID)
    arguments = (whole.ids, whole.attention, whole.length)
    before = actor(*arguments).logprobs.detach()
    torch.testing.assert_close(reference.logprobs(*arguments), before)
    with torch.no_grad():
        for weight in actor.trained().values():
            weight.add_(0.3 * torch.randn_like(weight))
    torch.testing.assert_close(reference.logprobs(*arguments), before)
    assert (actor(*arguments).logprobs - before).abs().max() > 1e-2


def test_only_the_last_layers_are_trained_and_the_rest_is_shared(bases: Path) -> None:
    actor = actor_of(settings(bases / "llama", train_layers=1))
    names = {name for name in actor.trained() if not name.startswith("head.")}
    assert names
    assert all(".layers.1." in name for name in names)
    reference = Reference(actor, adapters=False)
    shared = {weight.data_ptr() for weight in actor.model.parameters()}
    own = [name for name, weight in reference._model.named_parameters() if weight.data_ptr() not in shared]
    assert len(own) == len(names)
    with pytest.raises(TrainingError, match="the policy has 2 layers"):
        freeze_all_but(actor.model, 3)


def test_there_is_no_dropout_in_training(bases: Path) -> None:
    actor = actor_of(settings(bases / "gpt2")).train()
    whole = given_rollouts(ASKED, SAID)
    with torch.no_grad():
        twice = [actor(whole.ids, whole.attention, whole.length).logprobs for _ in range(2)]
    assert torch.equal(*twice)


def test_end_tokens_are_the_tokenizers_and_the_models(bases: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(bases / "gpt2")
    model.generation_config.eos_token_id = [7, 2]
    tokenizer = tiny.tokenizer()
    assert end_tokens(model, tokenizer) == (2, 7)
    model.generation_config.eos_token_id = tokenizer.eos_token = None
    with pytest.raises(TrainingError, match="has an end token"):
        end_tokens(model, tokenizer)


def test_no_end_token_no_end() -> None:
    sampling = Sampling(end=(2,), pad=0, longest=4, shortest=4)
    assert sampling.shaped(torch.zeros(1, 4, 5))[0, :, 2].max() < -1e20
    assert sampling.shaped(torch.zeros(1, 1, 5), first=4).abs().max() == 0
