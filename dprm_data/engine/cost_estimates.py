"""Cost estimates: what a call is expected to use and to cost, with a range.

Before any answer is known:

    input      from characters (`providers/token_estimates.py`); high: also the schema of the answer
    output     what the way of asking expects, and the thoughts that the model is known to spend (`providers/capabilities.py`)
    cache      expected: nothing is saved. low: an item's calls after the first read what they share from the provider's cache. high: every
               call writes it there, which some charge more for
    re-asks    expected: none. high: one answer in ten

Answers correct all of it, per voice: `Learned` has their real input per estimated token, their real output, what was cached, and how
much more the re-asks took, each with the error that so few answers leave.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from dprm_data.core.conversation import Message
from dprm_data.elicit.elicitation import Elicitation, Task
from dprm_data.engine.prices import Prices
from dprm_data.engine.replay import TaskState
from dprm_data.ledger.call import Call
from dprm_data.providers.request import Request, Usage
from dprm_data.providers.token_estimates import estimated_input_tokens, input_token_range, output_tokens_cap

Voice = tuple[str, str, str]  # a way of asking, a provider's family, a model: what answers alike

ENOUGH = 5  # answers with reported usage that correct an estimate
_REASKED = 0.1  # high estimate of the share of answers that are asked for again
_THOUGHTS = (0.2, 3.0)  # low and high estimate of thoughts, as a multiple of the expected
_ANSWER = (0.4, 2.5)  # the same for the answer itself
_CACHEABLE = 1024  # tokens: providers cache no shorter prefix
_SURE = 0.03  # no estimate is surer than that


def voice_of(task: Task) -> Voice:
    """Who answers, and in which way."""
    elicitation = task.elicitation
    return elicitation.name, elicitation.family, elicitation.model


@dataclass(frozen=True, slots=True)
class Range:
    """An expected amount and its likely bounds."""

    low: float = 0.0
    expected: float = 0.0
    high: float = 0.0

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def __mul__(self, factor: float) -> Range:
        return Range(self.low * factor, self.expected * factor, self.high * factor)

    def widened(self, share: float) -> Range:
        """The same amount, less sure by a share of its bounds."""
        return Range(self.low * max(0.0, 1 - share), self.expected, self.high * (1 + share))


# -- before any answer is known -----------------------------------------------------------------------------------------


def expected_output(elicitation: Elicitation) -> Range:
    """Output tokens of one answer, thoughts included; at most what the request allows."""
    answer, (thoughts, room) = elicitation.expected_tokens, _thoughts(elicitation)
    cap = (output_tokens_cap(elicitation.request_params) or math.inf) + room
    low = answer * _ANSWER[0] + thoughts * _THOUGHTS[0]
    high = answer * _ANSWER[1] + thoughts * _THOUGHTS[1]
    return Range(min(low, cap), min(answer + thoughts, cap), min(high, cap))


def _thoughts(elicitation: Elicitation) -> tuple[float, int]:
    """The tokens of thought that the model is known to spend on an answer, and the room for them beside the answer's limit."""
    known = elicitation.capabilities
    return known.reasoning_tokens, known.thought_room


def expected_usage(task: Task, call: Call) -> Usage:
    """What the call is expected to use, before any answer is known."""
    output = expected_output(task.elicitation).expected
    return Usage(round(estimated_input_tokens(call.request)), round(output))


def guessed(task: Task, call: Call, prices: Prices, *, first: bool) -> Range:
    """Dollars for this call, before any answer is known. first: of its item, so that nothing is in the provider's cache yet."""
    tokens, output = Range(*input_token_range(call.request)), expected_output(task.elicitation)
    cached = 0.0 if first else _cacheable(call.request)
    written = tokens.high if tokens.high >= _CACHEABLE else 0.0
    low = _dollars(prices, tokens.low, output.low, cached=min(cached, tokens.low))
    high = max(_dollars(prices, tokens.high, output.high, written=part) for part in (0.0, written))
    return Range(low, _dollars(prices, tokens.expected, output.expected), high * (1 + _REASKED))


def _cacheable(request: Request) -> float:
    """Tokens that a provider's cache may hold from an earlier call about the item, by a low estimate; 0 if that is too short."""
    *before, last = request.messages
    shared: Message = {"role": last["role"], "content": last["content"][: request.shared_chars]}
    low, _, _ = input_token_range(replace(request, messages=(*before, shared), params={}))
    return low if low >= _CACHEABLE else 0.0


