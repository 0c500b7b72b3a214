"""Elicitation: how an annotator is asked, and how the annotation is read.

An elicitation is a pure function from the replies so far to what comes next: another request, or the outcome. The engine feeds it
replies from a provider, the replay feeds it replies from the ledger; neither knows what is being asked.

    choice         one question; the answer is one category as JSON
    distribution   one question; the answer is a number per category as JSON
    logprobs       one question per axis; the answer is read from the probabilities of the level words after a prefilled beginning,
                   minus what the same question gives on content-free items (contextual calibration, arXiv 2102.09690), axes multiplied

The categories stand in an order of their own in every call, seeded by item, annotator and replicate: models prefer positions.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.core.conversation import Message
from dprm_data.elicit.parsing import Unreadable, read_choice, read_distribution, read_words
from dprm_data.elicit.template import PromptTemplate, fence
from dprm_data.ingest.items import Item
from dprm_data.labels.space import LabelSpace
from dprm_data.ledger.call import Call, Reply
from dprm_data.panel.personas import NEUTRAL, Persona
from dprm_data.providers.provider import Request

Kind = Literal["choice", "logprobs", "distribution"]
Status = Literal["ok", "unparsable", "refusal", "content_filter", "truncated", "rejected", "exhausted"]

_MAX_ORDERS = 6  # of the words in a logprobs question: each order is calibrated by calls of its own
_CONTENT_FREE = ("N/A", "[MASK]", "...")
_TOP_LOGPROBS = 1000
_ANSWER_TOKENS: dict[Kind, int] = {"choice": 80, "distribution": 300, "logprobs": 1}
_RATIONALE_TOKENS = 160


@dataclass(frozen=True, slots=True)
class Question:
    """What one call of a task asks: all labels (`axis` None) or the levels of one axis, shown in this order."""

    order: tuple[int, ...]
    axis: int | None = None


@dataclass(frozen=True, slots=True)
class Prefix:
    """What all calls about one item share."""

    item: Item
    system: str
    shared: str


@dataclass(frozen=True, slots=True)
class Task:
    """One annotation to be obtained: one annotator, one item, one replicate."""

    elicitation: Elicitation
    prefix: Prefix
    annotator: Persona
    replicate: int
    questions: tuple[Question, ...]

    def next(self, replies: Sequence[Reply]) -> Call | Outcome:
        """What comes after these replies."""
        return self.elicitation.next(self, replies)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a task: a label, a distribution, or the reason why there is neither.

    probs: over the labels, shape (K,), where the answer says more than one label; log_levels: (logprobs only) the raw log-probabilities
    of each question's words, to be calibrated.
    """

    status: Status
    label: int | None = None
    probs: Floats | None = None
    log_levels: tuple[Floats, ...] = ()
    reason: str = ""
    rationale: str = ""


