"""Train a reward model: a `transformers.Trainer` whose loss is an objective of `dprm_trainers.reward.objective`.

Mistakes in data, model and settings are reported before training begins.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import rotate_checkpoints

from dprm_data.publish.hub import connect
from dprm_trainers.core.checkpoints import flush, last_whole
from dprm_trainers.core.errors import TrainingDataError, TrainingError
from dprm_trainers.core.outputs import in_bf16, output_folder, push_folder, whole_model
from dprm_trainers.data.rows import OWN_SPLITS, TrainingData
from dprm_trainers.data.tokens import encode_shared, pad_apart_from_the_end
from dprm_trainers.reward.base_rate import start_at_base_rate
from dprm_trainers.reward.batches import Collator, Examples
from dprm_trainers.reward.defaults import AUTO, Basis, check_resumed, keep, objective_of, reasons, settled, told
from dprm_trainers.reward.features import features_of_texts
from dprm_trainers.reward.group_loss import GroupLoss, widen
from dprm_trainers.reward.group_training import check_groups, figures_by_group
from dprm_trainers.reward.loss_report import LossReporter, constant_loss
from dprm_trainers.reward.memory_estimate import estimate, room
from dprm_trainers.reward.objective import Objective, on_pairs
from dprm_trainers.reward.precision import float32_trained
from dprm_trainers.reward.pretrained import load_model, load_tokenizer, with_lora
from dprm_trainers.reward.reward_config import RewardConfig
from dprm_trainers.reward.reward_model import Judgement
from dprm_trainers.reward.rivals import on_validation
from dprm_trainers.reward.saving import finish, write_record
from dprm_trainers.reward.sharding import (
    first_process,
    is_sharded,
    load_unsharded,
    load_whole,
    shard_on_cpus,
    shared_logits,
    whole_weights,
)
from dprm_trainers.reward.throughput import figures_of, flops_per_token, in_words
from dprm_trainers.reward.trainable_head import trainable_head
from dprm_trainers.reward.training_parts import Part, training_data, training_parts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Say = Callable[[str], None]
_TARGETS = ("labels", "share", "group_votes")  # what of a batch the model does not read

# transformers 5.24 renamed the setting and deprecated the old name.
_CHECKPOINTING = next(
    n for n in ("activation_checkpointing", "gradient_checkpointing") if hasattr(TrainingArguments, n)
)


class RewardTrainer(Trainer):
    """A Trainer whose loss is `objective(logits, labels, share)`, the mean over the batch's rows and pairs; with heads of
    groups, and their loss.

    With a `save_total_limit` of at least 2, one whole checkpoint is on the disk at any time, and never more than the
    limit.
    """

    # The loss is a mean over one batch: the Trainer divides it by the steps of accumulation.
    loss_is_scaled_for_ga = False
    objective: Objective

    def __init__(self, *args: Any, objective: Objective, groups: GroupLoss | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.objective, self.groups = objective, groups
        self.model_accepts_loss_kwargs = False

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        outputs = model(**{name: value for name, value in inputs.items() if name not in _TARGETS})
        logits: Tensor = outputs["logits"].float()
        more: Tensor | float = 0.0
        if self.groups is not None:
            logits, of_groups = self.groups.split(logits)
            more = self.groups.of_batch(of_groups, inputs, model)
        loss = self.objective(logits, inputs["labels"], inputs.get("share")).mean() + more
        return (loss, {"logits": outputs["logits"]}) if return_outputs else loss

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        shard_on_cpus(self)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir or ".")
        place = folder / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            limit, best = self.args.save_total_limit or 0, self.state.best_model_checkpoint
            if folder.is_dir() and limit > 1:
                rotate_checkpoints(str(folder), limit - 1, best, use_mtime=True)
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            flush(place)


@dataclass
class Trained:
    """The result of a training: the model's folder and its metrics (loss, time, speed, memory, temperature)."""

    output: Path
    figures: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def train_reward(config: RewardConfig, say: Say = lambda text: None, *, data: TrainingData | None = None) -> Trained:
    """Train and save a reward model. data: takes precedence over `config.data`.

    Raises `DprmError` before training begins if it cannot work.
    """
    say = say if first_process() else lambda text: None
    output = output_folder(config.output, resume=config.resume, overwrite=config.overwrite)
    if config.push_to_hub:
        connect(needs_token=True)  # a missing token is reported now, not after the training
    check_resumed(config, output / "checkpoints")
    config = objective_of(config, output / "checkpoints")
    found = data or training_data(config)
    space = found.space
    objective = Objective(config.objective, space)
    parts = training_parts(config, found, objective)
    train, validation = (parts[name].rows for name in ("train", "validation"))
    check_groups(config, train)
    if config.calibrate or (config.early_stopping not in (0, AUTO) and not parts["validation"].held):
        found.split("validation")
    tokenizer, model_config, max_length = load_tokenizer(config, space)
    if changed := pad_apart_from_the_end(tokenizer):
        say(changed)
    encoded = {
        name: encode_shared(
            output / "tokens" / name,
            tokenizer,
            part.prompts,
            part.completions,
            max_length,
            overlong=config.overlong,
            source=f"{found.source}, {name}",
        )
        for name, part in parts.items()
    }
    notes = [
        *objective.notes,
        *_unused(config, found),
        *(f"{name}: {note}" for name, each in encoded.items() for note in each.notes),
    ]
    seen, held = encoded["train"], encoded["validation"]
    basis = Basis.of(
        model_config, config, rows=len(seen.ids), validation=len(held.ids), tokens=int(seen.ids.lengths.sum())
    )
    config, choices = settled(config, basis, output / "checkpoints")
    sizes = [parts[name].size for name in ("train", "validation")]
    say(f"{sizes[0]} to train on, {sizes[1]} to validate on ({found.how}); objective {config.objective}")
    for note in [*notes, *([told(choices)] if choices else [])]:
        say(note)
    set_seed(config.seed)
    trained_before = basis.pooling is not None or any(
        name.endswith("ForSequenceClassification") for name in model_config.architectures or []
    )
    model = load_model(config, model_config, tokenizer, space, max_length)
    base = train.target.mean(axis=0) if len(train) else np.full(space.K, 1 / space.K)
    if not (config.scalar or config.frozen or trained_before):
        start_at_base_rate(model, base, encoded["train"].ids)
    inputs: dict[str, Any] = {name: each.ids for name, each in encoded.items()}
    groups = train.of_groups
    if groups is not None:
        model.config.dprm["group_heads"] = {"attribute": groups.attribute, "values": list(groups.values)}
        widen(model, groups, None if config.frozen else encoded["train"].ids)
    module: Any = model
    if config.frozen:
        inputs = {
            name: features_of_texts(model, each.ids, config.precision, config.batch_size, say)
            for name, each in encoded.items()
        }
        module = trainable_head(model, inputs["train"], base, train, config.hidden)
    elif config.lora:
        module = with_adapters(model, config)
    examples = {
        name: Examples(
            inputs[name],
            part.rows.target,
            part.pairs,
            part.share,
            rows=objective.on_rows,
            of_groups=part.rows.of_groups,
        )
        for name, part in parts.items()
    }
    trainer = make_trainer(config, output, module, examples, objective, tokenizer, say)
    if groups is not None:
        trainer.groups = GroupLoss.beside(constant_loss(objective, base, parts["train"]), groups)
    if len(examples["validation"]):
        constant = constant_loss(objective, base, parts["validation"], trainer.groups)
        trainer.add_callback(LossReporter(say, constant))
    if trainer.is_world_process_zero():
        keep(config, choices, output / "checkpoints")
    flops = flops_per_token(module)  # before its weights are spread
    if not config.frozen:
        expect_memory(trainer, config, module, model.config, examples["train"], say)
    result = _run(trainer, config, output, say)
    figures = figures_of(result, trainer, examples["train"], flops) | {"chosen": reasons(choices)}
    say(in_words(figures, "rows" if config.frozen else "tokens"))
    # Of weights that are spread over processes, every process holds a part: all of them take part in what follows.
    weights = whole_weights(trainer) if is_sharded(trainer) else None
    logits = (
        shared_logits(trainer, inputs["validation"], int(model.config.num_labels or 1)) if weights is not None else None
    )
    if trainer.is_world_process_zero():
        if weights is None:
            module = trainer.accelerator.unwrap_model(trainer.model)
        else:
            load_unsharded(trainer)
            model = load_model(config, model_config, tokenizer, space, max_length)
            module = load_whole(with_adapters(model, config) if config.lora else model, weights)
        with whole_model(output) as folder:
            judged = finish(config, model, module, inputs, logits, validation, figures, tokenizer, folder)
            told_of = _said_of(judged, found, parts["validation"]) if judged else []
            if judged and judged.groups is not None and len(validation):
                by_group, more = figures_by_group(train, validation, judged.groups[: len(validation)], space, say)
                figures["groups"], told_of = by_group.as_dict()["groups"], told_of + more
            for note in told_of:
                say(note)
                notes.append(note)
            write_record(config, found, figures, notes, folder, space, parts)
    trainer.accelerator.wait_for_everyone()
    shutil.rmtree(output / "tokens", ignore_errors=True)  # kept while a broken-off training may be resumed
    if config.push_to_hub and trainer.is_world_process_zero():
        push_folder(config.push_to_hub, output, say)
    return Trained(output, figures, notes)


