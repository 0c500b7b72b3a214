"""An elicitation from outside: the example in the documentation of `dprm_data.elicit`, installed as a package, used by the command."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import dprm_data.elicit
from dprm_data.preference.shared_error import SHARED
from tests import helpers
from tests.helpers import ROOT, answer, write_recipe
from tests.servers.llm import LLMServer

PERSONAS = 4  # of the small panel
ITEMS = 4  # of the recipe
TEMPLATE = """
{% block item %}{% for message in prompt %}{{ message.content }} {% endfor %}-> {{ response }}{% endblock %}
{% block persona %}{{ persona.description }} How many stars, from 1 to {{ labels | length }}? {"stars": <number>}{% endblock %}
"""
MORE = """
from dprm_data.elicit.distribution import Distribution

Stars.repeatable = False

@elicitation("crowd")
class Crowd(Distribution):
    pass
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder that packages are installed in, as pip leaves one."""
    example = (dprm_data.elicit.__doc__ or "").split("`elicitation: stars`.\n\n")[1].split("\n\n`elicitation.E")[0]
    package = tmp_path / "site" / "our_stars"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(textwrap.dedent(example) + MORE)
    (package / "stars.jinja").write_text(TEMPLATE)
    info = tmp_path / "site" / "our_stars-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-stars\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dprm_data]\nstars = our_stars\n")
    return tmp_path / "site"


def test_a_run_with_an_elicitation_of_another_package(double: LLMServer, site: Path, tmp_path: Path) -> None:
    def dprm(*arguments: str) -> dict[str, Any]:
        return answer(helpers.dprm(*arguments, "--json", cwd=tmp_path, PYTHONPATH=f"{ROOT}{os.pathsep}{site}"))

    def says(request: dict[str, Any]) -> str:
        """First something that cannot be read, then as many stars as the persona's description has letters, modulo five."""
        *_, first = [message["content"] for message in request["messages"] if "How many stars" in message["content"]]
        if len(request["messages"]) == 1:
            return '{"stars": 6}'
        return json.dumps({"stars": len(first) % 5 + 1})

    double.says = says
    write_recipe(tmp_path, double.url, elicitation="stars", labels=5)
    plan = dprm("plan", "recipe.yaml")
    assert (plan["calls_needed"], plan["calls_known"]) == (ITEMS * PERSONAS, 0)
    assert plan["output_tokens"] == 12 * ITEMS * PERSONAS

    dprm("run", "recipe.yaml")
    assert double.tally.requests == 2 * ITEMS * PERSONAS  # each asked once more
    annotations = pq.read_table(tmp_path / "run/tables/annotations.parquet").to_pylist()
    assert {row["elicitation"] for row in annotations} == {"stars"}
    assert {row["status"] for row in annotations} == {"ok"}
    assert len({row["label"] for row in annotations}) > 1
    first = _distributions(tmp_path)
    for row in first:
        labels = [each["label"] for each in annotations if each["item_id"] == row["item_id"]]
        assert sum(row["votes"]) == PERSONAS
        assert [labels.count(label) for label in _labels(tmp_path)] == row["votes"]

    assert dprm("run", "recipe.yaml")["annotate"]["calls"] == 0
    dprm("ratings", "fit", "run")
    assert double.tally.requests == 2 * ITEMS * PERSONAS
    assert _distributions(tmp_path) == first
    assert (tmp_path / "run/prompts/stars.jinja").read_text() == TEMPLATE


@pytest.mark.slow
def test_its_distributions_are_no_votes_where_it_states_a_population(
    double: LLMServer, site: Path, tmp_path: Path
) -> None:
    write_recipe(tmp_path, double.url, elicitation="crowd")
    answer(helpers.dprm("run", "recipe.yaml", "--json", cwd=tmp_path, PYTHONPATH=f"{ROOT}{os.pathsep}{site}"))
    annotations = pq.read_table(tmp_path / "run/tables/annotations.parquet").to_pylist()
    assert {(row["elicitation"], row["status"]) for row in annotations} == {("crowd", "ok")}
    for row in _distributions(tmp_path):
        assert 0 < row["evidence"] < 1 / SHARED  # a statement is one reading, however many personas stated it


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"elicitation": "star"},
            "elicitation: there is no elicitation 'star'; did you mean 'stars'? (installed: choice, compare, "
            "logprobs, distribution, best_worst, compare_logprobs, crowd, stars)",
        ),
        ({"elicitation": "stars", "replicates": 2}, "replicates: elicitation: stars gets the same answer"),
        ({"elicitation": "stars", "rationale": True}, "rationale: elicitation: stars cannot say why"),
    ],
)
def test_what_it_cannot_do_is_refused_with_its_place(
    site: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    write_recipe(tmp_path, **changes)
    done = helpers.dprm("plan", "recipe.yaml", cwd=tmp_path, PYTHONPATH=f"{ROOT}{os.pathsep}{site}", COLUMNS="1000")
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_without_its_package_the_recipe_is_refused(tmp_path: Path) -> None:
    write_recipe(tmp_path, elicitation="stars")
    done = helpers.dprm("plan", "recipe.yaml", cwd=tmp_path, COLUMNS="1000")
    assert done.returncode == 2
    assert "recipe.yaml:10: elicitation: there is no elicitation 'stars' (installed: choice," in done.stderr


def _distributions(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "run/tables/distributions.parquet").to_pylist()
    return rows


def _labels(folder: Path) -> list[str]:
    """In the label space's own order."""
    manifest = json.loads((folder / "run/manifest.json").read_text())
    return [label["name"] for label in manifest["label_space"]["labels"]]
