"""People's comparisons become part of a run: its items where it has neither a source nor ratings, and a table of comparisons. Makes no call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core.failure_reasons import grouped
from dprm_data.core.tables import COMPARISONS, ITEMS, damage, write_parquet
from dprm_data.ingest.comparison_rows import ReadComparisons, read_comparisons
from dprm_data.ingest.items import EXAMPLES, Item, store_items
from dprm_data.pipeline.fingerprint import fingerprint_of
from dprm_data.pipeline.people import has_people, pseudonyms, source_record
from dprm_data.recipe.comparisons_config import ComparisonsConfig
from dprm_data.runs.comparison_table import people_file
from dprm_data.runs.run import Run

_SHOWN = 5  # rows about responses that are not there


def comparisons_bring_items(run: Run) -> bool:
    """Whether the items are those of the comparisons."""
    return bool(run.recipe.comparisons) and run.recipe.source is None and run.source is None and not has_people(run)


def ingest_comparisons(run: Run) -> None:
    """Read the comparisons, unless they are there already and nothing has changed. Writes the items where nothing else brings them. Raises `InputError`."""
    config = run.recipe.comparisons
    if config is None and run.is_pulled():
        return
    if config is None:
        people_file(run.folder).unlink(missing_ok=True)
        if "comparisons" in run.folder.read_manifest():
            run.folder.update_manifest(comparisons=None)
        return
    fingerprint = _fingerprint(run, config)
    if _is_current(run, fingerprint):
        return
    run.progress.stage("reading comparisons")
    brings = comparisons_bring_items(run)
    read = read_comparisons(config, base=run.recipe.folder, known=None if brings else _known_items(run))
    if brings:
        path = run.folder.table("items")
        report = store_items(_Stream(read), path, progress=run.progress.items)
        run.folder.update_manifest(source=source_record(report, path, None))
    write_parquet(people_file(run.folder), COMPARISONS, [_table(run, read, ordered=_is_ordered(read, config))])
    for line in _lines(read, config):
        run.progress.say(line)
    run.folder.update_manifest(comparisons=_record(read) | {"fingerprint": fingerprint})


def _fingerprint(run: Run, config: ComparisonsConfig) -> str:
    """A hash of all that the comparisons are read by."""
    source = run.folder.read_manifest().get("source", {})
    items = None if comparisons_bring_items(run) else source.get("items_sha256")
    return fingerprint_of(run.recipe.folder / Path(config.path).expanduser(), config.model_dump(mode="json"), items)


def _is_current(run: Run, fingerprint: str) -> bool:
    files = ((people_file(run.folder), COMPARISONS), (run.folder.table("items"), ITEMS))
    whole = all(path.is_file() and not damage(path, schema) for path, schema in files)
    return whole and (run.folder.read_manifest().get("comparisons") or {}).get("fingerprint") == fingerprint


def _known_items(run: Run) -> Callable[[str], tuple[str, str] | None]:
    """A look-up of the run's items, by our id or by the source's, where it belongs to one item."""
    table = pq.read_table(run.folder.needs("items"), columns=["item_id", "group_id", "source_id"], schema=ITEMS)
    rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    times = Counter(own for _, _, own in rows)
    found = {own: (id_, group) for id_, group, own in rows if own is not None and times[own] == 1}
    found |= {id_: (id_, group) for id_, group, _ in rows}
    return found.get


class _Stream(Iterator[Item]):
    """The items as `store_items` takes them."""

    def __init__(self, read: ReadComparisons) -> None:
        self.rows = read.rows
        self._items = iter(read.items.values())

    def __next__(self) -> Item:
        return next(self._items)


def _is_ordered(read: ReadComparisons, config: ComparisonsConfig) -> bool:
    """Whether the order in which the responses were shown is known: not where the table lists the preferred one first, in every row."""
    if config.order == "unknown":
        return False
    sides = {each.preference > 0 for each in read.found if each.preference}
    if len(sides) == 1 and len(read.found) > 1:
        side = "first" if True in sides else "second"
        read.notes.append(
            f"every comparison prefers the {side}: the table lists the preferred one there, so the order in which they were shown is not known"
        )
        return False
    return True


def _table(run: Run, read: ReadComparisons, *, ordered: bool) -> pa.Table:
    names = list(dict.fromkeys(each.annotator for each in read.found))
    who = pseudonyms(run.folder, names) if read.named else {name: f"unnamed-{i + 1}" for i, name in enumerate(names)}
    rows: list[dict[str, Any]] = [
        {
            "group_id": each.group,
            "first_item_id": each.first,
            "second_item_id": each.second,
            "annotator_id": who[each.annotator],
            "annotator_kind": "human",
            "preference": each.preference,
            "steps": read.steps,
            "ordered": ordered,
            "weight": each.weight,
            "replicate": each.replicate,
            "status": "ok",
            "cost": 0.0,  # no call was made for it
        }
        for each in read.found
    ]
    return pa.Table.from_pylist(rows, schema=COMPARISONS)


def _record(read: ReadComparisons) -> dict[str, Any]:
    """What the manifest says of the comparisons."""
    return {
        "comparisons": len(read.found),
        "prompts": len({each.group for each in read.found}),
        "people": len({each.annotator for each in read.found}) if read.named else None,
        "steps": read.steps,
        "rows": read.rows,
        "unanswered": read.unanswered,
        "unknown": len(read.unknown),
        "refused": len(read.refused),
    }


def _lines(read: ReadComparisons, config: ComparisonsConfig) -> Iterator[str]:
    """What was read, in sentences."""
    found = _record(read)
    yield from read.notes
    people = f"{found['people']:,} people" if read.named else "people whom the table does not name"
    yield f"{found['comparisons']:,} comparisons for {found['prompts']:,} prompts by {people}, from {read.rows:,} rows"
    if config.steps is None:
        yield f"a comparison has {read.steps} possible answers, as far as the table shows (comparisons: {{steps: ...}} says otherwise)"
    if read.unanswered:
        yield f"{read.unanswered:,} rows have no preference: nobody answered"
    if read.unknown:
        yield f"{len(read.unknown):,} comparisons are of responses that the run does not have; they are left out"
        yield from (f"  {row.source}: {row.reason}" for row in read.unknown[:_SHOWN])
    if read.refused:
        reasons = grouped(Counter(row.reason for row in read.refused))
        yield f"{len(read.refused):,} rows refused, for {len(reasons):,} {'reason' if len(reasons) == 1 else 'reasons'}"
        yield from (f"  {row.source}: {row.reason}" for row in read.refused[:EXAMPLES])
