"""Losses of pairs: shares by brute force, their properties, and trainings on pairs alone and on rows and pairs together."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dprm_data.core.errors import DprmError
from dprm_data.labels.space import LabelSpace
from dprm_trainers.data.rows import load_data
from dprm_trainers.data.training_pairs import load_pairs
from dprm_trainers.evaluation.evaluate import evaluate
from dprm_trainers.reward.objective import Objective
from dprm_trainers.reward.pair_losses import log_shares, ordinal_loss, utility_loss
from dprm_trainers.reward.reward_config import RewardConfig
from dprm_trainers.reward.reward_model import RewardModel
from dprm_trainers.reward.reward_trainer import train_reward
from dprm_trainers.reward.training_parts import training_parts
from tests.trainers import tiny

FIVE = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
TIED = torch.tensor([-1.0, 0.0, 0.0, 2.0])


@pytest.mark.parametrize("rewards", [FIVE, TIED, FIVE.flip(0)], ids=["five", "tied", "falling"])
def test_shares_are_those_of_two_people_drawn_at_random(rewards: torch.Tensor) -> None:
    K = len(rewards)
    first, second = torch.randn(2, 7, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    p, q = first.softmax(-1).numpy(), second.softmax(-1).numpy()
    above, below = (part.exp().numpy() for part in log_shares(first, second, rewards))
    for row in range(7):
        expected = sum(
            p[row, i] * q[row, j] * (0.5 if rewards[i] == rewards[j] else float(rewards[i] > rewards[j]))
            for i, j in itertools.product(range(K), repeat=2)
        )
        assert above[row] == pytest.approx(expected, abs=1e-12)
        assert below[row] == pytest.approx(1 - expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-30, 30), min_size=8, max_size=8),
    st.floats(0, 1),
    st.sampled_from([ordinal_loss, utility_loss]),
)
def test_swapping_the_sides_changes_nothing_and_gradients_are_finite(numbers: list[float], share: float, loss) -> None:  # type: ignore[no-untyped-def]
    first, second = torch.tensor(numbers, dtype=torch.float64).view(2, 1, 4)
    first.requires_grad_()
    s = torch.tensor([share], dtype=torch.float64)
    value = loss(first, second, s, TIED)
    assert value.item() == pytest.approx(loss(second, first, 1 - s, TIED).item(), rel=1e-9, abs=1e-9)
    value.sum().backward()
    assert first.grad is not None and torch.isfinite(first.grad).all()
    assert value.item() >= -1e-12


def test_digits_are_kept_where_nearly_everybody_prefers_one() -> None:
    sure = torch.tensor([[0.0, 0.0, 0.0, 40.0]])
    loss = ordinal_loss(sure, -sure, torch.ones(1), torch.arange(4.0))
    assert 0 < loss.item() < 1e-15 or loss.item() == 0
    wrong = ordinal_loss(-sure, sure, torch.ones(1), torch.arange(4.0))
    assert 35 < wrong.item() < 45  # not infinite


@pytest.mark.parametrize("name", ["ordinal", "utility"])
@pytest.mark.parametrize("share", [0.5, 0.7, 0.95])
def test_the_optimum_predicts_the_share(name: str, share: float) -> None:
    space = LabelSpace.ordinal(5)
    objective = Objective(name, space)
    logits = (torch.randn(2, 5, generator=torch.Generator().manual_seed(1)) * 0.1).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        objective(logits, torch.zeros(0, 5), torch.tensor([share])).sum().backward()
        optimizer.step()
    rewards = torch.from_numpy(space.rewards).float()
    if name == "ordinal":
        found = log_shares(logits[:1], logits[1:], rewards)[0].exp().item()
    else:
        found = torch.sigmoid((logits.softmax(-1) @ rewards).diff().neg()).item()
    assert found == pytest.approx(share, abs=0.005)


def test_point_masses_are_bradley_terry() -> None:
    """Two certain predictions and `utility`: the logistic of the difference of their rewards."""
    certain = torch.full((5, 5), -200.0).fill_diagonal_(200.0)
    for i, j in itertools.product(range(5), repeat=2):
        found = utility_loss(certain[i : i + 1], certain[j : j + 1], torch.ones(1), FIVE)
        assert found.item() == pytest.approx(-torch.nn.functional.logsigmoid(FIVE[i] - FIVE[j]).item(), abs=1e-5)


def test_rows_and_pairs_of_one_batch() -> None:
    space = LabelSpace.ordinal(5)
    logits = torch.randn(3 + 4, 5, generator=torch.Generator().manual_seed(2))
    target = torch.eye(5)[:3]
    share = torch.tensor([1.0, 0.25])
    losses = Objective("ce+0.5*ordinal", space)(logits, target, share)
    assert torch.allclose(losses[:3], Objective("ce", space)(logits[:3], target))
    rewards = torch.from_numpy(space.rewards).float()
    assert torch.allclose(losses[3:], 0.5 * ordinal_loss(logits[3:5], logits[5:], share, rewards))


# -- where pairs come from ---------------------------------------------------------------------------------------------

GOOD, BAD = ["good", "kind", "fine"], ["bad", "rude", "awful"]


def some_pairs(count: int, seed: int = 0) -> list[dict[str, object]]:
    rng = np.random.default_rng(seed)
    fill = ["red", "blue", "green", "one", "two"]

    def text(words: list[str]) -> str:
        return " ".join(rng.permutation([*rng.choice(words, 2), *rng.choice(fill, rng.integers(1, 5))]))

    colours = [" ".join(rng.choice(fill, 4)) for _ in range(count)]
    return [
        {"prompt": f"what is {colour} {i % 7}", "chosen": text(GOOD), "rejected": text(BAD)}
        for i, colour in enumerate(colours)
    ]


def write_lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_forms_of_pairs(tmp_path: Path) -> None:
    turn = {"role": "user", "content": "hello"}
    reply = [{"role": "assistant", "content": text} for text in ("good", "bad")]
    whole = {"chosen": [turn, reply[0]], "rejected": [turn, reply[1]]}
    transcript = {
        "chosen": "\n\nHuman: hello\n\nAssistant: good",
        "rejected": "\n\nHuman: hello\n\nAssistant: bad",
    }
    explicit = {"prompt": "hello", "chosen": "good", "rejected": "bad"}
    shares = [{"share": 0.6, "tie": 0.2}, {"probability": 0.9}, {}]
    rows = [form | share for form, share in zip([whole, transcript, explicit], shares, strict=True)]
    found = load_pairs(str(write_lines(tmp_path / "pairs.jsonl", rows)), test=0, validation=0)["train"]
    assert found.prompts == [[turn]] * 3
    assert [side[0]["content"] for side in found.chosen] == ["good"] * 3
    assert [side[0]["content"] for side in found.rejected] == ["bad"] * 3
    assert found.share.tolist() == pytest.approx([0.7, 0.9, 1.0])
    table = tmp_path / "pairs.parquet"
    pq.write_table(pa.Table.from_pylist([explicit | {"share": 0.75}]), table)
    assert load_pairs(str(table), test=0, validation=0)["train"].share.tolist() == [0.75]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "a", "chosen": "b"}, "pair 2: no 'rejected'"),
        ({"chosen": "a", "rejected": "b"}, "pair 2: no 'prompt'"),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "share": 1.5}, "a share of 1.5"),
        ({"prompt": "a", "chosen": "  ", "rejected": "c"}, "chosen is empty"),
        ([1], "no 'chosen'"),
    ],
)
def test_bad_pairs_are_named(tmp_path: Path, row: object, says: str) -> None:
    file = write_lines(tmp_path / "pairs.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}, row])  # type: ignore[list-item]
    with pytest.raises(DprmError, match=says):
        load_pairs(str(file))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"objective": "ce", "pair_data": "x"}, "no loss of pairs"),
        ({"objective": "bt", "pair_data": "x"}, "scalar"),
        ({"objective": "ordinal", "calibrate": True}, "nothing|pairs alone"),
        ({"objective": "bt+ordinal"}, "cannot be added"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, object], says: str) -> None:
    with pytest.raises(DprmError, match=says):
        RewardConfig.of(**({"data": "d", "model": "m"} | changes))


# -- training ----------------------------------------------------------------------------------------------------------


def right(model: RewardModel, rows: list[dict[str, object]]) -> float:
    """The share of pairs in which the chosen response has the higher expected reward."""
    prompts = [[{"role": "user", "content": str(row["prompt"])}] for row in rows]
    chosen, rejected = (
        model.judge(prompts, [[{"role": "assistant", "content": str(row[name])}] for row in rows]).reward
        for name in ("chosen", "rejected")
    )
    return float((chosen > rejected).mean())


@pytest.mark.parametrize("objective", ["ordinal", "utility"])
def test_a_distribution_is_trained_on_pairs_alone(tmp_path: Path, objective: str) -> None:
    pairs = write_lines(tmp_path / "pairs.jsonl", some_pairs(240))
    base = tiny.base_model(tmp_path / "base")
    said: list[str] = []
    config = RewardConfig.of(
        data=str(pairs), model=str(base), output=str(tmp_path / "out"), labels=5, objective=objective,
        epochs=8, learning_rate=0.01, batch_size=16, precision="fp32",
    )  # fmt: skip
    trained = train_reward(config, said.append)
    model = RewardModel.load(str(trained.output))
    assert not model.scalar and model.space is not None and model.space.K == 5
    assert right(model, some_pairs(100, seed=1)) > 0.9
    assert any("pairs to train on" in line for line in said)
    assert any("validation pairs the model beats the longer one" in line for line in said)
    assert json.loads((trained.output / "dprm_training.json").read_text())["pairs"]["train"] > 150
    assert "pairs" in (trained.output / "README.md").read_text()


def test_a_scalar_is_trained_on_pairs_alone(tmp_path: Path) -> None:
    """The losing side of most people is `chosen` in a third of the pairs: their shares say so, and count."""
    rows = some_pairs(240)
    for i, row in enumerate(rows):
        row["share"] = 0.8
        if i % 3 == 0:
            row["chosen"], row["rejected"], row["share"] = row["rejected"], row["chosen"], 0.2
    pairs = write_lines(tmp_path / "pairs.jsonl", rows)
    said: list[str] = []
    config = RewardConfig.of(
        data=str(pairs), model=str(tiny.base_model(tmp_path / "base")), output=str(tmp_path / "out"), objective="bt",
        epochs=6, learning_rate=0.01, batch_size=16, precision="fp32",
    )  # fmt: skip
    model = RewardModel.load(str(train_reward(config, said.append).output))
    assert model.scalar
    assert right(model, some_pairs(100, seed=1)) > 0.9
    others = load_data(tiny.settings(tmp_path).data, labels="hh6", test=0.3)  # a scalar has no labels: any data will do
    found = evaluate({"scalar": model}, others, resamples=20)
    assert found.figures["scalar"]["pairs"].value is not None
    assert any("validation pairs the model beats the longer one" in line for line in said)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_share_of_people_is_that_many_pairs(share: float) -> None:
    scores = torch.tensor([[0.3], [-0.4]], dtype=torch.float64)
    found = Objective("bt", LabelSpace.load(2))(scores, torch.zeros(0, 2), torch.tensor([share], dtype=torch.float64))
    expected = -share * torch.tensor(0.7).sigmoid().log() - (1 - share) * torch.tensor(-0.7).sigmoid().log()
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_pairs_alone_need_labels(tmp_path: Path) -> None:
    pairs = write_lines(tmp_path / "pairs.jsonl", some_pairs(20))
    with pytest.raises(DprmError, match="pairs do not name the labels"):
        train_reward(RewardConfig.of(data=str(pairs), model="m", output=str(tmp_path / "out"), objective="ordinal"))


def test_pairs_are_told_from_rows(tmp_path: Path) -> None:
    pairs = write_lines(tmp_path / "pairs.jsonl", some_pairs(20))
    with pytest.raises(DprmError, match="has pairs, and the objective ce trains on rows"):
        train_reward(RewardConfig.of(data=str(pairs), model="m", output=str(tmp_path / "out")))


def test_rows_and_pairs_train_one_model(tmp_path: Path) -> None:
    """Twelve rows say what level is meant, pairs say which words are better: together they know both."""
    config = tiny.settings(tmp_path)
    rows = tiny.rows()[:12]
    tiny.write(tmp_path / "few.parquet", rows)
    pairs = write_lines(tmp_path / "pairs.jsonl", some_pairs(240))
    both = train_reward(
        RewardConfig.of(
            data=str(tmp_path / "few.parquet"),
            pair_data=str(pairs),
            labels="hh6",
            model=config.model,
            objective="ce+ordinal",
            output=str(tmp_path / "both"),
            epochs=8,
            learning_rate=0.01,
            batch_size=16,
            precision="fp32",
            early_stopping=3,
        )
    )
    model = RewardModel.load(str(both.output))
    assert right(model, some_pairs(100, seed=1)) > 0.9
    judged = model.judge([row["prompt"] for row in rows], [row["completion"] for row in rows])
    assert judged.distribution is not None
    target = np.array([row["label_distribution"] for row in rows])
    assert np.abs(judged.distribution.mean(axis=0) - target.mean(axis=0)).max() < 0.25


def test_no_prompt_is_trained_on_as_a_row_and_validated_on_as_a_pair(tmp_path: Path) -> None:
    config = tiny.settings(tmp_path)
    rows = load_data(config.data, labels="hh6", test=0.2, validation=0.2)
    every = [prompt for part in rows.splits.values() for prompt in part.prompts]
    pairs = [{"prompt": prompt, "chosen": "good", "rejected": "bad"} for prompt in every]
    given = {"objective": "ce+ordinal", "pair_data": str(write_lines(tmp_path / "pairs.jsonl", pairs))}
    parts = training_parts(config.model_copy(update=given), rows, Objective("ce+ordinal", rows.space))

    def prompts(name: str, start: int, end: int | None) -> set[str]:
        return {str(prompt) for prompt in parts[name].prompts[start:end]}

    R = {name: len(part.rows) for name, part in parts.items()}
    trained = prompts("train", 0, R["train"]), prompts("train", R["train"], None)
    validated = prompts("validation", 0, R["validation"]), prompts("validation", R["validation"], None)
    assert trained[1] and not trained[1] & validated[0], "pairs on prompts whose rows are held out"
    assert not trained[0] & validated[1], "pairs held out on prompts whose rows are trained on"
