"""Panels: what is refused, the bundled ones, and draws that keep votes unbiased."""

from __future__ import annotations

import math
import runpy
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dprm_data.core import tables
from dprm_data.core.errors import PanelError
from dprm_data.core.resources import bundled_names
from dprm_data.panel.panel_sources import load_panel
from dprm_data.panel.personas import NEUTRAL, Panel, Persona, inclusion_probabilities, panel_table
from dprm_data.recipe.recipe import PanelConfig
from tests.helpers import ROOT


def panel_of(weights: list[float], **attributes: list[Any]) -> Panel:
    personas = [
        Persona(
            id=f"p{i}",
            description="You are.",
            weight=w,
            attributes={name: values[i] for name, values in attributes.items()},
        )
        for i, w in enumerate(weights)
    ]
    return Panel(name="test", personas=tuple(personas))


def ids(personas: list[Persona]) -> list[str]:
    return [persona.id for persona in personas]


# -- loading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", bundled_names("personas"))
def test_bundled_panels_load_and_speak_to_the_persona(name: str) -> None:
    panel = load_panel(name)
    assert panel.name == name
    assert panel.description
    for persona in panel.personas:
        assert persona.description.startswith("You are ")
        assert 2 <= persona.description.count(".") <= 5
        assert persona.name
    assert len({persona.description for persona in panel.personas}) == len(panel.personas)


def test_the_bundled_panels_are_what_they_say() -> None:
    assert set(bundled_names("personas")) >= {"paper", "neutral", "demographic", "small"}
    paper = load_panel("paper")
    assert {"rigorous_scientist", "impulsive_teen", "eccentric_artist"} <= {persona.id for persona in paper.personas}
    assert len(paper.personas) >= 12
    assert {"age", "age_group", "expertise", "outlook"} == set(paper.attribute_names)
    assert len({persona.attributes["expertise"] for persona in paper.personas}) == len(paper.personas)
    assert load_panel("neutral").personas == (NEUTRAL,)
    assert 3 <= len(load_panel("small").personas) <= 4


def test_the_demographic_panel_is_what_its_script_writes() -> None:
    script = runpy.run_path(str(ROOT / "examples" / "panels" / "demographic.py"))
    panel = load_panel("demographic")
    assert panel == Panel.model_validate(script["panel"]())
    assert (ROOT / "personas" / "demographic.yaml").read_text(encoding="utf-8").startswith(script["HEADER"])
    assert len(panel.personas) == 4 * 2 * 4 * 3
    assert sum(persona.weight for persona in panel.personas) == pytest.approx(1, abs=1e-4)
    women = sum(p.weight for p in panel.personas if p.attributes["sex"] == "female")
    assert women == pytest.approx(0.5068, abs=1e-3)


def test_a_panel_from_a_file_a_dict_and_itself(tmp_path: Path) -> None:
    content = {
        "name": "mine",
        "personas": [{"id": "a", "description": "You are a.", "attributes": {"age": 3, "x": 1.5}}],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    panel = load_panel("mine.yaml", base=tmp_path)
    assert panel == load_panel(content) == load_panel(panel) == load_panel(tmp_path / "mine.yaml")
    assert panel.personas[0].weight == 1
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**content, "name": "other"}))
    assert load_panel(tmp_path / "mine.yaml").name == "other"


