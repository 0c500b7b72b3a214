"""The two wire formats: what a request says, and what a model's reply looks like. Pure functions of bytes and dicts."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CHARS_PER_TOKEN = 4
CACHE_BLOCK = 128 * CHARS_PER_TOKEN  # prefixes are cached in steps of 128 tokens
SAID = re.compile(rb"\[\[say:(.*?)\]\]")
WORDS = (" helpful", " not", " somewhat", " harmful", " harmless", " yes", " no", " good", " bad", " A", " B")


@dataclass(slots=True)
class Asked:
    """What matters of a request, in either format."""

    flavour: str  # openai, anthropic
    model: str
    texts: list[str]
    schema: dict[str, Any] | None
    top_logprobs: int
    max_tokens: int | None
    marked: int  # characters up to the last cache mark (anthropic)
    digest: bytes  # of everything that decides the answer

    @property
    def chars(self) -> int:
        return sum(map(len, self.texts))


class BadRequest(Exception):
    """What a real server answers with 400."""


def read_request(flavour: str, data: Any) -> Asked:
    """Raises `BadRequest` as a strict server would."""
    if (
        not isinstance(data, dict)
        or not data.get("model")
        or not isinstance(data.get("messages"), list)
        or not data["messages"]
    ):
        raise BadRequest("model and messages are required")
    turns = list(data["messages"])
    if flavour == "anthropic":
        for name in ("temperature", "top_p", "top_k", "seed", "logprobs", "top_logprobs", "prompt_cache_key"):
            if name in data:
                raise BadRequest(f"{name}: Extra inputs are not permitted")
        if not isinstance(data.get("max_tokens"), int):
            raise BadRequest("max_tokens: Field required")
        if any(turn.get("role") == "system" for turn in turns):
            raise BadRequest("messages: Unexpected role system")
        turns = [{"role": "system", "content": data.get("system") or ""}, *turns]
        form = (data.get("output_config") or {}).get("format") or {}
        schema = form.get("schema")
    else:
        form = data.get("response_format") or {}
        schema = (form.get("json_schema") or {}).get("schema")
        if data.get("top_logprobs") and not data.get("logprobs"):
            raise BadRequest("top_logprobs needs logprobs")
    texts: list[str] = []
    marked = seen = 0
    for turn in turns:
        content = turn.get("content")
        for part in [{"text": content}] if isinstance(content, str) else content or []:
            text = str(part.get("text") or "")
            texts.append(text)
            seen += len(text)
            if part.get("cache_control"):
                marked = seen
    digest = hashlib.sha256("\0".join((str(data["model"]), str(data.get("seed")), *texts)).encode()).digest()
    limit = data.get("max_tokens") or data.get("max_completion_tokens")
    return Asked(flavour, str(data["model"]), texts, schema, int(data.get("top_logprobs") or 0), limit, marked, digest)


# -- what the model says ------------------------------------------------------------------------------------------------


def follow(schema: Any, digest: bytes, labels: Sequence[str] = ()) -> Any:
    """A value that the schema allows, decided by the digest alone."""
    if not isinstance(schema, dict):
        return None
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][_draw(digest, "enum") % len(schema["enum"])]
    if "anyOf" in schema:
        return follow(schema["anyOf"][0], digest)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        fields = schema.get("properties") or {}
        value = {name: follow(part, hashlib.sha256(digest + name.encode()).digest()) for name, part in fields.items()}
        numbers = [name for name, part in fields.items() if part.get("type") == "number"]
        if len(numbers) > 1:  # a distribution
            total = sum(value[name] for name in numbers)
            value |= {name: round(value[name] / total, 4) for name in numbers}
        return value
    if kind == "array":
        return [follow(schema.get("items"), digest) for _ in range(max(1, int(schema.get("minItems", 1))))]
    if kind in ("number", "integer"):
        low = schema.get("minimum", 0)
        high = schema.get("maximum", low + 100)
        value = low + (high - low) * (_draw(digest, "number") % 997 + 1) / 998
        return math.floor(value) if kind == "integer" else value
    if kind == "boolean":
        return bool(_draw(digest, "boolean") % 2)
    return labels[_draw(digest, "label") % len(labels)] if labels else f"because {digest.hex()[:8]}"


def _draw(digest: bytes, salt: str) -> int:
    return int.from_bytes(hashlib.sha256(digest + salt.encode()).digest()[:6], "big")


def logprobs_of(
    digest: bytes, many: int, words: Sequence[str], weights: Sequence[float] | None = None
) -> list[dict[str, Any]]:
    """The first token's alternatives, most probable first: the words in an order and with odds that the digest decides (if there are no weights), then padding."""
    weights = weights or [_draw(digest, word) % 1000 + 1 for word in words]
    total = sum(weights) * 1.02
    listed = sorted(((math.log(w / total), word) for w, word in zip(weights, words, strict=True)), reverse=True)
    rest = [(-12.0 - i / 100, f" token{i}") for i in range(max(0, many - len(listed)))]
    return [{"token": token, "logprob": logprob} for logprob, token in [*listed, *rest][:many]]


