"""The double itself: what tests and benchmarks rely on."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from dprm_data.providers.construction import make_provider
from dprm_data.providers.request import Answer, CallFailed
from tests.providers.helpers import CHOICE, ENVIRON, ask, config, request
from tests.servers.llm import LLMProcess, LLMServer


def test_as_a_process_it_counts_and_keeps_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with LLMProcess("--log", str(log), "--latency", "0.05") as server:
        server.script(queue=["429", "ok", "drop"])

        async def run() -> list[object]:
            provider = make_provider(config("openai", server.url), ENVIRON)
            calls = [provider.complete(request(f"hello {i % 5}")) for i in range(10)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            await provider.aclose()
            return list(results)

        results = asyncio.run(run())
        stats = server.stats(details=True)
    assert sum(isinstance(result, Answer) for result in results) == 8
    assert (stats["requests"], stats["distinct"], stats["max_in_flight"], stats["in_flight"]) == (10, 5, 10, 0)
    assert stats["statuses"] == {"200": 8, "429": 1, "gone": 1}
    assert stats["answered"] == 8
    assert sorted(stats["bodies"].values()) == [2, 2, 2, 2, 2]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == 10
    assert {line["status"] for line in lines} == {200, 429, "gone"}
    assert all(line["seconds"] >= 0.04 for line in lines)


def test_a_real_limit(double: LLMServer) -> None:
    double.script({"rpm": 120, "burst": 3})
    results = ask("anthropic", double.url, *(request(str(i)) for i in range(6)))
    assert [isinstance(result, Answer) for result in results] == [True] * 3 + [False] * 3
    refused = results[-1]
    assert isinstance(refused, CallFailed) and refused.retry_after is not None and 0 < refused.retry_after <= 0.5
    assert double.tally.most_within(60) == 6


def test_chances_are_seeded() -> None:
    def fates(seed: int) -> list[bool]:
        with LLMServer(seed=seed) as server:
            server.script({"chances": {"500": 0.3, "429": 0.2}})
            return [
                isinstance(result, Answer)
                for result in ask("openai", server.url, *(request(str(i)) for i in range(40)))
            ]

    first = fates(1)
    assert 10 < sum(first) < 30
    assert fates(1) == first != fates(2)


def test_a_mark_can_wear_off(double: LLMServer) -> None:
    results = ask("openai", double.url, *[request("[[fault:500:2]]")] * 4)
    assert [isinstance(result, Answer) for result in results] == [False, False, True, True]


def test_scripted_words(double: LLMServer) -> None:
    double.script({"answers": ["first"]})
    results = ask("openai", double.url, request("x"), request("[[say:second]]"), request("x", schema=CHOICE))
    texts = [result.text for result in results if isinstance(result, Answer)]
    assert texts[:2] == ["first", "second"]
    assert set(json.loads(texts[2])) == {"label"}


def test_a_distribution_sums_to_one(double: LLMServer) -> None:
    fields = {label: {"type": "number"} for label in "abc"}
    [answer] = ask("openai", double.url, request(schema={"type": "object", "properties": fields}))
    assert isinstance(answer, Answer)
    assert sum(json.loads(answer.text).values()) == pytest.approx(1, abs=0.01)


def test_unknown_scripts_are_refused() -> None:
    with LLMProcess() as server:
        for script in ({"queue": ["oops"]}, {"speed": 3}):
            wanted = urllib.request.Request(f"{server.url}/_script", json.dumps(script).encode())
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(wanted)
