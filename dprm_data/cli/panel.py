"""Commands on panels: panel list, show, rake."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dprm_data.cli.shared import Json, answer, group, output_option

panel_app = group("panel", "List, show or weight panels of personas.")


@panel_app.command("list")
def list_panels(as_json: Json = False) -> None:
    """List the bundled panels."""
    from dprm_data.terminal.catalogue import panel_entries, panels_view

    entries = panel_entries()
    answer({"panels": entries}, lambda: panels_view(entries), as_json)


@panel_app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="PANEL", help="A bundled panel's name, or a YAML file.")],
    as_json: Json = False,
) -> None:
    """Show the personas of a panel."""
    from dprm_data.panel.panel_sources import load_panel
    from dprm_data.terminal.catalogue import panel_view

    panel = load_panel(name)
    answer(panel.model_dump(mode="json"), lambda: panel_view(panel), as_json)


@panel_app.command()
def rake(
    panel: Annotated[str, typer.Argument(metavar="PANEL", help="A bundled panel's name, or a YAML file.")],
    margins: Annotated[
        Path,
        typer.Option(
            "--margins",
            help="A YAML file of attribute -> value -> share. The attribute 'age,sex' with values such as 'old,female' is a joint margin.",
        ),
    ],
    output: Annotated[Path, output_option("The panel to write (YAML).")],
    as_json: Json = False,
) -> None:
    """Weight a panel by raking, so that it represents a population with these margins."""
    from dprm_data.core.tables import write_text
    from dprm_data.panel.panel_sources import load_panel
    from dprm_data.panel.raking import raked_panel, read_margins
    from dprm_data.terminal.votes_view import raking_view

    weighted, found = raked_panel(load_panel(panel), read_margins(margins))
    write_text(output, weighted.to_yaml())
    answer({"out": str(output), **found.to_dict()}, lambda: raking_view(found, output), as_json)
