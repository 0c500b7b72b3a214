"""A model of one output: exact for two labels, refused for more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForSequenceClassification

from dprm_data.labels.space import LabelSpace
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.reward.scalar_export import export_scalar
from dprm_trainers.reward.scorer import Scorer
from tests.helpers import dprm
from tests.trainers import tiny

PROMPTS = [[{"role": "user", "content": "what is red"}]] * 6
RESPONSES = ["good", "bad and awful", "", "kind", "one two three", "rude"]


def test_two_labels_are_exact_in_one_output(tmp_path: Path) -> None:
    space = LabelSpace.model_validate(
        {"name": "two", "labels": [{"name": "good", "reward": 3}, {"name": "bad", "reward": -1}]}
    )
    model = str(tiny.reward_model(tmp_path / "model", space=space))
    done = dprm("export-reward", model, "-o", tmp_path / "scalar", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "log odds z of good" in done.stdout and "-1 + 4 * sigmoid(z)" in done.stdout.replace("\n", " ")
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "scalar").config.num_labels == 1
    z = Scorer.load(str(tmp_path / "scalar"))(PROMPTS, RESPONSES).reward
    assert np.allclose(-1 + 4 / (1 + np.exp(-z)), Scorer.load(model)(PROMPTS, RESPONSES).reward, atol=1e-6)


def test_more_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no model of one output"):
        export_scalar(str(tiny.reward_model(tmp_path / "model")), str(tmp_path / "scalar"))
    assert not (tmp_path / "scalar").exists()


def test_a_scalar_model_stays_what_it_is(tmp_path: Path) -> None:
    model, output = str(tiny.reward_model(tmp_path / "model", scalar=True)), str(tmp_path / "scalar")
    assert export_scalar(model, output) == "the model's own scalar"
    assert np.allclose(
        Scorer.load(output)(PROMPTS, RESPONSES).reward, Scorer.load(model)(PROMPTS, RESPONSES).reward, atol=1e-6
    )
    with pytest.raises(TrainingError, match="holds a model already"):
        export_scalar(model, output)
