"""From a table of people's ratings to a trained reward model and its evaluation: the README's recipe and its three commands, as they are written."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from dprm_data.cli import app
from tests.helpers import ROOT
from tests.pipeline.test_people_run import ratings, write_csv, write_people
from tests.trainers import tiny

CONVABUSE = ROOT.parent / "shared" / "data" / "convabuse.parquet"


def do(command: list[str]) -> str:
    """What the command prints. In this process, which has torch already."""
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    return done.stdout


def readme() -> tuple[dict[str, Any], list[list[str]]]:
    """The recipe and the three commands of the README's section on ratings."""
    [section] = re.findall(
        r"\*\*People's ratings, no LLM\.\*\*.*?\n\n(?=\S)", (ROOT / "README.md").read_text(), re.DOTALL
    )
    recipe = "\n".join(re.findall(r"`((?:name|annotators|labels|ratings): [^`]+)`", section))
    commands = [shlex.split(line)[1:] for line in re.findall(r"^    (dprm .*)$", section, re.MULTILINE)]
    assert [command[0] for command in commands][:2] == ["run", "train"]
    return yaml.safe_load(recipe), commands


def three_commands(folder: Path, **changes: Any) -> str:
    """Write the README's recipe (`changes` replace its keys) and type its commands, with a tiny model for MODEL. Returns what the last one says."""
    recipe, commands = readme()
    assert len(commands) == 3
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe | changes))
    model = str(tiny.base_model(folder / "base", context=512))
    said = [do([model if word == "MODEL" else word for word in command]) for command in commands]
    card = (folder / "models/people/README.md").read_text()
    assert "given by people" in card
    assert "simulated" not in card + "".join(said)
    assert "models/people" in said[-1]
    for rival in ("constant", "TF-IDF + ridge", "the longer one", "half of the people", "the whole crowd"):
        assert f"| {rival} |" in said[-1], rival
    return said[-1]


def test_the_commands_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"question": "prompt", "answer": "response", "rater": "rater", "label": "label"}
    rows = [{new: row[old] for old, new in names.items()} for row in ratings(40)]
    write_csv(tmp_path / "ratings.csv", rows)
    said = three_commands(tmp_path, ratings={"path": "ratings.csv", "base": 1})  # nobody gave a 5
    [responses, prompts] = re.findall(r"^(\d+) responses, (\d+) prompts", said, re.MULTILINE)[0]
    assert 0 < int(prompts) < 40 and int(responses) == 2 * int(prompts)


@pytest.mark.skipif(not CONVABUSE.is_file(), reason="the real ratings are not beside this checkout")
def test_real_ratings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = pq.read_table(CONVABUSE)
    # The file is sorted by rater: all ratings of the first items, not the first rater's.
    table = table.filter(pc.is_in(table["item_id"], pc.unique(table["item_id"])[:130]))
    pq.write_table(table, tmp_path / "convabuse.parquet")
    three_commands(tmp_path, ratings={"path": "convabuse.parquet", "columns": {"prompt": "context"}, "keep": ["bot"]})
    items = pq.read_table(tmp_path / "runs/people/tables/items.parquet").to_pylist()
    kept = [json.loads(item["metadata"]) for item in items]
    assert {row["item_id"] for row in kept} == set(table["item_id"].to_pylist())
    annotations = pq.read_table(tmp_path / "runs/people/tables/annotations.parquet")
    assert annotations.num_rows == table.num_rows


def test_a_model_for_each_group_of_raters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_people(tmp_path, ratings(20), publish={"test": 0.25})
    tiny.base_model(tmp_path / "base")
    do(["run", "recipe.yaml", "--quiet"])
    do(
        [
            "train",
            "reward",
            "--data",
            "run",
            "--model",
            "base",
            "--groups",
            "age",
            "-o",
            "groups",
            "--epochs",
            "1",
            "-q",
        ]
    )
    assert {folder.name for folder in (tmp_path / "groups").iterdir()} == {"age=old", "age=young"}
