"""From a run whose personas have attributes to a reward that is the least satisfied group's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from dprm_data.cli import app
from dprm_data.core.errors import DprmError
from dprm_data.ingest.vote_tables import read_ratings
from dprm_data.preference.groups import by_group
from dprm_data.preference.model_selection import learn_prior
from dprm_data.runs.run import Run
from dprm_trainers.data.rows import load_data
from dprm_trainers.evaluation.evaluate import groups_of, split_of
from dprm_trainers.reward.reward_model import RewardModel
from dprm_trainers.reward.scorer import Scorer
from tests.helpers import answer, dprm, write_recipe, write_rows
from tests.servers.llm import LLMServer
from tests.trainers import tiny

# Two find everything good, two find everything bad; one is in neither group.
MOODS = {"ann": ("glad", "helpful_harmless"), "bob": ("glad", "helpful_harmless"), "cy": ("cross", "unhelpful_harmful"), "di": ("cross", "unhelpful_harmful"), "ed": (None, "neutral_harmless")}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("moods")
    personas = [
        {
            "id": name,
            "name": name,
            "description": f'You are {name}. [[say:{{"label": "{label}"}}]]',
            **({"attributes": {"mood": mood}} if mood else {}),
        }
        for name, (mood, label) in MOODS.items()
    ]
    panel = {"name": "moods", "description": "Two moods.", "source": "Invented.", "personas": personas}
    (folder / "panel.yaml").write_text(yaml.safe_dump(panel))
    write_rows(
        folder / "pairs.jsonl",
        [
            {"prompt": f"what is {word}", "response": f"{other} good"}
            for word in tiny.WORDS[:8]
            for other in ("red", "blue")
        ],
    )
    with LLMServer() as server:
        write_recipe(folder, server.url, panel="panel.yaml")
        done = dprm("run", "recipe.yaml", "--quiet", cwd=folder)
    assert done.returncode == 0, done.stderr
    tiny.base_model(folder / "base")
    return folder / "run"


def test_targets_are_the_groups_own(run: Path) -> None:
    job = Run.open(run)
    ratings = read_ratings(job.folder.needs("annotations"), job.space)
    prior, _ = learn_prior(ratings.votes().counts, job.space, "beta")
    expected = {
        group.name: group
        for group in by_group(ratings, job.space, prior, {name: mood for name, (mood, _) in MOODS.items()})
    }
    texts = {row["item_id"]: row for row in pq.read_table(job.folder.needs("distributions")).to_pylist()}
    place = {(str(texts[item]["prompt"]), str(texts[item]["completion"])): i for i, item in enumerate(ratings.item_ids)}
    everyone = load_data(run)
    for mood in ("glad", "cross"):
        found = load_data(run, group=f"mood={mood}")
        assert "mood=" + mood in found.source
        for name, rows in found.splits.items():
            assert len(rows) == len(everyone.splits[name])  # the same items are held out
            assert rows.prompts == everyone.splits[name].prompts
            for prompt, completion, target, votes in zip(
                rows.prompts, rows.completions, rows.target, rows.evidence, strict=True
            ):
                i = place[str(prompt), str(completion)]
                assert np.allclose(target, expected[mood].distribution[i], atol=1e-6)
                assert votes == 2.0


@pytest.mark.slow
def test_a_model_for_each_group_and_the_reward_of_the_worse_off(run: Path) -> None:
    done = dprm(
        "train", "reward", "--data", run, "--groups", "mood", "--model", run.parent / "base", "--output", run.parent / "models",
        "--epochs", 12, "--learning-rate", 0.02, "--set", "test=0.2", "--json", "--quiet", cwd=run.parent, OMP_NUM_THREADS="1",
    )  # fmt: skip
    models = [answer(done)["models"][f"mood={mood}"]["model"] for mood in ("cross", "glad")]
    cross, glad = (Scorer.load(model) for model in models)
    assert cross.groups == ("mood=cross",)
    assert "mood=cross" in (Path(models[0]) / "README.md").read_text()
    prompts, responses = [[{"role": "user", "content": "what is red"}]] * 2, ["blue good", "red good"]
    both = Scorer.load(models)(prompts, responses)
    assert np.all(
        glad(prompts, responses).reward > cross(prompts, responses).reward + 1.0
    )  # each learned its own group
    assert both.worst is not None
    assert both.worst.tolist() == [0, 0]
    assert np.array_equal(both.reward, cross(prompts, responses).reward)
    # Held-out figures of a group's model are against what the group says.
    held_out = split_of({"cross": RewardModel.load(models[0])}, str(run))
    assert "mood=cross" in held_out.source
    assert "mood=" not in split_of({model: RewardModel.load(model) for model in models}, str(run)).source


def test_groups_that_are_none_are_told(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DprmError, match=r"no persona of .* has the attribute 'age'"):
        load_data(run, group="age=old")
    with pytest.raises(DprmError, match="no persona that voted has mood=sad") as caught:
        load_data(run, group="mood=sad")
    assert str(caught.value.hint) == "Values of mood: cross, glad."
    with pytest.raises(DprmError, match="not a run folder"):
        load_data(tiny.write(tmp_path / "data.parquet", tiny.rows()), labels="hh6", group="mood=glad")
    with pytest.raises(DprmError, match="group"):
        tiny.settings(tmp_path, group="glad")
    done = dprm(
        "train", "reward", "--data", run, "--model", "base", "--groups", "mood", "--group", "mood=glad", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "omit --group and --push-to-hub" in done.stderr


def evaluated(*options: object) -> Result:
    return CliRunner().invoke(app, ["eval", "reward", *map(str, options)])


def test_models_are_scored_by_group_by_the_command(run: Path, tmp_path: Path) -> None:
    model = tiny.reward_model(tmp_path / "<b>model")
    scalar = tiny.reward_model(tmp_path / "scalar", scalar=True)
    asked = ("-m", model, "-m", scalar, "--data", run, "--split", "train")
    done = evaluated(*asked, "--by", "mood", "--output", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    [by] = found["by_group"]
    assert by["attribute"] == "mood"
    assert set(by["groups"]) == {"glad", "cross"}
    assert by["groups"]["glad"]["votes"] == 2 * found["rows"]
    for group, other in (("glad", "cross"), ("cross", "glad")):
        mine, theirs = (by["figures"][str(model)][name]["rps"]["value"] for name in (group, other))
        assert (by["worst"][str(model)]["rps"]["group"] == group) == (mine > theirs)
    assert "rps" not in by["figures"][str(scalar)]["glad"]
    assert found == json.loads((tmp_path / "out" / "evaluation.json").read_text())
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "Worst group by mood" in page
    assert "These labels are simulated." in page
    assert "<b>model" not in page
    assert "&lt;b&gt;model" in page
    without = json.loads(evaluated(*asked, "--json").stdout)
    assert without["by_group"] == []
    assert without["no_groups"] == "Not scored by group. The annotators' attributes: mood. Score by one: --by mood."
    with pytest.raises(DprmError, match=r"no persona of .* has the attribute 'age'") as caught:
        groups_of(str(run), ["age"])
    assert caught.value.hint == "Attributes: mood."


def test_where_nobody_is_known_to_have_voted_there_are_no_groups(tmp_path: Path) -> None:
    data = tiny.write(tmp_path / "data.parquet", tiny.rows())
    with pytest.raises(DprmError, match="is not a run folder") as caught:
        groups_of(str(data), ["mood"])
    assert "annotators: people" in str(caught.value.hint)
    (tmp_path / "pairs.jsonl").write_text("{}")
    done = evaluated("-m", "model", "--pairs", tmp_path / "pairs.jsonl", "--by", "mood")
    assert "--by needs --data" in str(done.exception)
