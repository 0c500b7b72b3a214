"""The plain model of one group: the population's head with the group's offset in it, exactly."""

from __future__ import annotations

from pathlib import Path

from dprm_trainers.core.outputs import output_folder, whole_model
from dprm_trainers.reward.group_heads import named_head
from dprm_trainers.reward.pooling import save_classifier
from dprm_trainers.reward.reward_model import RewardModel


def export_group(reference: str, group: str, output: str, *, overwrite: bool = False) -> str:
    """Write a reward model of one group, with an output for each label; returns what its outputs are.

    Raises `TrainingError` for a group that has no head.
    """
    folder = output_folder(output, resume=False, overwrite=overwrite)
    found = RewardModel.load(reference, device="cpu")
    found.place(group)
    heads = found.heads
    assert heads is not None
    g = heads.place(group, reference)
    heads.fold(g, named_head(found.model)[1])
    own = {"group": {"attribute": heads.attribute, "value": heads.values[g]}}
    found.model.config.dprm = {name: value for name, value in found.info.items() if name != "group_heads"} | own
    with whole_model(Path(folder)) as staged:
        save_classifier(found.model, staged)
        found.tokenizer.save_pretrained(str(staged))
    return f"the distribution over {', '.join(found.space.names)} of {group}"
