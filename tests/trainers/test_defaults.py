"""The settings that are `auto`: what is chosen, that what is given wins, and that a training goes on as it began."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dprm_data.core.errors import InputError
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.core.references import check_data, check_model
from dprm_trainers.data.rows import OWN_SPLITS, TrainingData
from dprm_trainers.reward.defaults import FILE, Basis, chosen
from dprm_trainers.reward.reward_config import RewardConfig
from dprm_trainers.reward.reward_trainer import _unused, train_reward
from tests.trainers import tiny

GB = 10**9
SMALL = {"weights": 22_700_000, "computing": 10_700_000, "rows": 2_000, "validation": 200, "tokens": 100_000}
LARGE = {"weights": 8 * GB, "computing": 7 * GB, "rows": 50_000, "validation": 5_000, "tokens": 20_000_000}


def choices(given: dict[str, Any], basis: dict[str, Any]) -> dict[str, Any]:
    config = RewardConfig.of(data="d", model="m", **given)
    return {name: value for name, (value, _) in chosen(config, Basis(**basis)).items()}


def test_what_is_trained_follows_size_and_machine() -> None:
    def trained(**basis: Any) -> tuple[Any, Any, Any]:
        found = choices({}, basis)
        return found["freeze"], found["lora"], found["pooling"]

    assert trained(**SMALL, cores=2) == ("none", 0, "last")
    assert trained(**SMALL, cores=2, by_mean=True) == ("none", 0, "mean")
    assert trained(**LARGE, cores=64) == ("backbone", 0, "last")  # stock software reads it
    assert trained(**LARGE, cores=64, linear=False) == ("none", 0, "last")
    assert trained(**LARGE, memory=80 * GB) == ("none", 16, "last")
    assert trained(**LARGE, memory=400 * GB) == ("none", 0, "last")
    assert trained(**LARGE, memory=80 * GB, sharded=True) == ("none", 0, "last")
    assert trained(**LARGE, cores=64, pooling="last") == ("backbone", 0, "last")  # as the model was trained before


def test_more_rows_are_read_fewer_times_and_larger_models_learn_more_slowly() -> None:
    epochs = [choices({}, SMALL | {"rows": rows})["epochs"] for rows in (10, 400, 2_000, 10_000, 100_000)]
    assert epochs == [10, 10, 4, 2, 1]
    rates = [choices({}, SMALL | {"weights": int(weights)})["learning_rate"] for weights in (1e7, 1e8, 1e9, 7e10)]
    assert rates == sorted(rates, reverse=True) and rates[0] <= 1e-4 and rates[-1] >= 1e-6
    assert choices({}, SMALL)["early_stopping"] > 0
    assert choices({}, SMALL | {"validation": 10})["early_stopping"] == 0


def test_what_is_given_wins_and_the_rest_follows_it() -> None:
    given = {"freeze": "backbone", "epochs": 3, "learning_rate": 2e-3, "pooling": "last"}
    found = choices(given, SMALL)
    assert not given.keys() & found.keys()
    assert found["lora"] == 0
    why = chosen(RewardConfig.of(data="d", model="m", **given), Basis(**SMALL))["lora"][1]
    assert why == "the head alone"
    found = choices({"lora": 8}, LARGE)
    assert (found["freeze"], found["learning_rate"]) == ("none", 1e-4)


def test_choices_are_said_and_recorded(tmp_path: Path) -> None:
    said: list[str] = []
    trained = train_reward(tiny.settings(tmp_path, epochs="auto", trainer={"max_steps": 2}), said.append)
    line = next(line for line in said if line.startswith("chosen: "))
    assert "epochs 10 (" in line and "learning_rate" not in line
    record = json.loads((trained.output / "dprm_training.json").read_text())
    assert record["settings"]["epochs"] == 10 and record["settings"]["learning_rate"] == 1e-2
    assert (
        record["figures"]["chosen"].keys() >= {"epochs", "pooling", "freeze"}
        and "learning_rate" not in record["figures"]["chosen"]
    )
    assert "chosen by size, data and machine" in (trained.output / "README.md").read_text()
    assert "auto" not in json.dumps(record["settings"] | {"precision": ""})


def test_every_epoch_has_a_training_loss_of_its_own(tmp_path: Path) -> None:
    """Epochs of fewer steps than there are between two logged losses."""
    said: list[str] = []
    train_reward(tiny.settings(tmp_path, epochs=4, trainer={"logging_steps": 1_000}), said.append)
    losses = [line.split("training loss ")[1].split(",")[0] for line in said if line.startswith("epoch ")]
    assert len(set(losses)) == 4


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"data": "d"}, "model: missing, and there is no default\nGive --model,"),
        ({}, "data and model: missing, and there is no default\nGive --data and --model,"),
    ],
)
def test_a_setting_that_is_missing_is_named_by_its_flag(given: dict[str, Any], says: str) -> None:
    with pytest.raises(TrainingError) as raised:
        RewardConfig.of(**given)
    assert says in str(raised.value)


@pytest.mark.parametrize("data", ["pairs.jsonl", "runs/data.parquet", "my-run", "./nowhere", "a/b/c"])
def test_data_that_is_no_name_on_the_hub_is_not_looked_for_there(data: str) -> None:
    with pytest.raises(InputError, match="there is no such f"):
        check_data("--data", data)


def test_what_is_meant_by_a_wrong_path_is_guessed_before_the_hub_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, mark in (
        ("runs/liking", "recipe.yaml"),
        ("models/liking", "dprm_training.json"),
        ("org/base", "config.json"),
    ):
        Path(name).mkdir(parents=True)
        (Path(name) / mark).touch()
    with pytest.raises(InputError, match="there is no such folder; did you mean 'liking'"):
        check_data("--data", "runs/likng")
    with pytest.raises(InputError, match="there is no such folder; did you mean 'liking'"):
        check_model("--reward-model", "models/likng")
    with pytest.raises(InputError, match="did you mean 'smollm2-135m'"):
        check_model("--model", "smollm2-135")
    for name in ("smollm2-135m", "gpt2", "org/base-instruct"):  # a folder of base models may be laid out as on the Hub
        check_model("--model", name)


@pytest.mark.parametrize("old", [False, True], ids=["now", "before settings were chosen"])
def test_a_training_goes_on_as_it_began(tmp_path: Path, old: bool) -> None:
    began = {"objective": "cramer", "epochs": 2, "learning_rate": 1e-3, "warmup": 0.0}
    train_reward(tiny.settings(tmp_path, **began))
    for file in (tmp_path / "trained").iterdir():
        if file.is_file():
            file.unlink()
    checkpoints = tmp_path / "trained" / "checkpoints"
    kept = json.loads((checkpoints / FILE).read_text())
    assert kept["objective"] == "cramer" and kept["pooling"] == "last"
    if old:
        (checkpoints / FILE).unlink()
    else:
        (checkpoints / FILE).write_text(json.dumps(kept | {"warmup": 0.3}))
    said: list[str] = []
    resumed = train_reward(tiny.settings(tmp_path, resume=True), said.append)
    record = json.loads((resumed.output / "dprm_training.json").read_text())
    now = record["settings"]
    assert any("as this training began" in line for line in said)
    assert (now["objective"], now["warmup"]) == (("ot+0.1*ce", 0.05) if old else ("cramer", 0.3))
    assert now["pooling"] == "last" and now["early_stopping"] == 0


def test_a_split_that_is_not_used_is_said(tmp_path: Path) -> None:
    config = RewardConfig.of(data="d", model="m", test=0.4)
    own = TrainingData(tiny.SPACE, {}, OWN_SPLITS, "d")
    assert _unused(config, own) == ["test: not used, the data has splits of its own"]
    assert _unused(RewardConfig.of(data="d", model="m"), own) == []
    assert _unused(config, TrainingData(tiny.SPACE, {}, "seeded (0) by prompt", "d")) == []
