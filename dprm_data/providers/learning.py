"""What a server's refusals teach: a parameter that it names in a 400 is left out, or exchanged, in every later request of the run.

The table of models (`capabilities`) cannot know every server. One refusal tells what to send instead, and costs no attempt: nothing was
generated. Never left out are the limit of output, which the budget relies on, log-probabilities, without which there is nothing to read, and an
effort that the recipe names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dprm_data.providers.request import CallFailed, Request

if TYPE_CHECKING:
    from dprm_data.providers.http import JsonClient, Reply

EFFORT_FIELDS = frozenset({"reasoning_effort", "reasoning", "thinking", "chat_template_kwargs"})
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")  # lowest first
_EFFORT_PATHS = ("reasoning_effort", "reasoning.effort", "output_config.effort", "thinking", "chat_template_kwargs")
_LIMITS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_OTHERS = (
    *("temperature", "top_p", "seed", "random_seed", "prompt_cache_key"),
    *("response_format", "output_config.format", "top_logprobs"),
)
_PATHS = (*_LIMITS, *_EFFORT_PATHS, *_OTHERS)
# Servers spell names their own way, or say what the parameter is for.
_ALIASES = {
    "response_format": r"response[_ .]?format|json[_ ]?schema|structured outputs?",
    "output_config.format": r"output_config\.format|json[_ ]?schema|structured outputs?",
    "output_config.effort": r"output_config\.effort|effort",
    "top_logprobs": r"(?:top[_ .]?)?logprobs",
    "thinking": r"thinking(?:\.\w+)*",
}
_CONTEXT = re.compile(r"context|too many tokens|reduce the length|request too large", re.IGNORECASE)
_OUT_OF_RANGE = re.compile(r"must be|between|range|greater|less than|at most|exceed|too large|maximum", re.IGNORECASE)
_MOST_CHANGES = 8  # of one request


class Learned:
    """What one server has refused so far in this process. say: told once for each change."""

    def __init__(self) -> None:
        self.say: Callable[[str], None] = lambda text: None
        self._changed: set[str] = set()  # paths, as requests have them
        self._left_out: set[str] = set()
        self._renamed: dict[str, str] = {}
        self._exchanged: dict[str, Any] = {}
        self._at_most: dict[str, int] = {}

    def applied(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body as the server takes it."""
        for path in self._left_out:
            body = _with(body, path, None)
        for path, value in self._exchanged.items():
            if _at(body, path) is not None:
                body = _with(body, path, value)
        for path, most in self._at_most.items():
            if isinstance(limit := _at(body, path), int) and limit > most:
                body = _with(body, path, most)
        for old, new in self._renamed.items():
            if old in body:
                body = _with(body, old, None) | {new: body[old]}
        return body

    async def sent(
        self, http: JsonClient, path: str, body_of: Callable[[Request], dict[str, Any]], request: Request
    ) -> Reply:
        """The reply to a request, sent again for every refusal that teaches something. Raises `CallFailed`, or `ContentFiltered`."""
        body = body_of(request)
        for _ in range(_MOST_CHANGES):
            try:
                return await http.post(path, body)
            except CallFailed as error:
                if error.kind != "rejected":
                    raise
                again = body_of(request)  # another call's refusal may have taught the same meanwhile
                if again == body and self.learn(error, body, request):
                    again = body_of(request)
                if _CONTEXT.search(error.message):
                    again = _with_less_room(body, request)
                if again == body:
                    raise
                body = again
        return await http.post(path, body)

    def learn(self, error: CallFailed, body: Mapping[str, Any], request: Request, *, by_steps: bool = True) -> bool:
        """Keep what a refusal of this body teaches. Returns whether it taught anything.

        by_steps: a weaker form of structured output is tried before none.
        """
        if error.kind != "rejected" or error.status not in (400, 422) or _CONTEXT.search(error.message):
            return False
        for path in _PATHS:
            value = _at(body, path)
            if (
                value is not None
                and _names(error, path)
                and (change := self._change(error, path, value, request, by_steps))
            ):
                self._changed.add(path)
                self.say(f"{request.model}: {change} from now on (it answered: {error.message})")
                return True
        return False

    def taught(self, error: CallFailed, body: Mapping[str, Any], request: Request) -> bool:
        """Whether a refusal that comes late, as in a batch, is answered by a change that was made since, or is made now.

        body: the request's, without any change.
        """
        known = any(_at(body, path) is not None and _names(error, path) for path in self._changed)
        return (error.kind == "rejected" and known) or self.learn(error, body, request, by_steps=False)

    def _change(self, error: CallFailed, path: str, value: Any, request: Request, by_steps: bool) -> str | None:
        """Note how this parameter is to be sent; returns that in words. None where there is nothing to do about it."""
        if path in _EFFORT_PATHS:
            return None if request.params.get("effort") else self._change_effort(error, path, value)
        numbers = [int(number) for number in re.findall(r"\d+", error.message) if len(number) < 10]
        if path in _LIMITS or path == "top_logprobs":
            least = 1 if path == "top_logprobs" else 16
            if smaller := [number for number in numbers if least <= number < value]:
                self._at_most[path] = max(smaller)
                return f"{path} is {max(smaller):,} at most"
            if path == "top_logprobs" or _LIMITS[path] in self._renamed:
                return None
            self._renamed[path] = _LIMITS[path]
            return f"{path} is sent as {_LIMITS[path]}"
        if by_steps and path == "response_format" and value.get("type") == "json_schema":
            self._exchanged[path] = {"type": "json_object"}
            return "answers are asked for as json_object instead of json_schema"
        if _OUT_OF_RANGE.search(error.message) and path in ("temperature", "top_p"):
            return None  # a mistake in the recipe
        self._left_out.add(path)
        return f"{path} is left out"

    def _change_effort(self, error: CallFailed, path: str, value: Any) -> str:
        said = re.findall(r"\w+", error.message.partition("alues")[2] or error.message.partition("one of")[2])
        allowed = [effort for effort in _EFFORTS if effort in said and effort != value]
        if allowed and isinstance(value, str):
            self._exchanged[path] = allowed[0]
            return f"the effort is {allowed[0]} instead of {value}"
        whole = "reasoning" if path == "reasoning.effort" else path
        self._left_out.add(whole)
        return f"{whole} is left out"


def _names(error: CallFailed, path: str) -> bool:
    """Whether the refusal names this parameter."""
    spelled = _ALIASES.get(path) or r"[._ ]?".join(re.split(r"[._]", path))
    named = re.compile(rf"(?<![a-z0-9_])(?:{spelled})(?![a-z0-9_])", re.IGNORECASE)
    return bool(named.search(error.param or error.message))


def _at(body: Mapping[str, Any], path: str) -> Any:
    first, _, rest = path.partition(".")
    value = body.get(first)
    return value if not rest else _at(value, rest) if isinstance(value, Mapping) else None


def _with(body: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The body with this value at the path; without it where the value is None."""
    first, _, rest = path.partition(".")
    if first not in body:
        return dict(body)
    inner = _with(body[first], rest, value) or None if rest and isinstance(body[first], Mapping) else value
    others = {name: part for name, part in body.items() if name != first}
    return others if inner is None else others | {first: inner}


def _with_less_room(body: dict[str, Any], request: Request) -> dict[str, Any]:
    """The body with half the room for thoughts: prompt and output do not fit into the model's context together."""
    least = request.params.get("max_tokens")
    for path in _LIMITS:
        if isinstance(limit := body.get(path), int) and isinstance(least, int) and limit > least:
            return body | {path: max(least, limit // 2)}
    return body
