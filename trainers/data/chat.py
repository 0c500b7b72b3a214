"""A prompt and a response, in the shapes in which trainers hand them over, as the turns and the text that a reward model judges.

    a prompt     a text: the user's turn (or a transcript `Human: ... Assistant: ...`, taken apart as everywhere in a source of items); or a list of messages
    a response   a text: the assistant's turn, as it stands; or a list of messages that ends with the assistant's

Of a response of several turns the last one is judged, and those before it belong to its prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dprm_data.ingest.messages import BadRow, prompt_messages, read_reply
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.data.rows import Message


def judged(prompt: Any, response: Any, *, row: int = 0) -> tuple[list[Message], str]:
    """The turns before, and the text to be judged. row: counted from 0, for the message. Raises `TrainingError` where they are no such thing."""
    try:
        before = [_plain(turn) for turn in prompt_messages(prompt, "prompt")]
        if isinstance(response, str):  # never taken apart: a policy could write itself a better prompt
            turns = [_plain({"role": "assistant", "content": response})]
        else:
            turns = [_plain(turn) for turn in read_reply(response, "response")[0]]
    except BadRow as error:
        raise TrainingError(
            f"row {row + 1}: {error}", hint="Give texts, or lists of messages with role and content."
        ) from error
    return [*before, *turns[:-1]], turns[-1]["content"]


def all_judged(prompts: Sequence[Any], responses: Sequence[Any]) -> tuple[list[list[Message]], list[str]]:
    """The same for N rows. Raises `TrainingError`."""
    if len(prompts) != len(responses):
        raise TrainingError(f"{len(prompts)} prompts and {len(responses)} responses: there must be one for one")
    found = [judged(*pair, row=row) for row, pair in enumerate(zip(prompts, responses, strict=True))]
    return [before for before, _ in found], [text for _, text in found]


def _plain(turn: Any) -> Message:
    try:
        turn["content"].encode()
    except UnicodeEncodeError:
        raise BadRow(
            f"a text of the {turn['role']} holds half a character (a surrogate without its other half)"
        ) from None
    return {"role": turn["role"], "content": turn["content"]}