ONE = {"id": "a", "description": "You are a."}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"name": "x", "personas": []}, r"panel: personas: tuple should have at least 1 item"),
        ({"name": "x"}, r"panel: personas: missing"),
        ({"personas": [ONE]}, r"panel: name: missing"),
        ({"name": "x", "personas": [ONE, {**ONE, "id": "A"}]}, r"the id 'A' appears twice"),
        ({"name": "x", "personas": [{**ONE, "weight": 0}]}, r"personas\[0\]\.weight: input should be greater than 0"),
        ({"name": "x", "personas": [{**ONE, "weight": -1}]}, r"personas\[0\]\.weight: .*greater than 0 \(found -1\)"),
        ({"name": "x", "personas": [{**ONE, "weight": math.nan}]}, r"personas\[0\]\.weight: "),
        ({"name": "x", "personas": [{**ONE, "weight": math.inf}]}, r"personas\[0\]\.weight: .*finite"),
        ({"name": "x", "personas": [{**ONE, "weight": "much"}]}, r"personas\[0\]\.weight: .*\(found 'much'\)"),
        (
            {"name": "x", "personas": [{**ONE, "descripton": "x"}]},
            r"descripton: unknown key; did you mean 'description'\?",
        ),
        ({"name": "x", "personas": [{**ONE, "description": " "}]}, r"personas\[0\]\.description: "),
        ({"name": "x", "personas": [{**ONE, "id": "a b"}]}, r"personas\[0\]\.id: .*\(found 'a b'\)"),
        ({"name": "x", "personas": [{**ONE, "attributes": {"a": [1]}}]}, r"personas\[0\]\.attributes\.a"),
        (
            {"name": "x", "personas": [{**ONE, "id": "neutral"}]},
            r"the id 'neutral' is reserved for the neutral annotator",
        ),
    ],
)
def test_panels_that_cannot_be_used(content: dict[str, Any], says: str) -> None:
    with pytest.raises(PanelError, match=says):
        load_panel(content)


def test_files_that_are_no_panel(tmp_path: Path) -> None:
    with pytest.raises(
        PanelError,
        match=r"no panel 'papers'; did you mean 'paper'\?\nGive a bundled name \(demographic, demographic-1, neutral, paper, small\)",
    ):
        load_panel("papers")
    with pytest.raises(PanelError, match=r"no panel '\.\./personas/paper'"):
        load_panel("../personas/paper", base=tmp_path)
    for content, says in [
        (b"- a\n", "found a list"),
        (b"a: [\n", "not valid YAML"),
        (b"\xff", "not UTF-8"),
        (b"", "the file is empty"),
    ]:
        (tmp_path / "p.yaml").write_bytes(content)
        with pytest.raises(PanelError, match=says):
            load_panel(tmp_path / "p.yaml")


def test_the_table() -> None:
    table = panel_table(load_panel("paper"))
    assert table.schema.equals(tables.PERSONAS)
    assert table.num_rows == len(load_panel("paper").personas)
    assert orjson.loads(table["attributes"][0].as_py())["age"] == 52


# -- everybody --------------------------------------------------------------------------------------------------------


def test_everybody_with_weights_of_mean_one() -> None:
    panel = panel_of([1, 2, 5])
    for config in (PanelConfig(), PanelConfig(sample=3), PanelConfig(sample=99)):
        asked = panel.for_item("x", config)
        assert ids(asked) == ["p0", "p1", "p2"]
        assert [persona.weight for persona in asked] == pytest.approx([3 / 8, 6 / 8, 15 / 8])
    assert [persona.weight for persona in panel_of([7, 7]).for_item("x", PanelConfig())] == [1, 1]


# -- some -------------------------------------------------------------------------------------------------------------

WEIGHTS = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30)


@given(WEIGHTS, st.data())
def test_a_draw_is_n_different_personas_that_count_n_on_average(weights: list[float], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(weights)))
    seed, item_id = data.draw(st.integers(0, 9)), data.draw(st.text("abcdef0123456789", max_size=8))
    panel = panel_of(weights, half=[i % 2 for i in range(len(weights))])
    stratify = data.draw(st.sampled_from([[], ["half"]]))
    drawn = panel.for_item(item_id, PanelConfig(sample=n, seed=seed, stratify=stratify))
    assert len(set(ids(drawn))) == n
    assert ids(drawn) == sorted(ids(drawn), key=lambda name: int(name[1:]))
    certain = inclusion_probabilities(np.array(weights), n)
    assert certain.sum() == pytest.approx(n)
    assert certain.max() <= 1
    assert {f"p{i}" for i in np.flatnonzero(certain >= 1)} <= set(ids(drawn))


