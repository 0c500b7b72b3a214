"""A reward model whose weights are in another process: vLLM or SGLang.

`RemoteModel` is a reward model whose logits come from a server of its weights. Texts become tokens here, by the model's
own tokenizer and template as in training, and token ids are posted: no template of the server's has a say.

    vLLM      POST /classify      {"model", "input": [[ids], ...]} -> {"data": [{"index", "label", "probs",
              "num_classes"}, ...]} (vllm/entrypoints/pooling/classify/protocol.py, 0.15 to 0.18)
    SGLang    POST /v1/classify   the same form (docs.sglang.io/docs/supported-models/classify_models)
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_trainers.core.errors import RewardError, TrainingError
from dprm_trainers.data.token_table import TokenRows
from dprm_trainers.reward.pooling import pooled_by_us
from dprm_trainers.reward.reward_model import RewardModel, open_reward_model
from dprm_trainers.verl_reward import post

_SUM_WITHIN = 0.01  # of probabilities from 1: a server may compute in bf16


class RemoteModel(RewardModel):
    """A reward model whose logits a server computes. Of a distribution they are the logarithms of its probabilities."""

    def __init__(self, reference: str, url: str, *, key_env: str | None = None, patience: float = 300.0) -> None:
        """reference: the model's folder or name on the Hub, for its tokenizer and labels. url: of the server; without a
        path, /classify is meant. Raises `TrainingError`."""
        config, tokenizer = open_reward_model(reference)
        if pooled_by_us(config):
            raise TrainingError(
                f"{reference} reads the mean over the tokens, which no server's /classify does",
                hint="Serve it with dprm serve, and give reward_function that url alone; or train with pooling: last.",
            )
        self._describe(config, tokenizer, reference)
        self._address, self._key_env, self._patience = address(url, "/classify"), key_env, patience

    def logits(self, ids: TokenRows, batch_size: int = 16) -> Floats:
        """Logits (N, d) of token ids, asked for in requests of `batch_size` rows. Raises `RewardError`."""
        parts = [self._asked(ids[start : start + batch_size]) for start in range(0, len(ids), batch_size)]
        outputs = 1 if self.scalar else self.space.K
        return np.concatenate(parts) if parts else np.zeros((0, outputs))

    def _asked(self, ids: TokenRows) -> Floats:
        content: dict[str, Any] = {"model": self.name, "input": [[int(token) for token in row] for row in ids]}
        if self.scalar:
            content["use_activation"] = False  # else a server may answer the sigmoid of the scalar
        answer = asked(self._address, content, self._key_env, self._patience)
        try:
            rows = sorted(answer["data"], key=lambda row: row["index"])
            found = np.array([row["probs"] for row in rows], dtype=np.float64)
        except (TypeError, KeyError, ValueError) as error:
            raise RewardError(
                f"{self._address} answers in another form than vLLM's /classify",
                hint="For SGLang give http://host:port/v1/classify; for `dprm serve` leave the model out.",
            ) from error
        outputs = 1 if self.scalar else self.space.K
        if found.shape != (len(ids), outputs):
            raise RewardError(f"{self._address} answers {found.shape} numbers to {len(ids)} rows of {outputs} outputs")
        if self.scalar:
            return found
        if not (found >= 0).all() or np.abs(found.sum(axis=1) - 1).max() > _SUM_WITHIN:
            raise RewardError(
                f"{self._address} answers no probabilities: {found[0].tolist()}",
                hint="The server must apply the softmax, as vLLM does for a classifier of one label of several.",
            )
        return np.log(np.maximum(found, np.finfo(np.float64).tiny))


def address(url: str, path: str) -> str:
    """The address to post to: the URL, with the path where it has none. Raises `TrainingError`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise TrainingError(f"url: {url!r} is not an address", hint="Give http://host:port, or https.")
    return url if parts.path.strip("/") else f"{url.rstrip('/')}{path}"


def asked(where: str, content: Any, key_env: str | None, patience: float) -> Any:
    """What is answered. Raises `RewardError`, which names the address."""
    try:
        return post(where, content, key_env=key_env, patience=patience)
    except KeyError as error:
        raise TrainingError(f"key_env: the environment variable {error.args[0]} is not set") from None
    except RuntimeError as error:
        raise RewardError(str(error)) from error
