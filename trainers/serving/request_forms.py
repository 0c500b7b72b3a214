"""The requests and responses of the service.

    /score           our own form: messages or texts to rewards, standard deviations and distributions
    /get_reward      OpenRLHF's remote reward: {"query", "prompts", "labels"} to {"rewards", "scores", "extra_logs"},
                     lists of one length. The client is `SingleTurnAgentExecutor._fetch_rewards_via_http` in
                     openrlhf/utils/agent.py (0.9 and 0.10); `query` is the decoded tokens of prompt and response, with
                     all special tokens
    /compute_score   the arguments of a custom reward function of verl, by their names: {"data_source", "solution_str",
                     "ground_truth", "extra_info"} to {"score", ...}, or the plurals of its batched form
                     (verl/workers/reward_manager/batch.py) to {"scores": [{"score", ...}, ...]}. `extra_info["prompt"]`
                     must hold the prompt: verl passes it nowhere else
    /classify        vLLM's (vllm/entrypoints/pooling/classify/protocol.py), also at /v1/classify, where SGLang has it:
                     {"input"} or {"messages"} to {"data": [{"index", "label", "probs", "num_classes"}, ...]}, the
                     distribution, as vLLM would answer of the same model
    /pooling         vLLM's (vllm/entrypoints/pooling/pooling/protocol.py): the same requests to {"data": [{"index",
                     "object", "data": [reward]}, ...]}, the reading, as vLLM would answer of a scalar reward model

`input` is one text of prompt and response or several, read like OpenRLHF's `query`; `messages` one conversation, whose
last turn is judged. Token ids are refused: a service with a template of its own cannot know whose they are.

Labels, ground truths and data sources are accepted and ignored.
"""

from __future__ import annotations

import time
import uuid
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, WithJsonSchema, model_validator

from dprm_trainers.reward.scorer import Scorer, Scores

# Validated by `dprm_trainers.data.chat`, whose messages are shorter than pydantic's.
Turns = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]})]


class ScoreForm(BaseModel):
    """N prompts and N responses, each a text or messages. reading: the service's if None."""

    model_config = ConfigDict(extra="forbid")
    prompts: list[Turns]
    responses: list[Turns]
    reading: str | None = None


class ScoreAnswer(BaseModel):
    """The scores of N rows over K labels.

    std and distributions: null for a scalar model. worst_groups: null with one model. cut: the number of texts too long
    for it.
    """

    model: str
    reading: str
    labels: list[str]
    rewards: list[float]
    std: list[float] | None
    distributions: list[list[float]] | None
    worst_groups: list[str] | None
    cut: int

    @classmethod
    def of(cls, scorer: Scorer, found: Scores, reading: str) -> ScoreAnswer:
        """The response for these scores."""
        known = found.distribution is not None
        return cls(
            model=scorer.name,
            reading=reading,
            labels=list(scorer.labels),
            rewards=found.reward.tolist(),
            std=found.std.tolist() if known else None,
            distributions=found.distribution.tolist() if found.distribution is not None else None,
            worst_groups=None if found.worst is None else [scorer.groups[g] for g in found.worst.tolist()],
            cut=found.cut,
        )


class OpenRLHFForm(BaseModel):
    """query: N texts of prompt and response. prompts: the N prompts in them."""

    query: list[str]
    prompts: list[str] | None = None
    labels: list[Any] | None = None


class OpenRLHFAnswer(BaseModel):
    """scores: the rewards again, for OpenRLHF's dynamic filtering. extra_logs: N values of each metric."""

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]

    @classmethod
    def of(cls, scorer: Scorer, found: Scores) -> OpenRLHFAnswer:
        """The response for these scores."""
        rewards = found.reward.tolist()
        return cls(rewards=rewards, scores=rewards, extra_logs=figures(scorer, found))


class VerlForm(BaseModel):
    """One row under the names of verl's arguments, or N rows under their plurals."""

    solution_str: str | None = None
    extra_info: dict[str, Any] | None = None
    solution_strs: list[str] | None = None
    extra_infos: list[dict[str, Any] | None] | None = None

    @model_validator(mode="after")
    def _one_or_many(self) -> VerlForm:
        if (self.solution_str is None) == (self.solution_strs is None):
            raise ValueError("give solution_str with extra_info, or solution_strs with extra_infos")
        return self

    @property
    def many(self) -> bool:
        return self.solution_strs is not None

    @property
    def responses(self) -> list[str]:
        """N texts."""
        return self.solution_strs if self.solution_strs is not None else [str(self.solution_str)]

    @property
    def prompts(self) -> list[Any]:
        """The prompt in each row's `extra_info`; None if there is none."""
        infos = (self.extra_infos or []) if self.many else [self.extra_info]
        return [(info or {}).get("prompt") for info in infos]


class VLLMForm(BaseModel):
    """Texts, or one conversation. All other fields are accepted and ignored."""

    input: str | list[str] | None = None
    messages: list[dict[str, Any]] | None = None
    model: str | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> VLLMForm:
        if (self.input is None) == (self.messages is None):
            raise ValueError("give input (a text, or several) or messages")
        return self

    @property
    def queries(self) -> list[str]:
        """N texts of prompt and response."""
        return [self.input] if isinstance(self.input, str) else self.input or []


def classify_answer(scorer: Scorer, found: Scores) -> dict[str, Any]:
    """vLLM's response of classification: each row's distribution and its likeliest label; of a scalar, the reward."""
    values, labels = found.distribution, list(scorer.labels)
    if values is None:
        values, labels = found.reward[:, None], ["reward"]
    rows = [
        {"index": i, "label": labels[int(row.argmax())], "probs": row.tolist(), "num_classes": len(labels)}
        for i, row in enumerate(values)
    ]
    return _listed("classify", scorer, rows)


def pooling_answer(scorer: Scorer, found: Scores) -> dict[str, Any]:
    """vLLM's response of pooling: each row's reward as a vector of one number."""
    rows = [{"index": i, "object": "pooling", "data": [reward]} for i, reward in enumerate(found.reward.tolist())]
    return _listed("pool", scorer, rows)


def _listed(kind: str, scorer: Scorer, rows: list[dict[str, Any]]) -> dict[str, Any]:
    about = {"id": f"{kind}-{uuid.uuid4().hex}", "object": "list", "created": int(time.time()), "model": scorer.name}
    return about | {"data": rows, "usage": {"prompt_tokens": 0, "total_tokens": 0, "completion_tokens": 0}}


def verl_answers(scorer: Scorer, found: Scores) -> list[dict[str, float]]:
    """N responses: `score`, and the metrics that verl logs with it."""
    columns = {"score": found.reward.tolist()} | figures(scorer, found)
    return [{name: values[row] for name, values in columns.items()} for row in range(len(found.reward))]


def figures(scorer: Scorer, found: Scores) -> dict[str, list[float]]:
    """Metrics to log, N values each: the reward's standard deviation over the population, and each label's share."""
    if found.distribution is None:
        return {}
    shares = {f"preference_{label}": found.distribution[:, k].tolist() for k, label in enumerate(scorer.labels)}
    return {"reward_std": found.std.tolist()} | shares
