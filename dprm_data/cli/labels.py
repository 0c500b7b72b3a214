"""Commands on label spaces: labels list, show."""

from __future__ import annotations

from typing import Annotated

import typer

from dprm_data.cli.shared import Json, answer, group

labels = group("labels", "List or show label spaces.")


@labels.command("list")
def list_spaces(as_json: Json = False) -> None:
    """List the bundled label spaces."""
    from dprm_data.terminal.catalogue import space_entries, spaces_view

    entries = space_entries()
    answer({"label_spaces": entries}, lambda: spaces_view(entries), as_json)


@labels.command()
def show(
    name: Annotated[str, typer.Argument(metavar="SPACE", help="A label space's name or file, or a number of levels.")],
    as_json: Json = False,
) -> None:
    """Show the labels and the ground cost of a label space."""
    from dprm_data.labels.space import LabelSpace
    from dprm_data.terminal.catalogue import space_view

    space = LabelSpace.load(name)
    derived = {"ground_cost": space.ground_cost.tolist(), "triangle_violations": space.triangle_violations()}
    answer(space.model_dump(mode="json") | derived, lambda: space_view(space), as_json)
