"""Our PPO beside TRL's GRPO: steps and tokens per second and peak memory, on the same tiny model, prompts, batch and new tokens.

    python benchmarks/ppo_vs_grpo.py --trl-python .venv-trl/bin/python [--steps 12] [--hidden 256] [--layers 4]

Each runs in a process of its own on one thread, in turn, with a reward that is a plain callable. A step samples `--batch` responses of exactly `--new-tokens` tokens, judges them under policy and reference, and
takes one optimizer step over all of them (PPO: one epoch of one minibatch; GRPO: one iteration, groups of four), with a KL term in both. PPO trains a critic beside (on the shared backbone), GRPO has none.
The first two steps are left out. Tokens are those generated plus those trained on (prompt and response). Memory is the process's peak, libraries included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WORDS = [f"w{i}" for i in range(990)]
WARM = 2  # steps that are not counted
GROUP = 4  # GRPO's responses to one prompt


def make_model(folder: Path, hidden: int, layers: int) -> None:
    """A Llama with random weights and a tokenizer of a thousand words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", "<end>", "user", "assistant", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token="<end>", pad_token="<pad>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + ' <end> ' }}{% endfor %}assistant "
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1000, hidden_size=hidden, intermediate_size=3 * hidden, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=512, pad_token_id=0, eos_token_id=2, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


def prompts(count: int) -> list[list[dict[str, str]]]:
    """Questions of twelve words."""
    return [
        [{"role": "user", "content": " ".join(WORDS[(7 * i + 31 * k) % len(WORDS)] for k in range(12))}]
        for i in range(count)
    ]


def share(text: str) -> float:
    """The reward: the share of words with an even number."""
    words = [word for word in text.split() if word.startswith("w")]
    return sum(int(word[1:]) % 2 == 0 for word in words) / max(1, len(words))


def measure_ppo(given: argparse.Namespace) -> list[float]:
    """Seconds per step of ours."""
    from types import SimpleNamespace

    import numpy as np

    from dprm_trainers.ppo.ppo_config import PPOConfig
    from dprm_trainers.ppo.ppo_trainer import train_ppo
    from dprm_trainers.ppo.prompt_sets import Prompts

    def reward(asked: Any, responses: Any) -> Any:
        found = np.array([share(text) for text in responses])
        return SimpleNamespace(reward=found, distribution=None, std=np.zeros(len(found)))

    output = Path(given.folder) / "ppo"
    config = PPOConfig.of(
        prompts="-", policy=given.folder, reward_model="-", output=str(output), steps=given.steps, batch_size=given.batch,
        max_new_tokens=given.new_tokens, min_new_tokens=given.new_tokens, update_epochs=1, minibatches=1, missing_end_penalty=0,
        learning_rate=1e-4, precision="fp32", save_every=0, samples_every=0,
    )  # fmt: skip
    asked = prompts(64)
    train_ppo(config, prompts=Prompts(asked, [str(i) for i in range(64)], "benchmark"), reward=reward)
    return [json.loads(line)["seconds"] for line in (output / "log.jsonl").read_text().splitlines()]


def measure_grpo(given: argparse.Namespace) -> list[float]:
    """Seconds per step of TRL's."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    class Clock(TrainerCallback):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            self.times.append(time.monotonic())

        def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            self.times.append(time.monotonic())

    def reward(completions: list[Any], **more: Any) -> list[float]:
        return [share(completion[0]["content"]) for completion in completions]

    clock = Clock()
    config = GRPOConfig(
        output_dir=str(Path(given.folder) / "grpo"), max_steps=given.steps, per_device_train_batch_size=given.batch,
        num_generations=GROUP, max_completion_length=given.new_tokens, generation_kwargs={"min_new_tokens": given.new_tokens},
        beta=0.05, num_iterations=1, learning_rate=1e-4, use_cpu=True, bf16=False, report_to="none", save_strategy="no",
        logging_steps=1000, disable_tqdm=True, gradient_checkpointing=False,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model=given.folder,
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts(64)]),
        callbacks=[clock],
    )
    trainer.train()
    return [after - before for before, after in zip(clock.times, clock.times[1:], strict=False)]


def measured(side: str, given: argparse.Namespace) -> dict[str, float]:
    """One side's figures, in this process."""
    import torch

    torch.set_num_threads(1)
    seconds = (measure_ppo if side == "ppo" else measure_grpo)(given)[WARM:]
    rate = len(seconds) / sum(seconds)
    prompt = 15  # the role, twelve words, the end, the other's role
    tokens = given.batch * (given.new_tokens + prompt + given.new_tokens)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    return {"steps_per_second": rate, "tokens_per_second": rate * tokens, "peak_mb": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-python", default=".venv-trl/bin/python", help="a Python that has TRL (make test-trl)")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=16, help="responses per step")
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--side", choices=["ppo", "grpo"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(measured(given.side, given)))
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder), given.hidden, given.layers)
        for side, python in (("ppo", sys.executable), ("grpo", given.trl_python)):
            done = subprocess.run(
                [python, __file__, *sys.argv[1:], "--side", side, "--folder", folder],
                env=dict(os.environ, CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1"), stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
            found[side] = json.loads(done.stdout.splitlines()[-1])
    print(f"{given.batch} responses of {given.new_tokens} tokens a step, {given.steps - WARM} steps, one thread\n")
    print("| | dprm PPO | TRL GRPO | ratio |\n|---|---:|---:|---:|")
    for name in found["ppo"]:
        ours, theirs = found["ppo"][name], found["grpo"][name]
        print(f"| {name.replace('_', ' ')} | {ours:,.2f} | {theirs:,.2f} | {ours / theirs:.2f} |")


if __name__ == "__main__":
    main()
