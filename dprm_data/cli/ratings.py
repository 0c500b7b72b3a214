"""Commands on ratings, of a run or of a table: ratings fit, update, drift, agreement, groups."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dprm_data.cli.shared import (
    Json,
    Labels,
    Quiet,
    RunOrVotes,
    answer,
    group,
    interrupts_in_words,
    note,
    only_for_votes,
    output_option,
    show_summary,
    stderr,
)
from dprm_data.cli.vote_options import VoteOptions, vote_options
from dprm_data.core.errors import InputError

if TYPE_CHECKING:
    from dprm_data.ingest.ratings import Ratings
    from dprm_data.labels.space import LabelSpace
    from dprm_data.preference.fitting import Fit

ratings = group("ratings", "Fit ratings; measure agreement and drift.")

Dataset = Annotated[
    Path, typer.Argument(metavar="DATASET", help="A run folder, or a file written by `dprm ratings fit` or `update`.")
]
NewVotes = Annotated[
    Path, typer.Argument(metavar="NEW_VOTES", help="A table of votes (CSV, Excel, Parquet, or hf://org/name).")
]


class RaterUse(StrEnum):
    auto = "auto"
    on = "on"
    off = "off"


@ratings.command()
@vote_options
def fit(
    path: RunOrVotes,
    labels: Labels = None,
    family: Annotated[
        str | None,
        typer.Option(
            "--family",
            help="The family of distributions: by default the recipe's for a run, beta for votes.",
        ),
    ] = None,
    raters: Annotated[
        RaterUse | None,
        typer.Option(
            "--raters",
            help="Include every annotator's severity in the model. auto: if that helps. By default the recipe's choice for a run, auto for votes.",
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            "--text",
            help="Learn from the items' texts too, if that helps: auto or tfidf (words and characters), column:NAME (embeddings), encoder:MODEL, or off. "
            "By default the recipe's choice for a run, off for votes.",
        ),
    ] = None,
    output: Annotated[Path | None, output_option("For votes: the Parquet file to write.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    *,
    options: VoteOptions,
) -> None:
    """Fit distributions to a run's votes, or to a table of people's ratings. Makes no call."""
    from dprm_data.terminal.fit_view import fit_view

    if path.is_dir():
        only_for_votes(path, labels=labels, output=output, **options)
        _fit_run(path, {"family": family, "raters": raters and raters.value, "text": text}, as_json, quiet)
        return
    fitted, space, file = _fit_votes(
        path, labels, family or "beta", raters or RaterUse.auto, text or "off", output, options, quiet or as_json
    )
    answer({"out": str(file), **fitted.summary()}, lambda: fit_view(fitted, space, file), as_json)


def _fit_run(folder: Path, settings: dict[str, str | None], as_json: bool, quiet: bool) -> None:
    from dprm_data.pipeline import stages
    from dprm_data.runs.run import Run
    from dprm_data.terminal.progress import TerminalProgress

    with TerminalProgress(stderr(), quiet=quiet or as_json) as progress:
        job = Run.open(folder, progress)
        with interrupts_in_words(folder, progress), job.folder.held():
            stages.collect(job)
            stages.fit(job, **{name: value for name, value in settings.items() if value})
    show_summary(job, None, as_json)


def _fit_votes(
    votes_file: Path,
    labels: str | None,
    family: str,
    raters: RaterUse,
    text: str,
    output: Path | None,
    options: VoteOptions,
    quiet: bool,
) -> tuple[Fit, LabelSpace, Path]:
    if labels is None or output is None:
        raise InputError(
            f"{'--labels' if labels is None else '--output'} is missing",
            hint=f"dprm ratings fit {votes_file} --labels <name | K | file> --output distributions.parquet",
        )
    from dprm_data.labels.space import LabelSpace
    from dprm_data.runs.fit_votes import fit_votes

    space = LabelSpace.load(labels)
    fitted = fit_votes(
        votes_file, space, output, family=family, raters=raters.value, text=text, say=note(quiet), **options.settings()
    )
    return fitted, space, output


@ratings.command()
@vote_options
def update(
    dataset: Dataset,
    votes_file: NewVotes,
    output: Annotated[Path, output_option("The Parquet file to write.")],
    forgetting: Annotated[
        float,
        typer.Option(
            "--forgetting", help="A factor for the old votes: 1 keeps them in full, 0.9 discounts them by a tenth."
        ),
    ] = 1.0,
    as_json: Json = False,
    quiet: Quiet = False,
    *,
    options: VoteOptions,
) -> None:
    """Update fitted distributions with new votes, under the prior stored with them."""
    from dprm_data.preference.updater import update as add_votes
    from dprm_data.runs.published import digest, new_votes, read_published, write_fit
    from dprm_data.terminal.fit_view import fit_view

    old = read_published(dataset)
    new = new_votes(votes_file, old, say=note(quiet or as_json), **options.settings())
    fitted = add_votes(
        old.votes,
        new,
        old.prior,
        old.space,
        forgetting=forgetting,
        smoothing=old.smoothing,
        interval=old.interval,
        shared=old.shared,
    )
    write_fit(fitted, old.space, output, old.smoothing, given=(*old.given, digest(new)))
    answer({"out": str(output), **fitted.summary()}, lambda: fit_view(fitted, old.space, output), as_json)


@ratings.command()
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
    output: Annotated[Path | None, output_option("Write all compared items to this Parquet file.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    *,
    options: VoteOptions,
) -> None:
    """Find the items on which the population's opinion has changed between the fitted votes and new ones."""
    from dprm_data.core.tables import write_parquet
    from dprm_data.preference.drift_detection import drift as compare
    from dprm_data.preference.rater_units import rater_units
    from dprm_data.runs.published import new_ratings, read_published
    from dprm_data.terminal.votes_view import drift_view

    old = read_published(dataset)
    votes, ratings = new_ratings(votes_file, old, say=note(quiet or as_json), **options.settings())
    found = compare(
        old.votes, votes, old.prior, old.space, rate=rate, before=old.units, after=rater_units(ratings, old.space)
    )
    table = found.to_table()
    if output:
        write_parquet(output, table.schema, [table])
    moved = [row for row in table.to_pylist() if row["moved"]]
    answer({**found.summary(), "moved": moved}, lambda: drift_view(found), as_json)