@dataclass(frozen=True)
class Elicitation:
    """Asks one kind of question about items of one label space, to one model.

    params: what is sent beside the messages (temperature, top_p, seed, extra); the rest is the elicitation's own.
    """

    kind: Kind
    space: LabelSpace
    template: PromptTemplate
    family: str
    model: str
    params: dict[str, Any] = field(default_factory=dict)
    max_tokens: int | None = None
    rationale: bool = False
    max_reasks: int = 2
    seed: int = 0

    # -- tasks --------------------------------------------------------------------------------------------------------

    def open(self, item: Item) -> Prefix:
        """Render what all annotators of the item share."""
        values = {
            "labels": self._labels,
            "prompt": list(item.prompt),
            "response": response_text(item),
            "fence": fence(item.item_id),
        }
        return Prefix(
            item, self.template.render("system", {"labels": self._labels}), self.template.render("item", values)
        )

    def task(self, prefix: Prefix, annotator: Persona, replicate: int) -> Task:
        """The task for one annotator of an opened item."""
        drawn = hashlib.sha256(f"{self.seed}\0{prefix.item.item_id}\0{annotator.id}\0{replicate}".encode()).digest()
        shuffle = random.Random(drawn)
        if self.kind == "logprobs":
            questions = tuple(Question(shuffle.choice(orders), axis) for axis, orders in enumerate(self._orders))
        else:
            order = list(range(self.space.K))
            shuffle.shuffle(order)
            questions = (Question(tuple(order)),)
        return Task(self, prefix, annotator, replicate, questions)

    def calibration_tasks(self) -> list[Task]:
        """What must be asked to calibrate: every question in every order, of content-free items, as the neutral annotator."""
        if self.kind != "logprobs":
            return []
        prefixes = [self.open(_content_free(text)) for text in _CONTENT_FREE]
        questions = [Question(order, axis) for axis, orders in enumerate(self._orders) for order in orders]
        return [Task(self, prefix, NEUTRAL, 0, (question,)) for prefix in prefixes for question in questions]

    # -- the conversation ---------------------------------------------------------------------------------------------

    def next(self, task: Task, replies: Sequence[Reply]) -> Call | Outcome:
        """The next call, or the outcome. A failed call ends the task; an unreadable answer is asked again at most `max_reasks` times."""
        failed = next((reply for reply in replies if reply.status != "answered"), None)
        if failed:
            return Outcome("rejected" if failed.status == "rejected" else "exhausted", reason=failed.reason)
        stopped = next((reply for reply in replies if reply.finish in ("refusal", "content_filter")), None)
        if stopped:
            return Outcome(
                "refusal" if stopped.finish == "refusal" else "content_filter",
                reason=stopped.text[:200] or "the provider filtered the content",
            )
        if self.kind == "logprobs":
            return self._next_axis(task, replies)
        return self._next_attempt(task, replies)

    def _next_attempt(self, task: Task, replies: Sequence[Reply]) -> Call | Outcome:
        if not replies:
            return self._call(task, task.questions[0])
        try:
            return self._read(replies[-1].text)
        except Unreadable as error:
            if replies[-1].finish == "length":
                return Outcome("truncated", reason=f"cut off after {replies[-1].usage.output_tokens} tokens: {error}")
            if len(replies) > self.max_reasks:
                return Outcome("unparsable", reason=str(error))
        return self._call(task, task.questions[0], self._reminders(replies))

    def _reminders(self, replies: Sequence[Reply]) -> tuple[Message, ...]:
        """The conversation about answers that could not be read: each of them, and what was wrong with it."""
        turns: list[Message] = []
        for reply in replies:
            turns.append({"role": "assistant", "content": reply.text or "(empty)"})
            turns.append(
                {
                    "role": "user",
                    "content": f"{self._fault(reply.text)} Reply with the JSON that was asked for and nothing else.",
                }
            )
        return tuple(turns)

    def _fault(self, text: str) -> str:
        try:
            self._read(text)
        except Unreadable as error:
            return f"That could not be read: {error}."
        return "That was cut off."

    def _read(self, text: str) -> Outcome:
        if self.kind == "choice":
            label, rationale = read_choice(text, self.space)
            return Outcome("ok", label=label, rationale=rationale)
        probs = read_distribution(text, self.space)
        return Outcome("ok", label=int(probs.argmax()), probs=probs)

    def _next_axis(self, task: Task, replies: Sequence[Reply]) -> Call | Outcome:
        if len(replies) < len(task.questions):
            return self._call(task, task.questions[len(replies)])
        try:
            levels = tuple(
                self._read_levels(question, reply) for question, reply in zip(task.questions, replies, strict=True)
            )
        except Unreadable as error:
            return Outcome("unparsable", reason=str(error))
        return Outcome("ok", log_levels=levels)

    def _read_levels(self, question: Question, reply: Reply) -> Floats:
        if not reply.top_logprobs:
            raise Unreadable("the provider gave no log-probabilities")
        assert question.axis is not None
        return read_words(reply.top_logprobs, self._words[question.axis])

    # -- requests -----------------------------------------------------------------------------------------------------

    def _call(self, task: Task, question: Question, reminders: tuple[Message, ...] = ()) -> Call:
        prefix = task.prefix
        personal = self.template.render("persona", self._values(task, question))
        messages: list[Message] = [{"role": "system", "content": prefix.system}] if prefix.system else []
        messages.append({"role": "user", "content": f"{prefix.shared}\n\n{personal}"})
        prefill = self.template.render("prefill", {"labels": self._labels})
        if prefill:
            messages.append({"role": "assistant", "content": prefill})
        request = Request(
            model=self.model,
            messages=(*messages, *reminders),
            params=self._params,
            shared_chars=len(prefix.shared),
            cache_hint=prefix.item.item_id,
        )
        return Call.of(self.family, request, task.replicate)

    def _values(self, task: Task, question: Question) -> dict[str, Any]:
        persona = {
            "id": task.annotator.id,
            "name": task.annotator.name,
            "description": task.annotator.description,
            "attributes": dict(task.annotator.attributes),
        }
        values = {
            "persona": persona,
            "labels": self._labels,
            "rationale": self.rationale,
            "fence": fence(task.prefix.item.item_id),
        }
        if question.axis is None:
            return values | {"options": [self._labels[i] for i in question.order]}
        words = self._words[question.axis]
        return values | {
            "options": [{"words": words[i]} for i in question.order],
            "question": self._axis_questions[question.axis],
        }

    @cached_property
    def _params(self) -> dict[str, Any]:
        tokens = self.max_tokens or _ANSWER_TOKENS[self.kind] + (_RATIONALE_TOKENS if self.rationale else 0)
        if self.kind == "logprobs":
            return self.params | {"max_tokens": 1, "top_logprobs": self.params.get("top_logprobs", _TOP_LOGPROBS)}
        return self.params | {"max_tokens": tokens, "schema": self._schema}

    @cached_property
    def _schema(self) -> dict[str, Any]:
        words = [label.said for label in self.space.labels]
        if self.kind == "distribution":
            fields: dict[str, Any] = {word: {"type": "number"} for word in words}
        else:
            why = {"why": {"type": "string"}} if self.rationale else {}
            fields = why | {"label": {"type": "string", "enum": words}}
        return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}

    # -- the label space as the templates see it ------------------------------------------------------------------------

    @cached_property
    def _labels(self) -> list[dict[str, Any]]:
        return [
            {"name": label.name, "words": label.said, "description": label.description, "levels": dict(label.levels)}
            for label in self.space.labels
        ]

    @cached_property
    def _words(self) -> list[list[str]]:
        """The words of every logprobs question: an axis's levels, or the labels themselves where the space has no axes."""
        if not self.space.axes:
            return [[label.said for label in self.space.labels]]
        return [[level.said for level in axis.levels] for axis in self.space.axes]

    @cached_property
    def _axis_questions(self) -> list[str]:
        return [axis.question or "Is the response" for axis in self.space.axes] or ["Is the response"]

    @cached_property
    def _orders(self) -> list[list[tuple[int, ...]]]:
        """The orders in which each logprobs question may list its words: all of them, or a seeded few."""
        return [_some_orders(len(words), self.seed) for words in self._words]


