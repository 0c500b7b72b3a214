"""The command `dprm view`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from dprm_data.cli.shared import Json, answer, app, note


@app.command()
def view(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; several stand side by side.")],
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The port on 127.0.0.1; 0 takes a free one.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Show runs in the browser, live.

    Rate, cost, failures, labels, agreement and the newest answers, while a run runs (in any process) and after. Read-only, for this machine alone: open the
    address that it prints. Ctrl-C ends it.
    """
    from dprm_data.live.page_server import serving
    from dprm_data.live.watcher import Watcher

    with Watcher(runs) as watcher:
        watcher.check()
        with serving(watcher, port) as address:
            answer({"address": address, "runs": [str(run) for run in runs]}, lambda: address, as_json)
            sys.stdout.flush()
            note(as_json)("Open it in a browser on this machine. Ctrl-C ends it.")
            try:
                while True:
                    time.sleep(3600)
            except KeyboardInterrupt:
                return
