"""Weights that are spread over processes: FSDP2 by accelerate, ZeRO by DeepSpeed.

No process holds the whole model while it trains. What gathers it is a collective: every process must call it, or those
that do wait for ever for those that do not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dprm_data.core.arrays import Floats

if TYPE_CHECKING:
    from transformers import Trainer


def first_process() -> bool:
    """Whether this is the first of the processes that a launcher (torchrun, accelerate) started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def sharded_by(trainer: Trainer) -> str | None:
    """What spreads the weights over processes: `FSDP2`, `ZeRO-3`, ...; None if each process holds all of them."""
    plugin: Any = trainer.accelerator.state
    if trainer.is_fsdp_enabled:
        return f"FSDP{plugin.fsdp_plugin.fsdp_version}"
    return f"ZeRO-{plugin.deepspeed_plugin.zero_stage}" if trainer.is_deepspeed_enabled else None


def is_sharded(trainer: Trainer) -> bool:
    """Whether each process holds a part of the weights only."""
    return bool(trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)


def shard_on_cpus(trainer: Trainer) -> None:
    """Turn FSDP on for processes on CPUs, where accelerate leaves the setting out in silence and trains by DDP.

    FSDP2 itself runs on them, over gloo (`AcceleratorState.__init__` in accelerate 1.15 lists accelerators only).
    """
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    wanted: dict[str, Any] | None = trainer.args.fsdp_plugin_args
    state: Any = trainer.accelerator.state
    if not wanted or state.distributed_type != DistributedType.MULTI_CPU:
        return
    plugin = FullyShardedDataParallelPlugin(**wanted)
    if state.mixed_precision != "no":
        plugin.set_mixed_precision(state.mixed_precision)
    state.fsdp_plugin = plugin
    state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    trainer.is_fsdp_enabled = True


def whole_weights(trainer: Trainer) -> dict[str, Tensor]:
    """The trained weights by their names before sharding, on the CPU of the first process; elsewhere there may be none.

    A collective: every process must call it.
    """
    return dict(trainer.accelerator.get_state_dict(trainer.model_wrapped) or {})  # ZeRO-3: None but on the first


def load_unsharded(trainer: Trainer) -> None:
    """Have models loaded whole from here on: under ZeRO-3 transformers shares each one out as it is read, a collective."""
    if trainer.is_deepspeed_enabled:
        from transformers.integrations import deepspeed

        unset: Any = deepspeed.unset_hf_deepspeed_config
        unset()


def load_whole(module: Any, weights: dict[str, Tensor]) -> Any:
    """A module with gathered weights in the place of its own. Raises if one is missing or of another shape."""
    module.load_state_dict({name: weight.to(torch.float32) for name, weight in weights.items()}, assign=True)
    return module


def shared_logits(trainer: Trainer, ids: Sequence[Sequence[int]], outputs: int) -> Floats:
    """Logits (N, outputs) of token ids from the sharded model: each process computes those of its rows.

    A collective: every process must call it, with the same rows.
    """
    if not len(ids):
        return np.zeros((0, outputs))
    trainer.args.prediction_loss_only = False
    trainer.args.train_sampling_strategy = "random"  # else rows of like length come together here too, out of order
    found: Any = trainer.predict([{"input_ids": row} for row in ids]).predictions  # type: ignore[arg-type]
    return np.asarray(found, dtype=np.float64).reshape(len(ids), outputs)
