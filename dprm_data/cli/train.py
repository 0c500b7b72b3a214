"""Commands that train and evaluate. They import the package `dprm_trainers` when they run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dprm_data.cli.options import given, settings_command
from dprm_data.cli.shared import Json, Quiet, answer, app, note, say
from dprm_data.core.errors import InputError

if TYPE_CHECKING:
    from dprm_trainers.reward.reward_config import RewardConfig
    from dprm_trainers.reward.risk_measures import ReadingOption

train_app = typer.Typer(no_args_is_help=True, help="Train models on preference distributions (needs the extra: train).")
app.add_typer(train_app, name="train")

# Options of both trainings besides their settings.
More = Annotated[
    list[str] | None, typer.Option("--set", help="A setting by its name, as YAML: name=value. May be repeated.")
]

Labels = Annotated[
    str | None, typer.Option("--labels", help="The label space of a Parquet file: a name, a number of levels, or YAML.")
]


def reward_config() -> type[RewardConfig]:
    from dprm_trainers.reward.reward_config import RewardConfig

    return RewardConfig


def reading_option() -> type[ReadingOption]:
    from dprm_trainers.reward.risk_measures import ReadingOption

    return ReadingOption


def given_reading(context: typer.Context) -> str:
    """The value of `--reading`. Raises `DprmError` if it names no risk measure."""
    return reading_option().model_validate(given(context)).reading


@train_app.command("reward", cls=settings_command(reward_config))
def train_reward(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Settings in YAML; flags take precedence. docs/reward-model.md lists all."),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option("--groups", help="An attribute of a run's personas: train a model for each of its values."),
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
        say(f"{trained.output}\nNext: dprm evaluate --reward-model {trained.output} --data {settings.data}")


def _train_groups(settings: Any, attribute: str, as_json: bool, quiet: bool) -> None:
    """A reward model for each value of an attribute of the run's personas."""
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


@app.command(cls=settings_command(reading_option))
def evaluate(
    context: typer.Context,
    reward_model: Annotated[
        list[str], typer.Option("--reward-model", "-m", help="A trained model; repeat it to compare several.")
    ],
    data: Annotated[
        str | None,
        typer.Option("--data", help="A run folder, a Parquet file of distributions, or owner/name on the Hub."),
    ] = None,
    pairs_file: Annotated[
        Path | None, typer.Option("--pairs", help="Pairs as JSON lines (RewardBench's form): prompt, chosen, rejected.")
    ] = None,
    split: Annotated[
        Literal["train", "validation", "test"], typer.Option("--split", help="Which rows of the data.")
    ] = "test",
    labels: Labels = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A folder for tables, plot and scored pairs.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Responses per forward pass.")] = 16,
    as_json: Json = False,
) -> None:
    """Evaluate reward models on held-out distributions, or on a file of pairs."""
    if (data is None) == (pairs_file is None):
        raise InputError("evaluate needs --data or --pairs, and not both")
    needs_trainers()
    check_named(reward_model=reward_model, data=[data])
    quiet_libraries()
    reading = given_reading(context)
    from dprm_trainers.reward.reward_model import RewardModel

    models = {name: RewardModel.load(name) for name in reward_model}
    if pairs_file is not None:
        _evaluate_pairs(models, pairs_file, reading, out, batch_size, as_json)
        return
    from dprm_trainers.evaluation.evaluate import evaluate as run_evaluation
    from dprm_trainers.evaluation.evaluate import split_of

    found = run_evaluation(
        models,
        split_of(models, str(data), labels=labels),
        split=split,
        reading=reading,
        batch_size=batch_size,
    )
    if out is not None:
        found.write(out)
    if as_json:
        answer(found.as_dict(), None, True)
    else:
        say(
            f"{found.rows} responses, {found.groups} prompts, {found.pairs} pairs, split {found.split}\n\n{found.markdown()}"
        )


def _evaluate_pairs(
    models: dict[str, Any], file: Path, reading: str, out: Path | None, batch_size: int, as_json: bool
) -> None:
    from dprm_trainers.evaluation.pair_file import read_pairs, score_pairs

    pairs = read_pairs(file)
    found = {}
    for i, (name, model) in enumerate(models.items()):
        target = out / f"{i:02d}-{Path(name).name}.jsonl" if out else None
        found[name] = score_pairs(model, pairs, reading=reading, batch_size=batch_size, out=target)
    if as_json:
        plain = {name: {s: {"accuracy": f.value, "low": f.low, "high": f.high, "pairs": n} for s, (f, n) in scores.items()} for name, scores in found.items()}  # fmt: skip
        answer({"models": plain}, None, True)
        return
    for name, scores in found.items():
        say(name)
        for subset, (figure, count) in scores.items():
            say(f"  {subset:<30} {figure}  of {count} pairs")


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
    import importlib.util

    missing = [
        name
        for name in ("dprm_trainers", "torch", "transformers", "accelerate")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise InputError(
            f"training and evaluation need packages that are not installed: {', '.join(missing)}",
            hint="Install them with: pip install 'dprm-data[train]' (in a checkout: pip install -e '.[train]').",
        )


def quiet_libraries() -> None:
    """Silence transformers' messages at every load (a new head is expected here), which would bury ours."""
    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
