"""Packages that only some commands need: the extras of this distribution (pyproject.toml)."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dprm_data.core.errors import InputError


def needs_installed(what: str, packages: Sequence[str], *extras: str) -> None:
    """Look for packages of these extras without importing one. what: what needs them, with the verb, as the beginning of a sentence.

    Raises `InputError` that names those that are missing.
    """
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise InputError(
            f"{what} packages that are not installed: {', '.join(missing)}",
            hint=f"Install them with: {install_command(*extras)}.",
        )


@contextmanager
def extra(*names: str, what: str, otherwise: str = "") -> Iterator[None]:
    """Around imports of packages of these extras. what: what needs them, as the beginning of a sentence; otherwise: another way.

    Raises `InputError` that names the extras where a package is not installed.
    """
    try:
        yield
    except ImportError as error:
        missing = f"the package {error.name}" if error.name else "a package"
        hint = f"Install it: {install_command(*names)}. {otherwise}".rstrip()
        raise InputError(f"{what} needs {missing}, which is not installed", hint=hint) from error


def install_command(*extras: str) -> str:
    """How to install these extras."""
    names = ",".join(extras)
    return f"pip install 'dprm-data[{names}]' (in a checkout: pip install -e '.[{names}]')"
