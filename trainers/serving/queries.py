"""Queries, one text of prompt and response each, as the turns of the prompt and the response.

template   rendered by a chat template: the text is parsed into turns, and the last is scored. Conversations of
           several turns (OpenRLHF's agents) are of this kind too
plain      no template: the prompt is the user's turn, and what follows it, after white space, is the response
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dprm_trainers.core.errors import TrainingError
from dprm_trainers.data.chat import judged
from dprm_trainers.data.rows import Message
from dprm_trainers.data.transcripts import Marks, without_ends
from dprm_trainers.serving.service_settings import Queries

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class QueryReader:
    """Reads queries made with one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, kind: Queries) -> None:
        """Raises `TrainingError` if the tokenizer's template cannot be parsed."""
        self._marks = Marks.of(tokenizer) if kind == "template" else None
        self._bos = str(tokenizer.bos_token or "")
        self._ends = [str(token) for token in (tokenizer.eos_token, tokenizer.pad_token) if token]

    def read(self, queries: Sequence[str], prompts: Sequence[str] | None) -> tuple[list[list[Message]], list[str]]:
        """The turns and the responses of N queries. Raises `TrainingError`, which names the row."""
        if prompts is not None and len(prompts) != len(queries):
            raise TrainingError(f"{len(queries)} queries and {len(prompts)} prompts: give one prompt for each query")
        found = [self._one(query, prompts[row] if prompts else None, row) for row, query in enumerate(queries)]
        return [before for before, _ in found], [text for _, text in found]

    def _one(self, query: str, prompt: str | None, row: int) -> tuple[list[Message], str]:
        if self._marks is None:
            return self._plain(query, prompt, row)
        try:
            *before, last = self._marks.parse(query, self._bos)
        except TrainingError as error:
            raise TrainingError(f"row {row + 1}: {error.message}", hint=error.hint) from error
        return before, last["content"]

    def _plain(self, query: str, prompt: str | None, row: int) -> tuple[list[Message], str]:
        if prompt is None:
            raise TrainingError(f"row {row + 1}: a plain query needs its prompt", hint="Send prompts beside query.")
        rest = query if query.startswith(prompt) else query.removeprefix(self._bos)
        if not rest.startswith(prompt):
            raise TrainingError(
                f"row {row + 1}: the query does not begin with its prompt",
                hint="Send the prompt as it is in the query.",
            )
        response = without_ends(rest[len(prompt) :], self._ends)
        return judged(prompt, response.lstrip(), row=row)
