"""Items: one prompt with one response to be judged, and the table that stores them.

An item's id is a hash of its content, so the same text has the same id wherever it comes from, and a call that was paid for once is
found again. `group_id` is the hash of the prompt alone, shared by all responses to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core import tables
from dprm_data.core.conversation import Messages
from dprm_data.core.errors import DprmError, SourceError
from dprm_data.core.message_parts import identity
from dprm_data.ingest.dropped import DroppedRows, duplicates, write_dropped
from dprm_data.ingest.lookalikes import Lookalikes
from dprm_data.ingest.message_columns import MessageColumn, messages_of

Role = Literal["chosen", "rejected"]

BATCH_ROWS = 16_384  # items per row group of items.parquet
BATCH_CHARS = 32 << 20  # ... or fewer, if texts are long
EXAMPLES = 20  # refusals and duplicates that a report shows one by one


@dataclass(frozen=True, slots=True)
class Item:
    """One prompt with one response.

    role: `chosen` or `rejected` if the source ranks its responses; source: file and line (or row), as in `pairs.jsonl:17`;
    metadata: the row's other columns; source_id: the source's own id of the row, as text; generator: the recipe's model that made the response.
    """

    item_id: str
    prompt: Messages
    completion: Messages
    group_id: str
    role: Role | None
    source: str
    metadata: dict[str, Any]
    source_id: str | None = None
    generator: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that cannot be used: its position, the reason, and its id if it has one. The other rows are still read."""

    source: str
    reason: str
    source_id: str | None = None


def ids_of(prompt: Messages, completion: Messages) -> tuple[str, str]:
    """(item_id, group_id): hashes of the prompt with this response, and of the prompt alone. Every character counts, including white space.

    Each is 32 hex digits, the first half of the SHA-256 of canonical JSON (sorted keys, no spaces, UTF-8) of `{"completion": [messages],
    "prompt": [messages]}` and of `[messages]`. A message is its role and content; one that holds more is its `identity`. Raises TypeError
    if a text is not valid Unicode (half a surrogate pair).
    """
    question, answer = (_canonical(messages) for messages in (prompt, completion))
    return _digits(b'{"completion":%b,"prompt":%b}' % (answer, question)), _digits(question)


def _canonical(messages: Messages) -> bytes:
    rich = any("original" in message for message in messages)
    return orjson.dumps([identity(m) for m in messages] if rich else messages, option=orjson.OPT_SORT_KEYS)


