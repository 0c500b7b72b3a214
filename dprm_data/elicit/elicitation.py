"""Elicitation: how an annotator is asked, and how the answer is read. One class per elicitation, each in a module of its own.

An elicitation is a pure function from the replies so far to what comes next: another call, or the outcome. The engine feeds it
replies from a provider, the replay feeds it replies from the ledger; neither knows what is being asked.

What all of them share is here: the order in which labels are listed, the messages, re-asks, refusals, truncated answers. Labels are
listed in an order of its own in every call, seeded by item, annotator and replicate: models prefer positions.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from dprm_data.core.arrays import Floats
from dprm_data.core.conversation import Message
from dprm_data.core.registry import ELICITATIONS
from dprm_data.elicit.parsing import Unreadable
from dprm_data.elicit.rendering import shown
from dprm_data.elicit.template import PromptTemplate, fence, load_prompt
from dprm_data.ingest.items import Item
from dprm_data.labels.space import LabelSpace
from dprm_data.ledger.call import Call, Reply
from dprm_data.panel.personas import Persona
from dprm_data.providers.capabilities import UNKNOWN, Capabilities
from dprm_data.providers.request import Request
from dprm_data.providers.thoughts import split_thoughts

Status = Literal["ok", "unparsable", "refusal", "content_filter", "truncated", "rejected", "exhausted"]

E = TypeVar("E", bound="Elicitation")

# An answer that was cut off is asked for again with a larger limit of output tokens: for an answer so many, for thoughts this many times what
# they have used up, and at most so many (beside the room that the model has for thoughts in any case).
_LEAST_MORE, _ROOMIER, _MOST_TOKENS = 1024, 4, 16_384


@dataclass(frozen=True, slots=True)
class Question:
    """What one call asks. order: in which the answers are listed (labels, or the levels of `axis`); empty where none are."""

    order: tuple[int, ...]
    axis: int | None = None


@dataclass(frozen=True, slots=True)
class Prefix:
    """What all calls about one item share. fence: the mark around its texts."""

    item: Item
    system: str
    shared: str
    fence: str = ""


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

    label: the vote. probs: over the labels, shape (K,), where the answer says more than one label; its vote is split over them.
    raw: one array per question, where the elicitation turns them into probs only once it is calibrated.
    """

    status: Status
    label: int | None = None
    probs: Floats | None = None
    raw: tuple[Floats, ...] = ()
    reason: str = ""
    rationale: str = ""


