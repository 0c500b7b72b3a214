"""The lines of a verdict: a question with its answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One question with a short answer, details, and whether the answer is a reason for concern."""

    question: str
    answer: str
    detail: str = ""
    concern: bool = False


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its noun: 1 item, 1,440 items."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
