"""Commands about votes that are there already, from the outside."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.helpers import answer, dprm, write_recipe
from tests.servers.llm import LLMServer


def write_votes(path: Path, *, raters: range, items: int = 12, shift: dict[str, int] | None = None) -> None:
    """Votes on a scale of 5: item i is liked about as much as its number; `shift` moves an item."""
    draw = random.Random(len(raters))
    lines = ["item_id,rater_id,label,age"]
    for i in range(items):
        for rater in raters:
            liked = i * 4 / items + (shift or {}).get(f"i{i}", 0)
            label = min(4, max(0, round(draw.gauss(liked, 0.7))))
            lines.append(f"i{i},r{rater},{label},{'old' if rater % 2 else 'young'}")
    path.write_text("\n".join(lines) + "\n")


def test_an_update_is_a_fit_of_all_votes_under_the_same_prior(tmp_path: Path) -> None:
    for name, raters in (("a", range(8)), ("b", range(8, 12)), ("c", range(12, 20))):
        write_votes(tmp_path / f"{name}.csv", raters=raters)
    answer(dprm("ratings", "fit", "a.csv", "--labels", "5", "--output", "a.parquet", "--json", cwd=tmp_path))
    for first, second in (("b", "c"), ("c", "b")):
        answer(
            dprm("ratings", "update", "a.parquet", f"{first}.csv", "--output", "once.parquet", "--json", cwd=tmp_path)
        )
        answer(
            dprm(
                "ratings",
                "update",
                "once.parquet",
                f"{second}.csv",
                "--output",
                f"{first}{second}.parquet",
                "--json",
                cwd=tmp_path,
            )
        )
    either, other = (pq.read_table(tmp_path / f"{order}.parquet") for order in ("bc", "cb"))
    assert either.equals(other)
    assert all(row["evidence"] == 20 for row in either.to_pylist())
    forgot = answer(
        dprm(
            "ratings",
            "update",
            "a.parquet",
            "b.csv",
            "--output",
            "f.parquet",
            "--forgetting",
            "0.5",
            "--json",
            cwd=tmp_path,
        )
    )
    assert forgot["votes"] == pytest.approx(12 * (0.5 * 8 + 4))


def test_a_run_can_be_updated_with_people(double: LLMServer, tmp_path: Path) -> None:
    write_recipe(tmp_path, double.url)
    summary = answer(dprm("run", "recipe.yaml", "--json", cwd=tmp_path))["summary"]
    item = summary["first"][0]["item_id"]
    (tmp_path / "people.csv").write_text(
        f"item_id,annotator_id,label\n{item},p1,helpful_harmless\n{item},p2,helpful and harmless\n"
    )
    answer(dprm("ratings", "update", "run", "people.csv", "--output", "new.parquet", "--json", cwd=tmp_path))
    rows = {row["item_id"]: row for row in pq.read_table(tmp_path / "new.parquet").to_pylist()}
    assert len(rows) == 4
    assert sum(rows[item]["votes"]) == 6
    assert rows[item]["evidence"] == pytest.approx(2 + 4 / (1 + 0.39 * 4))  # two people, and four personas of a panel
    assert rows[item]["expected_reward"] > summary["first"][0]["expected_reward"]


def test_drift_finds_the_item_that_moved(tmp_path: Path) -> None:
    write_votes(tmp_path / "a.csv", raters=range(40))
    write_votes(tmp_path / "b.csv", raters=range(40, 81), shift={"i2": 3})
    answer(dprm("ratings", "fit", "a.csv", "--labels", "5", "--output", "a.parquet", "--json", cwd=tmp_path))
    found = answer(dprm("ratings", "drift", "a.parquet", "b.csv", "--output", "drift.parquet", "--json", cwd=tmp_path))
    assert found["moved"][0]["item_id"] == "i2"
    assert found["items_moved"] <= 2
    assert pq.read_table(tmp_path / "drift.parquet").num_rows == 12
    assert "i2" in dprm("ratings", "drift", "a.parquet", "b.csv", cwd=tmp_path).stdout


def test_agreement_and_groups(tmp_path: Path) -> None:
    write_votes(tmp_path / "a.csv", raters=range(10))
    found = answer(dprm("ratings", "agreement", "a.csv", "--labels", "5", "--json", cwd=tmp_path))
    assert 0.5 < found["alpha_ordinal"] < 1
    assert len(found["by_annotator"]) == 10
    assert "Krippendorff" in dprm("ratings", "agreement", "a.csv", "--labels", "5", cwd=tmp_path).stdout
    by_age = answer(
        dprm(
            "ratings",
            "groups",
            "a.csv",
            "--labels",
            "5",
            "--by",
            "age",
            "--output",
            "g.parquet",
            "--json",
            cwd=tmp_path,
        )
    )
    assert [group["group"] for group in by_age["groups"]] == ["old", "young"]
    assert pq.read_table(tmp_path / "g.parquet").num_rows == 24
    assert (
        "the others' view counts as"
        in dprm("ratings", "groups", "a.csv", "--labels", "5", "--by", "age", cwd=tmp_path).stdout
    )
    wrong = dprm("ratings", "groups", "a.csv", "--labels", "5", "--by", "shoe_size", cwd=tmp_path)
    assert (wrong.returncode, "no column 'shoe_size'" in wrong.stderr) == (2, True)


def test_groups_and_agreement_of_a_run(double: LLMServer, tmp_path: Path) -> None:
    write_recipe(tmp_path, double.url, panel="paper")
    answer(dprm("run", "recipe.yaml", "--json", cwd=tmp_path))
    assert answer(dprm("ratings", "agreement", "run", "--json", cwd=tmp_path))["annotators"] == 15
    assert len(answer(dprm("ratings", "groups", "run", "--by", "age_group", "--json", cwd=tmp_path))["groups"]) > 1
    assert (
        "no persona of run has the attribute 'shoes'"
        in dprm("ratings", "groups", "run", "--by", "shoes", cwd=tmp_path).stderr
    )


@pytest.mark.parametrize(
    ("command", "option"),
    [
        *(
            (["ratings", "fit", "run"], option)
            for option in (
                ["--labels", "5"],
                ["--output", "o.parquet"],
                ["--column", "item_id=question"],
                ["--duplicates", "mean"],
                ["--duplicates", "error"],
                ["--base", "1"],
                ["--base", "0"],
            )
        ),
        (["ratings", "agreement", "run"], ["--labels", "5"]),
        (["ratings", "agreement", "run"], ["--column", "item_id=question"]),
        (["ratings", "groups", "run", "--by", "age_group"], ["--labels", "5"]),
        (["ratings", "groups", "run", "--by", "age_group"], ["--column", "item_id=question"]),
    ],
    ids=" ".join,
)
def test_an_option_for_tables_of_votes_is_refused_for_a_run(
    fitted_run: Path, command: list[str], option: list[str]
) -> None:
    done = dprm(*command, *option, cwd=fitted_run)
    assert done.returncode == 2
    assert f"{option[0]} is for tables of votes, and run is a run folder" in done.stderr


@pytest.fixture(scope="module")
def fitted_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a fitted run in `run`."""
    folder = tmp_path_factory.mktemp("fitted")
    with LLMServer() as double:
        write_recipe(folder, double.url, panel="paper")
        answer(dprm("run", "recipe.yaml", "--json", cwd=folder))
    return folder


