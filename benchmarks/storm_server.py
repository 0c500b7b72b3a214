"""A server that refuses calls in one of several ways, and counts: a few microseconds a request, so that it is not what is measured.

python -m benchmarks.storm_server '{"latency": 2, "holds": 500}'      prints its address, serves until it is killed
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "created": 0,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "LABEL"}}],
    "usage": {"prompt_tokens": 500, "completion_tokens": 8, "total_tokens": 508},
}
_MESSAGES = {429: "Rate limit reached", 500: "The server had an error", 529: "Overloaded"}


@dataclass(frozen=True)
class Storm:
    """How the server refuses. Refusals come at once, answers after `latency` seconds.

    chances: of each error status; early: the number of the one request that meets a 429; holds: requests in flight beyond which there are
    429s; per_window: requests in every `window` seconds, said in the headers.
    """

    latency: float = 0.0
    chances: dict[int, float] = field(default_factory=dict)
    early: int = 0
    holds: int = 0
    per_window: int = 0
    window: float = 0.0

    def dumped(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def loaded(cls, text: str) -> Storm:
        given = json.loads(text)
        chances = {int(status): chance for status, chance in given.pop("chances", {}).items()}
        return cls(**given, chances=chances)


class _Counts:
    def __init__(self) -> None:
        self.requests = self.in_flight = self.most_in_flight = 0
        self.statuses: Counter[int] = Counter()
        self.answered: set[bytes] = set()
        self.first = self.last = 0.0

    def stats(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "most_in_flight": self.most_in_flight,
            "statuses": self.statuses,
            "answered": len(self.answered),
            "seconds": self.last - self.first,
        }


class _Connection(asyncio.Protocol):
    """One connection of a client: reads requests, one after the other."""

    def __init__(self, storm: Storm, counts: _Counts, dice: random.Random) -> None:
        self._storm, self._counts, self._dice = storm, counts, dice
        self._loop = asyncio.get_running_loop()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, rest = self._received.partition(b"\r\n\r\n")
        if not blank:
            return
        low = head.lower()
        at = low.find(b"content-length:")
        length = int(low[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(rest) < length:
            return
        self._received = rest[length:]
        if b" /_stats" in head[:20]:
            self._send(200, self._counts.stats(), {})
        else:
            self._asked(rest[:length])

    def _asked(self, body: bytes) -> None:
        counts, storm = self._counts, self._storm
        counts.requests += 1
        now = self._loop.time()
        counts.first = counts.first or now
        status, headers = self._fate(now)
        counts.statuses[status] += 1
        if status != 200:
            self._send(status, {"error": {"message": _MESSAGES[status], "type": "api_error", "code": None}}, headers)
            return
        counts.in_flight += 1
        counts.most_in_flight = max(counts.most_in_flight, counts.in_flight)
        self._loop.call_later(storm.latency, self._answer, body, headers)

    def _fate(self, now: float) -> tuple[int, dict[str, str]]:
        storm, counts = self._storm, self._counts
        if counts.requests == storm.early:
            return 429, {"Retry-After": "1"}
        if storm.holds and counts.in_flight >= storm.holds:
            return 429, {}
        if storm.per_window:
            return self._in_window(now)
        dice = self._dice.random()
        for status, chance in storm.chances.items():
            dice -= chance
            if dice < 0:
                return status, {}
        return 200, {}

    def _in_window(self, now: float) -> tuple[int, dict[str, str]]:
        storm, counts = self._storm, self._counts
        number, into = divmod(now - counts.first, storm.window)
        left = storm.per_window - _IN_WINDOW[number] - 1
        headers = {
            "x-ratelimit-limit-requests": str(storm.per_window),
            "x-ratelimit-remaining-requests": str(max(0, left)),
            "x-ratelimit-reset-requests": f"{storm.window - into:.3f}s",
        }
        if left < 0:
            return 429, headers | {"Retry-After": f"{storm.window - into:.3f}"}
        _IN_WINDOW[number] += 1
        return 200, headers

    def _answer(self, body: bytes, headers: dict[str, str]) -> None:
        self._counts.in_flight -= 1
        self._counts.answered.add(hashlib.blake2b(body, digest_size=8).digest())
        self._counts.last = self._loop.time()
        self._send(200, _answer_to(body), headers)

    def _send(self, status: int, data: Any, headers: dict[str, str]) -> None:
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        self._transport.write(head.encode() + body)


_IN_WINDOW: Counter[float] = Counter()  # requests taken, by number of the window


def _answer_to(body: bytes) -> bytes:
    """The first label of the request's own schema."""
    asked = json.loads(body)
    properties = asked["response_format"]["json_schema"]["schema"]["properties"]
    label = json.dumps({name: given["enum"][0] for name, given in properties.items()})
    return json.dumps(_ANSWER).replace('"LABEL"', json.dumps(label)).encode()


async def serve(storm: Storm) -> None:
    counts, dice = _Counts(), random.Random(0)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(storm, counts, dice), "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Storm.loaded(sys.argv[1])))
