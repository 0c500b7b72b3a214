"""choice: one question; the answer is one category as JSON, and on request a sentence that says why.

Which of the two comes first is up to the template, and the schema follows it. The bundled one for `rationale: true` (`choice-why`) has the
category first: reasoning before answering can collapse the spread of the answers (arXiv 2503.03064). With `prompt: choice` the reason comes
first, as it did in earlier versions.
"""

from __future__ import annotations

import re
from typing import Any

from dprm_data.elicit.elicitation import Elicitation, Outcome, elicitation, object_schema
from dprm_data.elicit.parsing import read_choice

_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)


@elicitation("choice")
class Choice(Elicitation):
    prompt = "choice"
    rationale_prompt = "choice-why"
    gives_rationale = True

    def read(self, text: str) -> Outcome:
        label, rationale = read_choice(text, self.space)
        return Outcome("ok", label=label, rationale=rationale)

    def schema(self) -> dict[str, Any]:
        label = {"label": {"type": "string", "enum": [label.said for label in self.space.labels]}}
        if not self.rationale:
            return object_schema(label)
        why = {"why": {"type": "string"}}
        return object_schema(label | why if _label_first(self.template.source) else why | label)

    @property
    def answer_tokens(self) -> int:
        return super().answer_tokens + (160 if self.rationale else 0)

    @property
    def expected_tokens(self) -> float:
        return super().expected_tokens + (30.0 if self.rationale else 0.0)


def _label_first(template: str) -> bool:
    """Whether the answer that a template shows has the label before the reason. One that does not show both has not."""
    shown = _COMMENT.sub("", template)
    return 0 <= shown.find('"label"') < shown.find('"why"')
