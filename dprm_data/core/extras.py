"""Packages that only some commands need: the extras of this distribution (pyproject.toml)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dprm_data.core.errors import InputError


def install_hint(*extras: str) -> str:
    """What installs the extras."""
    names = ",".join(extras)
    return f"Install it: pip install 'dprm-data[{names}]' (in a checkout: pip install -e '.[{names}]')."


@contextmanager
def extra(*names: str, what: str, otherwise: str = "") -> Iterator[None]:
    """Around imports of packages of these extras. what: what needs them, as the beginning of a sentence; otherwise: another way.

    Raises `InputError` that names the extras where a package is not installed.
    """
    try:
        yield
    except ImportError as error:
        missing = f"the package {error.name}" if error.name else "a package"
        hint = f"{install_hint(*names)} {otherwise}".rstrip()
        raise InputError(f"{what} needs {missing}, which is not installed", hint=hint) from error
