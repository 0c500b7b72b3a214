"""Generation: models answer prompts. A generation is a call like any other, with a key of its own.

The key has the prompt, the model, its parameters, what it is told beside the prompt, and the sample's number; not how many other models or
responses there are. A prompt's own turns are sent as they are, also its system message, which what the recipe says is added to. It is data: it
is never rendered as a template.

    independent   one call, one response
    spread        one call is asked for several responses that different people would prefer (arXiv 2507.09650)
    weak_strong   independent, of a weaker and a stronger model: the difference is the preference (arXiv 2507.06187)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from dprm_data.core.conversation import Message, Messages
from dprm_data.elicit.draws import Draw, calls_per_prompt, draws
from dprm_data.elicit.elicitation import Elicitation, Outcome, Prefix, Question, Task, object_schema
from dprm_data.elicit.jury import Juror, Jury
from dprm_data.elicit.parsing import Unreadable, json_object
from dprm_data.elicit.template import PromptTemplate
from dprm_data.elicit.work import Work, call_params
from dprm_data.ingest.items import Item
from dprm_data.labels.space import LabelSpace
from dprm_data.ledger.call import Call, Reply
from dprm_data.panel.personas import Panel, Persona
from dprm_data.providers.provider import provider_class
from dprm_data.providers.request import Request
from dprm_data.providers.thoughts import split_thoughts
from dprm_data.recipe.generate_config import GenerateConfig
from dprm_data.recipe.recipe import PanelConfig

ASSUMED_TOKENS = 300  # of a response, for the plan
_JSON_TOKENS = 64  # that a call for several responses has for its JSON
_VERSION = 1  # rises when this program asks differently for the same recipe

_PRINCIPLE = "Follow this principle in your reply: {principle}"
_SPREAD = """\
Write {count} different replies to the conversation, each complete in itself and as good as you can make it for the people who would prefer it.
People differ in what they value: length, tone, caution, detail, directness, point of view. Make the replies differ in what divides people, so \
that for each reply there are people who like it best of all, and others who do not. Do not mention the other replies.
Answer with JSON only: {fields}"""

_NOBODY = Persona(id="generator", name="Generator", description="a model that answers prompts")


@dataclass(frozen=True, slots=True)
class GenerationTask(Task):
    """One call for responses."""

    draw: Draw


@dataclass(frozen=True)
class Generation(Elicitation):
    """How one model is asked for responses. max_tokens: of one of them."""

    name = "generation"
    prompt = ""
    gives = "a response"
    limit_setting = "generate: max_tokens"
    together: int = 1  # responses that a call asks for

    def read(self, text: str) -> Outcome:
        responses_in(text, self.together)
        return Outcome("ok")

    @property
    def expected_tokens(self) -> float:
        return float(min(self.max_tokens or ASSUMED_TOKENS, ASSUMED_TOKENS) * self.together)

    def open(self, item: Item) -> Prefix:
        return Prefix(item, "", item.item_id)

    def tasks(self, prefix: Prefix, drawn: Sequence[Draw]) -> Iterator[GenerationTask]:
        """The calls that this model makes for a prompt."""
        for draw in drawn:
            yield GenerationTask(self, prefix, _NOBODY, draw.sample, (Question(()),), draw)

    def proceed(self, task: Task, replies: Sequence[Reply]) -> Call | Outcome:
        """The outcome of the first answer. One whose limit went into thoughts is asked for again with more room, one of several responses that cannot be
        read is asked for again; one that was cut off stays so."""
        limit, unread, count = self._limit(task), [], _draw_of(task).count
        for reply in replies:
            try:
                responses_in(reply.text, count)
                return self.cut_off(reply) if reply.finish == "length" else Outcome("ok")
            except Unreadable as error:
                if reply.finish == "length":
                    nothing = not split_thoughts(reply.text)[1].strip()
                    larger = self._more_room(limit, reply) if nothing else None
                    if larger is None:
                        return self.cut_off(reply)
                    limit = larger
                    continue
                unread.append(reply)
                if count == 1 or len(unread) > self.max_reasks:
                    return Outcome("unparsable", reason=str(error))
        return self._asked(task, limit, self._reminders(unread))

    def cut_off(self, reply: Reply) -> Outcome:
        return Outcome("truncated", reason=f"cut off after {reply.usage.output_tokens:,} tokens")

    def call(self, task: Task, question: Question, reminders: tuple[Message, ...] = ()) -> Call:
        return self._asked(task, self._limit(task), reminders)

    def _asked(self, task: Task, limit: int, reminders: tuple[Message, ...]) -> Call:
        draw = _draw_of(task)
        params: dict[str, Any] = self.params | {"max_tokens": limit}
        if draw.temperature is not None:
            params["temperature"] = draw.temperature
        if "seed" in params:
            params["seed"] += draw.sample  # the same seed would give the same response
        if draw.count > 1:
            params["schema"] = object_schema({name: {"type": "string"} for name in _fields(draw.count)})
        messages = _with_system(task.prefix.item.prompt, _instructions(draw))
        request = Request(
            model=self.model,
            messages=(*messages, *reminders),
            params=params,
            cache_hint=task.prefix.item.item_id,
            capabilities=self.capabilities,
        )
        return Call.of(self.family, request, draw.sample)

    def _limit(self, task: Task) -> int:
        count = _draw_of(task).count
        return (self.max_tokens or self.answer_tokens) * count + (_JSON_TOKENS if count > 1 else 0)


def responses_in(text: str, count: int) -> list[str]:
    """The responses that an answer has, at most `count`, without the thoughts before it. Raises `Unreadable` if it has none."""
    said = split_thoughts(text)[1].strip()
    if not said:
        raise Unreadable("the response is empty")
    if count == 1:
        return [said]
    found = json_object(said)
    texts = [found.get(name) for name in _fields(count)]
    responses = [each.strip() for each in texts if isinstance(each, str) and each.strip()]
    if not responses:
        raise Unreadable(f'there is no text under "{_fields(count)[0]}"')
    return responses


def _draw_of(task: Task) -> Draw:
    assert isinstance(task, GenerationTask)
    return task.draw


def _fields(count: int) -> list[str]:
    return [f"response_{i}" for i in range(1, count + 1)]


def _instructions(draw: Draw) -> tuple[str, str]:
    """What a model is told before and after the prompt's own system message."""
    after = [_PRINCIPLE.format(principle=draw.principle)] if draw.principle else []
    if draw.count > 1:
        fields = ", ".join(f'"{name}": "..."' for name in _fields(draw.count))
        after.append(_SPREAD.format(count=draw.count, fields="{" + fields + "}"))
    return draw.system, "\n\n".join(after)


