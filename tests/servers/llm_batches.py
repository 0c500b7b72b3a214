"""The double's batch APIs: OpenAI's files and batches, Anthropic's message batches.

A batch runs for `Options.batch_seconds`, then all its rows are answered at once (and counted in the tally like any other request), its
results in a shuffled order. Rows may carry `[[fault:NAME]]` like direct requests; besides, `expired` leaves a row without its turn and
`missing` leaves it out of the results. `Options.batch_refusal` refuses every new batch with that error code;
`Options.lose_batches` takes batches and drops the connection instead of saying so.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from tests.servers.llm_double import Double

_URL = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}


@dataclass
class Batch:
    id: str
    flavour: str
    rows: list[tuple[str, bytes]]  # (custom id, body)
    created: float
    ends: float
    metadata: dict[str, str] | None = None
    refusal: str | None = None
    cancelled: float | None = None
    results: list[bytes] | None = None
    errors: list[bytes] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return time.time() >= self.ends


class Batches:
    """Takes the requests to batch paths. `double` answers the rows."""

    def __init__(self, double: Double) -> None:
        self._double = double
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, Batch] = {}
        self._random = random.Random(0)

    def handle(self, request: web.BaseRequest, raw: bytes) -> web.Response | None:
        """The response, or None for paths that are none of ours."""
        path = request.path
        ours = ("/v1/files", "/v1/batches", "/v1/messages/batches")
        if not path.startswith(ours):
            return None
        flavour = "anthropic" if path.startswith(ours[2]) else "openai"
        wanted, key = self._double.options.key, self._double.key_of(request)
        if wanted is not None and key != wanted:
            return self._plain(self._double.answer(flavour, b"{}", key, "401"))
        parts = path.removeprefix("/v1/messages" if flavour == "anthropic" else "/v1").strip("/").split("/")
        match (request.method, *parts):
            case ("POST", "files"):
                return self._upload(request, raw)
            case ("GET", "files", str(file), "content") if file in self._files:
                return web.Response(body=self._files[file], content_type="application/octet-stream")
            case ("POST", "batches"):
                return self._create(request, flavour, orjson.loads(raw))
            case ("GET", "batches"):
                return self._list(request, flavour)
            case ("GET", "batches", str(batch)) if batch in self._batches:
                return self._json(self._shown(self._batches[batch]))
            case ("POST", "batches", str(batch), "cancel") if batch in self._batches:
                self._batches[batch].cancelled = time.time()
                self._batches[batch].ends = min(self._batches[batch].ends, time.time())
                return self._json(self._shown(self._batches[batch]))
            case ("GET", "batches", str(batch), "results") if batch in self._batches and self._batches[batch].ended:
                self._run(self._batches[batch])
                return web.Response(
                    body=b"".join(self._batches[batch].results or ()), content_type="application/x-jsonl"
                )
        return self._plain(self._double.answer(flavour, b"{}", key, "404"))

    # -- requests -----------------------------------------------------------------------------------------------------

    def _upload(self, request: web.BaseRequest, raw: bytes) -> web.Response:
        boundary = request.headers["Content-Type"].split("boundary=")[1].strip('"').encode()
        parts = [part.split(b"\r\n\r\n", 1) for part in raw.split(b"--" + boundary) if b"\r\n\r\n" in part]
        fields = {
            m.group(1): body.removesuffix(b"\r\n") for head, body in parts if (m := re.search(rb'name="(\w+)"', head))
        }
        if fields.get(b"purpose") != b"batch" or b"file" not in fields:
            return self._json(
                {"error": {"message": "purpose and file are required", "type": "invalid_request_error"}}, 400
            )
        name = f"file-{len(self._files) + 1}"
        self._files[name] = fields[b"file"]
        return self._json(
            {"id": name, "object": "file", "bytes": len(fields[b"file"]), "purpose": "batch", "status": "processed"}
        )

    def _create(self, request: web.BaseRequest, flavour: str, body: dict[str, Any]) -> web.Response:
        if flavour == "openai":
            lines = [orjson.loads(line) for line in self._files[body["input_file_id"]].splitlines()]
            rows = [(line["custom_id"], orjson.dumps(line["body"])) for line in lines]
            bad = (
                any(line["url"] != _URL["openai"] or line["method"] != "POST" for line in lines)
                or body["completion_window"] != "24h"
            )
        else:
            rows = [(row["custom_id"], orjson.dumps(row["params"])) for row in body["requests"]]
            bad = False
        names = [name for name, _ in rows]
        if (
            bad
            or not rows
            or len(set(names)) < len(names)
            or not all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in names)
        ):
            return self._json({"error": {"message": "a row is not valid", "type": "invalid_request_error"}}, 400)
        options, now = self._double.options, time.time()
        batch = Batch(
            f"batch_{len(self._batches) + 1}",
            flavour,
            rows,
            now,
            now + options.batch_seconds,
            body.get("metadata"),
            options.batch_refusal,
        )
        self._batches[batch.id] = batch
        if options.lose_batches and request.transport:
            request.transport.abort()
        return self._json(self._shown(batch))

    def _list(self, request: web.BaseRequest, flavour: str) -> web.Response:
        batches = [batch for batch in reversed(self._batches.values()) if batch.flavour == flavour]
        after = request.query.get("after") or request.query.get("after_id")
        if after:
            batches = batches[[batch.id for batch in batches].index(after) + 1 :]
        limit = min(self._double.options.batch_page, int(request.query.get("limit", 20)))
        page = [self._shown(batch) for batch in batches[:limit]]
        return self._json({"data": page, "has_more": len(batches) > limit, "first_id": None, "last_id": None})

    # -- running ------------------------------------------------------------------------------------------------------

    def _run(self, batch: Batch) -> None:
        """Answers all rows, once."""
        if batch.results is not None or not batch.ended or batch.refusal:
            return
        batch.results = []
        done = {"succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
        for name, body in batch.rows:
            digest = hashlib.sha256(body).hexdigest()[:32]
            fault = self._double.faults.draw(body, digest.encode())
            if batch.cancelled is not None or fault == "expired":
                fate = "canceled" if batch.cancelled is not None else "expired"
                self._keep(batch, name, fate, 0, b"{}")
            else:
                arrived = self._double.tally.arrive(digest)
                out = self._double.answer(batch.flavour, body, "", fault, limited=False)
                self._double.tally.leave(digest, arrived, out.status, fault, "batch")
                fate = "succeeded" if out.status == 200 else "errored"
                if fault != "missing":
                    self._keep(batch, name, fate, out.status, out.body)
            done[fate] += 1
        self._random.shuffle(batch.results)
        batch.counts = done
        self._files[f"{batch.id}-output"], self._files[f"{batch.id}-errors"] = (
            b"".join(batch.results),
            b"".join(batch.errors),
        )

    def _keep(self, batch: Batch, name: str, fate: str, status: int, body: bytes) -> None:
        data = orjson.loads(body)
        row: dict[str, Any] = {"custom_id": name}
        if batch.flavour == "anthropic":
            result: dict[str, Any] = {"type": fate}
            if fate in ("succeeded", "errored"):
                result["message" if fate == "succeeded" else "error"] = data
            row["result"] = result
        elif fate in ("canceled", "expired"):
            code = "batch_cancelled" if fate == "canceled" else "batch_expired"
            row |= {
                "response": None,
                "error": {
                    "code": code,
                    "message": "This request could not be executed before the completion window expired.",
                },
            }
        else:
            row |= {
                "id": f"req_{name}",
                "response": {"status_code": status, "request_id": "r", "body": data},
                "error": None,
            }
        assert batch.results is not None
        kept = batch.errors if batch.flavour == "openai" and fate != "succeeded" else batch.results
        kept.append(orjson.dumps(row) + b"\n")

    def _shown(self, batch: Batch) -> dict[str, Any]:
        self._run(batch)
        counts, total = batch.counts, len(batch.rows)
        if batch.flavour == "anthropic":
            zeros = {
                "processing": 0 if batch.ended else total,
                "succeeded": 0,
                "errored": 0,
                "canceled": 0,
                "expired": 0,
            }
            return {
                "id": batch.id,
                "type": "message_batch",
                "processing_status": "ended" if batch.ended else "in_progress",
                "request_counts": zeros | counts,
                "created_at": datetime.fromtimestamp(batch.created, UTC).isoformat().replace("+00:00", "Z"),
                "results_url": f"/v1/messages/batches/{batch.id}/results" if batch.ended else None,
            }
        shown: dict[str, Any] = {
            "id": batch.id,
            "object": "batch",
            "status": "in_progress",
            "created_at": int(batch.created),
            "metadata": batch.metadata,
            "request_counts": {
                "total": total,
                "completed": counts.get("succeeded", 0),
                "failed": counts.get("errored", 0),
            },
        }
        if batch.refusal:
            error = {"code": batch.refusal, "message": f"Batch refused: {batch.refusal}", "line": 1}
            return shown | {"status": "failed", "errors": {"object": "list", "data": [error]}}
        if batch.ended:
            word = "cancelled" if batch.cancelled is not None else "expired" if counts["expired"] else "completed"
            shown |= {"status": word, "output_file_id": f"{batch.id}-output" if batch.results else None}
            shown["error_file_id"] = f"{batch.id}-errors" if batch.errors else None
        return shown

    @staticmethod
    def _json(data: Any, status: int = 200) -> web.Response:
        return web.Response(body=orjson.dumps(data), status=status, content_type="application/json")

    @staticmethod
    def _plain(out: Any) -> web.Response:
        return web.Response(body=out.body, status=out.status, content_type="application/json")