@ratings.command()
@vote_options
def agreement(
    path: RunOrVotes,
    labels: Labels = None,
    as_json: Json = False,
    quiet: Quiet = False,
    *,
    options: VoteOptions,
) -> None:
    """Measure the annotators' agreement: Krippendorff's alpha, severity, informativeness, repeat agreement."""
    from dprm_data.preference.agreement import agreement_summary, annotators
    from dprm_data.preference.rater_effects import severities
    from dprm_data.terminal.votes_view import agreement_view

    ratings, space = _ratings(path, labels, options, quiet or as_json)
    summary, found = agreement_summary(ratings, space), annotators(ratings, space)
    learned, said = severities(ratings, space)
    learned_rows = learned.to_table().to_pylist() if learned else []
    answer(
        {**summary, "by_annotator": found.to_table().to_pylist(), "raters_said": said, "raters": learned_rows},
        lambda: agreement_view(summary, found, learned, said),
        as_json,
    )


@ratings.command()
@vote_options
def groups(
    path: RunOrVotes,
    by: Annotated[
        str,
        typer.Option("--by", help="For a run: an attribute of its personas. For votes: a column of the table."),
    ],
    output: Annotated[
        Path | None, output_option("Write a distribution per item and group to this Parquet file.")
    ] = None,
    labels: Labels = None,
    as_json: Json = False,
    quiet: Quiet = False,
    *,
    options: VoteOptions,
) -> None:
    """Fit distributions by group of annotators, with partial pooling: each departs from everyone's as far as the votes show."""
    from dprm_data.core.tables import write_parquet
    from dprm_data.preference.groups import by_group, group_table
    from dprm_data.preference.model_selection import learn_prior
    from dprm_data.runs.run_or_votes import annotator_attribute
    from dprm_data.terminal.votes_view import groups_view

    ratings, space = _ratings(path, labels, options, quiet or as_json)
    prior, _ = learn_prior(ratings.votes().counts, space, "beta")
    found = by_group(ratings, space, prior, annotator_attribute(path, by, **options.settings()))
    if output:
        table = group_table(found, ratings.item_ids)
        write_parquet(output, table.schema, [table])
    answer({"by": by, "groups": [group.summary() for group in found]}, lambda: groups_view(found), as_json)


def _ratings(path: Path, labels: str | None, options: VoteOptions, quiet: bool) -> tuple[Ratings, LabelSpace]:
    """The ratings of a run or a table of votes. Raises `InputError`."""
    from dprm_data.runs.run_or_votes import ratings_of

    only_for_votes(path, labels=labels, **options)
    return ratings_of(path, labels, say=note(quiet), **options.settings())
