"""Trainings of several processes on this machine's CPUs (gloo), by the module's own command under torchrun."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from dprm_trainers.reward.reward_config import RewardConfig
from tests.helpers import environ


def train_on(processes: int, settings: RewardConfig, *, seconds: float = 280) -> dict[str, Any]:
    """Train and return the record of the training. A training that takes longer has hung: it is ended, and is an error."""
    folder = Path(settings.output)
    file = folder.with_name(f"{folder.name}.json")  # JSON is YAML
    file.write_text(json.dumps(settings.model_dump(mode="json")))
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--master_port", str(_free_port())]
    started = subprocess.Popen(
        [sys.executable, *launcher, "-m", "dprm_trainers.train_reward", "--config", str(file)],
        env=environ(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES=""),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = started.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        started.terminate()  # the launcher ends its processes; killed, it would leave them behind
        output, _ = started.communicate()
        raise AssertionError(f"hung for {seconds} s:\n{output[-3000:]}") from None
    assert started.returncode == 0, output[-3000:]
    record: dict[str, Any] = json.loads((folder / "dprm_training.json").read_text())
    assert record["figures"]["processes"] == processes
    return record | {"printed": output}


def same_weights(one: Path, other: Path, *, within: float) -> bool:
    """Whether two saved models have the same weights, by stock transformers."""
    a, b = (AutoModelForSequenceClassification.from_pretrained(folder).state_dict() for folder in (one, other))
    return a.keys() == b.keys() and all(torch.allclose(a[name], b[name], atol=within) for name in a)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        return int(opened.getsockname()[1])
