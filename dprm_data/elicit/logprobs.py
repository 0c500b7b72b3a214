"""logprobs: one question per axis, answered by the model's probabilities of the level words after a prefilled beginning.

What the same question gives on content-free items is taken away (contextual calibration, arXiv 2102.09690); the axes are multiplied. A
label space without axes is asked about in one question, whose words are the labels.

Marks around texts and rules about them confuse small models (docs/prompt-injection.md). So the template has none, and a text that imitates the template (a
later line that begins like one of the template's own) is quoted: no line of it begins like the template's lines. All other texts are sent as
they are.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.core.conversation import Message
from dprm_data.elicit.elicitation import Elicitation, Outcome, Question, Task, elicitation
from dprm_data.elicit.parsing import Unreadable, read_words
from dprm_data.ingest.items import Item
from dprm_data.ledger.call import Call, Reply
from dprm_data.panel.personas import NEUTRAL

_MAX_ORDERS = 6  # in which a question lists its words: each order is calibrated by calls of its own
_CONTENT_FREE = ("N/A", "[MASK]", "...")
TOP_LOGPROBS = 1000
# How lines of the bundled template begin, perhaps indented or in Markdown's bold.
_OWN_LINE = re.compile(
    r"[\s*_#]*(?:(?:person|assistant|response|rules for the assistant|system|user)[\s*_]*:|in my opinion, the response is)",
    re.IGNORECASE,
)


@elicitation("logprobs")
class Logprobs(Elicitation):
    prompt = "logprobs"
    needs_logprobs = True
    repeatable = False
    is_calibrated = True
    answer_tokens = 1
    expected_tokens = 1.0

    # -- questions ----------------------------------------------------------------------------------------------------

    def questions(self, shuffle: random.Random) -> tuple[Question, ...]:
        return tuple(Question(shuffle.choice(orders), axis) for axis, orders in enumerate(self._orders))

    def values(self, question: Question) -> dict[str, Any]:
        assert question.axis is not None
        words = self.words[question.axis]
        asked = self.space.axes[question.axis].question if self.space.axes else ""
        return {"options": [{"words": words[i]} for i in question.order], "question": asked or "Is the response"}

    @cached_property
    def request_params(self) -> dict[str, Any]:
        return self.params | {"max_tokens": 1, "top_logprobs": self.params.get("top_logprobs", TOP_LOGPROBS)}

    @cached_property
    def words(self) -> list[list[str]]:
        """The words of every question: an axis's levels, or the labels themselves where the space has no axes."""
        if not self.space.axes:
            return [[label.said for label in self.space.labels]]
        return [[level.said for level in axis.levels] for axis in self.space.axes]

    @cached_property
    def _orders(self) -> list[list[tuple[int, ...]]]:
        """The orders in which each question may list its words: all of them, or a seeded few."""
        return [_some_orders(len(words), self.seed) for words in self.words]

    def texts(self, item: Item) -> tuple[list[Message], str]:
        prompt, response = super().texts(item)
        quoted: list[Message] = [{"role": each["role"], "content": quote(each["content"])} for each in prompt]
        return quoted, quote(response)

    # -- answers ------------------------------------------------------------------------------------------------------

    def proceed(self, task: Task, replies: Sequence[Reply]) -> Call | Outcome:
        if len(replies) < len(task.questions):
            return self.call(task, task.questions[len(replies)])
        try:
            levels = [self._levels(question, reply) for question, reply in zip(task.questions, replies, strict=True)]
        except Unreadable as error:
            return Outcome("unparsable", reason=str(error))
        return Outcome("ok", raw=tuple(levels))

    def _levels(self, question: Question, reply: Reply) -> Floats:
        if not reply.top_logprobs:
            raise Unreadable("the provider gave no log-probabilities")
        assert question.axis is not None
        return read_words(reply.top_logprobs, self.words[question.axis])

    # -- calibration --------------------------------------------------------------------------------------------------

    def calibration_tasks(self) -> list[Task]:
        """Every question in every order, about content-free items, asked of the neutral annotator."""
        prefixes = [self.open(_content_free(text)) for text in _CONTENT_FREE]
        questions = [Question(order, axis) for axis, orders in enumerate(self._orders) for order in orders]
        return [Task(self, prefix, NEUTRAL, 0, (question,)) for prefix in prefixes for question in questions]

    def calibrate(self, outcomes: Sequence[tuple[Task, Outcome]]) -> dict[Question, Floats]:
        """The log-probabilities that each question gives to its words when there is nothing to judge, averaged over the items."""
        seen: dict[Question, list[Floats]] = {}
        for task, outcome in outcomes:
            if outcome.status == "ok":
                seen.setdefault(task.questions[0], []).append(outcome.raw[0])
        return {question: np.mean(values, axis=0) for question, values in seen.items()}

    def label_probs(self, task: Task, outcome: Outcome, calibration: Mapping[Question, Floats]) -> Floats | None:
        """P(label) ∝ Π over axes of P(its level), each level calibrated: log P(word) - log P(word | content-free), normalised over the
        words of the question."""
        if not outcome.raw:
            return None
        space = self.space
        levels = space.level_index if space.axes else np.arange(space.K)[:, None]
        log_probs = np.zeros(space.K)
        for axis, (question, raw) in enumerate(zip(task.questions, outcome.raw, strict=True)):
            calibrated = raw - calibration.get(question, np.zeros_like(raw))
            calibrated -= np.logaddexp.reduce(calibrated)
            log_probs += calibrated[levels[:, axis]]
        probs = np.exp(log_probs - log_probs.max())
        return np.asarray(probs / probs.sum())


def quote(text: str, own_line: re.Pattern[str] = _OWN_LINE) -> str:
    """The text with "> " before each line if a line after the first begins like one of the template's own; otherwise the text itself.

    The first line stands behind the template's own beginning and cannot be taken for one.
    """
    lines = text.splitlines()
    if not any(own_line.match(line) for line in lines[1:]):
        return text
    return "\n".join(f"> {line}" for line in lines)


def _content_free(text: str) -> Item:
    return Item(
        item_id=hashlib.sha256(text.encode()).hexdigest()[:32],
        prompt=({"role": "user", "content": text},),
        completion=({"role": "assistant", "content": text},),
        group_id="content-free",
        role=None,
        source="content-free",
        metadata={},
    )


def _some_orders(count: int, seed: int) -> list[tuple[int, ...]]:
    if count <= 3:
        return list(itertools.permutations(range(count)))
    shuffle = random.Random(seed)
    return [tuple(shuffle.sample(range(count), count)) for _ in range(_MAX_ORDERS)]
