"""Makes `data/models`: a reward model and a policy of some thousand weights, with trainings broken off. python -m tests.before.make_models"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.before.saved import dprm_each, pack
from tests.helpers import environ, write_rows

REWARD = [
    "train", "reward", "--data", "data.parquet", "--labels", "hh6", "--model", "base", "--batch-size", 8,
    "--learning-rate", 0.01, "--precision", "fp32", "--set", "test=0.25", "--set", "validation=0.25", "--quiet", "--json",
]  # fmt: skip
PPO = [
    "train", "ppo", "--prompts", "prompts.jsonl", "--policy", "base", "--reward-model", "reward", "--batch-size", 4,
    "--minibatches", 2, "--max-new-tokens", 4, "--precision", "fp32", "--learning-rate", 0.001, "--quiet", "--json",
]  # fmt: skip
BROKEN_OFF = [*PPO, "--steps", 12, "--set", "save_every=1", "--set", "samples_every=5", "--output", "broken-off"]
EVALUATE = ["evaluate", "--reward-model", "reward", "--data", "data.parquet", "--labels", "hh6", "--json"]


def base_model(folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.trainers import tiny

    torch.manual_seed(0)
    shape = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"pad_token_id": 0, "eos_token_id": 2, "bos_token_id": None}
    config = LlamaConfig(vocab_size=32, max_position_embeddings=64, initializer_range=0.2, **shape, **ends)
    LlamaForCausalLM(config).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)


def break_off(folder: Path) -> None:
    """A PPO training that is killed after its second checkpoint."""
    command = [sys.executable, "-m", "dprm_data.cli", *map(str, BROKEN_OFF)]
    process = subprocess.Popen(command, cwd=folder, env=environ(CUDA_VISIBLE_DEVICES=""))
    while not list((folder / "broken-off/checkpoints").glob("step-*[2-9]")):
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert not (folder / "broken-off/config.json").exists(), "it was faster"


def main() -> None:
    from dprm_trainers import reward_function
    from tests.trainers import tiny

    folder = Path(tempfile.mkdtemp(prefix="before-"))
    base_model(folder / "base")
    tiny.write(folder / "data.parquet", tiny.rows(24))
    write_rows(folder / "prompts.jsonl", [{"prompt": f"what is {word}"} for word in tiny.WORDS[:8]])
    commands = [
        [*REWARD, "--epochs", 2, "--calibrate", "--output", "reward"],
        EVALUATE,
        [*PPO, "--steps", 2, "--set", "save_every=0", "--output", "policy"],
    ]
    said = dprm_each(commands, cwd=folder, CUDA_VISIBLE_DEVICES="")
    (folder / "evaluated.json").write_text(said[1])
    rewards = reward_function(str(folder / "reward"))(["what is red", "what is blue"], ["good kind", "bad rude"])
    (folder / "rewards.json").write_text(json.dumps(rewards) + "\n")
    shutil.copytree(folder / "reward", folder / "resumed")  # the checkpoint of the second of three epochs
    for file in (folder / "resumed").iterdir():
        if file.is_file() and file.name != "config.json":
            file.unlink()
    shutil.rmtree(folder / "reward/checkpoints")
    break_off(folder)
    for picture in folder.glob("*/*.svg"):
        picture.unlink()
    pack(folder, "models")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
