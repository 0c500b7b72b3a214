"""Texts of people and models reach the terminal as they are."""

from __future__ import annotations

import pytest

from dprm_data.cli.shared import answer
from dprm_data.terminal.catalogue import panels_view


def test_square_brackets_and_colons_are_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"name": "mine", "personas": 1, "attributes": ["[bold]"], "description": "[red]warm[/red] :smile:"}
    answer({}, lambda: panels_view([entry]), as_json=False)
    shown = capsys.readouterr().out
    assert "[bold]" in shown and "[red]warm[/red] :smile:" in shown
