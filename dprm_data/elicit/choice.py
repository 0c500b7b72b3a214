"""choice: one question; the answer is one category as JSON, and on request a sentence that says why."""

from __future__ import annotations

from typing import Any

from dprm_data.elicit.elicitation import Elicitation, Outcome, elicitation, object_schema
from dprm_data.elicit.parsing import read_choice


@elicitation("choice")
class Choice(Elicitation):
    prompt = "choice"
    gives_rationale = True

    def read(self, text: str) -> Outcome:
        label, rationale = read_choice(text, self.space)
        return Outcome("ok", label=label, rationale=rationale)

    def schema(self) -> dict[str, Any]:
        why: dict[str, Any] = {"why": {"type": "string"}} if self.rationale else {}
        words = [label.said for label in self.space.labels]
        return object_schema(why | {"label": {"type": "string", "enum": words}})

    @property
    def answer_tokens(self) -> int:
        return super().answer_tokens + (160 if self.rationale else 0)

    @property
    def expected_tokens(self) -> float:
        return super().expected_tokens + (30.0 if self.rationale else 0.0)