def response_text(item: Item) -> str:
    """The response to be judged as one text (tool turns and the like are kept, with their role)."""
    if len(item.completion) == 1:
        return item.completion[0]["content"]
    return "\n".join(f"[{message['role']}] {message['content']}" for message in item.completion)


def calibrate(outcomes: Sequence[tuple[Task, Outcome]]) -> dict[Question, Floats]:
    """The log-probabilities that each question gives to its words when there is nothing to judge: averaged over content-free items."""
    seen: dict[Question, list[Floats]] = {}
    for task, outcome in outcomes:
        if outcome.status == "ok":
            seen.setdefault(task.questions[0], []).append(outcome.log_levels[0])
    return {question: np.mean(values, axis=0) for question, values in seen.items()}


def label_probs(task: Task, outcome: Outcome, prior: dict[Question, Floats]) -> Floats:
    """Label probabilities, shape (K,), of a `logprobs` outcome: P(label) ∝ Π over axes of P(its level), each calibrated.

    Calibrated: log P(word) - log P(word | content-free), normalised over the words of the question.
    """
    space = task.elicitation.space
    levels = space.level_index if space.axes else np.arange(space.K)[:, None]
    log_probs = np.zeros(space.K)
    for axis, (question, raw) in enumerate(zip(task.questions, outcome.log_levels, strict=True)):
        calibrated = raw - prior.get(question, np.zeros_like(raw))
        calibrated -= np.logaddexp.reduce(calibrated)
        log_probs += calibrated[levels[:, axis]]
    probs = np.exp(log_probs - log_probs.max())
    return np.asarray(probs / probs.sum())


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
