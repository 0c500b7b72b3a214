"""What memory a training will take in each process, estimated before it starts.

Bytes, for n weights of which t are trained, over s shards, in B rows of T tokens:

    weights        4 a trained one and 2 or 4 a frozen one (in four bits .52), over s
    gathered       of sharded weights, the two largest layers whole (one computes while the next is fetched)
    copies         under autocast, a bf16 copy of each float32 weight of a layer product, unless sharded
    gradients      4 t / s
    optimizer      8 t / s: two moments of AdamW in float32
    activations    what the layers keep for the backward pass, B T tokens, below; of the longest rows

A layer with a gated feed-forward part of width f (Llama and its kin) keeps, per token: the inputs and outputs of its two
norms, and what they compute in float32; queries, keys and values, and the rotated ones; the output of attention; four
times f. That is 9 h + 5 kv + 4 f numbers of 2 bytes under bf16 (the norms' of 4), of 4 else; one without gates (BERT)
5 h + 3 kv + 2 f. The probabilities of attention (heads x T a
token) only where it is `eager`. Dropout adds nothing here, adapters their inner width. With checkpointing a layer keeps
its input alone, and one layer at a time is computed again. In the manner of Korthikanti et al., arXiv 2205.05198,
section 4, for today's layers and for attention that is not kept.

Left out: what libraries and the GPU's context take (.3 to 1 GB), fragmentation, temporary results of a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from dprm_trainers.reward.quantised import count, size


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes in one process. how: the assumptions in words."""

    weights: float
    gathered: float
    copies: float
    gradients: float
    optimizer: float
    activations: float
    how: str

    @property
    def total(self) -> float:
        return self.weights + self.gathered + self.copies + self.gradients + self.optimizer + self.activations

    def __str__(self) -> str:
        names = ("weights", "gathered", "copies", "gradients", "optimizer", "activations")
        parts = ", ".join(f"{name} {_size(getattr(self, name))}" for name in names if getattr(self, name))
        return f"memory of each process: about {_size(self.total)} ({parts}); {self.how}"


def estimate(
    module: Any, config: Any, *, rows: int, tokens: int, bf16: bool, checkpointing: bool, shards: int = 1
) -> MemoryEstimate:
    """The estimate for a module whose weights are set to be trained or not. config: of its model. rows, tokens: of a
    batch. shards: processes that share the weights; 1 where each holds all."""
    trained = sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
    kept = sum(size(weight) for weight in module.parameters() if not weight.requires_grad)
    layers = _layers(module)
    in_layers = [sum(count(weight) for weight in layer.parameters()) for layer in layers]
    width = 2 if bf16 else 4
    copies = sum(w.numel() * 2 for w in module.parameters() if w.dim() == 2 and w.element_size() == 4)
    embeddings = sum(
        p.weight.numel() * 2
        for p in module.modules()
        if isinstance(p, torch.nn.Embedding) and p.weight.dtype.itemsize == 4
    )
    inner = _inner_width(module)
    per_layer = (
        (_per_token(config, width, tokens, _gated(layers)) + inner * width / max(len(layers), 1)) * rows * tokens
    )
    state = config.hidden_size * rows * tokens * width  # what passes from layer to layer
    held = state * len(layers) + per_layer if checkpointing else per_layer * len(layers)
    return MemoryEstimate(
        weights=(4 * trained + kept) / shards,
        gathered=2.0 * width * max(in_layers, default=0) if shards > 1 else 0.0,
        copies=float(copies - embeddings) if bf16 and shards == 1 else 0.0,
        gradients=4 * trained / shards,
        optimizer=8 * trained / shards,
        activations=held + 2 * state,
        how=f"{trained:,} of {sum(map(count, module.parameters())):,} weights trained, {rows} rows of {tokens} tokens, "
        f"{'bf16' if bf16 else 'float32'}{', checkpointing' if checkpointing else ''}"
        f"{f', over {shards} processes' if shards > 1 else ''}; without what libraries take",
    )


def _per_token(config: Any, width: int, tokens: int, gated: bool) -> float:
    """Bytes that one layer keeps of a token."""
    h = config.hidden_size
    heads = config.num_attention_heads
    kv = (getattr(config, "num_key_value_heads", None) or heads) * (getattr(config, "head_dim", None) or h // heads)
    f = getattr(config, "intermediate_size", None) or 4 * h
    probabilities = 2 * heads * tokens if getattr(config, "_attn_implementation", "") == "eager" else 0
    if not gated:
        return float((5 * h + 3 * kv + 2 * f + probabilities) * width)
    return float(4 * h * 4 + (5 * h + 5 * kv + 4 * f + probabilities) * width)


def _gated(layers: list[Any]) -> bool:
    """Whether the feed-forward part multiplies two projections, by the names of its weights."""
    names = [name for layer in layers[:1] for name, _ in layer.named_parameters()]
    return any("gate" in name or name.endswith("Wi.weight") for name in names)


def _layers(module: Any) -> list[Any]:
    """The repeated layers: the longest list of modules."""
    lists = [list(part) for part in module.modules() if isinstance(part, torch.nn.ModuleList)]
    return max(lists, key=len, default=[])


def _inner_width(module: Any) -> int:
    """Numbers that adapters keep of a token: the width of each one's inner result."""
    return sum(weight.shape[0] for name, weight in module.named_parameters() if "lora_A" in name)


def room() -> float | None:
    """Bytes of this process's GPU; None without one."""
    return float(torch.cuda.get_device_properties(0).total_memory) if torch.cuda.is_available() else None


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
