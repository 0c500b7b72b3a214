"""Fitted distributions with the votes, prior and label space that an update needs.

A Parquet file of distributions has the prior and label space in its metadata; a run folder has them in its manifest.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core.errors import InputError, VotesError
from dprm_data.core.tables import write_parquet
from dprm_data.ingest.ratings import Ratings
from dprm_data.ingest.vote_scale import assumption
from dprm_data.ingest.vote_tables import VoteSettings, read_rated_votes
from dprm_data.ingest.votes import Votes
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.fitting import Fit
from dprm_data.preference.prior import Prior
from dprm_data.preference.rater_units import RaterUnits
from dprm_data.preference.shared_error import SharedError, votes_of_panel
from dprm_data.recipe.fit_config import SmoothingConfig
from dprm_data.runs.folder import RunFolder

_KEY = b"dprm_fit"


@dataclass(frozen=True)
class Published:
    """The votes behind fitted distributions, and how they were fitted. interval: the level of the credible intervals. units: who gave the votes; None where that is not known. shared: the error that the votes of a panel share.

    `votes.base` is that of the table they were read from: the next table of the same people counts its labels in the same way.
    `given`: the digests of the tables of votes that have been counted, where they are known.
    """

    votes: Votes
    prior: Prior
    space: LabelSpace
    smoothing: SmoothingConfig
    interval: float
    given: tuple[str, ...] = ()
    units: RaterUnits | None = None
    shared: SharedError | None = None


def digest(votes: Votes) -> str:
    """Of the items and their counts, in whatever order or file they came."""
    found = hashlib.sha256()
    for row in np.argsort(votes.item_ids, kind="stable"):
        found.update(votes.item_ids[row].encode() + b"\0" + votes.counts[row].tobytes())
    return found.hexdigest()[:32]


def write_fit(
    fitted: Fit,
    space: LabelSpace,
    path: Path,
    smoothing: SmoothingConfig | None = None,
    *,
    given: tuple[str, ...] = (),
) -> None:
    """Write the distributions to a Parquet file with everything that an update needs; given: `digest` of the votes that are in it. Raises `InputError` if it cannot be written."""
    table = fitted.to_table()
    content = {
        "prior": fitted.prior.to_dict(),
        "space": space.model_dump(mode="json"),
        "smoothing": (smoothing or SmoothingConfig()).model_dump(mode="json"),
        "interval": fitted.level,
        "base": fitted.votes.base,
        "given": sorted(given),
        **({"rater_units": fitted.units.to_dict()} if fitted.units else {}),
        **({"shared_error": fitted.shared.error} if fitted.shared else {}),
    }
    table = table.replace_schema_metadata((table.schema.metadata or {}) | {_KEY: orjson.dumps(content)})
    try:
        write_parquet(path, table.schema, [table])
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}", hint="Choose another file with --output."
        ) from error


def read_published(path: str | os.PathLike[str]) -> Published:
    """Read a run folder, or a file written by `dprm ratings fit` or `update`. Raises `InputError` if it lacks what an update needs."""
    folder = RunFolder.at(path)
    return _of_run(folder) if folder else _of_file(Path(path))


def new_votes(
    path: Path,
    old: Published,
    *,
    say: Callable[[str], None],
    **settings: Unpack[VoteSettings],
) -> Votes:
    """The votes of `new_ratings`."""
    return new_ratings(path, old, say=say, **settings)[0]


def new_ratings(
    path: Path,
    old: Published,
    *,
    say: Callable[[str], None],
    **settings: Unpack[VoteSettings],
) -> tuple[Votes, Ratings]:
    """Read further votes, and who gave them, with labels counted as in the votes before. The settings are those of `read_votes`.

    say: receives what was assumed about the table, what was left out, or that labels are counted in another way than before. Raises `VotesError`.
    """
    before, base = old.votes.base, settings.get("base")
    settings["base"] = before if base is None else base
    votes, ratings = read_rated_votes(path, old.space, say=say, **settings)
    if base is None and before is None and votes.base is not None:
        say(assumption(votes.base, old.space))
    if base is not None and before not in (None, base):
        say(f"labels start at {base} here, and started at {before} in the fitted votes")
    if digest(votes) in old.given:
        say("these very votes have been counted already: an update with them counts every one twice")
    return votes, ratings


def _of_run(folder: RunFolder) -> Published:
    manifest, recipe = folder.read_manifest(), folder.recipe()
    if "prior" not in manifest:
        raise InputError(f"{folder} has no fitted prior yet", hint=f"Fit it first: dprm ratings fit {folder}")
    table = pq.read_table(folder.needs("distributions"), columns=["item_id", "votes", "evidence"])
    space = LabelSpace.load(recipe.labels)
    votes = _votes(table, space, folder)
    return Published(
        votes,
        Prior.from_dict(manifest["prior"]),
        space,
        recipe.fit.smoothing,
        recipe.fit.interval,
        units=_units(manifest.get("fit", {}).get("rater_units")),
        shared=_shared((manifest.get("panel_worth") or {}).get("error"), votes, table),
    )


def _of_file(path: Path) -> Published:
    try:
        table = pq.read_table(path, columns=["item_id", "votes", "evidence"])
    except FileNotFoundError as error:
        raise InputError(
            f"no file {path}", hint="Give a run folder, or a file written by `dprm ratings fit`."
        ) from error
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"{path} has no fitted distributions: {error}",
            hint="Give a run folder, or a file written by `dprm ratings fit`.",
        ) from error
    stored = (table.schema.metadata or {}).get(_KEY)
    if stored is None:
        raise InputError(
            f"{path} has no prior in its metadata",
            hint="Give a run folder, or a file written by `dprm ratings fit` or `dprm ratings update`.",
        )
    content: dict[str, Any] = orjson.loads(stored)
    space = LabelSpace.load(content["space"])
    smoothing = SmoothingConfig.model_validate(content["smoothing"])
    votes = replace(_votes(table, space, path), base=content.get("base"))  # older files do not say
    given = tuple(content.get("given", ()))  # older files do not say
    return Published(
        votes,
        Prior.from_dict(content["prior"]),
        space,
        smoothing,
        content["interval"],
        given,
        _units(content.get("rater_units")),
        _shared(content.get("shared_error"), votes, table),
    )


def _units(content: dict[str, Any] | None) -> RaterUnits | None:
    return RaterUnits.from_dict(content) if content else None  # older files do not say


def _shared(error: float | None, votes: Votes, table: pa.Table) -> SharedError | None:
    """The shared error of a panel's votes; None if all count as people, as in older files."""
    if error is None:
        return None
    worth = table["evidence"].to_numpy().astype(np.float64)
    return SharedError(error, votes.totals - votes_of_panel(votes.totals, worth, error))


def _votes(table: pa.Table, space: LabelSpace, origin: object) -> Votes:
    counts = table["votes"].combine_chunks().flatten().to_numpy().astype(np.float64)
    if len(counts) != table.num_rows * space.K:
        raise VotesError(f"{origin}: the votes are not on the {space.K} labels of {space.name}")
    return Votes(table["item_id"].to_pylist(), counts.reshape(-1, space.K))
