"""Commands that show something: show, panels, labels."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from dprm_data.cli.shared import Json, RunArgument, answer, app, show_summary


@app.command()
def show(
    run: RunArgument,
    item: Annotated[str | None, typer.Option("--item", help="One item, by its id or the beginning of it.")] = None,
    persona: Annotated[str | None, typer.Option("--persona", help="One annotator, by its id.")] = None,
    personas: Annotated[bool, typer.Option("--personas", help="All annotators, in a table.")] = False,
    as_json: Json = False,
) -> None:
    """Show a run, one of its items with every vote, or its annotators."""
    from dprm_data.runs.lookup import find_annotator, find_item
    from dprm_data.runs.run import Run
    from dprm_data.runs.summary import annotators
    from dprm_data.terminal.annotator_view import annotator_view, personas_view
    from dprm_data.terminal.item_view import item_view

    job = Run.open(run)
    space = job.space
    if item is not None:
        row, votes = find_item(job.folder, item)
        answer({"item": row, "annotations": votes}, lambda: item_view(row, votes, space), as_json)
    elif persona:
        who, rows = find_annotator(job.folder, persona)
        content = {"persona": who, "annotations": rows.to_pylist()}
        answer(content, lambda: annotator_view(persona, who, rows, space), as_json)
    elif personas:
        lines = annotators(job.folder, space)
        answer({"annotators": [asdict(line) for line in lines]}, lambda: personas_view(lines), as_json)
    else:
        show_summary(job, None, as_json)


@app.command()
def panels(
    name: Annotated[
        str | None,
        typer.Argument(metavar="PANEL", help="A panel's name or file; omit it to list the bundled panels."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the bundled panels, or the personas of a panel."""
    from dprm_data.panel.panel_sources import load_panel
    from dprm_data.terminal.catalogue import panel_entries, panel_view, panels_view

    if name:
        panel = load_panel(name)
        answer(panel.model_dump(mode="json"), lambda: panel_view(panel), as_json)
    else:
        entries = panel_entries()
        answer({"panels": entries}, lambda: panels_view(entries), as_json)


@app.command()
def labels(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="SPACE",
            help="A label space's name or file, or a number of levels; omit it to list the bundled label spaces.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the bundled label spaces, or the labels and ground cost of a label space."""
    from dprm_data.labels.space import LabelSpace
    from dprm_data.terminal.catalogue import space_entries, space_view, spaces_view

    if name:
        space = LabelSpace.load(name)
        derived = {"ground_cost": space.ground_cost.tolist(), "triangle_violations": space.triangle_violations()}
        answer(space.model_dump(mode="json") | derived, lambda: space_view(space), as_json)
    else:
        entries = space_entries()
        answer({"label_spaces": entries}, lambda: spaces_view(entries), as_json)
