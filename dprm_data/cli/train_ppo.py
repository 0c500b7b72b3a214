"""The command that aligns a policy with a reward model: `dprm train ppo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dprm_data.cli.options import given, settings_command
from dprm_data.cli.shared import Json, Quiet, answer, note, say
from dprm_data.cli.train import More, check_named, named_settings, needs_trainers, quiet_libraries, train_app

if TYPE_CHECKING:
    from dprm_trainers.ppo.ppo_config import PPOConfig


def ppo_config() -> type[PPOConfig]:
    from dprm_trainers.ppo.ppo_config import PPOConfig

    return PPOConfig


@train_app.command("ppo", cls=settings_command(ppo_config))
def train_ppo(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="Settings in YAML: the names of these options, with _ for -. Options take precedence."
        ),
    ] = None,
    more: More = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Align a language model with a reward model by PPO."""
    needs_trainers()
    settings = ppo_config().of(config, **(given(context) | named_settings(more)))
    check_named(policy=[settings.policy], reward_model=settings.reward_model)
    quiet_libraries()
    from dprm_trainers.ppo.ppo_trainer import train_ppo as train

    aligned = train(settings, note(quiet))
    if as_json:
        answer({"policy": str(aligned.output), "figures": aligned.figures, "notes": aligned.notes}, None, True)
    else:
        say(str(aligned.output))