def raked(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The demographic panel, raked to margins.yaml into panel.yaml."""
    to = ("--margins", "margins.yaml", "--output", "panel.yaml")
    return dprm("panel", "rake", "demographic", *to, *more, cwd=folder)


def test_a_panel_is_raked_to_margins(tmp_path: Path) -> None:
    (tmp_path / "margins.yaml").write_text("sex: {female: 0.6, male: 0.4}\n")
    done = answer(raked(tmp_path, "--json"))
    assert done["effective_size"] < done["people"] == 96
    personas = answer(dprm("panel", "show", "panel.yaml", "--json", cwd=tmp_path))["personas"]
    total = sum(persona["weight"] for persona in personas)
    assert sum(persona["weight"] for persona in personas if persona["attributes"]["sex"] == "female") == pytest.approx(
        0.6 * total
    )


@pytest.mark.parametrize(
    ("margins", "said"),
    [
        ("sex: {female: 0.6, male: 0.3}", "sum to 1"),
        ("sex: {female: 0.5, male: 0.4, other: 0.1}", "'other' should be 10.0%, and nobody in the panel has it"),
        ("sex: {female: 1.0}", "no target for 'male'"),
        ("shoes: {big: 1.0}", "no attribute 'shoes'"),
        ("sex: {female: many, male: few}", "the share of 'female' is 'many', not a number"),
        ("[1, 2]", "margins are attribute -> value -> share"),
    ],
)
def test_margins_that_cannot_be_met(tmp_path: Path, margins: str, said: str) -> None:
    (tmp_path / "margins.yaml").write_text(margins)
    done = raked(tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "panel.yaml").exists()


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ("nothing.parquet", "no file nothing.parquet"),
        ("a.csv", "has no fitted distributions"),
        (".", "is not a run folder"),
        ("plain.parquet", "has no prior in its metadata"),
    ],
)
def test_a_dataset_that_cannot_be_updated(tmp_path: Path, dataset: str, said: str) -> None:
    write_votes(tmp_path / "a.csv", raters=range(3))
    answer(dprm("ratings", "fit", "a.csv", "--labels", "5", "--output", "a.parquet", "--json", cwd=tmp_path))
    pq.write_table(pq.read_table(tmp_path / "a.parquet").replace_schema_metadata(None), tmp_path / "plain.parquet")
    done = dprm("ratings", "update", dataset, "a.csv", "--output", "b.parquet", cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr


def test_written_panels_are_plain_yaml(tmp_path: Path) -> None:
    (tmp_path / "margins.yaml").write_text("sex: {female: 0.5, male: 0.5}\n")
    answer(raked(tmp_path, "--json"))
    content = yaml.safe_load((tmp_path / "panel.yaml").read_text())
    assert "raked to margins on sex" in content["source"]
