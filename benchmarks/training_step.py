"""What our objective costs in a training step: the same model in `transformers.Trainer` with its own cross-entropy, and in ours, step by step in turn.

    python benchmarks/training_step.py [--steps 60] [--objective ot+0.1*ce]

A Llama classifier with random weights on random tokens, six labels, on one thread. A step is forward, loss, backward (`training_step`); processor time, so that other work on the machine
counts for neither; the figure is the median of the ratios of neighbouring steps, with a bootstrap interval.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification, Trainer, TrainingArguments

from dprm_data.labels.space import LabelSpace
from dprm_trainers.reward.objective import Objective
from dprm_trainers.reward.reward_trainer import RewardTrainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--objective", default="ot+0.1*ce")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    space = LabelSpace.load("hh6")
    config = LlamaConfig(
        vocab_size=1000, hidden_size=arguments.hidden, intermediate_size=3 * arguments.hidden, num_hidden_layers=arguments.layers,
        num_attention_heads=4, num_key_value_heads=4, pad_token_id=0, num_labels=space.K, problem_type="single_label_classification",
    )  # fmt: skip
    model = LlamaForSequenceClassification(config)
    ids = torch.randint(1, 1000, (arguments.batch, arguments.length))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    target = torch.rand(arguments.batch, space.K).softmax(-1)
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {"output_dir": folder, "use_cpu": True, "report_to": "none"}
        plain = Trainer(model=model, args=TrainingArguments(**settings))
        ours = RewardTrainer(
            model=model, args=TrainingArguments(**settings), objective=Objective(arguments.objective, space)
        )
        for trainer in (plain, ours):
            trainer.current_gradient_accumulation_steps = 1  # what the training loop sets
        model.train()

        def timed(trainer: Trainer, labels: torch.Tensor) -> float:
            model.zero_grad()
            began = time.process_time()
            trainer.training_step(model, dict(inputs, labels=labels), num_items_in_batch=None)
            return time.process_time() - began

        hard = target.argmax(-1)
        for _ in range(3):
            timed(plain, hard)
            timed(ours, target)
        times = np.array([(timed(plain, hard), timed(ours, target)) for _ in range(arguments.steps)])
    ratios = times[:, 1] / times[:, 0]
    rng = np.random.default_rng(0)
    low, high = np.quantile(np.median(rng.choice(ratios, (2000, len(ratios))), axis=1), [0.025, 0.975])
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"{millions:.1f} M weights, {arguments.batch} x {arguments.length} tokens, {arguments.steps} steps of each")
    print(
        f"plain cross-entropy {1e3 * np.median(times[:, 0]):.1f} ms, {arguments.objective} {1e3 * np.median(times[:, 1]):.1f} ms"
    )
    print(f"ratio {np.median(ratios):.3f} [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    main()
