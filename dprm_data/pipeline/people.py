"""People's ratings become part of a run: its items where it has no source of its own, and annotations of people. Makes no call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core.errors import RecipeError, SourceError
from dprm_data.core.failure_reasons import grouped
from dprm_data.core.tables import ANNOTATIONS, ITEMS, damage, sha256_of, write_parquet
from dprm_data.ingest.items import EXAMPLES, Item, ItemsReport, load_items, store_items
from dprm_data.ingest.rated_items import RatedItems, read_rated_items
from dprm_data.ingest.ratings import Ratings
from dprm_data.ingest.vote_scale import assumption
from dprm_data.labels.space import LabelSpace
from dprm_data.pipeline.fingerprint import fingerprint_of
from dprm_data.recipe.people_config import RatingsConfig
from dprm_data.review.human_annotations import SUBMITTED, named_person, pseudonym
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.raters import RATERS, raters_file, ratings_file
from dprm_data.runs.run import Run


def has_people(run: Run) -> bool:
    """Whether the recipe has people's ratings, alone or beside a model's."""
    return run.recipe.ratings is not None or not (run.asks_models or run.recipe.comparisons)


def bring_items(run: Run) -> bool:
    """Whether the items are those of the ratings."""
    return has_people(run) and run.recipe.source is None and (run.source is None or not run.asks_models)


def ingest_ratings(run: Run) -> None:
    """Read the ratings, unless they are there already and nothing has changed. Writes the items where the recipe has no source. Raises `InputError`."""
    if run.recipe.ratings is None and not (run.source is not None and not run.asks_models):
        raise RecipeError(
            "annotators: people: the recipe has no ratings",
            hint="Give ratings: {path: ratings.csv}, a table with a row per rating, or rows from Python.",
        )
    fingerprint = _fingerprint(run)
    if fingerprint and _is_current(run, fingerprint):
        return
    run.progress.stage("reading ratings")
    read = _read(run)
    if bring_items(run):
        path = run.folder.table("items")
        report = store_items(_Stream(read), path, progress=run.progress.items)
        run.folder.update_manifest(source=source_record(report, path, None))
    who = (
        pseudonyms(run.folder, read.ratings.annotator_ids) if read.named else {n: n for n in read.ratings.annotator_ids}
    )
    write_parquet(ratings_file(run.folder), ANNOTATIONS, [_annotations(read.ratings, run.space, who)])
    write_parquet(raters_file(run.folder), RATERS, [_raters(read, who)])
    for line in _lines(read, run):
        run.progress.say(line)
    run.folder.update_manifest(ratings=_record(read) | {"fingerprint": fingerprint})


def _is_current(run: Run, fingerprint: str) -> bool:
    files = (
        (ratings_file(run.folder), ANNOTATIONS),
        (raters_file(run.folder), RATERS),
        (run.folder.table("items"), ITEMS),
    )
    whole = all(path.is_file() and not damage(path, schema) for path, schema in files)
    kept = run.folder.read_manifest().get("ratings", {})
    return whole and kept.get("fingerprint") == fingerprint


def _fingerprint(run: Run) -> str | None:
    """A hash of all that the ratings are read by; None if that is more than files and settings."""
    config = run.recipe.ratings
    if config is None or config.path is None or (run.source is not None and not run.asks_models):
        return None
    path = run.recipe.folder / Path(config.path).expanduser()
    items = None if bring_items(run) else run.folder.read_manifest().get("source", {}).get("items_sha256")
    return fingerprint_of(path, config.model_dump(mode="json"), items, run.space.model_dump(mode="json"))


def _read(run: Run) -> RatedItems:
    return read_rated_items(
        run.recipe.ratings or RatingsConfig(),
        run.space,
        base=run.recipe.folder,
        rows=run.source if not run.asks_models else None,
        known=None if bring_items(run) else _known_items(run),
    )


def _known_items(run: Run) -> Callable[[str, str], str | None]:
    """A look-up of the source's items: by our id, by an id that the source has in a column of the same name, or else by the one that `source: {id: ...}`
    names. Raises `SourceError` for an id of several items."""
    by_column: dict[str, dict[str, str | None]] = {}
    ids = set(pq.read_table(run.folder.needs("items"), columns=["item_id"])["item_id"].to_pylist())

    def known(column: str, own: str) -> str | None:
        if own in ids or not column:
            return own if own in ids else None
        if column not in by_column:
            by_column[column] = _by_own_id(run, column)
        if own in by_column[column] and by_column[column][own] is None:
            raise SourceError(
                f"ratings: {column} {own!r} is the id of several responses of the source",
                hint="Give the ratings the response itself (columns: {prompt: ..., response: ...}), or each response an id of its own.",
            )
        return by_column[column].get(own)

    return known


def _by_own_id(run: Run, column: str) -> dict[str, str | None]:
    """Our id by the source's; None where several items have it. Raises `SourceError` if the source has no such ids."""
    items, source = run.folder.needs("items"), run.recipe.source
    found = _unique((item.metadata.get(column), item.item_id) for item in load_items(items))
    if not found and source is not None and source.id is not None:
        found = _unique((item.source_id, item.item_id) for item in load_items(items))
    if not found:
        raise SourceError(
            f"ratings: the source has no column {column!r}, by which its items would be known",
            hint="Say which column it is (source: {id: ...}) or keep it (source: {keep: [...]}), or name the ratings' columns of texts: "
            "columns: {prompt: ..., response: ...}.",
        )
    return found