@dataclass(frozen=True)
class Elicitation:
    """Asks in one way about items of one label space, to one model. Subclasses are registered by `@elicitation(name)`.

    A subclass declares the facts below that differ, and defines `read`; most define `schema` too. One that asks more than one question,
    or reads more than text, defines `questions` and `proceed` instead.

    params: what is sent beside the messages (temperature, top_p, seed, extra); the rest is the elicitation's own. model_id: the model's
    entry in the recipe, which names the client that sends its calls; not part of a call. show_reasoning: of the responses, where they have it.
    """

    name: ClassVar[str]  # in recipes and annotations; set by `@elicitation`
    prompt: ClassVar[str]  # its default template: a bundled name, or a .jinja file beside its module
    rationale_prompt: ClassVar[str] = ""  # the same for `rationale: true`, where it is another
    needs_logprobs: ClassVar[bool] = False  # reads log-probabilities, which not every provider gives
    gives_rationale: ClassVar[bool] = False  # can ask for a sentence that says why (`rationale: true`)
    repeatable: ClassVar[bool] = True  # asked again (`replicates`), the answer may be another
    is_calibrated: ClassVar[bool] = (
        False  # by calls of its own; votes exist only after all calls, so nothing can stop early
    )
    reminder: ClassVar[str] = "Reply with the JSON that was asked for and nothing else."  # ends every re-ask
    gives: ClassVar[str] = "a label"  # what is wanted of an answer, in messages
    limit_setting: ClassVar[str] = "provider: max_tokens"  # where a recipe sets the answers' limit
    states_population: ClassVar[bool] = False  # an answer is a whole population's distribution and not a vote
    compares: ClassVar[bool] = False  # asks about pairs of items (`ingest/item_pairs.py`): its labels are preferences

    space: LabelSpace
    template: PromptTemplate
    family: str
    model: str
    params: dict[str, Any] = field(default_factory=dict)
    max_tokens: int | None = None
    rationale: bool = False
    max_reasks: int = 2
    seed: int = 0
    model_id: str = ""
    capabilities: Capabilities = UNKNOWN
    show_reasoning: bool = False

    # -- what a subclass defines --------------------------------------------------------------------------------------

    def read(self, text: str) -> Outcome:
        """The outcome (`ok`) that an answer says. Raises `Unreadable` with a reason that can be shown to the model."""
        raise NotImplementedError(f"{type(self).__name__}.read")

    def schema(self) -> dict[str, Any] | None:
        """The JSON schema of an answer; None where it is free text."""
        return None

    @property
    def answer_tokens(self) -> int:
        """The most tokens an answer may have, where the recipe does not say (`max_tokens`)."""
        return 80

    @property
    def expected_tokens(self) -> float:
        """Tokens of a usual answer, for the plan."""
        return 12.0

    def questions(self, shuffle: random.Random) -> tuple[Question, ...]:
        """What one task asks, with the order of each list drawn from `shuffle`."""
        order = list(range(self.space.K))
        shuffle.shuffle(order)
        return (Question(tuple(order)),)

    def values(self, question: Question) -> dict[str, Any]:
        """What the block `persona` of the template may use for this question, beside what every elicitation gives it."""
        return {"options": [self.labels[i] for i in question.order]}

    @classmethod
    def settings(cls, recipe: Any) -> dict[str, Any]:
        """Fields of this class that a recipe sets, beside those that all have."""
        return {}

    @property
    def identity(self) -> dict[str, Any]:
        """What decides, of the fields that this class alone has, what is asked."""
        return {}

    @property
    def part_asked(self) -> float:
        """The part of an item's annotators whom `answering` keeps."""
        return 1.0

    def drawn_by(self, item: Item) -> str:
        """What an item's annotators are drawn by: items that have it in common have the same."""
        return item.item_id

    def answering(self, item: Item, personas: Sequence[Persona]) -> Sequence[Persona]:
        """Those of an item's annotators who are asked about it."""
        return personas

    def texts(self, item: Item) -> tuple[list[Message], str]:
        """The item's prompt and response as the block `item` of the template gets them."""
        return shown(item, reasoning=self.show_reasoning)

    def calibration_tasks(self) -> list[Task]:
        """What must be asked to calibrate, once per run."""
        return []

    def calibrate(self, outcomes: Sequence[tuple[Task, Outcome]]) -> Any:
        """What the outcomes of the calibration tasks say, as `label_probs` wants it."""
        return None

    def label_probs(self, task: Task, outcome: Outcome, calibration: Any) -> Floats | None:
        """An outcome's probabilities over the labels, shape (K,), calibrated; None where its label is all there is."""
        return outcome.probs

    # -- tasks --------------------------------------------------------------------------------------------------------

    @classmethod
    def default_template(cls, *, rationale: bool = False) -> PromptTemplate:
        """The template for recipes that name none. Raises `PromptError` where it cannot be read."""
        module = sys.modules[cls.__module__]
        name = (rationale and cls.rationale_prompt) or cls.prompt
        return load_prompt(name, Path(getattr(module, "__file__", None) or "notebook").parent)

    def open(self, item: Item) -> Prefix:
        """Render what all annotators of the item share."""
        prompt, response = self.texts(item)
        fenced = [response, *(f"{message['role']}\n{message['content']}" for message in prompt)]
        mark = fence(item.item_id, fenced)
        values = {"labels": self.labels, "prompt": prompt, "response": response, "fence": mark}
        system = self.template.render("system", {"labels": self.labels})
        return Prefix(item, system, self.template.render("item", values), mark)

    def task(self, prefix: Prefix, annotator: Persona, replicate: int) -> Task:
        """The task for one annotator of an opened item."""
        seed = hashlib.sha256(f"{self.seed}\0{prefix.item.item_id}\0{annotator.id}\0{replicate}".encode()).digest()
        return Task(self, prefix, annotator, replicate, self.questions(random.Random(seed)))

    # -- the conversation ---------------------------------------------------------------------------------------------

    def next(self, task: Task, replies: Sequence[Reply]) -> Call | Outcome:
        """The next call, or the outcome. A failed call or a refusal ends the task."""
        failed = next((reply for reply in replies if reply.status != "answered"), None)
        if failed:
            return Outcome("rejected" if failed.status == "rejected" else "exhausted", reason=failed.reason)
        stopped = next((reply for reply in replies if reply.finish in ("refusal", "content_filter")), None)
        if stopped:
            return Outcome(
                "refusal" if stopped.finish == "refusal" else "content_filter",
                reason=stopped.text[:200] or "the provider filtered the content",
            )
        return self.proceed(task, replies)

    def proceed(self, task: Task, replies: Sequence[Reply]) -> Call | Outcome:
        """What comes after answers that were given: one question, asked again at most `max_reasks` times until it can be read, and with
        more room while its answers are cut off."""
        limit, unread = self.request_params["max_tokens"], []
        for reply in replies:
            try:
                return self.read(_answer(reply))
            except Unreadable as error:
                if reply.finish == "length":
                    larger = self._more_room(limit, reply)
                    if larger is None:
                        return self.cut_off(reply)
                    limit = larger
                    continue
                unread.append(reply)
                if len(unread) > self.max_reasks:
                    return Outcome("unparsable", reason=str(error))
        call = self.call(task, task.questions[0], self._reminders(unread))
        return call if limit == self.request_params["max_tokens"] else self._with_limit(call, limit, task.replicate)

    def _more_room(self, limit: int, reply: Reply) -> int | None:
        """The limit with which an answer that was cut off is asked for again; None where it has had the most.

        A limit that the recipe gives is one for the answer: it is raised for thoughts alone.
        """
        if self.max_tokens is not None and not reply.thought:
            return None
        larger = max(_LEAST_MORE, _ROOMIER * max(limit, reply.usage.output_tokens) if reply.thought else 0)
        larger = min(larger, _MOST_TOKENS)
        return larger if larger >= 1.5 * limit else None

    def cut_off(self, reply: Reply) -> Outcome:
        """The outcome of an answer that was cut off, and is not asked for again."""
        return Outcome("truncated", reason=f"cut off after {reply.usage.output_tokens} tokens: {self._fault(reply)}")

    def _with_limit(self, call: Call, limit: int, replicate: int) -> Call:
        request = replace(call.request, params=call.request.params | {"max_tokens": limit})
        return Call.of(self.family, request, replicate)

    def _reminders(self, replies: Sequence[Reply]) -> tuple[Message, ...]:
        """The conversation about answers that could not be read: each of them without its thoughts, and what was wrong with it."""
        turns: list[Message] = []
        for reply in replies:
            turns.append({"role": "assistant", "content": _answer(reply) or "(empty)"})
            turns.append({"role": "user", "content": f"That could not be read: {self._fault(reply)}. {self.reminder}"})
        return tuple(turns)

    def _fault(self, reply: Reply) -> str:
        """Why an answer cannot be read."""
        try:
            self.read(_answer(reply))
        except Unreadable as error:
            return str(error)
        return "it was cut off"

    # -- requests -----------------------------------------------------------------------------------------------------

    def call(self, task: Task, question: Question, reminders: tuple[Message, ...] = ()) -> Call:
        """The call that asks this question of the task's annotator."""
        prefix = task.prefix
        personal = self.template.render("persona", self._common_values(task) | self.values(question))
        messages: list[Message] = [{"role": "system", "content": prefix.system}] if prefix.system else []
        messages.append({"role": "user", "content": f"{prefix.shared}\n\n{personal}"})
        prefill = self.template.render("prefill", {"labels": self.labels})
        if prefill:
            messages.append({"role": "assistant", "content": prefill})
        request = Request(
            model=self.model,
            messages=(*messages, *reminders),
            params=self.request_params,
            shared_chars=len(prefix.shared),
            cache_hint=prefix.item.item_id,
            capabilities=self.capabilities,
        )
        return Call.of(self.family, request, task.replicate)

    @cached_property
    def request_params(self) -> dict[str, Any]:
        """What every request carries beside its messages (`Request.params`)."""
        params = self.params | {"max_tokens": self.max_tokens or self.answer_tokens}
        schema = self.schema()
        return params if schema is None else params | {"schema": schema}

    def _common_values(self, task: Task) -> dict[str, Any]:
        persona = {
            "id": task.annotator.id,
            "name": task.annotator.name,
            "description": task.annotator.description,
            "attributes": dict(task.annotator.attributes),
        }
        return {
            "persona": persona,
            "labels": self.labels,
            "rationale": self.rationale,
            "fence": task.prefix.fence,
        }

    @cached_property
    def labels(self) -> list[dict[str, Any]]:
        """The label space as templates see it."""
        return [
            {"name": label.name, "words": label.said, "description": label.description, "levels": dict(label.levels)}
            for label in self.space.labels
        ]


def elicitation(name: str) -> Callable[[type[E]], type[E]]:
    """Register a subclass of `Elicitation` under this name. Raises `ValueError` if the name is taken."""

    def decorate(cls: type[E]) -> type[E]:
        cls.name = name
        return ELICITATIONS.register(name)(cls)

    return decorate


def object_schema(properties: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of an object with exactly these properties, all of them required."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _answer(reply: Reply) -> str:
    """What a reply says, without the thoughts before it."""
    return split_thoughts(reply.text)[1]
