"""A custom reward function for verl that queries `dprm serve`.

verl calls `compute_score(data_source, solution_str, ground_truth, extra_info)` with keyword arguments for each response
(verl/experimental/reward_loop/reward_manager/naive.py; a coroutine is awaited), or the plurals for a batch
(verl/workers/reward_manager/batch.py), and adds the settings under `reward_kwargs`. It does not pass the prompt: a
dataset for this function must hold it in `extra_info["prompt"]`, as text or messages.

This module needs only the standard library and may be copied: verl loads a function from a file.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Any

_RETRIED = frozenset({429, 502, 503, 504})
_LARGEST = 256 * 1024 * 1024  # bytes of an answer
_PAUSE = 1.0  # seconds before a retry without a Retry-After header


async def compute_score(
    data_source: str = "",
    solution_str: str = "",
    ground_truth: Any = None,
    extra_info: dict[str, Any] | None = None,
    *,
    url: str = "http://127.0.0.1:8000",
    key_env: str | None = None,
    patience: float = 300.0,
    **more: Any,
) -> dict[str, float]:
    """The score of one response, with metrics that verl logs (`reward_std`, and `preference_<label>` for each label).

    url: of the service. key_env: the environment variable with its key. patience: seconds for which a service that is
    busy or loading is retried. Raises `ValueError` if there is no prompt, `RuntimeError` if the service refuses or is
    unreachable.
    """
    content = {"solution_str": solution_str, "extra_info": {"prompt": _prompt(extra_info)}}
    found: dict[str, float] = await asyncio.to_thread(_ask, url, content, key_env, patience)
    return found


def compute_score_batched(
    data_sources: Sequence[str] = (),
    solution_strs: Sequence[str] = (),
    ground_truths: Sequence[Any] = (),
    extra_infos: Sequence[dict[str, Any] | None] = (),
    *,
    url: str = "http://127.0.0.1:8000",
    key_env: str | None = None,
    patience: float = 300.0,
    **more: Any,
) -> list[dict[str, float]]:
    """The scores of N responses in one request, for verl's batched reward manager. See `compute_score`."""
    infos = [{"prompt": _prompt(info)} for info in extra_infos]
    content = {"solution_strs": list(solution_strs), "extra_infos": infos}
    found: list[dict[str, float]] = _ask(url, content, key_env, patience)["scores"]
    return found


def _prompt(info: dict[str, Any] | None) -> Any:
    prompt = (info or {}).get("prompt")
    if prompt is None:
        raise ValueError("extra_info has no 'prompt': write it into the dataset, as text or messages")
    if hasattr(prompt, "tolist"):  # Parquet datasets return lists as NumPy arrays
        prompt = prompt.tolist()
    return prompt if isinstance(prompt, str) else [dict(turn) for turn in prompt]


def _ask(url: str, content: dict[str, Any], key_env: str | None, patience: float) -> Any:
    return post(f"{url.rstrip('/')}/compute_score", content, key_env=key_env, patience=patience)


class _Unredirected(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: it would take the key, and the texts, to another address."""

    def redirect_request(self, *_: Any) -> None:
        return None


def post(address: str, content: Any, *, key_env: str | None = None, patience: float = 300.0) -> Any:
    """The JSON that a service answers to posted JSON; one that is busy or loading is asked again for `patience` seconds.

    key_env: the environment variable with its key. Raises `RuntimeError` if it refuses, is unreachable, or answers
    something else than JSON of at most 256 MiB.
    """
    headers = {"Content-Type": "application/json"}
    if key_env is not None:
        headers["Authorization"] = f"Bearer {os.environ[key_env]}"
    request = urllib.request.Request(address, json.dumps(content).encode(), headers)
    opener, until = urllib.request.build_opener(_Unredirected), time.monotonic() + patience
    while True:
        try:
            with opener.open(request, timeout=patience) as answer:
                body = answer.read(_LARGEST + 1)
            if len(body) > _LARGEST:
                raise RuntimeError(f"{address} answers more than {_LARGEST} bytes")
            return json.loads(body)
        except ValueError as error:
            raise RuntimeError(f"{address} answers no JSON: {error}") from error
        except urllib.error.HTTPError as error:
            told = error.read(500).decode(errors="replace")
            if error.code not in _RETRIED or time.monotonic() >= until:
                raise RuntimeError(f"{address} refused to score a response ({error.code}): {told}") from None
            pause = _retry_after(error.headers.get("Retry-After"))
        except OSError as error:
            if time.monotonic() >= until:
                raise RuntimeError(f"{address} cannot be reached: {error}") from error
            pause = _PAUSE
        time.sleep(max(0.0, min(pause, until - time.monotonic())))


def _retry_after(header: str | None) -> float:
    """The seconds in a `Retry-After` header, which is a number or an HTTP date (RFC 9110, 10.2.3)."""
    try:
        seconds = float(header or _PAUSE)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(str(header)).timestamp() - time.time()
        except (TypeError, ValueError):
            seconds = _PAUSE
    return max(0.0, seconds) if math.isfinite(seconds) else _PAUSE
