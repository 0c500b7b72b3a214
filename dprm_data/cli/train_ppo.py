"""The command that aligns a policy with a reward model: `dprm train ppo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dprm_data.cli.shared import Json, Quiet, answer, note, say
from dprm_data.cli.train import (
    Checkpointing,
    Epochs,
    LearningRate,
    More,
    Overwrite,
    Precision,
    PushToHub,
    Resume,
    Seed,
    named_settings,
    needs_trainers,
    quiet_libraries,
    train_app,
)


@train_app.command("ppo")
def train_ppo(
    prompts: Annotated[
        str | None,
        typer.Option("--prompts", help="A run folder, a file of prompts or conversations, or owner/name on the Hub."),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option("--policy", help="A folder or a name on the Hub; smollm2-135m is the small bundled model."),
    ] = None,
    reward_model: Annotated[
        list[str] | None,
        typer.Option(
            "--reward-model",
            "-m",
            help="A model of `dprm train reward`. Given again: models of groups, whose least reward counts.",
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="The policy's folder; policy if not given.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings in YAML; flags go before it. docs/alignment.md lists all.")
    ] = None,
    reading: Annotated[
        str | None,
        typer.Option(
            "--reading", help="How a distribution is a reward: mean, quantile:t, cvar:t, std:l or entropic:b."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Batches of responses; if not given, --epochs over the prompts.")
    ] = None,
    epochs: Epochs = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Responses per device and step.")] = None,
    minibatches: Annotated[
        int | None, typer.Option("--minibatches", help="Optimizer steps per pass over a batch.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option("--max-new-tokens", help="The longest response.")] = None,
    kl: Annotated[float | None, typer.Option("--kl", help="How strongly the reference holds (kl_coefficient).")] = None,
    kl_target: Annotated[
        float | None, typer.Option("--kl-target", help="Nats per response: the coefficient is led to it.")
    ] = None,
    missing_end_penalty: Annotated[
        float | None,
        typer.Option("--missing-end-penalty", help="Taken off the reward of a response that does not end."),
    ] = None,
    quantiles: Annotated[
        int | None, typer.Option("--quantiles", help="A critic of so many quantiles of the return; 0: of its mean.")
    ] = None,
    lora: Annotated[int | None, typer.Option("--lora", help="Rank of low-rank adapters; 0 trains weights.")] = None,
    train_layers: Annotated[int | None, typer.Option("--train-layers", help="Train only so many last layers.")] = None,
    learning_rate: LearningRate = None,
    precision: Precision = None,
    checkpointing: Checkpointing = False,
    seed: Seed = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    push_to_hub: PushToHub = None,
    more: More = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Align a language model with a reward model by PPO."""
    needs_trainers()
    from dprm_trainers.ppo_config import PPOConfig

    flags: dict[str, Any] = {
        "prompts": prompts, "policy": policy, "reward_model": reward_model or None, "output": output, "reading": reading,
        "steps": steps, "epochs": epochs, "batch_size": batch_size, "minibatches": minibatches,
        "max_new_tokens": max_new_tokens, "kl_coefficient": kl, "kl_target": kl_target,
        "missing_end_penalty": missing_end_penalty, "quantiles": quantiles, "lora": lora, "train_layers": train_layers,
        "learning_rate": learning_rate, "precision": precision, "checkpointing": checkpointing or None, "seed": seed,
        "resume": resume or None, "overwrite": overwrite or None, "push_to_hub": push_to_hub,
    }  # fmt: skip
    settings = PPOConfig.of(config, **(flags | named_settings(more)))
    quiet_libraries()
    from dprm_trainers.ppo_trainer import train_ppo as train

    aligned = train(settings, note(quiet))
    if as_json:
        answer({"policy": str(aligned.output), "figures": aligned.figures, "notes": aligned.notes}, None, True)
    else:
        say(str(aligned.output))
