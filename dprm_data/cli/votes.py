"""Commands about votes that are there already: update, drift, agreement, groups, rake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dprm_data.cli.shared import Json, answer, app, only_for_votes, pairs
from dprm_data.core.errors import InputError

if TYPE_CHECKING:
    from dprm_data.ingest.ratings import Ratings
    from dprm_data.labels.space import LabelSpace

Dataset = Annotated[
    Path, typer.Argument(metavar="DATASET", help="A run folder, or a file that dprm fit or dprm update wrote.")
]
NewVotes = Annotated[Path, typer.Argument(metavar="NEW_VOTES", help="A long table of votes (Parquet or CSV).")]
Columns = Annotated[list[str] | None, typer.Option("--column", help="ours=yours, such as item_id=question.")]
Labels = Annotated[
    str | None, typer.Option("--labels", help="For votes: a label space, a number of levels K, or a YAML file.")
]
RunOrVotes = Annotated[Path, typer.Argument(metavar="RUN|VOTES", help="A run folder, or a long table of votes.")]


@app.command()
def update(
    dataset: Dataset,
    new_votes: NewVotes,
    out: Annotated[Path, typer.Option("--out", help="The Parquet file to write.")],
    forgetting: Annotated[
        float, typer.Option("--forgetting", help="Multiplies the old votes first: 1 forgets nothing, 0.9 a tenth.")
    ] = 1.0,
    column: Columns = None,
    as_json: Json = False,
) -> None:
    """Add new votes to published distributions, under the prior that travels with them."""
    from dprm_data.ingest.vote_tables import read_votes
    from dprm_data.preference.updater import update as add_votes
    from dprm_data.runs.published import read_published, write_fit
    from dprm_data.terminal.run_view import fit_view

    old = read_published(dataset)
    new = read_votes(new_votes, old.space, columns=pairs(column))
    fitted = add_votes(
        old.votes, new, old.prior, old.space, forgetting=forgetting, smoothing=old.smoothing, interval=old.interval
    )
    write_fit(fitted, old.space, out, old.smoothing)
    answer({"out": str(out), **fitted.summary()}, lambda: fit_view(fitted, old.space, out), as_json)


@app.command()
def drift(
    dataset: Dataset,
    new_votes: NewVotes,
    rate: Annotated[
        float, typer.Option("--rate", help="The share of false alarms among the items that are reported.")
    ] = 0.1,
    out: Annotated[Path | None, typer.Option("--out", help="Write all compared items to this Parquet file.")] = None,
    column: Columns = None,
    as_json: Json = False,
) -> None:
    """Say for which items the population has moved between the published votes and new ones."""
    from dprm_data.core.tables import write_parquet
    from dprm_data.ingest.vote_tables import read_votes
    from dprm_data.preference.drift_detection import drift as compare
    from dprm_data.runs.published import read_published
    from dprm_data.terminal.votes_view import drift_view

    old = read_published(dataset)
    found = compare(old.votes, read_votes(new_votes, old.space, columns=pairs(column)), old.prior, old.space, rate=rate)
    if out:
        table = found.to_table()
        write_parquet(out, table.schema, [table])
    moved = [row for row in found.to_table().to_pylist() if row["moved"]]
    answer({**found.summary(), "moved": moved}, lambda: drift_view(found), as_json)


@app.command()
def agreement(what: RunOrVotes, labels: Labels = None, column: Columns = None, as_json: Json = False) -> None:
    """Say how far the annotators agree: Krippendorff's alpha, severity, informativeness, repeat agreement."""
    from dprm_data.preference.agreement import agreement_summary, annotators
    from dprm_data.terminal.votes_view import agreement_view

    ratings, space = _ratings(what, labels, column)
    summary, found = agreement_summary(ratings, space), annotators(ratings, space)
    answer({**summary, "by_annotator": found.to_table().to_pylist()}, lambda: agreement_view(summary, found), as_json)


@app.command()
def groups(
    what: RunOrVotes,
    by: Annotated[
        str, typer.Option("--by", help="For a run: an attribute of its personas. For votes: a column of the table.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write a distribution per item and group to this Parquet file.")
    ] = None,
    labels: Labels = None,
    column: Columns = None,
    as_json: Json = False,
) -> None:
    """Distributions by group of annotators, each drawn towards everybody's as far as the votes ask for."""
    from dprm_data.core.tables import write_parquet
    from dprm_data.preference.groups import by_group
    from dprm_data.preference.model_selection import learn_prior
    from dprm_data.terminal.votes_view import group_table, groups_view

    ratings, space = _ratings(what, labels, column)
    prior, _ = learn_prior(ratings.votes().counts, space, "beta")
    found = by_group(ratings, space, prior, _membership(what, by, pairs(column)))
    if out:
        table = group_table(found, ratings.item_ids)
        write_parquet(out, table.schema, [table])
    lines = [
        {
            "group": group.name,
            "votes": float(group.votes.sum()),
            "strength": group.strength,
            "difference": group.difference,
            "difference_error": group.difference_error,
        }
        for group in found
    ]
    answer({"by": by, "groups": lines}, lambda: groups_view(found), as_json)


@app.command()
def rake(
    panel: Annotated[str, typer.Argument(metavar="PANEL", help="A bundled panel's name or a YAML file.")],
    margins: Annotated[
        Path,
        typer.Option(
            "--margins", help="YAML: attribute -> value -> share. 'age,sex' with 'old,female' is a joint margin."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The panel to write (YAML).")],
    as_json: Json = False,
) -> None:
    """Weigh a panel so that it stands for a population with these margins."""
    from dprm_data.core.tables import write_text
    from dprm_data.panel.panel_sources import load_panel
    from dprm_data.panel.raking import raked_panel, read_margins
    from dprm_data.terminal.votes_view import raking_view

    weighed, found = raked_panel(load_panel(panel), read_margins(margins))
    write_text(out, weighed.to_yaml())
    answer({"out": str(out), **found.to_dict()}, lambda: raking_view(found, out), as_json)


def _ratings(what: Path, labels: str | None, column: list[str] | None) -> tuple[Ratings, LabelSpace]:
    from dprm_data.ingest.vote_tables import read_ratings
    from dprm_data.labels.space import LabelSpace

    if what.is_dir():
        from dprm_data.runs.folder import RunFolder

        only_for_votes(what, labels=labels, column=column)
        folder = RunFolder.existing(what)
        space = LabelSpace.load(folder.recipe().labels)
        return read_ratings(folder.needs("annotations"), space), space
    if labels is None:
        raise InputError(
            "--labels is missing", hint="Give a bundled label space, a number of levels K, or a YAML file."
        )
    space = LabelSpace.load(labels)
    return read_ratings(what, space, columns=pairs(column)), space


def _membership(what: Path, by: str, columns: dict[str, str]) -> dict[str, Any]:
    """The group of every annotator: an attribute of a run's personas, or a column of a table of votes."""
    from dprm_data.runs.lookup import persona_attribute, rater_attribute

    find: Callable[[], dict[str, Any]] = (
        (lambda: persona_attribute(what, by)) if what.is_dir() else (lambda: rater_attribute(what, by, columns))
    )
    return find()
