"""Fitting a table of people's votes, without a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Unpack

from dprm_data.core.errors import InputError
from dprm_data.ingest.item_texts import read_item_texts
from dprm_data.ingest.vote_scale import assumption
from dprm_data.ingest.vote_tables import VoteSettings, read_rated_votes
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.fitting import Fit, fit
from dprm_data.preference.rater_effects import Use
from dprm_data.runs.published import digest, write_fit


def fit_votes(
    votes_file: Path,
    space: LabelSpace,
    out: Path,
    *,
    family: str,
    raters: Use,
    text: str = "off",
    say: Callable[[str], None],
    **settings: Unpack[VoteSettings],
) -> Fit:
    """Fit the votes and write the distributions to `out`, with all that an update needs.

    text: as in `fit`. settings: those of `read_votes`. say: receives what was assumed about the table, and what was left out. Raises `InputError`, or
    `VotesError` if the votes cannot be read.
    """
    if out.suffix != ".parquet" or (out.exists() and votes_file.exists() and out.samefile(votes_file)):
        raise InputError(f"--output {out}: must be another file, and a Parquet file, such as distributions.parquet")
    votes, ratings = read_rated_votes(votes_file, space, say=say, **settings)
    if settings.get("base") is None and votes.base is not None:
        say(assumption(votes.base, space))
    texts = None if text == "off" else read_item_texts(votes_file, votes.item_ids, text, **settings)
    fitted = fit(votes, space, family=family, raters=raters, ratings=ratings, text=text, texts=texts)
    write_fit(fitted, space, out, given=(digest(votes),))
    return fitted
