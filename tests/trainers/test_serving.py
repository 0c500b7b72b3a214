"""The service of rewards from outside: a process, sockets, and requests as trainers send them."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import inspect
import json
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import pytest

from dprm_trainers import verl_reward
from dprm_trainers.reward.scorer import Scorer
from tests.helpers import dprm
from tests.servers.rewards import RewardServer
from tests.trainers import tiny

ASK = [{"role": "user", "content": "what is red"}]
WORDS = tiny.WORDS[:12]
KEY = "secret-of-the-tests"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return tiny.models_of_groups(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A policy's tokenizer, of another template than the reward models'."""
    folder = tmp_path_factory.mktemp("policy")
    tiny.policy_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def plain(models: list[str]) -> Iterator[RewardServer]:
    """One model, small limits, and time for rows to gather."""
    limits = ("--max-batch", 16, "--max-wait", 400, "--max-body", 0.0625, "--max-rows", 50, "--max-text", 2000)
    with RewardServer("--reward-model", models[0], *limits) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(models: list[str], policy: str) -> Iterator[RewardServer]:
    """Two groups, a key, room for one request, and queries by another template."""
    flags = ("-m", models[0], "-m", models[1], "--reading", "cvar:0.5", "--api-key-env", "REWARD_KEY")
    settings = ("--max-concurrency", 1, "--policy-tokenizer", policy)
    with RewardServer(*flags, *settings, key=KEY, REWARD_KEY=KEY) as server:
        yield server
    assert KEY not in "".join(server.said)


def rows(count: int) -> tuple[list[Any], list[str]]:
    return [ASK] * count, [f"{WORDS[i % 12]} {WORDS[i // 12 % 12]}" for i in range(count)]


def test_the_same_numbers_as_the_scorer(plain: RewardServer, models: list[str]) -> None:
    prompts, responses = rows(12)
    for reading in ("mean", "cvar:0.2"):
        expected = Scorer.load(models[0], reading=reading)(prompts, responses)
        status, found = plain.ask("/score", {"prompts": prompts, "responses": responses, "reading": reading})
        assert status == 200
        assert np.allclose(found["rewards"], expected.reward, atol=1e-6)
        assert np.allclose(found["std"], expected.std, atol=1e-6)
        assert np.allclose(found["distributions"], expected.distribution, atol=1e-6)
        assert found["labels"] == tiny.SPACE.names
        assert (found["reading"], found["worst_groups"], found["cut"]) == (reading, None, 0)
    texts = {"prompts": ["what is red"], "responses": [[{"role": "assistant", "content": responses[3]}]]}
    assert plain.ask("/score", texts)[1]["rewards"][0] == pytest.approx(
        Scorer.load(models[0])([ASK], responses[3:4]).reward[0], abs=1e-6
    )
    assert plain.ask("/score", {"prompts": [], "responses": []})[1]["rewards"] == []


def test_rows_of_several_requests_become_one_batch(plain: RewardServer, models: list[str]) -> None:
    prompts, responses = rows(12)
    expected = Scorer.load(models[0])(prompts, responses).reward
    before, judged, ready = plain.metric("batches_total"), plain.metric("rows_total"), threading.Barrier(12)

    def one(i: int) -> float:
        ready.wait()
        reward: float = plain.ask("/score", {"prompts": [prompts[i]], "responses": [responses[i]]})[1]["rewards"][0]
        return reward

    with ThreadPoolExecutor(12) as threads:
        found = list(threads.map(one, range(12)))
    assert np.allclose(found, expected, atol=1e-6)  # everyone got their own
    assert plain.metric("rows_total") - judged == 12
    assert plain.metric("batches_total") - before <= 4
    before = plain.metric("batches_total")
    prompts, responses = rows(40)
    assert len(plain.ask("/score", {"prompts": prompts, "responses": responses})[1]["rewards"]) == 40
    assert plain.metric("batches_total") - before == 3  # 16 + 16 + 8
    assert plain.metric("model_seconds_total") > 0


def test_openrlhf_as_it_posts(plain: RewardServer, models: list[str]) -> None:
    """One row per request, in lists, by aiohttp; the query is decoded with all special tokens (openrlhf/utils/agent.py)."""
    words = tiny.tokenizer()
    prompt = words.apply_chat_template(ASK, tokenize=False, add_generation_prompt=True)
    queries = [f"{prompt}good {word}{end}" for word, end in zip(WORDS, ["", " <end>", "<end><pad>"] * 4, strict=True)]

    async def rewards() -> list[Any]:
        async def one(query: str) -> Any:
            payload = {"query": [query], "prompts": [prompt], "labels": [None]}
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"{plain.url}/get_reward", json=payload) as answer,
            ):
                answer.raise_for_status()
                return await answer.json()

        return await asyncio.gather(*map(one, queries))

    expected = Scorer.load(models[0])([ASK] * 12, [f"good {word}" for word in WORDS])
    assert expected.distribution is not None
    for row, found in enumerate(asyncio.run(rewards())):
        assert found["rewards"] == found["scores"] == pytest.approx([expected.reward[row]], abs=1e-6)
        logged = [found["extra_logs"][f"preference_{label}"] for label in tiny.SPACE.names]
        assert np.allclose(np.ravel(logged), expected.distribution[row], atol=1e-6)
        assert found["extra_logs"]["reward_std"] == pytest.approx([expected.std[row]], abs=1e-6)


@pytest.mark.slow
def test_a_conversation_by_another_template(guarded: RewardServer, models: list[str], policy: str) -> None:
    """An agent's turns by the policy's template are put into the reward models' own."""
    turns = [*ASK, {"role": "assistant", "content": "blue"}, {"role": "user", "content": "not red"}]
    used = tiny.policy_tokenizer()
    prompt = used.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    status, found = guarded.ask(
        "/get_reward", {"query": [prompt + "good two<|im_end|>"], "prompts": [prompt], "labels": [""]}
    )
    assert status == 200, found
    assert found["rewards"] == pytest.approx(
        Scorer.load(models, reading="cvar:0.5")([turns], ["good two"]).reward.tolist()
    )
    status, found = guarded.ask("/get_reward", {"query": ["user : what <end> assistant : good"]})
    assert status == 422
    assert "row 1: a text was not rendered by the chat template" in found["error"]["message"]
    assert "--policy-tokenizer" in found["error"]["hint"]


def test_groups(guarded: RewardServer, models: list[str]) -> None:
    prompts, responses = rows(24)
    expected = Scorer.load(models, reading="cvar:0.5")(prompts, responses)
    found = guarded.ask("/score", {"prompts": prompts, "responses": responses})[1]
    assert np.allclose(found["rewards"], expected.reward, atol=1e-6)
    assert expected.worst is not None
    assert found["worst_groups"] == [["age=old", "age=young"][g] for g in expected.worst.tolist()]
    assert guarded.ask("/health") == (200, {"status": "ready"})
    about = guarded.ask("/model")[1]
    assert (about["groups"], about["labels"], about["reading"]) == (
        ["age=old", "age=young"],
        tiny.SPACE.names,
        "cvar:0.5",
    )
    assert about["rewards"] == tiny.SPACE.rewards.tolist()


def test_verl_as_it_calls(plain: RewardServer, models: list[str]) -> None:
    """Its reward manager loads the function from a file, wraps the settings' arguments around it, and calls it by names (verl/trainer/ppo/reward.py)."""
    spec = importlib.util.spec_from_file_location("custom_module", verl_reward.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert inspect.iscoroutinefunction(module.compute_score)
    settings = {"url": plain.url, "patience": 5}
    info = {"prompt": np.array(ASK, dtype=object), "index": np.int64(3), "num_turns": 2, "rollout_reward_scores": {}}
    row = {"data_source": "prefs", "ground_truth": "", "extra_info": info}

    async def scores() -> list[dict[str, float]]:
        return await asyncio.gather(*(module.compute_score(solution_str=word, **row, **settings) for word in WORDS))

    expected = Scorer.load(models[0])([ASK] * 12, WORDS)
    single = asyncio.run(scores())
    many = module.compute_score_batched(
        data_sources=["prefs"] * 12, solution_strs=WORDS, ground_truths=[""] * 12, extra_infos=[info] * 12, **settings
    )
    for found in (single, many):
        assert [one["score"] for one in found] == pytest.approx(expected.reward.tolist(), abs=1e-6)
        assert [one["reward_std"] for one in found] == pytest.approx(expected.std.tolist(), abs=1e-6)
        assert all(isinstance(value, float) for one in found for value in one.values())
    with pytest.raises(ValueError, match="no 'prompt'"):
        asyncio.run(module.compute_score("prefs", "good", "", {"index": 1}, **settings))
    with pytest.raises(RuntimeError, match=r"refused to score a response \(422\): .*row 1"):
        asyncio.run(
            module.compute_score("prefs", "good", "", {"prompt": [{"role": "narrator", "content": "x"}]}, **settings)
        )


def test_a_busy_or_absent_service_is_asked_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(RuntimeError, match="cannot be reached"):
        asyncio.run(
            verl_reward.compute_score(
                "", "good", extra_info={"prompt": "x"}, url=f"http://127.0.0.1:{port}", patience=0.1
            )
        )


@pytest.mark.parametrize(
    "path, content, status, wrong",
    [
        ("/score", {"prompts": ["a"]}, 422, "responses: Field required"),
        ("/score", {"prompts": ["a"], "responses": ["b"], "readings": "mean"}, 422, "readings: Extra inputs"),
        ("/score", {"prompts": ["a"], "responses": "b"}, 422, "responses: Input should be a valid list"),
        ("/score", {"prompts": ["a"], "responses": [3]}, 422, "row 1: response must be a text or a list"),
        ("/score", {"prompts": ["a"], "responses": []}, 422, "1 prompts and 0 responses"),
        ("/score", {"prompts": ["a"], "responses": ["\ud800"]}, 422, "row 1: .*half of a character"),
        ("/score", {"prompts": ["a"], "responses": ["b"], "reading": "median"}, 422, "there is no risk measure 'median'"),
        ("/score", {"prompts": ["a"] * 51, "responses": ["b"] * 51}, 413, "51 rows in one request; the limit is 50"),
        ("/score", {"prompts": ["a"], "responses": ["b" * 2001]}, 413, "row 1: a text of 2001 characters"),
        ("/get_reward", {"prompts": ["a"]}, 422, "query: Field required"),
        ("/get_reward", {"query": ["user : " * 1000]}, 413, "row 1: a text of 7000 characters; the limit is 4000"),
        ("/get_reward", {"query": ["a"], "prompts": ["a", "b"]}, 422, "1 queries and 2 prompts"),
        ("/compute_score", {"data_source": "x"}, 422, "^body: give solution_str with extra_info"),
        ("/compute_score", {"solution_str": "x"}, 422, "row 1: prompt must be a text or a list"),
        ("/compute_score", {"solution_strs": ["x"], "extra_infos": []}, 422, "0 prompts and 1 responses"),
        ("/nowhere", {}, 404, "Not Found"),
        ("/health", {}, 405, "Method Not Allowed"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(plain: RewardServer, path: str, content: Any, status: int, wrong: str) -> None:
    found, answer = plain.ask(path, content)
    assert found == status
    assert re.search(wrong, answer["error"]["message"]), answer


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b'{"prompts": ["a"], "responses": [', b"[" * 20_000])
def test_what_is_no_json_is_said(plain: RewardServer, raw: bytes) -> None:
    status, found = plain.ask("/score", raw=raw)
    assert status == 422
    assert found["error"]["fields"][0]["field"] == "body"


def test_a_body_that_is_not_said_to_be_json_is_no_riddle(plain: RewardServer) -> None:
    connection = http.client.HTTPConnection(urlsplit(plain.url).netloc, timeout=30)
    connection.request("POST", "/score", b"{}", {"Content-Type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    assert answer.status == 422
    assert "is content-type application/json?" in json.load(answer)["error"]["message"]


def test_a_large_body_is_refused_before_it_is_there(plain: RewardServer) -> None:
    connection = http.client.HTTPConnection(urlsplit(plain.url).netloc, timeout=30)
    connection.putrequest("POST", "/score")
    connection.putheader("Content-Length", str(64 * 1024 + 1))
    connection.endheaders()  # not one byte of the body is sent
    answer = connection.getresponse()
    assert answer.status == 413
    assert "larger than 65536 bytes" in json.load(answer)["error"]["message"]
    connection = http.client.HTTPConnection(urlsplit(plain.url).netloc, timeout=30)
    connection.putrequest("POST", "/score")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    for _ in range(5):  # 80 kB of a body whose length nobody said; its end is never sent
        connection.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
    assert connection.getresponse().status == 413


def test_room_for_so_many(guarded: RewardServer) -> None:
    """A caller that is slow with its body has the only place: others are told to come again, and the house says that it is well."""
    slow = socket.create_connection((urlsplit(guarded.url).hostname, urlsplit(guarded.url).port))
    body = json.dumps({"prompts": ["what is red"], "responses": ["good"]}).encode()
    head = f"POST /score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    slow.sendall(head.encode() + body[:10])
    wait_for(lambda: guarded.metric("requests_in_flight") == 1)
    connection = http.client.HTTPConnection(urlsplit(guarded.url).netloc, timeout=30)
    connection.request("POST", "/score", body, {"Authorization": f"Bearer {KEY}"})
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Retry-After")) == (503, "1")
    assert "1 requests are in progress" in json.load(answer)["error"]["message"]
    assert guarded.ask("/health")[0] == 200
    slow.sendall(body[10:])
    assert slow.recv(12) == b"HTTP/1.1 200"
    slow.close()
    wait_for(lambda: guarded.metric("requests_in_flight") == 0)
    assert guarded.ask("/score", {"prompts": ["a"], "responses": ["b"]})[0] == 200


def test_the_key(guarded: RewardServer) -> None:
    good, wrong = {"prompts": ["a"], "responses": ["b"]}, {"prompts": "not looked at"}
    for path in ("/score", "/get_reward", "/compute_score", "/metrics", "/model", "/docs", "/openapi.json"):
        status, found = guarded.ask(path, wrong, key="guess")
        assert status == 401, path
        assert found["error"]["message"] == "the key is missing or wrong"
    assert guarded.ask("/score", good)[0] == 200
    assert guarded.ask("/health", key="guess")[0] == 200

    async def by_url(user: str) -> int:
        """As trainers that know an address and nothing else of their reward send it."""
        url = guarded.url.replace("http://", f"http://{user}@")
        async with aiohttp.ClientSession() as session, session.post(f"{url}/score", json=good) as answer:
            return answer.status

    assert asyncio.run(by_url(f"any:{KEY}")) == 200
    assert asyncio.run(by_url("any:guess")) == 401
    for header in ("Basic !", "Basic", "Bearer", KEY, "Digest x"):
        connection = http.client.HTTPConnection(urlsplit(guarded.url).netloc, timeout=30)
        connection.request("POST", "/score", json.dumps(good), {"Authorization": header})
        assert connection.getresponse().status == 401, header


def test_metrics(plain: RewardServer) -> None:
    text = plain.ask("/metrics")[1]
    before = plain.metric('requests_total{path="/score",status="200"}')
    plain.ask("/score", {"prompts": [" ".join(["red"] * 80)], "responses": ["good"]})
    plain.ask("/made/up")
    assert plain.metric('requests_total{path="/score",status="200"}') == before + 1
    assert plain.metric("cut_rows_total") >= 1
    assert plain.metric('requests_total{path="other",status="404"}') >= 1
    assert "made" not in plain.ask("/metrics")[1]
    assert plain.metric("ready") == 1
    assert plain.metric("rows_waiting") == 0
    for line in text.splitlines():
        assert line.startswith("# ") or len(line.rsplit(" ", 1)) == 2
    counts = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if "_bucket{" in line]
    assert counts == sorted(counts)


def test_what_is_in_flight_is_answered_before_the_end(models: list[str]) -> None:
    with RewardServer("-m", models[0], "--max-wait", 1500) as server, ThreadPoolExecutor(2) as threads:
        asked = threads.submit(server.ask, "/score", {"prompts": ["what is red"], "responses": ["good"]})
        wait_for(lambda: server.metric("rows_waiting") == 1)
        server.process.send_signal(signal.SIGTERM)
        status, found = asked.result(30)
        assert status == 200
        assert len(found["rewards"]) == 1
        assert server.process.wait(30) == 0
        assert server.ask("/health")[0] == 0
    assert server.said == ("", "")


@pytest.mark.slow
def test_what_cannot_be_served_is_said(models: list[str], tmp_path: Path) -> None:
    none = dprm("serve", "-m", tmp_path / "none", "--port", 0, cwd=tmp_path)
    assert none.returncode == 2
    assert "there is no such folder" in none.stderr
    assert "Traceback" not in none.stderr
    keyless = dprm("serve", "-m", models[0], "--api-key-env", "NO_SUCH", cwd=tmp_path)
    assert keyless.returncode == 2
    assert "NO_SUCH is not set" in keyless.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = dprm("serve", "-m", models[0], "--port", taken.getsockname()[1], cwd=tmp_path)
    assert busy.returncode == 2
    assert "cannot listen on 127.0.0.1" in busy.stderr


def wait_for(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)
