"""The example of the paper's way, run from the outside at a size that tests can afford: every stage really runs, and none runs twice."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.helpers import ROOT, environ, write_rows
from tests.servers.llm import LLMServer
from tests.trainers import tiny

EXAMPLE = ROOT / "examples" / "paper"
POLICIES = ["SFT", "PPO DPRM_OT", "PPO DPRM_C", "PPO BT-RM"]


@pytest.fixture(scope="module")
def server() -> Iterator[LLMServer]:
    with LLMServer() as running:
        yield running


def start(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The example as a process of its own."""
    command = [sys.executable, str(EXAMPLE / "run.py"), *map(str, arguments)]
    settings = environ(OMP_NUM_THREADS="1", DPRM_CACHE=str(cwd / "cache"), TEST_KEY="key")
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=280, env=settings)


def smallest(folder: Path, url: str) -> Path:
    """A size of a few prompts, on a random model of some thousand weights."""
    folder.mkdir()
    policy = tiny.base_model(folder / "base")
    asked = [{"prompt": f"what is {word}", "response": "good and kind"} for word in tiny.WORDS[:8]]
    write_rows(folder / "asked.jsonl", asked)
    write_rows(folder / "held.jsonl", [{"prompt": f"what is {word} or {word}"} for word in tiny.WORDS[8:12]])
    recipe = {
        "name": "smallest",
        "labels": "hh6",
        "panel": "small",
        "elicitation": "choice",
        "provider": {"name": "openai", "model": "double", "base_url": f"{url}/v1", "api_key_env": "TEST_KEY"},
        "budget": {"allow_unknown_price": True},
    }
    files = {
        "size": {
            "policy": str(policy),
            "prompts": {"data": "asked.jsonl", "split": "all"},
            "heldout": {"data": "held.jsonl", "split": "all"},
            "responses": 1,
            "temperatures": [0.7, 1.3],
            "sampling": {"max-new-tokens": 6},
            "heldout_responses": 1,
        },
        "annotate": recipe,
        "judge": recipe | {"name": "smallest-judge", "panel": "neutral"},
        "reward": {"model": str(policy), "epochs": 1, "max_length": 48, "test": 0.2, "validation": 0.2},
        "ppo": {"steps": 2, "batch_size": 4, "minibatches": 2, "update_epochs": 1, "learning_rate": 1e-3},
    }
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, server: LLMServer) -> tuple[Path, str]:
    """The folder in which the example ran, and what it said."""
    folder = tmp_path_factory.mktemp("paper")
    done = start("--size", smallest(folder / "size", server.url), "--output", "out", cwd=folder)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return folder, done.stdout


def test_the_way_from_prompts_to_the_table(finished: tuple[Path, str]) -> None:
    folder, said = finished
    out = folder / "out"
    found = json.loads((out / "table.json").read_text())
    panel, *models = found["policies"]["judged"]
    assert panel["kind"] == "run"
    assert len(models) == 3
    assert list(panel["reward"]) == POLICIES
    assert all(abs(sum(share["value"] for share in shares.values()) - 1) < 1e-4 for shares in panel["shares"].values())
    assert len(panel["duels"]) == 6
    assert found["policies"]["responses"] == 4
    assert all(figures["steps"] == 2 for figures in found["ppo"].values())
    # Written and sampled responses were annotated, and held-out prompts were not among them.
    items = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
    assert {row["origin"] for row in items} == {"written", "temperature-0.7", "temperature-1.3"}
    held = [json.loads(line)["prompt"] for line in (out / "evaluation" / "responses.jsonl").read_text().splitlines()]
    assert not [row for row in items if row["prompt"] in held]
    table = (out / "table.md").read_text()
    assert str(folder) not in table
    assert all(policy in table for policy in POLICIES)
    assert table in said
    for name in ("DPRM_OT-curves", "DPRM_OT-distribution", "BT-RM-curves", "policies"):
        assert (out / "pictures" / f"{name}.svg").read_text().startswith("<svg")


@pytest.mark.slow
def test_a_stage_that_was_broken_off_is_done_again_and_no_other(finished: tuple[Path, str], server: LLMServer) -> None:
    folder, _ = finished
    out = folder / "out"
    asked, weights = server.tally.requests, out / "policies" / "DPRM_OT" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    stages = json.loads((out / "stages.json").read_text())
    del stages["stages"]["PPO on BT-RM"]
    (out / "stages.json").write_text(json.dumps(stages))
    broken = out / "policies" / "BT-RM" / "model.safetensors"
    broken.unlink()
    again = start("--size", "size", "--output", "out", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert broken.is_file()
    assert weights.stat().st_mtime_ns == before
    assert server.tally.requests == asked


def test_another_size_does_not_take_these_stages_for_its_own(finished: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = finished
    size = tmp_path / "size"
    shutil.copytree(folder / "size", size)
    settings = yaml.safe_load((size / "ppo.yaml").read_text())
    (size / "ppo.yaml").write_text(yaml.safe_dump(settings | {"steps": 3}))
    other = start("--size", size, "--output", "out", cwd=folder)
    assert other.returncode != 0
    assert "other settings or prompts" in other.stderr
    assert "Traceback" not in other.stderr


@pytest.mark.parametrize("size", ["tiny", "full"])
def test_the_bundled_sizes_are_settings_that_the_commands_accept(size: str, tmp_path: Path) -> None:
    from dprm_data.recipe.recipe import Recipe
    from dprm_trainers.ppo.ppo_config import PPOConfig
    from dprm_trainers.reward.reward_config import RewardConfig

    for name in ("annotate", "judge"):
        Recipe.of(EXAMPLE / size / f"{name}.yaml")
    RewardConfig.of(EXAMPLE / size / "reward.yaml", data="data")
    PPOConfig.of(EXAMPLE / size / "ppo.yaml", prompts="prompts", policy="policy", reward_model="reward")
    shown = start("--size", size, "--print", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    commands = [line.split()[1:3] for line in shown.stdout.splitlines() if line.startswith("dprm ")]
    assert commands.count(["train", "ppo"]) == 3
    assert not list(tmp_path.iterdir())


def test_training_and_judging_panels_share_nobody_and_prompts_are_held_out() -> None:
    from dprm_data.panel.panel_sources import load_panel

    people = [
        {persona.id for persona in load_panel(str(EXAMPLE / name)).personas} for name in ("panel.yaml", "judges.yaml")
    ]
    assert not people[0] & people[1]
    prompts = [
        {json.loads(line)["prompt"] for line in (EXAMPLE / name).read_text().splitlines()}
        for name in ("prompts.jsonl", "heldout.jsonl")
    ]
    assert not prompts[0] & prompts[1]
