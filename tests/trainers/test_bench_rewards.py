"""`dprm bench` with a trained reward model: its rewards go through the same rules as a panel's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dprm_data.cli import app
from dprm_data.core.errors import DprmError
from dprm_data.ingest.judge_sets.judge_collection import load_cases
from dprm_trainers.reward.reward_model import RewardModel
from tests.ingest import judge_samples
from tests.trainers import tiny


def test_a_reward_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    judge_samples.judgebench(tmp_path / "files")
    tiny.reward_model(tmp_path / "model")
    done = CliRunner().invoke(
        app, ["bench", "judgebench", "model", "--data", "files", "--json"], catch_exceptions=False
    )
    found = json.loads(done.stdout)
    model, right = RewardModel.load("model"), {}
    for case in load_cases("judgebench", Path("files")).cases:
        prompts = [[dict(turn) for turn in case.prompt]] * 2
        rewards = model.judge(prompts, [[{"role": "assistant", "content": text}] for text in case.responses]).reward
        right[case.section] = right.get(case.section, 0) + (rewards[case.right.index(True)] > rewards.min())
    for section, number in right.items():
        assert found["scores"][section] == pytest.approx(number / found["cases_by_section"][section])
    assert found["model_type"] == "reward model" and found["cost"] == 0 and found["unanswered"] == 0
    assert (tmp_path / "bench/judgebench-model/bench.json").is_file()
    with pytest.raises(DprmError, match="no such folder"):
        CliRunner().invoke(app, ["bench", "judgebench", "./nowhere", "--data", "files"], catch_exceptions=False)
