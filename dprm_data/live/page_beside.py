"""The page of a run beside the run: in a process of its own, so that nothing the page does can slow or break the run.

The run holds one end of a pipe and says nothing. Its end, however it comes, closes the pipe: the page then reads the folder once more, gives that to a
browser that looks, and ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_LAST = 20.0  # seconds in which the end is read, and again as many in which a browser may fetch it


@contextmanager
def page_beside(folder: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Show the run in this folder during the block. tell: called with the address, from another thread. The block never waits for the page."""
    command = [sys.executable, "-P", "-m", "dprm_data.live.page_beside", str(folder.absolute())]
    # Not in the terminal's group of processes: Ctrl-C is for the run, whose end the page then shows.
    apart: dict[str, Any] = {"start_new_session": True} if os.name == "posix" else {"creationflags": 0x00000200}
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **apart
        )
    except OSError as error:
        tell(f"the page cannot be shown: {error.strerror or error}")
        yield
        return
    threading.Thread(target=_pass_on, args=(process, tell), daemon=True).start()
    try:
        yield
    finally:
        assert process.stdin
        with suppress(OSError):
            process.stdin.close()


def _pass_on(process: subprocess.Popen[bytes], tell: Callable[[str], None]) -> None:
    assert process.stdout
    line = process.stdout.readline()
    if line:
        tell(str(json.loads(line)))
    elif process.stdin and not process.stdin.closed:
        tell("the page cannot be shown: its process ended. The run goes on.")


def main(folder: str) -> None:
    """Serve the page of this folder until the other end of stdin is closed."""
    from dprm_data.live.page_server import serving
    from dprm_data.live.watcher import Watcher

    with suppress(AttributeError, OSError):
        os.nice(5)  # the run comes first
    with Watcher([Path(folder)], waits=True) as watcher, serving(watcher) as address:
        sys.stdout.write(json.dumps(f"The run's page, until it ends: {address}") + "\n")
        sys.stdout.close()
        sys.stdin.buffer.read()
        watcher.end(_LAST)


if __name__ == "__main__":
    main(sys.argv[1])
