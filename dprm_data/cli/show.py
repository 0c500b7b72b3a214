"""Commands that only look: show, panels, labels."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dprm_data.cli.shared import Json, answer, app, show_summary


@app.command()
def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    item: Annotated[str | None, typer.Option("--item", help="One item by its id (or the beginning of it).")] = None,
    persona: Annotated[str | None, typer.Option("--persona", help="One annotator by its id.")] = None,
    personas: Annotated[bool, typer.Option("--personas", help="What every annotator did.")] = False,
    as_json: Json = False,
) -> None:
    """Show a run, one of its items with every vote, or its annotators."""
    from dprm_data.runs.lookup import find_annotator, find_item
    from dprm_data.runs.run import Run
    from dprm_data.runs.summary import annotators
    from dprm_data.terminal.run_view import annotator_view, item_view, personas_view

    job = Run.open(run)
    space = job.space
    if item is not None:
        row, votes = find_item(job.folder, item)
        answer({"item": row, "annotations": votes}, lambda: item_view(row, votes, space), as_json)
    elif persona:
        who, rows = find_annotator(job.folder, persona)
        answer(
            {"persona": who, "annotations": rows.to_pylist()},
            lambda: annotator_view(persona, who, rows, space),
            as_json,
        )
    elif personas:
        lines = annotators(job.folder, space)
        answer({"annotators": [asdict(line) for line in lines]}, lambda: personas_view(lines), as_json)
    else:
        show_summary(job, None, as_json)


@app.command()
def panels(
    name: Annotated[str | None, typer.Argument(help="A panel's name or file; all bundled ones if not given.")] = None,
    as_json: Json = False,
) -> None:
    """List the bundled panels, or the personas of one."""
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
        typer.Argument(help="A label space's name, file, or number of levels; all bundled ones if not given."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the bundled label spaces, or the labels and the ground cost of one."""
    from dprm_data.labels.space import LabelSpace
    from dprm_data.terminal.catalogue import space_entries, space_view, spaces_view

    if name:
        space = LabelSpace.load(name)
        answer(
            space.model_dump(mode="json")
            | {"ground_cost": space.ground_cost.tolist(), "triangle_violations": space.triangle_violations()},
            lambda: space_view(space),
            as_json,
        )
    else:
        entries = space_entries()
        answer({"label_spaces": entries}, lambda: spaces_view(entries), as_json)
