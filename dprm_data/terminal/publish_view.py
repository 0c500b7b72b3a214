"""Terminal views of a push, a pull and a report."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from dprm_data.core.format import size
from dprm_data.publish.publication import Publication
from dprm_data.publish.push import Pushed
from dprm_data.terminal.table import table


def pushed_view(pushed: Pushed, publication: Publication) -> RenderableType:
    """The configs with their splits, each file with its change, and the outcome."""
    configs = table("config", "split", "rows", left=("split",))
    for config, splits in publication.rows.items():
        for i, (split, rows) in enumerate(splits.items()):
            configs.add_row(Text(config if i == 0 else "", style="bold"), split, f"{rows:,}")
    changes = pushed.changes
    files = table("", "file", "size", left=("file",))
    marked = (
        ("+", "green", changes.add),
        ("~", "yellow", changes.change),
        ("-", "red", changes.delete),
        ("=", "dim", changes.same),
    )
    for mark, style, paths in marked:
        for path in paths:
            file = publication.files.get(path)
            files.add_row(Text(mark, style=style), Text(path), size(file.size) if file else "")
    kept = [Text(f"files of others, left unchanged: {', '.join(changes.kept)}\n")] if changes.kept else []
    how = Text(f"split: {publication.splits.how}\n", style="dim")
    return Group(configs, Text(), how, files, Text(), *kept, Text(_outcome(pushed), style="bold"))


def _outcome(pushed: Pushed) -> str:
    changes = pushed.changes
    visibility = "private" if changes.private else "public"
    if changes.nothing:
        nothing = " Nothing would be sent." if pushed.dry_run else ""
        return f"{pushed.url} is up to date, at {changes.tag}.{nothing}"
    if pushed.dry_run:
        repository = f"a new {visibility} repository" if changes.create else f"the {visibility} repository"
        return f"Dry run: one commit to {repository} {pushed.url}, with the tag {changes.tag}. Nothing was sent."
    return f"{pushed.url} ({visibility}), tag {changes.tag}, commit {(pushed.commit or '')[:10]}"


def pulled_view(folder: Path, name: str, repo: str) -> RenderableType:
    """The new run folder, and what to do next."""
    return Text(
        f"{folder}: run {name} from {repo}\nNext: dprm show {folder}, dprm ratings fit {folder}, dprm report {folder}"
    )


def report_view(path: Path, length: int) -> RenderableType:
    """The report's file and its size in bytes."""
    return Text(f"wrote {path} ({size(length)}). Open it in a browser.")
