"""What is never published: keys, passwords, and paths on somebody's machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.errors import PublishError

_SECRET_NAME = re.compile(r"key|token|secret|password|passwd|authorization|credential|cookie", re.IGNORECASE)
_SECRET_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ARGILLA_API_KEY")
MASK = "(not published)"


def public_recipe(content: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe without folders, passwords in addresses, and anything that looks like a key."""
    recipe = {name: value for name, value in content.items() if name not in ("output", "ledger")}
    source = dict(recipe.get("source") or {})
    if source.get("path"):
        recipe["source"] = source | {"path": PurePath(source["path"]).name}
    provider = dict(recipe.get("provider") or {})
    if provider.get("base_url"):
        provider["base_url"] = public_url(provider["base_url"])
    if provider.get("endpoints"):
        provider["endpoints"] = [_public_endpoint(endpoint) for endpoint in provider["endpoints"]]
    for name in ("extra", "options"):
        if provider.get(name):
            provider[name] = without_secrets(provider[name])
    if provider:
        recipe["provider"] = provider
    return recipe


def _public_endpoint(endpoint: Mapping[str, Any]) -> dict[str, Any]:
    return {**endpoint, "base_url": public_url(endpoint["base_url"]) if endpoint.get("base_url") else None}


def public_addresses(urls: Iterable[str | None]) -> str | None:
    """These addresses without their secrets, each once; None if the provider's own address is used."""
    return ", ".join(dict.fromkeys(public_url(url) for url in urls if url)) or None


def public_url(url: str) -> str:
    """The address without user, password and query."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return urlunsplit((parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path, "", ""))


def without_secrets(value: Any) -> Any:
    """A copy in which the values of names like `api_key` or `Authorization` are masked."""
    if isinstance(value, Mapping):
        return {
            name: MASK if _is_secret(str(name)) and not isinstance(inner, Mapping) else without_secrets(inner)
            for name, inner in value.items()
        }
    return [without_secrets(inner) for inner in value] if isinstance(value, list) else value


def _is_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(name)) and not name.endswith("tokens")


def check_no_secrets(folder: Path, key_variables: Sequence[str] = ()) -> None:
    """Refuse to publish files in which a key of this environment stands. Raises `PublishError` that names the file, not the key."""
    names = dict.fromkeys([*_SECRET_VARIABLES, *key_variables])
    secrets = {name: value for name in names if len(value := os.environ.get(name, "").strip()) >= 8}
    if not secrets:
        return
    for path in sorted(folder.rglob("*")):
        name = next((name for name, value in secrets.items() if path.is_file() and _holds(path, value)), None)
        if name:
            raise PublishError(
                f"{path.relative_to(folder)} would hold the value of the environment variable {name}",
                hint="Nothing was sent. Take the key out of the source or the recipe, run dprm fit, and publish again; "
                "consider the key leaked.",
            )


def _holds(path: Path, secret: str) -> bool:
    if path.suffix != ".parquet":
        return secret in path.read_text(encoding="utf-8", errors="replace")
    with pq.ParquetFile(path) as file:
        return any(
            pc.any(pc.match_substring(texts, secret)).as_py()
            for batch in file.iter_batches(batch_size=10_000)
            for column in batch.columns
            for texts in _texts(column)
        )


def _texts(column: pa.Array) -> Iterator[pa.Array]:
    """All strings in a column, however deep."""
    if pa.types.is_string(column.type):
        yield column
    elif pa.types.is_list(column.type):
        yield from _texts(column.flatten())
    elif pa.types.is_struct(column.type):
        for part in column.flatten():
            yield from _texts(part)
