"""Train a reward model: a `transformers.Trainer` whose loss is an objective of `dprm_trainers.reward.objective`.

Mistakes in data, model and settings are reported before training begins.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import rotate_checkpoints

from dprm_data.core.arrays import Floats
from dprm_data.labels.space import LabelSpace
from dprm_data.publish.hub import connect
from dprm_trainers.core.checkpoints import flush, last_whole
from dprm_trainers.core.errors import TrainingDataError, TrainingError
from dprm_trainers.core.outputs import in_bf16, output_folder, peak_memory, push_folder, whole_model
from dprm_trainers.data.rows import Rows, TrainingData, load_data
from dprm_trainers.data.tokens import encode, pad_apart_from_the_end
from dprm_trainers.reward.base_rate import start_at_base_rate
from dprm_trainers.reward.batches import Collator, Examples
from dprm_trainers.reward.defaults import AUTO, Basis, keep, objective_of, reasons, settled, told
from dprm_trainers.reward.features import FrozenHead, features_of_texts, linear_head
from dprm_trainers.reward.loss_report import LossReporter, constant_loss
from dprm_trainers.reward.objective import Objective, on_rows
from dprm_trainers.reward.pooling import save_classifier
from dprm_trainers.reward.pretrained import load_model, load_tokenizer, with_lora
from dprm_trainers.reward.reward_config import RewardConfig
from dprm_trainers.reward.reward_model import Judgement, RewardModel
from dprm_trainers.reward.rivals import on_validation
from dprm_trainers.reward.temperature import into_head, temperature
from dprm_trainers.reward.training_parts import Part, no_rows, training_parts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Say = Callable[[str], None]

# transformers 5.24 renamed the setting and deprecated the old name.
_CHECKPOINTING = next(
    n for n in ("activation_checkpointing", "gradient_checkpointing") if hasattr(TrainingArguments, n)
)


class RewardTrainer(Trainer):
    """A Trainer whose loss is `objective(logits, labels, share)`, the mean over the batch's rows and pairs.

    With a `save_total_limit` of at least 2, one whole checkpoint is on the disk at any time, and never more than the
    limit.
    """

    # The loss is a mean over one batch: the Trainer divides it by the steps of accumulation.
    loss_is_scaled_for_ga = False
    objective: Objective

    def __init__(self, *args: Any, objective: Objective, **options: Any) -> None:
        super().__init__(*args, **options)
        self.objective = objective
        self.model_accepts_loss_kwargs = False

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        outputs = model(**{name: value for name, value in inputs.items() if name not in ("labels", "share")})
        loss = self.objective(outputs["logits"], inputs["labels"], inputs.get("share")).mean()
        return (loss, {"logits": outputs["logits"]}) if return_outputs else loss

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
    output = output_folder(config.output, resume=config.resume, overwrite=config.overwrite)
    if config.push_to_hub:
        connect(needs_token=True)  # a missing token is reported now, not after the training
    config = objective_of(config, output / "checkpoints")
    found = data or _rows_of(config)
    space = found.space
    objective = Objective(config.objective, space)
    parts = training_parts(config, found, objective)
    train, validation = (parts[name].rows for name in ("train", "validation"))
    if config.calibrate or (config.early_stopping not in (0, AUTO) and not parts["validation"].held):
        found.split("validation")
    tokenizer, model_config, max_length = load_tokenizer(config, space)
    if changed := pad_apart_from_the_end(tokenizer):
        say(changed)
    encoded = {
        name: encode(
            tokenizer,
            part.prompts,
            part.completions,
            max_length,
            overlong=config.overlong,
            source=f"{found.source}, {name}",
        )
        for name, part in parts.items()
    }
    notes = [*objective.notes, *(f"{name}: {note}" for name, each in encoded.items() for note in each.notes)]
    seen, held = encoded["train"], encoded["validation"]
    basis = Basis.of(model_config, config, rows=len(seen.ids), validation=len(held.ids), tokens=seen.tokens)
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
    if not (config.scalar or config.frozen or trained_before or {"fsdp", "deepspeed"} & config.trainer.keys()):
        start_at_base_rate(model, base, encoded["train"].ids)
    inputs: dict[str, Any] = {name: each.ids for name, each in encoded.items()}
    module: Any = model
    if config.frozen:
        inputs = {
            name: features_of_texts(model, each.ids, config.precision, config.batch_size, say)
            for name, each in encoded.items()
        }
        module = FrozenHead(inputs["train"], int(model.config.num_labels or 1), base)
    elif config.lora:
        module = with_lora(model, rank=int(config.lora), alpha=config.lora_alpha, targets=config.lora_targets)
    examples = {
        name: Examples(inputs[name], part.rows.target, part.pairs, part.share, rows=objective.on_rows)
        for name, part in parts.items()
    }
    trainer = make_trainer(config, output, module, examples, objective, tokenizer, say)
    if len(examples["validation"]):
        trainer.add_callback(LossReporter(say, constant_loss(objective, base, parts["validation"])))
    if trainer.is_world_process_zero():
        keep(config, choices, output / "checkpoints")
    result = _run(trainer, config, output, say)
    figures = _figures(result, trainer, examples["train"]) | {"chosen": reasons(choices)}
    say(
        f"trained {figures['epochs']:g} epochs in {figures['seconds']:.0f} s: {figures['tokens_per_second']:,.0f} "
        f"{'rows' if config.frozen else 'tokens'}/s, {figures['memory_mb']:,.0f} MB of {figures['memory_of']}"
    )
    if trainer.is_world_process_zero():
        with whole_model(output) as folder:
            predicted = _finish(trainer, config, model, inputs, validation, figures, tokenizer, folder)
            for note in _said_of(predicted, found, parts["validation"]) if predicted else []:
                say(note)
                notes.append(note)
            _write_record(config, found, figures, notes, folder, space, parts)
    trainer.accelerator.wait_for_everyone()
    if config.push_to_hub and trainer.is_world_process_zero():
        push_folder(config.push_to_hub, output, say)
    return Trained(output, figures, notes)


# -- before ------------------------------------------------------------------------------------------------------------


def _rows_of(config: RewardConfig) -> TrainingData:
    """The rows with distributions; none for an objective of pairs alone."""
    if not config.scalar and not on_rows(config.objective):
        return no_rows(config.data, config.labels)
    return load_data(
        config.data,
        labels=config.labels,
        test=config.test,
        validation=config.validation,
        seed=config.split_seed,
        group=config.group,
    )


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
        _CHECKPOINTING: config.checkpointing,
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
    try:
        arguments = TrainingArguments(**(settings | config.trainer))
    except (TypeError, ValueError) as error:
        raise TrainingError(f"trainer: {error}", hint="Allowed: the TrainingArguments of transformers.") from error
    trainer = RewardTrainer(
        model=module,
        args=arguments,
        data_collator=Collator(tokenizer.pad_token_id),
        train_dataset=examples["train"],
        eval_dataset=examples["validation"] if validated else None,
        objective=objective,
    )
    trainer.remove_callback(PrinterCallback)
    if config.early_stopping:
        trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=int(config.early_stopping)))
    if trainer.is_fsdp_enabled and (config.lora or config.calibrate or config.frozen):
        raise TrainingError("FSDP does not support lora, calibrate or freeze", hint="Use DDP, or leave them out.")
    return trainer


# -- training and after ------------------------------------------------------------------------------------------------


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


def _figures(result: Any, trainer: RewardTrainer, train: Examples) -> dict[str, Any]:
    seconds, epochs = float(result.metrics["train_runtime"]), float(trainer.state.epoch or 0.0)
    evaluations: list[float] = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    memory, memory_of = peak_memory()
    return {
        "training_loss": float(result.training_loss),
        "validation_loss": (min(evaluations) if trainer.args.load_best_model_at_end else evaluations[-1])
        if evaluations
        else None,
        "epochs": epochs,
        "steps": trainer.state.global_step,
        "seconds": seconds,
        "tokens_per_second": train.tokens * epochs / max(seconds, 1e-9),
        "memory_mb": memory,
        "memory_of": memory_of,
        "processes": trainer.accelerator.num_processes,
    }


def _finish(
    trainer: RewardTrainer,
    config: RewardConfig,
    model: Any,
    inputs: dict[str, Any],
    validation: Rows,
    figures: dict[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
) -> Judgement | None:
    """Save a plain classifier: adapters merged, the trained head folded in, the temperature in its weights.

    Returns its predictions on the validation split; None if that is empty or the weights are spread over processes.
    """
    trained: Any = trainer.accelerator.unwrap_model(trainer.model)
    state = None
    if config.frozen:
        trained.to("cpu").fold(linear_head(model))
    elif config.lora:
        model = trained.merge_and_unload()
    elif trainer.is_fsdp_enabled:
        state = trainer.accelerator.get_state_dict(trainer.model)
    else:
        model = trained
    if config.calibrate:
        logits = _logits(config, model, tokenizer, inputs["validation"])
        figures["temperature"] = temperature(logits[: len(validation)], validation.target)
        into_head(linear_head(model), figures["temperature"])
        model.config.dprm["temperature"] = figures["temperature"]
    save_classifier(model, folder, state)
    tokenizer.save_pretrained(str(folder))
    if state is not None or not len(inputs["validation"]):
        return None
    return RewardModel(model, tokenizer).read(_logits(config, model, tokenizer, inputs["validation"]))


def _logits(config: RewardConfig, model: Any, tokenizer: PreTrainedTokenizerBase, inputs: Any) -> Floats:
    if config.frozen:
        head = linear_head(model)
        with torch.inference_mode():
            return np.asarray(head(torch.from_numpy(inputs)).double().numpy())
    return RewardModel(model, tokenizer).logits(inputs, config.batch_size)


def _said_of(predicted: Judgement, data: TrainingData, part: Part) -> list[str]:
    """Which rivals the model does not beat on the validation split, whose every text it has judged."""
    rows = len(part.rows)
    distribution = None if predicted.distribution is None else predicted.distribution[:rows]
    scalar_pairs = part.pairs if part.share is None else None
    on_rows = on_validation(data, distribution, predicted.reward[:rows], scalar_pairs) if rows else []
    return [*on_rows, *part.said_of_pairs(predicted.reward)]


def _write_record(
    config: RewardConfig,
    data: TrainingData,
    figures: dict[str, Any],
    notes: list[str],
    folder: Path,
    space: LabelSpace,
    parts: dict[str, Part],
) -> None:
    from dprm_trainers.reward.reward_card import write_model_card

    rows = {name: len(split) for name, split in data.splits.items()}
    content = {"settings": config.model_dump(mode="json"), "rows": rows, "split": data.how, "figures": figures}
    content["notes"] = notes
    if parts["train"].share is not None:
        content["pairs"] = {name: len(part.share) for name, part in parts.items() if part.share is not None}
    (folder / "dprm_training.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    write_model_card(folder, content, space, name=config.push_to_hub or Path(config.output).name)
