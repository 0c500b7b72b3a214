"""Reward models on people's votes: the paper's variants side by side, each on three seeds, as they come out.

    python benchmarks/reward_model.py FOLDER [--sets convabuse polis] [--folds 4] [--seeds 3] [--raw]

FOLDER holds the sets (`benchmarks/people.py` says which and where from). The backbone is the bundled SmolLM2-135M, frozen and read in bf16; its features are computed once and kept in
the cache. Cross-validation over whole conversations: every response is predicted by models that saw no response of its conversation. In every fold, a tenth of the training conversations
serves for early stopping (patience 5 of at most 40 epochs, the best epoch by the model's own objective) and for the temperature. All variants have the same settings. A figure is the mean over
seeds; its 95 % interval is a bootstrap over conversations of the seeds' mean; ± is the standard deviation between seeds. With --raw the models are trained (and stopped) on the raw shares of the votes instead of the fitted distributions, which they are
still measured against: what a few sampled votes do to each loss.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from people import folds, rows_of

from dprm_data.core.arrays import Floats
from dprm_data.labels.geometry import reward_order, wasserstein, wasserstein_in_steps
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Resamples
from dprm_data.preference.pairs import outcomes
from dprm_trainers.core.cache import BUNDLED
from dprm_trainers.data.rows import Rows, preference_pairs
from dprm_trainers.data.tokens import encode
from dprm_trainers.evaluation.metrics import (
    calibration_error,
    entropy,
    pair_bands,
    spearman,
)
from dprm_trainers.reward.batches import Examples
from dprm_trainers.reward.features import FrozenHead, features_of
from dprm_trainers.reward.objective import Objective
from dprm_trainers.reward.pretrained import load_model, load_tokenizer
from dprm_trainers.reward.reward_config import RewardConfig
from dprm_trainers.reward.reward_model import softmax
from dprm_trainers.reward.reward_trainer import make_trainer
from dprm_trainers.reward.rivals import cross_entropy
from dprm_trainers.reward.temperature import temperature

VARIANTS = {
    "DPRM_OT": "ot",
    "DPRM_W": "wasserstein",
    "DPRM_C": "ce",
    "ot+0.1*ce": "ot+0.1*ce",
    "ot+ce": "ot+ce",
    "cramer": "cramer",
    "BT-RM": "bt",
}
MEANS = ("ot", "w1", "nll", "entropy")


def settings(objective: str, seed: int) -> RewardConfig:
    return RewardConfig.of(
        data="people", model=BUNDLED, objective=objective, freeze="backbone", pairs="any", precision="bf16",
        batch_size=64, epochs=40, early_stopping=5, seed=seed, max_length=512,
    )  # fmt: skip


def features(rows: Rows, space: LabelSpace) -> tuple[np.ndarray, Any]:
    config = settings("ce", 0)
    tokenizer, model_config, length = load_tokenizer(config, space)
    model: Any = load_model(config, model_config, tokenizer, space, length)
    encoded = encode(tokenizer, rows.prompts, rows.completions, length)
    return features_of(model.to(torch.bfloat16), encoded.ids), tokenizer


def fit_fold(
    variant: str, seed: int, x: np.ndarray, rows: Rows, space: LabelSpace, where: np.ndarray, fold: int, tokenizer: Any
) -> tuple[Floats, float]:
    """Logits of the fold's rows, and the temperature from the validation rows (1 for a scalar)."""
    config = settings(VARIANTS[variant], seed)
    torch.manual_seed(seed)
    held = folds(rows.groups[where != fold], 10) == seed  # another tenth of the conversations for each seed
    rest = np.flatnonzero(where != fold)
    parts = {"train": rest[~held], "validation": rest[held]}
    head = FrozenHead(x[parts["train"]], 1 if config.scalar else space.K, rows.target[parts["train"]].mean(axis=0))
    examples = {}
    for name, index in parts.items():
        part = rows.take(index)
        pairs = preference_pairs(part, space.rewards, within="any", seed=seed) if config.scalar else None
        examples[name] = Examples(x[index], part.target, pairs, rows=pairs is None)
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(
            config, Path(folder), head, examples, Objective(config.objective, space), tokenizer, lambda text: None
        )
        trainer.train()
    with torch.inference_mode():
        logits = [
            head(torch.from_numpy(x[i]))["logits"].double().numpy()
            for i in (np.flatnonzero(where == fold), parts["validation"])
        ]
    return logits[0], 1.0 if config.scalar else temperature(logits[1], rows.target[parts["validation"]])


def figures(p: Floats, rows: Rows, space: LabelSpace) -> dict[str, Floats]:
    q = rows.target
    return {
        "ot": wasserstein(p, q, space.ground_cost),
        "w1": wasserstein_in_steps(p, q, reward_order(space.rewards)),
        "nll": cross_entropy(p, q),
        "entropy": entropy(p),
    }


