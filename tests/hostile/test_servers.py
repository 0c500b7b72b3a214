"""A server cannot harm the run: whatever it sends, a call ends soon, in bounded memory, as an answer or as a failure."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dprm_data.elicit.parsing import Unreadable, json_object, read_choice, read_distribution, read_words
from dprm_data.labels.space import LabelSpace
from dprm_data.providers import bodies
from dprm_data.providers.anthropic import AnthropicProvider
from dprm_data.providers.batch_anthropic import AnthropicBatches
from dprm_data.providers.batch_openai import OpenAIBatches
from dprm_data.providers.construction import make_batch_provider
from dprm_data.providers.failures import ContentFiltered, Scrubber, failure_in_reply, failure_of_status, plain
from dprm_data.providers.openai import OpenAIProvider
from dprm_data.providers.request import Answer, CallFailed
from tests.hostile.fuzzing import fuzzed
from tests.providers.helpers import BOTH, ENVIRON, KEY, ask, config, failed, request

PLAIN_KEY = "0123456789abcdef0123456789abcdef"  # of no known shape

Send = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def server(send: Send) -> Iterator[tuple[str, list[tuple[str, dict[str, str], bytes]]]]:
    """A server that answers every request by `send`: its address, and what it was sent (path, headers, body)."""
    seen: list[tuple[str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            try:
                send(self)
            except OSError:  # the client is gone
                self.close_connection = True

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}", seen
    finally:
        http.shutdown()
        http.server_close()


def reply(content: bytes, status: int = 200, **headers: str) -> Send:
    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return send


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(20_000):  # 20 GB, if anybody takes them
        handler.wfile.write(b" " * 1_000_000)


# -- size -------------------------------------------------------------------------------------------------------------

PEAK = """
import resource, sys
from tests.providers.helpers import failed, request
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
failed(sys.argv[1], "http://127.0.0.1:9", request())  # imports, before anything is measured
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
failure = failed(sys.argv[1], sys.argv[2], request(), timeout=60.0)
print(failure.kind, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) // 1024, failure.message)
"""


@cache
def bomb() -> bytes:
    """512 MiB of spaces in two of gzip."""
    compressor = zlib.compressobj(1, wbits=31)
    piece = b" " * (1 << 20)
    return b"".join(compressor.compress(piece) for _ in range(512)) + compressor.flush()


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("kind", ["bomb", "endless"])
def test_a_reply_is_bounded_while_it_is_read(name: str, kind: str) -> None:
    send = endless if kind == "endless" else reply(bomb(), Content_Encoding="gzip")
    with server(send) as (url, _):
        ran = subprocess.run([sys.executable, "-c", PEAK, name, url], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    words = ran.stdout.split(maxsplit=2)
    assert words[0] == "rejected"
    assert int(words[1]) < 200  # MiB
    assert "more than 32 MiB" in words[2]


@pytest.mark.parametrize("name", BOTH)
def test_of_an_error_only_the_beginning_is_read(name: str) -> None:
    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(500)
        handler.end_headers()
        for _ in range(20_000):
            handler.wfile.write(b"{" * 1_000_000)

    with server(send) as (url, _):
        began = time.monotonic()
        failure = failed(name, url, request(), timeout=60.0)
    assert (failure.kind, failure.status) == ("server", 500)
    assert len(failure.message) < 1000
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_reply_is_read_all_the_same(encoding: str) -> None:
    said = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}], "usage": {}}
    content = gzip.compress(orjson.dumps(said)) if encoding == "gzip" else zlib.compress(orjson.dumps(said))
    with server(reply(content, Content_Encoding=encoding)) as (url, seen):
        [answer] = ask("openai", url, request())
    assert isinstance(answer, Answer)
    assert answer.text == "yes"
    assert seen[0][1]["accept-encoding"] == "identity"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "x" * 5000])
def test_what_cannot_be_decompressed_is_a_failure(encoding: str) -> None:
    with server(reply(b"\x00\x01nonsense", Content_Encoding=encoding)) as (url, _):
        failure = failed("openai", url, request())
    assert failure.kind == "broken"
    assert "compressed" in failure.message


def test_a_line_of_results_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def pieces(_: object) -> Any:
        yield b'{"custom_id": "a"}\n\n'
        for _ in range(100):
            yield b"x" * 1000

    async def read() -> list[bytes]:
        return [line async for line in bodies.lines(None, 10_000)]  # type: ignore[arg-type]

    monkeypatch.setattr(bodies, "pieces", pieces)
    with pytest.raises(CallFailed, match="a line of the results"):
        asyncio.run(read())


# -- redirects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_other_server_is_sent_a_key_or_a_text(name: str, status: int) -> None:
    with server(reply(b"{}")) as (other, stolen), server(reply(b"", status, Location=f"{other}/v1/x?k=1")) as (url, _):
        failure = failed(name, url, request("a text that is nobody's business"))
    assert stolen == []
    assert failure.fatal
    assert f"redirects to '{other}/v1/x'" in failure.message


@pytest.mark.parametrize("name", BOTH)
def test_the_same_server_may_redirect_but_not_for_ever(name: str) -> None:
    def send(handler: BaseHTTPRequestHandler) -> None:
        path = handler.path
        if path.endswith("/slash"):
            said = {"choices": [{"message": {"content": "yes"}}], "content": [{"type": "text", "text": "yes"}]}
            reply(orjson.dumps(said))(handler)
        else:
            reply(b"", 308, Location=path + ("/slash" if "loop" not in path else "/loop"))(handler)

    with server(send) as (url, seen):
        [answer] = ask(name, url, request("hello"))
        assert isinstance(answer, Answer)
        assert b"hello" in seen[-1][2]
        [looped] = ask(name, url, request("hello"), base_url=f"{url}/loop")
    assert isinstance(looped, CallFailed)
    assert "loop" in looped.message


@pytest.mark.parametrize("location", ["", "http://[", "javascript:alert(1)", "//evil.invalid/", "http://\x7f/"])
def test_a_redirect_to_nowhere(location: str) -> None:
    with server(reply(b"", 307, Location=location)) as (url, _):
        assert failed("openai", url, request()).fatal


@pytest.mark.parametrize("name", BOTH)
def test_a_batch_is_not_redirected(name: str) -> None:
    """Its body is a stream, which can be sent once."""

    async def submit(url: str) -> None:
        made = make_batch_provider(config(name, url, timeout=5.0), ENVIRON)
        try:
            await made.submit([("a", request())])
        finally:
            await made.aclose()

    send: Send = lambda handler: reply(b"", 307, Location=handler.path + "/")(handler)  # noqa: E731
    with server(send) as (url, _), pytest.raises(CallFailed, match="redirects to"):
        asyncio.run(asyncio.wait_for(submit(url), 10))


def test_no_part_of_a_key_is_repeated() -> None:
    for start in range(560, 640):
        said = orjson.dumps({"error": {"message": "x" * start + " " + PLAIN_KEY}})
        failure = failure_of_status(500, said, {}, Scrubber(PLAIN_KEY))
        assert PLAIN_KEY[:6] not in failure.message


# -- any type where another is expected -------------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


def like(shape: Any) -> st.SearchStrategy[Any]:
    """The shape of a reply with any part of it replaced by any JSON value, or left out."""
    if isinstance(shape, dict):
        parts = {name: like(part) for name, part in shape.items()}
        kept: st.SearchStrategy[Any] = st.fixed_dictionaries({}, optional=parts)
    elif isinstance(shape, list):
        kept = st.lists(like(shape[0]), max_size=2)
    else:
        kept = st.just(shape)
    return st.one_of(kept, kept, json_values)


ERROR = {"message": "no", "type": "invalid_request_error", "code": "content_filter", "innererror": {"code": "x"}}
TOP = {"content": [{"token": "a", "logprob": -0.1, "top_logprobs": [{"token": "a", "logprob": -0.1}]}]}
OPENAI = {
    "model": "m",
    "choices": [
        {"message": {"content": "hi", "refusal": None}, "finish_reason": "stop", "logprobs": TOP, "error": None}
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}},
}
ANTHROPIC = {
    "model": "m",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 1},
}
SCRUB = Scrubber(KEY)


@fuzzed
@given(like(OPENAI))
def test_any_reply_of_openai_is_an_answer_or_a_failure(data: Any) -> None:
    provider = OpenAIProvider(api_key=KEY)
    for asked in (request(), request(top_logprobs=5)):
        outcome_of(lambda asked=asked: provider.read(data if isinstance(data, dict) else {}, {}, asked))  # type: ignore[misc]


@fuzzed
@given(like(ANTHROPIC))
def test_any_reply_of_anthropic_is_an_answer_or_a_failure(data: Any) -> None:
    provider = AnthropicProvider(api_key=KEY)
    outcome_of(lambda: provider.read(data if isinstance(data, dict) else {}, {}, request()))


@fuzzed
@given(like(ERROR), st.sampled_from([200, 302, 400, 401, 403, 404, 418, 429, 451, 500, 503, 999]))
def test_any_error_is_a_failure(error: Any, status: int) -> None:
    for found in (
        outcome_of(lambda: failure_in_reply(error, {}, SCRUB)),
        outcome_of(lambda: failure_of_status(status, orjson.dumps(error), {}, SCRUB)),
        outcome_of(lambda: failure_of_status(status, orjson.dumps({"error": error}), {}, SCRUB)),
    ):
        assert isinstance(found, CallFailed | ContentFiltered)


@fuzzed
@given(st.binary(max_size=300))
def test_any_bytes_of_an_error_are_a_failure(body: bytes) -> None:
    assert isinstance(outcome_of(lambda: failure_of_status(500, body, {}, SCRUB)), CallFailed)


@fuzzed
@given(
    like(
        {
            "custom_id": "a",
            "error": ERROR,
            "response": {"status_code": 200, "body": OPENAI},
            "result": {"type": "succeeded", "message": ANTHROPIC, "error": {"error": ERROR}},
        }
    )
)
def test_any_row_of_a_batch_is_an_answer_or_a_failure(row: Any) -> None:
    if not isinstance(row, dict):
        return
    openai, anthropic = batches()
    assert isinstance(openai._result(row, request()), Answer | CallFailed)
    result = row.get("result")
    assert isinstance(anthropic._result(result if isinstance(result, dict) else {}, request()), Answer | CallFailed)


@cache
def batches() -> tuple[OpenAIBatches, AnthropicBatches]:
    """Made once: the SDKs take a second to import."""
    return OpenAIBatches(OpenAIProvider(api_key=KEY)), AnthropicBatches(AnthropicProvider(api_key=KEY))


def outcome_of(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (CallFailed, ContentFiltered) as failure:
        return failure


@pytest.mark.parametrize("name", BOTH)
def test_a_reply_nested_deep_is_a_failure(name: str) -> None:
    for levels in (900, 1100, 200_000):
        nested = b"[" * levels + b"]" * levels
        for content, status in (
            (b'{"error": ' + nested + b"}", 200),
            (b'{"error": {"message": ' + nested + b"}}", 400),
        ):
            with server(reply(content, status)) as (url, _):
                assert isinstance(failed(name, url, request()), CallFailed)


# -- parsers are linear -----------------------------------------------------------------------------------------------

SPACE = LabelSpace.load("hh6")
HOSTILE = {
    "braces": "{" * 200_000,
    "closing braces": "}" * 200_000,
    "objects": "{}" * 100_000,
    "open strings": '{"' * 100_000,
    "nested": '{"a":' * 100_000 + "}" * 100_000,
    "tags": "<" * 200_000,
    "open blocks": "<script>" * 25_000,
    "open blocks of both": "<style><script " * 13_000,
    "white space": "<a" + " " * 200_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_text_hangs_a_parser(text: str) -> None:
    began = time.process_time()
    for read in (lambda: read_choice(text, SPACE), lambda: read_distribution(text, SPACE)):
        with pytest.raises(Unreadable):
            read()
    with suppress(Unreadable):
        json_object(text)
    assert len(plain(text * 50)) <= 600
    assert len(plain("<html>" + text * 50)) <= 600
    failure_of_status(500, text.encode() * 50, {}, SCRUB)
    assert time.process_time() - began < 5.0  # quadratic patterns took minutes


@fuzzed
@given(st.lists(st.tuples(st.sampled_from(["good", "bad", "x"]), st.floats()), max_size=6))
def test_log_probabilities_are_numbers_or_refused(top: list[tuple[str, float]]) -> None:
    try:
        found = read_words(top, ["good", "bad"])
    except Unreadable:
        return
    assert np.isfinite(found).all()


@settings(max_examples=300)
@given(st.text(alphabet='{}":,a1 \n', max_size=40))
def test_the_object_is_the_longest_or_else_one_that_is_whole(text: str) -> None:
    """From the first brace to the last if that is one object; otherwise an object within, as after thoughts with braces in them."""
    whole = []
    for start in (i for i, sign in enumerate(text) if sign == "{"):
        for end in (i for i, sign in enumerate(text) if sign == "}"):
            with suppress(json.JSONDecodeError):
                whole.append((start, end, json.loads(text[start : end + 1])))
    longest = [found for start, end, found in whole if (start, end) == (text.find("{"), text.rfind("}"))]
    try:
        read = json_object(text)
    except Unreadable:
        assert not longest
    else:
        assert read in (longest or [found for _, _, found in whole])
