"""Connecting to a Ray cluster, or starting one, without output: Ray writes to its own log files."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dprm_data.core.errors import DprmError
from dprm_data.core.extras import extra
from dprm_data.recipe.ray_config import RayConfig

_STORE = 256 * 2**20  # bytes for blocks of items in transit, on this machine
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # send no usage statistics
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # Ray warns of itself (docs/ray.md); for its logs set it to info
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # the nodes' output, which would appear on stdout among the command's result
}


@contextmanager
def joined(config: RayConfig) -> Iterator[Any]:
    """The module `ray`, connected to the recipe's cluster or to a new one on this machine, until the end of the block.

    An existing connection (made in Python) is used, silenced, and left open. Raises `InputError` if Ray is not installed, and `DprmError` if the
    cluster cannot be reached.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    ray = _ray()
    if ray.is_initialized():
        _silence(ray)
        yield ray
        return
    try:
        with _silenced():
            ray.init(**_arguments(config))
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise _unreachable(config, error) from error
    _silence(ray)
    try:
        yield ray
    finally:
        ray.shutdown()


def _arguments(config: RayConfig) -> dict[str, Any]:
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL, "configure_logging": True}
    environment = {"runtime_env": config.runtime_env} if config.runtime_env else {}
    if config.address:
        return {"address": config.address} | environment | quiet
    _, most = config.fewest_and_most
    # Ray only counts processors: one more than the actors need, for reading items.
    processors = math.ceil(most * config.cpus) + 1
    own = {"address": "local", "num_cpus": processors, "include_dashboard": False, "object_store_memory": _STORE}
    return own | environment | quiet


def _ray() -> Any:
    with extra("ray", "postgres", what="engine: ray"):
        import ray
        import ray.data
    return ray


def _silence(ray: Any) -> None:
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.CRITICAL + 1)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # A batch takes as long as the provider needs; the engine has its own limit for waiting.
    context.execution_no_progress_timeout_s = -1


@contextmanager
def _silenced() -> Iterator[None]:
    """Discard what is written to file descriptor 2: Ray's core announces there that its logs are off."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _unreachable(config: RayConfig, error: BaseException) -> DprmError:
    message = " ".join(str(error).split())
    if config.address:
        return DprmError(
            f"the Ray cluster at {config.address} cannot be joined: {message}",
            hint="Start the run on one of its nodes (address: auto), or leave ray: address out to start a cluster on this machine.",
        )
    return DprmError(f"Ray cannot be started on this machine: {message}", hint="RAY_BACKEND_LOG_LEVEL=info shows more.")