def _with_system(prompt: Messages, instructions: tuple[str, str]) -> list[Message]:
    """The prompt's turns as they are sent, with one system message at most."""
    before, after = instructions
    turns: list[Message] = [{"role": turn["role"], "content": turn["content"]} for turn in prompt]
    own = turns.pop(0)["content"] if turns[0]["role"] == "system" else ""
    system = "\n\n".join(filter(None, (before, own, after)))
    return [{"role": "system", "content": system}, *turns] if system else turns


@dataclass(frozen=True)
class GenerationWork(Work):
    """What a recipe's `generate` asks for. Its items are prompts, without a response; one with a response, which the source has, needs no call."""

    config: GenerateConfig | None = None

    def _tasks(self, item: Item) -> Iterator[Task]:
        assert self.config
        if item.completion:
            return
        drawn = draws(self.config, item.item_id)
        for juror in self.asked:
            elicitation = juror.elicitation
            assert isinstance(elicitation, Generation)
            mine = [draw for draw in drawn if draw.model_id == juror.id]
            yield from elicitation.tasks(elicitation.open(item), mine)

    @property
    def annotations_per_item(self) -> int:
        """Calls for a prompt: the mean, at least 1."""
        assert self.config
        return max(1, self.annotations_of(1))

    def annotations_of(self, items: int) -> int:
        """Calls for so many prompts."""
        assert self.config
        return round(items * calls_per_prompt(self.config) * len(self.asked) / len(self.jury.jurors))

    def plan_key(self) -> bytes:
        assert self.config
        models = [
            [juror.id, each.family, each.model, each.params, each.max_tokens, entry.temperature]
            for juror, entry in zip(self.jury.jurors, self.config.models, strict=True)
            for each in (juror.elicitation,)
        ]
        drawn = self.config.model_dump(mode="json", exclude={"models", "max_tokens", "existing"})
        identity = ["generation", _VERSION, models, drawn, self.only and self.only.id]
        return hashlib.sha256(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)).digest()[:16]


def generation_work(
    config: GenerateConfig, space: LabelSpace, names: dict[str, str], *, max_reasks: int
) -> GenerationWork:
    """The work of a recipe's `generate`. names: the name that requests carry, by the model's id."""
    together = min(config.per_call, config.per_prompt) if config.strategy == "spread" else 1
    jurors = []
    for entry in config.models:
        params = {name: value for name, value in call_params(entry).items() if name != "temperature"}
        asked = Generation(
            space=space,
            template=PromptTemplate("spread", _SPREAD),
            family=entry.name,
            model=names[entry.id],
            params=params,
            max_tokens=entry.max_tokens or config.max_tokens,
            max_reasks=max_reasks,
            model_id=entry.id,
            capabilities=provider_class(entry.name).capabilities(entry),
            together=together,
        )
        jurors.append(Juror(entry.id, asked))
    panel, panel_config = Panel.of_nobody(), PanelConfig()
    return GenerationWork(Jury(tuple(jurors)), panel, panel_config, replicates=1, config=config)
