"""distribution: one question; the answer is a number per category as JSON: how a whole population would answer."""

from __future__ import annotations

from typing import Any

from dprm_data.elicit.elicitation import Elicitation, Outcome, elicitation, object_schema
from dprm_data.elicit.parsing import read_distribution


@elicitation("distribution")
class Distribution(Elicitation):
    prompt = "distribution"
    states_population = True

    def read(self, text: str) -> Outcome:
        probs = read_distribution(text, self.space)
        return Outcome("ok", label=int(probs.argmax()), probs=probs)

    def schema(self) -> dict[str, Any]:
        return object_schema({label.said: {"type": "number"} for label in self.space.labels})

    @property
    def answer_tokens(self) -> int:
        return 300

    @property
    def expected_tokens(self) -> float:
        return 8.0 * self.space.K
