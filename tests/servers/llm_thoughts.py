"""A model that thinks before it answers: where its thoughts show, how they are counted, and what an output limit does to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.servers.llm_wire import CHARS_PER_TOKEN

# A brace and a whole answer of another kind: whoever reads them as the answer is wrong.
_MUSINGS = 'Is it {helpful? Someone could say {"label": "nothing of the kind"}, and {yet} I think not. '

# Where thoughts show. `hidden`: counted among the output alone. `apart`: the same, counted beside the output, as at xAI and Gemini. `unsaid`: counted
# among the output, but not told apart. The others are visible: in a field of their own, or in the text.
STYLES = ("hidden", "apart", "unsaid", "reasoning_content", "reasoning", "tags", "headless", "channel")
_VISIBLE_IN_TEXT = {
    "tags": ("<think>\n", "\n</think>\n\n"),
    "headless": ("", "\n</think>\n\n"),
    "channel": ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
}


@dataclass(frozen=True)
class Spoken:
    """What was generated within the limit: thoughts first."""

    thoughts: str
    text: str
    finish: str


def thinks(data: dict[str, Any]) -> bool:
    """Whether this request lets a model think that can be told not to."""
    off = [
        data.get("reasoning_effort") == "none",
        (data.get("chat_template_kwargs") or {}).get("enable_thinking") is False,
        (data.get("thinking") or {}).get("type") in ("disabled", "between_tools"),
        (data.get("reasoning") or {}).get("effort") == "none",
    ]
    return not any(off)


def spoken(text: str, tokens: int, limit: int | None) -> Spoken:
    """The answer after so many tokens of thought, cut off at the limit."""
    size = tokens * CHARS_PER_TOKEN
    thoughts = (_MUSINGS * (size // len(_MUSINGS) + 1))[:size]
    room = len(thoughts) + len(text) if limit is None else limit * CHARS_PER_TOKEN
    if len(thoughts) + len(text) <= room:
        return Spoken(thoughts, text, "stop")
    return Spoken(thoughts[:room], text[: max(0, room - len(thoughts))], "length")


def with_thoughts(reply: dict[str, Any], flavour: str, style: str, said: Spoken) -> None:
    """Put the thoughts into a reply that was made from the text alone, and count them."""
    tokens = len(said.thoughts) // CHARS_PER_TOKEN
    usage = reply["usage"]
    if not said.text:
        _count(usage, -1)  # the double counts at least one token of text
    if flavour == "anthropic":
        reply["content"].insert(0, {"type": "thinking", "thinking": said.thoughts, "signature": "x"})
        usage["output_tokens"] += tokens
        usage["output_tokens_details"] = {"thinking_tokens": tokens}
        return
    message = reply["choices"][0]["message"]
    if style in _VISIBLE_IN_TEXT:
        opened, closed = _VISIBLE_IN_TEXT[style]
        message["content"] = opened + said.thoughts + (closed + said.text if said.text else "")
    elif style in ("reasoning_content", "reasoning"):
        message[style] = said.thoughts
    if style in ("hidden", "apart"):
        usage["completion_tokens_details"] = {"reasoning_tokens": tokens}
    if style == "apart":
        usage["total_tokens"] += tokens
    else:
        _count(usage, tokens)


def _count(usage: dict[str, Any], tokens: int) -> None:
    for name in ("completion_tokens", "total_tokens", "output_tokens"):
        if name in usage:
            usage[name] += tokens
