"""Ray, joined or started, and quiet: what it has to say stands in its own log files."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dprm_data.core.errors import DprmError, InputError
from dprm_data.recipe.recipe import RayConfig

_STORE = 256 * 2**20  # bytes for the blocks of items that are under way, on this machine
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing about a run goes to anybody
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # Ray warns of itself (docs/ray.md); for its logs set it to info
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # what the nodes would have printed here: on stdout, where nothing but our answer may stand
}


@contextmanager
def joined(config: RayConfig) -> Iterator[Any]:
    """The module `ray`, connected to the cluster that the recipe names or to one of its own, until the end of the block.

    A connection that is there already (from Python) is used, made quiet, and left open. Raises `InputError`, or `DprmError` where the cluster cannot be
    reached.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    ray = _ray()
    if ray.is_initialized():
        _quieten(ray)
        yield ray
        return
    try:
        with _hushed():
            ray.init(**_arguments(config))
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise _unreachable(config, error) from error
    _quieten(ray)
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
    # Ray counts processors, it does not bind to them: one more than the actors need, for reading items.
    processors = math.ceil(most * config.cpus) + 1
    own = {"address": "local", "num_cpus": processors, "include_dashboard": False, "object_store_memory": _STORE}
    return own | environment | quiet


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(
            f"engine: ray needs Ray Data, which is not installed ({error})",
            hint="Install it: pip install 'dprm-data[ray,postgres]'",
        ) from error
    return ray


def _quieten(ray: Any) -> None:
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.CRITICAL + 1)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # A batch takes as long as the provider lets it: it is the engine that says when waiting has been long enough.
    context.execution_no_progress_timeout_s = -1


@contextmanager
def _hushed() -> Iterator[None]:
    """What is written to stderr below Python is thrown away (Ray's core says there that it was told to be silent)."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _unreachable(config: RayConfig, error: BaseException) -> DprmError:
    said = " ".join(str(error).split())
    if config.address:
        return DprmError(
            f"the Ray cluster at {config.address} cannot be joined: {said}",
            hint="Start the run on one of its nodes (address: auto), or leave ray: address out: then one is started on this machine.",
        )
    return DprmError(
        f"Ray cannot be started on this machine: {said}", hint="RAY_BACKEND_LOG_LEVEL=info makes it say more."
    )
