"""Terminal view of a generation: what came, of which model, and what to do next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from dprm_data.core.format import money
from dprm_data.runs.folder import RunFolder
from dprm_data.terminal.table import facts


def generated_view(found: dict[str, Any], folder: RunFolder, recipe: Path) -> RenderableType:
    """found: as the manifest has it (`Generated.as_dict`)."""
    rows = facts()
    rows.add_row("prompts", f"{found['prompts']:,}")
    if found["given"]:
        rows.add_row("responses in the source", f"{found['given']:,}")
    rows.add_row("responses", Text(f"{found['responses']:,}", style="bold"))
    for status, count in sorted(found["status"].items(), key=lambda pair: (pair[0] != "ok", -pair[1])):
        rows.add_row("", f"{count:,} {'usable' if status == 'ok' else status.replace('_', ' ')}")
    for place, (model, count) in enumerate(sorted(found["models"].items())):
        rows.add_row("" if place else "by model", f"{model}: {count:,} usable")
    for place, (reason, count) in enumerate(found["reasons"].items()):
        rows.add_row("" if place else "reasons", Text(f"{count:,} × {reason}"))
    rows.add_row("tokens", f"{found['input_tokens']:,} in, {found['output_tokens']:,} out")
    rows.add_row("cost", "not known" if found["cost"] is None else money(found["cost"]))
    rows.add_row("written", str(folder.path / "tables" / "responses.parquet"))
    rows.add_row("next", f"dprm run {recipe}")
    return rows
