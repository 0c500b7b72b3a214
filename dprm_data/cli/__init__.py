"""The command line, `dprm`: parses arguments and prints results. Commands import what they need when they run, so that `--help` is fast."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Importing a module adds its commands to the application.
from dprm_data.cli import (
    bench,  # noqa: F401
    evaluate,  # noqa: F401
    evaluate_policy,  # noqa: F401
    export,  # noqa: F401
    export_reward,  # noqa: F401
    generate,  # noqa: F401
    init,  # noqa: F401
    labels,  # noqa: F401
    ledger,  # noqa: F401
    models,  # noqa: F401
    panel,  # noqa: F401
    pilot,  # noqa: F401
    publish,  # noqa: F401
    ratings,  # noqa: F401
    review,  # noqa: F401
    run,  # noqa: F401
    serve,  # noqa: F401
    show,  # noqa: F401
    status,  # noqa: F401
    train,  # noqa: F401
    train_ppo,  # noqa: F401
    try_recipe,  # noqa: F401
    validate,  # noqa: F401
    view,  # noqa: F401
)
from dprm_data.cli.shared import app
from dprm_data.core.errors import DprmError
from dprm_data.terminal.console import OutputClosed, drop_output, print_note

__all__ = ["app", "main"]

# Failures of the machine, not bugs: no room, no permission, a broken disk, a path that cannot be.
_OF_THE_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}
    | {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EMFILE, errno.ENOLCK}
)


def main() -> None:
    """The console script. A user's mistake or a failure of the machine ends with a message and an exit code, not a traceback."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):  # characters that the terminal's encoding lacks
            stream.reconfigure(errors="replace")
    code = _exit_code()
    try:
        sys.stdout.flush()
    except OSError:
        drop_output()
        code = code or 1
    sys.exit(code)


def _exit_code() -> int | str | None:
    """Run the command. Returns its exit code."""
    try:
        with _damage_named():
            app()
    except SystemExit as end:
        return end.code
    except DprmError as error:
        print_note(f"dprm: {error}")
        return error.exit_code
    except OutputClosed:
        return 0
    except MemoryError:
        sys.stderr.write(
            "dprm: out of memory\nWhat was finished is kept. Give the process more memory and run again.\n"
        )
        return 1
    except KeyboardInterrupt:
        print_note("dprm: interrupted\nNothing that was paid for is lost, and no file is half written.")
        return 130
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            raise
        print_note(f"dprm: {error.filename or 'cannot write the output'}: {error.strerror or error}")
        if error.filename is None:
            drop_output()
        return 1
    return 0


@contextmanager
def _damage_named() -> Iterator[None]:
    """Name the damaged table where reading one fails in the middle. A table is checked by its footer before it is used."""
    try:
        yield
    except (ValueError, OSError) as error:
        from_arrow = "pyarrow" in type(error).__module__ or (isinstance(error, OSError) and error.errno is None)
        if from_arrow and not isinstance(error, OutputClosed):
            from dprm_data.runs.folder import RunFolder, is_run_folder

            for argument in filter(is_run_folder, sys.argv[1:]):
                RunFolder(argument).check_contents()
        raise
