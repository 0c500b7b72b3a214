"""The command that evaluates reward models: `dprm eval reward`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dprm_data.cli.options import given, settings_command
from dprm_data.cli.shared import Json, answer, group, output_option, say
from dprm_data.cli.train import check_named, needs_trainers, quiet_libraries
from dprm_data.core.errors import InputError
from dprm_data.runs.verdict_line import counted

if TYPE_CHECKING:
    from dprm_trainers.reward.risk_measures import ReadingOption

eval_app = group("eval", "Evaluate reward models or policies (extra: train).")

Labels = Annotated[
    str | None, typer.Option("--labels", help="The label space of a Parquet file: a name, a number of levels, or YAML.")
]


def reading_option() -> type[ReadingOption]:
    from dprm_trainers.reward.risk_measures import ReadingOption

    return ReadingOption


def given_reading(context: typer.Context) -> str:
    """The value of `--reading`. Raises `DprmError` if it names no risk measure."""
    return reading_option().model_validate(given(context)).reading


@eval_app.command("reward", cls=settings_command(reading_option, last=True))
def evaluate_reward(
    context: typer.Context,
    reward_model: Annotated[
        list[str], typer.Option("--reward-model", "-m", help="A trained model; repeat it to compare several.")
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="A run folder, a Parquet file of distributions, or owner/name on the Hub. Give either --data or --pairs.",
        ),
    ] = None,
    pairs_file: Annotated[
        Path | None, typer.Option("--pairs", help="Pairs as JSON lines (RewardBench's form): prompt, chosen, rejected.")
    ] = None,
    split: Annotated[
        Literal["train", "validation", "test"], typer.Option("--split", help="Which rows of the data.")
    ] = "test",
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help="Score by groups of a run's annotators: an attribute of theirs. May be repeated."),
    ] = None,
    labels: Labels = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            help="Evaluate heads of groups on the groups' own votes: attribute=value, or all for every group.",
        ),
    ] = None,
    votes: Annotated[
        str | None,
        typer.Option("--votes", help="For --group and a Parquet file: the table of people's votes, as in training."),
    ] = None,
    output: Annotated[Path | None, output_option("A folder for page, tables, plot and scored pairs.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Responses per forward pass.")] = 16,
    as_json: Json = False,
) -> None:
    """Evaluate reward models on held-out distributions, or on a file of pairs.

    Exactly one of --data and --pairs is needed.
    """
    if (data is None) == (pairs_file is None):
        raise InputError("eval reward needs --data or --pairs, and not both")
    if pairs_file is not None and by:
        raise InputError("--by needs --data: a file of pairs does not say who voted")
    if group is not None and data is None:
        raise InputError("--group needs --data: pairs do not say how groups voted")
    if group is not None and by:
        raise InputError("--group evaluates heads of groups, --by whole models: give one of them")
    needs_trainers()
    reading = given_reading(context)
    check_named(reward_model=reward_model, data=[data])
    quiet_libraries()
    from dprm_trainers.reward.reward_model import RewardModel

    models = {name: RewardModel.load(name) for name in reward_model}
    if pairs_file is not None:
        _evaluate_pairs(models, pairs_file, reading, output, batch_size, as_json)
        return
    if group is not None:
        _evaluate_groups(models, str(data), group, votes, labels, split, output, batch_size, as_json)
        return
    from dprm_trainers.evaluation.evaluate import evaluate, groups_of, split_of
    from dprm_trainers.evaluation.evaluation_files import write_files
    from dprm_trainers.evaluation.evaluation_tables import markdown

    groups = groups_of(str(data), by or [])
    found = evaluate(
        models,
        split_of(models, str(data), labels=labels),
        split=split,
        reading=reading,
        by=groups,
        batch_size=batch_size,
    )
    if output is not None:
        write_files(found, output)
    if as_json:
        answer(found.as_dict(), None, True)
    else:
        parts = counted(found.rows, "response"), counted(found.groups, "prompt"), counted(found.pairs, "pair")
        say(f"{', '.join(parts)}, split {found.split}\n\n{markdown(found)}")
        if output is not None:
            say(f"Open {output / 'evaluation.html'}")


def _evaluate_groups(
    models: dict[str, Any],
    data: str,
    group: str,
    votes: str | None,
    labels: str | None,
    split: Literal["train", "validation", "test"],
    out: Path | None,
    batch_size: int,
    as_json: bool,
) -> None:
    from dprm_trainers.evaluation.group_evaluation import evaluate_groups

    found = evaluate_groups(models, data, votes=votes, labels=labels, group=group, split=split, batch_size=batch_size)
    if out is not None:
        found.write(out)
    if as_json:
        answer(found.as_dict(), None, True)
    else:
        say(f"{counted(found.rows, 'response')}, split {split}\n\n{found.markdown()}")


def _evaluate_pairs(
    models: dict[str, Any], file: Path, reading: str, out: Path | None, batch_size: int, as_json: bool
) -> None:
    from dprm_trainers.evaluation.pair_file import read_pairs, score_lengths, score_pairs
    from dprm_trainers.reward.rivals import LONGER

    pairs = read_pairs(file)
    found = {LONGER: score_lengths(pairs)}
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
