"""The demographic panel says what the census says, and nothing else; runs that began with its earlier wording go on with that."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from dprm_data.panel.panel_sources import load_panel
from tests.before.saved import call_keys
from tests.helpers import answer, dprm, write_recipe
from tests.servers.llm import LLMServer

# All that a description may say: the census's classes, and the words between them.
SAID = re.compile(
    r"You are a (man|woman) aged (18 to 24|25 to 44|45 to 64|65 or older) and live in the (Northeast|Midwest|South|West) of the United States\. "
    r"Your highest level of education is (a high school diploma or less|some college or an associate degree|a bachelor's degree or more)\."
)


def test_descriptions_are_facts_in_fixed_words() -> None:
    panel = load_panel("demographic")
    for persona in panel.personas:
        said = SAID.fullmatch(persona.description)
        assert said, persona.description
        assert (said[1] == "man") == (persona.attributes["sex"] == "male")
        assert said[3] == persona.attributes["region"]
        assert re.findall(r"\d+", said[2]) == re.findall(r"\d+", str(persona.attributes["age"]))


def test_the_margins_are_the_census_s() -> None:
    personas = load_panel("demographic").personas
    total = sum(persona.weight for persona in personas)

    def share(attribute: str, value: str) -> float:
        return sum(p.weight for p in personas if p.attributes[attribute] == value) / total

    assert share("education", "degree") == pytest.approx(0.377, abs=0.005)  # of those aged 25 and over, in 2022
    assert share("region", "South") == pytest.approx(126_266_107 / 331_449_281, abs=1e-3)
    assert share("age", "65+") == pytest.approx(0.2086, abs=1e-3)


def test_the_earlier_wording_has_the_same_people() -> None:
    now, before = load_panel("demographic"), load_panel("demographic-1")
    assert [(p.id, p.attributes) for p in now.personas] == [(p.id, p.attributes) for p in before.personas]
    assert not {p.description for p in now.personas} & {p.description for p in before.personas}


RAKED = {"source": "raked", "panel": "demographic", "margins": "margins.yaml"}


@pytest.mark.slow
@pytest.mark.parametrize("use", ["demographic", RAKED])
def test_a_run_goes_on_with_the_words_it_began_with(
    tmp_path: Path, double: LLMServer, use: str | dict[str, str]
) -> None:
    (tmp_path / "margins.yaml").write_text("sex: {male: 0.4, female: 0.6}\n")
    earlier = "demographic-1" if use == "demographic" else RAKED | {"panel": "demographic-1"}
    began = write_recipe(tmp_path, double.url, panel={"use": earlier, "sample": 3})
    answer(dprm("run", began, "--json", cwd=tmp_path))
    keys = call_keys(tmp_path / "run/ledger.sqlite")
    frozen = tmp_path / "run/recipe.yaml"
    content = yaml.safe_load(frozen.read_text())
    content["panel"]["use"]["name"] = "demographic"  # as the earlier version called it
    frozen.write_text(yaml.safe_dump(content, sort_keys=False))

    again = write_recipe(tmp_path, double.url, panel={"use": use, "sample": 3})
    done = answer(dprm("run", again, "--json", cwd=tmp_path))
    assert done["annotate"]["calls"] == 0
    assert call_keys(tmp_path / "run/ledger.sqlite") == keys
    assert yaml.safe_load(frozen.read_text())["panel"]["use"]["name"] == "demographic"

    new = answer(dprm("run", again, "--output", "new", "--json", cwd=tmp_path))
    assert new["annotate"]["calls"] == len(keys)
