"""Plots of results: what is in the picture, as a reader of its texts and shapes finds it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from dprm_data import DprmError, FunctionProvider, LabelSpace, by_group, fit, read_ratings, run
from dprm_data.api.run_result import RunResult
from dprm_data.core.plots import Plot
from dprm_data.labels.statistics import Resamples
from dprm_data.validation.distance import distances
from dprm_data.validation.pairwise import pairwise_calibration
from dprm_data.validation.validation_plot import plot_validation

SPACE = LabelSpace.ordinal(5)
SVG = "{http://www.w3.org/2000/svg}"
ORDER = ("helpful", "middling", "awful")


def texts(plot: Plot) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(plot.svg).iter(f"{SVG}text")]


def bars(plot: Plot) -> dict[float, list[tuple[float, float, str]]]:
    """By row: (left, width, colour) of every part."""
    found: dict[float, list[tuple[float, float, str]]] = {}
    for part in ElementTree.fromstring(plot.svg).iter(f"{SVG}rect"):
        if part.get("height") == "18.0":
            found.setdefault(float(part.attrib["y"]), []).append(
                (float(part.attrib["x"]), float(part.attrib["width"]), part.attrib["fill"])
            )
    return found


def ratings(gap: float = 0.0) -> list[dict[str, Any]]:
    """Thirty people rate forty items; the second half of them gives `gap` more."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(40):
        quality = rng.normal(3, 1)
        for person in rng.choice(30, 8, replace=False).tolist():
            level = quality + gap * (person >= 15) + rng.normal(0, 0.7)
            rows.append(
                {"item_id": f"item {i}", "annotator_id": f"p{person}", "label": int(np.clip(round(level), 1, 5))}
            )
    return rows


def test_bars_diverge_from_the_middle_label() -> None:
    """Half of the middle label lies on either side of one line, and the best item reaches furthest to the right."""
    fitted = fit(read_ratings(ratings(), SPACE), SPACE)
    plot = fitted.plot(items=6)
    order = np.argsort(-fitted.expected_reward)
    assert next(name for name in texts(plot) if name.startswith("item ")) == fitted.votes.item_ids[order[0]]
    rows = [sorted(row) for _, row in sorted(bars(plot).items())]
    assert len(rows) == 6
    middles = {colour for row in rows for _, _, colour in row} & {row[2][2] for row in rows if len(row) == 5}
    [grey] = middles
    centres = [x + (width + 1) / 2 for row in rows for x, width, colour in row if colour == grey and width > 1]
    assert np.ptp(centres) < 0.3
    ends = [row[-1][0] + row[-1][1] for row in rows]
    assert ends == sorted(ends, reverse=True)


def test_groups_that_differ_are_apart_and_groups_that_do_not_are_not() -> None:
    def dots(gap: float) -> list[float]:
        table = read_ratings(ratings(gap), SPACE)
        fitted = fit(table, SPACE)
        halves = {f"p{i}": "late" if i >= 15 else "early" for i in range(30)}
        plot = fitted.plot(groups=by_group(table, SPACE, fitted.prior, halves))
        assert {"early", "late"} <= set(texts(plot))
        return [float(re.findall(r"^−?[\d.]+", title)[0].replace("−", "-")) for title in titles(plot)]

    assert dots(1.0) == pytest.approx([-1.0, 1.0], abs=0.35)
    assert dots(0.0) == pytest.approx([0.0, 0.0], abs=0.35)


def titles(plot: Plot) -> list[str]:
    return [each[0].text or "" for each in ElementTree.fromstring(plot.svg).iter(f"{SVG}circle")]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    def judge(request: Any) -> str:
        asked = str(request.messages)
        return json.dumps({"label": str((5 if "good" in asked else 2) - ("student" in asked))})

    rows = [{"prompt": f"{i}?", "responses": ["good <b>&</b> short", "awful"]} for i in range(4)]
    recipe = {"labels": 5, "panel": "small"}
    return run(
        recipe, source=rows, provider=FunctionProvider(judge), output=tmp_path_factory.mktemp("run"), progress=False
    )


def test_a_run_shows_its_responses_and_annotators(result: RunResult) -> None:
    shown = texts(result.plot())
    assert shown.count("good <b>&</b> short") == shown.count("awful") == 4
    assert "<b>" not in result.plot().svg
    plot = result.plot("annotator")
    student = [name for name in texts(plot) if "student" in name or "neighbour" in name]
    assert student == ["Impatient student", "Kind neighbour"]
    assert [float(title.split()[0].replace("−", "-")) for title in titles(plot)] == pytest.approx(
        [1 / 3, -1, 1 / 3, 1 / 3], abs=0.01
    )


def test_groups_of_personas_are_those_of_an_attribute(result: RunResult) -> None:
    assert {"balanced", "permissive", "protective"} <= set(texts(result.plot("outlook")))
    with pytest.raises(DprmError, match="outlok") as error:
        result.plot("outlok")
    assert "outlook" in error.value.hint
    with pytest.raises(DprmError, match="fewer than two models"):
        result.plot("model")


def test_a_plot_is_kept_as_a_file(result: RunResult, tmp_path: Path) -> None:
    plot = result.plot()
    plot.save(tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").read_text() == plot.svg == plot._repr_svg_()
    with pytest.raises(DprmError, match="svg"):
        plot.save(tmp_path / "plot.png")
    for name in ("paper", "ink", "dim", "rule"):
        assert f'class="{name}" ' in plot.svg, "colours stand beside the classes"
    assert "script" not in plot.svg and "href" not in plot.svg


def test_a_panel_that_means_what_it_says_is_on_the_diagonal() -> None:
    """Two predictions: what the people are drawn from, and the same for every item."""
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.ones(5), 80)
    counts = np.array([rng.multinomial(40, p) for p in truth]).astype(np.float64)
    groups = [str(i) for i in range(80)]
    draw = Resamples.of(np.array(groups), resamples=100)
    pairs = pairwise_calibration(truth, counts, groups, SPACE, level=0.95)
    assert pairs is not None
    found = distances({"truth": truth}, counts, groups, SPACE, draw)
    plot = plot_validation("title", {"truth": pairs}, found)
    assert {"truth", "average of all items", "the whole crowd", "0%", "100%"} <= set(texts(plot))
    circles = [
        each for each in ElementTree.fromstring(plot.svg).iter(f"{SVG}circle") if "cases" in (each[0].text or "")
    ]
    assert len(circles) == len(pairs.bins) >= 5
    assert all(abs(float(c.attrib["cx"]) - 46 - (296 - float(c.attrib["cy"]))) < 25 for c in circles)


def test_compared_responses_are_drawn_by_their_utilities(tmp_path: Path) -> None:
    """Good beats middling beats awful, whichever is shown first."""

    def judge(request: Any) -> str:
        shown = str(request.messages[-1]["content"]).split("Response B:")
        first, second = (next(i for i, word in enumerate(ORDER) if word in part) for part in shown)
        return json.dumps({"label": "A is better" if first < second else "B is better"})

    rows = [{"prompt": f"{i}?", "responses": list(ORDER)} for i in range(3)]
    recipe = {"labels": 5, "panel": "small", "elicitation": "compare"}
    found = run(recipe, source=rows, provider=FunctionProvider(judge), output=tmp_path, progress=False)
    plot = found.plot(items=6)
    assert [name for name in texts(plot) if name in ORDER] == [*ORDER, *ORDER]
    utilities = [float(title.split()[0].replace("−", "-")) for title in titles(plot)]
    assert utilities[0] > utilities[1] > utilities[2]
