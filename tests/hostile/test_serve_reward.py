"""`dprm serve` among hostile and broken clients: a process, raw sockets, and bodies made here."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from dprm_data.labels.space import LabelSpace
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.data.transcripts import Marks
from dprm_trainers.reward.risk_measures import RiskMeasure
from dprm_trainers.reward.scorer import Scorer
from dprm_trainers.serving.queries import QueryReader
from tests.servers.rewards import RewardServer
from tests.trainers import tiny

KEY = "ключ-ü-\U0001f511"
GOOD = {"prompts": ["what is red"], "responses": ["good"]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.reward_model(tmp_path_factory.mktemp("model") / "one"))


@pytest.fixture(scope="module")
def server(model: str) -> Iterator[RewardServer]:
    """Small limits, and little patience."""
    limits = ("--max-receive", 1.5, "--max-body", 1, "--max-pending", 3, "--max-rows", 5000, "--max-queue", 6000)
    with RewardServer("-m", model, "--max-batch", 4, *limits) as running:
        yield running
    assert running.said == ("", "")  # no client fills the log


def connected(server: RewardServer) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=30)


def head(length: int, more: str = "") -> bytes:
    return (
        f"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n"
    ).encode()


def posted(server: RewardServer, content: Any) -> socket.socket:
    """A connection on which a request was sent; nobody reads the response."""
    body = json.dumps(content).encode()
    connection = connected(server)
    connection.sendall(head(len(body)) + body)
    return connection


def wait_for(true: Callable[[], bool], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


def until_closed(connection: socket.socket, trickle: bytes = b"") -> tuple[bytes, float]:
    """What the server sent, and the seconds until it closed the connection, while single bytes are sent to it."""
    began, received = time.monotonic(), b""
    connection.settimeout(0.2)
    while time.monotonic() - began < 20:
        try:
            if trickle:
                connection.send(trickle)
            part = connection.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            return received, time.monotonic() - began
        if not part:
            return received, time.monotonic() - began
        received += part
    raise AssertionError("the connection is still open")


HALVES = {
    "nothing": (b"", b""),
    "a head": (b"POST /score HTTP/1.1\r\nHost: x\r\n", b""),
    "a trickling head": (b"POST /score HTTP/1.1\r\nX-Long: ", b"x"),
    "a body": (head(1000) + b"{", b""),
    "a trickling body": (head(1000) + b"{", b" "),
    "trickling chunks": (
        b"POST /score HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\n \r\n",
    ),
    "a body that was refused": (head(10**9), b" "),
    "a body of health": (b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b" "),
    "a second head": (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\n", b""),
    "a trickling second head": (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nX-Long: ", b"x"),
}


@pytest.mark.slow
def test_half_sent_requests_are_dropped(server: RewardServer) -> None:
    def one(name: str) -> tuple[bytes, float]:
        first, trickle = HALVES[name]
        connection = connected(server)
        connection.sendall(first)
        return until_closed(connection, trickle)

    with ThreadPoolExecutor(len(HALVES)) as threads:
        found = dict(zip(HALVES, threads.map(one, HALVES), strict=True))
    assert {name: seconds for name, (_, seconds) in found.items() if seconds > 9} == {}
    for name in ("a body", "a trickling body", "trickling chunks"):
        assert b" 408 " in found[name][0], name
        assert b"the body did not arrive within 1.5 s" in found[name][0]
    assert b" 413 " in found["a body that was refused"][0]
    assert server.metric("requests_in_flight") == 0


@pytest.mark.slow
def test_hundreds_of_half_sent_requests(server: RewardServer) -> None:
    """Honest callers are served meanwhile, and none of the others is held afterwards."""
    held = [connected(server) for _ in range(300)]
    for connection in held:
        connection.sendall(b"POST /score HTTP/1.1\r\n")
    assert server.ask("/score", GOOD)[0] == 200
    for connection in held:
        connection.settimeout(20)
        assert until_closed(connection)[0] == b""


def test_a_client_that_does_not_read(server: RewardServer) -> None:
    """Its responses fill the buffers: it is dropped, and its place is free again."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    address = urlsplit(server.url)
    connection.connect((str(address.hostname), int(address.port or 0)))
    connection.settimeout(1)
    with contextlib.suppress(OSError):
        for _ in range(200):
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
    wait_for(lambda: server.metric("requests_in_flight") == 1)
    wait_for(lambda: server.metric("requests_in_flight") == 0)
    connection.close()


