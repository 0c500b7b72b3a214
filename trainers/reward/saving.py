"""What a training leaves: a plain classifier that stock software loads, its record and its card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dprm_data.core.arrays import Floats
from dprm_data.labels.space import LabelSpace
from dprm_trainers.data.rows import Rows, TrainingData
from dprm_trainers.reward.features import linear_head
from dprm_trainers.reward.group_heads import GroupHeads, split_heads
from dprm_trainers.reward.hidden_layer import through_hidden
from dprm_trainers.reward.pooling import save_classifier
from dprm_trainers.reward.quantised import merged
from dprm_trainers.reward.reward_config import RewardConfig
from dprm_trainers.reward.reward_model import Judgement, RewardModel, softmax
from dprm_trainers.reward.temperature import into_head, temperature
from dprm_trainers.reward.training_parts import Part

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def finish(
    config: RewardConfig,
    model: Any,
    module: Any,
    inputs: dict[str, Any],
    logits: Floats | None,
    validation: Rows,
    figures: dict[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
) -> Judgement | None:
    """Save a plain classifier: adapters merged, the trained head folded in, the temperature in its weights. Heads of
    groups are saved beside it.

    model: the classifier; module: what was trained, whole. logits: of the validation split, where known. Returns the
    predictions on every text of the validation split; None if that is empty.
    """
    if config.frozen:
        module.to("cpu").fold(model if config.hidden else linear_head(model))
    else:
        # Merged in float32: in bf16, adapters would be rounded away.
        model = merged(module) if config.lora else module
    heads, of_groups = None, None
    if named := model.config.dprm.get("group_heads"):
        heads = split_heads(model, named["attribute"], tuple(named["values"]))
    if logits is None and len(inputs["validation"]):
        logits, of_groups = _logits(config, model, heads, tokenizer, inputs["validation"])
    if config.calibrate and logits is not None:
        figures["temperature"] = temperature(logits[: len(validation)], validation.target)
        into_head(linear_head(model), figures["temperature"])
        model.config.dprm["temperature"] = figures["temperature"]
        logits = logits / figures["temperature"]
        heads = heads and heads.divided(figures["temperature"])
        of_groups = None if of_groups is None else of_groups / figures["temperature"]
    save_classifier(model, folder)
    if heads is not None:
        heads.save(folder)
    tokenizer.save_pretrained(str(folder))
    if logits is None:
        return None
    judged = RewardModel(model, tokenizer, heads=heads).read(logits)
    return judged if of_groups is None else replace(judged, groups=softmax(of_groups))


def _logits(
    config: RewardConfig, model: Any, heads: GroupHeads | None, tokenizer: PreTrainedTokenizerBase, inputs: Any
) -> tuple[Floats, Floats | None]:
    """The population's logits (N, d) and, where there are heads of groups, those of all heads (N, 1 + G, K)."""
    found = RewardModel(model, tokenizer, heads=heads)
    if heads and not config.frozen:
        every = found.all_logits(inputs, config.batch_size)
        return every[:, 0], every
    if not config.frozen:
        return found.logits(inputs, config.batch_size), None
    head = linear_head(model)
    with torch.inference_mode():
        plain = np.asarray(head(through_hidden(model, torch.from_numpy(inputs))).double().numpy())
    return plain, heads.logits(inputs, head) if heads else None


def write_record(
    config: RewardConfig,
    data: TrainingData,
    figures: dict[str, Any],
    notes: list[str],
    folder: Path,
    space: LabelSpace,
    parts: dict[str, Part],
) -> None:
    """Write the settings, figures and notes of a training beside its model, and the model's card."""
    from dprm_trainers.reward.reward_card import write_model_card

    rows = {name: len(split) for name, split in data.splits.items()}
    content = {"settings": config.model_dump(mode="json"), "rows": rows, "split": data.how, "figures": figures}
    content["notes"] = notes
    if parts["train"].share is not None:
        content["pairs"] = {name: len(part.share) for name, part in parts.items() if part.share is not None}
    (folder / "dprm_training.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    write_model_card(folder, content, space, name=config.push_to_hub or Path(config.output).name)
