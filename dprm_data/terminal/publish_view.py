"""What the terminal shows of a push."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dprm_data.publish.publication import Publication
from dprm_data.publish.push import Pushed


def pushed_view(pushed: Pushed, publication: Publication) -> RenderableType:
    """The configs with their splits, the files with what becomes of them, and where it all is."""
    configs = _table("config", "split", "rows")
    for config, splits in publication.rows.items():
        for i, (split, rows) in enumerate(splits.items()):
            configs.add_row(Text(config if i == 0 else "", style="bold"), split, f"{rows:,}")
    changes = pushed.changes
    files = _table("", "file", "size")
    marked = (
        ("+", "green", changes.add),
        ("~", "yellow", changes.change),
        ("-", "red", changes.delete),
        ("=", "dim", changes.same),
    )
    for mark, style, paths in marked:
        for path in paths:
            file = publication.files.get(path)
            files.add_row(Text(mark, style=style), Text(path), _size(file.size) if file else "")
    kept = [Text(f"others' files, left as they are: {', '.join(changes.kept)}\n")] if changes.kept else []
    how = Text(f"split: {publication.splits.how}\n", style="dim")
    return Group(configs, Text(), how, files, Text(), *kept, Text(_verdict(pushed), style="bold"))


def _verdict(pushed: Pushed) -> str:
    changes = pushed.changes
    whose = "private" if changes.private else "public"
    if pushed.dry_run:
        if changes.nothing:
            return f"{pushed.url} has this already, as {changes.tag}. Nothing would be sent."
        new = f"a new {whose} repository" if changes.create else f"the {whose} repository"
        return f"Dry run: this would be one commit to {new} {pushed.url}, with the tag {changes.tag}. Nothing was sent."
    if changes.nothing:
        return f"{pushed.url} has this already, as {changes.tag}."
    return f"{pushed.url} ({whose}), tag {changes.tag}, commit {(pushed.commit or '')[:10]}"


def _size(size: int) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size //= 1000
    return f"{size} GB"


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in ("rows", "size") else "left")
    return table
