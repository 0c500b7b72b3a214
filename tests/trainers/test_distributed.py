"""Two processes over gloo train like one with the same global batch: DDP, and FSDP2 with all weights and with LoRA, ZeRO-3."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from dprm_trainers.reward.reward_trainer import train_reward
from tests.trainers import tiny
from tests.trainers.processes import same_weights, train_on

FSDP = {"fsdp": True, "fsdp_config": {"state_dict_type": "FULL_STATE_DICT"}}
AUTO = dict.fromkeys(("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "train_batch_size"), "auto")
ZERO = {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True}
DEEPSPEED = {"deepspeed": {"zero_optimization": ZERO, "zero_allow_untested_optimizer": True} | AUTO}


@pytest.mark.slow
def test_two_processes_are_one_with_the_same_batch(tmp_path: Path) -> None:
    # A loss that is logged is the mean over the processes. Whole batches only: a last one that is not whole is filled up with other rows where there are several processes.
    common: dict[str, Any] = {
        "epochs": 2,
        "group_by_length": False,
        "learning_rate": 1e-3,
        "trainer": {"dataloader_drop_last": True, "logging_steps": 1},
    }
    common["data"] = str(tiny.write(tmp_path / "data.parquet", tiny.rows(96)))
    single = tiny.settings(tmp_path, output=str(tmp_path / "one"), batch_size=8, **common)
    one = train_reward(single)
    two = train_on(2, single.model_copy(update={"output": str(tmp_path / "two"), "batch_size": 4}))["figures"]
    assert two["steps"] == one.figures["steps"]
    assert two["training_loss"] == pytest.approx(one.figures["training_loss"], rel=1e-4)
    assert two["validation_loss"] == pytest.approx(one.figures["validation_loss"], rel=1e-3)
    assert same_weights(one.output, tmp_path / "two", within=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("by", "lora"), [("FSDP2", 0), ("FSDP2", 4), ("ZeRO-3", 0)])
def test_sharded_weights_are_saved_whole(tmp_path: Path, by: str, lora: int) -> None:
    if by == "ZeRO-3":
        pytest.importorskip("deepspeed")
    # Saving gathers the weights: a collective that not every process calls never ends. Of 2 x 5 texts validated, 3 are filled up.
    common: dict[str, Any] = {
        "data": str(tiny.write(tmp_path / "data.parquet", tiny.rows(96))),
        "epochs": 2,
        "group_by_length": False,
        "learning_rate": 1e-3,
        "lora": lora,
        "calibrate": True,
        "early_stopping": 2,
        "accumulation": 2,
        "trainer": {"dataloader_drop_last": True, "logging_steps": 1},
    }
    single = tiny.settings(tmp_path, output=str(tmp_path / "one"), batch_size=4, **common)
    one = train_reward(single)
    changes = {
        "output": str(tmp_path / "two"),
        "batch_size": 2,
        "trainer": common["trainer"] | (FSDP if by == "FSDP2" else DEEPSPEED),
    }
    two = train_on(2, single.model_copy(update=changes))
    assert two["figures"]["sharded_by"] == by
    assert two["figures"]["training_loss"] == pytest.approx(one.figures["training_loss"], rel=1e-4)
    assert two["figures"]["temperature"] == pytest.approx(one.figures["temperature"], rel=1e-2)
    assert same_weights(one.output, tmp_path / "two", within=2e-4)
    assert two["printed"].count("rows to train on") == 1  # one process speaks


@pytest.mark.slow
def test_a_sharded_training_is_resumed(tmp_path: Path) -> None:
    common = {"epochs": 2, "trainer": FSDP | {"save_total_limit": 10}}
    train_on(2, tiny.settings(tmp_path, output=str(tmp_path / "whole"), **common))
    half = tmp_path / "half"
    shutil.copytree(tmp_path / "whole" / "checkpoints", half / "checkpoints")
    first, second = sorted((half / "checkpoints").glob("checkpoint-*"), key=lambda place: int(place.name.split("-")[1]))
    shutil.rmtree(second)
    done = train_on(2, tiny.settings(tmp_path, output=str(half), resume=True, **common))
    assert f"resuming from {first}" in done["printed"].replace("\n", "")
    assert same_weights(tmp_path / "whole", half, within=1e-6)
