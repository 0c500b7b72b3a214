"""The policies along a training: its base, those that `policy_every` kept, and the last."""

from __future__ import annotations

from pathlib import Path

from dprm_trainers.core.errors import TrainingError
from dprm_trainers.reward.holdout import CHECKPOINTS, alignment_of

BASE = "base"


def along(folder: Path, *, base: bool = True) -> dict[str, str]:
    """The policies in the output folder of `dprm train ppo` (or in its folder `checkpoints`) by name, in the order of the
    steps: with `base` its base model, then `step-50`, `step-100`, ...

    Raises `TrainingError` if none was kept, or if the base is asked for and not recorded.
    """
    training = folder.absolute().parent if folder.absolute().name == CHECKPOINTS else folder
    kept = {
        int(place.name.removeprefix("policy-")): place
        for place in (training / CHECKPOINTS).glob("policy-*")
        if place.name.removeprefix("policy-").isdigit() and (place / "config.json").is_file()
    }
    if not kept:
        raise TrainingError(
            f"{folder} holds no policies that were kept along a training (checkpoints/policy-STEP)",
            hint="Train with --policy-every 50, and give the training's output folder.",
        )
    record = alignment_of(str(training))
    if base and not record:
        raise TrainingError(
            f"{folder} has no record of its training (dprm_ppo.json): the training has not ended",
            hint="Name its base model before: --policy base=MODEL --checkpoints ...",
        )
    if record and (training / "config.json").is_file():
        kept.setdefault(int(record["figures"]["steps"]), training)
    found = {BASE: str(record["settings"]["policy"])} if base else {}
    return found | {f"step-{step}": str(kept[step]) for step in sorted(kept)}
