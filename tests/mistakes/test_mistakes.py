"""Every mistake of docs/mistakes.md is made: each ends with an exit code and a message that says where it is and what to do, never in a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.mistakes.mistake import Outcome
from tests.mistakes.pages import MISTAKES, made, page


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    return made(tmp_path_factory.mktemp("mistakes"))


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=lambda number: MISTAKES[number].what)
def test_a_mistake_is_told(outcomes: list[Outcome], number: int) -> None:
    mistake, outcome = MISTAKES[number], outcomes[number]
    assert "Traceback" not in outcome.message
    assert outcome.code == mistake.code, outcome.message
    for words in mistake.says:
        assert words in outcome.message


def test_the_page_is_what_is_said_today(outcomes: list[Outcome]) -> None:
    written = (ROOT / "docs" / "mistakes.md").read_text(encoding="utf-8")
    assert written == page(outcomes), "run: python docs/render_mistakes.py"


def test_no_mistake_is_there_twice() -> None:
    assert len({(mistake.what, mistake.does) for mistake in MISTAKES}) == len(MISTAKES)
    assert len(MISTAKES) >= 80


def test_a_message_names_no_folder_of_this_machine(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        assert str(Path.home()) not in outcome.message
        assert str(ROOT) not in outcome.message
        assert "/tmp/" not in outcome.message
