"""How a local model is spread over a machine: how many servers, with how many threads and slots each.

Calls that are computed together share the cores, so what counts is how often the weights fit into memory. A model that fits several times
gets several servers of one thread each: threads of one server wait for each other at every layer, and on a busy machine that costs more
than they bring. A model that fits once gets all cores, and a few slots, each of which keeps an item's beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

CONTEXT = 4096  # tokens of prompt and answer together
MOST_SERVERS = 16
MOST_SLOTS = 4
_SMALL = 512 << 20  # bytes of a model whose layers are too short to be shared among threads
_SHARE = 0.8  # of the free memory that is planned with
_WORK_SPACE = 64 << 20  # bytes that a server needs beside weights and context
_REPACKED = 1.1  # weights are kept in another order, with some of them twice


@dataclass(frozen=True)
class Layout:
    """servers, each with so many threads and slots; context: tokens per slot; gpu_layers: on the accelerator, -1 for all that fit."""

    servers: int
    threads: int
    slots: int
    context: int
    gpu_layers: int = 0

    @property
    def calls(self) -> int:
        """Calls that are answered at the same time."""
        return self.servers * self.slots


def layout(
    model_bytes: int, free_memory: int | None, cores: int, context: int, token_bytes: int = 0, *, gpu: bool = False
) -> Layout:
    """The layout for a model of this size, and a machine with so much free memory (None: not known) and so many cores.

    token_bytes: memory that one token of context takes. gpu: the weights go to an accelerator, which computes for all slots at once.
    """
    if gpu:
        return Layout(1, threads=max(1, min(4, cores)), slots=MOST_SLOTS, context=context, gpu_layers=-1)
    one = Layout(1, threads=1, slots=1, context=context)
    each = memory_needed(one, model_bytes, token_bytes)
    # Where the memory is not known, as many as an ordinary laptop holds.
    room = free_memory * _SHARE if free_memory is not None else 4 << 30
    servers = int(min(cores, MOST_SERVERS, room // each))
    if servers > 1 or cores == 1:
        return replace(one, servers=max(1, servers), threads=1 if model_bytes < _SMALL else cores // max(1, servers))
    alone = replace(one, threads=cores)
    slots = int(min(MOST_SLOTS, cores, 1 + max(0, room - each) // max(1, context * token_bytes)))
    return replace(alone, slots=slots)


def memory_needed(planned: Layout, model_bytes: int, token_bytes: int) -> int:
    """Bytes that the servers of a layout take, about. Weights on an accelerator count too: they are read through memory."""
    context = planned.slots * planned.context * token_bytes
    return planned.servers * (round(model_bytes * _REPACKED) + context + _WORK_SPACE)


def overridden(planned: Layout, options: Mapping[str, int]) -> Layout:
    """The layout with what a recipe says itself (`provider.options`)."""
    return replace(planned, **options)
