"""Whatever goes wrong between us and a provider, the engine learns what kind of trouble it is, from either provider alike."""

from __future__ import annotations

import asyncio
import gc
import logging
import pickle
import socket
import time
import traceback
import warnings

import pytest

from dprm_data.core.errors import DprmError
from dprm_data.providers.construction import make_provider
from dprm_data.providers.failures import retry_after
from dprm_data.providers.request import Answer, CallFailed, Usage
from tests.providers.helpers import BOTH, ENVIRON, KEY, answered, ask, config, failed, request
from tests.servers.llm import LLMServer


def every(kind: type[DprmError]) -> list[type[DprmError]]:
    """The kinds of this error, and their kinds."""
    return [found for below in kind.__subclasses__() for found in (below, *every(below))]


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [
        ("400", "rejected", 400),
        ("401", "key", 401),
        ("402", "billing", 402),
        ("403", "key", 403),
        ("404", "not_found", 404),
        ("408", "timeout", 408),
        ("409", "server", 409),
        ("413", "rejected", 413),
        ("422", "rejected", 422),
        ("429", "rate_limit", 429),
        ("500", "server", 500),
        ("502", "server", 502),
        ("503", "overloaded", 503),
        ("504", "timeout", 504),
        ("529", "overloaded", 529),
        ("quota", "billing", 429),
        ("quota_per_minute", "rate_limit", 429),
        ("credit", "billing", 400),
        ("html", "server", 502),
        ("broken", "broken", 200),
        ("list", "broken", 200),
        ("empty", "broken", 200),
        ("error_200", "rate_limit", 429),
        ("drop", "connection", None),
        ("drop_body", "connection", None),
    ],
)
def test_every_failure_has_its_kind(double: LLMServer, name: str, fault: str, kind: str, status: int | None) -> None:
    failure = failed(name, double.url, request(f"[[fault:{fault}]]"))
    assert (failure.kind, failure.status) == (kind, status)
    assert failure.message
    assert double.tally.requests == 1  # nobody retried behind the engine's back


@pytest.mark.parametrize("name", BOTH)
def test_kinds_say_what_can_be_mended_and_what_dooms_all(double: LLMServer, name: str) -> None:
    kinds = {fault: failed(name, double.url, request(f"[[fault:{fault}]]")) for fault in ("429", "401", "400", "quota")}
    assert [kinds[fault].retryable for fault in ("429", "401", "400", "quota")] == [True, False, False, False]
    assert [kinds[fault].fatal for fault in ("429", "401", "400", "quota")] == [False, True, False, True]


@pytest.mark.parametrize("name", BOTH)
def test_the_providers_own_words_reach_the_user(double: LLMServer, name: str) -> None:
    assert "maximum context length" in failed(name, double.url, request("[[fault:400]]")).message
    assert failed(name, double.url, request("[[fault:html]]")).message == "502 Bad Gateway"


@pytest.mark.parametrize("name", BOTH)
def test_the_wait_that_is_asked_for(double: LLMServer, name: str) -> None:
    waits = [
        failed(name, double.url, request(f"[[fault:{fault}]]")).retry_after
        for fault in ("429", "429_ms", "429_bare", "503")
    ]
    assert waits == [1.0, 0.05, None, 1.0]
    by_date = failed(name, double.url, request("[[fault:429_date]]")).retry_after
    assert by_date is not None and 0 < by_date <= 2.5


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 90.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
    ],
)
def test_retry_after_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=10.0) == seconds


@pytest.mark.parametrize("name", BOTH)
def test_rate_limit_headers_come_with_failures_too(double: LLMServer, name: str) -> None:
    failure = failed(name, double.url, request("[[fault:429]]"))
    assert failure.headers["retry-after"] == "1"
    assert any("ratelimit" in header for header in failure.headers)
    assert all(header == header.lower() for header in failure.headers)


