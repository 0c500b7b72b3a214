"""The reward as policies see it: texts in, rewards out; readings, groups, and whatever is odd."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from dprm_data.labels.space import LabelSpace
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.data.rows import Message
from dprm_trainers.reward.reward_model import RewardModel
from dprm_trainers.reward.scorer import Scorer
from tests.trainers import tiny

ASK: list[Message] = [{"role": "user", "content": "what is the red"}]
RESPONSES = ["good kind fine", "bad awful", "", "one two three four very good"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three reward models with random weights: of everyone, and of two groups."""
    folder = tmp_path_factory.mktemp("models")
    return [
        str(tiny.reward_model(folder / name, seed=seed, group=group))
        for seed, (name, group) in enumerate([("all", None), ("old", ("age", "old")), ("young", ("age", "young"))])
    ]


def by_hand(model: str, prompt: list[Message], response: str) -> np.ndarray:
    """The distribution by stock transformers, one row at a time: nothing of ours is in it."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    turns = [*prompt, {"role": "assistant", "content": response}]
    ids = torch.tensor([tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)])
    with torch.no_grad():
        logits = AutoModelForSequenceClassification.from_pretrained(model)(ids).logits[0]
    return np.asarray(logits.double().softmax(-1).numpy())


def test_one_model(models: list[str]) -> None:
    scorer = Scorer.load(models[0])
    found = scorer([ASK] * 4, RESPONSES)
    expected = np.stack([by_hand(models[0], ASK, response) for response in RESPONSES])
    assert found.distribution is not None
    assert np.allclose(found.distribution, expected, atol=1e-6)
    assert scorer.rewards == tuple(tiny.SPACE.rewards)
    assert np.allclose(found.reward, expected @ tiny.SPACE.rewards, atol=1e-5)
    assert np.allclose(found.std**2, expected @ tiny.SPACE.rewards**2 - found.reward**2, atol=1e-4)
    assert scorer.labels == tuple(tiny.SPACE.names)
    assert scorer.name == models[0]
    assert found.worst is None
    assert found.cut == 0
    assert found.reward.dtype == np.float64


def test_the_reading_is_that_of_the_distribution(models: list[str]) -> None:
    found = Scorer.load(models[0], reading="cvar:0.2")([ASK], ["good"])
    p = by_hand(models[0], ASK, "good")
    people = np.sort(np.repeat(tiny.SPACE.rewards, np.round(p * 100_000).astype(int)))
    assert found.reward[0] == pytest.approx(people[: len(people) // 5].mean(), abs=1e-3)


@pytest.mark.parametrize("reading", ["mean", "std:0.5"])
def test_the_reward_of_groups_is_that_of_the_least_satisfied(models: list[str], reading: str) -> None:
    prompts, responses = [ASK] * 24, [f"{word} {other}" for word in tiny.WORDS[:8] for other in tiny.WORDS[8:11]]
    alone = [Scorer.load(model, reading=reading)(prompts, responses) for model in models[1:]]
    together = Scorer.load(models[1:], reading=reading)
    found = together(prompts, responses)
    assert found.worst is not None
    assert set(found.worst.tolist()) == {0, 1}  # each group is the worse off somewhere, else nothing is tested
    for row in range(len(responses)):
        first, second = (float(scores.reward[row]) for scores in alone)
        assert found.reward[row] == min(first, second)
        chosen = alone[0 if first <= second else 1]
        assert found.std[row] == chosen.std[row]
        assert found.distribution is not None
        assert chosen.distribution is not None
        assert np.array_equal(found.distribution[row], chosen.distribution[row])
    assert together.groups == ("age=old", "age=young")
    assert together.name == f"min({models[1]}, {models[2]})"


def test_a_batch_changes_nothing(models: list[str]) -> None:
    prompts = [ASK, [*ASK, {"role": "assistant", "content": "blue"}, *ASK], ASK, ASK]
    whole = Scorer.load(models[0], batch_size=4)(prompts, RESPONSES)
    single = [Scorer.load(models[0], batch_size=1)([p], [r]).reward[0] for p, r in zip(prompts, RESPONSES, strict=True)]
    assert np.allclose(whole.reward, single, atol=1e-5)


def test_texts_that_are_too_long_lose_their_left(models: list[str]) -> None:
    """The tiny models read 64 tokens."""
    long: list[Message] = [{"role": "user", "content": " ".join(["red"] * 60 + ["what is good"])}]
    found = Scorer.load(models[0])([long, ASK], ["kind", "kind"])
    model = RewardModel.load(models[0])
    tokenizer = model.tokenizer
    ids = tokenizer.apply_chat_template(
        [*long, {"role": "assistant", "content": "kind"}], tokenize=True, return_dict=False
    )
    assert len(ids) > model.max_length
    kept = model.read(model.logits([ids[-model.max_length :]])).reward
    assert found.reward[0] == pytest.approx(float(kept[0]), abs=1e-6)
    assert found.cut == 1


def test_half_precision_and_devices(models: list[str]) -> None:
    whole, half = (Scorer.load(models[0], bf16=bf16) for bf16 in (False, True))
    assert next(half.models[0].model.parameters()).dtype == torch.bfloat16
    exact, rough = (scorer([ASK] * 4, RESPONSES).reward for scorer in (whole, half))
    assert np.allclose(rough, exact, atol=0.1)
    assert not np.array_equal(rough, exact)
    with pytest.raises(TrainingError, match="cannot be moved to the device cuda:99"):
        Scorer.load(models[0], device="cuda:99")


def test_no_rows_no_scores(models: list[str]) -> None:
    found = Scorer.load(models)([], [])
    assert found.reward.shape == (0,)
    assert found.distribution is not None
    assert found.distribution.shape == (0, 6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_logit_that_is_no_number_is_told(models: list[str], value: float) -> None:
    model = RewardModel.load(models[0])
    broken = tiny.tokenizer().convert_tokens_to_ids("awful")
    with torch.no_grad():
        model.model.get_input_embeddings().weight[broken] = value
    with pytest.raises(TrainingError, match=r"not finite for 1 of 4 responses \(the first: row 2"):
        Scorer([model])([ASK] * 4, RESPONSES)


def test_what_cannot_be_scored_is_told(models: list[str], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no risk measure 'median'; did you mean 'mean'"):
        Scorer.load("there/is/none", reading="median")
    with pytest.raises(TrainingError, match="cannot load the reward model"):
        Scorer.load(str(tmp_path / "none"))
    with pytest.raises(TrainingError, match="no reward model was given"):
        Scorer([])
    scorer = Scorer.load(models[0])
    with pytest.raises(TrainingError, match="2 prompts and 1 responses"):
        scorer([ASK, ASK], ["good"])
    with pytest.raises(TrainingError, match="row 2: the prompt has no turns"):
        scorer([ASK, []], ["good", "bad"])
    scalar = str(tiny.reward_model(tmp_path / "scalar", scalar=True))
    assert Scorer.load(scalar)([ASK], ["good"]).distribution is None
    with pytest.raises(TrainingError, match="one scalar"):
        Scorer.load(scalar, reading="cvar:0.1")
    with pytest.raises(TrainingError, match="minimum means nothing"):
        Scorer.load([scalar, models[0]])
    other = str(tiny.reward_model(tmp_path / "other", space=LabelSpace.ordinal(6)))
    with pytest.raises(TrainingError, match="different labels or rewards"):
        Scorer.load([models[0], other])
