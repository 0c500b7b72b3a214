"""Commands on votes: update, drift, agreement, groups, rake."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dprm_data.cli.shared import (
    Json,
    Labels,
    RunOrVotes,
    answer,
    app,
    note,
    only_for_votes,
)
from dprm_data.cli.vote_options import VoteOptions, vote_options

if TYPE_CHECKING:
    from dprm_data.ingest.ratings import Ratings
    from dprm_data.labels.space import LabelSpace

Dataset = Annotated[
    Path, typer.Argument(metavar="DATASET", help="A run folder, or a file written by `dprm fit` or `dprm update`.")
]
NewVotes = Annotated[
    Path, typer.Argument(metavar="NEW_VOTES", help="A table of votes (CSV, Excel, Parquet, or hf://org/name).")
]


@app.command()
@vote_options
def update(
    dataset: Dataset,
    votes_file: NewVotes,
    out: Annotated[Path, typer.Option("--out", help="The Parquet file to write.")],
    forgetting: Annotated[
        float,
        typer.Option(
            "--forgetting", help="A factor for the old votes: 1 keeps them in full, 0.9 discounts them by a tenth."
        ),
    ] = 1.0,
    as_json: Json = False,
    *,
    options: VoteOptions,
) -> None:
    """Update fitted distributions with new votes, under the prior stored with them."""
    from dprm_data.preference.updater import update as add_votes
    from dprm_data.runs.published import new_votes, read_published, write_fit
    from dprm_data.terminal.fit_view import fit_view

    old = read_published(dataset)
    new = new_votes(votes_file, old, say=note(as_json), **options.settings())
    fitted = add_votes(
        old.votes, new, old.prior, old.space, forgetting=forgetting, smoothing=old.smoothing, interval=old.interval
    )
    write_fit(fitted, old.space, out, old.smoothing)
    answer({"out": str(out), **fitted.summary()}, lambda: fit_view(fitted, old.space, out), as_json)


@app.command()
@vote_options
def drift(
    dataset: Dataset,
    votes_file: NewVotes,
    rate: Annotated[
        float,
        typer.Option(
            "--rate", help="The false discovery rate: the expected share of false alarms among the reported items."
        ),
    ] = 0.1,
    out: Annotated[Path | None, typer.Option("--out", help="Write all compared items to this Parquet file.")] = None,
    as_json: Json = False,
    *,
    options: VoteOptions,
) -> None:
    """Find the items on which the population has moved between the fitted votes and new ones."""
    from dprm_data.core.tables import write_parquet
    from dprm_data.preference.drift_detection import drift as compare
    from dprm_data.preference.rater_units import rater_units
    from dprm_data.runs.published import new_ratings, read_published
    from dprm_data.terminal.votes_view import drift_view

    old = read_published(dataset)
    votes, ratings = new_ratings(votes_file, old, say=note(as_json), **options.settings())
    found = compare(
        old.votes, votes, old.prior, old.space, rate=rate, before=old.units, after=rater_units(ratings, old.space)
    )
    table = found.to_table()
    if out:
        write_parquet(out, table.schema, [table])
    moved = [row for row in table.to_pylist() if row["moved"]]
    answer({**found.summary(), "moved": moved}, lambda: drift_view(found), as_json)


@app.command()
@vote_options
def agreement(
    path: RunOrVotes,
    labels: Labels = None,
    as_json: Json = False,
    *,
    options: VoteOptions,
) -> None:
    """Measure the annotators' agreement: Krippendorff's alpha, severity, informativeness, repeat agreement."""
    from dprm_data.preference.agreement import agreement_summary, annotators
    from dprm_data.preference.rater_effects import severities
    from dprm_data.terminal.votes_view import agreement_view

    ratings, space = _ratings(path, labels, options, as_json)
    summary, found = agreement_summary(ratings, space), annotators(ratings, space)
    learned, said = severities(ratings, space)
    learned_rows = learned.to_table().to_pylist() if learned else []
    answer(
        {**summary, "by_annotator": found.to_table().to_pylist(), "raters_said": said, "raters": learned_rows},
        lambda: agreement_view(summary, found, learned, said),
        as_json,
    )


@app.command()
@vote_options
def groups(
    path: RunOrVotes,
    by: Annotated[
        str,
        typer.Option("--by", help="For a run: an attribute of its personas. For votes: a column of the table."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write a distribution per item and group to this Parquet file.")
    ] = None,
    labels: Labels = None,
    as_json: Json = False,
    *,
    options: VoteOptions,
) -> None:
    """Fit distributions by group of annotators, with partial pooling: each is shrunk towards the others' as far as the votes suggest."""
    from dprm_data.core.tables import write_parquet
    from dprm_data.preference.groups import by_group, group_table
    from dprm_data.preference.model_selection import learn_prior
    from dprm_data.runs.run_or_votes import annotator_attribute
    from dprm_data.terminal.votes_view import groups_view

    ratings, space = _ratings(path, labels, options, as_json)
    prior, _ = learn_prior(ratings.votes().counts, space, "beta")
    found = by_group(ratings, space, prior, annotator_attribute(path, by, **options.settings()))
    if out:
        table = group_table(found, ratings.item_ids)
        write_parquet(out, table.schema, [table])
    answer({"by": by, "groups": [group.summary() for group in found]}, lambda: groups_view(found), as_json)


def _ratings(path: Path, labels: str | None, options: VoteOptions, as_json: bool) -> tuple[Ratings, LabelSpace]:
    """The ratings of a run or a table of votes. Raises `InputError`."""
    from dprm_data.runs.run_or_votes import ratings_of

    only_for_votes(path, labels=labels, **options)
    return ratings_of(path, labels, say=note(as_json), **options.settings())


@app.command()
def rake(
    panel: Annotated[str, typer.Argument(metavar="PANEL", help="A bundled panel's name, or a YAML file.")],
    margins: Annotated[
        Path,
        typer.Option(
            "--margins",
            help="A YAML file of attribute -> value -> share. The attribute 'age,sex' with values such as 'old,female' is a joint margin.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The panel to write (YAML).")],
    as_json: Json = False,
) -> None:
    """Weight a panel by raking, so that it represents a population with these margins."""
    from dprm_data.core.tables import write_text
    from dprm_data.panel.panel_sources import load_panel
    from dprm_data.panel.raking import raked_panel, read_margins
    from dprm_data.terminal.votes_view import raking_view

    weighted, found = raked_panel(load_panel(panel), read_margins(margins))
    write_text(out, weighted.to_yaml())
    answer({"out": str(out), **found.to_dict()}, lambda: raking_view(found, out), as_json)
