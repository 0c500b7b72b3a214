"""The command line, `dprm`: parses arguments and prints results. Commands import what they need when they run, so that `--help` is fast."""

from __future__ import annotations

import io
import sys

# Importing a module adds its commands to the application; `--help` lists them in this order.
# isort: off
from dprm_data.cli import run  # noqa: F401
from dprm_data.cli import show  # noqa: F401
from dprm_data.cli import votes  # noqa: F401
from dprm_data.cli import publish  # noqa: F401
from dprm_data.cli import review  # noqa: F401
from dprm_data.cli import train  # noqa: F401
from dprm_data.cli import ledger  # noqa: F401
from dprm_data.cli import train_ppo  # noqa: F401
from dprm_data.cli import evaluate_policy  # noqa: F401
from dprm_data.cli import serve  # noqa: F401

# isort: on
from dprm_data.cli.shared import app
from dprm_data.core.errors import DprmError
from dprm_data.core.text import visible

__all__ = ["app", "main"]


def main() -> None:
    """The console script. A user's mistake ends with a message and an exit code, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # characters that the terminal's encoding lacks
            stream.reconfigure(errors="replace")
    try:
        app()
    except DprmError as error:
        sys.stderr.write(f"dprm: {visible(str(error))}\n")
        sys.exit(error.exit_code)
    except MemoryError:
        sys.stderr.write(
            "dprm: out of memory\nWhat was finished is kept. Give the process more memory and run again.\n"
        )
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("dprm: interrupted\n")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
