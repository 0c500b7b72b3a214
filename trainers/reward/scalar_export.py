"""A reward model with one output, for tools that take no other, where that is exact.

With two labels, softmax gives the better one the probability sigmoid(z) with z = z_better - z_worse, and the expected
reward is r_worse + (r_better - r_worse) sigmoid(z). z is linear in what the output layer reads, so a layer whose weights
are the difference of the two rows computes it: the order of any two responses is that of the distribution's mean, and
the sigmoid gives the mean itself back.

With three labels or more, the expected reward is a ratio of sums of exponentials of several logits, and the sets of
logits with one expected reward are curved. Those of a linear output, through whatever increasing function, are flat. So
no model of one linear output has the order of the mean, and none is written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dprm_trainers.core.errors import TrainingError
from dprm_trainers.core.outputs import output_folder, whole_model
from dprm_trainers.reward.pooling import save_classifier
from dprm_trainers.reward.reward_model import RewardModel


def export_scalar(reference: str, output: str, *, overwrite: bool = False) -> str:
    """Write a reward model with one output; returns what its output is. Raises `TrainingError` where none is exact."""
    import torch
    from torch import nn

    folder = output_folder(output, resume=False, overwrite=overwrite)
    found = RewardModel.load(reference, device="cpu")
    model: Any = found.model
    what = "the model's own scalar"
    if not found.scalar:
        rewards = found.space.rewards
        if found.space.K != 2:
            raise TrainingError(
                f"{reference} predicts {found.space.K} labels: no model of one output has the order of their expected reward",
                hint="Serve the distribution (dprm serve, or vLLM with reward_function(url=...)), or train a scalar: --objective bt.",
            )
        better, worse = int(rewards.argmax()), int(rewards.argmin())
        if better == worse:
            raise TrainingError(
                f"{reference}: both labels have the reward {rewards[0]:g}, so there is no order to export"
            )
        name, layer = _output_layer(model)
        one = nn.Linear(layer.in_features, 1, bias=layer.bias is not None)
        with torch.no_grad():
            one.weight.copy_(layer.weight[better] - layer.weight[worse])
            if layer.bias is not None:
                one.bias.copy_(layer.bias[better] - layer.bias[worse])
        model.set_submodule(name, one)
        model.num_labels = model.config.num_labels = 1
        model.config.id2label, model.config.label2id = {0: "reward"}, {"reward": 0}
        model.config.problem_type = "regression"
        model.config.dprm = found.info | {"scalar": True}
        low, high = rewards[worse], rewards[better]
        what = (
            f"the log odds z of {found.space.names[better]}; "
            f"the expected reward is {low:g} + {high - low:g} * sigmoid(z)"
        )
    with whole_model(Path(folder)) as staged:
        save_classifier(model, staged)
        found.tokenizer.save_pretrained(str(staged))
    return what


def _output_layer(model: Any) -> tuple[str, Any]:
    """Name and module of the linear layer that computes the logits."""
    from torch import nn

    inside = {id(module) for module in model.base_model.modules()}
    layers = [
        (name, part)
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear) and id(part) not in inside and part.out_features == model.config.num_labels
    ]
    if not layers:
        raise TrainingError(f"{type(model).__name__} has no linear output layer")
    return layers[-1]
