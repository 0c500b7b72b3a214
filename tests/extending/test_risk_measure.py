"""A risk measure that an installed package adds: `--reading` names it with its level."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dprm_data.cli import app
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.reward.risk_measures import RiskMeasure
from dprm_trainers.reward.scorer import Scorer
from tests.extending.package import install
from tests.trainers import tiny

MEASURES = '''
from dprm_trainers.extend import Level, RiskMeasure, risk_measure

@risk_measure("trimmed")
class Trimmed(RiskMeasure):
    """The mean, drawn by a share s towards the worst reward."""

    parameter = Level("s", 0.5, most=1.0)

    def read(self, p, rewards):
        return (1 - self.level) * (p @ rewards) + self.level * rewards.min()

@risk_measure("plain")
class Plain(RiskMeasure):
    """The mean, which a scalar model has too."""

    needs_distribution = False

    def read(self, p, rewards):
        return p @ rewards
'''
ASK = [{"role": "user", "content": "what is red"}]


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("trimming", MEASURES, tmp_path, monkeypatch)


def test_a_scorer_reads_by_it(tmp_path: Path) -> None:
    model = str(tiny.reward_model(tmp_path / "model"))
    mean = Scorer.load(model)([ASK], ["good"]).reward
    worst = tiny.SPACE.rewards.min()
    for spec, level in (("trimmed:0.3", 0.3), ("trimmed", 0.5)):
        found = Scorer.load(model, reading=spec)([ASK], ["good"]).reward
        assert found == pytest.approx((1 - level) * mean + level * worst)


def test_its_range_is_checked() -> None:
    with pytest.raises(TrainingError, match=r"reading 'trimmed:2': 2 is outside 0 < s <= 1") as caught:
        RiskMeasure.of("trimmed:2")
    assert "trimmed:s (0 < s <= 1)" in str(caught.value)
    with pytest.raises(TrainingError, match="no risk measure 'trimed'; did you mean 'trimmed'"):
        RiskMeasure.of("trimed:0.3")


def test_a_scalar_model_has_what_needs_no_distribution(tmp_path: Path) -> None:
    scalar = str(tiny.reward_model(tmp_path / "scalar", scalar=True))
    found = Scorer.load(scalar, reading="plain")([ASK], ["good"])
    assert np.array_equal(found.reward, Scorer.load(scalar)([ASK], ["good"]).reward)
    with pytest.raises(TrainingError, match="no distribution for the reading trimmed"):
        Scorer.load(scalar, reading="trimmed:0.3")


def test_evaluate_reads_by_it(tmp_path: Path) -> None:
    model, data = tiny.reward_model(tmp_path / "model"), tiny.write(tmp_path / "data.parquet", tiny.rows())
    command = ["eval", "reward", "-m", str(model), "--data", str(data), "--json", "--reading"]
    done = CliRunner().invoke(app, [*command, "trimmed:0.3"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["reading"] == "trimmed:0.3"
    help_text = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["eval", "reward", "--help"]).output
    assert "trimmed:s" in help_text


def test_an_unknown_reading_stops_before_a_model_is_loaded(tmp_path: Path) -> None:
    command = ["eval", "reward", "-m", str(tmp_path / "none"), "--data", str(tmp_path / "none"), "--reading", "median"]
    error = CliRunner().invoke(app, command).exception
    assert isinstance(error, TrainingError)
    assert "did you mean 'mean'" in error.message