@pytest.mark.parametrize("name", BOTH)
def test_a_provider_that_filters_the_content_with_an_error_has_answered(double: LLMServer, name: str) -> None:
    answer = answered(name, double.url, request("[[fault:filter_400]]"))
    assert (answer.text, answer.finish) == ("", "content_filter")


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("fault", ["hang", "slow"])
def test_an_attempt_ends_after_its_timeout(double: LLMServer, name: str, fault: str) -> None:
    started = time.monotonic()
    failure = failed(name, double.url, request(f"[[fault:{fault}]]"), timeout=0.3)
    assert failure.kind == "timeout"
    assert "0.3 s" in failure.message
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("name", BOTH)
def test_a_server_that_trickles_does_not_hold_us(name: str) -> None:
    """The SDKs' timeouts are per read; ours is for the whole attempt."""

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
        try:
            for _ in range(100):
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def run() -> CallFailed:
        server = await asyncio.start_server(trickle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        provider = make_provider(config(name, f"http://127.0.0.1:{port}", timeout=0.4), ENVIRON)
        with pytest.raises(CallFailed) as caught:
            await provider.complete(request())
        await provider.aclose()
        server.close()
        return caught.value

    assert asyncio.run(run()).kind == "timeout"


@pytest.mark.parametrize("name", BOTH)
def test_a_server_that_is_not_there(name: str) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        failure = failed(name, f"http://127.0.0.1:{port}", request())
    assert failure.kind == "connection"
    assert f"127.0.0.1:{port}" in failure.message


@pytest.mark.parametrize("name", BOTH)
def test_a_host_that_does_not_exist(name: str) -> None:
    failure = failed(name, "http://no-such-host.invalid", request())
    assert failure.kind == "connection"
    assert "no-such-host.invalid" in failure.message


@pytest.mark.parametrize("name", BOTH)
def test_the_key_is_in_no_message_log_or_traceback(
    double: LLMServer, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    double.options.slow = 0.0
    for fault in ("401", "403", "429", "400", "500", "html", "broken", "drop", "slow"):
        [result] = ask(name, double.url, request(f"[[fault:{fault}]]"))
        told = [repr(result)]
        if isinstance(result, CallFailed):
            told += [result.message, str(result.headers), *traceback.format_exception(result)]
            # Nothing that a crash reporter could unpack: the SDK's exception carries the request with its headers.
            assert not hasattr(result.__cause__ or result.__context__, "request")
        assert not any(KEY in text for text in told), fault
    assert KEY not in caplog.text
    provider = make_provider(config(name, double.url), ENVIRON)
    assert KEY not in repr(provider)
    asyncio.run(provider.aclose())


@pytest.mark.parametrize("name", BOTH)
def test_a_key_that_a_server_repeats_in_part_is_hidden_too(double: LLMServer, name: str) -> None:
    double.script({"key": "another"})
    message = failed(name, double.url, request()).message
    assert "Incorrect API key provided: [key]." in message


@pytest.mark.parametrize("name", BOTH)
def test_cancelling_closes_the_connection_and_the_provider_goes_on(double: LLMServer, name: str) -> None:
    async def run() -> Answer:
        provider = make_provider(config(name, double.url), ENVIRON)
        tasks = [asyncio.create_task(provider.complete(request(f"{i} [[fault:hang]]"))) for i in range(20)]
        while double.tally.in_flight < 20:  # noqa: ASYNC110 - counted in another thread
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        answer = await provider.complete(request())
        await provider.aclose()
        return answer

    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        assert asyncio.run(run()).finish == "stop"
        gc.collect()


@pytest.mark.parametrize("name", BOTH)
def test_many_calls_at_once_are_really_at_once(double: LLMServer, name: str) -> None:
    """The SDKs' own limits on connections would hold calls back unseen."""
    double.script({"latency": 0.3})

    async def run() -> None:
        provider = make_provider(config(name, double.url), ENVIRON)
        await asyncio.gather(*(provider.complete(request(str(i))) for i in range(200)))
        await provider.aclose()

    asyncio.run(run())
    assert double.tally.max_in_flight == 200


@pytest.mark.parametrize("name", BOTH)
def test_a_proxy_for_the_world_is_not_asked_for_our_own_machine(
    double: LLMServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert answered(name, double.url, request()).finish == "stop"


def test_failures_travel_between_processes() -> None:
    failure = CallFailed(
        "rate_limit", "slow down", status=429, retry_after=2.5, headers={"a": "b"}, usage=Usage(3, 1), sent=False
    )
    there = pickle.loads(pickle.dumps(failure))
    assert type(there) is CallFailed and vars(there) == vars(failure) and str(there) == "slow down"


@pytest.mark.parametrize(
    "kind", [DprmError, *(kind for kind in every(DprmError) if kind.__module__.startswith("dprm_data."))]
)
def test_errors_travel_between_processes(kind: type[DprmError]) -> None:
    there = pickle.loads(pickle.dumps(kind("what is wrong", hint="what to do")))
    assert type(there) is kind and str(there) == "what is wrong\nwhat to do" and there.exit_code == kind.exit_code
