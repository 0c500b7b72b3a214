"""The command `dprm show`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from dprm_data.cli.shared import Json, RunArgument, answer, app, show_summary


@app.command()
def show(
    run: RunArgument,
    item: Annotated[str | None, typer.Option("--item", help="One item, by its id or the beginning of it.")] = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", help="One prompt with its responses in order, by its id or that of a response."),
    ] = None,
    persona: Annotated[str | None, typer.Option("--persona", help="One annotator, by its id.")] = None,
    personas: Annotated[bool, typer.Option("--personas", help="All annotators, in a table.")] = False,
    as_json: Json = False,
) -> None:
    """Show a run, an item, a prompt, or its annotators."""
    from dprm_data.runs.lookup import find_annotator, find_item
    from dprm_data.runs.prompt_ranking import find_prompt
    from dprm_data.runs.run import Run
    from dprm_data.runs.summary import annotators
    from dprm_data.terminal.annotator_view import annotator_view, personas_view
    from dprm_data.terminal.item_view import item_view
    from dprm_data.terminal.prompt_view import prompt_view

    job = Run.open(run)
    space = job.space
    if item is not None:
        row, votes = find_item(job.folder, item)
        answer({"item": row, "annotations": votes}, lambda: item_view(row, votes, space), as_json)
    elif prompt is not None:
        found = find_prompt(job, prompt)
        answer(found.as_dict(), lambda: prompt_view(found, space), as_json)
    elif persona:
        who, rows = find_annotator(job.folder, persona)
        content = {"persona": who, "annotations": rows.to_pylist()}
        answer(content, lambda: annotator_view(persona, who, rows, space), as_json)
    elif personas:
        lines = annotators(job.folder, space)
        answer({"annotators": [asdict(line) for line in lines]}, lambda: personas_view(lines), as_json)
    else:
        show_summary(job, None, as_json)
