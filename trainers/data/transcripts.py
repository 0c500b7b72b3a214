"""Conversations back out of templated texts: what OpenRLHF sends is one string, the policy's chat template around prompt and response.

Another model's marks in a text mean nothing to a reward model, or worse. So the text is taken apart into turns, which are then put into the reward model's own template. How a
template marks turns is seen by rendering conversations whose texts are known (`_SIGNS`, from Unicode's private use area, which no conversation has reason to hold) and reading what stands
between them:

    opening | user | to the assistant | assistant | to the user | user | ... | assistant | ending

A template that puts a default system prompt before everything has it in its opening: it is recognised, and not taken for the caller's own.

What cannot be told from outside: marks that stand in a text itself. A user's text that holds the mark of an assistant's turn is cut there, as the policy saw it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dprm_trainers.core.errors import TrainingError
from dprm_trainers.data.rows import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SIGNS = {"system": "\ue0a0", "user": "\ue0a1", "assistant": "\ue0a2", "again": "\ue0a3"}


@dataclass(frozen=True)
class Marks:
    """What a template writes around turns. `system`: before and after a system prompt, None where the template has no such turn."""

    opening: str
    system: tuple[str, str] | None
    to_assistant: tuple[str, ...]  # the longest first: as in a conversation, and as before a generation
    to_user: str
    ending: str
    fillers: tuple[str, ...]  # tokens that may follow the end: end of text, padding

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Marks:
        """The marks of a tokenizer's chat template. Raises `TrainingError` where it has none, or one that does not write the texts as they are."""
        sign = _SIGNS
        user, reply = {"role": "user", "content": sign["user"]}, {"role": "assistant", "content": sign["assistant"]}
        plain = _rendered(tokenizer, [user, reply, user | {"content": sign["again"]}])
        opening, rest = _parted(plain, sign["user"], tokenizer)
        said, rest = _parted(rest, sign["assistant"], tokenizer)
        to_user, _ = _parted(rest, sign["again"], tokenizer)
        _, asked = _parted(_rendered(tokenizer, [user], add_generation_prompt=True), sign["user"], tokenizer)
        _, ending = _parted(_rendered(tokenizer, [user, reply]), sign["assistant"], tokenizer)
        special = (tokenizer.eos_token, tokenizer.pad_token)
        bos = str(tokenizer.bos_token or "")
        return cls(
            opening=opening.removeprefix(bos),
            system=_around_system(tokenizer, user, bos),
            to_assistant=tuple(sorted({said, asked} - {""}, key=len, reverse=True)),
            to_user=to_user,
            ending=ending,
            fillers=tuple(str(token) for token in special if token),
        )

    def take_apart(self, text: str, bos: str = "") -> list[Message]:
        """The turns of a templated text, which ends with the assistant's, whole or broken off. bos: a token that may stand before everything.

        Raises `TrainingError` where the text is not of this template.
        """
        rest = text
        while bos and rest.startswith(bos):
            rest = rest[len(bos) :]
        turns, rest = self._opened(rest)
        while True:
            said, mark, rest = _first(rest, self.to_assistant)
            if mark is None:
                raise _not_of(text, "no assistant's turn is marked in it")
            turns.append({"role": "user", "content": said})
            said, mark, after = _first(rest, (self.to_user,))
            if mark is None:
                return [*turns, {"role": "assistant", "content": self._ended(rest)}]
            turns.append({"role": "assistant", "content": said})
            rest = after

    def _opened(self, text: str) -> tuple[list[Message], str]:
        """The system's turn, if there is one, and the text from the user's first words on."""
        if text.startswith(self.opening):
            return [], text[len(self.opening) :]
        if self.system is not None and text.startswith(self.system[0]):
            said, mark, rest = _first(text[len(self.system[0]) :], (self.system[1],))
            if mark is not None:
                return [{"role": "system", "content": said}], rest
        raise _not_of(text, f"it does not begin with {self.opening!r}")

    def _ended(self, text: str) -> str:
        """A response without the marks of its end, whichever of them are there."""
        while True:
            shorter = text
            for mark in (self.ending, self.ending.strip(), *self.fillers):
                shorter = shorter.removesuffix(mark) if mark else shorter
            if shorter == text:
                return text
            text = shorter


def _around_system(tokenizer: PreTrainedTokenizerBase, user: Message, bos: str) -> tuple[str, str] | None:
    sign = _SIGNS
    try:
        text = _rendered(tokenizer, [{"role": "system", "content": sign["system"]}, user])
        before, rest = _parted(text, sign["system"], tokenizer)
        between, _ = _parted(rest, sign["user"], tokenizer)
    except TrainingError:  # some templates refuse a system prompt, or leave it out
        return None
    return before.removeprefix(bos), between


def _rendered(tokenizer: PreTrainedTokenizerBase, turns: list[Message], **options: Any) -> str:
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, **options))
    except Exception as error:  # a template raises what it likes
        raise TrainingError(f"the chat template of {tokenizer.name_or_path} cannot be read: {error}") from error


def _parted(text: str, sign: str, tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    before, found, after = text.partition(sign)
    if not found:
        raise TrainingError(
            f"the chat template of {tokenizer.name_or_path} does not write the texts of a conversation as they are",
            hint="Give conversations as messages, or another tokenizer.",
        )
    return before, after


def _first(text: str, marks: tuple[str, ...]) -> tuple[str, str | None, str]:
    """What stands before the mark that comes first (of several at one place, the longest), the mark, and what stands after it."""
    places = [(text.find(mark), mark) for mark in marks if mark and mark in text]
    if not places:
        return text, None, ""
    at, mark = min(places, key=lambda place: (place[0], -len(place[1])))
    return text[:at], mark, text[at + len(mark) :]


def _not_of(text: str, why: str) -> TrainingError:
    return TrainingError(
        f"a text is not of the chat template that queries are taken apart by: {why}",
        hint="Name the policy's tokenizer (--policy-tokenizer), or say that queries are plain texts (--queries plain).",
    )
