"""Reading the bodies of HTTP replies within bounds: a server may send anything, compressed to a thousandth of its size, and without end."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from dprm_data.providers.request import CallFailed

if TYPE_CHECKING:
    import aiohttp

LARGEST_REPLY = 32 << 20  # bytes: log-probabilities of a whole vocabulary take a few million
LARGEST_ERROR = 1 << 20  # bytes of an error's body that are read; the rest is left
LONGEST_LINE = 64 << 20  # bytes of one line of a batch's results
LARGEST_FILE = (
    64 << 30
)  # bytes of a batch's results: 100,000 answers with log-probabilities of a whole vocabulary take half of it
_PIECE = 1 << 20  # bytes that are decompressed at a time

# Replies are small: compressing them costs more time than it saves.
ENCODING = "identity"


async def body(response: aiohttp.ClientResponse, limit: int = LARGEST_REPLY) -> bytes:
    """The whole body, decompressed. Raises `CallFailed` once it exceeds `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    async for piece in pieces(response):
        size += len(piece)
        if size > limit:
            raise CallFailed("rejected", f"the reply has more than {limit >> 20} MiB: no answer is that long")
        parts.append(piece)
    return b"".join(parts)


async def start(response: aiohttp.ClientResponse, limit: int = LARGEST_ERROR) -> bytes:
    """The first `limit` bytes of the body, decompressed."""
    parts: list[bytes] = []
    size = 0
    async for piece in pieces(response):
        parts.append(piece)
        size += len(piece)
        if size >= limit:
            break
    return b"".join(parts)[:limit]


async def lines(response: aiohttp.ClientResponse, limit: int = LONGEST_LINE) -> AsyncIterator[bytes]:
    """The lines of the body that hold anything, as they come. Raises `CallFailed` for one that exceeds `limit` bytes.

    Lines end at a newline alone, and not at other characters that JSON allows inside a text, such as U+2028.
    """
    rest: list[bytes] = []
    size = total = 0
    async for piece in pieces(response):
        total += len(piece)
        if total > LARGEST_FILE:
            raise CallFailed("broken", f"the results have more than {LARGEST_FILE >> 30} GiB")
        *ended, last = piece.split(b"\n")
        for line in ended:
            whole = b"".join((*rest, line))
            rest, size = [], 0
            if whole.strip():
                yield whole
        rest.append(last)
        size += len(last)
        if size > limit:
            raise CallFailed("broken", f"a line of the results has more than {limit >> 20} MiB")
    if (whole := b"".join(rest)).strip():
        yield whole


async def pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body in pieces of bounded size, decompressed. Raises `CallFailed` for an encoding that nobody asked for or that is broken."""
    encoding = response.headers.get("content-encoding", "").strip().lower() or "identity"
    if encoding == "identity":
        async for raw in response.content.iter_any():
            yield raw
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise CallFailed("broken", f"the reply is compressed in a way that was not asked for ({encoding[:40]!r})")
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: gzip or zlib, by its own header
    try:
        async for raw in response.content.iter_any():
            while raw:
                yield unpack.decompress(raw, _PIECE)
                raw = unpack.unconsumed_tail
    except zlib.error:
        raise CallFailed("broken", "the compressed reply is damaged") from None
