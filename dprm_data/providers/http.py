"""What all providers reached over HTTP have in common: sending JSON once, and turning whatever goes wrong into `CallFailed`.

Requests go through aiohttp as they are: an SDK's client takes several times the CPU for each, retries behind the engine's back, and
builds models of which four fields are read. No text that leaves this module contains the key: providers like to quote the key they refuse.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Mapping
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import aiohttp
import httpx2
import orjson
import yarl
from multidict import CIMultiDict

from dprm_data.providers import bodies
from dprm_data.providers.failures import (
    ContentFiltered,
    Scrubber,
    failure_in_reply,
    failure_of_status,
    pick_headers,
    plain,
)
from dprm_data.providers.proxies import is_this_machine, proxy_for
from dprm_data.providers.request import CallFailed

# Where the connection was not even made, the request was not sent.
_NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, ConnectionRefusedError)

_NO_MORE: Mapping[str, str] = {}
_MOST_REDIRECTS = 3
_KEEP_ALIVE = 5.0  # seconds: servers close idle connections not much later

T = TypeVar("T")


class Reply(NamedTuple):
    """A decoded 2xx reply and its rate-limit headers."""

    data: dict[str, Any]
    headers: dict[str, str]


class JsonClient:
    """Posts JSON to one server, once.

    url: to which paths are added; its query stays behind them (older Azure addresses carry ?api-version=...), and a user with password in it
    is sent as such. headers: of every request. timeout: seconds for one attempt, all in all. Needs a running event loop from the first call
    on, and `aclose` in the end.
    """

    def __init__(self, url: httpx2.URL, headers: Mapping[str, str], *, timeout: float, scrub: Scrubber) -> None:
        self._url = url.copy_with(userinfo=b"")
        # How a reply may be compressed; replies are small, and compressing them costs more time than it saves.
        own = {"Accept": "application/json", "Content-Type": "application/json", "Accept-Encoding": bodies.ENCODING}
        self._headers = own | dict(headers)
        if url.userinfo:
            self._headers["Authorization"] = aiohttp.encode_basic_auth(url.username, url.password)
        self._targets: dict[str, httpx2.URL] = {}
        self._timeout = timeout
        self.scrub = scrub
        self._host = f"{url.host}:{url.port}" if url.port else str(url.host)

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        context = (
            httpx2.create_ssl_context(trust_env=not is_this_machine(self._url.host))
            if self._url.scheme == "https"
            else True
        )
        return aiohttp.ClientSession(
            # How many calls run at once is the engine's business.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE, ssl=context),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # `bodies` does so within bounds
            proxy=proxy_for(str(self._url)),
            timeout=aiohttp.ClientTimeout(total=None),  # ours is around all of an attempt
        )

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
        return await self._guarded(self._exchange(method, path, content, headers), limit)

    async def _exchange(self, method: str, path: str, content: Any, headers: Mapping[str, str]) -> Reply:
        response = await self._open(method, path, content, headers)
        try:
            return self._decoded(await bodies.body(response), response)
        finally:
            response.release()

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """The lines of a file, as they come, without holding the whole. Raises `CallFailed`."""
        response = await self._guarded(self._open("GET", path, None, _NO_MORE), self._timeout)
        found = bodies.lines(response)
        try:
            # The limit is for each line: whoever reads them takes some time, too.
            while (line := await self._guarded(anext(found, None), self._timeout)) is not None:
                yield line
        finally:
            response.release()

    async def _open(self, method: str, path: str, content: Any, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """The reply to one request, its body unread. Raises `CallFailed`, or `ContentFiltered`, for an error status."""
        url = self._target(path)
        known = CIMultiDict(self._headers)
        known.update(headers)
        for _ in range(_MOST_REDIRECTS):
            address = yarl.URL(str(url), encoded=True)
            response = await self._session.request(method, address, data=content, headers=known, allow_redirects=False)
            if response.status < 300:
                return response
            try:
                if response.status < 400:
                    url = self._redirected(response, url, content)
                    continue
                raise failure_of_status(
                    response.status, await bodies.start(response), _readable(response.headers), self.scrub
                )
            finally:
                response.release()
        raise CallFailed("not_found", f"{self._host} redirects in a loop", status=response.status)

    def _target(self, path: str) -> httpx2.URL:
        if path not in self._targets:
            # A path is added to the base address, whether it begins with a slash or not.
            base = str(self._url.copy_with(query=None)).rstrip("/")
            self._targets[path] = httpx2.URL(f"{base}/{path.lstrip('/')}").copy_merge_params(self._url.params)
        return self._targets[path]

    def _redirected(self, response: aiohttp.ClientResponse, url: httpx2.URL, content: object) -> httpx2.URL:
        """Where a redirect leads, if it may be followed: on the same server, as no other is sent a key or a text, and with a body that can
        be sent twice. Raises `CallFailed`."""
        try:
            target = url.join(_readable(response.headers).get("location", ""))
        except httpx2.InvalidURL:
            target = httpx2.URL("")
        # Other statuses make a GET of a POST.
        repeatable = response.status in (307, 308) and isinstance(content, bytes | None)
        same = (target.scheme, target.host, target.port) == (url.scheme, url.host, url.port)
        if repeatable and same and target != url:
            return target
        raise CallFailed(
            "not_found",
            f"{self._host} redirects to {plain(str(target.copy_with(query=None, userinfo=b'')), 200)!r}, which is not followed: neither "
            "key nor texts go to another server than the recipe's; if that is the one you want, set provider.base_url to it",
            status=response.status,
        )

    def _decoded(self, content: bytes, response: aiohttp.ClientResponse) -> Reply:
        status, headers = response.status, pick_headers(_readable(response.headers))
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
        known = (aiohttp.ClientError, OSError)
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
        if "_session" in vars(self):
            await self._session.close()


def _readable(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with names in lower case, and with values that any text may hold: aiohttp keeps bytes that are no UTF-8 as surrogates."""
    return {
        name.lower(): value if value.isascii() else value.encode("utf-8", "surrogateescape").decode("iso-8859-1")
        for name, value in headers.items()
    }


def _causes(error: BaseException) -> list[BaseException]:
    """The exception and what caused it, outermost first. aiohttp wraps the system's, whose words say why."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain
