"""The service of rewards where its models misbehave or are not there yet: the application in this process, behind a real socket."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import uvicorn

from dprm_trainers.core.errors import TrainingError
from dprm_trainers.data.rows import Message
from dprm_trainers.reward.reward_model import RewardModel
from dprm_trainers.reward.scorer import Predictions, Scorer
from dprm_trainers.serving.app import Loaded, Service, make_app
from dprm_trainers.serving.batching import Batcher
from dprm_trainers.serving.queries import QueryReader
from dprm_trainers.serving.service_metrics import Metrics
from dprm_trainers.serving.service_settings import ServiceSettings
from tests.trainers import tiny

ASK: list[Message] = [{"role": "user", "content": "what is red"}]
NO_SYSTEM: list[Message] = [{"role": "system", "content": "be kind"}, *ASK]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.reward_model(tmp_path_factory.mktemp("model") / "one"))


@pytest.fixture
def picky(model: str) -> Scorer:
    """Its template refuses system prompts, as some do."""
    scorer = Scorer.load(model, batch_size=8)
    template = scorer.models[0].tokenizer.chat_template
    assert isinstance(template, str)
    scorer.models[0].tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + template
    )
    return scorer


@contextmanager
def served(load: Callable[[], Loaded], **settings: Any) -> Iterator[tuple[Service, Callable[..., tuple[int, Any]]]]:
    service = Service(ServiceSettings(reward_model=["model"], **settings))
    server: uvicorn.Server

    def stop() -> None:
        server.should_exit = True

    server = uvicorn.Server(uvicorn.Config(make_app(service, load, stop), log_level="critical"))
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
    thread.start()

    def ask(path: str, content: Any = None) -> tuple[int, Any]:
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(url + path, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    try:
        yield service, ask
    finally:
        stop()
        thread.join(30)
        assert not thread.is_alive()


def loaded(scorer: Scorer) -> Loaded:
    return Loaded(scorer, QueryReader(scorer.models[0].tokenizer, "template"))


async def gathered(
    scorer: Scorer, asked: list[tuple[list[list[Message]], list[str]]], **how: Any
) -> tuple[list[Any], Metrics]:
    """What each request got, all of them asked at once."""
    metrics = Metrics()
    batcher = Batcher(scorer, metrics, **({"max_batch": 8, "max_wait": 0.2} | how))
    running = asyncio.create_task(batcher.run())
    found = await asyncio.gather(*(batcher.predict(*each) for each in asked), return_exceptions=True)
    running.cancel()
    batcher.close()
    return found, metrics


def test_nobodys_mistake_is_anothers(picky: Scorer) -> None:
    asked = [([ASK], ["good"]), ([ASK, NO_SYSTEM], ["good", "bad"]), ([ASK, ASK], ["bad", "kind"])]
    found, metrics = asyncio.run(gathered(picky, asked))
    assert isinstance(found[1], TrainingError)
    assert "no system" in str(found[1])
    for i in (0, 2):
        assert isinstance(found[i], Predictions)
        assert np.allclose(found[i].logits, picky.predict(*asked[i]).logits, atol=1e-6)
    assert metrics.batches == 4  # all together, then each of three by itself


def test_a_request_of_more_than_a_batch_that_fails_is_not_gone_on_with(picky: Scorer) -> None:
    found, metrics = asyncio.run(gathered(picky, [([NO_SYSTEM] * 30, ["good"] * 30)]))
    assert isinstance(found[0], TrainingError)
    assert metrics.rows == 0
    assert metrics.batches == 1


def test_batches_mix_requests_and_mix_nothing_up(model: str) -> None:
    scorer = Scorer.load(model, batch_size=4)
    words = [f"{one} {other}" for one in tiny.WORDS[:6] for other in tiny.WORDS[:5]]
    sizes = [1, 7, 2, 11, 4, 5]
    starts = np.cumsum([0, *sizes])
    asked = [([ASK] * size, words[start : start + size]) for size, start in zip(sizes, starts, strict=False)]
    found, metrics = asyncio.run(gathered(scorer, asked, max_batch=4))
    assert np.allclose(
        np.concatenate([each.logits for each in found]), scorer.predict([ASK] * 30, words).logits, atol=1e-5
    )
    assert metrics.batches == 8  # 30 rows in fours
    assert metrics.rows == 30


def test_it_is_ready_when_the_model_is_there(model: str) -> None:
    may_load = threading.Event()

    def slow() -> Loaded:
        assert may_load.wait(30)
        return loaded(Scorer.load(model))

    with served(slow) as (service, ask):
        form = {"prompts": ["what is red"], "responses": ["good"]}
        assert ask("/health")[0] == 503
        assert ask("/health")[1]["status"] == "loading"
        assert ask("/score", form)[0] == 503
        assert service.metrics.ready == 0
        may_load.set()
        while ask("/health")[0] == 503:
            pass
        assert ask("/health") == (200, {"status": "ready"})
        assert ask("/score", form)[0] == 200


def test_a_model_that_cannot_be_loaded_ends_the_service(tmp_path: Path) -> None:
    with served(lambda: loaded(Scorer.load(str(tmp_path / "none")))) as (service, _):
        for _ in range(300):
            if service.failure is not None:
                break
            threading.Event().wait(0.1)
    assert isinstance(service.failure, TrainingError)
    assert "cannot load" in str(service.failure)


def test_a_broken_model_is_the_services_fault(model: str) -> None:
    broken = RewardModel.load(model)
    with torch.no_grad():
        broken.model.get_input_embeddings().weight[tiny.tokenizer().convert_tokens_to_ids("awful")] = float("nan")
    with served(lambda: loaded(Scorer([broken]))) as (_, ask):
        while ask("/health")[0] == 503:
            pass
        status, found = ask("/score", {"prompts": ["what is red"], "responses": ["awful"]})
        assert status == 500
        assert "not finite" in found["error"]["message"]
        assert ask("/score", {"prompts": ["what is red"], "responses": ["good"]})[0] == 200


def test_plain_queries(model: str) -> None:
    reader = QueryReader(tiny.tokenizer(), "plain")
    asked = ["what is red", "Human: hi\n\nAssistant:"]
    found = reader.read([asked[0] + " good<end><pad>", asked[1] + " kind"], asked)
    assert found == ([ASK, [{"role": "user", "content": "hi"}]], ["good", "kind"])
    assert reader.read(["what<end>"], ["what"])[1] == [""]
    with pytest.raises(TrainingError, match="row 1: the query does not begin with its prompt"):
        reader.read(["good"], ["bad"])
    with pytest.raises(TrainingError, match="row 1: a plain query needs its prompt"):
        reader.read(["good"], None)


def test_a_full_queue_is_429(model: str) -> None:
    form = {"prompts": ["what is red"] * 3, "responses": ["good"] * 3}
    with served(lambda: loaded(Scorer.load(model)), max_queue=4, max_wait=3000) as (service, ask):
        while ask("/health")[0] == 503:
            pass
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(ask, "/score", form)
            while service.metrics.waiting < 3:
                pass
            status, found = ask("/score", form)
            assert status == 429 and "waiting for a batch" in found["error"]["message"]
            assert first.result()[0] == 200
