"""Unusable answers: the error that ends a run in which answers come and none gives a label. It says what was answered and what to change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dprm_data.core.errors import ProviderUnusable
from dprm_data.core.format import money
from dprm_data.core.text import one_line
from dprm_data.elicit.elicitation import Outcome, Task
from dprm_data.engine.replay import TaskState
from dprm_data.ledger.call import Reply

_EXCERPT = 160  # characters of an answer that are shown
_FAILED = ("rejected", "exhausted")
_ENDS = {"stop": "", "length": "cut off", "refusal": "a refusal", "content_filter": "stopped by a content filter"}


@dataclass(frozen=True, slots=True)
class Unusable:
    """A reply that gave no label."""

    task: Task
    reply: Reply
    reason: str = ""

    @classmethod
    def last_of(cls, state: TaskState) -> Unusable:
        """The last reply of a task that has none with a label."""
        return cls(state.task, state.replies[-1], state.step.reason if isinstance(state.step, Outcome) else "")

    @property
    def cause(self) -> str:
        """What is to blame, as far as the reply says: a key of `_HINTS`."""
        reply, elicitation = self.reply, self.task.elicitation
        if reply.status != "answered":
            return reply.status
        if reply.finish in ("refusal", "content_filter"):
            return "refusal"
        if elicitation.needs_logprobs:
            return "other words" if reply.top_logprobs else "no log-probabilities"
        if reply.finish == "length":
            return "cut off" if reply.text.strip() else "cut off, empty"
        if not reply.text.strip():
            return "empty"
        return "other JSON" if "{" in reply.text else "prose"

    @property
    def advice(self) -> str:
        """What to change."""
        elicitation = self.task.elicitation
        return _HINTS[self.cause].format(
            limit=elicitation.request_params.get("max_tokens"), setting=elicitation.limit_setting
        )

    def __str__(self) -> str:
        reply = self.reply
        if reply.status != "answered":
            return one_line(reply.reason, _EXCERPT)
        tokens = "tokens not reported" if reply.usage.estimated else f"{reply.usage.output_tokens:,} output tokens"
        notes = ", ".join(filter(None, (_ENDS[reply.finish], tokens)))
        said = f'"{one_line(reply.text, _EXCERPT)}"' if reply.text.strip() else "nothing"
        return f"{said} ({notes})"


def no_label(examples: Sequence[Unusable]) -> ProviderUnusable:
    """The error for a run whose first answers, all of these, gave no label."""
    return _error(f"none of the first {len(examples)} answers of {_model(examples)} gives {_gives(examples)}", examples)


def no_more_labels(examples: Sequence[Unusable], count: int) -> ProviderUnusable:
    """The error for a run whose last answers, so many and these the last of them, gave no label."""
    return _error(f"none of the last {count:,} answers of {_model(examples)} gives {_gives(examples)}", examples)


def _model(examples: Sequence[Unusable]) -> str:
    elicitation = examples[-1].task.elicitation
    return f"{elicitation.model or elicitation.family} ({elicitation.name})"


def _gives(examples: Sequence[Unusable]) -> str:
    return examples[-1].task.elicitation.gives


def _error(what: str, examples: Sequence[Unusable]) -> ProviderUnusable:
    causes = Counter(each.cause for each in examples)
    cause = causes.most_common(1)[0][0]
    shown = next(each for each in reversed(examples) if each.cause == cause)
    costs = [each.reply.cost for each in examples]
    paid = "" if None in costs else f" They cost {money(sum(cost or 0.0 for cost in costs))}."
    kind = "most frequent failure" if cause in _FAILED else "most frequent kind of answer"
    often = "" if causes[cause] == len(examples) else f" (the {kind}, {causes[cause]} of {len(examples)})"
    return ProviderUnusable(
        f"{what}. {'The provider says' if cause in _FAILED else 'It says'}{often}: {shown}.{paid}",
        hint=f"{shown.advice} {_GO_ON}",
    )


_GO_ON = (
    "All answers are kept: change the recipe and run again (with --retry-failed if the requests stay the same). "
    "To continue without this check, set limits: {give_up_unusable: 0}."
)
_HINTS = {
    "cut off": "The answers end at the output limit of {limit} tokens: raise {setting}.",
    "cut off, empty": "The model uses up the output limit of {limit} tokens before it answers, most likely for reasoning: "
    "raise {setting}, or lower its effort.",
    "empty": "The model ends without an answer: try another model, or provider: structured: none.",
    "prose": "The model does not keep to JSON. Some servers need provider: structured: json_object or none; a model that is too small "
    "for it may do better with elicitation: logprobs, or try another model.",
    "other JSON": "The answers are not what the prompt asks for: compare them with the labels and the prompt, or try another model.",
    "refusal": "The model or the provider's filter refuses: try another model or prompt. If only these items are like that, "
    "run again: it goes on with the next ones.",
    "no log-probabilities": "This model gives no log-probabilities: use elicitation: choice, which needs none.",
    "other words": "The model's answers do not start with the labels' words: use elicitation: choice, which lists them.",
    "rejected": "The provider rejects such requests: check the settings under provider.",
    "exhausted": "The provider fails on every attempt: check its state and the settings under provider.",
}