# -- before ------------------------------------------------------------------------------------------------------------


def with_adapters(model: PreTrainedModel, config: RewardConfig) -> Any:
    """The model with the low-rank adapters of the settings, in float32."""
    adapted = with_lora(model, rank=int(config.lora), alpha=config.lora_alpha, targets=config.lora_targets)
    float32_trained(adapted)
    return adapted


def _unused(config: RewardConfig, data: TrainingData) -> list[str]:
    """Settings of a split that were given for data with splits of its own."""
    given = sorted({"test", "split_seed"} & config.model_fields_set) if data.how.startswith(OWN_SPLITS) else []
    return [f"{' and '.join(given)}: not used, the data has splits of its own"] if given else []


def make_trainer(
    config: RewardConfig,
    output: Path,
    module: Any,
    examples: dict[str, Examples],
    objective: Objective,
    tokenizer: PreTrainedTokenizerBase,
    say: Say,
) -> RewardTrainer:
    """The trainer of a module: the model, the model with adapters, or the head on a frozen backbone. config: with no
    setting `auto` any more.

    Raises `TrainingError` for settings that cannot be used.
    """
    validated = len(examples["validation"]) > 0
    if config.early_stopping and not validated:
        raise TrainingDataError("early_stopping needs a validation split with rows", hint="Raise validation.")
    on_gpu = torch.cuda.is_available()
    settings: dict[str, Any] = {
        "output_dir": str(output / "checkpoints"),
        "num_train_epochs": float(config.epochs),
        "per_device_train_batch_size": config.batch_size,
        "per_device_eval_batch_size": config.batch_size,
        "gradient_accumulation_steps": config.accumulation,
        "learning_rate": float(config.learning_rate),
        "lr_scheduler_type": config.scheduler,
        "warmup_steps": float(config.warmup),
        "weight_decay": float(config.weight_decay),
        "bf16": in_bf16(config.precision) and not config.frozen,
        _CHECKPOINTING: config.checkpointing and not config.trainer.get("fsdp"),
        "train_sampling_strategy": "group_by_length" if config.group_by_length and not config.frozen else "random",
        "eval_strategy": "epoch" if validated else "no",
        "save_strategy": "epoch",
        "save_total_limit": 2,
        "load_best_model_at_end": bool(config.early_stopping),
        "metric_for_best_model": "eval_loss" if validated else None,
        "prediction_loss_only": True,
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "ddp_find_unused_parameters": False,
        "dataloader_pin_memory": on_gpu,
        "use_cpu": not on_gpu and not torch.backends.mps.is_available(),
        "logging_steps": 10,
        "disable_tqdm": not sys.stderr.isatty(),
        "report_to": config.report_to,
        "seed": config.seed,
        "data_seed": config.seed,
    }
    given = deepcopy(config.trainer)  # TrainingArguments changes what is in it
    if config.checkpointing and given.get("fsdp"):  # around the parts that are gathered, by FSDP's own means
        given["fsdp_config"] = {"activation_checkpointing": True} | given.get("fsdp_config", {})
    try:
        arguments = TrainingArguments(**(settings | given))
        trainer = RewardTrainer(
            model=module,
            args=arguments,
            data_collator=Collator(tokenizer.pad_token_id),
            train_dataset=examples["train"],
            eval_dataset=examples["validation"] if validated else None,
            objective=objective,
        )
    except (TypeError, ValueError) as error:
        raise TrainingError(f"trainer: {error}", hint="Allowed: the TrainingArguments of transformers.") from error
    except (ImportError, RuntimeError) as error:  # of a tracker, or DeepSpeed
        raise TrainingError(f"trainer: {error}", hint="Install what it names, or leave the setting out.") from error
    trainer.remove_callback(PrinterCallback)
    if config.early_stopping:
        trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=int(config.early_stopping)))
    if is_sharded(trainer) and config.frozen:
        raise TrainingError(
            "freeze: backbone trains a small head, whose weights need not be sharded",
            hint="Leave fsdp and deepspeed out; each process computes its own features.",
        )
    return trainer


