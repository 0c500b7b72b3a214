"""Reading answers: from what a model said to a label, a distribution, or the reason why there is neither.

Pure functions of text. An answer that cannot be read raises `Unreadable` with a reason that can be shown to the model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import orjson

from dprm_data.core.arrays import Floats
from dprm_data.core.text import cut
from dprm_data.labels.space import LabelSpace

_LARGEST_LOGPROB = 1e5  # beyond it, a number is no log-probability
_ENDS_TRIED = 8  # closing braces that are tried as the end of the answer, from the last one on
_LONGEST_OBJECT, _DEEPEST_OBJECT = 1 << 16, 32  # characters; levels
_BACKWARDS = re.compile(
    r'"\\*|[{}]'
)  # what matters of JSON read from its end: a quote with the backslashes before it, a brace

# A whole label, and as much of the reason after it as there is.
_BEGINNING = re.compile(r'\{\s*"label"\s*:\s*("(?:[^"\\]|\\.)*")\s*,(?:\s*"why"\s*:\s*"((?:[^"\\]|\\.)*))?', re.DOTALL)


class Unreadable(Exception):
    """The answer does not say what was asked; the message says in which way."""


def read_choice(text: str, space: LabelSpace) -> tuple[int, str]:
    """The label that the answer chooses, and its rationale: `{"label": ..., "why": ...}`, in either order, or the bare words of a label.

    A label that came first counts even if its reason was cut off.
    """
    bare = space.find(text.strip().strip("\"'.` "))
    if bare is not None:
        return bare, ""
    try:
        content = json_object(text)
    except Unreadable:
        content = _cut_off(text)
        if not content:
            raise
    said = content.get("label")
    if not isinstance(said, str):
        raise Unreadable(f'there is no "label" in {shortened(text)}')
    label = space.find(said)
    if label is None:
        raise Unreadable(f"{shortened(said)} is none of the categories")
    why = content.get("why")
    return label, why if isinstance(why, str) else ""


def read_distribution(text: str, space: LabelSpace) -> Floats:
    """The stated distribution, shape (K,), summing to 1. Numbers may be counts, per cent or shares; a label left out has none."""
    shares = np.zeros(space.K)
    for said, number in json_object(text).items():
        label = space.find(said)
        if label is None:
            raise Unreadable(f"{shortened(said)} is none of the categories")
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number) or number < 0:
            raise Unreadable(f"{shortened(str(number))} for {said} is not a number of people")
        shares[label] += number
    if shares.sum() <= 0:
        raise Unreadable("the numbers are all 0")
    if not math.isfinite(shares.sum()):
        raise Unreadable("the numbers are too large")
    return np.asarray(shares / shares.sum())


def read_words(top_logprobs: Sequence[tuple[str, float]], words: Sequence[str]) -> Floats:
    """The log-probabilities of the words as the answer's first word, normalised over the words, shape (number of words,).

    A word counts with all tokens that say it whole (any case, with or without a leading space), or, where the tokenizer splits it, with the
    tokens that begin it and no other word. A word that is not among the listed tokens gets the least listed log-probability,
    which it cannot exceed.
    """
    top_logprobs = [(token, logprob) for token, logprob in top_logprobs if abs(logprob) <= _LARGEST_LOGPROB]
    stripped = [(token.strip().casefold(), logprob) for token, logprob in top_logprobs]
    folded = [word.casefold() for word in words]
    scores = [_whole(word, stripped) for word in folded]
    scores = [_beginning(i, folded, stripped) if math.isinf(score) else score for i, score in enumerate(scores)]
    if all(math.isinf(score) for score in scores):
        raise Unreadable(f"none of the words {', '.join(words)} is among the {len(top_logprobs)} most likely tokens")
    floor = min(logprob for _, logprob in top_logprobs)
    found = np.array([floor if math.isinf(score) else score for score in scores])
    return found - _log_sum_exp(found)


def _whole(word: str, tokens: Sequence[tuple[str, float]]) -> float:
    return _log_sum_exp([logprob for token, logprob in tokens if token == word])


def _beginning(i: int, words: Sequence[str], tokens: Sequence[tuple[str, float]]) -> float:
    others = [word for j, word in enumerate(words) if j != i]
    begins = [
        lp
        for token, lp in tokens
        if len(token) >= 2 and words[i].startswith(token) and not any(word.startswith(token) for word in others)
    ]
    return _log_sum_exp(begins)


def _log_sum_exp(values: Sequence[float] | Floats) -> float:
    if len(values) == 0:
        return -math.inf
    top = max(values)
    return float(top + math.log(sum(math.exp(value - top) for value in values)))


def json_object(text: str) -> dict[str, object]:
    """The last whole JSON object in a text that may say other things around it. Raises `Unreadable` where there is none."""
    start, end = text.find("{"), text.rfind("}")
    if not 0 <= start < end:
        raise Unreadable(f"there is no JSON object in {shortened(text)}")
    try:
        content = orjson.loads(text[start : end + 1])
    except orjson.JSONDecodeError as error:
        last = _last_object(text)
        if last is None:
            raise Unreadable(f"not valid JSON ({error}): {shortened(text)}") from error
        return last
    assert isinstance(content, dict)  # it begins with a brace
    return content


def _cut_off(text: str) -> dict[str, object]:
    """The label of an answer that broke off in the reason after it; empty where it does not say exactly one."""
    found = _BEGINNING.findall(text)
    if len(found) != 1:
        return {}
    try:
        label, why = (orjson.loads(quoted) for quoted in (found[0][0], f'"{found[0][1]}"'))
    except orjson.JSONDecodeError:
        return {}
    return {"label": label, "why": why}


def _last_object(text: str) -> dict[str, object] | None:
    """The JSON object that ends last, whatever braces are around it. Reads a bounded part of the text, backwards."""
    end = len(text)
    for _ in range(_ENDS_TRIED):
        end = text.rfind("}", 0, end)
        if end < 0:
            return None
        start = _start_of_object(text, end)
        if start is not None:
            try:
                content: dict[str, object] = orjson.loads(text[start : end + 1])
            except orjson.JSONDecodeError:
                continue
            return content
    return None


def _start_of_object(text: str, end: int) -> int | None:
    """Where the brace opens that is closed at `end`; None if it is too far, too deep, or nowhere."""
    depth, in_string = 0, False
    backwards = text[max(0, end + 1 - _LONGEST_OBJECT) : end + 1][::-1]
    for token in _BACKWARDS.finditer(backwards):
        if token[0][0] == '"':
            in_string ^= len(token[0]) % 2 == 1  # an odd number of backslashes escapes a quote
        elif not in_string:
            depth += 1 if token[0] == "}" else -1
            if depth == 0:
                return end - token.start()
            if depth > _DEEPEST_OBJECT:
                return None
    return None


def shortened(text: str) -> str:
    return repr(cut(text, 80))
