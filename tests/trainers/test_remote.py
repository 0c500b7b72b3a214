"""Rewards of a server: a model in vLLM or SGLang (by their wire doubles), and our own service; over real sockets."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dprm_trainers import Scorer, reward_function
from dprm_trainers.core.errors import RewardError, TrainingError
from tests.servers.classifier import Classifier
from tests.servers.rewards import RewardServer
from tests.trainers import tiny

PROMPTS = [[{"role": "user", "content": f"what is {word}"}] for word in ("red", "blue", "green", "one", "two")]
RESPONSES = ["good and kind", "bad", "", "awful rude bad", "fine"]
KEY = "secret-of-the-tests"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return tiny.models_of_groups(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def service(models: list[str]) -> Iterator[RewardServer]:
    flags = ("-m", models[0], "-m", models[1], "--api-key-env", "REWARD_KEY")
    with RewardServer(*flags, key=KEY, REWARD_KEY=KEY) as server:
        yield server


@pytest.mark.parametrize("path", ["/classify", "/v1/classify"])
def test_a_model_in_vllm_or_sglang_gives_our_rewards(
    models: list[str], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_KEY", KEY)
    here = Scorer.load(models[0], reading="cvar:0.3")(PROMPTS, RESPONSES)
    with Classifier(models[0], path=path, key=KEY) as server:
        url = server.url if path == "/classify" else f"{server.url}{path}"
        there = Scorer.load(models[0], reading="cvar:0.3", url=url, key_env="VLLM_KEY", batch_size=2)(
            PROMPTS, RESPONSES
        )
        assert [len(body["input"]) for body in server.asked] == [2, 2, 1]
        assert all(isinstance(token, int) for row in server.asked[0]["input"] for token in row)  # no template but ours
    assert np.allclose(there.reward, here.reward, atol=1e-6)
    assert there.distribution is not None and np.allclose(there.distribution, here.distribution, atol=1e-6)


def test_groups_and_scalars(models: list[str], tmp_path: Path) -> None:
    here = Scorer.load(models)(PROMPTS, RESPONSES)
    with Classifier(models[0]) as first, Classifier(models[1]) as second:
        there = Scorer.load(models, url=[first.url, second.url])(PROMPTS, RESPONSES)
    assert np.allclose(there.reward, here.reward, atol=1e-6) and np.array_equal(there.worst, here.worst)
    scalar = str(tiny.reward_model(tmp_path / "scalar", scalar=True))
    with Classifier(scalar) as server:
        assert np.allclose(
            Scorer.load(scalar, url=server.url)(PROMPTS, RESPONSES).reward,
            Scorer.load(scalar)(PROMPTS, RESPONSES).reward,
            atol=1e-5,
        )


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ([{"embedding": [1.0]}], "another form than vLLM's"),
        ({"data": [{"index": 0, "probs": [0.5, 0.5]}]}, "numbers to 1 rows of 6 outputs"),
        ({"data": [{"index": 0, "probs": [3.0, 1, 1, 1, 1, 1]}]}, "no probabilities"),
        ("http://127.0.0.1:9/classify", r"refused to score a response \(307\)"),
    ],
)
def test_what_a_server_answers_wrongly_is_never_a_reward(models: list[str], answer: Any, wrong: str) -> None:
    with Classifier(models[0]) as server:
        server.answer = answer
        with pytest.raises(RewardError, match=wrong):
            Scorer.load(models[0], url=server.url)(PROMPTS[:1], RESPONSES[:1])


def test_mistakes_are_told_before_anything_is_asked(models: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(TrainingError, match="is not an address"):
        Scorer.load(models[0], url="localhost:8000")
    with pytest.raises(TrainingError, match="2 models and 1 urls"):
        Scorer.load(models, url="http://127.0.0.1:9")
    with pytest.raises(TrainingError, match="NO_SUCH_KEY is not set"):
        reward_function(url="http://127.0.0.1:9", key_env="NO_SUCH_KEY")(PROMPTS, RESPONSES)
    with pytest.raises(TrainingError, match="needs a reward model, or the url"):
        reward_function()


def test_trl_asks_the_service(models: list[str], service: RewardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARD_KEY", KEY)
    function = pickle.loads(pickle.dumps(reward_function(url=service.url, reading="cvar:0.3", key_env="REWARD_KEY")))
    there, here = dict[str, float](), dict[str, float]()
    rewards = function(
        PROMPTS, [[{"role": "assistant", "content": text}] for text in RESPONSES], log_metric=there.__setitem__
    )
    loaded = reward_function(models, reading="cvar:0.3")
    assert rewards == pytest.approx(loaded(PROMPTS, RESPONSES, log_metric=here.__setitem__), abs=1e-6)
    assert there == pytest.approx(
        {name: value for name, value in here.items() if value or "worst" not in name}, abs=1e-6
    )


def test_the_service_speaks_vllms_forms(models: list[str], service: RewardServer) -> None:
    scorer = Scorer.load(models)
    expected = scorer(PROMPTS[:2], RESPONSES[:2])
    assert expected.distribution is not None
    texts = [
        scorer.models[0].tokenizer.apply_chat_template(
            [*prompt, {"role": "assistant", "content": text}], tokenize=False
        )
        for prompt, text in zip(PROMPTS[:2], RESPONSES[:2], strict=True)
    ]
    for path in ("/classify", "/v1/classify"):
        status, answer = service.ask(path, {"model": "any", "input": texts, "use_activation": True})
        assert status == 200 and answer["object"] == "list"
        assert [row["index"] for row in answer["data"]] == [0, 1]
        assert [row["num_classes"] for row in answer["data"]] == [6, 6]
        assert np.allclose([row["probs"] for row in answer["data"]], expected.distribution, atol=1e-6)
        assert [row["label"] for row in answer["data"]] == [
            scorer.labels[k] for k in expected.distribution.argmax(axis=1)
        ]
    status, answer = service.ask(
        "/pooling", {"messages": [*PROMPTS[0], {"role": "assistant", "content": RESPONSES[0]}]}
    )
    assert status == 200 and answer["data"][0]["object"] == "pooling"
    assert answer["data"][0]["data"] == pytest.approx([expected.reward[0]], abs=1e-6)
    for wrong in ({"model": "any"}, {"input": [[1, 2, 3]]}, {"input": "a", "messages": PROMPTS[0]}, {"messages": []}):
        assert service.ask("/classify", wrong)[0] == 422, wrong
    assert 'path="/classify",status="200"' in service.ask("/metrics")[1]
