"""Two processes over gloo train like one with the same global batch, and the module's own command starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from dprm_trainers.reward.reward_trainer import train_reward
from tests.helpers import environ
from tests.trainers import tiny


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
    file = tmp_path / "settings.json"  # JSON is YAML
    double = single.model_copy(update={"output": str(tmp_path / "two"), "batch_size": 4})
    file.write_text(json.dumps(double.model_dump(mode="json")))
    command = [
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "--master_port",
        str(20000 + os.getpid() % 20000),
    ]
    done = subprocess.run(
        [sys.executable, *command, "-m", "dprm_trainers.train_reward", "--config", str(file)],
        env=environ(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES=""),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    two = json.loads((tmp_path / "two" / "dprm_training.json").read_text())["figures"]
    assert two["processes"] == 2
    assert two["steps"] == one.figures["steps"]
    assert two["training_loss"] == pytest.approx(one.figures["training_loss"], rel=1e-4)
    assert two["validation_loss"] == pytest.approx(one.figures["validation_loss"], rel=1e-3)
    a = AutoModelForSequenceClassification.from_pretrained(one.output).state_dict()
    b = AutoModelForSequenceClassification.from_pretrained(tmp_path / "two").state_dict()
    assert all(torch.allclose(a[name], b[name], atol=1e-4) for name in a)
