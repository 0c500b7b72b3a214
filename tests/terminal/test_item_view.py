"""The view of one item: its figures can be told apart, such as the votes that probabilities count as."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from dprm_data.labels.space import LabelSpace
from dprm_data.terminal.item_view import item_view

SPACE = LabelSpace.ordinal(3)
SAYS = "given as probabilities"


def shown(*answers: dict[str, Any], votes: list[float]) -> str:
    row = {
        "item_id": "a", "prompt": [], "completion": [], "label_distribution": [0.2, 0.3, 0.5], "votes": votes, "evidence": 2.5,
        "expected_reward": 2.3, "reward_low": 1.0, "reward_high": 3.0, "disagreement": 0.6, "entropy": 1.0,
    }  # fmt: skip
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(item_view(row, answers, SPACE))
    return console.export_text()


def answered(label: str | None, probs: list[float] | None = None) -> dict[str, Any]:
    return {
        "annotator_id": "p", "annotator_kind": "llm", "model_id": "m", "replicate": 0, "label": label, "status": "ok",
        "probs": probs, "rationale": None, "reason": None,
    }  # fmt: skip


def test_more_votes_than_answers_are_explained() -> None:
    soft = [answered(SPACE.names[2], [0.2, 0.3, 0.5])] * 4
    text = shown(*soft, votes=[54.0, 82.0, 136.0])
    assert "4 answers, given as probabilities: 272 votes" in text and "2.5 people" in text


def test_votes_that_are_answers_need_no_words() -> None:
    assert SAYS not in shown(answered(SPACE.names[0]), answered(None), votes=[1.0, 0.0, 0.0])
    assert SAYS not in shown(answered(SPACE.names[0], [1.0, 0.0, 0.0]), votes=[1.0, 0.0, 0.0])
