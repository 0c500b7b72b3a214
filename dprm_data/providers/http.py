"""What all providers reached over HTTP have in common: sending JSON once, and turning whatever goes wrong into `CallFailed`.

The official SDKs carry the request (authentication, headers, connection pool); their retries are off and their model building is
skipped, because the engine wants to see every attempt and reads four fields of the answer. No text that leaves this module contains
the key: providers like to quote the key they refuse.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any, NamedTuple, cast

import aiohttp
import httpx2
import orjson

from dprm_data.providers.failures import (
    ContentFiltered,
    Scrubber,
    failure_in_reply,
    failure_of_status,
    pick_headers,
    plain,
)
from dprm_data.providers.request import CallFailed

# Where the connection was not even made, the request was not sent. (httpx2.ConnectError also stands for connections that broke later.)
_NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, ConnectionRefusedError)


class Reply(NamedTuple):
    """A decoded 2xx reply and its rate-limit headers."""

    data: dict[str, Any]
    headers: dict[str, str]


def client_options(url: httpx2.URL, timeout: float) -> dict[str, Any]:
    """What both SDKs' HTTP clients are made with."""
    return {
        "timeout": timeout,
        # How many calls run at once is the engine's business: 0 is aiohttp's word for no limit.
        "limits": httpx2.Limits(max_connections=0),
        # HTTP_PROXY and its like say how to reach the world; no proxy can reach our own loopback address.
        "trust_env": url.host not in ("localhost", "127.0.0.1", "::1"),
    }


class JsonClient:
    """Posts JSON through an SDK's client, once.

    sdk: an `AsyncOpenAI` or `AsyncAnthropic`; timeout: seconds for one attempt, all in all (the SDK's own is per read, so that a server
    that trickles would hold us for ever).
    """

    def __init__(self, sdk: Any, client: httpx2.AsyncClient, *, timeout: float, scrub: Scrubber) -> None:
        self.sdk = sdk
        self._client = client
        self._targets: dict[str, tuple[httpx2.URL, httpx2.Headers]] = {}
        self._timeout = timeout
        self._seconds = httpx2.Timeout(timeout).as_dict()
        self.scrub = scrub
        self._host = f"{sdk.base_url.host}:{sdk.base_url.port}" if sdk.base_url.port else str(sdk.base_url.host)

    async def post(self, path: str, body: dict[str, Any]) -> Reply:
        """The decoded reply. Raises `CallFailed`, or `ContentFiltered`."""
        return await self.call(self._post(path, orjson.dumps(body)))

    async def _post(self, path: str, content: bytes) -> httpx2.Response:
        """What `sdk.post` would send, by the SDK's own client, with its address, authentication and headers put together once and not
        for every call, which is half of its work."""
        if path not in self._targets:
            # As the SDKs do: a path is added to the base address, whether it begins with a slash or not.
            base = str(self.sdk.base_url).rstrip("/")
            url = httpx2.URL(f"{base}/{path.lstrip('/')}").copy_merge_params(self.sdk.default_query)
            ours = self.sdk.auth_headers | dict(self.sdk.default_headers)
            headers = {name: value for name, value in ours.items() if isinstance(value, str)}
            self._targets[path] = url, httpx2.Headers(headers | {"Content-Type": "application/json"})
        url, headers_ = self._targets[path]
        request = httpx2.Request("POST", url, headers=headers_, content=content, extensions={"timeout": self._seconds})
        request.headers.encoding = "ascii"  # or it is guessed anew at every look
        response = await self._client.send(request, follow_redirects=True)
        if response.status_code >= 400:
            raise failure_of_status(response.status_code, response.content, response.headers, self.scrub)
        return response

    async def get(self, path: str) -> Reply:
        """The decoded reply. Raises `CallFailed`."""
        return await self.call(self.sdk.get(path, cast_to=httpx2.Response))

    async def call(self, call: Awaitable[Any], *, seconds: float | None = None) -> Reply:
        """Awaits one request of the SDK (made with `cast_to=httpx2.Response`) and decodes its reply.

        seconds: the limit, where it is not the client's. Raises `CallFailed`, or `ContentFiltered`.
        """
        response = await self._send(call, seconds or self._timeout)
        response.headers.encoding = "iso-8859-1"
        headers = pick_headers(response.headers)
        try:
            data = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            start = self.scrub(plain(response.text, 120))
            raise CallFailed(
                "broken", f"the answer is not JSON: {start!r}", status=response.status_code, headers=headers
            ) from None
        if not isinstance(data, dict):
            raise CallFailed("broken", "the answer is no JSON object", status=response.status_code, headers=headers)
        if data.get("error"):
            raise failure_in_reply(data["error"], headers, self.scrub)
        return Reply(data, headers)

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """The lines of a file, as they come, without holding the whole. Raises `CallFailed`."""
        response = await self._send(
            self.sdk.get(path, cast_to=httpx2.Response, stream=True, stream_cls=object), self._timeout
        )
        failure: CallFailed | ContentFiltered | None = None
        rest = b""
        try:
            # Not aiter_lines: it also breaks lines at characters that JSON allows inside a text, such as U+2028.
            async for chunk in response.aiter_bytes():
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    if line.strip():
                        yield line
        except Exception as error:
            failure = self._failure(error)
        finally:
            await response.aclose()
        if failure is not None:
            raise failure
        if rest.strip():
            yield rest

    async def _send(self, call: Awaitable[Any], seconds: float) -> httpx2.Response:
        failure: CallFailed | ContentFiltered
        try:
            async with asyncio.timeout(seconds):
                return cast(httpx2.Response, await call)
        except TimeoutError:
            failure = self._timed_out(seconds)
        except (CallFailed, ContentFiltered) as known:
            failure = known
        except Exception as error:
            failure = self._failure(error)
        # Raised out here so that the SDK's exception, which holds the request and its headers, is not dragged along.
        raise failure

    def _failure(self, error: Exception) -> CallFailed | ContentFiltered:
        response = getattr(error, "response", None)
        if isinstance(response, httpx2.Response):
            try:
                return failure_of_status(response.status_code, response.content, response.headers, self.scrub)
            except ContentFiltered as filtered:
                return filtered
        causes = _causes(error)
        if any(isinstance(cause, TimeoutError) for cause in causes):
            return self._timed_out(self._timeout)
        known = (httpx2.HTTPError, aiohttp.ClientError, OSError)
        of_the_wire = [cause for cause in causes if isinstance(cause, known)]
        if of_the_wire:
            why = next(
                (text for cause in reversed(of_the_wire) if (text := plain(str(cause), 200))), type(error).__name__
            )
            sent = not any(isinstance(cause, _NOT_CONNECTED) for cause in causes)
            return CallFailed("connection", self.scrub(f"no connection to {self._host}: {why}"), sent=sent)
        raise error

    def _timed_out(self, seconds: float) -> CallFailed:
        return CallFailed("timeout", f"no answer from {self._host} within {seconds:g} s")

    async def aclose(self) -> None:
        await self.sdk.close()


def _causes(error: BaseException) -> list[BaseException]:
    """The exception and what caused it, outermost first. The SDKs wrap httpx's, which wraps aiohttp's, and only that one tells a
    dropped connection from a timeout."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain
