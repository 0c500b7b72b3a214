"""compare_logprobs: which of two responses to one prompt is better, answered by the model's probabilities of A and B after a prefilled beginning.

The probabilities are the answer (`step_probs` of a comparison), the more probable one is its preference. There is no tie: probabilities near one half say that neither is better. They are not calibrated on content-free items, as those of labels are: a model that prefers the
letter A, or the first response, has an order effect, which both orders show and the fit takes out (`preference/order_effect.py`). As for `logprobs`, no marks fence the texts in; those that imitate the template are quoted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from dprm_data.core.conversation import Message
from dprm_data.elicit.elicitation import Outcome, Question, Task, elicitation
from dprm_data.elicit.logprobs import TOP_LOGPROBS, quote
from dprm_data.elicit.parsing import Unreadable, read_words
from dprm_data.elicit.side_by_side import SideBySide, answer_space
from dprm_data.ingest.items import Item
from dprm_data.ledger.call import Call, Reply

_LETTERS = ("B", "A")  # as the answers are in the space: from the second's side to the first's
# How lines of the bundled template begin, perhaps indented or in Markdown's bold.
_OWN_LINE = re.compile(
    r"[\s*_#]*(?:(?:person|assistant|response(?: [ab])?|rules for the assistant|system|user)[\s*_]*:|in my opinion, the better response is)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
@elicitation("compare_logprobs")
class CompareLogprobs(SideBySide):
    prompt = "compare-logprobs"
    compare_settings: ClassVar[frozenset[str]] = SideBySide.compare_settings - {"steps"}
    rationale_prompt = ""
    gives_rationale = False
    needs_logprobs = True
    repeatable = False
    answer_tokens = 1
    expected_tokens = 1.0

    @classmethod
    def settings(cls, recipe: Any) -> dict[str, Any]:
        return super().settings(recipe) | {"space": answer_space(2)}

    def values(self, question: Question) -> dict[str, Any]:
        return super().values(question) | {"options": [{"words": _LETTERS[i]} for i in question.order]}

    def texts(self, item: Item) -> tuple[list[Message], str]:
        prompt, response = super().texts(item)
        quoted: list[Message] = [
            {"role": each["role"], "content": quote(each["content"], _OWN_LINE)} for each in prompt
        ]
        return quoted, quote(response, _OWN_LINE)

    @cached_property
    def request_params(self) -> dict[str, Any]:
        return self.params | {"max_tokens": 1, "top_logprobs": self.params.get("top_logprobs", TOP_LOGPROBS)}

    def proceed(self, task: Task, replies: Sequence[Reply]) -> Call | Outcome:
        if not replies:
            return self.call(task, task.questions[0])
        try:
            if not (top := replies[0].top_logprobs):
                raise Unreadable("the provider gave no log-probabilities")
            return Outcome("ok", probs=np.exp(read_words(top, _LETTERS)))
        except Unreadable as error:
            return Outcome("unparsable", reason=str(error))
