"""The estimate of a reward model's memory beside what the training took, on CPUs.

    python -m benchmarks.reward_memory

A Llama of about 30 million weights with random values, 3 steps of 8 rows of 128 tokens, each way of training in a
process of its own. Taken: the largest resident memory while it trains, less that before the weights are loaded.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

WAYS = {
    "all weights": {},
    "all weights, checkpointing": {"checkpointing": True},
    "LoRA 16": {"lora": 16},
    "LoRA 16, frozen weights in bf16": {"lora": 16, "weights": "bf16"},
    "LoRA 16, frozen weights in four bits (nf4)": {"lora": 16, "weights": "nf4"},
    "LoRA 16, checkpointing": {"lora": 16, "checkpointing": True},
}


def main() -> None:
    if len(sys.argv) > 1:
        _one(sys.argv[1], Path(sys.argv[2]))
        return
    print("| | estimate, MB | taken, MB | taken / estimate |\n|---|---:|---:|---:|", flush=True)
    for way in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "benchmarks.reward_memory", way, folder]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            print(done.stdout.strip().splitlines()[-1] if done.returncode == 0 else done.stderr[-500:], flush=True)


def _one(way: str, folder: Path) -> None:
    import resource

    # Imported first, so that libraries do not count.
    import bitsandbytes  # noqa: F401
    import peft  # noqa: F401
    import psutil
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from dprm_trainers.reward import memory_estimate, reward_trainer
    from tests.trainers import tiny

    torch.set_num_threads(2)
    sizes = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 8}
    LlamaForCausalLM(
        LlamaConfig(vocab_size=4096, max_position_embeddings=512, pad_token_id=0, **sizes)
    ).save_pretrained(folder / "base", max_shard_size="20MB")
    tiny.tokenizer().save_pretrained(folder / "base")
    rows = tiny.rows(40)
    for row in rows:
        row["completion"][0]["content"] = " ".join(row["completion"][0]["content"].split() * 30)
    tiny.write(folder / "data.parquet", rows)
    settings = tiny.settings(
        folder,
        epochs=1,
        batch_size=8,
        test=0.1,
        validation=0.1,
        trainer={"max_steps": 3, "save_strategy": "no", "eval_strategy": "no"},
        **WAYS[way],
    )
    found: list[memory_estimate.MemoryEstimate] = []
    taken: dict[str, float] = {}
    estimate, load, figures = memory_estimate.estimate, reward_trainer.load_model, reward_trainer.figures_of
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # noqa: E731

    def loading(*args: object, **more: object) -> object:
        taken["before"] = psutil.Process().memory_info().rss
        return load(*args, **more)  # type: ignore[arg-type]

    def after(*args: object, **more: object) -> object:
        taken["peak"] = peak()
        return figures(*args, **more)  # type: ignore[arg-type]

    reward_trainer.load_model, reward_trainer.figures_of = loading, after  # type: ignore[assignment]
    reward_trainer.estimate = lambda *args, **more: found.append(estimate(*args, **more)) or found[0]  # type: ignore[attr-defined,func-returns-value]
    reward_trainer.train_reward(settings)
    expected, real = found[0].total / 1e6, (taken["peak"] - taken["before"]) / 1e6
    print(f"| {way} | {expected:,.0f} | {real:,.0f} | {real / expected:.2f} |")


if __name__ == "__main__":
    main()