def _dollars(prices: Prices, read: float, output: float, *, cached: float = 0.0, written: float = 0.0) -> float:
    usage = Usage(round(read), round(output), cached_tokens=round(cached), cache_write_tokens=round(written))
    return prices.cost(usage) or 0.0


# -- learned from answers -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Place:
    """Where in an item's order a task stands, first or later: what the provider's cache did there."""

    tasks: int = 0
    read: float = 0.0
    cached: float = 0.0
    written: float = 0.0


class Learned:
    """What one voice's answered tasks say of those that follow.

    answers: whose usage was reported; tasks: whose answers these are, re-asks included.
    """

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self.answers = 0
        self._estimated = self._real = self._written = 0.0  # tokens: input by estimate, input in truth, output
        self._questions = self._unreported = 0
        self._places = (_Place(), _Place())
        self._costs: list[tuple[float, float]] = []  # of each task, without the cache: by estimate, in truth

    def add(self, state: TaskState, *, first: bool) -> None:
        """Learn from a task that has ended. A server that does not report the tokens is charged the worst case of every call."""
        usages = [reply.usage for reply in state.replies if reply.status == "answered"]
        if not state.outcome or not usages:
            return
        if any(usage.estimated or not usage.input_tokens for usage in usages):
            self._unreported += 1
            return
        asked = state.calls[: len(state.task.questions)]
        total = sum(usages[1:], usages[0])
        estimates = [expected_usage(state.task, call) for call in asked]
        estimate = sum(estimates[1:], estimates[0])
        self.answers += len(usages)
        self._questions += len(asked)
        self._estimated += estimate.input_tokens
        self._real += total.input_tokens
        self._written += total.output_tokens
        place = self._places[not first]
        place.tasks += 1
        place.read += total.input_tokens
        place.cached += total.cached_tokens
        place.written += total.cache_write_tokens
        costs = (self._prices.cost(Usage(each.input_tokens, each.output_tokens)) or 0.0 for each in (estimate, total))
        self._costs.append((next(costs), next(costs)))

    @property
    def enough(self) -> bool:
        """Whether it says more than the guess."""
        return (self.answers >= ENOUGH and len(self._costs) > 1) or self._unreported >= ENOUGH

    @property
    def input_ratio(self) -> float:
        """Real input tokens of a task, re-asks included, per estimated token of its first calls."""
        return self._real / self._estimated if self._estimated else 1.0

    @property
    def output(self) -> float:
        """Output tokens of a question, re-asks and thoughts included."""
        return self._written / self._questions if self._questions else 0.0

    def dollars(self, call: Call, *, first: bool) -> Range:
        """Dollars for a call and the re-asks that may follow it; `error` is not in it yet."""
        if not self._unreported:
            return self._reported(call, first=first)
        unreported = self._unreported / (self._unreported + len(self._costs))
        worst = (self._prices.worst(call.request) or 0.0) * unreported
        return self._reported(call, first=first) * (1 - unreported) + Range(worst, worst, worst)

    def _reported(self, call: Call, *, first: bool) -> Range:
        read = estimated_input_tokens(call.request) * self.input_ratio
        place = self._places[not first]
        if place.tasks >= ENOUGH:
            cached, written = (part / place.read * read for part in (place.cached, place.written))
            return Range(*[_dollars(self._prices, read, self.output, cached=cached, written=written)] * 3)
        plain = _dollars(self._prices, read, self.output)
        cached = 0.0 if first else min(read, _cacheable(call.request) * self.input_ratio)
        written = read if read >= _CACHEABLE else 0.0
        low = _dollars(self._prices, read, self.output, cached=cached)
        return Range(min(low, plain), plain, max(plain, _dollars(self._prices, read, self.output, written=written)))

    def error(self, calls: float) -> float:
        """The relative error of the cost of so many calls: twice its standard error, more where few answers are known."""
        count = len(self._costs)
        if count < 2:
            return _SURE
        estimated, real = np.array(self._costs).T
        ratio = real.sum() / estimated.sum() if estimated.sum() else 0.0
        if not ratio:
            return _SURE
        spread = math.sqrt(float(((real - ratio * estimated) ** 2).sum()) / (count - 1)) / float(real.mean())
        return _SURE + (2 + 6 / count) * spread * math.sqrt(1 / count + 1 / max(calls, 1.0))


def learned_from(items: Iterable[Iterable[TaskState]], prices: Prices) -> dict[Voice, Learned]:
    """What the answered tasks of these items say, per voice."""
    found: dict[Voice, Learned] = {}
    for states in items:
        for place, state in enumerate(states):
            if state.replies:
                found.setdefault(voice_of(state.task), Learned(prices)).add(state, first=place == 0)
    return found
