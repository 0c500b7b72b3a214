"""The parts of a publication: the Parquet files of every config and split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core import tables
from dprm_data.core.errors import PublishError
from dprm_data.core.scrub import local_hosts, public_text
from dprm_data.ingest.splits import TRAIN, Splits
from dprm_data.publish.configs import ANNOTATED, CONFIGS, SCHEMAS, WHOLE, Config, map_metadata, typed_schema
from dprm_data.publish.conversations import has_more_than_texts, whole_messages
from dprm_data.publish.run_texts import run_texts
from dprm_data.runs.comparison_table import comparisons_in
from dprm_data.runs.origins import metadata_columns
from dprm_data.runs.ranked import ranked
from dprm_data.runs.table_parts import FlatTable
from dprm_data.runs.unpaired import unpaired

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

SHARD_BYTES = 400 << 20  # of Parquet: a file whose upload fails is sent again whole
ROW_GROUP = 5_000  # rows that a streaming reader holds at a time


@dataclass
class Parts:
    """The data files of a publication. sizes: rows and bytes in memory of every split; whole: messages are JSON, as they came."""

    folder: Path
    sizes: dict[Config, dict[str, tuple[int, int]]]
    splits: Splits
    metadata: pa.DataType  # of the source's other columns
    whole: bool = False

    @property
    def download(self) -> dict[Config, int]:
        return {
            config: sum(file.stat().st_size for file in (self.folder / "data" / config).iterdir())
            for config in self.sizes
        }


def write_parts(run: Run, folder: Path) -> Parts:
    """Write the data files of all configs."""
    splits = run.splits()
    metadata = metadata_columns(run.folder)
    parts = Parts(folder, {}, splits, metadata.struct_type, has_more_than_texts(run.folder.needs("items")))
    batches = {
        "default": _default(run),
        "preferences": _preferences(run.folder.needs("preferences")),
        "annotations": _annotations(run),
        "comparisons": _comparisons(run),
        "unpaired": _on_request(run, "unpaired", unpaired),
        "ranked": _on_request(run, "ranked", ranked),
        "personas": _plain(run.folder.needs("personas"), "personas"),
        "run": iter([pa.Table.from_pylist(run_texts(run), schema=SCHEMAS["run"])]),
    }
    by_group = _groups(run.folder.needs("items"), splits)
    for config in CONFIGS:
        by_item = config in ("default", "annotations")
        key, where = ("item_id", splits.elsewhere) if by_item else ("group_id", by_group)
        schema = typed_schema(config, run.space, metadata.struct_type, whole=parts.whole)
        typed = (map_metadata(table, metadata.struct) for table in batches[config])
        shaped = (_shaped(table, config, schema, parts.whole) for table in typed)
        sizes = _write(shaped, folder, config, schema, splits, key, where)
        if sizes:  # a config without a row could not be loaded
            parts.sizes[config] = sizes
    return parts


def _groups(items_file: Path, splits: Splits) -> dict[str, str]:
    table = pq.read_table(items_file, columns=["item_id", "group_id"])
    pairs = zip(table["item_id"].to_pylist(), table["group_id"].to_pylist(), strict=True)
    return {group: splits.elsewhere[item] for item, group in pairs if item in splits.elsewhere}


def _write(
    batches: Iterable[pa.Table],
    folder: Path,
    config: Config,
    schema: pa.Schema,
    splits: Splits,
    key: str,
    where: dict[str, str],
) -> dict[str, tuple[int, int]]:
    names = [TRAIN] if config in WHOLE else splits.names
    shards = {name: _Shards(folder / "data" / config, name, schema) for name in names}
    by_name = {name: pa.array([at for at, split in where.items() if split == name], pa.string()) for name in names[1:]}
    for table in batches:
        left = table
        for name, members in by_name.items():
            here = pc.is_in(left[key], value_set=members)
            shards[name].write(left.filter(here))
            left = left.filter(pc.invert(here))
        shards[names[0]].write(left)
    return {name: (shard.rows, shard.bytes) for name, shard in shards.items() if shard.close()}


class _Shards:
    """The files of one split, each about `SHARD_BYTES`."""

    def __init__(self, folder: Path, split: str, schema: pa.Schema) -> None:
        self.rows = self.bytes = 0
        self._folder, self._split, self._schema = folder, split, schema
        self._waiting = schema.empty_table()
        self._written: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._sink: Any = None

    def write(self, table: pa.Table) -> None:
        """Row groups have the same rows however the tables come: the same data are the same bytes."""
        self._waiting = pa.concat_tables([self._waiting, table.cast(self._schema)])
        while self._waiting.num_rows >= ROW_GROUP:
            self._write_group(self._waiting.slice(0, ROW_GROUP).combine_chunks())
            self._waiting = self._waiting.slice(ROW_GROUP)

    def _write_group(self, rows: pa.Table) -> None:
        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._written.append(self._folder / f"{self._split}.part{len(self._written)}")
            self._sink = self._written[-1].open("wb")
            self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._writer.write_table(rows)
        self.rows += rows.num_rows
        self.bytes += rows.nbytes
        if self._sink.tell() >= SHARD_BYTES:
            self._end()

    def _end(self) -> None:
        if self._writer:
            self._writer.close()
            self._sink.close()
            self._writer = None

    def close(self) -> bool:
        """Give the files their final names. Returns whether there are any."""
        if self._waiting.num_rows:
            self._write_group(self._waiting.combine_chunks())
        self._end()
        for i, part in enumerate(self._written):
            part.rename(self._folder / f"{self._split}-{i:05d}-of-{len(self._written):05d}.parquet")
        return bool(self._written)


# -- rows -------------------------------------------------------------------------------------------------------------


def _shaped(table: pa.Table, config: Config, schema: pa.Schema, whole: bool) -> pa.Table:
    """The config's columns in its schema."""
    table = whole_messages(table, config) if whole else table
    return table.select(schema.names).cast(schema)


