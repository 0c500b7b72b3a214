"""Load pretrained models for training: tokenizers, classifiers with the label space in their config, LoRA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from dprm_data.labels.space import LabelSpace
from dprm_trainers.core.cache import model_path
from dprm_trainers.core.errors import TrainingDataError, TrainingError
from dprm_trainers.core.loading import CONFIG, loading
from dprm_trainers.data.group_rows import named
from dprm_trainers.data.tokens import context_length, prepare_tokenizer
from dprm_trainers.reward.pooling import MEAN, load_classifier
from dprm_trainers.reward.precision import float32_output
from dprm_trainers.reward.quantised import NF4, loading_options
from dprm_trainers.reward.reward_config import RewardConfig
from dprm_trainers.reward.reward_record import checked_record

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, NF4: torch.bfloat16}


def open_tokenizer(reference: str, role: str) -> tuple[Any, PreTrainedTokenizerBase]:
    """Configuration and tokenizer of a model (a folder or a name on the Hub), without its weights.

    role: `model` or `policy`, for messages. Raises `TrainingError`.
    """
    from transformers import AutoConfig, AutoTokenizer

    path = model_path(reference)
    with loading(
        f"the {role} {reference}", "Give a folder that transformers can load, or the name of a model on the Hub."
    ):
        return AutoConfig.from_pretrained(path, **CONFIG), AutoTokenizer.from_pretrained(path, **CONFIG)


def load_policy_tokenizer(
    reference: str,
    *,
    max_new_tokens: int,
    max_prompt_length: int | None,
    chat_template: str | None,
    pad_token: str | None,
) -> tuple[PreTrainedTokenizerBase, int]:
    """A policy's tokenizer, and the tokens left for a prompt besides `max_new_tokens`. Raises `TrainingError`."""
    model_config, tokenizer = open_tokenizer(reference, "policy")
    prepare_tokenizer(tokenizer, chat_template=chat_template, pad_token=pad_token)
    wanted = max_prompt_length + max_new_tokens if max_prompt_length else None
    room = context_length(model_config, wanted) - max_new_tokens
    if room < 1:
        raise TrainingError(
            f"max_new_tokens: {max_new_tokens} leave no room for a prompt in {room + max_new_tokens} tokens of context",
            hint="Lower max_new_tokens, or set a max_prompt_length that fits the model's context with it.",
        )
    return tokenizer, room


def load_tokenizer(config: RewardConfig, space: LabelSpace) -> tuple[PreTrainedTokenizerBase, Any, int]:
    """Tokenizer, model configuration and tokens per row, checked before the weights are read.

    Raises `TrainingError` for a model that cannot be loaded or used, `TrainingDataError` if its label space is not the
    data's.
    """
    model_config, tokenizer = open_tokenizer(config.model, "model")
    _check_labels(model_config, config, space)
    prepare_tokenizer(tokenizer, chat_template=config.chat_template, pad_token=config.pad_token)
    return tokenizer, model_config, context_length(model_config, config.max_length)


def _check_labels(model_config: Any, config: RewardConfig, space: LabelSpace) -> None:
    record = getattr(model_config, "dprm", None)
    if record:
        theirs = checked_record(record, config.model).label_space
        if theirs.names != space.names:
            raise TrainingDataError(
                f"{config.model} is on the label space {theirs.name} ({', '.join(theirs.names)}), "
                f"the data on {space.name} ({', '.join(space.names)})",
                hint="Train from the base model, or give data on the model's label space.",
            )
        return
    names = list((model_config.id2label or {}).values())
    if any(architecture.endswith("ForSequenceClassification") for architecture in model_config.architectures or []):
        outputs = 1 if config.scalar else space.K
        if len(names) != outputs:
            raise TrainingDataError(
                f"{config.model} is a classifier of {len(names)} labels; the training needs {outputs} outputs",
                hint="Give its base model.",
            )


def load_model(
    config: RewardConfig, model_config: Any, tokenizer: PreTrainedTokenizerBase, space: LabelSpace, max_length: int
) -> PreTrainedModel:
    """The model in the settings' `weights` with one output per label, or one for a scalar, and the label space in its config."""
    names = ["reward"] if config.scalar else space.names
    model_config.num_labels = len(names)
    model_config.id2label = dict(enumerate(names))
    model_config.label2id = {name: i for i, name in enumerate(names)}
    model_config.problem_type = "regression" if config.scalar else "single_label_classification"
    model_config.pad_token_id = tokenizer.pad_token_id
    model_config.use_cache = False
    units = (getattr(model_config, "dprm", None) or {}).get("hidden")  # of a reward model that is trained further
    model_config.dprm = {
        "version": 1,
        "label_space": space.model_dump(mode="json"),
        "rewards": space.rewards.tolist(),
        "ground_cost": space.ground_cost.tolist(),
        "scalar": config.scalar,
        "objective": config.objective,
        "max_length": max_length,
        "temperature": 1.0,
        "pooling": config.pooling,
        "hidden": units,
        "trained_on": config.data,
        "group": dict(zip(("attribute", "value"), named(config.group), strict=True)) if config.group else None,
        "split": {"test": config.test, "validation": config.validation, "seed": config.split_seed},
    }
    if config.pooling == MEAN and hasattr(model_config, "classifier_pooling"):
        model_config.classifier_pooling = "mean"
    more = loading_options(config, model_config) if config.weights == NF4 else {}
    if config.attention:
        more["attn_implementation"] = config.attention
    with loading(f"{config.model} as a sequence classifier", "Give a model whose weights are in safetensors files."):
        model, _ = load_classifier(
            model_path(config.model), model_config=model_config, dtype=_DTYPES[config.weights], **more
        )
    float32_output(model)
    return model


def with_lora(
    model: PreTrainedModel, *, rank: int, alpha: float | None, targets: str | list[str], task: str = "SEQ_CLS"
) -> Any:
    """The model with low-rank adapters; the head of a classifier is trained in full.

    alpha: twice the rank if None. task: SEQ_CLS or CAUSAL_LM. Raises `TrainingError` if no layer matches the targets.
    """
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        task_type=task,
        r=rank,
        lora_alpha=alpha or 2 * rank,  # type: ignore[arg-type]
        target_modules=targets,
        lora_dropout=0.0,
    )
    try:
        return get_peft_model(model, settings)
    except ValueError as error:
        raise TrainingError(
            f"lora_targets: {error}", hint="Leave it at all-linear, or name layers of this model."
        ) from error
