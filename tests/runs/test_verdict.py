"""The verdict on a run: each figure against another way of computing it, and the same words in the terminal, the card and the report."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import cache
from html import unescape
from pathlib import Path
from statistics import NormalDist
from typing import Any

import krippendorff
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import dprm_data
from dprm_data.cli import app
from dprm_data.core.errors import BudgetReached
from dprm_data.preference.fitting import Fit
from dprm_data.publish.report.page import report
from dprm_data.runs.fit import fit_annotations
from dprm_data.runs.run import Run
from dprm_data.runs.verdict import Line, Verdict, verdict
from tests.servers.llm import LLMServer

LEVELS = {
    "name": "levels",
    "labels": [{"name": n, "reward": r} for n, r in (("bad", -1.0), ("fine", 0.5), ("good", 1.0))],
}
PROMPTS = [f"What is {i}?" for i in range(8)]
ITEMS = [{"prompt": prompt, "response": f"{word} answer"} for prompt in PROMPTS for word in ("A", "Another")]

ASKED = 2 * 15 * len(ITEMS)  # annotations by the paper's personas, twice


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verdicts")


@pytest.fixture(scope="module")
def server() -> Iterator[LLMServer]:
    with LLMServer(words=(" bad", " fine", " good", " so")) as server:
        yield server


def recipe(server: LLMServer, output: Path, **changes: Any) -> dict[str, Any]:
    provider = {"name": "openai", "model": "gpt-4o-mini", "base_url": f"{server.url}/v1"}
    content = {"name": "judged", "panel": "paper", "labels": LEVELS, "provider": provider, "output": str(output)}
    return content | changes


@pytest.fixture(scope="module")
def twice(server: LLMServer, folder: Path) -> Run:
    """Everybody is asked twice, and 6 ratings are by people."""
    rows = [ITEMS[i] | {"rater": who, "label": "good"} for i in range(3) for who in ("ann", "bo")]
    (folder / "ratings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = recipe(server, folder / "twice", replicates=2, ratings={"path": str(folder / "ratings.jsonl")})
    return Run.open(dprm_data.run(content, source=ITEMS).folder.path)


@pytest.fixture(scope="module")
def soft(server: LLMServer, folder: Path) -> Run:
    """Every annotation is a distribution."""
    return Run.open(dprm_data.run(recipe(server, folder / "soft", elicitation="logprobs"), source=ITEMS).folder.path)


@pytest.fixture(scope="module")
def people(folder: Path) -> Run:
    draw = random.Random(1)
    rows = [
        item | {"rater": f"rater {j}", "label": min(5, max(1, round(draw.gauss(2 + i % 3, 1))))}
        for i, item in enumerate(ITEMS)
        for j in range(6)
    ]
    content = {"name": "people", "annotators": "people", "labels": 5, "ratings": {"base": 1}}
    return Run.open(dprm_data.run(content, source=rows, output=folder / "people").folder.path)


@cache
def page_of(folder: Path) -> str:
    return unescape(report(Run.open(folder)))


def annotations(run: Run) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(run.folder.table("annotations")).to_pylist()
    return rows


def line(found: Verdict, question: str) -> Line:
    return next(line for line in found.lines() if line.question == question)


def changed(run: Run, folder: Path, column: str, value: Any, rows: int) -> Run:
    """A copy of the run with another value in the first rows of the annotations."""
    for file in [
        *run.folder.path.glob("*.*"),
        *run.folder.path.glob("tables/*.parquet"),
        *run.folder.path.glob("prompts/*"),
    ]:
        target = folder / file.relative_to(run.folder.path)
        target.parent.mkdir(exist_ok=True, parents=True)
        target.write_bytes(file.read_bytes())
    path = folder / "tables" / "annotations.parquet"
    table = pq.read_table(path)
    first = pa.array([i < rows for i in range(table.num_rows)])
    new = pc.if_else(first, pa.scalar(value, table.schema.field(column).type), table[column])
    pq.write_table(table.set_column(table.column_names.index(column), table.schema.field(column), new), path)
    return Run.open(folder)


# -- the figures --------------------------------------------------------------------------------------------------------


def test_whose_labels_and_how_many(twice: Run) -> None:
    found = verdict(twice)
    assert (found.labels.simulated, found.labels.human, found.labels.people) == (ASKED, 6, 2)
    assert line(found, "Whose labels?").answer == f"{ASKED} simulated, 6 by people"
    assert line(found, "How complete?") == Line(
        "How complete?", "16 of 16 items", "Every annotation has a label.", False
    )


def test_personas_against_replicates(twice: Run, soft: Run) -> None:
    assert "replicates" in line(verdict(twice), "Agreement beyond chance?").detail
    assert "no question was asked twice" not in line(verdict(twice), "Agreement beyond chance?").detail
    assert "not measured: no question was asked twice" in line(verdict(soft), "Agreement beyond chance?").detail


def test_alpha_is_krippendorffs(people: Run) -> None:
    """Ours leaves pairs of one item out of what chance would give: of 16 items, that moves it little."""
    items = {row["item_id"] for row in annotations(people)}
    raters = sorted({row["annotator_id"] for row in annotations(people)})
    table = {item: [np.nan] * len(raters) for item in items}
    for row in annotations(people):
        table[row["item_id"]][raters.index(row["annotator_id"])] = float(row["label"])
    expected = krippendorff.alpha(np.array(list(table.values())).T, level_of_measurement="interval")
    found = verdict(people).signal.people_alpha
    assert found.value == pytest.approx(expected, abs=0.03)
    assert found.low is not None and found.high is not None and found.low < expected < found.high
    assert line(verdict(people), "Agreement beyond chance?").answer.startswith("Yes: α")


def test_a_panel_that_answers_at_random_agrees_no_more_than_by_chance(soft: Run) -> None:
    said = line(verdict(soft), "Agreement beyond chance?")
    assert said.answer.startswith("No: α") and said.concern


def test_alpha_of_people_is_said_of_their_items(server: LLMServer, tmp_path: Path) -> None:
    """Where one persona judges each item, the panel has nobody to agree with. The eight items of three people are too few, however many the panel judged."""
    labels = {
        "ann": "good fine bad good fine bad good fine",
        "bo": "good fine bad good fine bad fine bad",
        "cy": "good bad bad good fine fine good bad",
    }
    given = [(who, item, label) for who in labels for item, label in zip(ITEMS[::2], labels[who].split(), strict=True)]
    rows = [item | {"rater": who, "label": label} for who, item, label in given]
    (tmp_path / "ratings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {"panel": {"use": "paper", "sample": 1}, "ratings": {"path": str(tmp_path / "ratings.jsonl")}}
    dprm_data.run(recipe(server, tmp_path / "run", replicates=2, **changes), source=ITEMS)
    found = verdict(Run.open(tmp_path / "run"))
    assert (found.signal.alpha.value, found.signal.items) == (None, 8)
    said = line(found, "Agreement beyond chance?")
    assert said.answer.startswith("Too few items to tell: α 0.") and said.concern
    assert "from 8 items only" in said.detail and "Self-consistency was not measured" in said.detail


def fitted(run: Run) -> Fit:
    return fit_annotations(run, pq.read_table(run.folder.table("annotations")))


@pytest.mark.parametrize("kind", ["people", "soft"])
def test_sure_pairs_are_those_of_the_posterior(kind: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(kind)
    fit = fitted(run)
    place = {item: i for i, item in enumerate(fit.votes.item_ids)}
    mean = fit.expected_reward
    found = []
    for pair in pq.read_table(run.folder.table("preferences")).to_pylist():
        a, b = place[pair["chosen_item_id"]], place[pair["rejected_item_id"]]
        found.append(NormalDist(0, float(np.hypot(fit.reward_error[a], fit.reward_error[b]))).cdf(mean[a] - mean[b]))
    pairs = verdict(run).pairs
    assert (pairs.pairs, pairs.sure) == (len(found), sum(p > 0.9 for p in found))
    assert pairs.median_probability == pytest.approx(np.median(found), abs=1e-4)


def test_what_1000_labels_cost(twice: Run, tmp_path: Path) -> None:
    simulated = [row for row in annotations(twice) if row["annotator_kind"] == "persona"]
    cost = verdict(twice).cost
    assert cost and cost.per_thousand_labels == pytest.approx(1000 * sum(row["cost"] for row in simulated) / ASKED)
    some = verdict(changed(twice, tmp_path / "some", "cost", None, 300)).cost
    known = sum(row["cost"] for row in simulated[300:])
    assert some and some.per_thousand_labels == pytest.approx(1000 * known / (ASKED - 300))
    assert "without 300 annotations whose cost is not known" in some.line().detail
    none = verdict(changed(twice, tmp_path / "all", "cost", None, ASKED)).cost
    assert none and none.line().answer == "Cost not known"


def test_failures_are_counted_with_their_reason(twice: Run, tmp_path: Path) -> None:
    said = line(verdict(changed(twice, tmp_path, "status", "refusal", 5)), "How complete?")
    assert said.detail == "5 annotations without a label, most often: refusal."
    assert said.concern


def test_a_run_that_was_cut_short_says_of_how_many(server: LLMServer, tmp_path: Path) -> None:
    with pytest.raises(BudgetReached):
        dprm_data.run(recipe(server, tmp_path / "run"), source=ITEMS, max_cost=0.002)
    run = Run.open(tmp_path / "run")
    rows = annotations(run)
    said = line(verdict(run), "How complete?")
    assert said.answer == f"{len({row['item_id'] for row in rows})} of 16 items"
    assert "Cut short (the budget of $0.002 is reached" in said.detail
    assert f"{240 - len(rows)} of 240 annotations are missing" in said.detail
    page = report(run)
    assert said.answer in page and said.answer in run.folder.card_file.read_text()


def test_validated_against_people(twice: Run, soft: Run) -> None:
    assert line(verdict(soft), "Validated?") == Line("Validated?", "Not validated against people", "", True)
    judged = {row["item_id"] for row in annotations(twice) if row["annotator_kind"] == "human"}
    rewards = {label.name: label.reward for label in twice.space.labels}
    means = []
    for item in judged:
        of = [row for row in annotations(twice) if row["item_id"] == item and row["annotator_kind"] == "persona"]
        means.append(sum(rewards[row["label"]] * row["weight"] for row in of) / sum(row["weight"] for row in of) - 1.0)
    said = line(verdict(twice), "Validated?")
    assert said.answer == "Against people, on 3 items"
    assert f"mean difference (panel minus people) {np.mean(means):+.2f}".lower() in said.detail.lower()


# -- hard and soft ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_rewards_of_distributions_are_expected_rewards(soft: Run) -> None:
    """The figures beside the bars of an annotator are those of its bars."""
    rows, rewards = annotations(soft), soft.space.rewards
    expected = {(row["annotator_id"], row["item_id"]): float(np.dot(row["probs"], rewards)) for row in rows}
    shown = json.loads(CliRunner().invoke(app, ["show", str(soft.folder), "--personas", "--json"]).stdout)["annotators"]
    for each in shown:
        own = [reward for (who, _), reward in expected.items() if who == each["annotator_id"]]
        assert each["mean_reward"] == pytest.approx(np.mean(own), abs=1e-5)
    from dprm_data.publish.report.findings import find

    found = find(soft)
    overall = np.mean(list(expected.values()))
    for row in found.annotators:
        own = np.mean([reward for (who, _), reward in expected.items() if who == row.id])
        assert row.severity == pytest.approx((own - overall) * 15 / 14, abs=1e-5)
        assert np.dot(row.shares, rewards) == pytest.approx(own, abs=1e-5)
    for group in found.people_by["outlook"]:
        assert group.difference is not None and abs(group.difference) < 0.2
        assert np.dot(group.shares, rewards) == pytest.approx(group.mean, abs=1e-6)
    assert (
        "take the most probable label" in report(soft)
        and "take the most probable one" in soft.folder.card_file.read_text()
    )


# -- three times the same -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["twice", "soft", "people"])
def test_terminal_card_and_report_begin_with_it(kind: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(kind)
    done = CliRunner().invoke(app, ["show", str(run.folder)], env={"COLUMNS": "80", "NO_COLOR": "1"})
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    shown = "".join(done.stdout.split())
    card, page = run.folder.card_file.read_text().replace("\\", ""), page_of(run.folder.path)
    at = {"shown": 0, "card": 0, "page": 0}
    for each in verdict(run).lines():
        for name, text, words in (
            ("shown", shown, "".join(f"{each.answer}.".split())),
            ("card", card, f"**{each.answer}.** {each.detail}".rstrip()),
            ("page", page, f"<b>{each.answer}</b>"),
        ):
            found = text.replace("−", "-").find(words, at[name])
            assert found >= 0, (name, words)
            at[name] = found
    assert at["card"] < card.index("## Load it") and at["page"] < page.index("<main")
    content = json.loads(CliRunner().invoke(app, ["show", str(run.folder), "--json"]).stdout)
    assert [each["answer"] for each in content["verdict"]["lines"]] == [each.answer for each in verdict(run).lines()]
    assert content["verdict"]["pairs"]["pairs"] == content["summary"]["pairs"]


def test_people_are_not_simulated(people: Run) -> None:
    shown = CliRunner().invoke(app, ["show", str(people.folder)]).stdout
    for text in (shown, people.folder.card_file.read_text(), page_of(people.folder.path)):
        assert "96 labels by 6 people" in text
        for wrong in ("imulat", "personas", "validated"):
            assert wrong not in text
