"""The command `dprm export`: a run as a table of another program."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dprm_data.cli.shared import Json, Quiet, RunArgument, answer, app, note, output_option
from dprm_data.core.errors import InputError


class Format(StrEnum):
    csv = "csv"
    xlsx = "xlsx"
    jsonl = "jsonl"
    parquet = "parquet"


class Rows(StrEnum):
    distributions = "distributions"
    preferences = "preferences"
    annotations = "annotations"
    pairs = "pairs"
    unpaired = "unpaired"
    ranked = "ranked"
    ultrafeedback = "ultrafeedback"
    helpsteer3 = "helpsteer3"


@app.command()
def export(
    run: RunArgument,
    to: Annotated[
        Format | None,
        typer.Option("--to", help="The file format; by default from the extension of --output.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        output_option("The file to write; by default RUN/export/WHAT.FORMAT.", show_default=False),
    ] = None,
    what: Annotated[
        Rows,
        typer.Option(
            "--what",
            help="distributions: a row per item, with a column per voter. preferences: a row per pair. "
            "annotations: a row per annotator and item, with status and reason, without texts. "
            "For trainers: pairs (reward models, DPO), unpaired (KTO), ranked (a list per prompt). "
            "ultrafeedback, helpsteer3: pairs in those datasets' columns.",
        ),
    ] = Rows.distributions,
    long: Annotated[
        bool, typer.Option("--long", help="Distributions with a row per vote, instead of a column per annotator.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Export a run as CSV, Excel, JSON lines or Parquet.

    To join it to its source, each row has your own id (source_id), the source's file and row, prompt and response, a column per label, the expected reward with its
    90 % interval, and the source's other columns with their types. For example:

        dprm export runs/my-run --to csv

        dprm export runs/my-run --output pairs.parquet --what preferences

        dprm export runs/my-run --output kto.jsonl --what unpaired
    """
    from dprm_data.publish.export_files import write_table_file
    from dprm_data.runs.flat_tables import flat_table
    from dprm_data.runs.run import Run
    from dprm_data.runs.training_formats import WITH_LISTS
    from dprm_data.runs.verdict_line import counted

    kind: Any = to.value if to else _format_of(output)
    if kind in ("csv", "xlsx") and what.value in WITH_LISTS:
        raise InputError(
            f"{what.value} has lists in its rows, which {kind} cannot hold", hint="Give --to jsonl or --to parquet."
        )
    job = Run.open(run)
    path = output or job.folder.path / "export" / f"{what.value}.{kind}"
    found = flat_table(job, what.value, long=long)
    written = write_table_file(found.rows, path, kind)
    notes = list(found.notes)
    if written.cut:
        notes.append(f"{written.cut:,} texts are cut: an Excel cell holds 32,767 characters; --to csv keeps them whole")
    content = {
        "run": str(job.folder),
        "file": str(path),
        "format": kind,
        "what": what.value,
        "rows": written.rows,
        "columns": written.columns,
        "notes": notes,
    }
    answer(content, lambda: f"{counted(written.rows, 'row')} and {len(written.columns):,} columns in {path}", as_json)
    for line in notes:
        note(quiet or as_json)(line)


def _format_of(file: Path | None) -> str:
    """The kind of file by its name. Raises `InputError`."""
    ending = file.suffix.lower().removeprefix(".") if file else ""
    if ending not in list(Format):
        raise InputError(
            f"{file}: its extension is not a supported format" if file else "no file format is given",
            hint=f"Give --to {'|'.join(Format)}.",
        )
    return ending