def _digits(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


@dataclass(slots=True)
class ItemsReport:
    """The result of reading a source.

    items: stored; rows: read from the source, refused ones included; duplicates: items left out because the same prompt and response
    came before; alike: items stored though their texts equal another's but for white space; contested: items that came as chosen in one
    place and as rejected in another (their role is null). refusals and the examples hold the first few; shapes: what was detected, by file.
    """

    items: int = 0
    rows: int = 0
    duplicates: int = 0
    refused: int = 0
    contested: int = 0
    alike: int = 0
    refusals: list[Refused] = field(default_factory=list)
    duplicate_examples: list[tuple[str, str]] = field(default_factory=list)  # the repetition's source, the first one's
    contested_examples: list[str] = field(default_factory=list)  # sources
    alike_examples: list[tuple[str, str]] = field(default_factory=list)  # the later one's source, the earlier one's
    shapes: dict[str, str] = field(default_factory=dict)
    times: dict[str, str] = field(default_factory=dict)  # columns of dates and times, by name: date or timestamp

    def lines(self) -> list[str]:
        """The report in readable sentences."""
        lines = [f"{name}: {shape}" for name, shape in self.shapes.items()]
        lines.append(f"{self.items:,} items from {self.rows:,} rows")
        if self.duplicates:
            lines.append(f"{self.duplicates:,} duplicates left out{_some(self.duplicates, self.duplicate_examples)}")
            lines += [f"  {again} repeats {first}" for again, first in self.duplicate_examples]
        if self.alike:
            lines.append(
                f"{self.alike:,} items equal another but for white space; both are kept{_some(self.alike, self.alike_examples)}"
            )
            lines += [f"  {later} is like {earlier}" for later, earlier in self.alike_examples]
        if self.contested:
            lines.append(
                f"{self.contested:,} items are chosen in one place and rejected in another; they count as neither"
            )
            lines += [f"  {source}" for source in self.contested_examples]
        if self.refused:
            lines.append(f"{self.refused:,} rows refused{_some(self.refused, self.refusals)}")
            lines += [f"  {row.source}: {row.reason}" for row in self.refusals]
        return lines


def _some(total: int, shown: list[Any]) -> str:
    return "" if len(shown) >= total else f" (the first {len(shown)} are shown)"


def store_items(
    stream: Iterable[Item | Refused],
    path: Path,
    *,
    progress: Callable[[int], None] | None = None,
    refuse: Callable[[Item], str | None] | None = None,
    with_dropped: bool = True,
) -> ItemsReport:
    """Write the stream's items to `path` (Parquet, `tables.ITEMS`), each id once, in their order, and `with_dropped` beside it `dropped.parquet`: the rows left out.

    Memory stays flat except for about 80 bytes per item, the cost of finding duplicates, and 100 per row left out. `progress` is called now and then with the number
    of items stored. `refuse` gives the reason why an item cannot be used, if there is one. Raises SourceError if no row is usable, DprmError if the file cannot be written.
    """
    store = _Store(progress, refuse)
    staged = path.with_name(f".{path.name}.staged")
    try:
        with tables.parquet_writer(staged, tables.ITEMS) as writer:
            store.take(stream, writer)
        report = store.finish(stream, staged)
        if with_dropped:
            write_dropped(store.dropped_table, path.with_name("dropped.parquet"))
        if store.new_roles:
            _rewrite_roles(staged, path, store.new_roles)
        else:
            staged.replace(path)
    except OSError as error:  # a failure to read a source is a SourceError already
        raise DprmError(
            f"cannot write {path}: {error}", hint="Check that the folder may be written to and has room left."
        ) from error
    finally:
        with suppress(OSError):
            staged.unlink(missing_ok=True)
    return report


def load_items(path: Path) -> Iterator[Item]:
    """The stored items in their order, one row group in memory at a time."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield from items_of(file.read_row_group(group))


@dataclass(frozen=True)
class StoredItems:
    """The stored items, to be read more than once: each iteration is `load_items`."""

    path: Path

    def __iter__(self) -> Iterator[Item]:
        return load_items(self.path)


class _Store:
    """Finds duplicates and collects items into batches.

    Seen ids are kept as their first 60 bits, by the role they were stored with: an int of 60 bits is the largest that fits Python's
    smallest object for it. Two of a million different items share 60 bits with a chance of 4e-7.
    """

    def __init__(
        self, progress: Callable[[int], None] | None, refuse: Callable[[Item], str | None] | None = None
    ) -> None:
        self.report = ItemsReport()
        self.seen: dict[Role | None, set[int]] = {None: set(), "chosen": set(), "rejected": set()}
        self.new_roles: dict[str, Role | None] = {}  # items stored with a role that later rows changed
        self.dropped = DroppedRows()
        self._lookalikes = Lookalikes()
        self._progress = progress
        self._reason_against = refuse or (lambda item: None)
        self._refused = ""  # the last row that was refused

    def take(self, stream: Iterable[Item | Refused], writer: pq.ParquetWriter) -> None:
        batch = _Batch()
        for found in stream:
            if isinstance(found, Refused):
                self._refuse(found)
                continue
            if reason := self._reason_against(found):
                self._refuse(Refused(found.source, reason, found.source_id))
                continue
            mark = int(found.item_id[:15], 16)
            if self._is_repeat(mark, found):
                continue
            try:
                batch.add(found)
            except TypeError as error:
                self._refuse(
                    Refused(
                        found.source, f"a column kept as metadata cannot be written as JSON: {error}", found.source_id
                    )
                )
                continue
            self.seen[found.role].add(mark)
            self._lookalikes.add(found.prompt, found.completion)
            if batch.full:
                self._write(batch, writer)
                batch = _Batch()
        if batch.ids:
            self._write(batch, writer)

    def _write(self, batch: _Batch, writer: pq.ParquetWriter) -> None:
        writer.write(batch.table())
        self.report.items += len(batch.ids)
        if self._progress:
            self._progress(self.report.items)

    def _refuse(self, row: Refused) -> None:
        if row.source == self._refused:
            return  # another item of the same row
        self._refused = row.source
        self.report.refused += 1
        self.dropped.add(row.source, row.source_id, row.reason)
        if len(self.report.refusals) < EXAMPLES:
            self.report.refusals.append(row)

    def _is_repeat(self, mark: int, item: Item) -> bool:
        for stored, marks in self.seen.items():
            if mark in marks:
                self.report.duplicates += 1
                self.dropped.add(item.source, item.source_id, "duplicate", item.item_id)
                self._settle_role(stored, item)
                return True
        return False

    def _settle_role(self, stored: Role | None, item: Item) -> None:
        """A role takes precedence over none; chosen in one place and rejected in another is neither, whatever follows."""
        contested = item.item_id in self.new_roles and self.new_roles[item.item_id] is None
        role = self.new_roles.get(item.item_id, stored)
        if contested or item.role is None or item.role == role:
            return
        if role is None:
            self.new_roles[item.item_id] = item.role
            return
        self.new_roles[item.item_id] = None
        self.report.contested += 1
        if len(self.report.contested_examples) < EXAMPLES:
            self.report.contested_examples.append(item.source)

    def finish(self, stream: Iterable[Item | Refused], stored: Path) -> ItemsReport:
        report = self.report
        report.shapes = dict(getattr(stream, "shapes", {}))
        report.times = dict(getattr(stream, "times", {}))
        report.rows = getattr(stream, "rows", report.items + report.duplicates + report.refused)
        if not report.items:
            reasons = "\n".join(f"  {row.source}: {row.reason}" for row in report.refusals[:5])
            raise SourceError(
                f"no row of the source can be used: {report.refused} refused\n{reasons}",
                hint="Save the file again as UTF-8."
                if "UTF-8" in reasons
                else "Correct the rows, or say in `columns` which column holds what.",
            )
        self.dropped_table = self.dropped.table(stored)
        report.duplicate_examples = duplicates(self.dropped_table, EXAMPLES)
        report.alike, report.alike_examples = self._lookalikes.found(stored, EXAMPLES)
        return report


class _Batch:
    """Columns of `tables.ITEMS`, filled item by item: far cheaper than rows of nested Python objects."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._groups: list[str] = []
        self._roles: list[str | None] = []
        self._sources: list[str] = []
        self._metadata: list[str] = []
        self._source_ids: list[str | None] = []
        self._generators: list[str | None] = []
        self._prompts = MessageColumn()
        self._completions = MessageColumn()

    def add(self, item: Item) -> None:
        self._metadata.append(dump_metadata(item.metadata))
        self.ids.append(item.item_id)
        self._groups.append(item.group_id)
        self._roles.append(item.role)
        self._sources.append(item.source)
        self._source_ids.append(item.source_id)
        self._generators.append(item.generator)
        self._prompts.add(item.prompt)
        self._completions.add(item.completion)

    @property
    def full(self) -> bool:
        return len(self.ids) >= BATCH_ROWS or self._prompts.chars + self._completions.chars >= BATCH_CHARS

    def table(self) -> pa.Table:
        columns: list[Any] = [self.ids, self._prompts.array(), self._completions.array(), self._groups]
        columns += [self._roles, self._sources, self._metadata, self._source_ids]
        columns += [self._prompts.originals, self._completions.originals, self._generators]
        arrays = [pa.array(c, pa.string()) if isinstance(c, list) else c for c in columns]
        return pa.Table.from_arrays(arrays, schema=tables.ITEMS)


def dump_metadata(metadata: dict[str, Any]) -> str:
    """Metadata as JSON: types without a JSON form (dates, decimals, bytes, whole numbers over 64 bits) as text, NaN as null.

    Raises TypeError if a text is not valid Unicode, or the nesting too deep.
    """
    if not metadata:
        return "{}"
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    try:
        return orjson.dumps(metadata, default=_as_text, option=options).decode()
    except TypeError:  # try again without huge numbers
        try:
            return orjson.dumps(_without_huge(metadata), default=_as_text, option=options).decode()
        except RecursionError as error:
            raise TypeError("it is nested too deeply") from error


def _without_huge(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_huge(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_huge(inner) for inner in value]
    return str(value) if isinstance(value, int) and value.bit_length() > 63 else value


def _as_text(value: object) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes | bytearray | memoryview) else str(value)


def items_of(table: pa.Table) -> Iterator[Item]:
    """The items in (a part of) the table."""
    table = tables.conformed(table, tables.ITEMS)
    names = ("item_id", "group_id", "role", "source", "metadata", "source_id", "generator")
    columns = [table[name].to_pylist() for name in names]
    prompts, completions = messages_of(table, "prompt"), messages_of(table, "completion")
    for item_id, group_id, role, source, metadata, source_id, generator, prompt, completion in zip(
        *columns, prompts, completions, strict=True
    ):
        kept = orjson.loads(metadata) if metadata else {}
        yield Item(item_id, prompt, completion, group_id, role, source, kept, source_id, generator)


def _rewrite_roles(staged: Path, path: Path, new_roles: dict[str, Role | None]) -> None:
    position = tables.ITEMS.get_field_index("role")
    with tables.parquet_writer(path, tables.ITEMS) as writer, pq.ParquetFile(staged) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            pairs = zip(table["item_id"].to_pylist(), table["role"].to_pylist(), strict=True)
            roles = pa.array([new_roles.get(item_id, role) for item_id, role in pairs], pa.string())
            writer.write(table.set_column(position, tables.ITEMS.field(position), roles))
