"""Finds keys in files before they are published: the values of this environment's secrets, and texts that look like keys.

Arrow's RE2 searches the Parquet columns for all of them at once, in linear time. Only where it matches, rows are looked at one by one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.errors import PublishError
from dprm_data.core.key_shapes import SHAPE, find_key

_SECRET_VARIABLE = re.compile(
    r"(?:^|_)(?:API_?KEYS?|KEY|TOKEN|SECRET|PASS|PWD|PAT|AUTH|BEARER|CREDENTIALS?|COOKIE|DSN)(?:_|\d|$)|PASSWORD|PASSWD|SECRET|(?:KEY|TOKEN)$"
)
_FOLDERS = ("PWD", "OLDPWD")
_LONGEST_PATTERN = 10_000  # characters; beyond some 50,000, RE2 is a thousand times slower
_SHORTEST = 8  # characters of a secret: a shorter one stands in texts by chance


@dataclass(frozen=True)
class Secrets:
    """What must not be published. by_form: a secret's text, as it is or escaped -> the variable that holds it; shapes: also look for keys of others."""

    by_form: Mapping[str, str]
    shapes: bool = True

    @classmethod
    def of_environment(
        cls, environ: Mapping[str, str], variables: Sequence[str] = (), *, shapes: bool = True
    ) -> Secrets:
        """The secrets in the environment: of the variables that are named, and of all whose name says that they hold one."""
        found: dict[str, str] = {}
        for name, value in environ.items():
            named = name in variables
            whole = named or (bool(_SECRET_VARIABLE.search(name.upper())) and name not in _FOLDERS)
            for secret in filter(None, [value.strip() if whole else "", _password_in(value)]):
                if len(secret) >= _SHORTEST and (named or not _is_ordinary(secret)):
                    found |= dict.fromkeys(_forms(secret), name)
        return cls(found, shapes)

    @cached_property
    def patterns(self) -> list[str]:
        """All of it as a few expressions, each short enough for RE2's automaton; empty if there is nothing to look for."""
        found = [SHAPE] if self.shapes else []
        for form in map(re.escape, self.by_form):
            if found and len(found[-1]) + len(form) < _LONGEST_PATTERN:
                found[-1] += f"|{form}"
            else:
                found.append(form)
        return found

    def found_in(self, text: str) -> str | None:
        """What the text holds, in words that do not repeat it; None if it holds no secret."""
        variable = next((variable for form, variable in self.by_form.items() if form in text), None)
        if variable:
            return f"the value of the environment variable {variable}"
        kind = find_key(text) if self.shapes else None
        return f"what looks like {kind}" if kind else None


def check_no_secrets(folder: Path, secrets: Secrets) -> None:
    """Refuse files that hold a secret. Raises `PublishError` that names the file, row and field, and the variable, but not the value."""
    if not secrets.patterns:
        return
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found = _in_table(path, secrets) if path.suffix == ".parquet" else _in_text(path, secrets)
        for place, what in found:
            raise PublishError(
                f"{path.relative_to(folder)}, {place}, would hold {what}",
                hint="Nothing was sent. Take the key out of the source or the recipe, run again, and publish; consider the key leaked. "
                + ("" if "environment" in what else "If it is only an example of a key, add --allow-key-shapes."),
            )


def check_text(text: str, place: str, secrets: Secrets) -> None:
    """Refuse a text that is published beside the files. Raises `PublishError`."""
    if what := secrets.found_in(text):
        raise PublishError(f"{place} would hold {what}", hint="Nothing was sent. Consider the key leaked.")


def _in_text(path: Path, secrets: Secrets) -> Iterator[tuple[str, str]]:
    text = path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.split("\n"), 1):
        if what := secrets.found_in(line):
            yield f"line {number}", what
    if what := secrets.found_in(text):  # a key of several lines
        yield "its text", what


def _in_table(path: Path, secrets: Secrets) -> Iterator[tuple[str, str]]:
    row = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=10_000):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if any(_matches(texts, pattern) for texts in _texts(column) for pattern in secrets.patterns):
                    yield from _in_column(name, column, row, secrets)
            row += batch.num_rows


def _matches(texts: pa.Array, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(texts, pattern)).as_py())


def _in_column(name: str, column: pa.Array, first: int, secrets: Secrets) -> Iterator[tuple[str, str]]:
    for row, value in enumerate(column.to_pylist(), first + 1):
        for field, text in _fields(value, name):
            if what := secrets.found_in(text):
                yield f"row {row:,}, field {field}", what


def _fields(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """All texts in a value, each with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _fields(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _fields(inner, f"{path}[{i}]")


def _texts(column: pa.Array) -> Iterator[pa.Array]:
    """All strings in a column, at any depth."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        yield column
    elif pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        yield from _texts(column.flatten())
    elif pa.types.is_struct(column.type):
        for part in column.flatten():
            yield from _texts(part)


# -- the environment's secrets ----------------------------------------------------------------------------------------


def _forms(secret: str) -> list[str]:
    """A secret as it is, and as JSON, JSON in JSON, URLs and HTML write it."""
    escaped = [json.dumps(secret, ensure_ascii=ascii)[1:-1] for ascii in (True, False)]
    nested = [json.dumps(text)[1:-1] for text in escaped]
    return list(
        dict.fromkeys(
            [secret, *escaped, *nested, quote(secret, safe=""), quote(secret), quote_plus(secret), escape(secret)]
        )
    )


def _password_in(value: str) -> str:
    """The password in an address such as DATABASE_URL."""
    try:
        return urlsplit(value).password or "" if "://" in value else ""
    except ValueError:
        return ""


def _is_ordinary(secret: str) -> bool:
    """A word, a short number, or a path: they stand in texts and tables that hold no secret."""
    a_word = (
        secret.isalpha()
        and len(secret) < 16
        and (secret.lower() == secret or secret[1:].lower() == secret[1:] or secret.isupper())
    )
    return a_word or (secret.isdigit() and len(secret) < 12) or secret.startswith(("/", "~", "./"))