def report(name: str, predictions: dict[str, list[Floats]], rows: Rows, space: LabelSpace, title: str) -> None:
    """A table of the variants: predictions are (N, K) distributions, or (N,) rewards of a scalar, one per seed."""
    draws = Resamples.of(rows.groups)
    pairs = preference_pairs(rows, space.rewards, within="any")
    expected = rows.target @ space.rewards
    bands = pair_bands(expected[pairs[:, 0]] - expected[pairs[:, 1]])
    print(
        f"\n**{name}, {title}**\n\n| | OT | W1 | NLL | entropy | ECE | Spearman | pairs | low / middle / high margin |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for variant, seeds in predictions.items():
        scalar = seeds[0].ndim == 1
        cells = []
        found = [] if scalar else [figures(p, rows, space) for p in seeds]
        for figure in MEANS:
            if scalar:
                cells.append("–")
                continue
            interval = draws.mean(np.mean([f[figure] for f in found], axis=0))
            spread = np.std([f[figure].mean() for f in found])
            cells.append(
                f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
                + (f" ± {spread:.3f}" if variant != "constant" else "")
            )
        cells.append("–" if scalar else f"{np.mean([calibration_error(p, rows.target) for p in seeds]):.3f}")
        rewards = seeds if scalar else [p @ space.rewards for p in seeds]
        if variant == "constant":
            cells += ["–", "–", "–"]
        else:
            ranks = draws.statistic(lambda r, w=rewards: float(np.mean([spearman(v[r], expected[r]) for v in w])))
            right = np.mean([outcomes(v, pairs) for v in rewards], axis=0)
            cells.append(f"{ranks.value:.3f} [{ranks.low:.3f}, {ranks.high:.3f}]")
            accuracy = draws.mean(right, pairs[:, 0])
            cells.append(f"{accuracy.value:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}]")
            cells.append(" / ".join(f"{right[part].mean():.3f}" for part in bands.values()))
        print("| " + " | ".join([variant, *cells]) + " |", flush=True)


def differences(predictions: dict[str, list[Floats]], rows: Rows, space: LabelSpace, against: str) -> None:
    """Paired differences to one variant, with intervals: what may be said of which is better."""
    draws = Resamples.of(rows.groups)
    mean = {
        v: {f: np.mean([figures(p, rows, space)[f] for p in seeds], axis=0) for f in ("ot", "w1", "nll")}
        for v, seeds in predictions.items()
        if seeds[0].ndim == 2
    }
    print(f"\nDifference to {against} (negative: better than it)\n\n| | OT | W1 | NLL |\n|---|---:|---:|---:|")
    for variant, found in mean.items():
        if variant != against:
            cells = [
                f"{d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"
                for f in found
                for d in [draws.mean(found[f] - mean[against][f])]
            ]
            print("| " + " | ".join([variant, *cells]) + " |")


def run(name: str, folder: Path, count: int, seeds: int, variants: list[str], raw: bool) -> None:
    space, rows = rows_of(name, folder)
    taught = rows_of(name, folder, raw=True)[1] if raw else rows
    x, tokenizer = features(rows, space)
    if raw:
        print("\nTrained on raw votes:")
    where = folds(rows.groups, count)
    print(
        f"\n### {name}: {len(rows):,} responses, {len(np.unique(rows.groups)):,} conversations, {count} folds, {seeds} seeds"
    )
    constant = np.stack([rows.target[where != fold].mean(axis=0) for fold in where])
    plain: dict[str, list[Floats]] = {"constant": [constant]}
    calibrated: dict[str, list[Floats]] = {"constant": [constant]}
    began = time.monotonic()
    for variant in variants:
        for seed in range(seeds):
            scalar = VARIANTS[variant] == "bt"
            out = [np.zeros(len(rows) if scalar else (len(rows), space.K)) for _ in range(2)]
            for fold in range(count):
                logits, t = fit_fold(variant, seed, x, taught, space, where, fold, tokenizer)
                at = where == fold
                out[0][at] = logits[:, 0] if scalar else softmax(logits)
                out[1][at] = logits[:, 0] if scalar else softmax(logits / t)
            plain.setdefault(variant, []).append(out[0])
            calibrated.setdefault(variant, []).append(out[1])
    report(name, plain, rows, space, "as trained")
    report(
        name,
        {v: p for v, p in calibrated.items() if VARIANTS.get(v) != "bt"},
        rows,
        space,
        "with a calibrated temperature",
    )
    differences(plain, rows, space, "DPRM_C")
    print(f"\n{count * seeds * len(variants)} heads trained in {time.monotonic() - began:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="*", default=["convabuse", "polis"])
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS))
    parser.add_argument("--raw", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.sets:
        run(name, arguments.folder, arguments.folds, arguments.seeds, arguments.variants, arguments.raw)


if __name__ == "__main__":
    main()
