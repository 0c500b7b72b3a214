"""What this machine has for a local model: cores, memory, an accelerator. Limits of a container (cgroups) count."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def cores() -> int:
    """The cores that this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cpu_quota(_CGROUP)
    return max(1, min(count, math.ceil(quota))) if quota else count


def free_memory() -> int | None:
    """Bytes that can be taken without swapping; None where that is not known."""
    known = [bytes_ for bytes_ in (_available(_MEMINFO), _left_in_cgroup(_CGROUP)) if bytes_ is not None]
    return min(known, default=None)


def accelerator() -> str | None:
    """What llama.cpp calls the first GPU that this build of it can use; None where there is none. Needs xllamacpp."""
    import xllamacpp

    kinds = xllamacpp.ggml_backend_dev_type
    gpus = (kinds.GGML_BACKEND_DEVICE_TYPE_GPU, kinds.GGML_BACKEND_DEVICE_TYPE_IGPU)
    found = (device for device in xllamacpp.get_device_info() if device.get("type") in gpus)
    return next((str(device.get("description") or device.get("name")) for device in found), None)


def _available(meminfo: Path) -> int | None:
    """Linux's own estimate: free memory and what caches can give back."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _left_in_cgroup(folder: Path) -> int | None:
    """What is left of the container's limit: version 2 of cgroups, else version 1. Cached files count as free."""
    for limit, used, stat in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        most, current = _number(folder / limit), _number(folder / used)
        if most is not None and current is not None:
            return max(0, most - current + _inactive_files(folder / stat))
    return None


def _inactive_files(stat: Path) -> int:
    try:
        lines = stat.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[0] == "inactive_file"), 0)


def _cpu_quota(folder: Path) -> float | None:
    """Cores that the container may use at once, which can be fewer than it sees."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()[:2]
        return int(quota) / int(period)
    except (OSError, ValueError):  # not version 2, or "max"
        pass
    allowed, of = _number(folder / "cpu/cpu.cfs_quota_us"), _number(folder / "cpu/cpu.cfs_period_us")
    return allowed / of if allowed and of and allowed > 0 else None


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