@pytest.mark.parametrize("stratify", [[], ["side"]])
def test_votes_of_draws_are_unbiased(stratify: list[str]) -> None:
    """The mean over draws of the weighted vote is the whole panel's, one persona that outweighs the rest included."""
    weights = [1.0, 2.0, 3.0, 4.0, 5.0, 40.0, 1.5, 0.2]
    panel = panel_of(weights, side=[0, 0, 0, 1, 1, 1, 1, 1])
    opinion = {f"p{i}": float(i % 3) for i in range(len(weights))}
    truth = sum(w * opinion[f"p{i}"] for i, w in enumerate(weights)) / sum(weights)
    config = PanelConfig(sample=3, stratify=stratify)
    draws = [panel.for_item(f"item {i}", config) for i in range(6000)]
    means = np.array([sum(p.weight * opinion[p.id] for p in drawn) / len(drawn) for drawn in draws])
    assert abs(means.mean() - truth) < 4 * means.std() / math.sqrt(len(means))
    counted = Counter(persona.id for drawn in draws for persona in drawn)
    for name, chance in zip(opinion, inclusion_probabilities(np.array(weights), 3), strict=True):
        spread = math.sqrt(len(draws) * chance * (1 - chance))
        assert abs(counted[name] - len(draws) * chance) <= 4.5 * spread
    assert counted["p5"] == len(draws)


def test_strata_keep_their_shares() -> None:
    panel = load_panel("demographic")
    total = sum(persona.weight for persona in panel.personas)
    config = PanelConfig(sample=12, stratify=["age", "sex"])
    shares: Counter[Any] = Counter()
    for persona in panel.personas:
        shares[persona.attributes["age"]] += 12 * persona.weight / total  # type: ignore[assignment]
    for i in range(300):
        counted = Counter(persona.attributes["age"] for persona in panel.for_item(f"{i}", config))
        assert all(math.floor(share) <= counted[age] <= math.ceil(share) for age, share in shares.items())


def test_strata_within_strata_are_balanced() -> None:
    panel = panel_of([1] * 16, a=[i // 8 for i in range(16)], b=[i // 4 for i in range(16)])
    for i in range(100):
        drawn = panel.for_item(f"{i}", PanelConfig(sample=8, stratify=["a", "b"]))
        assert set(Counter(persona.attributes["b"] for persona in drawn).values()) == {2}


def test_pairs_meet_each_other() -> None:
    """Systematic sampling in a fixed order would never ask neighbours together; the random order mends that."""
    panel = panel_of([1] * 6)
    together = {tuple(ids(panel.for_item(f"{i}", PanelConfig(sample=2)))) for i in range(500)}
    assert len(together) == 15


def test_a_draw_depends_on_the_seed_and_the_item_alone() -> None:
    panel, config = load_panel("paper"), PanelConfig(sample=5, stratify=["outlook"])
    names = [f"{i}" for i in range(50)]
    forwards = {name: ids(panel.for_item(name, config)) for name in names}
    fresh = Panel.model_validate(panel.model_dump())
    assert {name: ids(fresh.for_item(name, config)) for name in reversed(names)} == forwards
    other = {name: ids(panel.for_item(name, PanelConfig(sample=5, stratify=["outlook"], seed=1))) for name in names}
    assert other != forwards
    assert forwards["0"] == [  # the same on every machine and with every version of numpy
        "civil_liberties_lawyer",
        "primary_teacher",
        "social_worker",
        "exchange_student",
        "retired_librarian",
    ]


def test_an_unknown_stratum_is_refused_and_a_missing_one_is_its_own() -> None:
    with pytest.raises(
        PanelError, match=r"no persona has the attribute 'sex'\nAttributes of this panel: age, age_group"
    ):
        load_panel("paper").for_item("x", PanelConfig(sample=2, stratify=["sex"]))
    personas = tuple(
        Persona(id=f"p{i}", description="You are.", attributes={"a": 1} if i < 2 else {}) for i in range(4)
    )
    for i in range(50):
        drawn = Panel(name="x", personas=personas).for_item(f"{i}", PanelConfig(sample=2, stratify=["a"]))
        assert [bool(persona.attributes) for persona in drawn] == [True, False]


def test_drawing_is_fast() -> None:
    panel, config = load_panel("demographic"), PanelConfig(sample=12, stratify=["age", "sex"])
    panel.for_item("warm", config)
    begin = time.process_time()
    for i in range(5000):
        panel.for_item(f"{i:032x}", config)
    assert (time.process_time() - begin) / 5000 < 200e-6, "a million items would cost more than three minutes"