def _default(run: Run) -> Iterator[pa.Table]:
    """Distributions joined with the origin of their items, one row group at a time."""
    known = tables.part(tables.ITEMS, ["item_id", "role", *tables.ORIGIN, *tables.ORIGINALS, "generator"])
    with (
        pq.ParquetFile(run.folder.needs("items")) as items,
        pq.ParquetFile(run.folder.needs("distributions")) as fitted,
    ):
        if items.num_row_groups != fitted.num_row_groups or items.metadata.num_rows != fitted.metadata.num_rows:
            raise _stale(run)
        row = 0
        for group in range(items.num_row_groups):
            texts = tables.conformed(items.read_row_group(group, columns=known.names), known)
            table = fitted.read_row_group(group)
            if not table["item_id"].equals(texts["item_id"]):
                raise _stale(run)
            columns = {name: table[name] for name in table.column_names}
            columns |= {name: texts[name] for name in texts.column_names}
            columns["source"] = _public_texts(columns["source"], [])
            columns["label"] = _most_probable(table["label_distribution"], run.space.K)
            columns["row"] = pa.array(range(row, row + table.num_rows), pa.int64())
            row += table.num_rows
            yield pa.table(columns)


def _stale(run: Run) -> PublishError:
    return PublishError(
        f"the distributions in {run.folder} do not belong to its items",
        hint=f"Fit them again: dprm ratings fit {run.folder}",
    )


def _most_probable(distributions: pa.ChunkedArray, K: int) -> pa.Array:
    flat = distributions.combine_chunks().flatten().to_numpy()
    return pa.array(flat.reshape(-1, K).argmax(axis=1) if len(flat) else [], pa.int64())


def _annotations(run: Run) -> Iterator[pa.Table]:
    names = pa.array(run.space.names)
    hosts = local_hosts(place.base_url for place in run.recipe.places)
    known = tables.part(tables.ITEMS, ["item_id", *ANNOTATED])
    items = tables.conformed(pq.read_table(run.folder.needs("items"), columns=_held(run, known)), known)
    ids, origins = items["item_id"].combine_chunks(), {name: items[name] for name in ANNOTATED}
    origins["source"] = _public_texts(origins["source"], [])
    for written in _plain(run.folder.needs("annotations"), None):
        table = tables.conformed(written, tables.ANNOTATIONS)
        at = table.column_names.index("reason")
        table = table.set_column(at, table.schema.field(at), _public_texts(table["reason"], hosts))
        at = table.column_names.index("label")
        codes = pc.index_in(table["label"], value_set=names, skip_nulls=True).cast(pa.int64())
        table = table.set_column(at, SCHEMAS["annotations"].field("label"), codes)
        item = pc.index_in(table["item_id"], value_set=ids)
        for name, origin in origins.items():
            table = table.append_column(name, origin.take(item))
        yield table


def _comparisons(run: Run) -> Iterator[pa.Table]:
    hosts = local_hosts(place.base_url for place in run.recipe.places)
    if comparisons_in(run.folder):
        for written in _plain(run.folder.needs("comparisons"), None):
            table = tables.conformed(written, tables.COMPARISONS)
            at = table.column_names.index("reason")
            yield table.set_column(at, table.schema.field(at), _public_texts(table["reason"], hosts))


def _on_request(run: Run, config: Config, made: Callable[[Run], FlatTable]) -> Iterator[pa.Table]:
    """The rows of a config that the recipe asks for, else none."""
    if config in run.recipe.publish.also:
        yield from made(run).rows


def _held(run: Run, schema: pa.Schema) -> list[str]:
    """Those of the schema's columns that the items have: an older version wrote fewer."""
    return [name for name in pq.read_schema(run.folder.needs("items")).names if name in schema.names]


def _preferences(path: Path) -> Iterator[pa.Table]:
    for written in _plain(path, None):
        table = tables.conformed(written, tables.PREFERENCES)
        for name in ("chosen_source", "rejected_source"):
            table = table.set_column(table.column_names.index(name), name, _public_texts(table[name], []))
        yield table


def _public_texts(column: pa.ChunkedArray, hosts: list[str]) -> pa.Array:
    """Messages and origins without hosts and folders of this machine; each different one is looked at once."""
    encoded = column.combine_chunks().dictionary_encode()
    texts = [None if text is None else public_text(text, hosts) for text in encoded.dictionary.to_pylist()]
    return pa.array(texts, column.type).take(encoded.indices)


def _plain(path: Path, config: Config | None) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=50_000):
            table = pa.Table.from_batches([batch])
            yield table.cast(SCHEMAS[config]) if config else table
