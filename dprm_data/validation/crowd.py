"""The crowd: people's votes on items with their texts, which a panel is measured against, and the sample of items that the panel is asked about.

*The sample.* Items on which people agree are easy. So the items that at least two people judged are sorted by how divided people were, cut into three strata of equal size, and
equally many are drawn from each. Every item has the same chance, so means over the sample stand for all items; each stratum is just there in its right share. An item's place in its
stratum's queue depends on its id and the seed alone: a larger sample contains the smaller one, and what was asked is not paid for again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.compute as pc

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import InputError
from dprm_data.ingest.items import Item
from dprm_data.ingest.named_sets.collection import load_named, named_sets
from dprm_data.ingest.rated_items import read_rated_items
from dprm_data.ingest.ratings import Ratings
from dprm_data.labels.space import LabelSpace
from dprm_data.recipe.people_config import RatingsConfig

STRATA = 3
_PEOPLE = 1_000  # behind a share of people whose number is not known


@dataclass(frozen=True)
class Crowd:
    """N items, in the order of `ratings.item_ids`, and people's ratings of them. space: the labels that people had. attributes: what is known of each annotator. named: whether raters are known.
    title, licence, citation, leakage: of a named set; "" otherwise. notes: what was assumed or left out, for the reader."""

    name: str
    space: LabelSpace
    items: list[Item]
    ratings: Ratings
    attributes: Mapping[str, Mapping[str, Any]]
    named: bool
    title: str = ""
    licence: str = ""
    citation: str = ""
    leakage: str = ""
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def counts(self) -> Floats:
        """People's label counts (N, K), in whole votes."""
        return np.asarray(np.rint(self.ratings.votes().counts))

    @property
    def people(self) -> int:
        """How many people judged these items; 0 if the table does not say."""
        return len(np.unique(self.ratings.annotator)) if self.named else 0

    @property
    def groups(self) -> list[str]:
        """The prompt of each item (N): responses to one prompt are drawn together in intervals."""
        return [item.group_id for item in self.items]

    @property
    def digest(self) -> str:
        """A hash of the items and people's votes on them."""
        content = [[item.item_id, row] for item, row in zip(self.items, self.counts.tolist(), strict=True)]
        return hashlib.sha256(orjson.dumps(sorted(content))).hexdigest()[:32]

    def take(self, rows: Ints) -> Crowd:
        """These items only, in this order, with their ratings."""
        place = np.full(len(self), -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        kept = self.ratings.take(np.flatnonzero(place[self.ratings.item] >= 0))
        items = [self.items[int(row)] for row in rows]
        ratings = replace(kept, item_ids=[item.item_id for item in items], item=place[kept.item])
        return replace(self, items=items, ratings=ratings)


def read_crowd(
    against: str,
    space: LabelSpace,
    *,
    data: Path | None = None,
    scale: str | None = None,
    columns: Mapping[str, str] | None = None,
    attributes: Iterable[str] = (),
    base: int | None = None,
    anonymous: bool = False,
) -> Crowd:
    """People's votes in a long table with texts (`ingest.rated_items`), which are on these labels; or a named set's, which has labels of its own.

    anonymous: the annotators' ids are placeholders, by which they cannot be told apart. data, scale: of a named set; with them a set's name is no path. Raises `VotesError`, `SourceError` or `InputError`.
    """
    path = Path(against).expanduser()
    of_set = against in named_sets() and not (data is None and scale is None)
    if of_set or (not path.exists() and not path.suffix):
        if columns or base is not None:
            raise InputError(
                f"--against {against}: a named set knows its own columns", hint="Leave --column and --base out."
            )
        return _read(named_crowd(against, data, scale=scale), anonymous=anonymous)
    if data is not None or scale is not None:
        raise InputError(
            f"--data and --scale belong to a named set, and {against} is a table of your own",
            hint=f"The named sets: {', '.join(named_sets())}.",
        )
    content = {
        "path": str(path.absolute()),
        "columns": dict(columns or {}),
        "attributes": list(attributes),
        "base": base,
    }
    return _read(crowd_of(RatingsConfig.model_validate(content), space, path.name), anonymous=anonymous)


def _read(crowd: Crowd, *, anonymous: bool) -> Crowd:
    return replace(crowd, named=False, attributes={}) if anonymous else crowd


def named_crowd(name: str, data: Path | None = None, *, scale: str | None = None) -> Crowd:
    """A named set's votes. data: the folder with its files; None fetches them from the Hub. Raises `VotesError` or `SourceError`."""
    loaded = load_named(name, data, scale=scale)
    about, table = loaded.about, loaded.ratings
    notes = list(loaded.notes)
    if about.unit == "share":
        table = table.set_column(table.column_names.index("weight"), "weight", pc.multiply(table["weight"], _PEOPLE))
        notes.append(
            f"The set has shares of unknown numbers of people: the floor is that of {_PEOPLE:,} people, which is assumed."
        )
    config = RatingsConfig(attributes=list(loaded.attributes) if about.unit == "vote" else [], duplicates="all")
    crowd = crowd_of(
        config,
        loaded.labels,
        about.name,
        rows=table.to_pylist(),
        title=about.title,
        licence=about.licence,
        citation=about.citation,
        leakage=about.leakage,
    )
    notes.append(f"People were asked: {about.question}")
    return replace(crowd, notes=[*crowd.notes, *notes], named=crowd.named and about.unit == "vote")


def crowd_of(config: RatingsConfig, space: LabelSpace, name: str, *, rows: Any = None, **about: Any) -> Crowd:
    """People's votes as a recipe's `ratings` names them, or in rows of Python. about: fields of `Crowd`."""
    read = read_rated_items(config, space, base=Path(), rows=rows)
    by_id = {item.item_id: item for item in read.items}
    notes = list(read.notes)
    if read.refused:
        first = read.refused[0]
        notes.append(f"{len(read.refused):,} of {read.rows:,} rows cannot be used, the first for: {first.reason}")
    if read.unrated:
        notes.append(f"{read.unrated:,} of {read.rows:,} rows have no rating")
    whole = Crowd(
        name,
        space,
        [by_id[id_] for id_ in read.ratings.item_ids],
        read.ratings,
        read.attributes,
        read.named,
        notes=notes,
        **about,
    )
    return _judged_twice(whole)


def _judged_twice(crowd: Crowd) -> Crowd:
    """The items that two people or more judged: one answer does not show how people differ. Raises `InputError` if there are none."""
    rows = np.flatnonzero(crowd.counts.sum(axis=1) >= 2)
    if len(rows) < 2:
        raise InputError(
            f"{crowd.name}: {len(rows)} of {len(crowd):,} items were judged by two people or more",
            hint="One rater an item does not show what a crowd thinks. Use a table with several raters for each item.",
        )
    if len(rows) == len(crowd):
        return crowd
    left = f"{len(crowd) - len(rows):,} of {len(crowd):,} items were judged by one person only; they are left out"
    return replace(crowd.take(rows), notes=[*crowd.notes, left])


def dividedness(counts: Floats) -> Floats:
    """The chance that two different people disagree on each item, from counts (N, K) of two votes or more; unbiased."""
    n = counts.sum(axis=1)
    return np.asarray(1.0 - (counts * (counts - 1.0)).sum(axis=1) / (n * (n - 1.0)))


def sampled(crowd: Crowd, count: int, *, seed: int = 0) -> Crowd:
    """A sample of the items, with equally many from each stratum of dividedness, in the crowd's order (see the module). The whole crowd if it has no more."""
    if count >= len(crowd):
        return crowd
    # Equally divided items are cut into strata by one hash and queue up by another: with one, a stratum's last items would stand at the end of the queue, too.
    ties, queue = (
        np.array([hashlib.sha256(f"{use}{seed}:{item.item_id}".encode()).hexdigest() for item in crowd.items])
        for use in ("stratum:", "")
    )
    by_division = np.lexsort((ties, dividedness(crowd.counts)))
    drawn: list[Ints] = []
    for i, stratum in enumerate(np.array_split(by_division, STRATA)):
        size = count // STRATA + (i < count % STRATA)
        drawn.append(stratum[np.argsort(queue[stratum], kind="stable")][:size])
    return crowd.take(np.sort(np.concatenate(drawn)))
