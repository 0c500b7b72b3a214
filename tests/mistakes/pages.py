"""The page of mistakes, docs/mistakes.md."""

from __future__ import annotations

from pathlib import Path

from tests.mistakes.mistake import Desk, Mistake, Outcome
from tests.mistakes.python import PYTHON
from tests.mistakes.recipes import MODELS, RECIPES, SOURCES
from tests.mistakes.runs import HUB, REVIEWS, RUNS, TRAINING
from tests.mistakes.tables import VOTE_TABLES
from tests.servers.llm import LLMServer

PARTS: dict[str, list[Mistake]] = {
    "Recipes": RECIPES,
    "Prompts and responses": SOURCES,
    "Models, keys and budgets": MODELS,
    "Votes and ratings": VOTE_TABLES,
    "Run folders and ledgers": RUNS,
    "Reviews": REVIEWS,
    "Publishing": HUB,
    "Training and evaluation": TRAINING,
    "Python": PYTHON,
}
MISTAKES = [mistake for part in PARTS.values() for mistake in part]
HEAD = """# Mistakes and their messages

Error messages for {count} mistakes, each with the command and its message. The tests make each mistake
(`tests/mistakes`), and `python docs/render_mistakes.py` writes this page from them.
"""


def made(folder: Path) -> list[Outcome]:
    """Make all of them in a folder. The outcomes are in the order of `MISTAKES`."""
    with LLMServer() as server:
        desk = Desk(folder, server)
        return [desk.make(mistake, number) for number, mistake in enumerate(MISTAKES)]


def page(outcomes: list[Outcome]) -> str:
    """The page, in Markdown. outcomes: of `MISTAKES`, in their order."""
    lines = [HEAD.format(count=len(MISTAKES))]
    number = 0
    for part, mistakes in PARTS.items():
        lines += [f"## {part}", ""]
        for mistake in mistakes:
            lines += [f"**{mistake.what}**", "", "```", *_typed(mistake), outcomes[number].message, "```", ""]
            number += 1
    return "\n".join(lines).rstrip() + "\n"


def _typed(mistake: Mistake) -> list[str]:
    prompt = ">>> " if mistake.python else "$ "
    return [prompt + line for line in mistake.shown.splitlines()]
