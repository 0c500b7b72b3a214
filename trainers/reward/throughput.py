"""How fast a training was: tokens a second and, on a GPU that is known, the share of its peak (MFU).

Model FLOPs a token, as in PaLM (arXiv 2204.02311, appendix B): 2 for each weight in the forward pass, 2 for each in the
gradients of the activations, 2 for each trained weight in the gradients of the weights; 12 L T H / 2 more for causal
attention are left out (below 5 % for texts of 1,000 tokens and a width of 4,096). Tables of embeddings only look up.
Activations that are computed again (checkpointing) do not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dprm_trainers.core.outputs import peak_memory
from dprm_trainers.reward.quantised import count
from dprm_trainers.reward.sharding import sharded_by

if TYPE_CHECKING:
    from transformers import Trainer

    from dprm_trainers.reward.batches import Examples


# TFLOP/s of dense matrix products in bf16, by a part of the name; the makers' data sheets. The first that fits counts.
_PEAK = {
    "B200": 2250.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "A10G": 70.0,
    "L4": 121.0,
    "MI300X": 1307.0,
}


def flops_per_token(module: Any) -> float:
    """Model FLOPs of one training step, by token."""
    from torch import nn

    tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    weights = [weight for weight in module.parameters() if id(weight) not in tables]
    all_weights = sum(count(weight) for weight in weights)
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    return float(4.0 * all_weights + 2.0 * trained)


def utilisation(flops_per_second: float, gpu: str, processes: int) -> float | None:
    """MFU: achieved FLOPs as a share of the peak of all GPUs; None for a GPU that is not known. gpu: its name."""
    peak = next((tera for name, tera in _PEAK.items() if name in gpu), None)
    return flops_per_second / (peak * 1e12 * processes) if peak else None


def gpu_name() -> str:
    """The name of the GPU that is used; empty without one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def figures_of(result: Any, trainer: Trainer, train: Examples, flops: float) -> dict[str, Any]:
    """Losses, time, speed and memory of a training. flops: model FLOPs of a token (of a row of features)."""
    seconds, epochs = float(result.metrics["train_runtime"]), float(trainer.state.epoch or 0.0)
    evaluations: list[float] = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    memory, memory_of = peak_memory()
    done = 1 - trainer._initial_global_step / max(trainer.state.global_step, 1)  # the rest was before a resumption
    speed = train.tokens * epochs * done / max(seconds, 1e-9)
    processes = trainer.accelerator.num_processes
    return {
        "training_loss": float(result.training_loss),
        "validation_loss": (min(evaluations) if trainer.args.load_best_model_at_end else evaluations[-1])
        if evaluations
        else None,
        "epochs": epochs,
        "steps": trainer.state.global_step,
        "seconds": seconds,
        "tokens_per_second": speed,
        "mfu": utilisation(speed * flops, gpu_name(), processes),
        "memory_mb": memory,
        "memory_of": memory_of,
        "processes": processes,
        "sharded_by": sharded_by(trainer),
    }


def in_words(figures: dict[str, Any], what: str) -> str:
    """One line on a training's time, speed and memory. what: `tokens` or `rows`."""
    mfu = f" (MFU {figures['mfu']:.0%})" if figures["mfu"] else ""
    return (
        f"trained {figures['epochs']:g} epochs in {figures['seconds']:.0f} s: {figures['tokens_per_second']:,.0f} "
        f"{what}/s{mfu}, {figures['memory_mb']:,.0f} MB of {figures['memory_of']}"
    )
