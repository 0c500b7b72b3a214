"""The command `dprm status`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dprm_data.cli.shared import Json, answer, app


@app.command()
def status(
    run: Annotated[Path, typer.Argument(metavar="RUN|RECIPE", help="A run folder, or the recipe of a run.")],
    as_json: Json = False,
) -> None:
    """Show a run's progress, cost and failures.

    And what to do next. Makes no call. Works while another process runs it, and after a run was cut short at any stage.
    """
    from dprm_data.runs.run_status import run_status
    from dprm_data.terminal.status_view import status_view

    found = run_status(run)
    answer(found.as_dict(), lambda: status_view(found), as_json)
