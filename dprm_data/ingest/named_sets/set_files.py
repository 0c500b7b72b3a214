"""The files of a named set: found below a folder, or fetched from the Hugging Face Hub; read row by row, with the columns they must have."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from dprm_data.core.errors import VotesError
from dprm_data.core.extras import extra
from dprm_data.core.resources import neighbour
from dprm_data.core.text import one_line
from dprm_data.ingest.sources import file_rows

_TRAILING_COMMA = re.compile(r",(?=\s*[}\]])")  # some published JSON files have them
_SHOWN = 12  # names that a message lists


class SetFiles:
    """A set's files: all below `data`, or `data` itself. source: where they are from, for messages."""

    def __init__(self, name: str, data: Path, source: str) -> None:
        if not data.exists():
            raise VotesError(f"{data}: no such file or folder{neighbour(data)}", hint=f"{name} is at {source}.")
        self._name, self._data, self._source = name, data, source
        below = [data] if data.is_file() else data.rglob("*")
        self._files = sorted(path for path in below if path.is_file() and not _hidden(path.relative_to(data)))

    @property
    def is_folder(self) -> bool:
        """Whether there may be files beside the one that is read."""
        return self._data.is_dir()

    def every(self, pattern: str) -> list[Path]:
        """The files with this name or path (with wildcards), packed or not. Raises `VotesError` if there is none."""
        wanted = (pattern, pattern.removesuffix(".gz"))
        for names in (wanted, tuple(PurePath(name).name for name in wanted)):  # as the repository has them, else flat
            if found := [path for path in self._files if any(path.match(name) for name in names)]:
                return found
        if not self.is_folder:
            return [self._data]
        held = [str(path.relative_to(self._data)) for path in self._files]
        more = f" and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
        raise VotesError(
            f"{self._data}: no file {pattern}, which {self._name} needs",
            hint=f"It is at {self._source}. The folder holds: {', '.join(held[:_SHOWN]) or 'nothing'}{more}.",
        )

    def one(self, name: str) -> Path:
        """The file with this name or path. Raises `VotesError` if there is none, or more than one."""
        found = self.every(name)
        if len(found) > 1:
            listed = ", ".join(str(path.relative_to(self._data)) for path in found[:_SHOWN])
            raise VotesError(f"{self._data}: {len(found)} files {name}", hint=f"Keep one of them: {listed}.")
        return found[0]

    def rows(self, path: Path, *columns: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The rows of a CSV, JSON-lines or Parquet file with their places, each with these columns. Raises `VotesError` for any that is broken."""
        for _, rows in file_rows(path):
            for position, row in rows:
                place = f"{path}:{position}"
                if isinstance(row, str):
                    raise self._broken(place, row)
                self.require(row, columns, place)
                yield place, row

    def entries(self, path: Path) -> dict[str, Any]:
        """The content of a file that is one JSON object. Raises `VotesError`."""
        try:
            text = path.read_text(encoding="utf-8")
            try:
                found = json.loads(text)
            except json.JSONDecodeError:
                found = json.loads(_TRAILING_COMMA.sub("", text))
        except (OSError, ValueError, RecursionError) as error:
            raise self._broken(str(path), f"not readable as JSON: {one_line(str(error), 200)}") from error
        if not isinstance(found, dict):
            raise self._broken(str(path), f"must be a JSON object, found {type(found).__name__}")
        return found

    def require(self, row: Any, columns: Sequence[str], place: str) -> None:
        """Raises `VotesError` for a row or entry that is without one of these columns or fields."""
        if not isinstance(row, Mapping):
            raise self._broken(place, f"must be an object with named fields, found {type(row).__name__}")
        missing = [column for column in columns if column not in row]
        if missing:
            raise VotesError(
                f"{place}: no {'column' if _is_table(place) else 'field'} {', '.join(missing)}, as {self._name} has",
                hint=f"Found: {one_line(', '.join(map(str, row)), 400)}. The original is at {self._source}.",
            )

    def literal(self, text: Any, kind: type[list[Any]] | type[dict[str, Any]], column: str, place: str) -> Any:
        """The value that a cell holds as Python writes it, such as "['a', 'b']". Nothing is run. Raises `VotesError`."""
        if isinstance(text, kind):
            return text
        written = str(text)
        if kind is dict:  # defaultdict(<class 'list'>, {...})
            written = written[written.find("{") : written.rfind("}") + 1]
        try:
            value = ast.literal_eval(written)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            value = None
        if not isinstance(value, kind):
            words = "a list" if kind is list else "a mapping"
            raise self._broken(place, f"{column} must hold {words}, found {one_line(str(text), 80)!r}")
        return value

    def number(self, value: Any, column: str, place: str) -> float:
        """The number in a cell, from 0. Raises `VotesError`."""
        try:
            found = float(value)
        except (TypeError, ValueError):
            found = math.nan
        if not 0 <= found < math.inf:
            raise self._broken(place, f"{column} must be a number from 0, found {one_line(str(value), 80)!r}")
        return found

    def _broken(self, place: str, reason: str) -> VotesError:
        return VotesError(f"{place}: {reason}", hint=f"Fetch the file of {self._name} again from {self._source}.")


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_table(place: str) -> bool:
    return ".csv" in place or ".parquet" in place


def hub_folder(name: str, hub: str, files: Sequence[str]) -> Path:
    """The folder of the Hub's cache with these files of a dataset, which are fetched if they are not there. Raises `VotesError`."""
    from httpx2 import HTTPError  # what the Hub's client speaks over

    with extra("hub", what="a named set from the Hub"):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(hub, repo_type="dataset", allow_patterns=list(files)))
    except (HfHubHTTPError, HTTPError, OSError, ValueError) as error:
        raise VotesError(
            f"{name}: the dataset {hub} cannot be fetched: {type(error).__name__}: {one_line(str(error), 300)}",
            hint=f"Check the network, and where access must be asked for, ask at https://huggingface.co/datasets/{hub} and set HF_TOKEN. "
            f"Or give a folder with {', '.join(files)}.",
        ) from error
