"""`dprm validate`, through the public door: a panel with a known fault is measured as it is, nothing is paid twice, and only its own validation validates a dataset."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dprm_data import DprmError, FunctionProvider, Run, run, validate
from dprm_data.providers.request import Request
from dprm_data.publish.cards import dataset_card
from dprm_data.publish.report.page import report
from dprm_data.publish.validation_section import write_own_scores
from dprm_data.runs.summary import summarise
from dprm_data.validation.panel_validation import Validation
from tests.validation.crowds import LEVELS, RECIPE, judge, labels_of, panel, write_crowd

PANEL = panel(8, team=["north", "south"])


def lenient(position: float, sign: int, who: int, uniform: float) -> float:
    """People's own opinion, half a step too good, with the groups' difference."""
    shift = 0.0 if who < 0 else (0.6 if who % 2 == 0 else -0.6) * sign
    return float(labels_of(np.array(position + 0.5 + shift), 0.9, np.array(uniform)) + 1)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("people") / "people.csv"
    write_crowd(path, items=120, raters=24, each=8, groups={"north": 0.6, "south": -0.6})
    return path


@pytest.fixture(scope="module")
def done(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Validation, Path]]:
    folder = tmp_path_factory.mktemp("validated") / "out"
    found = validate(
        RECIPE | {"panel": PANEL, "labels": LEVELS},
        people,
        attributes=["team"],
        output=folder,
        provider=judge(lenient),
        progress=False,
    )
    yield found, folder


def test_what_was_put_in_is_found(done: tuple[Validation, Path]) -> None:
    found, _ = done
    assert [arm.role for arm in found.arms] == ["panel", "neutral", "stated"]
    arm = found.arms[0]
    assert (found.items, found.people, arm.personas, arm.calls) == (120, 24, 8, 960)
    assert arm.means.bias.low < 0.5 < arm.means.bias.high + 0.05
    assert arm.means.bias.low > 0.2
    [group] = arm.groups
    assert group.attribute == "team" and group.p_value < 0.05
    assert group.share is not None and 0.5 < group.share < 1.5
    skills = {row.name.split(": ")[-1]: row.skill.value for row in found.distances if row.name.startswith(arm.name)}
    assert (
        skills["calibrated"] > skills["published"] + 0.2
    )  # a constant bias is what people's answers to other items cure
    stated = next(row for row in found.distances if row.name.startswith("distribution"))
    assert stated.skill.value > 0.9


def test_the_files_hold_every_figure(done: tuple[Validation, Path]) -> None:
    found, folder = done
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["format"] == 1 and scores["digest"] == found.digest
    assert set(scores["arms"][0]["identity"]) == {"panel", "prompt", "models"}
    page = (folder / "validation.html").read_text()
    assert "May it replace people?" in page and "too lenient" in page and "<script" not in page
    assert "Distance of personas from people, by team" in page


@pytest.mark.slow
def test_the_same_again_asks_nobody(people: Path, done: tuple[Validation, Path]) -> None:
    found, folder = done

    def refuse(request: Request) -> str:
        raise AssertionError("asked again")

    again = validate(
        RECIPE | {"panel": PANEL},
        people,
        attributes=["team"],
        output=folder,
        provider=FunctionProvider(refuse, model="known"),
        progress=False,
    )
    assert again.as_dict() == found.as_dict()


def test_a_grid_within_one_budget(people: Path, tmp_path: Path) -> None:
    recipe = RECIPE | {"panel": PANEL, "provider": {"model": "known", "price": {"input": 100.0, "output": 100.0}}}
    found = validate(
        recipe,
        people,
        panels=["small", "neutral"],
        rivals=False,
        items=60,
        max_cost=4.0,
        output=tmp_path,
        provider=judge(lenient),
        progress=False,
    )
    assert [arm.panel for arm in found.arms] == ["small", "neutral"]
    assert 20 <= found.items < 60  # as many as the budget allows
    assert sum(arm.cost or 0.0 for arm in found.arms) <= 4.0


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("prompt,response,rater_id,label\np,a,r1,1\np,b,r2,5\n", "judged by two people"),
        ("prompt,response,rater_id,label\np,a,r1,7\np,a,r2,9\np,b,r1,8\np,b,r2,7\n", "allowed"),
        ("item_id,rater_id,label\n1,r1,1\n1,r2,2\n2,r1,1\n2,r2,3\n", "columns"),
        ("prompt,response,rater_id\np,a,r1\n", "no column 'label'"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path: Path, rows: str, says: str) -> None:
    path = tmp_path / "people.csv"
    path.write_text(rows)
    with pytest.raises(DprmError, match=says):
        validate(RECIPE | {"panel": PANEL}, path, output=tmp_path / "out", provider=judge(lenient), progress=False)


@pytest.mark.slow
def test_without_raters_nothing_is_said_of_groups(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    write_crowd(path, items=30, raters=9, each=4)
    text = "\n".join(",".join(line.split(",")[:2] + line.split(",")[3:4]) for line in path.read_text().splitlines())
    path.write_text(text)
    found = validate(
        RECIPE | {"panel": panel(3)},
        path,
        output=tmp_path / "out",
        rivals=False,
        provider=judge(lenient),
        progress=False,
    )
    assert found.people == 0 and found.arms[0].alternative is None and not found.arms[0].groups
    assert any("does not say who judged" in note for note in found.notes)


@pytest.fixture(scope="module")
def published(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the same recipe, with a validation in its folder."""
    folder = tmp_path_factory.mktemp("run") / "team"
    recipe = RECIPE | {"panel": PANEL}
    rows = [{"prompt": f"Prompt {i}", "response": f"Answer {i}: [{2 + i / 10:.6f} 1]"} for i in range(12)]
    run(recipe, source=rows, output=folder, provider=judge(lenient), progress=False)
    validate(
        recipe,
        people,
        items=30,
        rivals=False,
        output=folder / "validation" / "people",
        provider=judge(lenient),
        progress=False,
    )
    return folder


