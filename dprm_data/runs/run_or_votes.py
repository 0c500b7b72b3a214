"""Read ratings and annotators' attributes from a run folder or from a table of votes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

from dprm_data.core.errors import InputError
from dprm_data.ingest.rater_attributes import rater_attribute
from dprm_data.ingest.ratings import Ratings
from dprm_data.ingest.vote_scale import assumption
from dprm_data.ingest.vote_tables import VoteSettings, read_ratings
from dprm_data.labels.space import LabelSpace
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.lookup import persona_attribute


def ratings_of(
    path: Path,
    labels: str | None,
    *,
    say: Callable[[str], None] = lambda text: None,
    **settings: Unpack[VoteSettings],
) -> tuple[Ratings, LabelSpace]:
    """All ratings with their label space. The settings are those of `read_votes`, for a table of votes; a run has its own.

    say: receives what was assumed about the table, and what was left out. Raises `InputError`, or `VotesError` if the table cannot be read.
    """
    folder = RunFolder.at(path)
    if folder:
        space = LabelSpace.load(folder.recipe().labels)
        return read_ratings(folder.needs("annotations"), space), space
    if labels is None:
        raise InputError(
            "--labels is missing", hint="Give a bundled label space, a number of levels K, or a YAML file."
        )
    space = LabelSpace.load(labels)
    ratings = read_ratings(path, space, say=say, **settings)
    if settings.get("base") is None and ratings.base is not None:
        say(assumption(ratings.base, space))
    return ratings, space


def annotator_attribute(path: Path, name: str, **settings: Unpack[VoteSettings]) -> dict[str, Any]:
    """The value of an attribute for every annotator: of a run's personas, or from a column of a table of votes. Raises `InputError`."""
    folder = RunFolder.at(path)
    return persona_attribute(folder.path, name) if folder else rater_attribute(path, name, settings)