def _unique(pairs: Iterable[tuple[Any, str]]) -> dict[str, str | None]:
    """Our id by another one; None for one that comes twice. Pairs without another one are left out."""
    found: dict[str, str | None] = {}
    for own, item_id in pairs:
        if own is not None:
            found[str(own)] = None if str(own) in found else item_id
    return found


class _Stream(Iterator[Item]):
    """The items as `store_items` takes them."""

    def __init__(self, read: RatedItems) -> None:
        self.rows, self.shapes = read.rows, read.shapes
        self._items = iter(read.items)

    def __next__(self) -> Item:
        return next(self._items)


def pseudonyms(folder: RunFolder, names: list[str]) -> dict[str, str]:
    """The raters' ids in the run, by name: those that they have in a review, unless two names differ in upper and lower case only."""
    alike = Counter(name.casefold() for name in names)
    return {
        name: named_person(folder, name) if alike[name.casefold()] == 1 else pseudonym(folder, f"rater:{name}")
        for name in names
    }


def _annotations(ratings: Ratings, space: LabelSpace, who: dict[str, str]) -> pa.Table:
    """The ratings as annotations, item by item."""
    order = np.argsort(ratings.item, kind="stable")
    rows = len(order)
    people = pa.array([who[name] for name in ratings.annotator_ids], pa.string())
    given: dict[str, Any] = {
        "item_id": pa.array(ratings.item_ids, pa.string()).take(pa.array(ratings.item[order])),
        "annotator_id": people.take(pa.array(ratings.annotator[order])),
        "annotator_kind": pa.repeat("human", rows),
        "elicitation": pa.repeat("vote", rows),
        "label": pa.array(space.names, pa.string()).take(pa.array(ratings.label[order])),
        "weight": pa.array(ratings.weight[order]),
        "replicate": pa.array(ratings.replicate[order], pa.int32()),
        "status": pa.repeat(SUBMITTED, rows),
        "cost": pa.repeat(0.0, rows),  # no call was made for it
    }
    columns = [given.get(each.name, pa.nulls(rows, each.type)).cast(each.type) for each in ANNOTATIONS]
    return pa.Table.from_arrays(columns, schema=ANNOTATIONS)


def _raters(read: RatedItems, who: dict[str, str]) -> pa.Table:
    rows = [
        {
            "annotator_id": id_,
            "rater": name,
            "attributes": orjson.dumps(read.attributes.get(name, {}), default=str).decode(),
        }
        for name, id_ in who.items()
    ]
    return pa.Table.from_pylist(rows, schema=RATERS)


def source_record(report: ItemsReport, items: Path, fingerprint: str | None) -> dict[str, Any]:
    """What the manifest says of the items. fingerprint: of the source's files, where it has any."""
    names = ("items", "rows", "duplicates", "refused", "contested", "alike", "times", "shapes")
    counts = {name: getattr(report, name) for name in names}
    return counts | {"fingerprint": fingerprint, "items_sha256": sha256_of(items)}


def _record(read: RatedItems) -> dict[str, Any]:
    """What the manifest says of the ratings."""
    return {
        "ratings": len(read.ratings),
        "items": len(np.unique(read.ratings.item)),
        "people": len(read.ratings.annotator_ids) if read.named else None,
        "rows": read.rows,
        "unrated": read.unrated,
        "unknown": read.unknown,
        "refused": len(read.refused),
        "base": read.ratings.base,
    }


def _lines(read: RatedItems, run: Run) -> Iterator[str]:
    """What was read, in sentences."""
    found = _record(read)
    yield from read.notes
    if run.recipe.ratings is not None:
        yield from (f"{name}: {shape}" for name, shape in read.shapes.items())
    people = f"{found['people']:,} people" if read.named else "people whom the table does not name"
    yield f"{found['ratings']:,} ratings of {found['items']:,} items by {people}, from {read.rows:,} rows"
    config = run.recipe.ratings
    if read.ratings.base is not None and (config is None or config.base is None):
        yield assumption(read.ratings.base, run.space)
    if read.unrated:
        yield f"{read.unrated:,} rows have no rating: missing votes"
    if read.unknown:
        yield f"{read.unknown:,} ratings are of items that the source does not have; they are left out"
    if read.refused:
        reasons = grouped(Counter(row.reason for row in read.refused))
        yield f"{len(read.refused):,} rows refused, for {len(reasons):,} {'reason' if len(reasons) == 1 else 'reasons'}"
        yield from (f"  {row.source}: {row.reason}" for row in read.refused[:EXAMPLES])
