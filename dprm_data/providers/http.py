"""What all providers reached over HTTP have in common: sending JSON once, and turning whatever goes wrong into `CallFailed`.

The official SDKs carry the request (authentication, headers, connection pool); their retries are off and their model building is
skipped, because the engine wants to see every attempt and reads four fields of the answer. No text that leaves this module contains
the key: providers like to quote the key they refuse.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Mapping
from typing import Any, NamedTuple, TypeVar

import aiohttp
import httpx2
import orjson

from dprm_data.providers import bodies
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

_NO_MORE: Mapping[str, str] = {}
_MOST_REDIRECTS = 3

T = TypeVar("T")


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

    sdk: an `AsyncOpenAI` or `AsyncAnthropic`; timeout: seconds for one attempt, all in all (the SDK's own is per read, so a server that
    trickles could hold a call for ever).
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
        return await self.send("POST", path, orjson.dumps(body))

    async def get(self, path: str) -> Reply:
        """The decoded reply. Raises `CallFailed`."""
        return await self.send("GET", path)

    async def send(
        self,
        method: str,
        path: str,
        content: bytes | AsyncIterable[bytes] | None = None,
        *,
        headers: Mapping[str, str] = _NO_MORE,
        seconds: float | None = None,
    ) -> Reply:
        """Sends one request and decodes its reply. Raises `CallFailed`, or `ContentFiltered`.

        seconds: the limit of all of it, where it is not the client's.
        """
        limit = seconds or self._timeout
        return await self._guarded(self._exchange(method, path, content, headers, limit), limit)

    async def _exchange(
        self, method: str, path: str, content: Any, headers: Mapping[str, str], seconds: float
    ) -> Reply:
        response = await self._open(method, path, content, headers, seconds)
        try:
            return self._decoded(await bodies.body(response), response)
        finally:
            await response.aclose()

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """The lines of a file, as they come, without holding the whole. Raises `CallFailed`."""
        response = await self._guarded(self._open("GET", path, None, _NO_MORE, self._timeout), self._timeout)
        found = bodies.lines(response)
        try:
            # Without a limit of time: whoever reads the lines takes some, too.
            while (line := await self._guarded(anext(found, None), None)) is not None:
                yield line
        finally:
            await response.aclose()

    async def _open(
        self, method: str, path: str, content: Any, headers: Mapping[str, str], seconds: float
    ) -> httpx2.Response:
        """The reply to one request, its body unread. Raises `CallFailed`, or `ContentFiltered`, for an error status.

        Sends what the SDK would send, by the SDK's own client. Its address, authentication and headers are built once and not for every
        call: that is half of the SDK's work.
        """
        timeout = self._seconds if seconds == self._timeout else httpx2.Timeout(seconds).as_dict()
        url, known = self._target(path)
        for _ in range(_MOST_REDIRECTS):
            request = httpx2.Request(method, url, headers=known, content=content, extensions={"timeout": timeout})
            request.headers.update(headers)
            request.headers.encoding = "ascii"  # or it is guessed again at every look
            response = await self._client.send(request, stream=True, follow_redirects=False)
            response.headers.encoding = "iso-8859-1"
            if response.status_code < 300:
                return response
            try:
                if response.status_code < 400:
                    url = self._redirected(response, url, content)
                    continue
                raise failure_of_status(
                    response.status_code, await bodies.start(response), response.headers, self.scrub
                )
            finally:
                await response.aclose()
        raise CallFailed("not_found", f"{self._host} redirects in a loop", status=response.status_code)

    def _target(self, path: str) -> tuple[httpx2.URL, httpx2.Headers]:
        if path not in self._targets:
            # As the SDKs do: a path is added to the base address, whether it begins with a slash or not.
            base = str(self.sdk.base_url).rstrip("/")
            url = httpx2.URL(f"{base}/{path.lstrip('/')}").copy_merge_params(self.sdk.default_query)
            sdks = self.sdk.auth_headers | dict(self.sdk.default_headers)
            headers = {name: value for name, value in sdks.items() if isinstance(value, str)}
            ours = {"Content-Type": "application/json", "Accept-Encoding": bodies.ENCODING}
            self._targets[path] = url, httpx2.Headers(headers | ours)
        return self._targets[path]

    def _redirected(self, response: httpx2.Response, url: httpx2.URL, content: object) -> httpx2.URL:
        """Where a redirect leads, if it may be followed: on the same server, as no other is sent a key or a text, and with a body that can
        be sent twice. Raises `CallFailed`."""
        try:
            target = url.join(response.headers.get("location", ""))
        except httpx2.InvalidURL:
            target = httpx2.URL("")
        # Other statuses make a GET of a POST.
        repeatable = response.status_code in (307, 308) and isinstance(content, bytes | None)
        same = (target.scheme, target.host, target.port) == (url.scheme, url.host, url.port)
        if repeatable and same and target != url:
            return target
        raise CallFailed(
            "not_found",
            f"{self._host} redirects to {plain(str(target.copy_with(query=None, userinfo=b'')), 200)!r}, which is not followed: neither "
            "key nor texts go to another server than the recipe's; if that is the one you want, set provider.base_url to it",
            status=response.status_code,
        )

    def _decoded(self, content: bytes, response: httpx2.Response) -> Reply:
        status, headers = response.status_code, pick_headers(response.headers)
        try:
            data = orjson.loads(content)
        except orjson.JSONDecodeError:
            start = self.scrub(plain(content[:1000].decode("utf-8", "replace"), 120))
            raise CallFailed("broken", f"the answer is not JSON: {start!r}", status=status, headers=headers) from None
        if not isinstance(data, dict):
            raise CallFailed("broken", "the answer is not a JSON object", status=status, headers=headers)
        if data.get("error"):
            raise failure_in_reply(data["error"], headers, self.scrub)
        return Reply(data, headers)

    async def _guarded(self, work: Awaitable[T], seconds: float | None) -> T:
        """Await `work`, for at most `seconds`. Every failure is raised as `CallFailed` or `ContentFiltered`."""
        failure: CallFailed | ContentFiltered
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError:
            failure = self._timed_out(seconds or self._timeout)
        except (CallFailed, ContentFiltered) as known:
            failure = known
        except Exception as error:
            failure = self._failure(error)
        # Raised out here so that the client's exception, which holds the request and its headers, is not dragged along.
        raise failure

    def _failure(self, error: Exception) -> CallFailed:
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
