"""A source of panels that somebody else's installed package adds."""

from __future__ import annotations

from pathlib import Path

import pytest

from dprm_data import Recipe, Run, load_panel
from dprm_data.core.errors import PanelError
from tests.extending.package import install

CENSUS = """
from dprm_data.extend import panel_source

@panel_source("village")
def village(*, base, size):
    people = [{"id": f"p{i}", "description": f"You are person {i}."} for i in range(size)]
    return {"name": "village", "personas": people}
"""


@pytest.fixture
def village(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("village", CENSUS, tmp_path, monkeypatch)


@pytest.mark.usefixtures("village")
def test_a_recipe_asks_for_it(tmp_path: Path) -> None:
    recipe = Recipe.of({"panel": {"use": {"source": "village", "size": 3}}, "provider": {"name": "local"}})
    run = Run(recipe)
    assert [persona.id for persona in run.panel.personas] == ["p0", "p1", "p2"]


@pytest.mark.usefixtures("village")
def test_its_options_are_checked() -> None:
    with pytest.raises(
        PanelError, match=r"panel source .village.: got an unexpected keyword argument .sise."
    ) as caught:
        load_panel({"source": "village", "size": 3, "sise": 3})
    assert "Its options: size." in str(caught.value)


def test_an_unknown_source_is_answered_with_what_there_is() -> None:
    with pytest.raises(PanelError, match="no panel source 'raket'; did you mean 'raked'"):
        load_panel({"source": "raket"})


def test_ours_is_registered_in_the_same_way(tmp_path: Path) -> None:
    (tmp_path / "margins.yaml").write_text("sex: {female: 0.75, male: 0.25}\n")
    people = [{"id": sex[0], "description": "You.", "attributes": {"sex": sex}} for sex in ("female", "male")]
    use = {"source": "raked", "panel": {"name": "two", "personas": people}, "margins": "margins.yaml"}
    assert [persona.weight for persona in load_panel(use, base=tmp_path).personas] == pytest.approx([1.5, 0.5])
