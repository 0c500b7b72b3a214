"""Anthropic's Message Batches: the requests go in one body, are run within 24 hours, and are answered in one JSONL stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

import orjson

from dprm_data.providers.batch_api import (
    UPLOAD_TIMEOUT,
    BatchStatus,
    JsonProvider,
    Result,
    Row,
    chunks,
    decoded,
    identity,
    listed_since,
    missing,
    spooled,
    worth_another_batch,
)
from dprm_data.providers.failures import ContentFiltered, failure_in_reply
from dprm_data.providers.replies import count, mapping, shown, word
from dprm_data.providers.request import UNREPORTED, Answer, CallFailed, Request

_PATH = "/v1/messages/batches"
_PAGE = 100
_NOT_RUN = {
    "expired": "the batch expired before this request's turn",
    "canceled": "the batch was cancelled before this request's turn",
}


class AnthropicBatches:
    """Batches of messages, by the provider's own connection and reading of answers. The API keeps no tag."""

    max_requests = 100_000
    max_bytes = 256_000_000

    def __init__(self, provider: JsonProvider) -> None:
        self.family = provider.family
        self._provider = provider
        self._http = provider.http

    def row_bytes(self, custom_id: str, request: Request) -> int:
        return len(self._row(custom_id, request)) + 1

    def _row(self, custom_id: str, request: Request) -> bytes:
        return orjson.dumps({"custom_id": custom_id, "params": self._provider.body(request)})

    async def submit(self, rows: Iterable[Row], *, tag: str = "") -> str:
        """Sends the rows and returns the batch's id. Raises `CallFailed`."""
        with spooled() as file:
            file.write(b'{"requests":[')
            for number, (custom_id, request) in enumerate(rows):
                file.write((b"," if number else b"") + self._row(custom_id, request))
            file.write(b"]}")
            headers = {"Content-Type": "application/json", "Content-Length": str(file.tell())}
            created = await self._http.send("POST", _PATH, chunks(file), headers=headers, seconds=UPLOAD_TIMEOUT)
        return identity(created.data)

    async def poll(self, batch_id: str) -> BatchStatus:
        """Raises `CallFailed`."""
        return _status((await self._http.get(f"{_PATH}/{quote(batch_id, safe='')}")).data)

    async def results(self, batch_id: str, requests: Mapping[str, Request]) -> AsyncIterator[Result]:
        """Every row's result. Raises `CallFailed` where they cannot be read."""
        seen: set[str] = set()
        async for line in self._http.lines(f"{_PATH}/{quote(batch_id, safe='')}/results"):
            found = decoded(line)
            if found is not None and found[0] in requests and found[0] not in seen:
                seen.add(found[0])
                yield found[0], self._result(mapping(found[1].get("result")), requests[found[0]])
                if len(seen) == len(requests):
                    return
        for result in missing(requests, seen):
            yield result

    def _result(self, result: dict[str, Any], request: Request) -> Answer | CallFailed:
        kind = word(result.get("type"))
        if kind in _NOT_RUN:
            return CallFailed("timeout", _NOT_RUN[kind])
        try:
            if kind == "succeeded":
                return self._provider.read(mapping(result.get("message")), {}, request)
            error = result.get("error")
            raise failure_in_reply(mapping(error).get("error") or error, {}, self._http.scrub)
        except ContentFiltered:
            return Answer("", "content_filter", UNREPORTED, request.model)
        except CallFailed as failure:
            return worth_another_batch(failure, self._provider, request)

    async def recent(self, since: float) -> list[BatchStatus]:
        """The workspace's batches since then, newest first. Raises `CallFailed`."""
        return await listed_since(self._http, f"{_PATH}?limit={_PAGE}", "after_id", _status, since)

    async def cancel(self, batch_id: str) -> None:
        """Raises `CallFailed`."""
        await self._http.post(f"{_PATH}/{quote(batch_id, safe='')}/cancel", {})

    async def aclose(self) -> None:
        await self._provider.aclose()


def _status(data: dict[str, Any]) -> BatchStatus:
    counts = {name: count(value) or 0 for name, value in mapping(data.get("request_counts")).items()}
    total = sum(counts.values())
    state = shown(data.get("processing_status"), 40)
    return BatchStatus(
        id=shown(data.get("id"), 200),
        state="ended" if state == "ended" else "running",
        total=total,
        done=total - counts.get("processing", 0),
        failed=total - counts.get("processing", 0) - counts.get("succeeded", 0),
        detail=state,
        created=_seconds(data.get("created_at")),
    )


def _seconds(date: object) -> float:
    try:
        return datetime.fromisoformat(word(date) or "").timestamp()
    except (ValueError, OverflowError):
        return 0.0
