"""A ledger's address: the path of a file, or a URL such as postgresql://user@host/database. Imports nothing heavy, because every recipe holds one.

An address never contains a password, because addresses are stored (a run folder freezes its recipe), shown and logged. libpq reads the
password from PGPASSWORD or ~/.pgpass. If two databases need two passwords, an address may name an environment variable:
postgresql://user:${NAME}@host/database. The variable is read when a connection is made; its value is never stored.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from dprm_data.core.errors import InputError
from dprm_data.core.registry import LEDGER_STORES

FILE = "sqlite"  # the store of addresses that are paths

_SCHEME = re.compile(r"^(\w[\w+.-]*)://")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# Up to the last "@": a password may contain characters that should have been written as %40 and the like.
_PASSWORD = re.compile(r"^(?P<before>\w[\w+.-]*://[^:/@?]*):(?P<password>.*)@", re.DOTALL)
_CONNECTION_STRING = re.compile(r"\bpassword\s*=", re.IGNORECASE)  # libpq's other form: host=... password=...
_SECRET_OPTIONS = frozenset({"password", "sslpassword", "oauth_client_secret"})


@dataclass(frozen=True)
class LedgerAddress:
    """Where a ledger is. Created by `parse` from what the user wrote.

    text: unchanged; scheme: the name of the store that serves it (`LEDGER_STORES`).
    """

    text: str
    scheme: str = FILE

    @classmethod
    def parse(cls, text: str | Path) -> LedgerAddress:
        """Parse an address. Raises `InputError` if it contains a password or no store serves its scheme."""
        match = _SCHEME.match(text) if isinstance(text, str) else None
        if not match:
            if isinstance(text, str) and _CONNECTION_STRING.search(text):
                raise InputError(
                    "a ledger is named by a path or a URL, not by a connection string, and its password would be kept",
                    hint="Write postgresql://user@host:5432/database, and set PGPASSWORD (or ~/.pgpass).",
                )
            return cls(str(Path(text)))
        address = cls(str(text), match[1])
        if address.scheme == FILE:
            raise InputError(
                f"{address.shown}: a SQLite ledger is named by its path", hint="Write ledger: path/to/file.sqlite."
            )
        try:
            LEDGER_STORES.check(address.scheme)
        except ValueError as error:
            raise InputError(
                f"{address.shown}: {error}",
                hint="A ledger is a file, or an address such as postgresql://user@host:5432/database.",
            ) from error
        if address._has_secret():
            raise InputError(
                f"{address.shown}: a password in a ledger's address would be kept with the recipe",
                hint="Leave it out and set PGPASSWORD (or ~/.pgpass), or name an environment variable: postgresql://user:${NAME}@host/database.",
            )
        return address

    @property
    def shown(self) -> str:
        """The address for display: without the password's variable and without options."""
        return str(self.path) if self.scheme == FILE else self.url.partition("?")[0]

    @property
    def path(self) -> Path:
        """The file of an address that is a path."""
        return Path(self.text)

    @property
    def url(self) -> str:
        """The URL for a driver: without the password's variable."""
        return _PASSWORD.sub(r"\g<before>@", self.text)

    @property
    def shared(self) -> bool:
        """Whether several processes may write to the ledger at the same time."""
        return LEDGER_STORES.get(self.scheme).coordinator is not None

    def absolute(self) -> LedgerAddress:
        """The same address for a process with another working directory."""
        return LedgerAddress(str(self.path.absolute())) if self.scheme == FILE else self

    @property
    def variable(self) -> str | None:
        """The name of the environment variable in the password's place, or None."""
        match = _PASSWORD.match(self.text)
        named = _VARIABLE.fullmatch(match["password"]) if match else None
        return named[1] if named else None

    def password(self) -> str | None:
        """The value of the environment variable named in the URL, or None if it names none. Raises `InputError` if the variable is not set."""
        name = self.variable
        if name is None:
            return None
        if not os.environ.get(name):
            raise InputError(
                f"ledger {self.shown}: the environment variable {name} is not set",
                hint=f"Put the database's password into it: export {name}=...",
            )
        return os.environ[name]

    def _has_secret(self) -> bool:
        match = _PASSWORD.match(self.text)
        if match and not _VARIABLE.fullmatch(match["password"]):
            return True
        options = parse_qsl(self.text.partition("?")[2], keep_blank_values=True)
        return any(name.lower() in _SECRET_OPTIONS for name, _ in options)
