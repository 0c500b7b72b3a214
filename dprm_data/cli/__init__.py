"""The command `dprm`. Only parses and prints: what it does is in the modules that it imports when a command runs."""

from __future__ import annotations

import io
import sys

# Each group's commands join the application when it is imported; `--help` lists them in this order.
# isort: off
from dprm_data.cli import running  # noqa: F401
from dprm_data.cli import looking  # noqa: F401
from dprm_data.cli import voting  # noqa: F401
from dprm_data.cli import publishing  # noqa: F401
from dprm_data.cli import reviewing  # noqa: F401
from dprm_data.cli import training  # noqa: F401
from dprm_data.cli import ledgers  # noqa: F401
from dprm_data.cli import aligning  # noqa: F401
from dprm_data.cli import policies  # noqa: F401
from dprm_data.cli import serving  # noqa: F401

# isort: on
from dprm_data.cli.shared import app
from dprm_data.errors import DprmError
from dprm_data.texts import visible

__all__ = ["app", "main"]


def main() -> None:
    """The console script: a user's mistake is a message and an exit code, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a sign shows another
            stream.reconfigure(errors="replace")
    try:
        app()
    except DprmError as error:
        sys.stderr.write(f"dprm: {visible(str(error))}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("dprm: interrupted\n")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
