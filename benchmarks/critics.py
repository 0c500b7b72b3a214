"""The distributional critic against the scalar one: the same alignments, seed by seed, that differ in the critic alone.

    PYTHONPATH=. python benchmarks/critics.py [--seeds 5] [--steps 40] [--quantiles 8 32]

A policy with random weights and a vocabulary of 64 learns from a reward whose returns are skewed, as those of the paper's labels are: every good word of a response earns a share of 1, and a single awful one
costs 3. For each critic: the reward at the end and on average over the training (how fast it was), and how much of the observed returns the critic explains in the second half; means over seeds, +- their
standard error. Differences to the scalar critic are taken seed by seed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.trainers.ppo_tiny import alignment, by_text, config, run

LONGEST = 6
FIGURES = ("reward at the end", "reward on average", "explained variance")


def reward(text: str) -> float:
    words = text.split()
    return sum(word in ("good", "kind", "fine") for word in words) / LONGEST - 3.0 * (
        "awful" in words or "rude" in words
    )


def measured(folder: Path, seed: int, steps: int, **changes: Any) -> list[float]:
    """The three figures of one alignment."""
    settings = config(
        folder, seed=seed, steps=steps, batch_size=64, learning_rate=6e-3, entropy_coefficient=0.01, kl_coefficient=0.01, **changes
    )  # fmt: skip
    history = run(alignment(settings, by_text(reward)))
    rewards = [step["reward"] for step in history]
    explained = [step["explained_variance"] for step in history[steps // 2 :]]
    return [float(np.mean(rewards[-steps // 10 :])), float(np.mean(rewards)), float(np.mean(explained))]


def shown(values: np.ndarray) -> str:
    """Mean and standard error over the seeds."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{values.mean():+.3f} ± {error:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--quantiles", type=int, nargs="+", default=[8, 32])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    critics: dict[str, dict[str, Any]] = {"scalar": {}, "scalar, own backbone": {"critic": "own"}}
    for count in arguments.quantiles:
        critics[f"{count} quantiles"] = {"quantiles": count}
        critics[f"{count} quantiles, own backbone"] = {"quantiles": count, "critic": "own"}
    found: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, changes in critics.items():
            found[name] = np.array(
                [measured(Path(folder), seed, arguments.steps, **changes) for seed in range(arguments.seeds)]
            )
    print(f"{arguments.seeds} seeds, {arguments.steps} steps\n")
    print(f"| critic | {' | '.join(FIGURES)} |\n|---|---:|---:|---:|")
    for name, values in found.items():
        print(f"| {name} | {' | '.join(shown(values[:, i]) for i in range(len(FIGURES)))} |")
    print(f"\n| difference to scalar | {' | '.join(FIGURES)} |\n|---|---:|---:|---:|")
    for name, values in found.items():
        if name != "scalar":
            apart = values - found["scalar"]
            print(f"| {name} | {' | '.join(shown(apart[:, i]) for i in range(len(FIGURES)))} |")


if __name__ == "__main__":
    main()
