"""The double's mind and its socket: what it answers to a request, and how it breaks off when it is told to."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from tests.servers import llm_clouds, llm_responses, llm_thoughts
from tests.servers import llm_wire as wire
from tests.servers.llm_batches import Batches
from tests.servers.llm_faults import STATUSES, Faults, filled
from tests.servers.llm_tally import RpmLimit, Tally

PATHS = {"/v1/chat/completions": "openai", "/v1/responses": "responses", "/v1/messages": "anthropic"}


@dataclass
class Options:
    """How the double behaves; all can be changed while it runs."""

    latency: float = 0.0  # seconds before every answer
    slow: float = 30.0  # seconds of the fault `slow`
    rpm: float | None = None  # a real limit: beyond it, 429
    burst: float | None = None  # requests that may come at once under the limit; a second's worth if not given
    key: str | None = None  # the only key that is accepted; any if not given
    labels: tuple[str, ...] = ()  # what a free text answer is picked from
    words: tuple[str, ...] = wire.WORDS  # what the first token's log-probabilities are about
    cache_minimum: int = 1024  # tokens: shorter prefixes are not cached
    batch_seconds: float = 0.2  # how long a batch runs
    batch_page: int = 100  # batches per page of a list
    batch_refusal: str | None = None  # the error code with which batches are refused
    lose_batches: bool = False  # take batches, but drop the connection instead of saying so
    usage: str = "whole"  # how the tokens are reported (`llm_wire.USAGES`)
    refuses: tuple[str, ...] = ()  # fields that are answered with 400
    only_responses: bool = False  # the model is not to be had in chat completions
    thoughts: str = ""  # where a model's thoughts show (`llm_thoughts.STYLES`); none if not given
    thought_tokens: int = 300  # of every answer of a model that thinks
    shown_rpm: int = 10_000  # the limit in the rate-limit headers, where there is no real one


@dataclass(slots=True)
class Outgoing:
    status: int
    body: bytes
    headers: dict[str, str]
    content_type: str = "application/json"


class Double:
    """The double's mind: turns bodies into replies, without any socket."""

    def __init__(self, options: Options, *, seed: int = 0, log: str | None = None) -> None:
        self.options = options
        self.faults = Faults(seed)
        self.tally = Tally(log)
        self.answers: deque[str] = deque()
        # In a test's own process: the answer to a request, and why it is refused with 400.
        self.says: Callable[[dict[str, Any]], str | None] | None = None
        self.objects: Callable[[dict[str, Any]], str | None] | None = None
        self.weighs: Callable[[dict[str, Any]], list[float]] | None = None  # likewise: the odds of `words`
        self.bills: Callable[[wire.Asked, str, dict[str, Any]], None] | None = None  # likewise: changes a reply's usage
        self._batches = Batches(self)
        self.script({})

    def script(self, settings: dict[str, Any]) -> None:
        """Changes options, faults and answers. Raises `ValueError` for what it does not know."""
        settings = dict(settings)
        self.faults.script(**{name: settings.pop(name) for name in ("chances", "queue", "seed") if name in settings})
        self.answers.extend(settings.pop("answers", ()))
        known = {field.name for field in dataclasses.fields(Options)}
        if unknown := settings.keys() - known:
            raise ValueError(f"no such setting: {sorted(unknown)}")
        self.options = dataclasses.replace(self.options, **settings)
        self._limit = RpmLimit(self.options.rpm, self.options.burst) if self.options.rpm else None
        self._cache = wire.PrefixCache(self.options.cache_minimum)

    # -- one request --------------------------------------------------------------------------------------------------

    def answer(self, flavour: str, raw: bytes, key: str, fault: str | None, *, limited: bool = True) -> Outgoing:
        """The reply to one body. The faults of the connection (slow, drop ...) are the caller's."""
        if limited and self._limit and (wait := self._limit.take()):
            return self._error(
                flavour,
                429,
                "Rate limit reached",
                "rate_limit_error",
                "rate_limit_exceeded",
                {"Retry-After": f"{wait:.3f}"},
            )
        if self.options.key is not None and key != self.options.key:
            fault = "401"
        if fault in STATUSES:
            known = STATUSES[fault]
            headers = {name: filled(value, key) for name, value in known.headers}
            return self._error(flavour, known.status, filled(known.message, key), known.kind, known.code, headers)
        try:
            data = orjson.loads(raw)
            chat = llm_responses.as_chat(data) if flavour == "responses" else data
            asked = wire.read_request("openai" if flavour == "responses" else flavour, chat)
        except (orjson.JSONDecodeError, wire.BadRequest) as error:
            return self._error(flavour, 400, str(error), "invalid_request_error", None, {})
        if self.options.only_responses and flavour == "openai":
            return self._error(flavour, 404, llm_responses.ONLY_THERE, "invalid_request_error", None, {})
        if unsupported := [field for field in self.options.refuses if field in data]:
            message = f"Unsupported parameter: '{unsupported[0]}' is not supported with this model."
            message += " Use 'max_completion_tokens' instead." if unsupported[0] == "max_tokens" else ""
            return self._error(flavour, 400, message, "invalid_request_error", "unsupported_parameter", {})
        if self.objects is not None and (objection := self.objects(data)):
            return self._error(flavour, 400, objection, "invalid_request_error", None, {})
        if fault == "error_200":
            body: Any = {"error": {"message": "upstream is rate limited", "code": 429}}
        elif fault == "empty":
            body = {
                "id": "1",
                "model": asked.model,
                "choices": [],
                "content": [],
                "usage": {"prompt_tokens": 7, "input_tokens": 7},
            }
        elif fault == "list":
            body = [1]
        else:
            body = self._reply(asked, data, raw, fault)
            body = llm_responses.from_chat(body) if flavour == "responses" else body
        return Outgoing(200, orjson.dumps(body), self._headers(flavour))

    def _reply(self, asked: wire.Asked, data: dict[str, Any], raw: bytes, fault: str | None) -> dict[str, Any]:
        text = self._text(asked, data, raw)
        finish = "stop"
        if fault == "unparsable":
            text = "As I see it, many things could be said about this, and I would not like to commit myself."
        elif fault == "length":
            text, finish = text[: len(text) // 2], "length"
        elif fault == "refusal":
            text, finish = "I'm sorry, but I can't help with that.", "refusal"
        elif fault == "filter":
            text, finish = "", "content_filter"
        top = None
        if asked.top_logprobs and fault not in ("no_logprobs", "refusal", "filter"):
            weights = self.weighs(data) if self.weighs else None
            top = wire.logprobs_of(asked.digest, asked.top_logprobs, self.options.words, weights)
            text = top[0]["token"]
        said = None
        if self.options.thoughts and finish == "stop" and not top and llm_thoughts.thinks(data):
            said = llm_thoughts.spoken(text, self.options.thought_tokens, asked.max_tokens)
            text, finish = said.text, said.finish
        elif asked.max_tokens and finish == "stop" and not top and wire.tokens(len(text)) > asked.max_tokens:
            text, finish = text[: asked.max_tokens * wire.CHARS_PER_TOKEN], "length"
        read, written = self._cache.look_up(asked)
        number = self.tally.requests
        if asked.flavour == "anthropic":
            reply = wire.anthropic_reply(asked, number, text, finish, read, written)
        else:
            reply = wire.openai_reply(asked, number, text, finish, read, top)
        if said:
            llm_thoughts.with_thoughts(reply, asked.flavour, self.options.thoughts, said)
        if self.bills:
            self.bills(asked, text, reply["usage"])
        return wire.reporting(reply, self.options.usage)

    def _text(self, asked: wire.Asked, data: dict[str, Any], raw: bytes) -> str:
        if self.says is not None and (said := self.says(data)) is not None:
            return said
        if self.answers:
            return self.answers.popleft()
        if b"[[say:" in raw and (found := wire.SAID.search("\0".join(asked.texts).encode())):
            return found.group(1).decode()
        value = wire.follow(asked.schema or {}, asked.digest, self.options.labels)
        return value if isinstance(value, str) else orjson.dumps(value).decode()

    def _error(
        self, flavour: str, status: int, message: str, kind: str, code: str | None, headers: dict[str, str]
    ) -> Outgoing:
        body = orjson.dumps(wire.error_body(flavour, message, kind, code))
        return Outgoing(status, body, self._headers(flavour) | headers)

    def _headers(self, flavour: str) -> dict[str, str]:
        limit = int(self.options.rpm or self.options.shown_rpm)
        left = self._limit.remaining if self._limit else limit - 1
        if flavour == "anthropic":
            prefix = "anthropic-ratelimit-requests-"
            return {
                f"{prefix}limit": str(limit),
                f"{prefix}remaining": str(left),
                f"{prefix}reset": "2030-01-01T00:00:00Z",
            }
        prefix = "x-ratelimit-"
        return {
            f"{prefix}limit-requests": str(limit),
            f"{prefix}remaining-requests": str(left),
            f"{prefix}reset-requests": "6ms",
        }

    # -- the socket ---------------------------------------------------------------------------------------------------

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        raw = await request.content.read()  # request.read() stops at a megabyte
        flavour = PATHS.get(path)
        if model := llm_clouds.model_in(path):
            flavour = "anthropic"
            try:
                raw = llm_clouds.as_message(request.headers, raw, model)
            except llm_clouds.Refused as refused:
                return web.Response(status=refused.status, body=refused.body, content_type="application/json")
        if flavour is None:
            return self._elsewhere(request, raw)
        digest = hashlib.sha256(raw).hexdigest()[:32]
        arrived = self.tally.arrive(digest)
        key = self.key_of(request)
        fault = self.faults.draw(raw, digest.encode())
        status: int | str = "gone"
        try:
            if self.options.latency:
                await asyncio.sleep(self.options.latency)
            if fault in ("slow", "hang"):
                await asyncio.sleep(self.options.slow if fault == "slow" else 3600)
            if fault == "drop":
                return _drop(request)
            out = self.answer(flavour, raw, key, fault)
            self._bill(out)
            if fault == "drop_body":
                return await _drop_midway(request, out)
            if fault in ("broken", "html"):
                out = _garbage(fault)
            status = out.status
            return web.Response(status=out.status, body=out.body, headers=out.headers, content_type=out.content_type)
        finally:
            if status == "gone" and fault is None:  # a provider finishes, and bills, what nobody waits for any more
                self._bill(self.answer(flavour, raw, key, None, limited=False))
            self.tally.leave(digest, arrived, status, fault, path)

    def _bill(self, out: Outgoing) -> None:
        if (
            out.status == 200
            and isinstance(said := orjson.loads(out.body), dict)
            and isinstance(said.get("usage"), dict)
        ):
            usage = said["usage"]
            read, written = (usage.get(name) or 0 for name in ("prompt_tokens", "completion_tokens"))
            if isinstance(read, int) and isinstance(written, int):
                self.tally.bill(read, written)

    @staticmethod
    def key_of(request: web.BaseRequest) -> str:
        return request.headers.get("X-Api-Key") or request.headers.get("Authorization", "").removeprefix("Bearer ")

    def _elsewhere(self, request: web.BaseRequest, raw: bytes) -> web.Response:
        if request.path == "/_stats":
            return _json(self.tally.stats(details=bool(request.query.get("details"))))
        if request.path == "/_reset":
            self.tally.reset()
            return _json({})
        if request.path == "/_script":
            try:
                self.script(orjson.loads(raw))
            except (ValueError, TypeError) as error:
                return _json({"error": str(error)}, 400)
            return _json({})
        if (response := self._batches.handle(request, raw)) is not None:
            return response
        return _json({"error": {"message": f"no such path: {request.path}", "type": "not_found_error"}}, 404)


def _json(data: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(data), status=status, content_type="application/json")


def _garbage(fault: str) -> Outgoing:
    if fault == "html":
        page = b"<html><head><style>p {}</style></head><body><h1>502 Bad Gateway</h1></body></html>"
        return Outgoing(502, page, {}, "text/html")
    return Outgoing(200, b'{"choices": [{"message": {"content": "hal', {})


def _drop(request: web.BaseRequest) -> web.Response:
    if request.transport:
        request.transport.abort()
    return web.Response()


async def _drop_midway(request: web.BaseRequest, out: Outgoing) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(out.body)), "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(out.body[: len(out.body) // 2])
    if request.transport:
        request.transport.close()
    return response


async def serve(double: Double, port: int = 0) -> tuple[str, web.ServerRunner]:
    """Serves on the loopback address; returns its URL and what to clean up."""
    runner = web.ServerRunner(web.Server(double.handle, access_log=None))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=4096)
    await site.start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}", runner