def test_rows_of_callers_that_are_gone_are_dropped(server: RewardServer) -> None:
    rows = {"prompts": ["what is red"] * 1000, "responses": ["good"] * 1000}
    scored = server.metric("rows_total")
    gone = [posted(server, rows) for _ in range(5)]
    wait_for(lambda: server.metric("rows_waiting") > 3000)
    for connection in gone:
        connection.close()
    wait_for(lambda: server.metric("rows_waiting") == 0, 2)
    assert server.ask("/score", GOOD)[0] == 200
    assert server.metric("rows_total") - scored < 3000
    assert server.metric("requests_in_flight") == 0


def test_the_queue_is_bounded(server: RewardServer) -> None:
    rows = {"prompts": ["what is red"] * 4000, "responses": ["good"] * 4000}
    first = posted(server, rows)
    wait_for(lambda: server.metric("rows_waiting") > 2500)
    status, found = server.ask("/score", rows)
    assert status == 429
    assert "responses are waiting for a batch; the limit is 6000" in found["error"]["message"]
    assert "--max-queue" in found["error"]["hint"]
    assert server.ask("/score", GOOD)[0] == 200  # there is room for one
    first.close()


def test_bodies_in_memory_are_bounded(server: RewardServer) -> None:
    held = [connected(server) for _ in range(3)]
    for connection in held:
        connection.sendall(head(1024 * 1024) + b" " * (1024 * 1024 - 1))
    wait_for(lambda: server.metric("requests_in_flight") == 3)
    time.sleep(0.2)  # the last bytes are read
    status, found = server.ask("/score", raw=b" " * 1024 * 1023)
    assert status in (0, 503)  # 0: the connection was closed while the client was still sending
    assert status == 0 or "--max-pending" in found["error"]["hint"]
    for connection in held:
        connection.close()
    wait_for(lambda: server.metric("requests_in_flight") == 0)
    assert server.ask("/score", GOOD)[0] == 200


@pytest.mark.parametrize(
    "spec", ["entropic:1e308", "std:1e308", "entropic:1e9", "cvar:nan", "std:inf", "quantile:-1", "cvar:1e-400"]
)
def test_a_reading_that_overflows_is_refused(server: RewardServer, spec: str) -> None:
    status, found = server.ask("/score", GOOD | {"reading": spec})
    assert status == 422
    assert "is outside" in found["error"]["message"]


def test_readings_stay_within_the_rewards() -> None:
    """From the smallest level to the largest, for certain and for spread distributions."""
    rewards = np.array([-3.0, 0.0, 2.0])
    p = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, 0.5, 0.5], [1e-300, 0.5, 0.5], [0.2, 0.3, 0.5]])
    for level in (5e-324, 1e-300, 1e-12, 1e-3, 1, 1e3, 1e6):
        for name in ("entropic", "cvar", "quantile"):
            if level > 1 and name != "entropic":
                continue
            found = RiskMeasure.of(f"{name}:{level!r}")(p, rewards)
            assert (found >= -3).all(), (name, level)
            assert (found <= p @ rewards + 1e-9).all() or name == "quantile", (name, level)
    assert RiskMeasure.of("entropic:1e-300")(p, rewards) == pytest.approx(p @ rewards)
    assert RiskMeasure.of("entropic:1e6")(p, rewards)[2] == pytest.approx(0, abs=1e-5)
    with pytest.raises(TrainingError, match="overflows"):
        RiskMeasure.of("std:1e6")(p[4:], rewards * 1e306)


def deep(levels: int) -> bytes:
    return b'{"prompts": ' + b"[" * levels + b"]" * levels + b', "responses": ["b"]}'


