"""Batch APIs: many requests handed over at once and answered within a day, at half the price.

Both providers take a batch whole or not at all, answer its rows in any order, and keep the results for some weeks. What must survive a
restart is the batch's id. A crash between the provider's taking a batch and our noting its id would pay for it twice, so a batch can
be found again (`recent`): by its `tag` where the provider keeps one (OpenAI), else by its size and time (Anthropic).
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import quote

import orjson

from dprm_data.providers.replies import mappings
from dprm_data.providers.request import Answer, CallFailed, Request

if TYPE_CHECKING:
    from dprm_data.providers.http import JsonClient

Row = tuple[str, Request]  # (custom id: at most 64 letters, digits, _ and -; request)
Result = tuple[str, Answer | CallFailed]

_IN_MEMORY = 8 << 20  # bytes of a batch that are held in memory before they go to a temporary file
UPLOAD_TIMEOUT = 1800.0  # seconds: a batch is up to a quarter of a gigabyte


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """Where a batch stands.

    state: `running`, or `ended`: its results can be read, also when it expired or was cancelled before all rows were answered;
    done: rows with a result, failed ones included (Anthropic counts them only in the end); detail: the provider's own word;
    created: seconds since 1970; tag: what `submit` was given, where the provider keeps it.
    """

    id: str
    state: Literal["running", "ended"]
    total: int
    done: int
    failed: int
    detail: str
    created: float
    tag: str | None = None


class JsonProvider(Protocol):
    """What a batch API needs of the provider whose requests it takes: its connection, the JSON of a request, and how a reply is read."""

    family: str

    @property
    def http(self) -> JsonClient: ...

    def body(self, request: Request) -> dict[str, Any]: ...

    def read(self, data: dict[str, Any], headers: Mapping[str, str], request: Request) -> Answer: ...

    def refused(self, error: CallFailed, request: Request) -> bool: ...

    async def aclose(self) -> None: ...


def worth_another_batch(error: CallFailed, provider: JsonProvider, request: Request) -> CallFailed:
    """The failure of a row; one that can be retried, where the next batch leaves out what this one was refused for."""
    if not provider.refused(error, request):
        return error
    return CallFailed("server", error.message, status=error.status, usage=error.usage, param=error.param)


class BatchProvider(Protocol):
    """One provider's batches. All methods raise `CallFailed`; a row's own failure is in the results instead."""

    family: str
    max_requests: int  # of one batch
    max_bytes: int

    def row_bytes(self, custom_id: str, request: Request) -> int:
        """The row's share of `max_bytes`."""
        ...

    async def submit(self, rows: Iterable[Row], *, tag: str = "") -> str:
        """Hands the rows over (no more than one batch may have) and returns the batch's id.

        After a failure of kind timeout, connection or server the batch may exist all the same: look for it with `recent`.
        """
        ...

    async def poll(self, batch_id: str) -> BatchStatus:
        """Raises `CallFailed` also where the provider refused the batch as a whole: none of it was run, none is billed."""
        ...

    def results(self, batch_id: str, requests: Mapping[str, Request]) -> AsyncIterator[Result]:
        """Every row's result, in any order. `requests` are the batch's rows: those that the provider says nothing about come last, as
        failures. A row that expired or was cancelled was not billed and can be sent again."""
        ...

    async def recent(self, since: float) -> list[BatchStatus]:
        """The account's batches created at or after `since` (seconds since 1970), newest first."""
        ...

    async def cancel(self, batch_id: str) -> None:
        """Rows that were answered already stay answered, and billed."""
        ...

    async def aclose(self) -> None: ...


def split(
    rows: Iterable[Row], *, max_requests: int, max_bytes: int, size: Callable[[str, Request], int]
) -> Iterator[list[Row]]:
    """The rows in batches that keep both limits. A row that alone exceeds `max_bytes` gets a batch of its own (and is refused there)."""
    batch: list[Row] = []
    used = 0
    for custom_id, request in rows:
        row = size(custom_id, request)
        if batch and (len(batch) >= max_requests or used + row > max_bytes):
            yield batch
            batch, used = [], 0
        batch.append((custom_id, request))
        used += row
    if batch:
        yield batch


def spooled() -> IO[bytes]:
    """A file for a batch on its way out: small ones stay in memory. Closing it deletes it."""
    return tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)


async def chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    """The file's content from its beginning, as an asynchronous client wants a body."""
    file.seek(0)
    while chunk := file.read(1 << 16):
        yield chunk


def decoded(line: bytes) -> tuple[str, dict[str, Any]] | None:
    """A line of results as (custom id, row); None where it is neither JSON nor about any row."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    custom_id = row.get("custom_id") if isinstance(row, dict) else None
    return (custom_id, row) if isinstance(custom_id, str) else None


def identity(data: dict[str, Any]) -> str:
    """The id of what was just made. Raises `CallFailed` where the reply has none."""
    if not isinstance(data.get("id"), str):
        raise CallFailed("broken", "the reply has no id")
    return str(data["id"])


def missing(requests: Mapping[str, Request], seen: set[str]) -> Iterator[Result]:
    """Failures for the rows that the results left out."""
    for custom_id in requests:
        if custom_id not in seen:
            yield custom_id, CallFailed("broken", "the batch ended without a result for this request")


async def listed_since(
    http: JsonClient, path: str, after: str, status: Callable[[dict[str, Any]], BatchStatus], since: float
) -> list[BatchStatus]:
    """The batches that a listing, newest first and page by page, has since then. `after` is the parameter that asks for what follows an
    id. Raises `CallFailed`."""
    found: list[BatchStatus] = []
    page_path = path
    while True:
        page = (await http.get(page_path)).data
        listed = [status(entry) for entry in mappings(page.get("data"))]
        found += [batch for batch in listed if batch.created >= since]
        if not page.get("has_more") or not listed or listed[-1].created < since:
            return found
        page_path = f"{path}&{after}={quote(listed[-1].id, safe='')}"
