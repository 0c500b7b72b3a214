"""Whether files that a run reads are those that it has read before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from dprm_data.core.tables import ITEMS, damage


def fingerprint_of(path: Path, settings: Any, *more: Any) -> str:
    """A hash of a file, or of all files in a folder (name, size, modification time), and of what else decides how they are read."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    states = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.is_file()]
    return hashlib.sha256(orjson.dumps([settings, states, *more], option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def is_stored(items: Path, record: Mapping[str, Any], fingerprint: str | None) -> bool:
    """Whether the table of items is whole and was read from a source with this fingerprint, by the manifest's record of it."""
    return (
        fingerprint is not None
        and items.is_file()
        and not damage(items, ITEMS)
        and record.get("fingerprint") == fingerprint
    )
