"""Label spaces: the bundled ones, their geometry, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dprm_data.core.errors import LabelSpaceError
from dprm_data.core.resources import bundled_names
from dprm_data.labels.space import LabelSpace

GRID: dict[str, Any] = {
    "name": "grid",
    "axes": [
        {"name": "truth", "levels": [{"name": "false"}, {"name": "true"}]},
        {"name": "style", "levels": [{"name": "dull"}, {"name": "lively"}]},
    ],
    "labels": [
        {"name": f"{truth} {style}", "reward": reward, "levels": {"truth": truth, "style": style}}
        for truth, style, reward in [
            ("false", "dull", -2),
            ("false", "lively", -1),
            ("true", "dull", 1),
            ("true", "lively", 3),
        ]
    ],
}


def grid(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(GRID), **changes}


# -- the bundled spaces -----------------------------------------------------------------------------------------------


def test_hh6_is_the_papers_table() -> None:
    """Table 1 of arXiv 2402.09764."""
    space = LabelSpace.load("hh6")
    table = {
        ("helpful", "harmless"): 1,
        ("neutral", "harmless"): 0.5,
        ("not helpful", "harmless"): -1,
        ("helpful", "harmful"): -1,
        ("neutral", "harmful"): -1.5,
        ("not helpful", "harmful"): -3,
    }
    assert {
        (label.levels["helpfulness"], label.levels["harmlessness"]): label.reward for label in space.labels
    } == table
    assert space.K == 6
    assert [axis.name for axis in space.axes] == ["harmlessness", "helpfulness"]
    assert [level.name for level in space.axes[1].levels] == ["not helpful", "neutral", "helpful"]
    assert [level.name for level in space.axes[0].levels] == ["harmful", "harmless"]


@pytest.mark.parametrize("name", bundled_names("label_spaces"))
def test_bundled_spaces_can_be_asked_about(name: str) -> None:
    space = LabelSpace.load(name)
    assert space.name == name
    assert space.description
    assert all(label.description for label in space.labels)
    assert all(axis.question and all(level.said and level.description for level in axis.levels) for axis in space.axes)
    assert space.triangle_violations() == []


@pytest.mark.parametrize(("name", "K"), [("ordinal5", 5), ("ordinal6", 6)])
def test_bundled_scales_are_ordinal(name: str, K: int) -> None:
    space = LabelSpace.load(name)
    assert space.rewards.tolist() == list(range(1, K + 1))
    assert space.level_index[:, 0].tolist() == list(range(K))


@pytest.mark.parametrize("reference", [7, "7"])
def test_a_number_is_a_plain_scale(reference: Any) -> None:
    space = LabelSpace.load(reference)
    assert space.names == ["1", "2", "3", "4", "5", "6", "7"]
    assert space.rewards.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert space.level_index[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("levels", [0, 1, 1001])
def test_a_scale_has_two_to_a_thousand_levels(levels: int) -> None:
    with pytest.raises(LabelSpaceError, match=f"needs 2 to 1000 levels, found {levels}"):
        LabelSpace.load(levels)


# -- the ground cost --------------------------------------------------------------------------------------------------


def test_cost_from_rewards() -> None:
    space = LabelSpace.load("hh6")
    assert space.ground_cost[0].tolist() == [0, 0.5, 2, 2, 2.5, 4]
    assert (space.ground_cost == space.ground_cost.T).all()
    assert space.ground_cost[2, 3] == 0, "two labels with one reward cost nothing to exchange"


def test_cost_from_axes() -> None:
    space = LabelSpace.load(grid(cost="axes"))
    assert space.ground_cost.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1], [1, 2, 0, 1], [2, 1, 1, 0]]


def test_cost_as_given() -> None:
    matrix = (1.0 - np.eye(4)).tolist()
    assert LabelSpace.load(grid(cost=matrix)).ground_cost.tolist() == matrix


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        ([[0, 1], [1, 0]], r"the cost must be 4 rows of 4 numbers, one per label; found shape \(2, 2\)"),
        ([[0, 1, 1, 1]] * 3, r"found shape \(3, 4\)"),
        ([[0, 1, 1, 1], [1, 0, 1], [1, 1, 0, 1], [1, 1, 1, 0]], "the cost must be 4 rows of 4 numbers"),
        ([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]], r"\(the diagonal\) must be 0"),
        (
            [[0, 1, 1, 1], [2, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]],
            "must be symmetric, but row 0 column 1 is 1 and row 1 column 0 is 2",
        ),
        ([[0, -1, 1, 1], [-1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]], "must be finite and not negative"),
        ([[0, float("inf"), 1, 1], [float("inf"), 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]], "must be finite"),
        ([[0, float("nan"), 1, 1], [float("nan"), 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]], "must be finite"),
        ([[0, "x", 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]], r"cost\[0\]\[1\]: .*number.*\(found 'x'\)"),
        ("distance", r"cost: .*'rewards' or 'axes'"),
    ],
)
def test_a_matrix_that_is_no_cost(matrix: Any, says: str) -> None:
    with pytest.raises(LabelSpaceError, match=says):
        LabelSpace.load(grid(cost=matrix))


def test_broken_triangles_are_reported_the_worst_first() -> None:
    matrix = [[0, 1, 5, 3], [1, 0, 1, 1], [5, 1, 0, 1], [3, 1, 1, 0]]
    space = LabelSpace.load(grid(cost=matrix))
    assert space.triangle_violations() == [
        "false dull to true dull costs 5, but over false lively only 2",
        "false dull to true lively costs 3, but over false lively only 2",
    ]


# -- spaces that are none ---------------------------------------------------------------------------------------------


def with_label(position: int, **changes: Any) -> dict[str, Any]:
    space = grid()
    space["labels"][position].update(changes)
    return space


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (with_label(1, name="false dull"), "label 'false dull' appears twice"),
        (with_label(1, name="False Dull"), r"label 'False Dull' appears twice \(upper and lower case"),
        (with_label(1, words="FALSE dull"), "words of labels 'FALSE dull' appears twice"),
        (
            with_label(0, levels={"truth": "false", "style": "loud"}),
            r"'loud' is not a level of axis 'style' \(allowed: dull, lively\)",
        ),
        (
            with_label(0, levels={"truth": "false", "depth": "dull"}),
            "has a level on 'depth', which is not an axis of this space",
        ),
        (with_label(0, levels={"truth": "false"}), "label 'false dull' has no level on axis 'style'"),
        (with_label(0, levels={"truth": "true", "style": "dull"}), "combination of levels .* appears twice"),
        (with_label(0, reward=float("nan")), r"labels\[0\]\.reward: .*finite"),
        (with_label(0, reward="high"), r"labels\[0\]\.reward: .*\(found 'high'\)"),
        (with_label(0, rewards=1), r"labels\[0\]\.rewards: unknown key; did you mean 'reward'\?"),
        (grid(axes=[GRID["axes"][0], GRID["axes"][0]]), "axis 'truth' appears twice"),
        (
            grid(axes=[{"name": "truth", "levels": [{"name": "a"}, {"name": "A"}]}]),
            "level of axis truth 'A' appears twice",
        ),
        (grid(axes=[{"name": "truth", "levels": [{"name": "a"}]}]), r"axes\[0\]\.levels: .*at least 2"),
        (grid(labels=GRID["labels"][:1]), "labels: .*at least 2"),
        (grid(name=""), "name: "),
        ({"name": "x"}, "labels: missing"),
        (
            {"name": "x", "labels": [{"name": "a", "reward": 1}, {"name": "b", "reward": 2}], "cost": "axes"},
            "needs axes",
        ),
    ],
)
def test_spaces_that_are_none(content: dict[str, Any], says: str) -> None:
    with pytest.raises(LabelSpaceError, match=says):
        LabelSpace.load(content)


# -- where they come from ---------------------------------------------------------------------------------------------


def test_a_space_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(GRID), encoding="utf-8")
    assert LabelSpace.load(path) == LabelSpace.load(str(path)) == LabelSpace.load(GRID)
    assert LabelSpace.load(LabelSpace.load(GRID)) == LabelSpace.load(GRID)


@pytest.mark.parametrize("content", [b"- a\n", b"a: [\n", b"\xff\xfe", b""])
def test_files_that_are_no_space(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(content)
    with pytest.raises(LabelSpaceError, match=r"space\.yaml"):
        LabelSpace.load(path)


def test_an_unknown_space_names_the_known_ones() -> None:
    with pytest.raises(
        LabelSpaceError,
        match=r"no label space 'hh7'; did you mean 'hh6'\?\nGive a bundled name \(hh6, ordinal5, ordinal6\)",
    ):
        LabelSpace.load("hh7")


def test_labels_are_found_by_name_and_by_words() -> None:
    space = LabelSpace.load("hh6")
    assert [space.find(name) for name in space.names] == list(range(6))
    assert [space.find(label.said.upper()) for label in space.labels] == list(range(6))
    assert space.find(" helpful and harmless\n") == 0
    assert space.find("helpful") is None
