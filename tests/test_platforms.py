"""What Windows lacks is done without, and nothing is sent anywhere. The process below has none of it; Windows itself is not tested."""

from __future__ import annotations

import asyncio
import importlib
import os
import pkgutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import PAIRS, environ

MISSING_MODULES = ("resource", "fcntl", "termios", "tty", "pty", "pwd", "grp", "uvloop")
MISSING_SIGNALS = ("SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "SIGUSR2")
MISSING_CALLS = ("fork", "forkpty", "sched_getaffinity", "killpg", "getuid", "geteuid", "setsid", "getpgid", "statvfs")


def test_everything_imports_and_a_run_stops_and_goes_on_without_posix(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__],
        cwd=tmp_path,
        env=environ(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
    assert "stopping: finishing" in done.stderr


def test_peak_memory_without_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("psutil")  # on Linux it needs resource itself
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.delitem(sys.modules, "dprm_trainers.core.outputs", raising=False)
    size, whose = importlib.import_module("dprm_trainers.core.outputs").peak_memory()
    assert size > 10
    assert "(peak)" in whose


def without_posix() -> None:
    for name in MISSING_MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for module, names in ((signal, MISSING_SIGNALS), (os, MISSING_CALLS)):
        for name in names:
            if hasattr(module, name):
                delattr(module, name)

    def not_here(*_: object) -> None:
        raise NotImplementedError

    # As asyncio's loops on Windows answer.
    asyncio.unix_events._UnixSelectorEventLoop.add_signal_handler = not_here  # type: ignore[attr-defined]
    asyncio.unix_events._UnixSelectorEventLoop.remove_signal_handler = not_here  # type: ignore[attr-defined]


def main() -> None:
    without_posix()
    import dprm_data

    for module in pkgutil.walk_packages(dprm_data.__path__, "dprm_data."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

    connections: list[object] = []
    sys.addaudithook(
        lambda event, args: connections.append(args) if event in ("socket.connect", "socket.getaddrinfo") else None
    )
    from dprm_data import FunctionProvider, run
    from dprm_data.cli import app
    from dprm_data.core.errors import Interrupted

    app(["run", "--help"], standalone_mode=False)
    calls = 0

    def judge(request: object) -> str:
        nonlocal calls
        calls += 1
        if calls == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return '{"label": "helpful and harmless"}'

    provider = FunctionProvider(judge)
    recipe = {"name": "test", "panel": "small", "limits": {"concurrency": 1}}
    before = signal.getsignal(signal.SIGINT)
    try:
        run(recipe, source=PAIRS, provider=provider, output="run")
    except Interrupted:
        pass
    else:
        raise AssertionError("not interrupted")
    assert signal.getsignal(signal.SIGINT) is before
    asked = calls
    result = run(recipe, source=PAIRS, provider=provider, output="run")
    assert result.annotations.num_rows == len(PAIRS) * result.personas.num_rows
    assert 3 <= asked < calls == result.annotations.num_rows
    assert not connections, "SECURITY.md says: no telemetry"


if __name__ == "__main__":
    main()
