"""OpenAI's Batch API: a JSONL file is uploaded, run within 24 hours, and answered in one file of outputs and one of errors."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import IO, Any, cast

import httpx2
import orjson

from dprm_data.providers.batch_api import (
    UPLOAD_TIMEOUT,
    BatchStatus,
    JsonProvider,
    Result,
    Row,
    decoded,
    listed_since,
    missing,
    spooled,
)
from dprm_data.providers.failures import ContentFiltered, failure_in_reply, failure_of_status
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
            "input_file_id": uploaded.data["id"],
            "endpoint": _ENDPOINT,
            "completion_window": "24h",
            "metadata": {_TAG: tag} if tag else None,
        }
        created = await self._http.post("batches", body)
        return str(created.data["id"])

    async def poll(self, batch_id: str) -> BatchStatus:
        """Raises `CallFailed`, also for a batch that was refused as a whole."""
        data = await self._get(batch_id)
        if data.get("status") == "failed":
            raise self._refusal(data)
        return _status(data)

    def _refusal(self, data: dict[str, Any]) -> CallFailed:
        errors = (data.get("errors") or {}).get("data") or [{}]
        kinds = (_REFUSED.get(error.get("code"), "rejected") for error in errors)
        kind: FailureKind = next((kind for kind in kinds if kind != "rejected"), "rejected")
        places = (f" (line {error['line']})" if error.get("line") else "" for error in errors)
        words = "; ".join(
            f"{error.get('message') or 'no reason given'}{at}" for error, at in zip(errors[:3], places, strict=False)
        )
        return CallFailed(kind, self._http.scrub(f"the batch was refused: {words}"))

    async def results(self, batch_id: str, requests: Mapping[str, Request]) -> AsyncIterator[Result]:
        """Every row's result, outputs first. Raises `CallFailed` where they cannot be read."""
        data = await self._get(batch_id)
        seen: set[str] = set()
        for name in ("output_file_id", "error_file_id"):
            if not data.get(name):
                continue
            async for line in self._http.lines(f"files/{data[name]}/content"):
                found = decoded(line)
                if found is not None and found[0] in requests and found[0] not in seen:
                    seen.add(found[0])
                    yield found[0], self._result(found[1], requests[found[0]])
        for result in missing(requests, seen):
            yield result

    def _result(self, row: dict[str, Any], request: Request) -> Answer | CallFailed:
        error, response = row.get("error"), row.get("response") or {}
        try:
            if error and error.get("code") in _NOT_RUN:
                return CallFailed(
                    "timeout", self._http.scrub(str(error.get("message") or "the batch ended before its turn"))
                )
            if error:
                return failure_in_reply(error, {}, self._http.scrub)
            body = response.get("body")
            if response.get("status_code") != 200 or not isinstance(body, dict):
                return failure_of_status(
                    int(response.get("status_code") or 500), orjson.dumps(body), {}, self._http.scrub
                )
            return self._provider.read(body, {}, request)
        except ContentFiltered:
            return Answer("", "content_filter", UNREPORTED, request.model)
        except CallFailed as failure:
            return failure

    async def recent(self, since: float) -> list[BatchStatus]:
        """The account's batches since then, newest first. Raises `CallFailed`."""
        return await listed_since(self._http, f"batches?limit={_PAGE}", "after", _status, since)

    async def cancel(self, batch_id: str) -> None:
        """Raises `CallFailed`."""
        await self._http.post(f"batches/{batch_id}/cancel", {})

    async def _get(self, batch_id: str) -> dict[str, Any]:
        return (await self._http.get(f"batches/{batch_id}")).data

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
    counts = data.get("request_counts") or {}
    failed = int(counts.get("failed") or 0)
    word = str(data.get("status"))
    return BatchStatus(
        id=str(data.get("id")),
        state="ended" if word in _ENDED or word == "failed" else "running",
        total=int(counts.get("total") or 0),
        done=int(counts.get("completed") or 0) + failed,
        failed=failed,
        detail=word,
        created=float(data.get("created_at") or 0),
        tag=(data.get("metadata") or {}).get(_TAG),
    )
