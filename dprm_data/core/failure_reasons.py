"""Reasons of failures, as people read them: those that differ only in numbers are one, and some say that asking again is no use."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NUMBER = re.compile(r"([A-Za-z0-9_-]*\d[\w-]*(?:[.,]\d+)*)")  # also an id with a digit in it
# How services say that a request is longer than the model's context: OpenAI and vLLM, Anthropic, llama.cpp, Gemini, Bedrock, Mistral.
_TOO_LONG = re.compile(
    r"maximum context|context (length|size|window)|context_length|prompt is too long|input is too long|maximum number of tokens|too many tokens|"
    r"too large for model",
    re.IGNORECASE,
)


def is_too_long(reason: str) -> bool:
    """Whether a text is longer than the model's context: then asking again gets the same answer."""
    return bool(_TOO_LONG.search(reason))


def grouped(reasons: Mapping[str, int], most: int | None = None) -> dict[str, int]:
    """Reasons with their counts, the most frequent first, at most so many. Those that differ only in numbers are one, with … for what differs."""
    kinds: dict[str, list[tuple[str, int]]] = {}
    for reason, count in reasons.items():
        kinds.setdefault(_NUMBER.sub("…", reason), []).append((reason, count))
    counted = [(_common([reason for reason, _ in each]), sum(count for _, count in each)) for each in kinds.values()]
    return dict(sorted(counted, key=lambda pair: (-pair[1], pair[0]))[:most])


def _common(reasons: list[str]) -> str:
    """What the reasons, which differ in numbers at most, have in common."""
    parts = zip(*(_NUMBER.split(reason) for reason in reasons), strict=True)
    return "".join(part[0] if len(set(part)) == 1 else "…" for part in parts)


def advice_on_failed(reasons: Mapping[str, int]) -> str:
    """What to do about annotations that failed for these reasons, in a sentence."""
    too_long = sum(count for reason, count in reasons.items() if is_too_long(reason))
    if not too_long:
        return "run again with --retry-failed to ask for these again"
    longer = "shorten or leave out the items that are too long, or ask a model with a longer context"
    return longer if too_long == sum(reasons.values()) else f"{longer}; --retry-failed asks again for the others"
