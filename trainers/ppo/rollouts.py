"""Sample responses from the policy in batches, with deterministic prompts and random numbers.

Nothing here has state: the prompts of a step are a function of (seed, step), and the random numbers of a response of
(seed, its index in the whole training). So a resumed training is exact, and several processes sample what one would.

A token is drawn by inversion: the first whose cumulative probability exceeds a uniform number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

from dprm_data.core.arrays import Floats
from dprm_trainers.ppo.policy import Sampling, positions

# transformers 5.24 renamed the argument and deprecated the old name.
_CACHE = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"
_ORDER, _NOISE, _SHUFFLE = range(3)  # independent streams of random numbers


@dataclass(frozen=True)
class Rollouts:
    """B prompts of up to P tokens, padded on the left, and responses of up to T tokens, padded on the right."""

    ids: Tensor  # (B, P + T)
    attention: Tensor  # (B, P + T), 1 on real tokens
    length: int  # T
    ended: Tensor  # (B,) bool: whether the response has an end token

    @property
    def mask(self) -> Tensor:
        """(B, T) float32, 1 on the response's tokens."""
        return self.attention[:, -self.length :].float()

    @property
    def responses(self) -> Tensor:
        """(B, T) token ids."""
        return self.ids[:, -self.length :]

    def take(self, rows: Tensor) -> Rollouts:
        """Some of the rollouts, without the columns that are padding in all of them."""
        attention = self.attention[rows]
        used = attention.any(0).nonzero()[:, 0]
        first, after = int(used[0]), int(used[-1]) + 1
        length = self.length - (self.ids.shape[1] - after)
        return Rollouts(self.ids[rows, first:after], attention[:, first:after], length, self.ended[rows])


def places(step: int, count: int, rank: int = 0, processes: int = 1) -> range:
    """The indices, in the whole training, of the `count` responses that this process samples in a step (from 0)."""
    first = (step * processes + rank) * count
    return range(first, first + count)


def prompts_at(indices: range, prompts: int, seed: int) -> list[int]:
    """The prompt of each response by index; every pass over the prompts has its own order."""
    orders: dict[int, Any] = {}
    found = []
    for index in indices:
        turn, at = divmod(index, prompts)
        if turn not in orders:
            orders[turn] = np.random.default_rng([seed, _ORDER, turn]).permutation(prompts)
        found.append(int(orders[turn][at]))
    return found


def uniforms_at(indices: Sequence[int], longest: int, seed: int) -> Floats:
    """Uniform random numbers (B, longest) for the responses with these indices."""
    return np.stack([np.random.default_rng([seed, _NOISE, index]).random(longest) for index in indices])


def shuffled(count: int, seed: int, step: int, epoch: int) -> Any:
    """The order of a batch's responses in an epoch over it."""
    return np.random.default_rng([seed, _SHUFFLE, step, epoch]).permutation(count)


def left_padded(prompts: list[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Token ids and attention (B, P), right-aligned."""
    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), pad)
    attention = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        attention[row, longest - len(prompt) :] = 1
    return ids, attention


@torch.no_grad()
def sample(model: Any, prompts: list[list[int]], uniforms: Floats, sampling: Sampling) -> Rollouts:
    """A response to each of B prompts (token ids, none empty), driven by uniform numbers (B, longest) in [0, 1).

    A response ends with its first end token, or after `sampling.longest` tokens without one.
    """
    device = next(model.parameters()).device
    ids, attention = (tensor.to(device) for tensor in left_padded(prompts, sampling.pad))
    numbers = torch.from_numpy(uniforms)
    end = torch.tensor(sampling.end, device=device)
    alive = torch.ones(len(prompts), dtype=torch.bool, device=device)
    current, place, cache = ids, positions(attention), DynamicCache(config=model.config)
    length = 0
    while length < sampling.longest and bool(alive.any()):
        found = model(
            input_ids=current,
            attention_mask=attention,
            position_ids=place,
            use_cache=True,
            logits_to_keep=1,
            **{_CACHE: cache},
        )
        logits = truncated(sampling.shaped(found.logits[:, -1:], first=length)[:, 0], sampling.top_k, sampling.top_p)
        token = torch.where(alive, drawn(logits, numbers[:, length]), sampling.pad)
        ids = torch.cat([ids, token[:, None]], dim=1)
        attention = torch.cat([attention, alive[:, None].to(attention)], dim=1)
        current, place = token[:, None], place[:, -1:] + 1
        alive = alive & ~torch.isin(token, end)
        length += 1
    return Rollouts(ids, attention, length, ~alive)


def drawn(logits: Tensor, numbers: Tensor) -> Tensor:
    """Tokens (B,) of logits (B, V): the first whose cumulative probability exceeds the uniform number (B,)."""
    wide = torch.float32 if logits.device.type == "mps" else torch.float64  # MPS has no float64
    cumulative = logits.to(wide).softmax(-1).cumsum(-1)
    thresholds = numbers.to(logits.device, wide)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, thresholds, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)


def truncated(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """Logits (B, V) with all but the top_k, or the fewest that reach a total probability of top_p, at minus infinity.

    0 and 1.0 change nothing.
    """
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p < 1.0:
        ordered, order = logits.sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        drop = torch.zeros_like(before, dtype=torch.bool).scatter(1, order, before >= top_p)
        logits = logits.masked_fill(drop, -torch.inf)
    return logits
