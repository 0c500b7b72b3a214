"""Parse rendered conversations: OpenRLHF sends one string, the policy's chat template around prompt and response.

A reward model does not know the marks of another model's template. So the text is parsed into turns, which the reward
model's own template renders again. The marks of a template are found by rendering conversations of known texts
(`_SIGNS`, from Unicode's private use area, which real conversations do not contain) and reading what comes between
them:

    opening | user | to the assistant | assistant | to the user | user | ... | assistant | ending

A default system prompt that a template inserts is part of the opening, and is not mistaken for the caller's own.

Marks inside a text cannot be distinguished: a user's text that contains the mark of an assistant's turn is split there,
as the policy saw it too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dprm_trainers.core.errors import TrainingError
from dprm_trainers.data.rows import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SIGNS = {"system": "\ue0a0", "user": "\ue0a1", "assistant": "\ue0a2", "again": "\ue0a3"}


@dataclass(frozen=True)
class Marks:
    """What a template writes around turns.

    system: before and after a system prompt; None if the template has no such turn.
    """

    opening: str
    system: tuple[str, str] | None
    to_assistant: tuple[str, ...]  # longest first: inside a conversation, and before a generation
    to_user: str
    ending: str
    fillers: tuple[str, ...]  # tokens that may follow the end: end of text, padding

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Marks:
        """The marks of a tokenizer's chat template.

        Raises `TrainingError` if it has none, or one that alters the texts.
        """
        sign = _SIGNS
        user, reply = {"role": "user", "content": sign["user"]}, {"role": "assistant", "content": sign["assistant"]}
        plain = _rendered(tokenizer, [user, reply, user | {"content": sign["again"]}])
        opening, rest = _parted(plain, sign["user"], tokenizer)
        between, rest = _parted(rest, sign["assistant"], tokenizer)
        to_user, _ = _parted(rest, sign["again"], tokenizer)
        _, prompting = _parted(_rendered(tokenizer, [user], add_generation_prompt=True), sign["user"], tokenizer)
        _, ending = _parted(_rendered(tokenizer, [user, reply]), sign["assistant"], tokenizer)
        special = (tokenizer.eos_token, tokenizer.pad_token)
        bos = str(tokenizer.bos_token or "")
        return cls(
            opening=opening.removeprefix(bos),
            system=_around_system(tokenizer, user, bos),
            to_assistant=tuple(sorted({between, prompting} - {""}, key=len, reverse=True)),
            to_user=to_user,
            ending=ending,
            fillers=tuple(str(token) for token in special if token),
        )

    def parse(self, text: str, bos: str = "") -> list[Message]:
        """The turns of a rendered text, which ends with the assistant's turn, complete or cut off. bos: a token that
        may precede it.

        Raises `TrainingError` if the text was not rendered by this template.
        """
        start = 0
        while bos and text.startswith(bos, start):
            start += len(bos)
        turns, rest = self._opened(text[start:])
        reply, question = _pattern(self.to_assistant), _pattern((self.to_user,))
        at = 0  # positions, as copies of the rest would make a text of many turns quadratic
        while True:
            mark = reply.search(rest, at)
            if mark is None:
                raise _not_of("it has no mark of an assistant's turn")
            turns.append({"role": "user", "content": rest[at : mark.start()]})
            at = mark.end()
            mark = question.search(rest, at)
            if mark is None:
                ends = (self.ending, self.ending.strip(), *self.fillers)
                return [*turns, {"role": "assistant", "content": without_ends(rest[at:], ends)}]
            turns.append({"role": "assistant", "content": rest[at : mark.start()]})
            at = mark.end()

    def _opened(self, text: str) -> tuple[list[Message], str]:
        """The system turn, if there is one, and the text from the user's first turn on."""
        if text.startswith(self.opening):
            return [], text[len(self.opening) :]
        if self.system is not None and self.system[1] and text.startswith(self.system[0]):
            prompt, mark, rest = text[len(self.system[0]) :].partition(self.system[1])
            if mark:
                return [{"role": "system", "content": prompt}], rest
        raise _not_of(f"it does not begin with {self.opening!r}")


def without_ends(text: str, ends: Sequence[str]) -> str:
    """A text without the marks at its end, however many."""
    end = len(text)
    while mark := next((mark for mark in ends if mark and text.endswith(mark, 0, end)), None):
        end -= len(mark)
    return text[:end]


def _around_system(tokenizer: PreTrainedTokenizerBase, user: Message, bos: str) -> tuple[str, str] | None:
    sign = _SIGNS
    try:
        text = _rendered(tokenizer, [{"role": "system", "content": sign["system"]}, user])
        before, rest = _parted(text, sign["system"], tokenizer)
        between, _ = _parted(rest, sign["user"], tokenizer)
    except TrainingError:  # some templates reject a system prompt, or drop it
        return None
    return before.removeprefix(bos), between


def _rendered(tokenizer: PreTrainedTokenizerBase, turns: list[Message], **options: Any) -> str:
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, **options))
    except Exception as error:  # a template raises anything
        raise TrainingError(f"the chat template of {tokenizer.name_or_path} cannot be rendered: {error}") from error


def _parted(text: str, sign: str, tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    before, found, after = text.partition(sign)
    if not found:
        raise TrainingError(
            f"the chat template of {tokenizer.name_or_path} alters the texts of a conversation",
            hint="Give conversations as messages, or another tokenizer.",
        )
    return before, after


def _pattern(marks: tuple[str, ...]) -> re.Pattern[str]:
    """The first of the marks; the earlier listed of several at one position."""
    return re.compile("|".join(re.escape(mark) for mark in marks if mark) or r"(?!)")


def _not_of(reason: str) -> TrainingError:
    return TrainingError(
        f"a text was not rendered by the chat template that queries are parsed with: {reason}",
        hint="Give the policy's tokenizer (--policy-tokenizer), or --queries plain for plain texts.",
    )
