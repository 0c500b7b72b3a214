"""Commands that train. They import the package `dprm_trainers` when they run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dprm_data.cli.options import given, settings_command
from dprm_data.cli.shared import Json, Quiet, answer, group, note, say
from dprm_data.core.errors import InputError
from dprm_data.core.extras import needs_installed

if TYPE_CHECKING:
    from dprm_trainers.reward.reward_config import RewardConfig

train_app = group("train", "Train a reward model, or a policy (extra: train).")

# Options of both trainings besides their settings.
More = Annotated[
    list[str] | None, typer.Option("--set", help="A setting by its name, as YAML: name=value. May be repeated.")
]


def reward_config() -> type[RewardConfig]:
    from dprm_trainers.reward.reward_config import RewardConfig

    return RewardConfig


@train_app.command("reward", cls=settings_command(reward_config))
def train_reward(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="Settings in YAML: the names of these options, with _ for -. Options take precedence."
        ),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option("--groups", help="An attribute of those who voted: train a model for each of its values."),
    ] = None,
    more: More = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a reward model that predicts preference distributions."""
    needs_trainers()
    settings = reward_config().of(config, **(given(context) | named_settings(more)))
    check_named(model=[settings.model], data=[settings.data])
    quiet_libraries()
    if groups is not None:
        _train_groups(settings, groups, as_json, quiet)
        return
    from dprm_trainers.reward.reward_trainer import train_reward as train

    trained = train(settings, note(quiet))
    if as_json:
        answer({"model": str(trained.output), "figures": trained.figures, "notes": trained.notes}, None, True)
    else:
        say(f"{trained.output}\nNext: dprm eval reward --reward-model {trained.output} {_held_out(settings.data)}")


def _held_out(data: str) -> str:
    """The option that evaluates on what a training on this data held out; `eval reward` reads a file of pairs whole, so it
    needs another one."""
    from dprm_trainers.data.training_pairs import are_pairs

    return "--pairs HELD_OUT.jsonl" if are_pairs(data) else f"--data {data}"


def _train_groups(settings: Any, attribute: str, as_json: bool, quiet: bool) -> None:
    """A reward model for each value of an attribute of those who voted."""
    if settings.group_heads is not None:
        raise InputError(
            "--groups and --group-heads: give one of them",
            hint="--groups trains a model for each group, --group-heads one model with a head for each.",
        )
    if settings.group is not None or settings.push_to_hub is not None:
        raise InputError(
            "--groups trains several models: omit --group and --push-to-hub",
            hint="To push a group's model, train it alone with --group attribute=value.",
        )
    from dprm_trainers.reward.reward_trainer import train_reward as train

    trained = {}
    for each in settings.per_group(attribute):
        note(quiet)(f"{each.group}:")
        trained[str(each.group)] = train(each, note(quiet))
    if as_json:
        models = {name: {"model": str(done.output), "figures": done.figures, "notes": done.notes} for name, done in trained.items()}  # fmt: skip
        answer({"models": models}, None, True)
    else:
        flags = " ".join(f"--reward-model {done.output}" for done in trained.values())
        say("\n".join(str(done.output) for done in trained.values()) + f"\nNext: dprm train ppo {flags}")


def check_named(**settings: list[str] | list[str | None]) -> None:
    """Refuse paths at which there is nothing, before anything large is imported: data, and models under any other name. Raises `InputError`."""
    from dprm_trainers.core.references import check_data, check_model

    for name, references in settings.items():
        for reference in filter(None, references):
            (check_data if name == "data" else check_model)(f"--{name.replace('_', '-')}", reference)


def named_settings(texts: list[str] | None) -> dict[str, Any]:
    """The settings of `--set name=value`, values read as YAML."""
    from dprm_data.core.yamlfile import parse_yaml

    found: dict[str, Any] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set {text}: give name=value")
        found[name.strip().replace("-", "_")] = parse_yaml(value, InputError, f"--set {text}")
    return found


def needs_trainers() -> None:
    """Raise `InputError` with the packages that are missing if the extra is not installed."""
    packages = ("dprm_trainers", "torch", "transformers", "accelerate")
    needs_installed("training and evaluation need", packages, "train")


def quiet_libraries() -> None:
    """Silence transformers' messages at every load (a new head is expected here), which would bury ours."""
    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
