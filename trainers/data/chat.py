"""A prompt and a response, in the forms that trainers pass them, as the turns and the text that a reward model scores.

    a prompt     a text: the user's turn (or a transcript `Human: ... Assistant: ...`, parsed as in a source of items);
                 or a list of messages
    a response   a text: the assistant's turn, verbatim; or a list of messages that ends with the assistant's

Of a response of several turns the last is scored, and the turns before it belong to the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dprm_data.ingest.messages import BadRow, prompt_messages, read_reply
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.data.rows import Message


def judged(prompt: Any, response: Any, *, row: int = 0) -> tuple[list[Message], str]:
    """The turns before the scored text, and the text.

    row: from 0, for messages. Raises `TrainingError` for other forms.
    """
    try:
        before = [_plain(turn) for turn in prompt_messages(prompt, "prompt")]
        if isinstance(response, str):  # never parsed as a transcript: a policy could forge a better prompt
            turns = [_plain({"role": "assistant", "content": response})]
        else:
            turns = [_plain(turn) for turn in read_reply(response, "response")[0]]
    except BadRow as error:
        raise TrainingError(
            f"row {row + 1}: {error}", hint="Give texts, or lists of messages with role and content."
        ) from error
    return [*before, *turns[:-1]], turns[-1]["content"]


def all_judged(prompts: Sequence[Any], responses: Sequence[Any]) -> tuple[list[list[Message]], list[str]]:
    """`judged` for N rows. Raises `TrainingError`."""
    if len(prompts) != len(responses):
        raise TrainingError(f"{len(prompts)} prompts and {len(responses)} responses: give one response for each prompt")
    found = [judged(*pair, row=row) for row, pair in enumerate(zip(prompts, responses, strict=True))]
    return [before for before, _ in found], [text for _, text in found]


def _plain(turn: Any) -> Message:
    try:
        turn["content"].encode()
    except UnicodeEncodeError:
        raise BadRow(f"a text of the {turn['role']} has an unpaired surrogate, half of a character") from None
    return {"role": turn["role"], "content": turn["content"]}