# -- training and after ------------------------------------------------------------------------------------------------


def expect_memory(
    trainer: RewardTrainer, config: RewardConfig, module: Any, model_config: Any, train: Examples, say: Say
) -> None:
    """Say what memory each process will take, and whether that is more than its GPU has."""
    found = estimate(
        module,
        model_config.get_text_config(),
        rows=config.batch_size * (2 if on_pairs(config.objective) else 1),
        tokens=train.longest,
        bf16=in_bf16(config.precision),
        checkpointing=config.checkpointing,
        shards=trainer.accelerator.num_processes if is_sharded(trainer) else 1,
    )
    say(str(found))
    most = room()
    if most is not None and found.total > most:
        say(
            f"that is more than the {most / 1e9:.0f} GB of this GPU: lower batch_size or max_length (raise accumulation), "
            "set checkpointing, lora (with weights: bf16 or nf4), or shard by fsdp"
        )


def _run(trainer: RewardTrainer, config: RewardConfig, output: Path, say: Say) -> Any:
    checkpoint = None
    if config.resume and (output / "checkpoints").is_dir():
        with trainer.accelerator.main_process_first():  # it sets broken ones aside
            checkpoint = last_whole(_checkpoints(output / "checkpoints"), say, needed=("trainer_state.json", "*model*"))
    if config.resume:
        say(
            f"resuming from {checkpoint}" if checkpoint else "no checkpoint to resume from: starting from the beginning"
        )
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    return trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a Trainer, the latest last. It writes `trainer_state.json` as the last file of each."""
    found = [place for place in folder.glob("checkpoint-*") if place.name.removeprefix("checkpoint-").isdigit()]
    return sorted(found, key=lambda place: int(place.name.removeprefix("checkpoint-")))


def _said_of(predicted: Judgement, data: TrainingData, part: Part) -> list[str]:
    """Which rivals the model does not beat on the validation split, whose every text it has judged."""
    rows = len(part.rows)
    distribution = None if predicted.distribution is None else predicted.distribution[:rows]
    scalar_pairs = part.pairs if part.share is None else None
    on_rows = on_validation(data, distribution, predicted.reward[:rows], scalar_pairs) if rows else []
    return [*on_rows, *part.said_of_pairs(predicted.reward)]
