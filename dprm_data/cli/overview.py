"""The first screen: the commands in the order in which a user needs them."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

SECTIONS: dict[str, tuple[str, ...]] = {
    "Prepare": ("init", "models", "panel", "labels"),
    "Annotate": ("plan", "generate", "try", "pilot", "run", "status", "view"),
    "Inspect": ("show", "report"),
    "People": ("validate", "bench", "ratings", "review"),
    "Share": ("export", "publish", "pull"),
    "Train": ("train", "eval", "serve", "export-reward"),
    "Maintain": ("ledger", "trust"),
}


def overview(app: Any, width: int) -> RenderableType:
    """A line for each command of the application, for a terminal of this width in characters."""
    rows = Table.grid(padding=(0, 2))
    for section, names in SECTIONS.items():
        for name in names:
            heading = section if name == names[0] else ""
            rows.add_row(Text(heading, "bold"), Text(name, "cyan"), app.commands[name].get_short_help_str(width))
    return Group(
        Text("Usage: dprm COMMAND [ARGS]..."),
        Text(f"{app.help}\n"),
        rows,
        Text(f"\nOptions: --version; --help (-h), also of each command: dprm COMMAND --help\n{app.epilog}", "dim"),
    )
