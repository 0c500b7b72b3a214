"""Thoughts in the text of an answer: models and servers that do not separate them put marks around them.

    <think>…</think>             DeepSeek R1, Qwen3, most open models; templates that open the block in the prompt leave only its end
    [THINK]…[/THINK]             Magistral
    ◁think▷…◁/think▷             Kimi
    <|channel|>analysis…         gpt-oss (its "harmony" format): the answer is in the channel `final`; some servers drop the marks' brackets

What comes before the last end of a block is thought, and so is a block that never ends.
"""

from __future__ import annotations

import re

import orjson

_BLOCKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|channel|>analysis", "<|channel|>final<|message|>"),
)
_MARK = re.compile("|".join(re.escape(mark) for block in _BLOCKS for mark in block) + "|assistantfinal")
_LAST_MARKS = ("<|end|>", "<|return|>")


def split_thoughts(text: str) -> tuple[str, str]:
    """The thoughts in a text, and the answer after them (empty if there is none). Linear in the text's length."""
    if not _MARK.search(text) or _is_object(text):
        return "", text
    for opened, closed in _BLOCKS:
        end = text.rfind(closed)
        if end >= 0:
            return text[:end], _unmarked(text[end + len(closed) :])
        if text.lstrip().startswith(opened):
            return text, ""
    end = text.rfind("assistantfinal")
    if text.startswith("analysis") and end >= 0:
        return text[:end], text[end + len("assistantfinal") :].strip()
    return "", text


def _unmarked(answer: str) -> str:
    for mark in _LAST_MARKS:
        answer = answer.strip().removesuffix(mark)
    return answer.strip()


def _is_object(text: str) -> bool:
    """Whether the text is one JSON object: an answer that quotes a mark is no thought."""
    if not text.lstrip().startswith("{"):
        return False
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
