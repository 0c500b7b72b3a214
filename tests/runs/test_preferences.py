"""The published pairs of a run: what they say, which are left out, and that this is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tests.helpers import dprm

REWARDS = {"bad": 0, "fair": 1, "good": 2}


def rated(folder: Path, **preferences: Any) -> Path:
    """A run of people's ratings: on p0 all prefer a to b, on p1 two of three; on p2 both are rated alike."""
    rows = []
    for prompt, answers in {
        "p0": {"a": "good good good", "b": "bad bad bad"},
        "p1": {"a": "good good bad", "b": "fair fair fair"},
        "p2": {"a": "fair fair good", "b": "fair fair good"},
    }.items():
        for response, labels in answers.items():
            rows += [
                {"prompt": prompt, "response": response, "rater": f"r{i}", "label": label}
                for i, label in enumerate(labels.split())
            ]
    (folder / "ratings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {"annotators": "people", "ratings": {"path": "ratings.jsonl"}, "labels": list(REWARDS), "output": "run"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe | ({"preferences": preferences} if preferences else {})))
    return folder / "recipe.yaml"


def test_a_pair_says_how_sure_it_is_and_how_many_prefer_it(tmp_path: Path) -> None:
    done = dprm("run", str(rated(tmp_path)), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Pairs that are not published: 1 with equal expected rewards." in done.stdout
    pairs = {
        row["prompt"][0]["content"]: row
        for row in pq.read_table(tmp_path / "run/tables/preferences.parquet").to_pylist()
    }
    assert set(pairs) == {"p0", "p1"}
    clear, divided = pairs["p0"], pairs["p1"]
    assert clear["probability"] > divided["probability"] > 0.5
    assert clear["share"] > divided["share"]
    for row in pairs.values():
        assert row["share_low"] <= row["share"] <= row["share_high"]
        assert 0 < row["tie"] < 1 - row["share"]
        assert (row["basis"], row["votes"]) == ("ratings", 6.0)
    (tmp_path / "recipe.yaml").unlink()
    exported = dprm("export", "run", "--what", "preferences", "--output", "pairs.jsonl", cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    assert {json.loads(line)["share"] > 0 for line in (tmp_path / "pairs.jsonl").read_text().splitlines()} == {True}
    shown = dprm("show", "run", "--prompt", clear["group_id"][:9], "--json", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    first, second = json.loads(shown.stdout)["responses"]
    assert [first["response"][0]["content"], second["response"][0]["content"]] == ["a", "b"]
    assert first["probability"] == pytest.approx(clear["probability"], abs=1e-5)
    assert first["share"] == pytest.approx(clear["share"], abs=1e-5)
    assert second["share"] is None
    for text in (clear["chosen_item_id"], clear["group_id"]):
        view = dprm("show", "run", "--prompt", text, cwd=tmp_path)
        assert "Better than the next" in view.stdout and view.stdout.index("   a\n") < view.stdout.index("   b\n")
    unknown = dprm("show", "run", "--prompt", "zzz", cwd=tmp_path)
    assert unknown.returncode == 2 and "no prompt's id begins with 'zzz'" in unknown.stderr


def test_the_recipe_says_which_pairs_are_published(tmp_path: Path) -> None:
    done = dprm("run", str(rated(tmp_path, min_margin=0.5, ties=True, pairs_per_prompt=1)), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Pairs that are not published: 2 below preferences.min_margin." in done.stdout
    pairs = pq.read_table(tmp_path / "run/tables/preferences.parquet").to_pylist()
    assert [row["prompt"][0]["content"] for row in pairs] == ["p0"]


def test_ties_are_kept_on_request(tmp_path: Path) -> None:
    done = dprm("run", str(rated(tmp_path, ties=True)), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {
        row["prompt"][0]["content"]: row
        for row in pq.read_table(tmp_path / "run/tables/preferences.parquet").to_pylist()
    }
    assert rows["p2"]["margin"] == 0
    assert rows["p2"]["probability"] == 0.5


@pytest.mark.parametrize(
    ("wrong", "said"), [({"min_probability": 0.2}, "preferences.min_probability"), ({"best": 1}, "preferences.best")]
)
def test_a_wrong_setting_is_named(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    done = dprm("run", str(rated(tmp_path, **wrong)), cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr


def test_the_report_shows_the_surest_and_the_most_divided_pairs(tmp_path: Path) -> None:
    assert dprm("run", str(rated(tmp_path)), cwd=tmp_path).returncode == 0
    done = dprm("report", "run", "--output", "report.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.html").read_text()
    section = page[page.index('id="pairs"') : page.index("</section>", page.index('id="pairs"'))]
    assert "2 pairs of responses" in section and "shares of people" in section
    surest, divided = section[section.index("Surest") :].split("Most divided")
    assert surest.index("p0") < surest.index("p1")
    assert divided.index("p1") < divided.index("p0")
    assert "By generator" not in section  # nobody knows who wrote them
