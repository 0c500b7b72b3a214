"""The command `dprm export-reward`: a reward model with one output for tools that take no other, or one group's."""

from __future__ import annotations

from typing import Annotated

import typer

from dprm_data.cli.shared import Json, answer, app, say
from dprm_data.cli.train import check_named, needs_trainers, quiet_libraries


@app.command("export-reward")
def export_reward(
    model: Annotated[str, typer.Argument(help="A trained reward model: a folder or a name on the Hub.")],
    output: Annotated[str, typer.Option("--output", "-o", help="The folder for the model.")] = "scalar-reward",
    group: Annotated[
        str | None,
        typer.Option(
            "--group", help="attribute=value: write this group's model, all labels, of a model with heads of groups."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model in the output folder.")] = False,
    as_json: Json = False,
) -> None:
    """Write a model of one output or group (extra: train).

    Of two labels it is the log odds of the better one; of more labels there is no exact scalar, and the command says so.
    With --group it is the group's distribution, exactly: the population's head and the group's offset in one.
    """
    needs_trainers()
    check_named(reward_model=[model])
    quiet_libraries()
    if group is not None:
        from dprm_trainers.reward.group_export import export_group

        what = export_group(model, group, output, overwrite=overwrite)
    else:
        from dprm_trainers.reward.scalar_export import export_scalar

        what = export_scalar(model, output, overwrite=overwrite)
    if as_json:
        answer({"model": output, "output": what}, None, True)
    else:
        say(f"{output}\nIts output is {what}.")
