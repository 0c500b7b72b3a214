"""OpenAI's Batch API: a JSONL file is uploaded, run within 24 hours, and answered in one file of outputs and one of errors."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import IO, Any, cast
from urllib.parse import quote

import httpx2
import orjson

from dprm_data.providers.batch_api import (
    UPLOAD_TIMEOUT,
    BatchStatus,
    JsonProvider,
    Result,
    Row,
    decoded,
    identity,
    listed_since,
    missing,
    spooled,
    worth_another_batch,
)
from dprm_data.providers.failures import ContentFiltered, failure_in_reply, failure_of_status
from dprm_data.providers.replies import count, mapping, mappings, shown, word
from dprm_data.providers.request import UNREPORTED, Answer, CallFailed, FailureKind, Request

_ENDPOINT = "/v1/chat/completions"
_TAG = "dprm_tag"
_ENDED = frozenset({"completed", "expired", "cancelled"})
_REFUSED: dict[object, FailureKind] = {
    "token_limit_exceeded": "rate_limit",  # too many tokens are waiting in other batches: later it fits
    "billing_hard_limit_reached": "billing",
    "insufficient_quota": "billing",
}
_NOT_RUN = frozenset({"batch_expired", "batch_cancelled"})
_PAGE = 100


class OpenAIBatches:
    """Batches of chat completions, by the provider's own connection and reading of answers."""

    max_requests = 50_000
    max_bytes = 200_000_000

    def __init__(self, provider: JsonProvider) -> None:
        self.family = provider.family
        self._provider = provider
        self._http = provider.http

    def row_bytes(self, custom_id: str, request: Request) -> int:
        return len(self._line(custom_id, request))

    def _line(self, custom_id: str, request: Request) -> bytes:
        row = {"custom_id": custom_id, "method": "POST", "url": _ENDPOINT, "body": self._provider.body(request)}
        return orjson.dumps(row) + b"\n"

    async def submit(self, rows: Iterable[Row], *, tag: str = "") -> str:
        """Uploads the rows and starts the batch; returns its id. Raises `CallFailed`."""
        with spooled() as file:
            file.writelines(self._line(custom_id, request) for custom_id, request in rows)
            file.seek(0)
            headers, content = _form(file)
            uploaded = await self._http.send("POST", "files", content, headers=headers, seconds=UPLOAD_TIMEOUT)
        body = {
            "input_file_id": identity(uploaded.data),
            "endpoint": _ENDPOINT,
            "completion_window": "24h",
            "metadata": {_TAG: tag} if tag else None,
        }
        created = await self._http.post("batches", body)
        return identity(created.data)

    async def poll(self, batch_id: str) -> BatchStatus:
        """Raises `CallFailed`, also for a batch that was refused as a whole."""
        data = await self._get(batch_id)
        if data.get("status") == "failed":
            raise self._refusal(data)
        return _status(data)

    def _refusal(self, data: dict[str, Any]) -> CallFailed:
        errors = mappings(mapping(data.get("errors")).get("data"))
        kinds = (_REFUSED.get(word(error.get("code")), "rejected") for error in errors)
        kind: FailureKind = next((kind for kind in kinds if kind != "rejected"), "rejected")
        reasons = [
            (shown(error.get("message")) or "no reason given")
            + (f" (line {count(line)})" if (line := error.get("line")) else "")
            for error in errors[:3]
        ]
        words = "; ".join(reasons) or "no reason given"
        return CallFailed(kind, self._http.scrub(f"the batch was refused: {words}"))

    async def results(self, batch_id: str, requests: Mapping[str, Request]) -> AsyncIterator[Result]:
        """Every row's result, outputs first. Raises `CallFailed` where they cannot be read."""
        data = await self._get(batch_id)
        seen: set[str] = set()
        for name in ("output_file_id", "error_file_id"):
            if not (file := word(data.get(name))):
                continue
            async for line in self._http.lines(f"files/{quote(file, safe='')}/content"):
                found = decoded(line)
                if found is not None and found[0] in requests and found[0] not in seen:
                    seen.add(found[0])
                    yield found[0], self._result(found[1], requests[found[0]])
                    if len(seen) == len(requests):
                        return
        for result in missing(requests, seen):
            yield result

    def _result(self, row: dict[str, Any], request: Request) -> Answer | CallFailed:
        error, response = row.get("error"), mapping(row.get("response"))
        try:
            if word(mapping(error).get("code")) in _NOT_RUN:
                reason = shown(mapping(error).get("message")) or "the batch ended before its turn"
                return CallFailed("timeout", self._http.scrub(reason))
            if error:
                raise failure_in_reply(error, {}, self._http.scrub)
            body, status = response.get("body"), count(response.get("status_code"))
            if status != 200 or not isinstance(body, dict):
                raise failure_of_status(status or 500, orjson.dumps(body), {}, self._http.scrub)
            return self._provider.read(body, {}, request)
        except ContentFiltered:
            return Answer("", "content_filter", UNREPORTED, request.model)
        except CallFailed as failure:
            return worth_another_batch(failure, self._provider, request)

    async def recent(self, since: float) -> list[BatchStatus]:
        """The account's batches since then, newest first. Raises `CallFailed`."""
        return await listed_since(self._http, f"batches?limit={_PAGE}", "after", _status, since)

    async def cancel(self, batch_id: str) -> None:
        """Raises `CallFailed`."""
        await self._http.post(f"batches/{batch_id}/cancel", {})

    async def _get(self, batch_id: str) -> dict[str, Any]:
        return (await self._http.get(f"batches/{quote(batch_id, safe='')}")).data

    async def aclose(self) -> None:
        await self._provider.aclose()


def _form(file: IO[bytes]) -> tuple[dict[str, str], AsyncIterator[bytes]]:
    """The headers and the body of the form that uploads a file."""
    attached = {"file": ("batch.jsonl", file, "application/jsonl")}
    form = httpx2.Request("POST", "http://form.invalid", files=attached, data={"purpose": "batch"})

    async def stream() -> AsyncIterator[bytes]:
        async for part in cast(AsyncIterable[bytes], form.stream):
            yield part

    return {name: form.headers[name] for name in ("Content-Type", "Content-Length")}, stream()


def _status(data: dict[str, Any]) -> BatchStatus:
    counts = mapping(data.get("request_counts"))
    failed = count(counts.get("failed")) or 0
    state = shown(data.get("status"), 40)
    return BatchStatus(
        id=shown(data.get("id"), 200),
        state="ended" if state in _ENDED or state == "failed" else "running",
        total=count(counts.get("total")) or 0,
        done=(count(counts.get("completed")) or 0) + failed,
        failed=failed,
        detail=state,
        created=float(count(data.get("created_at")) or 0),
        tag=word(mapping(data.get("metadata")).get(_TAG)),
    )