# -- replies --------------------------------------------------------------------------------------------------------------


def tokens(chars: int) -> int:
    return -(-chars // CHARS_PER_TOKEN)


def openai_reply(
    asked: Asked, number: int, text: str, finish: str, cached: int, top: list[dict[str, Any]] | None
) -> dict[str, Any]:
    """A `chat.completion`. `cached`: tokens of the prompt that came from the cache."""
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if finish == "refusal":
        message |= {"content": None, "refusal": text}
    prompt, completion = tokens(asked.chars), max(1, tokens(len(text)))
    content = [{"token": top[0]["token"], "logprob": top[0]["logprob"], "top_logprobs": top}] if top else None
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": "stop" if finish == "refusal" else finish,
        "logprobs": {"content": content} if content else None,
    }
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 0,
        "model": asked.model,
        "choices": [choice],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
        },
    }


# How a server may report the tokens of a reply: all of them, or in one of the ways in which they are not to be known.
USAGES = ("whole", "missing", "null", "empty", "nulls", "words", "zeros", "no output")


def reporting(reply: dict[str, Any], usage: str) -> dict[str, Any]:
    """The reply as a server that reports its tokens in this way sends it; `floats` and `digits` are numbers all the same."""
    counts = {name: count for name, count in reply["usage"].items() if isinstance(count, int)}
    if usage == "missing":
        del reply["usage"]
        return reply
    if usage == "no output":
        reply["usage"] |= {"completion_tokens": None, "output_tokens": None}
        return reply
    ways: dict[str, Any] = {"whole": reply["usage"], "null": None, "empty": {}}
    values = {
        "nulls": lambda count: None,
        "words": lambda count: "many",
        "zeros": lambda count: 0,
        "floats": float,
        "digits": str,
    }
    reply["usage"] = ways[usage] if usage in ways else {name: values[usage](count) for name, count in counts.items()}
    return reply


_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "refusal": "refusal", "content_filter": "refusal"}


def anthropic_reply(asked: Asked, number: int, text: str, finish: str, cached: int, written: int) -> dict[str, Any]:
    """A `message`. Its input tokens are those beside what was read from or written to the cache."""
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": [{"type": "text", "text": text}] if text else [],
        "stop_reason": _STOP_REASONS[finish],
        "stop_sequence": None,
        "usage": {
            "input_tokens": max(0, tokens(asked.chars) - cached - written),
            "output_tokens": max(1, tokens(len(text))),
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": written,
        },
    }


def error_body(flavour: str, message: str, kind: str, code: str | None) -> dict[str, Any]:
    """An error in the flavour's own shape."""
    if flavour == "anthropic":
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_0"}
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


class PrefixCache:
    """How much of a prompt was seen before: in whole blocks at OpenAI, up to the marks at Anthropic."""

    def __init__(self, minimum_tokens: int = 1024) -> None:
        self.minimum = minimum_tokens * CHARS_PER_TOKEN
        self._seen: set[bytes] = set()

    def look_up(self, asked: Asked) -> tuple[int, int]:
        """(tokens read from the cache, tokens written to it) for this prompt, which is remembered."""
        if asked.flavour == "anthropic":
            return self._marked(asked)
        if asked.chars < self.minimum:
            return 0, 0
        whole = "".join(asked.texts).encode()
        running = hashlib.sha256(asked.model.encode())
        read = 0
        unbroken = True
        for end in range(CACHE_BLOCK, len(whole) + 1, CACHE_BLOCK):
            running.update(whole[end - CACHE_BLOCK : end])
            key = running.digest()
            unbroken = unbroken and key in self._seen
            read = end if unbroken else read
            self._seen.add(key)
        return (tokens(read) if read >= self.minimum else 0), 0

    def _marked(self, asked: Asked) -> tuple[int, int]:
        if asked.marked < self.minimum:
            return 0, 0
        key = hashlib.sha256(f"{asked.model}\0{''.join(asked.texts)[: asked.marked]}".encode()).digest()
        hit = key in self._seen
        self._seen.add(key)
        return (tokens(asked.marked), 0) if hit else (0, tokens(asked.marked))
