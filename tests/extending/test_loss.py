"""A loss that an installed package adds: an objective names it, alone, by its alias, and in a sum."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from dprm_data.cli import app
from dprm_trainers.core.errors import LossError
from dprm_trainers.reward.objective import Objective, is_scalar, parse
from dprm_trainers.reward.reward_model import RewardModel
from tests.extending.package import install, write_package
from tests.helpers import environ
from tests.trainers import tiny

LOSSES = '''
from dprm_trainers.extend import Loss, loss

@loss("brier")
class Brier(Loss):
    """Squared distance of the probabilities."""

    aliases = ("squares",)

    def __call__(self, prediction, target):
        return (prediction.softmax(dim=-1) - target).square().sum(dim=-1)

@loss("hinge")
class Hinge(Loss):
    """A margin of 1 between the two responses of a pair."""

    scalar = True

    def __call__(self, prediction, target):
        return (1 - (prediction - target)).clamp(min=0)
'''


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("margins", LOSSES, tmp_path, monkeypatch)


@pytest.mark.usefixtures("installed")
def test_an_objective_weighs_it_with_ours() -> None:
    logits, target = torch.randn(5, 6), torch.rand(5, 6).softmax(-1)
    both = Objective("2*squares+0.5*ce", tiny.SPACE)(logits, target)
    brier = (logits.softmax(-1) - target).square().sum(-1)
    assert torch.allclose(both, 2 * brier + 0.5 * Objective("ce", tiny.SPACE)(logits, target))
    assert parse("squares") == {"brier": 1.0}


@pytest.mark.usefixtures("installed")
def test_its_facts_are_asked_for() -> None:
    assert is_scalar("hinge")
    assert not is_scalar("brier")
    scores = torch.tensor([[2.0], [0.0], [0.5], [0.0]])  # the chosen two, then the rejected two
    assert Objective("hinge", tiny.SPACE)(scores, torch.zeros(2, 6)).tolist() == [0.0, 1.0]
    with pytest.raises(LossError, match="hinge trains one scalar on pairs and cannot be added to brier"):
        parse("brier+hinge")
    with pytest.raises(
        LossError, match=r"no loss 'brie'; did you mean 'brier'\? \(installed: ot, .*, bt, brier, hinge\)"
    ):
        parse("brie")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("objective", "scalar"), [("brier+0.1*ce", False), ("hinge", True)])
def test_a_training_uses_it(tmp_path: Path, objective: str, scalar: bool) -> None:
    settings = tiny.settings(tmp_path)  # makes model and data
    flags = ("--data", settings.data, "--model", settings.model, "--labels", "hh6", "--output", tmp_path / "trained")
    more = ("--objective", objective, "--epochs", 2, "--batch-size", 8, "--learning-rate", 0.01, "--json", "-q")
    done = CliRunner().invoke(app, ["train", "reward", *map(str, flags + more)])
    assert done.exit_code == 0, done.output
    model = RewardModel.load(str(tmp_path / "trained"))
    assert (model.info["objective"], model.scalar) == (objective, scalar)
    assert json.loads((tmp_path / "trained" / "dprm_training.json").read_text())["settings"]["objective"] == objective


def test_help_lists_it_without_torch(tmp_path: Path) -> None:
    write_package("margins", LOSSES, tmp_path)
    program = "import sys\nfrom dprm_data.cli import app\ntry:\n    app(sys.argv[1:])\nexcept SystemExit:\n    pass\nprint('torch' in sys.modules)"
    environment = environ()
    environment["PYTHONPATH"] += f":{tmp_path}"
    command = [sys.executable, "-c", program, "train", "reward", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert "brier" in done.stdout
    assert "hinge (a scalar, on pairs)" in " ".join(done.stdout.replace("│", " ").split())
    assert done.stdout.strip().endswith("False"), done.stderr
