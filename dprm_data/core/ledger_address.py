"""A ledger's reference: a file's path, or postgresql://user@host/database. Imports nothing heavy: recipes are checked by it.

A password never stands in a reference, because references are kept (the run folder freezes its recipe), shown and logged. libpq finds it in
PGPASSWORD or ~/.pgpass; where two databases need two of them, a reference may name an environment variable in its place:
postgresql://user:${NAME}@host/database. What stands in the variable is read when a connection is made, and kept nowhere.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import parse_qsl

from dprm_data.core.errors import InputError

Reference = Path | str

_SCHEMES = ("postgresql://", "postgres://")
_SCHEME = re.compile(r"^\w[\w+.-]*://")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# To the last "@": a password may have signs in it that should have been written as %40 and the like.
_PASSWORD = re.compile(r"^(?P<before>\w[\w+.-]*://[^:/@?]*):(?P<password>.*)@", re.DOTALL)
_SECRETS = ("password", "sslpassword", "oauth_client_secret")
_HOW = "Leave it away and set PGPASSWORD (or ~/.pgpass), or name a variable: postgresql://user:${NAME}@host/database."


def is_postgres(reference: Reference) -> bool:
    """Whether a database on a server is meant, and not a file."""
    return isinstance(reference, str) and reference.startswith(_SCHEMES)


def fault_in(reference: str) -> tuple[str, str] | None:
    """What is wrong with a reference, and what to do: it holds a password, or means no place that we know. Never repeats it."""
    if not _SCHEME.match(reference):
        return None
    if not is_postgres(reference):
        return "a ledger is a file or a PostgreSQL database", "It looks like postgresql://user@host:5432/database."
    found = _PASSWORD.match(reference)
    options = {name.lower() for name, _ in parse_qsl(reference.partition("?")[2], keep_blank_values=True)}
    if (found and not _VARIABLE.fullmatch(found["password"])) or not options.isdisjoint(_SECRETS):
        return "a password in a ledger's address would be kept with the recipe", _HOW
    return None


def parse(reference: Reference) -> Reference:
    """A path, or a database's address without a secret in it. Raises `InputError`."""
    if isinstance(reference, Path):
        return reference
    if fault := fault_in(reference):
        wrong, hint = fault
        raise InputError(f"ledger {shown(reference)}: {wrong}", hint=hint)
    return reference if is_postgres(reference) else Path(reference)


def absolute(reference: str) -> str:
    """As it may be kept: what a file's path means does not depend on where one stands."""
    return reference if is_postgres(reference) else str(Path(reference).absolute())


def shown(reference: Reference) -> str:
    """As it may be shown: without a password, or what stands in its place, and without options."""
    if isinstance(reference, Path) or not _SCHEME.match(reference):
        return str(reference)
    return without_password(reference).partition("?")[0]


def password_of(reference: str) -> str | None:
    """What stands in the environment variable that the reference names; None where it names none. Raises `InputError`."""
    found = _PASSWORD.match(reference)
    variable = _VARIABLE.fullmatch(found["password"]) if found else None
    if not variable:
        return None
    name = variable.group(1)
    if not os.environ.get(name):
        raise InputError(
            f"ledger {shown(reference)}: the environment variable {name} is not set",
            hint=f"It is to hold the database's password: export {name}=...",
        )
    return os.environ[name]


def without_password(reference: str) -> str:
    """The address as libpq may read it and people may see it."""
    return _PASSWORD.sub(r"\g<before>@", reference)