BODIES: dict[str, bytes] = {
    "null": b"null",
    "a number": b"1e999",
    "a list": b"[[]]",
    "a text": b'"\\ud800"',
    "a surrogate as a field": b'{"prompts": [], "responses": [], "\\ud800\\u0000": 1}',
    "a surrogate as a reading": b'{"prompts": ["a"], "responses": ["b"], "reading": "\\ud800"}',
    "a long reading": json.dumps(GOOD | {"reading": "x" * 500_000}).encode(),
    "a long field": json.dumps(GOOD | {"x" * 500_000: 1}).encode(),
    "a long role": json.dumps({"prompts": [[{"role": "x" * 500_000, "content": ""}]], "responses": ["b"]}).encode(),
    "a huge integer": b'{"prompts": [' + b"9" * 500_000 + b'], "responses": ["b"]}',
    "not a number": b'{"prompts": [NaN], "responses": [-Infinity]}',
    "900 levels": deep(900),
    "100,000 levels": deep(100_000),
    "levels of objects": b'{"a":' * 50_000,
    "messages of any type": b'{"prompts": [[{"role": {}, "content": []}]], "responses": [[null]]}',
    "no turns": b'{"prompts": [[]], "responses": [[]]}',
    "not UTF-8": b'{"prompts": ["\xff\xfe"], "responses": ["b"]}',
    "UTF-16": json.dumps({"prompts": 1}).encode("utf-16"),
    "NUL": b"\0" * 100,
    "numbers for texts": b'{"query": [1], "prompts": {"a": 1}, "solution_str": [], "extra_info": 3, "prompt": true}',
    "a tree for extra_info": b'{"solution_str": "a", "extra_info": {"prompt": {"role": ["x"]}}}',
    "many lists": b'{"solution_strs": [' + b"[]," * 200_000 + b"[]]}",
}


@pytest.mark.parametrize("path", ["/score", "/get_reward", "/compute_score"])
@pytest.mark.parametrize("name", BODIES)
def test_json_of_any_form_is_refused_in_words(server: RewardServer, path: str, name: str) -> None:
    status, found = server.ask(path, raw=BODIES[name])
    assert status == 422, found
    assert 3 < len(found["error"]["message"]) < 1200
    for field in found["error"].get("fields", []):
        assert len(field["field"]) < 1200


@pytest.mark.parametrize(
    "raw",
    [
        b"\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /score HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 50_000 + b"\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /score HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n",
    ],
)
@pytest.mark.slow
def test_malformed_requests(server: RewardServer, raw: bytes) -> None:
    connection = connected(server)
    with contextlib.suppress(OSError):
        connection.sendall(raw)
    received = until_closed(connection)[0]
    assert received == b"" or received.startswith((b"HTTP/1.1 4", b"HTTP/1.1 3"))
    assert server.ask("/health") == (200, {"status": "ready"})


@pytest.mark.slow
def test_the_key_may_be_any_text(model: str) -> None:
    with RewardServer("-m", model, "--api-key-env", "REWARD_KEY", REWARD_KEY=KEY) as server:

        def status(authorization: bytes) -> int:
            body = json.dumps(GOOD).encode()
            connection = connected(server)
            connection.sendall(
                head(len(body), "Connection: close\r\n")[:-2] + b"Authorization: " + authorization + b"\r\n\r\n" + body
            )
            return int(until_closed(connection)[0].split(b" ", 2)[1])

        assert status(b"Bearer " + KEY.encode()) == 200
        for wrong in (
            b"",
            b"\xff\xfe",
            "ключ".encode(),
            KEY.encode()[:-1],
            KEY.encode("utf-16").hex().encode(),
            b"x" * 60_000,
        ):
            assert status(b"Bearer " + wrong) == 401, wrong
        assert status(b"Basic /////w==") == 401
    assert KEY not in "".join(server.said)


def test_ends_of_a_query_are_taken_off_in_linear_time() -> None:
    """A response of nothing but end tokens."""
    tokenizer = tiny.tokenizer()
    plain, template = QueryReader(tokenizer, "plain"), QueryReader(tokenizer, "template")
    ends = "<end><pad>" * 40_000
    began = time.monotonic()
    assert plain.read(["ask good" + ends], ["ask"])[1] == ["good"]
    prompt = str(
        tokenizer.apply_chat_template([{"role": "user", "content": "ask"}], tokenize=False, add_generation_prompt=True)
    )
    assert template.read([f"{prompt}good{ends}"], None)[1] == ["good"]
    turns = prompt + "".join("x <end> user : y <end> assistant : " for _ in range(20_000))
    assert len(Marks.of(tokenizer).parse(turns + "z")) > 20_000
    assert time.monotonic() - began < 2


def test_a_space_whose_rewards_overflow_is_said(tmp_path: Path) -> None:
    space = LabelSpace.ordinal(3)
    labels = [
        label.model_copy(update={"reward": reward})
        for label, reward in zip(space.labels, (-1e308, 0.0, 1e308), strict=True)
    ]
    wide = space.model_copy(update={"labels": tuple(labels)})
    model = tiny.reward_model(tmp_path / "wide", space=wide)
    with pytest.raises(TrainingError, match="the standard deviation overflows"):
        Scorer.load(str(model))([[{"role": "user", "content": "what is red"}]], ["good"])