def _card_and_report(folder: Path) -> tuple[str, str]:
    opened = Run.open(folder)
    return dataset_card(opened, summarise(opened.folder, opened.space)), report(opened)


def test_the_card_and_the_report_say_what_the_runs_own_validation_found(published: Path, tmp_path: Path) -> None:
    for text in _card_and_report(published):
        assert "Not validated.</b>" not in text and "**Not validated.**" not in text
        assert "May it replace people?" in text and "240 answers" in text
        assert "Against people, on other items" in text and "Not validated against people" not in text
    opened = Run.open(published)
    write_own_scores(opened, tmp_path)
    copied, own = (folder / "validation/people/scores.json" for folder in (tmp_path, published))
    assert copied.read_bytes() == own.read_bytes()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("panel", "another", "another panel"),
        ("prompt", "another", "another question"),
        ("models", ["b"], "another model"),
    ],
)
def test_a_validation_of_something_else_validates_nothing(
    published: Path, tmp_path: Path, name: str, value: object, says: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(published, folder)
    file = folder / "validation/people/scores.json"
    scores = json.loads(file.read_text())
    scores["arms"][0]["identity"][name] = value
    file.write_text(json.dumps(scores))
    for text in _card_and_report(folder):
        assert "Not validated." in text and says in text and "Not validated against people" in text
        assert "May it replace people?" not in text
    write_own_scores(Run.open(folder), tmp_path / "publication")
    assert not (tmp_path / "publication").exists()


def test_scores_that_cannot_be_read_are_said_to_be_left_out(published: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(published, folder)
    (folder / "validation/people/scores.json").write_text('{"format": 1, "arms"')
    with pytest.warns(UserWarning, match=r"a validation of this run is left out: cannot read .*scores\.json"):
        card, report = _card_and_report(folder)
    assert "Not validated" in card and "Not validated" in report
