"""How long one call to a local model may take: its tokens at the speed that was measured, with patience."""

from __future__ import annotations

from dprm_data.providers.replies import mapping
from dprm_data.providers.request import Request
from dprm_data.providers.token_estimates import estimated_input_tokens

# Seconds that one core needs for a token of the prompt, per byte of the weights, before anything is measured: 27 ms for 1.1 GB.
_PER_BYTE = 2.5e-11
_GENERATED = 2.0  # a token of the answer takes about so many times as long
_LEAST = 120.0  # seconds
_PATIENCE = 10.0  # times the measured duration: the machine may get busy
_MOST_PATIENCE = 80.0  # after calls that took too long
_FEW = 16  # tokens that say nothing about the speed: most of the prompt was in the cache


class Speed:
    """Seconds per token, learned from llama.cpp's `timings` in its replies."""

    def __init__(self, model_bytes: int) -> None:
        self._prompt = model_bytes * _PER_BYTE
        self._answer = self._prompt * _GENERATED
        self._patience = _PATIENCE

    def limit(self, request: Request) -> float:
        """Seconds for one attempt."""
        answer = float(request.params.get("max_tokens") or 256)
        read, written = estimated_input_tokens(request), answer + request.capabilities.reasoning_tokens
        return max(_LEAST, self._patience * (read * self._prompt + written * self._answer))

    def answered(self, timings: object) -> None:
        """Learn from a reply. A slower answer counts at once, a faster one little by little."""
        found = mapping(timings)
        self._prompt = _learned(self._prompt, found.get("prompt_ms"), found.get("prompt_n"))
        self._answer = _learned(self._answer, found.get("predicted_ms"), found.get("predicted_n"))
        self._patience = _PATIENCE

    def timed_out(self) -> None:
        """The next attempt gets twice the time."""
        self._patience = min(_MOST_PATIENCE, 2 * self._patience)


def _learned(known: float, milliseconds: object, tokens: object) -> float:
    if not isinstance(milliseconds, int | float) or not isinstance(tokens, int) or tokens < _FEW:
        return known
    seen = milliseconds / 1000 / tokens
    return max(seen, 0.7 * known + 0.3 * seen)
